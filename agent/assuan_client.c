#include "agent/assuan_client.h"

#include <ctype.h>
#include <gcrypt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_LINE (ASSUAN_LINELENGTH - 2)
/* libassuan writes a line and its end apart: the rest is there within microseconds, or the peer is not
 * to be waited for closely. */
#define PARTIAL_YIELDS 200u
#define PARTIAL_SHORT  100u /* times 1 ms, on a busy machine; then */
#define PARTIAL_MS     20

static void *secure_realloc(void *p, size_t n)
{
    return gcry_realloc(p, n);
}

static gpg_error_t wait_for_line(struct conversation *c)
{
    char peek[ASSUAN_LINELENGTH];
    unsigned partial = 0;
    gpg_error_t err = 0;
    ssize_t n;

    while (c->ctx == NULL || !assuan_pending_line(c->ctx)) {
        err = c->wait(c->arg, c->fd, -1);
        if (err != 0)
            break;
        /* libassuan reads until it has a whole line and cannot be called off meanwhile: let it
         * begin only when one is there. */
        n = recv(c->fd, peek, sizeof peek, MSG_PEEK | MSG_DONTWAIT);
        if (n <= 0 || n == (ssize_t)sizeof peek || memchr(peek, '\n', (size_t)n) != NULL)
            break;
        if (++partial < PARTIAL_YIELDS) {
            sched_yield();
            continue;
        }
        err = c->wait(c->arg, -1, partial < PARTIAL_YIELDS + PARTIAL_SHORT ? 1 : PARTIAL_MS);
        if (err != 0)
            break;
    }
    explicit_bzero(peek, sizeof peek); /* it may have been a PIN */
    return err;
}

gpg_error_t conversation_open(struct conversation *c, int fd, assuan_wait_fn *wait, void *arg)
{
    static struct assuan_malloc_hooks secure = {
        .malloc = gcry_malloc_secure, .realloc = secure_realloc, .free = gcry_free};
    assuan_context_t ctx = NULL;
    gpg_error_t err;

    *c = (struct conversation){.fd = fd, .wait = wait, .arg = arg};
    err = wait_for_line(c);
    if (err == 0)
        err = assuan_new_ext(&ctx, GPG_ERR_SOURCE_DEFAULT, &secure, NULL, NULL);
    if (err != 0) {
        close(fd);
        return err;
    }
    assuan_set_flag(ctx, ASSUAN_NO_FIXSIGNALS, 1);
    c->held = gcry_calloc_secure(1, sizeof *c->held);
    err = c->held != NULL ? 0 : gpg_error_from_syserror();
    if (err == 0) {
        assuan_set_pointer(ctx, c);
        held_lines_install(ctx);
    }
    if (err == 0)
        err = assuan_socket_connect_fd(ctx, fd, 0);
    else
        close(fd);
    if (err != 0) {
        assuan_release(ctx);
        gcry_free(c->held);
        c->held = NULL;
        return err;
    }
    c->ctx = ctx;
    return 0;
}

void conversation_close(struct conversation *c)
{
    if (c->ctx != NULL)
        assuan_release(c->ctx);
    c->ctx = NULL;
    gcry_free(c->held);
    c->held = NULL;
}

gpg_error_t conversation_answer(struct conversation *c, struct rd data, bool secret)
{
    gpg_error_t err;

    if (secret)
        assuan_begin_confidential(c->ctx);
    err = data.n > 0 ? assuan_send_data(c->ctx, data.p, data.n) : 0;
    if (err == 0)
        err = assuan_send_data(c->ctx, NULL, 0); /* flushes and says END */
    if (secret)
        assuan_end_confidential(c->ctx);
    return err;
}

static gpg_error_t handle_inquiry(struct conversation *c, const struct conversation_handlers *h,
                                  const char *line)
{
    gpg_error_t err = h->inquire != NULL ? h->inquire(h->arg, c, line) : GPG_ERR_CANCELED;

    return err != 0 ? assuan_write_line(c->ctx, "CAN") : 0;
}

gpg_error_t conversation_transact(struct conversation *c, const char *line,
                                  const struct conversation_handlers *h, gpg_error_t *answer)
{
    static const struct conversation_handlers none = {0};
    assuan_response_t type;
    gpg_error_t err;
    char *got;
    int len, off;

    if (h == NULL)
        h = &none;
    if (strlen(line) > MAX_LINE || strpbrk(line, "\r\n") != NULL)
        return gpg_error(GPG_ERR_ASS_LINE_TOO_LONG);
    err = assuan_write_line(c->ctx, line);
    while (err == 0) {
        err = wait_for_line(c);
        if (err == 0)
            err = assuan_client_read_response(c->ctx, &got, &len);
        if (err == 0)
            err = assuan_client_parse_response(c->ctx, got, len, &type, &off);
        if (err != 0)
            break;
        switch (type) {
        case ASSUAN_RESPONSE_OK:
            *answer = 0;
            return 0;
        case ASSUAN_RESPONSE_ERROR:
            *answer = (gpg_error_t)strtoul(got + off, NULL, 10);
            if (*answer == 0)
                *answer = gpg_error(GPG_ERR_GENERAL);
            return 0;
        case ASSUAN_RESPONSE_DATA:
            if (h->data != NULL)
                err = h->data(h->arg, rd_of(got + off, (size_t)(len - off)));
            break;
        case ASSUAN_RESPONSE_INQUIRE:
            err = handle_inquiry(c, h, got + off);
            break;
        case ASSUAN_RESPONSE_STATUS:
            if (h->status != NULL)
                err = h->status(h->arg, got + off);
            break;
        case ASSUAN_RESPONSE_COMMENT:
            break;
        default:
            err = gpg_error(GPG_ERR_ASS_INV_RESPONSE);
        }
    }
    return err;
}

void assuan_put_escaped(struct buf *line, const char *s)
{
    static const char dots[] = "...";
    size_t room = MAX_LINE - sizeof dots - line->len, used = 0;

    for (const uint8_t *p = (const uint8_t *)s; *p != '\0'; p++) {
        bool plain = *p >= ' ' && *p != '%' && *p != 0x7f;

        used += plain ? 1 : 3;
        if (used > room) {
            /* Do not leave half a UTF-8 character behind. */
            while (line->len > 0 && (*p & 0xc0) == 0x80 &&
                   (line->data[line->len - 1] & 0x80) != 0) {
                bool lead = (line->data[line->len - 1] & 0xc0) == 0xc0;

                line->len--;
                if (lead)
                    break;
            }
            buf_put(line, dots, sizeof dots - 1);
            return;
        }
        if (plain)
            buf_put_u8(line, *p);
        else
            buf_printf(line, "%%%02X", (unsigned)*p);
    }
}

void assuan_put_unescaped(struct buf *b, const char *s, bool plus)
{
    for (; *s != '\0'; s++) {
        unsigned c;

        if (*s == '%' && isxdigit((unsigned char)s[1]) && isxdigit((unsigned char)s[2]) &&
            sscanf(s + 1, "%2x", &c) == 1) {
            buf_put_u8(b, (uint8_t)c);
            s += 2;
        } else {
            buf_put_u8(b, plus && *s == '+' ? ' ' : (uint8_t)*s);
        }
    }
}
