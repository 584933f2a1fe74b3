/* What a token process says to the broker and asks it, on one channel. */
#include "devices/token_channel.h"

#include "proto/token_protocol.h"

#include <string.h>

#define MAX_STATUS (ASSUAN_LINELENGTH - 4) /* "S " before it, the line end behind it */

/* A line that is too long for Assuan goes in parts, none of which begins with a blank, as that would be lost. */
static gpg_error_t write_parts(struct channel *c, const char *line)
{
    static const size_t room = MAX_STATUS - sizeof TOKEN_STATUS_MORE;
    gpg_error_t err = 0;

    while (strlen(line) > room && err == 0) {
        char part[MAX_STATUS];
        size_t n = room;

        while (n > 1 && line[n] == ' ')
            n--;
        memcpy(part, line, n);
        part[n] = '\0';
        err = assuan_write_status(c->ctx, TOKEN_STATUS_MORE, part);
        line += n;
    }
    return err == 0 ? assuan_write_status(c->ctx, TOKEN_STATUS_LAST, line) : err;
}

gpg_error_t channel_status(struct channel *c, const char *keyword, const char *fields)
{
    struct buf whole = BUF_INIT;
    gpg_error_t err;

    if (strlen(keyword) + 1 + strlen(fields) <= MAX_STATUS)
        return assuan_write_status(c->ctx, keyword, fields);
    buf_printf(&whole, "%s %s", keyword, fields);
    err = buf_cstr(&whole) != NULL ? write_parts(c, buf_cstr(&whole)) : gpg_error(GPG_ERR_ENOMEM);
    buf_free(&whole);
    return err;
}

gpg_error_t channel_inquire(struct channel *c, const char *line, size_t max, bool secret,
                            struct buf *out)
{
    unsigned char *data = NULL;
    size_t len = 0;
    gpg_error_t err;

    if (secret)
        assuan_begin_confidential(c->ctx);
    err = assuan_inquire(c->ctx, line, &data, &len, max);
    if (secret)
        assuan_end_confidential(c->ctx);
    if (err == 0)
        buf_put(out, data, len);
    if (data != NULL)
        explicit_bzero(data, len);
    assuan_free(c->ctx, data);
    return err != 0 ? err : buf_err(out);
}

static bool was_canceled(void *arg)
{
    struct channel *c = arg;

    return c->job != 0 && c->s->canceled[c->index] == c->job;
}

/* KEYWORD and FIELDS as one line. */
static const char *join(struct buf *whole, const char *keyword, const char *fields)
{
    buf_printf(whole, fields != NULL && fields[0] != '\0' ? "%s %s" : "%s%s", keyword,
               fields != NULL ? fields : "");
    return buf_cstr(whole);
}

static gpg_error_t ask_other(void *arg, const char *keyword, const char *fields, size_t max,
                             bool secret, struct buf *answer)
{
    struct channel *c = arg;
    struct buf whole = BUF_INIT;
    gpg_error_t err;

    if (was_canceled(c))
        return gpg_error(GPG_ERR_CANCELED);
    err = join(&whole, keyword, fields) != NULL
              ? channel_inquire(c, buf_cstr(&whole), max, secret, answer)
              : gpg_error(GPG_ERR_ENOMEM);
    buf_free(&whole);
    return gpg_err_code(err) == GPG_ERR_ASS_CANCELED ? gpg_error(GPG_ERR_CANCELED) : err;
}

static gpg_error_t ask_pin(void *arg, const struct pin_request *q, struct buf *pin)
{
    struct channel *c = arg;
    struct buf line = BUF_INIT;
    gpg_error_t err;

    if (was_canceled(c))
        return gpg_error(GPG_ERR_CANCELED);
    field_put(&line, "ref", q->ref);
    field_put_int(&line, "tries", q->tries);
    if (q->label != NULL)
        field_put(&line, "label", q->label);
    if (q->low)
        field_put_int(&line, "low", 1);
    if (q->tries == 1)
        field_put_int(&line, "last", 1);
    if (q->wrong)
        field_put(&line, "error", "wrong");
    if (q->min > 0)
        field_put_int(&line, "min", q->min);
    if (q->max > 0)
        field_put_int(&line, "max", q->max);
    if (q->fresh)
        field_put_int(&line, "new", 1);
    err = buf_cstr(&line) != NULL ? ask_other(c, "PIN", buf_cstr(&line), MAX_PIN, true, pin)
                                  : gpg_error(GPG_ERR_ENOMEM);
    buf_free(&line);
    return err == 0 && pin->len == 0 ? gpg_error(GPG_ERR_CANCELED) : err;
}

static gpg_error_t tell_other(void *arg, const char *keyword, const char *fields)
{
    return channel_status(arg, keyword, fields);
}

static void tell_touch(void *arg, bool waiting)
{
    struct channel *c = arg;

    (void)assuan_write_status(c->ctx, "TOUCH", waiting ? "wait" : "done");
}

struct driver_io channel_io(struct channel *c)
{
    return (struct driver_io){.ask_pin = ask_pin,
                              .touch = tell_touch,
                              .inquire = ask_other,
                              .status = tell_other,
                              .canceled = was_canceled,
                              .arg = c};
}

gpg_error_t channel_shown(struct channel *c, const struct driver_op *op)
{
    struct buf line = BUF_INIT;
    gpg_error_t err;

    if (op->pin_typed || op->pin_cached || op->pin_device)
        field_put(&line, "pin", op->pin_typed ? "typed" : op->pin_cached ? "cached" : "device");
    if (op->touched)
        field_put_int(&line, "touch", 1);
    if (op->asserted) {
        field_put_int(&line, "flags", op->says.flags);
        field_put_int(&line, "counter", (long)op->says.counter);
    }
    if (op->device[0] != '\0')
        field_put(&line, "device", op->device);
    err = buf_cstr(&line) != NULL ? channel_status(c, "SHOWN", buf_cstr(&line)) : buf_err(&line);
    buf_free(&line);
    return err;
}
