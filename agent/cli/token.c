#include "agent/cli/token.h"

#include "agent/token_memory.h"
#include "proto/token_protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static bool has_application(const json_t *token, const char *application)
{
    const json_t *all = json_object_get(token, "applications");

    for (size_t i = 0; i < json_array_size(all); i++)
        if (strcmp(json_string_value(json_array_get(all, i)), application) == 0)
            return true;
    return false;
}

static bool is_ready(const json_t *token)
{
    const char *state = cli_string(token, "state");

    return state != NULL && strcmp(state, "ready") == 0;
}

static bool fits(const json_t *token, const char *name, const char *application)
{
    const char *its = cli_string(token, "name");

    if (its == NULL || !is_ready(token) || !has_application(token, application))
        return false;
    return name == NULL || strcasecmp(its, name) == 0;
}

char *cli_token_name(const struct command *c, const char *name, const char *application,
                     int *status)
{
    json_t *j = cli_json("STATUS all=1", status);
    const json_t *tokens = json_object_get(j, "tokens");
    const char *found = NULL;
    char *copy = NULL;
    size_t n = 0;

    if (j == NULL)
        return NULL;
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        const json_t *t = json_array_get(tokens, i);

        if (!fits(t, name, application))
            continue;
        found = cli_string(t, "name");
        n++;
    }
    if (n == 1)
        copy = gpgrt_strdup(found);
    else if (n > 1)
        (void)cli_fail(c->name, "several tokens could be meant: say which, by its name in latchkey "
                                "token list");
    else if (name != NULL)
        (void)cli_fail(name,
                       "there is no such token, or it cannot do this: see latchkey token list");
    else
        (void)cli_fail(c->name, "no token that could do this is there: see latchkey token list");
    *status = copy != NULL ? EXIT_OK : EXIT_NEGATIVE;
    json_decref(j);
    return copy;
}

gpg_error_t cli_token_call(const struct command *c, const char *name, const char *verb,
                           const struct buf *fields, const struct rd *value, struct buf *reply,
                           void (*tell)(void *arg, const char *line), void *arg)
{
    struct buf head = BUF_INIT, line = BUF_INIT;
    struct ctl_client *ctl = cli_connect();
    char *text = NULL;
    gpg_error_t err;

    if (ctl == NULL)
        return gpg_error(GPG_ERR_NO_AGENT);
    field_put(&head, "token", name);
    field_put(&head, "verb", verb);
    if (fields != NULL && fields->len > 0) {
        buf_put_u8(&head, ' ');
        buf_put_rd(&head, buf_rd(fields));
    }
    buf_printf(&line, "TOKEN %s", buf_cstr(&head) != NULL ? buf_cstr(&head) : "");
    err = buf_err(&head) != 0 ? buf_err(&head) : buf_err(&line);
    if (err == 0)
        err = ctl_transact(ctl, buf_cstr(&line), value, reply, tell, arg, &text);
    if (err != 0)
        (void)cli_fail(c->name, text != NULL ? text : gpg_strerror(err));
    gpgrt_free(text);
    ctl_close(ctl);
    buf_free(&head);
    buf_free(&line);
    return err;
}

/* --- token list ----------------------------------------------------------------------------------- */

static void put_token(const json_t *t)
{
    const json_t *applications = json_object_get(t, "applications");
    json_int_t keys = json_integer_value(json_object_get(t, "keys"));

    fputs(cli_colour(BOLD), stdout);
    cli_put_field(t, "name");
    fputs(cli_colour(PLAIN), stdout);
    printf("  ");
    cli_put_field(t, "label");
    printf("  ");
    cli_put_field(t, "state");
    for (size_t i = 0; i < json_array_size(applications); i++) {
        fputs(i == 0 ? "  " : ",", stdout);
        cli_put(stdout, json_string_value(json_array_get(applications, i)));
    }
    printf("  %lld key%s\n", keys, keys == 1 ? "" : "s");
}

static int list(const struct command *c, int argc, char **argv)
{
    bool as_json;
    json_t *j;
    json_t *tokens;
    int status;
    size_t n;

    if (!cli_only_json(c, argc, argv, &as_json, &status))
        return status;
    j = cli_json("STATUS all=1", &status);
    if (j == NULL)
        return status;
    tokens = json_object_get(j, "tokens");
    n = json_array_size(tokens);
    if (as_json)
        (void)cli_print_json(tokens);
    for (size_t i = 0; i < n && !as_json; i++)
        put_token(json_array_get(tokens, i));
    if (n == 0 && !as_json)
        fprintf(stderr, "latchkey: no token is there\n");
    json_decref(j);
    return n > 0 ? EXIT_OK : EXIT_NEGATIVE;
}

static const struct command cmd_token_list = {
    .name = "token list",
    .usage = "[--json]",
    .summary = "list tokens and what they can do",
    .help = "A line each: name, what it is, its state, its applications, how many keys.\n"
            "  -j, --json    as JSON\n",
    .run = list,
};

/* --- token forget --------------------------------------------------------------------------------- */

/* The file is the person's own, as is this program: no agent is needed. */
static int forget(const struct command *c, int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    char *path;
    int status;

    if (cli_getopt(c, argc, argv, options, &status) == -2)
        return status;
    if (optind + 1 != argc)
        return cli_mistake(c, "give the name of one token", NULL);
    path = token_memory_path(argv[optind]);
    status = EXIT_OK;
    if (path == NULL)
        status = cli_mistake(c, "this is no token's name:", argv[optind]);
    else if (unlink(path) != 0)
        status = cli_fail(argv[optind],
                          errno == ENOENT ? "nothing is remembered of it" : strerror(errno));
    else
        puts("forgotten: take it out and put it in again");
    gpgrt_free(path);
    return status;
}

static const struct command cmd_token_forget = {
    .name = "token forget",
    .usage = "TOKEN",
    .summary = "forget what is remembered of a token",
    .help = "What tells that a card is the one that it was before (its PIV card authentication\n"
            "key), so that another one may take its name. Nothing on the card changes.\n",
    .run = forget,
};

static const struct command *const subcommands[] = {
    &cmd_token_list, &cmd_token_identity, &cmd_token_forget,   &cmd_token_piv,
    &cmd_token_fido, &cmd_token_enroll,   &cmd_token_presence, NULL,
};

const struct command cmd_token = {
    .name = "token",
    .usage = "list | identity | forget | piv | fido | enroll-presence | presence ...",
    .summary = "list and manage tokens",
    .help = "  list             tokens and what they can do\n"
            "  identity         what hardware wallets have keys for\n"
            "  piv              the PIV application of a token\n"
            "  fido             FIDO tokens\n"
            "  enroll-presence  enroll a FIDO token for StandIn fido\n"
            "  presence         those that are enrolled\n"
            "  forget           what tells that a card is the one that it was\n",
    .sub = subcommands,
};
