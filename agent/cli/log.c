#include "agent/cli/cli.h"

#include "agent/paths.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_LINES 50

static void put_names(const json_t *dest)
{
    const json_t *names = json_object_get(dest, "names"), *via = json_object_get(dest, "via");
    const char *user = cli_string(dest, "user"), *proof = cli_string(dest, "proof");

    if (user == NULL)
        return;
    printf(" to ");
    cli_put(stdout, user);
    printf("@");
    if (json_array_size(names) > 0)
        cli_put(stdout, json_string_value(json_array_get(names, 0)));
    else
        cli_put(stdout, cli_string(dest, "key") != NULL ? cli_string(dest, "key") : "?");
    printf(" (");
    cli_put(stdout, proof);
    printf(")");
    for (size_t i = 0; i < json_array_size(via); i++) {
        const json_t *hop = json_array_get(via, i);
        const char *name = json_string_value(json_array_get(json_object_get(hop, "names"), 0));

        printf(" via ");
        cli_put(stdout, name != NULL ? name : cli_string(hop, "key"));
    }
}

static void put_operation(const json_t *r)
{
    const char *verdict = cli_string(r, "verdict"), *result = cli_string(r, "result");
    bool refused = verdict != NULL && strcmp(verdict, "refused") == 0;
    bool ok = !refused && result != NULL && strcmp(result, "ok") == 0;
    const json_t *object = json_object_get(r, "object");
    const char *about = cli_string(object, "subject");

    if (about == NULL)
        about = cli_string(object, "certificate");
    printf("%s%s%s ", cli_colour(ok ? GREEN : RED),
           ok        ? "ok     "
           : refused ? "refused"
                     : "failed ",
           cli_colour(PLAIN));
    cli_put(stdout, cli_string(r, "use"));
    put_names(json_object_get(r, "destination"));
    printf(" by ");
    cli_put(stdout, cli_string(json_object_get(r, "requester"), "exe"));
    printf(", key ");
    cli_put(stdout, cli_string(json_object_get(r, "key"), "comment"));
    if (about != NULL) {
        printf(", \"");
        cli_put(stdout, about);
        printf("\"");
    }
    if (ok) {
        printf(", presence: ");
        cli_put_field(r, "presence");
        printf(", PIN: ");
        cli_put_field(r, "pin");
    }
    if (cli_string(r, "rule") != NULL) {
        printf(" [");
        cli_put(stdout, cli_string(r, "rule"));
        printf("]");
    }
    if (cli_string(r, "reason") != NULL) {
        printf(": ");
        cli_put(stdout, cli_string(r, "reason"));
    }
    putchar('\n');
}

static void put_event(const json_t *r)
{
    static const char *const fields[] = {"reason", "what", "how", "result", "hash"};

    fputs(cli_colour(YELLOW), stdout);
    cli_put_field(r, "event");
    fputs(cli_colour(PLAIN), stdout);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (cli_string(r, fields[i]) == NULL)
            continue;
        printf(" %s: ", fields[i]);
        cli_put(stdout, cli_string(r, fields[i]));
    }
    putchar('\n');
}

/* 2026-11-24T13:48:36.123+00:00, to the second. */
static void put_time(const char *time)
{
    char text[20];

    snprintf(text, sizeof text, "%s", time != NULL ? time : "?");
    cli_put(stdout, text);
    putchar(' ');
}

static void put_record(const char *line, bool as_json)
{
    const char *event;
    json_t *r = json_loads(line, 0, NULL);

    if (r == NULL)
        return; /* half a line: a writer was cut off there */
    if (as_json) {
        (void)json_dumpf(r, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        putchar('\n');
        json_decref(r);
        return;
    }
    event = cli_string(r, "event");
    put_time(cli_string(r, "time"));
    if (event != NULL && strcmp(event, "operation") == 0)
        put_operation(r);
    else
        put_event(r);
    json_decref(r);
}

/* Leaves F where the last N lines begin. */
static void skip_to_last(FILE *f, long n)
{
    char block[8192];
    long seen = 0;
    off_t pos;

    if (fseeko(f, 0, SEEK_END) != 0 || (pos = ftello(f)) <= 0)
        return;
    pos--; /* the end of the last line is not the end of the one before it */
    while (pos > 0) {
        size_t want = pos < (off_t)sizeof block ? (size_t)pos : sizeof block;
        off_t from = pos - (off_t)want;

        if (fseeko(f, from, SEEK_SET) != 0 || fread(block, 1, want, f) != want)
            break;
        for (size_t i = want; i > 0; i--)
            if (block[i - 1] == '\n' && ++seen == n) {
                (void)fseeko(f, from + (off_t)i, SEEK_SET);
                return;
            }
        pos = from;
    }
    rewind(f);
}

/* Prints the whole lines that are there; the rest of one that is being written is for next time. */
static void copy(FILE *f, bool as_json)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;

    clearerr(f);
    while ((n = getline(&line, &cap, f)) > 0) {
        if (line[n - 1] != '\n') {
            (void)fseeko(f, -(off_t)n, SEEK_CUR);
            break;
        }
        put_record(line, as_json);
    }
    free(line);
    fflush(stdout);
}

static int follow(const char *path, FILE **f, bool as_json)
{
    int fd = inotify_init1(IN_CLOEXEC);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char events[4096];

    if (fd < 0 ||
        inotify_add_watch(fd, path, IN_MODIFY | IN_MOVE_SELF | IN_DELETE_SELF | IN_ATTRIB) < 0)
        return cli_fail(path, strerror(errno));
    for (;;) {
        struct stat now, was;

        copy(*f, as_json);
        if (poll(&p, 1, 1000) > 0 && read(fd, events, sizeof events) < 0 && errno != EINTR)
            return cli_fail(path, strerror(errno));
        /* Rotated: go on with the new file once it is there. */
        if (stat(path, &now) == 0 && fstat(fileno(*f), &was) == 0 &&
            (now.st_ino != was.st_ino || now.st_dev != was.st_dev)) {
            FILE *next = fopen(path, "re");

            copy(*f, as_json);
            if (next != NULL) {
                fclose(*f);
                *f = next;
                (void)inotify_add_watch(fd, path,
                                        IN_MODIFY | IN_MOVE_SELF | IN_DELETE_SELF | IN_ATTRIB);
            }
        }
    }
}

/* Where the running agent writes, or where it would by default; NULL when there is no file, with the
 * message out. */
static char *log_path(void)
{
    struct ctl_client *c = NULL;
    struct buf reply = BUF_INIT;
    char *path = NULL;
    json_t *j = NULL;

    if (ctl_connect(&c) == 0 && ctl_transact(c, "STATUS", NULL, &reply, NULL, NULL, NULL) == 0)
        j = json_loadb((const char *)reply.data, reply.len, 0, NULL);
    if (j == NULL)
        path = path_state("audit.jsonl");
    else if (cli_string(j, "audit") != NULL)
        path = gpgrt_strdup(cli_string(j, "audit"));
    if (path == NULL)
        cli_fail("log", j != NULL ? "the agent writes no file: latchkey.conf says AuditLog journal "
                                    "(journalctl --user -t latchkey-audit) or no"
                                  : "the place of the log is not to be found");
    json_decref(j);
    buf_free(&reply);
    ctl_close(c);
    return path;
}

static int run(const struct command *c, int argc, char **argv)
{
    static const struct option options[] = {{"follow", no_argument, NULL, 'f'},
                                            {"lines", required_argument, NULL, 'n'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    bool as_json = false, following = false;
    long lines = DEFAULT_LINES;
    char *path, *end;
    FILE *f;
    int opt, status = EXIT_OK;

    while ((opt = cli_getopt(c, argc, argv, options, &status)) != -1) {
        if (opt == -2)
            return status;
        if (opt == 'n') {
            lines = strtol(optarg, &end, 10);
            if (*end != '\0' || lines < 1)
                return cli_mistake(c, "a number of lines is wanted, not", optarg);
        }
        following = following || opt == 'f';
        as_json = as_json || opt == 'j';
    }
    if (optind < argc)
        return cli_mistake(c, "takes options only, but was given", argv[optind]);
    path = log_path();
    if (path == NULL)
        return EXIT_NEGATIVE;
    f = fopen(path, "re");
    if (f == NULL) {
        status = cli_fail(path, errno == ENOENT ? "there is no audit log yet: nothing was asked"
                                                : strerror(errno));
        gpgrt_free(path);
        return status;
    }
    skip_to_last(f, lines);
    if (following)
        status = follow(path, &f, as_json);
    else
        copy(f, as_json);
    fclose(f);
    gpgrt_free(path);
    return status;
}

const struct command cmd_log = {
    .name = "log",
    .usage = "[-f] [-n LINES] [--json]",
    .summary = "show the audit log: what was asked, by whom, for which host, and the verdict",
    .help = "  -f, --follow      go on with what is written from now on\n"
            "  -n, --lines N     the last N records (50)\n"
            "  -j, --json        the records as they are\n",
    .run = run,
};
