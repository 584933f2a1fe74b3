/* The person and the circumstances. Lines: "yes", "no": a press for the question on the screen; "person yes|no|waits": to all questions
 * from now on; "lock", "unlock"; "locked-sw HEX", "no-app-sw HEX"; "app NAME", "dashboard"; "version X.Y.Z"; "installed yes|no";
 * "mnemonic WORDS" "passphrase TEXT" (of the last mnemonic); "wrong-key yes|no"; "garbage KIND": the next answer; "mute N": commands without
 * answer; "replug"; "screen"; "state". */
#include "tests/wallets/ledger/ledger.h"

#include "tests/wallets/slip10.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = {"none", "channel", "tag", "sequence", "length", "half", "data"};

static void tell_state(const struct device *d, struct buf *out)
{
    buf_printf(out,
               "{\"app\": \"%s\", \"locked\": %s, \"asks\": %s, \"screen\": [\"%s\", \"%s\"], "
               "\"commands\": %u, "
               "\"prompts\": %u, \"intruders\": %u}\n",
               d->app, d->locked ? "true" : "false",
               d->prompt.what != ASK_NOTHING ? "true" : "false", d->prompt.screen[0],
               d->prompt.screen[1], d->commands, d->prompts, d->intruders);
}

static bool set_garbage(struct device *d, const char *kind)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i], kind) == 0) {
            d->garbage = (enum garbage)i;
            return true;
        }
    return false;
}

static bool set_mnemonic(struct device *d, const char *words, const char *passphrase)
{
    static char last[256] = "all all all all all all all all all all all all";

    if (words != NULL)
        snprintf(last, sizeof last, "%s", words);
    return slip10_seed(last, passphrase, d->seed);
}

static bool set(struct device *d, const char *word, const char *rest)
{
    bool yes = strcmp(rest, "yes") == 0;

    if (strcmp(word, "person") == 0)
        d->person = yes ? 1 : strcmp(rest, "no") == 0 ? -1 : 0;
    else if (strcmp(word, "lock") == 0)
        d->locked = true;
    else if (strcmp(word, "unlock") == 0)
        d->locked = false;
    else if (strcmp(word, "locked-sw") == 0)
        d->locked_sw = (unsigned)strtoul(rest, NULL, 16);
    else if (strcmp(word, "no-app-sw") == 0)
        d->no_app_sw = (unsigned)strtoul(rest, NULL, 16);
    else if (strcmp(word, "app") == 0)
        device_run(d, rest);
    else if (strcmp(word, "dashboard") == 0)
        device_run(d, DASHBOARD);
    else if (strcmp(word, "version") == 0)
        return sscanf(rest, "%u.%u.%u", &d->version[0], &d->version[1], &d->version[2]) == 3;
    else if (strcmp(word, "installed") == 0)
        d->installed = yes;
    else if (strcmp(word, "mnemonic") == 0)
        return set_mnemonic(d, rest, "");
    else if (strcmp(word, "passphrase") == 0)
        return set_mnemonic(d, NULL, rest);
    else if (strcmp(word, "wrong-key") == 0)
        d->wrong_key = yes;
    else if (strcmp(word, "garbage") == 0)
        return set_garbage(d, rest);
    else if (strcmp(word, "mute") == 0)
        d->mute = (unsigned)atoi(rest);
    else if (strcmp(word, "replug") == 0)
        device_run(d, d->app);
    else
        return false;
    return true;
}

bool control_line(struct device *d, const char *line, struct buf *out, bool *decided, unsigned *sw,
                  struct buf *data)
{
    char word[32], app[33];
    int used = 0;

    *decided = false;
    if (sscanf(line, "%31s %n", word, &used) < 1)
        return false;
    if (strcmp(word, "state") == 0) {
        tell_state(d, out);
        return true;
    }
    if (strcmp(word, "yes") == 0 || strcmp(word, "no") == 0) {
        if (d->prompt.what == ASK_NOTHING)
            return false;
        *decided = true;
        *sw = device_decided(d, strcmp(word, "yes") == 0, data);
    } else {
        snprintf(app, sizeof app, "%s", strcmp(word, "replug") == 0 ? d->app : line + used);
        if (!set(d, word, strcmp(word, "app") == 0 ? app : line + used))
            return false;
    }
    buf_printf(out, "OK\n");
    return true;
}
