#include "agent/token_job.h"

#include "proto/git_object.h"
#include "proto/token_protocol.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define MAX_RESULT   65536u
#define MAX_LINES    (4u << 20)
#define MAX_LINE     65536u
#define MAX_KEYS     4096u
#define MAX_PROGRESS 4096u
#define MAX_WORDS    400u

/* --- cancelling ---------------------------------------------------------------------------------- */

void channel_cancel(struct channel *ch)
{
    uint8_t octets[TOKEN_CANCEL_OCTETS] = {(uint8_t)ch->index, (uint8_t)(ch->number >> 24),
                                           (uint8_t)(ch->number >> 16), (uint8_t)(ch->number >> 8),
                                           (uint8_t)ch->number};

    /* Few octets go into a pipe whole or not at all. */
    while (write(ch->t->cancel_fd, octets, sizeof octets) < 0 && errno == EINTR)
        continue;
}

/* --- what comes from the process ------------------------------------------------------------------- */

static gpg_error_t on_data(void *arg, struct rd part)
{
    struct channel *ch = arg;
    struct job *j = ch->job;

    if (part.n > MAX_RESULT - j->result.len)
        return gpg_error(GPG_ERR_TOO_LARGE);
    buf_put_rd(&j->result, part);
    return buf_err(&j->result);
}

static gpg_error_t add_key_line(struct job *j, const char *text)
{
    char **more;
    char *copy;

    if (j->nkeys >= MAX_KEYS)
        return gpg_error(GPG_ERR_TOO_LARGE);
    more = gpgrt_reallocarray(j->key_lines, j->nkeys, j->nkeys + 2, sizeof *more);
    if (more == NULL)
        return gpg_error_from_syserror();
    j->key_lines = more;
    copy = gpgrt_strdup(text);
    if (copy == NULL)
        return gpg_error_from_syserror();
    more[j->nkeys++] = copy;
    more[j->nkeys] = NULL;
    return 0;
}

static gpg_error_t on_token_line(struct channel *ch, const char *rest)
{
    char *copy = gpgrt_strdup(rest);

    if (copy == NULL)
        return gpg_error_from_syserror();
    gpgrt_free(ch->job->token_line);
    ch->job->token_line = copy;
    return 0;
}

static gpg_error_t on_key_line(struct channel *ch, const char *rest)
{
    return add_key_line(ch->job, rest);
}

static gpg_error_t on_touch_line(struct channel *ch, const char *rest)
{
    struct job *j = ch->job;

    pthread_mutex_lock(&ch->t->mutex);
    j->touch = strcmp(rest, "wait") == 0;
    if (j->w != NULL)
        wait_wake(j->w);
    pthread_mutex_unlock(&ch->t->mutex);
    return 0;
}

/* Kept until the caller takes it; what a caller that is busy otherwise missed it may miss. */
static gpg_error_t on_progress_line(struct channel *ch, const char *rest)
{
    struct job *j = ch->job;

    pthread_mutex_lock(&ch->t->mutex);
    if (j->w != NULL && j->progress.len + strlen(rest) < MAX_PROGRESS) {
        buf_printf(&j->progress, "%s\n", rest);
        wait_wake(j->w);
    }
    pthread_mutex_unlock(&ch->t->mutex);
    return 0;
}

static gpg_error_t on_shown_line(struct channel *ch, const char *rest)
{
    struct job *j = ch->job;
    char *pin, *device;
    long touch, flags, counter;
    gpg_error_t err;

    if ((err = field_get(rest, "pin", &pin)) != 0)
        return err;
    j->pin_typed = pin != NULL && strcmp(pin, "typed") == 0;
    j->pin_cached = pin != NULL && strcmp(pin, "cached") == 0;
    j->pin_device = pin != NULL && strcmp(pin, "device") == 0;
    gpgrt_free(pin);
    if ((err = field_get_int(rest, "touch", 0, &touch)) != 0 ||
        (err = field_get_int(rest, "flags", -1, &flags)) != 0 ||
        (err = field_get_int(rest, "counter", -1, &counter)) != 0)
        return err;
    if (flags < -1 || flags > 0xff || counter < -1 || counter > 0xffffffffL)
        return gpg_error(GPG_ERR_ERANGE);
    if ((err = field_get(rest, "device", &device)) != 0)
        return err;
    if (device != NULL && strlen(device) < sizeof j->device)
        memcpy(j->device, device, strlen(device) + 1);
    gpgrt_free(device);
    j->touched = touch == 1;
    j->asserted = flags >= 0 && counter >= 0;
    if (j->asserted)
        j->says = (struct sk_assertion){.flags = (uint8_t)flags, .counter = (uint32_t)counter};
    return 0;
}

/* What a wallet says of a failure: for people, so no more than they can read. */
static gpg_error_t on_wallet_line(struct channel *ch, const char *rest)
{
    struct job *j = ch->job;
    char *text = NULL;
    gpg_error_t err = field_get(rest, "say", &text);

    if (err == 0 && text != NULL) {
        gpgrt_free(j->words);
        j->words = text_clean(text, strlen(text), MAX_WORDS);
    }
    gpgrt_free(text);
    return err;
}

static gpg_error_t take_status(struct channel *ch, const char *line)
{
    static const struct {
        const char *keyword;
        gpg_error_t (*handle)(struct channel *ch, const char *rest);
    } table[] = {
        {"TOKEN", on_token_line},       {"KEY", on_key_line},
        {"TOUCH", on_touch_line},       {"SHOWN", on_shown_line},
        {"PROGRESS", on_progress_line}, {TOKEN_STATUS_WALLET, on_wallet_line},
    };
    size_t len = strcspn(line, " ");
    const char *rest = line + len + strspn(line + len, " ");
    struct job *j = ch->job;

    if (j->other && j->lines.len < MAX_LINES) {
        buf_printf(&j->lines, "%s\n", line);
        if (buf_err(&j->lines) != 0)
            return buf_err(&j->lines);
    }
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strlen(table[i].keyword) == len && strncmp(table[i].keyword, line, len) == 0)
            return table[i].handle(ch, rest);
    return 0;
}

/* "KEYWORD REST": where REST begins, NULL: another keyword. */
static const char *after(const char *line, const char *keyword)
{
    size_t n = strlen(keyword);

    return strncmp(line, keyword, n) == 0 && line[n] == ' ' ? line + n + 1 : NULL;
}

static gpg_error_t on_status(void *arg, const char *line)
{
    struct channel *ch = arg;
    struct buf *whole = &ch->job->long_line;
    const char *more = after(line, TOKEN_STATUS_MORE), *last = after(line, TOKEN_STATUS_LAST),
               *part = more != NULL ? more : last;
    gpg_error_t err;

    if (part == NULL)
        return take_status(ch, line);
    if (strlen(part) > MAX_LINE - whole->len)
        return gpg_error(GPG_ERR_TOO_LARGE);
    buf_put(whole, part, strlen(part));
    if (last == NULL)
        return buf_err(whole);
    err = buf_cstr(whole) != NULL ? take_status(ch, buf_cstr(whole)) : gpg_error(GPG_ERR_ENOMEM);
    buf_reset(whole);
    return err;
}

/* --- what the process wants ------------------------------------------------------------------------ */

static gpg_error_t parse_pin_request(const char *line, struct token_pin_request *out)
{
    struct token_pin_request r = {0};
    char *ref = NULL, *wrong = NULL, *label = NULL;
    long tries, low, last, min, max, fresh;
    gpg_error_t err;

    if ((err = field_get(line, "ref", &ref)) != 0 ||
        (err = field_get(line, "error", &wrong)) != 0 ||
        (err = field_get(line, "label", &label)) != 0 ||
        (err = field_get_int(line, "low", 0, &low)) != 0 ||
        (err = field_get_int(line, "tries", -1, &tries)) != 0 ||
        (err = field_get_int(line, "last", 0, &last)) != 0 ||
        (err = field_get_int(line, "min", 0, &min)) != 0 ||
        (err = field_get_int(line, "new", 0, &fresh)) != 0 ||
        (err = field_get_int(line, "max", 0, &max)) != 0)
        goto out;
    if ((ref != NULL && strlen(ref) >= sizeof r.ref) ||
        (label != NULL && strlen(label) >= sizeof r.label) || tries < -1 || tries > 255 ||
        min < 0 || min > 255 || max < 0 || max > 255) {
        err = gpg_error(GPG_ERR_BAD_DATA);
        goto out;
    }
    memcpy(r.ref, ref != NULL ? ref : "", ref != NULL ? strlen(ref) : 0);
    memcpy(r.label, label != NULL ? label : "", label != NULL ? strlen(label) : 0);
    r.tries = (int)tries;
    r.low = low == 1;
    r.last = last == 1;
    r.wrong = wrong != NULL;
    r.fresh = fresh == 1;
    r.min = (int)min;
    r.max = (int)max;
    *out = r;
out:
    gpgrt_free(ref);
    gpgrt_free(wrong);
    gpgrt_free(label);
    return err;
}

/* Hands the question to the caller's thread and waits for the answer; a job that nobody waits for
 * gets none. */
static gpg_error_t answer_by_caller(struct channel *ch, struct conversation *c,
                                    const struct token_pin_request *ask, const char *line)
{
    struct token *t = ch->t;
    struct job *j = ch->job;
    struct buf pin = BUF_INIT_SECURE;
    char *copy = line != NULL ? gpgrt_strdup(line) : NULL;
    gpg_error_t err = 0;

    if (line != NULL && copy == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_lock(&t->mutex);
    gpgrt_free(j->ask_line);
    j->ask_line = copy;
    if (ask != NULL)
        j->ask = *ask;
    j->pin = PIN_ASKED;
    if (j->w != NULL)
        wait_wake(j->w);
    while (j->pin == PIN_ASKED && !j->abandoned && j->w != NULL && !t->gone)
        pthread_cond_wait(&j->changed, &t->mutex);
    if (j->pin == PIN_GIVEN && !j->abandoned && !t->gone) {
        pin = j->pin_answer;
        j->pin_answer = BUF_INIT_SECURE;
    } else {
        err = gpg_error(GPG_ERR_CANCELED);
    }
    j->pin = PIN_NOT_ASKED;
    pthread_mutex_unlock(&t->mutex);
    if (err == 0)
        err = conversation_answer(c, buf_rd(&pin), true);
    buf_free(&pin);
    return err;
}

static gpg_error_t answer_pin(struct channel *ch, struct conversation *c, const char *line)
{
    struct token_pin_request ask;
    gpg_error_t err = parse_pin_request(line, &ask);

    return err != 0 ? err : answer_by_caller(ch, c, &ask, NULL);
}

static gpg_error_t on_inquire(void *arg, struct conversation *c, const char *line)
{
    struct channel *ch = arg;
    struct job *j = ch->job;
    size_t len = strcspn(line, " ");

    if (strncmp(line, "PIN", len) == 0 && len == 3)
        return answer_pin(ch, c, line + len);
    if (j->inquiry != NULL && strlen(j->inquiry) == len && strncmp(line, j->inquiry, len) == 0)
        return conversation_answer(c, buf_rd(&j->data), j->data.secure);
    return answer_by_caller(ch, c, NULL, line);
}

gpg_error_t job_carry_out(struct channel *ch, struct job *j)
{
    const struct conversation_handlers h = {
        .data = on_data, .inquire = on_inquire, .status = on_status, .arg = ch};
    const char *line;

    field_put_int(&j->line, "job", (long)ch->number);
    line = buf_cstr(&j->line);
    if (line == NULL) {
        j->err = buf_err(&j->line);
        return 0;
    }
    return conversation_transact(&ch->conv, line, &h, &j->err);
}
