#include "agent/cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static void put_lock(const json_t *lock)
{
    const char *state = cli_string(lock, "state"), *reason = cli_string(lock, "reason"),
               *what = cli_string(lock, "what");
    time_t since = (time_t)json_integer_value(json_object_get(lock, "since"));
    bool open = state != NULL && strcmp(state, "open") == 0;
    char stamp[32] = "";
    struct tm tm;

    printf("lock      %s", cli_colour(open ? GREEN : RED));
    cli_put(stdout, state);
    fputs(cli_colour(PLAIN), stdout);
    if (!open && since != 0 && localtime_r(&since, &tm) != NULL &&
        strftime(stamp, sizeof stamp, "%H:%M:%S", &tm) > 0)
        printf(" since %s", stamp);
    if (reason != NULL) {
        printf(" (");
        cli_put(stdout, reason);
        if (what != NULL) {
            printf(": ");
            cli_put(stdout, what);
        }
        printf(")");
    }
    putchar('\n');
}

static void put_token(const json_t *t)
{
    const char *state = cli_string(t, "state");
    bool ready = state != NULL && strcmp(state, "ready") == 0;
    const json_t *tries = json_array_get(json_object_get(t, "tries"), 0);
    json_int_t keys = json_integer_value(json_object_get(t, "keys"));
    json_int_t queue = json_integer_value(json_object_get(t, "queue"));
    json_int_t unread = json_integer_value(json_object_get(t, "identities_unread"));

    printf("  %s", cli_colour(BOLD));
    cli_put(stdout, cli_string(t, "name"));
    printf("%s  %s", cli_colour(PLAIN), cli_colour(ready ? GREEN : YELLOW));
    cli_put(stdout, state);
    printf("%s  %lld key%s", cli_colour(PLAIN), keys, keys == 1 ? "" : "s");
    if (json_is_integer(tries))
        printf("  PIN tries left: %s%lld%s",
               cli_colour(json_integer_value(tries) > 1 ? PLAIN : RED), json_integer_value(tries),
               cli_colour(PLAIN));
    if (json_is_true(json_object_get(t, "waiting_for_touch")))
        printf("  %swaiting for a touch%s", cli_colour(YELLOW), cli_colour(PLAIN));
    if (json_is_true(json_object_get(t, "draining")))
        printf("  still busy with a request that was given up");
    if (queue > 0)
        printf("  %lld queued or running", queue);
    if (unread > 0)
        printf("  %s%lld not read yet%s: latchkey token identity read", cli_colour(YELLOW), unread,
               cli_colour(PLAIN));
    if (cli_string(t, "hint") != NULL) {
        printf("\n      %s", cli_colour(YELLOW));
        cli_put(stdout, cli_string(t, "hint"));
        fputs(cli_colour(PLAIN), stdout);
    }
    if (cli_string(t, "reader") != NULL) {
        printf("\n      in ");
        cli_put(stdout, cli_string(t, "reader"));
        if (json_is_true(json_object_get(t, "contactless")))
            printf(" (contactless)");
    }
    putchar('\n');
}

static void put_policy(const json_t *policy)
{
    const json_t *files = json_object_get(policy, "files");
    const char *hash = cli_string(policy, "hash");
    char text[13];

    snprintf(text, sizeof text, "%s", hash != NULL ? hash : "-");
    printf("policy    ");
    cli_put(stdout, text);
    for (size_t i = 0; i < json_array_size(files); i++) {
        printf("%s", i == 0 ? "  from " : ", ");
        cli_put(stdout, json_string_value(json_array_get(files, i)));
    }
    puts(json_array_size(files) == 0 ? "  (built-in only)" : "");
}

/* What a person would do next, where there is something to do. */
static void put_advice(const json_t *j, json_int_t keys)
{
    const char *state = cli_string(json_object_get(j, "lock"), "state");
    const char *ours = cli_string(json_object_get(j, "sockets"), "ssh");
    const char *theirs = getenv("SSH_AUTH_SOCK");
    bool passphrase =
        state != NULL && (strcmp(state, "passphrase-locked") == 0 || strcmp(state, "both") == 0);

    if (passphrase)
        puts("next      ssh-add -X, with the passphrase that ssh-add -x was given");
    else if (state != NULL && strcmp(state, "locked") == 0)
        puts("next      latchkey unlock, or use a token's key: its PIN or touch unlocks, too");
    else if (keys == 0)
        puts("next      no key is there: insert a token, or add a software key with ssh-add");
    if (ours == NULL || (theirs != NULL && strcmp(ours, theirs) == 0))
        return;
    printf("next      ssh of this shell asks %s: export SSH_AUTH_SOCK=",
           theirs != NULL && theirs[0] != '\0' ? "another agent" : "no agent");
    cli_put(stdout, ours);
    putchar('\n');
}

static void put_left_out(const json_t *c)
{
    printf("  ");
    cli_put_field(c, "file");
    printf("  %s", cli_colour(YELLOW));
    cli_put_field(c, "problem");
    printf("%s\n", cli_colour(PLAIN));
}

static int run(const struct command *c, int argc, char **argv)
{
    bool as_json;
    const json_t *policy, *tokens, *left_out;
    const char *state;
    json_int_t keys = 0;
    json_t *j;
    int status;

    if (!cli_only_json(c, argc, argv, &as_json, &status))
        return status;
    j = cli_json("STATUS", &status);
    if (j == NULL)
        return status;
    state = cli_string(json_object_get(j, "lock"), "state");
    status = state != NULL && strcmp(state, "open") == 0 ? EXIT_OK : EXIT_NEGATIVE;
    if (as_json) {
        cli_print_json(j);
        json_decref(j);
        return status;
    }
    printf("agent     version ");
    cli_put(stdout, cli_string(j, "version"));
    printf(", pid %lld%s\n", json_integer_value(json_object_get(j, "pid")),
           json_is_true(json_object_get(j, "hardware"))
               ? ""
               : " (software keys only: another agent holds the hardware)");
    put_lock(json_object_get(j, "lock"));
    policy = json_object_get(j, "policy");
    if (json_is_true(json_object_get(policy, "ok"))) {
        put_policy(policy);
    } else {
        printf("policy    %sNOT VALID: every key operation is refused%s\n", cli_colour(RED),
               cli_colour(PLAIN));
        status = EXIT_NEGATIVE;
    }
    if (cli_string(policy, "problem") != NULL)
        cli_fail("policy", cli_string(policy, "problem"));
    printf("audit     ");
    cli_put(stdout, cli_string(j, "audit"));
    printf("\nssh       ");
    cli_put_field(json_object_get(j, "sockets"), "ssh");
    tokens = json_object_get(j, "tokens");
    printf("\ntokens\n");
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        put_token(json_array_get(tokens, i));
        keys += json_integer_value(json_object_get(json_array_get(tokens, i), "keys"));
    }
    left_out = json_object_get(j, "certificates_left_out");
    if (json_array_size(left_out) > 0)
        printf("certificates left out\n");
    for (size_t i = 0; i < json_array_size(left_out); i++)
        put_left_out(json_array_get(left_out, i));
    put_advice(j, keys);
    json_decref(j);
    return status;
}

const struct command cmd_status = {
    .name = "status",
    .usage = "[--json]",
    .summary = "show lock, policy and tokens (exit 1 when locked)",
    .help = "  -j, --json    as JSON\n",
    .run = run,
};
