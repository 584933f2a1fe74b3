/* Cards and their keys as the SCD commands see them: OpenPGP cards that are there now, asked through their own processes. */
#include "agent/gpg_dialog.h"
#include "agent/hotplug.h"
#include "agent/scd.h"
#include "proto/token_protocol.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* A card that was just put in is worth waiting for. */
#define SETTLE_MS 3000
#define ASK_S     30u
#define WRAP_KEY  16u

gpg_error_t scd_fail(struct gpg_session *s, gpg_err_code_t code, const char *text)
{
    return gpg_tell_error(s, gpg_err_make(GPG_ERR_SOURCE_SCD, code), text);
}

char *scd_next_word(char *line)
{
    char *end = line + strcspn(line, " \t");

    if (*end != '\0')
        *end++ = '\0';
    return end + strspn(end, " \t");
}

gpg_error_t scd_allowed(struct gpg_session *s)
{
    return s->conf->disable_scdaemon
               ? gpg_fail(s, GPG_ERR_NOT_SUPPORTED, "disable-scdaemon is in gpg-agent.conf")
               : 0;
}

gpg_error_t scd_state(struct gpg_session *s, struct scd **out)
{
    if (s->scd == NULL)
        s->scd = gpgrt_calloc(1, sizeof *s->scd);
    *out = s->scd;
    return s->scd != NULL ? 0 : gpg_error_from_syserror();
}

/* --- which cards there are ------------------------------------------------------------------------------------------------------ */

void scd_card_close(struct scd_card *c)
{
    token_info_put(c->info);
    token_unref(c->token);
    *c = (struct scd_card){0};
}

void scd_cards_free(struct scd_card *cards, size_t n)
{
    for (size_t i = 0; i < n; i++)
        scd_card_close(&cards[i]);
    gpgrt_free(cards);
}

/* STARTING: is a card being read that may become one of them? */
static gpg_error_t list_now(struct gpg_session *s, struct scd_card **out, size_t *n, bool *starting)
{
    struct hotplug_entry *e;
    struct scd_card *cards;
    size_t got = 0, entries = 0;

    *starting = false;
    e = hotplug_entries(s->a->hotplug, &entries);
    cards = gpgrt_calloc(entries + 1, sizeof *cards);
    for (size_t i = 0; e != NULL && cards != NULL && i < entries; i++) {
        const struct token_info *info;

        if (strcmp(e[i].state, "starting") == 0)
            *starting = true;
        if (e[i].token == NULL || strcmp(e[i].state, "ready") != 0 || token_gone(e[i].token))
            continue;
        info = token_info_get(e[i].token);
        if (info != NULL && info->aid != NULL)
            cards[got++] = (struct scd_card){token_ref(e[i].token), info};
        else
            token_info_put(info);
    }
    if (e != NULL)
        hotplug_entries_free(e, entries);
    if (cards == NULL)
        return gpg_error(GPG_ERR_ENOMEM);
    *out = cards;
    *n = got;
    return 0;
}

/* Waits for cards that are being read, but not for long: without a reader the answer is quick. */
gpg_error_t scd_cards(struct gpg_session *s, struct scd_card **out, size_t *n)
{
    struct wait w;
    bool starting;
    int fd = -1;
    gpg_error_t err;

    if (!s->a->owns_hardware) {
        *out = gpgrt_calloc(1, sizeof **out);
        *n = 0;
        return *out != NULL ? 0 : gpg_error_from_syserror();
    }
    hotplug_settle_all(s->a->hotplug, SETTLE_MS);
    err = list_now(s, out, n, &starting);
    if (err != 0 || !starting || *n > 0)
        return err;
    err = wait_begin(s->a->waits, &w, s->origin.fd, 0);
    if (err == 0) {
        w.ignore_lock = true;
        w.deadline_ms = monotonic_ms() + SETTLE_MS;
        err = hotplug_watch(s->a->hotplug, &fd);
        while (err == 0 && starting && *n == 0) {
            uint64_t changes;

            err = wait_for(&w, fd, NULL);
            if (err == 0 && read(fd, &changes, sizeof changes) < 0)
                gpgrt_log_debug("hotplug event descriptor: %s\n",
                                gpg_strerror(gpg_error_from_syserror()));
            if (err == 0) {
                scd_cards_free(*out, *n);
                err = list_now(s, out, n, &starting);
                if (err != 0)
                    *out = NULL;
            }
        }
        if (fd >= 0)
            hotplug_unwatch(s->a->hotplug, fd);
        wait_end(&w);
    }
    if (gpg_err_code(err) == GPG_ERR_TIMEOUT)
        return 0;
    if (err != 0) {
        scd_cards_free(*out, *out != NULL ? *n : 0);
        *out = NULL;
        *n = 0;
    }
    return err;
}

gpg_error_t scd_card_find(struct gpg_session *s, const char *serial, struct scd_card *c)
{
    const char *own = s->scd != NULL ? s->scd->serial : NULL;
    const char *wanted = serial != NULL ? serial : own;
    struct scd_card *cards = NULL;
    size_t n = 0, at = 0;
    gpg_error_t err = scd_cards(s, &cards, &n);

    if (err != 0)
        return gpg_map_error(s, err, true);
    for (at = 0; wanted != NULL && at < n; at++)
        if (strcasecmp(cards[at].info->aid, wanted) == 0)
            break;
    if (at == n && serial == NULL)
        at = 0;
    if (at < n) {
        *c = cards[at];
        cards[at] = (struct scd_card){0};
    }
    scd_cards_free(cards, n);
    if (c->token != NULL)
        return 0;
    return scd_fail(s, GPG_ERR_ENODEV,
                    s->a->owns_hardware ? NULL
                                        : "another agent of yours holds the hardware: see "
                                          "latchkey status");
}

gpg_error_t scd_card_open(struct gpg_session *s, struct scd_card *c)
{
    const char *own = s->scd != NULL ? s->scd->serial : NULL;
    gpg_error_t err = scd_allowed(s);

    if (err != 0)
        return err;
    if (scd_lock_is_others(gpg_cards_lock(s->a->gpg), s->origin.id))
        return scd_fail(s, GPG_ERR_LOCKED, NULL);
    if (own == NULL)
        return scd_card_find(s, NULL, c);
    err = scd_card_find(s, own, c);
    return gpg_err_code(err) == GPG_ERR_ENODEV ? scd_fail(s, GPG_ERR_CARD_REMOVED, NULL) : err;
}

const char *scd_label(const struct scd_card *c)
{
    return c->info->label != NULL ? c->info->label : c->info->name;
}

char *scd_shown_serial(const char *serial)
{
    return strlen(serial) == 32 && strncasecmp(serial, "D27600012401", 12) == 0
               ? gpgrt_bsprintf("%.4s %.8s", serial + 16, serial + 20)
               : gpgrt_strdup(serial);
}

/* --- asking and changing ---------------------------------------------------------------------------------------------------------- */

gpg_error_t scd_ask(struct gpg_session *s, const struct scd_card *c, const char *word,
                    const char *args, struct buf *result, struct buf *lines)
{
    struct token_job job = {.verb = TOKEN_OTHER, .word = word, .args = args, .pin_age = -1};
    struct wait w;
    gpg_error_t err = wait_begin(s->a->waits, &w, s->origin.fd, ASK_S);

    if (err == 0) {
        w.ignore_lock = true;
        err = token_run(c->token, &w, &job);
        wait_end(&w);
    }
    if (err == 0 && result != NULL) {
        buf_free(result);
        *result = job.result;
        job.result = BUF_INIT;
    }
    if (err == 0 && lines != NULL) {
        buf_free(lines);
        *lines = job.lines;
        job.lines = BUF_INIT;
    }
    buf_free(&job.result);
    buf_free(&job.lines);
    return gpg_map_error(s, err, true);
}

struct answering {
    struct gpg_session *s;
    const struct scd_change *change;
};

static gpg_error_t answer(void *arg, struct wait *w, const char *line, struct buf *out)
{
    const struct scd_change *g = ((struct answering *)arg)->change;
    const struct {
        const char *keyword;
        const struct buf *value;
    } known[] = {{"VALUE", &g->value}, {"WRAPKEY", &g->wrapkey}, {"WRAPPED", &g->wrapped}};
    size_t n = strcspn(line, " ");

    (void)w;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strlen(known[i].keyword) == n && strncmp(known[i].keyword, line, n) == 0) {
            buf_put_rd(out, buf_rd(known[i].value));
            return buf_err(out);
        }
    return gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
}

static void pass_progress(void *arg, const char *line)
{
    gpg_pass_progress(((struct answering *)arg)->s, line);
}

gpg_error_t scd_change_run(struct gpg_session *s, const struct scd_card *c, struct scd_change *g)
{
    struct answering answering = {.s = s, .change = g};
    struct token_request r = {.use = g->use,
                              .use_text = g->use_text,
                              .what = g->what,
                              .verb = g->verb,
                              .word = g->word,
                              .answer = answer,
                              .progress = g->patient ? pass_progress : NULL,
                              .answer_arg = &answering,
                              .confirm = g->confirm,
                              .patient = g->patient};
    gpg_error_t err = buf_err(&g->args);

    if (err == 0)
        err = buf_err(&g->value);
    if (err != 0 || g->use_text == NULL)
        return err != 0 ? err : gpg_error(GPG_ERR_ENOMEM);
    r.args = g->args.len > 0 ? buf_cstr(&g->args) : NULL;
    err = broker_request_token(s->a, &s->origin, c->token, g->slot, &r);
    if (err == 0) {
        buf_free(&g->result);
        g->result = r.result;
        g->lines = r.lines;
        r.result = r.lines = BUF_INIT;
        if (g->relearn)
            (void)hotplug_relearn(s->a->hotplug, c->token);
    } else {
        err = gpg_map_error(s, err, true);
        if (r.error_text != NULL)
            err = gpg_tell_error(s, err, r.error_text);
    }
    token_request_clear(&r);
    return err;
}

void scd_change_clear(struct scd_change *g)
{
    gpgrt_free(g->use_text);
    gpgrt_free(g->what);
    buf_free(&g->args);
    buf_free(&g->value);
    buf_free(&g->wrapkey);
    buf_free(&g->wrapped);
    buf_free(&g->result);
    buf_free(&g->lines);
}

gpg_error_t scd_change_wrap(struct scd_change *g, struct rd sexp)
{
    struct buf plain = BUF_INIT_SECURE;
    gcry_cipher_hd_t h = NULL;
    uint8_t *key = gcry_random_bytes_secure(WRAP_KEY, GCRY_STRONG_RANDOM);
    gpg_error_t err;

    buf_put(&g->wrapkey, key, WRAP_KEY);
    gcry_free(key);
    buf_put_rd(&plain, sexp);
    while (plain.len % 8 != 0 || plain.len < 16)
        buf_put_u8(&plain, 0);
    /* room for what comes out */
    buf_put_rd(&g->wrapped, buf_rd(&plain));
    buf_put_u64(&g->wrapped, 0);
    err = buf_err(&plain) != 0 ? buf_err(&plain) : buf_err(&g->wrapped);
    if (err == 0)
        err = buf_err(&g->wrapkey);
    if (err == 0)
        err =
            gcry_cipher_open(&h, GCRY_CIPHER_AES128, GCRY_CIPHER_MODE_AESWRAP, GCRY_CIPHER_SECURE);
    if (err == 0)
        err = gcry_cipher_setkey(h, g->wrapkey.data, g->wrapkey.len);
    if (err == 0)
        err = gcry_cipher_encrypt(h, g->wrapped.data, g->wrapped.len, plain.data, plain.len);
    gcry_cipher_close(h);
    buf_free(&plain);
    return err;
}
