/* What the subcommands share: options, messages, the agent, text fit for a terminal. */
#include "agent/cli/cli.h"

#include "proto/git_object.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_WORD 32 /* longer words are not looked up for a near one */

/* --- options -------------------------------------------------------------------------------------
 */

void cli_usage(const struct command *c, FILE *f)
{
    fprintf(f, "usage: latchkey %s%s%s\n\n%s\n", c->name, c->usage[0] != '\0' ? " " : "", c->usage,
            c->summary);
    if (c->help != NULL)
        fprintf(f, "\n%s", c->help);
    for (size_t i = 0; c->sub != NULL && c->sub[i] != NULL; i++)
        fprintf(f, "%s  latchkey %s --help\n", i == 0 ? "\nMore: " : "      ", c->sub[i]->name);
}

int cli_mistake(const struct command *c, const char *why, const char *word)
{
    fprintf(stderr, "latchkey %s: %s", c->name, why);
    if (word != NULL) {
        fprintf(stderr, " \"");
        cli_put(stderr, word);
        fprintf(stderr, "\"");
    }
    fprintf(stderr, "\nTry: latchkey %s --help\n", c->name);
    return EXIT_USAGE;
}

static int bad_option(const struct command *c, const struct option *options, const char *word)
{
    const char *names[16] = {NULL}, *meant;
    size_t n = 0;

    for (; options[n].name != NULL && n < 15; n++)
        names[n] = options[n].name;
    meant = strncmp(word, "--", 2) == 0 ? cli_nearest(word + 2, names) : NULL;
    fprintf(stderr, "latchkey %s: there is no option \"", c->name);
    cli_put(stderr, word);
    fprintf(stderr, "\"");
    if (meant != NULL)
        fprintf(stderr, "; did you mean \"--%s\"?", meant);
    fprintf(stderr, "\nTry: latchkey %s --help\n", c->name);
    return EXIT_USAGE;
}

int cli_getopt(const struct command *c, int argc, char **argv, const struct option *options,
               int *status)
{
    char letters[40] = "+:";
    char one[] = "-?";
    size_t n = 2;
    int opt, at;

    for (size_t i = 0; options[i].name != NULL && n < sizeof letters - 3; i++) {
        if (options[i].val >= 128)
            continue;
        letters[n++] = (char)options[i].val;
        if (options[i].has_arg == required_argument)
            letters[n++] = ':';
        letters[n] = '\0';
    }
    at = optind; /* of the word that is looked at now */
    opt = getopt_long(argc, argv, letters, options, NULL);
    switch (opt) {
    case 'h':
        cli_usage(c, stdout);
        *status = EXIT_OK;
        return -2;
    case ':':
        *status = cli_mistake(c, "a value is missing behind", argv[at]);
        return -2;
    case '?':
        one[1] = (char)optopt;
        *status = bad_option(c, options, optopt > 0 && optopt < 128 ? one : argv[at]);
        return -2;
    default:
        return opt;
    }
}

bool cli_no_arguments(const struct command *c, int argc, char **argv, int *status)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};

    if (cli_getopt(c, argc, argv, options, status) != -1)
        return false;
    if (optind < argc) {
        *status = cli_mistake(c, "takes no argument, but was given", argv[optind]);
        return false;
    }
    return true;
}

bool cli_only_json(const struct command *c, int argc, char **argv, bool *as_json, int *status)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    int opt;

    *as_json = false;
    while ((opt = cli_getopt(c, argc, argv, options, status)) != -1) {
        if (opt == -2)
            return false;
        *as_json = opt == 'j';
    }
    if (optind == argc)
        return true;
    *status = cli_mistake(c, "takes options only, but was given", argv[optind]);
    return false;
}

/* --- messages ------------------------------------------------------------------------------------
 */

int cli_fail(const char *what, const char *why)
{
    fflush(stdout);
    fprintf(stderr, "latchkey: ");
    cli_put(stderr, what);
    fprintf(stderr, ": ");
    cli_put_text(stderr, why, strlen(why)); /* lines stay lines: a policy's errors are several */
    return EXIT_NEGATIVE;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Letters left out, added, changed, or two swapped (optimal string alignment). */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][MAX_WORD + 1] = {{0}};
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    size_t na = strlen(a), nb = strlen(b);

    if (na > MAX_WORD || nb > MAX_WORD)
        return MAX_WORD;
    for (size_t j = 0; j <= nb; j++)
        last[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t *spare = before;

        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            now[j] = least(last[j], now[j - 1]) + 1;
            now[j] = least(now[j], last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], before[j - 2] + 1);
        }
        before = last;
        last = now;
        now = spare;
    }
    return last[nb];
}

const char *cli_nearest(const char *word, const char *const *names)
{
    const char *best = NULL;
    size_t best_distance = 3;

    for (size_t i = 0; names[i] != NULL; i++) {
        size_t d = distance(word, names[i]);

        if (strlen(word) >= 2 && strncmp(names[i], word, strlen(word)) == 0)
            d = 1; /* cut short */
        if (d < best_distance && d < strlen(names[i])) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}

/* --- the agent -----------------------------------------------------------------------------------
 */

struct ctl_client *cli_connect(void)
{
    struct ctl_client *c = NULL;

    if (ctl_connect(&c) == 0)
        return c;
    fprintf(stderr, "latchkey: no agent is running for you: start latchkey-agent --daemon, or the "
                    "systemd user unit\n");
    return NULL;
}

gpg_error_t cli_call(struct ctl_client *c, const char *line, const char *what, struct buf *reply)
{
    char *text = NULL;
    gpg_error_t err = ctl_transact(c, line, NULL, reply, NULL, NULL, &text);

    if (err != 0)
        cli_fail(what, text != NULL ? text : gpg_strerror(err));
    gpgrt_free(text);
    return err;
}

int cli_verb(const struct command *c, const char *verb)
{
    struct ctl_client *ctl = cli_connect();
    gpg_error_t err;

    if (ctl == NULL)
        return EXIT_NO_AGENT;
    err = cli_call(ctl, verb, c->name, NULL);
    ctl_close(ctl);
    return err == 0 ? EXIT_OK : EXIT_NEGATIVE;
}

json_t *cli_json(const char *line, int *status)
{
    struct ctl_client *c = cli_connect();
    struct buf reply = BUF_INIT;
    json_t *j = NULL;

    *status = EXIT_NO_AGENT;
    if (c == NULL)
        return NULL;
    *status = EXIT_NEGATIVE;
    if (cli_call(c, line, line, &reply) == 0) {
        j = json_loadb((const char *)reply.data, reply.len, 0, NULL);
        if (j == NULL)
            cli_fail(line, "the agent's answer is not understood; is it of another version?");
    }
    buf_free(&reply);
    ctl_close(c);
    return j;
}

/* --- output --------------------------------------------------------------------------------------
 */

int cli_print_json(const json_t *j)
{
    if (json_dumpf(j, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII) != 0)
        return cli_fail("JSON", "it cannot be written");
    putchar('\n');
    return EXIT_OK;
}

void cli_put(FILE *f, const char *s)
{
    char *clean = s != NULL ? text_clean(s, strlen(s), 2000) : NULL;

    fputs(clean != NULL ? clean : "-", f);
    gpgrt_free(clean);
}

/* One line without its end; tabs become blanks, as wide as in the line of a caret below. */
static void put_line(FILE *f, const char *text, size_t n)
{
    char *copy = gpgrt_malloc(n + 1), *clean = NULL;

    if (copy != NULL) {
        memcpy(copy, text, n);
        for (size_t i = 0; i < n; i++)
            if (copy[i] == '\t')
                copy[i] = ' ';
        clean = text_clean(copy, n, 4000);
    }
    fprintf(f, "%s\n", clean != NULL ? clean : "");
    gpgrt_free(clean);
    gpgrt_free(copy);
}

void cli_put_text(FILE *f, const char *text, size_t n)
{
    while (n > 0) {
        const char *end = memchr(text, '\n', n);
        size_t len = end != NULL ? (size_t)(end - text) : n;

        put_line(f, text, len);
        len += end != NULL;
        text += len;
        n -= len;
    }
}

const char *cli_string(const json_t *j, const char *name)
{
    return json_string_value(json_object_get(j, name));
}

void cli_put_field(const json_t *j, const char *name)
{
    cli_put(stdout, cli_string(j, name));
}

const char *cli_colour(enum colour c)
{
    static const char *const codes[] = {[PLAIN] = "\033[0m",
                                        [BOLD] = "\033[1m",
                                        [RED] = "\033[31m",
                                        [GREEN] = "\033[32m",
                                        [YELLOW] = "\033[33m"};
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    if (!isatty(STDOUT_FILENO) || (no != NULL && no[0] != '\0') ||
        (term != NULL && strcmp(term, "dumb") == 0))
        return "";
    return codes[c];
}
