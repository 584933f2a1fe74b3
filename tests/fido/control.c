/* What a person does, and what goes wrong: a line in, a line out. */
#include "tests/fido/apdu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void make(struct device *d, const char *rest, struct buf *out)
{
    char algo[16], rp[256], *id, *pub;
    int protect = 1;
    struct buf q = BUF_INIT;
    struct cred *c;

    if (sscanf(rest, "%15s %255s %d", algo, rp, &protect) < 2 ||
        !cred_make(d, strcmp(algo, "ed25519") == 0, rp, protect, &c)) {
        buf_printf(out, "ERR\n");
        return;
    }
    cred_public(c, &q);
    id = hex_encode(c->id, sizeof c->id);
    pub = hex_encode(q.data, q.len);
    buf_printf(out, "OK %s %s\n", id, pub);
    gpgrt_free(id);
    gpgrt_free(pub);
    buf_free(&q);
}

static void tell_state(const struct device *d, const struct applet *a, struct buf *out)
{
    buf_printf(out,
               "{\"waiting\": %s, \"made\": %u, \"kept\": %zu, \"pin\": %s, \"silent\": %u, "
               "\"asserted\": %u, \"cancelled\": %u, "
               "\"gave_up\": %u, \"pins\": %u, "
               "\"chosen\": %u, \"busy\": %u, \"tries\": %d, \"apdus\": %u, \"selects\": %u}\n",
               d->waiting != NULL ? "true" : "false", d->made, d->ncreds,
               d->pin != NULL ? "true" : "false", d->silent, d->asserted, d->cancelled, d->gave_up,
               d->pins, d->chosen, d->busy, d->tries, a->apdus, a->selects);
}

bool fido_control(struct device *d, const struct applet *a, const char *line, struct buf *out)
{
    size_t n = strcspn(line, " ");
    const char *rest = line + n + strspn(line + n, " ");
    bool on = strcmp(rest, "on") == 0;

#define IS(word) (strlen(word) == n && strncmp(line, word, n) == 0)
    if (IS("make")) {
        make(d, rest, out);
        return true;
    }
    if (IS("state")) {
        tell_state(d, a, out);
        return true;
    }
    if (IS("touch"))
        d->touched = true;
    else if (IS("auto"))
        d->touch_self = on;
    else if (IS("lie"))
        d->lies = on;
    else if (IS("replay"))
        d->replays = on;
    else if (IS("confuse"))
        d->confuses = on;
    else if (IS("finger"))
        d->bad_finger = strcmp(rest, "bad") == 0;
    else if (IS("patience"))
        d->touch_ms = atoi(rest);
    else if (IS("tries"))
        d->tries = atoi(rest);
    else if (IS("replug"))
        d->in_a_row = 0;
    else
        return false;
#undef IS
    buf_printf(out, "OK\n");
    return true;
}
