/* The control socket: one line in, one line out, a connection for each or many.
 *
 *   state                    JSON: what is selected, verified, left of tries, counted
 *   reset-counts             the counts and the log begin anew
 *   touch                    the finger, if the card waits for one ("ERR not waiting" else)
 *   touch-mode manual|auto|never     touch-timeout MS
 *   pull | insert            out of the reader, and in again
 *   fail N SW [INS]          the next N commands (of that instruction, hex) answer SW (hex)
 *   drop-on INS|off          the card goes away when that instruction comes
 *   garbage on|off           answers are noise
 *   fido LINE                testfido's, for the card's FIDO applet
 *   delay MS                 each command takes that long
 *   log                      JSON: the last commands, PINs cut off
 *   management-key HEX       PIV's, of the kind that it is
 *   object ID                PIV's data object, hex
 *   quit */
#include "tests/card/emu.h"
#include "tests/card/fido.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void put_state(struct emu *e, struct buf *b)
{
    bool first = true;

    buf_printf(
        b,
        "{\"selected\":\"%s\",\"verified\":[%s,%s,%s],\"tries\":[%d,%d,%d],\"counter\":%u,"
        "\"total\":%u,"
        "\"touch_waiting\":%s,\"pulled\":%s,\"wrong_applet_pins\":%u,\"verifies\":%u,\"ins\":{",
        e->selected       ? "openpgp"
        : e->piv_selected ? "piv"
                          : "",
        e->verified[0] ? "true" : "false", e->verified[1] ? "true" : "false",
        e->verified[2] ? "true" : "false", e->tries[0], e->tries[1], e->tries[2], e->counter,
        e->total, e->touch_waiting ? "true" : "false", e->pulled ? "true" : "false",
        e->wrong_applet_pins, e->verify_count);
    for (int i = 0; i < 256; i++) {
        if (e->by_ins[i] == 0)
            continue;
        buf_printf(b, "%s\"%02X\":%u", first ? "" : ",", (unsigned)i, e->by_ins[i]);
        first = false;
    }
    buf_printf(b, "},\"piv\":{\"verified\":%s,\"managed\":%s,\"tries\":[%d,%d],\"slots\":[",
               e->piv.verified ? "true" : "false", e->piv.managed ? "true" : "false",
               e->piv.tries[0], e->piv.tries[1]);
    first = true;
    for (unsigned ref = 0; ref < 256; ref++) {
        int slot = piv_slot_index((uint8_t)ref);

        if (slot < 0 || e->piv.keys[slot].key.pkey == NULL)
            continue;
        buf_printf(b, "%s\"%02X\"", first ? "" : ",", ref);
        first = false;
    }
    buf_printf(b, "]}}");
}

static void put_log(struct emu *e, struct buf *b)
{
    unsigned from = e->nlog > 50 ? e->nlog - 50 : 0;

    buf_printf(b, "[");
    for (unsigned i = from; i < e->nlog; i++)
        buf_printf(b, "%s\"%s\"", i > from ? "," : "", e->log[i % 50]);
    buf_printf(b, "]");
}

static const char *set_touch(struct emu *e, const char *mode)
{
    e->touch_mode = strcmp(mode, "auto") == 0    ? TOUCH_AUTO
                    : strcmp(mode, "never") == 0 ? TOUCH_NO
                                                 : TOUCH_MANUAL;
    return "OK";
}

static void put_object(struct emu *e, uint32_t id, struct buf *b)
{
    const struct buf *value = piv_object(e, id, false);
    char *hex = value != NULL ? hex_encode(value->data, value->len) : NULL;

    buf_printf(b, "%s", hex != NULL ? hex : "");
    gpgrt_free(hex);
}

static const char *set_management_key(struct emu *e, const char *hex)
{
    struct buf key = BUF_INIT;
    bool ok = hex_decode(hex, &key) == 0 && key.len == e->piv.mgm_len;

    if (ok) {
        memcpy(e->piv.mgm, key.data, key.len);
        e->piv.mgm_changed = true;
    }
    buf_free(&key);
    return ok ? "OK" : "ERR length";
}

static const char *press(struct emu *e)
{
    if (!e->touch_waiting)
        return "ERR not waiting";
    e->touched = true;
    return "OK";
}

/* What has an answer of its own appends it to B and returns NULL. */
static const char *command(struct emu *e, char *line, struct buf *b)
{
    char *save = NULL, *verb, *arg, *arg2, *arg3;

    line[strcspn(line, "\r\n")] = '\0';
    if (strncmp(line, "fido ", 5) == 0)
        return fido_card_control(e, line + 5, b) ? NULL : "ERR";
    verb = strtok_r(line, " ", &save);
    arg = strtok_r(NULL, " ", &save);
    arg2 = strtok_r(NULL, " ", &save);
    arg3 = strtok_r(NULL, " ", &save);
    if (verb == NULL)
        return "ERR empty";
    if (strcmp(verb, "state") == 0) {
        put_state(e, b);
        return NULL;
    }
    if (strcmp(verb, "log") == 0) {
        put_log(e, b);
        return NULL;
    }
    if (strcmp(verb, "touch") == 0)
        return press(e);
    if (strcmp(verb, "reset-counts") == 0) {
        e->total = e->verify_count = e->wrong_applet_pins = e->nlog = 0;
        memset(e->by_ins, 0, sizeof e->by_ins);
    } else if (strcmp(verb, "pull") == 0) {
        e->pulled = true;
    } else if (strcmp(verb, "insert") == 0) {
        e->pulled = false;
    } else if (strcmp(verb, "quit") == 0) {
        exit(0);
    } else if (arg == NULL) {
        return "ERR unknown or without argument";
    } else if (strcmp(verb, "object") == 0) {
        put_object(e, (uint32_t)strtoul(arg, NULL, 16), b);
        return NULL;
    } else if (strcmp(verb, "management-key") == 0) {
        return set_management_key(e, arg);
    } else if (strcmp(verb, "touch-mode") == 0) {
        return set_touch(e, arg);
    } else if (strcmp(verb, "touch-timeout") == 0) {
        e->touch_timeout_ms = atoi(arg);
    } else if (strcmp(verb, "delay") == 0) {
        e->delay_ms = atoi(arg);
    } else if (strcmp(verb, "garbage") == 0) {
        e->garbage = strcmp(arg, "on") == 0;
    } else if (strcmp(verb, "drop-on") == 0) {
        e->drop_ins = strcmp(arg, "off") == 0 ? -1 : (int)strtol(arg, NULL, 16);
    } else if (strcmp(verb, "fail") == 0 && arg2 != NULL) {
        e->fail.n = (unsigned)strtoul(arg, NULL, 10);
        e->fail.sw = (unsigned)strtoul(arg2, NULL, 16);
        e->fail.ins = arg3 != NULL ? (int)strtol(arg3, NULL, 16) : -1;
    } else {
        return "ERR unknown";
    }
    return "OK";
}

static void serve(struct emu *e, FILE *in, FILE *out)
{
    char line[256];

    while (fgets(line, sizeof line, in) != NULL) {
        struct buf b = BUF_INIT;
        const char *answer;

        pthread_mutex_lock(&e->mutex);
        answer = command(e, line, &b);
        pthread_cond_broadcast(&e->changed);
        pthread_mutex_unlock(&e->mutex);
        fprintf(out, "%s\n", answer != NULL ? answer : buf_cstr(&b));
        fflush(out);
        buf_free(&b);
    }
}

struct control {
    struct emu *e;
    int fd;
};

static void *control_thread(void *arg)
{
    struct control *c = arg;

    for (;;) {
        int fd = accept(c->fd, NULL, NULL);
        FILE *in = fd >= 0 ? fdopen(fd, "r") : NULL, *out = fd >= 0 ? fdopen(dup(fd), "w") : NULL;

        if (in != NULL && out != NULL)
            serve(c->e, in, out);
        if (in != NULL)
            fclose(in);
        if (out != NULL)
            fclose(out);
    }
    return NULL;
}

void emu_control(struct emu *e, const char *path)
{
    static struct control c;
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    pthread_t thread;

    if (strlen(path) >= sizeof sa.sun_path) {
        fprintf(stderr, "testcard: %s: too long for a socket\n", path);
        exit(2);
    }
    memcpy(sa.sun_path, path, strlen(path) + 1);
    unlink(path);
    c.e = e;
    c.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(c.fd, (struct sockaddr *)&sa, sizeof sa) != 0 || listen(c.fd, 8) != 0 ||
        pthread_create(&thread, NULL, control_thread, &c) != 0) {
        perror("testcard: control socket");
        exit(2);
    }
}
