/* What a card tells of itself: its ATTR lines, SCD LEARN, READKEY, KEYINFO. */
#include "agent/hotplug.h"
#include "agent/scd.h"
#include "proto/token_protocol.h"

#include <string.h>
#include <strings.h>

#define MAX_ANSWER 32u

/* --- ATTR lines ------------------------------------------------------------------------------------------------------------------- */

/* The card process is not trusted with the form of what it says. */
bool scd_is_attribute(const char *name, const char *text)
{
    if (name == NULL || name[0] == '\0' || strlen(name) > 40)
        return false;
    for (const char *p = name; *p != '\0'; p++)
        if (!((*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '-' || *p == '$'))
            return false;
    for (const char *p = text; p != NULL && *p != '\0'; p++)
        if ((unsigned char)*p < ' ')
            return false;
    return true;
}

/* Calls TELL for each ATTR line of LINES. */
static gpg_error_t
each_attribute(struct rd lines, gpg_error_t (*tell)(void *arg, const char *name, const char *text),
               void *arg)
{
    static const char keyword[] = TOKEN_STATUS_ATTR " ";
    struct buf copy = BUF_INIT;
    char *save = NULL, *text;
    gpg_error_t err = 0;

    buf_put_rd(&copy, lines);
    text = buf_steal_cstr(&copy);
    if (text == NULL)
        return gpg_error(GPG_ERR_ENOMEM);
    for (char *l = strtok_r(text, "\n", &save); l != NULL && err == 0;
         l = strtok_r(NULL, "\n", &save)) {
        char *name = NULL, *value = NULL;

        if (strncmp(l, keyword, sizeof keyword - 1) != 0)
            continue;
        err = field_get(l + sizeof keyword - 1, "name", &name);
        if (err == 0)
            err = field_get(l + sizeof keyword - 1, "text", &value);
        if (err == 0 && !scd_is_attribute(name, value))
            err = gpg_error(GPG_ERR_BAD_DATA);
        if (err == 0)
            err = tell(arg, name, value != NULL ? value : "");
        gpgrt_free(name);
        gpgrt_free(value);
    }
    gpgrt_free(text);
    return err;
}

struct passing {
    struct gpg_session *s;
    bool (*skip)(const char *name);
};

static gpg_error_t pass_one(void *arg, const char *name, const char *text)
{
    struct passing *p = arg;

    return p->skip != NULL && p->skip(name) ? 0 : gpg_status(p->s, name, "%s", text);
}

gpg_error_t scd_pass_attributes(struct gpg_session *s, struct rd lines,
                                bool (*skip)(const char *name))
{
    struct passing p = {.s = s, .skip = skip};

    return gpg_map_error(s, each_attribute(lines, pass_one, &p), true);
}

static gpg_error_t take_first(void *arg, const char *name, const char *text)
{
    char **out = arg;

    (void)name;
    if (*out == NULL)
        *out = gpgrt_strdup(text);
    return *out != NULL ? 0 : gpg_error_from_syserror();
}

gpg_error_t scd_get_attribute(struct gpg_session *s, const struct scd_card *c, const char *name,
                              char **text)
{
    struct buf args = BUF_INIT, lines = BUF_INIT;
    char *first = NULL;
    gpg_error_t err;

    field_put(&args, "name", name);
    err = buf_cstr(&args) != NULL ? scd_ask(s, c, TOKEN_VERB_GETATTR, buf_cstr(&args), NULL, &lines)
                                  : gpg_error(GPG_ERR_ENOMEM);
    if (err == 0)
        err = each_attribute(buf_rd(&lines), take_first, &first);
    if (err == 0 && first == NULL)
        err = gpg_error(GPG_ERR_NO_DATA);
    if (err == 0)
        *text = first;
    else
        gpgrt_free(first);
    buf_free(&args);
    buf_free(&lines);
    return err;
}

/* --- LEARN ------------------------------------------------------------------------------------------------------------------------ */

struct comparing {
    struct gpg_session *s;
    const struct scd_card *c;
    bool stale;
    unsigned seen; /* of bit_of: which slots have a fingerprint */
};

static unsigned bit_of(const char *slot)
{
    return strcmp(slot, "sig") == 0 ? 1 : strcmp(slot, "dec") == 0 ? 2 : 4;
}

/* "N FINGERPRINT": is that what the keyring has there? */
static gpg_error_t compare(void *arg, const char *name, const char *text)
{
    struct comparing *q = arg;
    struct scd_key k = {0};
    char number[2] = {text[0], '\0'}, *hex = NULL;
    const char *slot = scd_slot_of(number);
    gpg_error_t err;

    if (strcmp(name, "KEY-FPR") != 0 || slot == NULL || text[1] != ' ')
        return 0;
    q->seen |= bit_of(slot);
    err = scd_key_in(q->s, q->c, slot, &k);
    if (err == 0 && k.id != NULL)
        hex = hex_encode(k.id->openpgp_fpr, sizeof k.id->openpgp_fpr);
    q->stale |= hex == NULL || strcasecmp(hex, text + 2) != 0;
    gpgrt_free(hex);
    scd_key_clear(&k);
    return err;
}

static gpg_error_t check_seen(struct gpg_session *s, const struct scd_key *k, void *arg)
{
    struct comparing *q = arg;

    (void)s;
    q->stale |= k->id->has_openpgp && (q->seen & bit_of(k->slot)) == 0;
    return 0;
}

/* Another program may have changed the card behind our back: what it says now is compared with what the keyring says. */
gpg_error_t scd_learn(struct gpg_session *s, struct scd_card *c, struct buf *lines)
{
    struct comparing q = {.s = s, .c = c};
    gpg_error_t err = scd_ask(s, c, TOKEN_VERB_GETATTR, "name=LEARN", NULL, lines);

    if (err == 0)
        err = gpg_map_error(s, each_attribute(buf_rd(lines), compare, &q), true);
    if (err == 0)
        err = scd_each_key(s, c, check_seen, &q);
    if (err == 0 && q.stale && hotplug_relearn(s->a->hotplug, c->token) == 0) {
        const struct token_info *info = token_info_get(c->token);

        if (info != NULL) {
            token_info_put(c->info);
            c->info = info;
        }
    }
    return err;
}

static bool is_pair(const char *name)
{
    return strcmp(name, "KEYPAIRINFO") == 0;
}

/* As 2.4 has it: grip, place, usage, creation time, algorithm. */
static gpg_error_t tell_pair(struct gpg_session *s, const struct scd_key *k, void *arg)
{
    char grip[GPG_GRIP_CHARS + 1], name[32], created[16] = "-";

    (void)arg;
    scd_grip(k->id, grip);
    if (k->id->created != 0)
        snprintf(created, sizeof created, "%lu", (unsigned long)k->id->created);
    return gpg_status(s, "KEYPAIRINFO", "%s %s %s %s %s", grip, k->ref, scd_usage(k), created,
                      key_algo_name(k->id->key, name));
}

/* The application that is selected is OpenPGP's. */
static gpg_error_t tell_openpgp_pair(struct gpg_session *s, const struct scd_key *k, void *arg)
{
    return scd_is_piv(k) ? 0 : tell_pair(s, k, arg);
}

/* LEARN [--force] [--keypairinfo] [--multi] */
static gpg_error_t cmd_learn(struct gpg_session *s, char *line)
{
    bool force = gpg_has_option(line, "--force"), pairs = gpg_has_option(line, "--keypairinfo");
    struct buf lines = BUF_INIT, none = BUF_INIT;
    struct scd_card c = {0};
    gpg_error_t err = scd_card_open(s, &c);

    if (err == 0 && !force && !pairs) {
        char *question = gpgrt_bsprintf("KNOWNCARDP %s", c.info->aid);

        err = question != NULL ? gpg_inquire(s, question, MAX_ANSWER, false, false, &none)
                               : gpg_error_from_syserror();
        gpgrt_free(question);
    }
    if (err == 0)
        err = scd_learn(s, &c, &lines);
    if (err == 0 && !pairs)
        err = scd_pass_attributes(s, buf_rd(&lines), is_pair);
    if (err == 0)
        err = scd_each_key(s, &c, tell_openpgp_pair, NULL);
    scd_card_close(&c);
    buf_free(&lines);
    buf_free(&none);
    return err;
}

/* --- READKEY, KEYINFO ------------------------------------------------------------------------------------------------------------- */

static gpg_error_t send_advanced(struct gpg_session *s, gcry_sexp_t sexp)
{
    size_t n = gcry_sexp_sprint(sexp, GCRYSEXP_FMT_ADVANCED, NULL, 0);
    char *text = gpgrt_malloc(n + 1);
    gpg_error_t err;

    if (text == NULL)
        return gpg_error_from_syserror();
    n = gcry_sexp_sprint(sexp, GCRYSEXP_FMT_ADVANCED, text, n + 1);
    err = gpg_send(s, rd_of(text, n), false);
    gpgrt_free(text);
    return err;
}

/* READKEY [--advanced] [--info[-only]] REF|GRIP */
static gpg_error_t cmd_readkey(struct gpg_session *s, char *line)
{
    bool only = gpg_has_option(line, "--info-only"), info = only || gpg_has_option(line, "--info"),
         advanced = gpg_has_option(line, "--advanced");
    char *word = gpg_skip_options(line);
    struct scd_key k = {0};
    gpg_error_t err;

    (void)scd_next_word(word);
    err = scd_key_find(s, word, NULL, &k);
    if (err == 0 && k.id == NULL)
        err = scd_fail(s, GPG_ERR_NO_OBJ, NULL);
    if (err == 0 && info)
        err = tell_pair(s, &k, NULL);
    if (err == 0 && !only)
        err = advanced ? send_advanced(s, k.id->key->sexp) : gpg_send_sexp(s, k.id->key->sexp);
    scd_key_clear(&k);
    return err;
}

struct listing {
    bool data;
    const char *wanted, *piv_wanted; /* slot, and what a PIV slot's key has to be for; or NULL */
};

static gpg_error_t tell_info(struct gpg_session *s, const struct scd_key *k, void *arg)
{
    const struct listing *l = arg;
    char grip[GPG_GRIP_CHARS + 1], *text;
    gpg_error_t err;

    if (l->wanted != NULL && (scd_is_piv(k) ? strpbrk(scd_usage(k), l->piv_wanted) == NULL
                                            : strcmp(l->wanted, k->slot) != 0))
        return 0;
    scd_grip(k->id, grip);
    text = gpgrt_bsprintf("%s T %s %s %s%s", grip, k->card.info->aid, k->ref, scd_usage(k),
                          l->data ? "\n" : "");
    if (text == NULL)
        return gpg_error_from_syserror();
    err = l->data ? assuan_send_data(s->ctx, text, strlen(text))
                  : assuan_write_status(s->ctx, "KEYINFO", text);
    gpgrt_free(text);
    return err;
}

/* KEYINFO [--list[=auth|encr|sign]] [--data] GRIP: of all cards */
static gpg_error_t cmd_keyinfo(struct gpg_session *s, char *line)
{
    static const struct {
        const char *word, *slot, *piv;
    } lists[] = {{"sign", "sig", "s"}, {"encr", "dec", "e"}, {"auth", "aut", "a"}};
    const char *list = gpg_option_value(line, "--list");
    struct listing l = {.data = gpg_has_option(line, "--data")};
    char *grip = gpg_skip_options(line);
    struct scd_card *cards = NULL;
    struct scd_key k = {0};
    size_t n = 0;
    gpg_error_t err;

    (void)scd_next_word(grip);
    if (list == NULL) {
        err = scd_key_find(s, grip, NULL, &k);
        if (gpg_err_code(err) == GPG_ERR_NO_SECKEY || gpg_err_code(err) == GPG_ERR_INV_ID)
            err = scd_fail(s, GPG_ERR_NOT_FOUND, NULL);
        if (err == 0 && k.id == NULL)
            err = scd_fail(s, GPG_ERR_NOT_FOUND, NULL);
        if (err == 0)
            err = tell_info(s, &k, &l);
        scd_key_clear(&k);
        return err == 0 && l.data ? assuan_send_data(s->ctx, NULL, 0) : err;
    }
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        if (strncmp(list, lists[i].word, strlen(lists[i].word)) == 0) {
            l.wanted = lists[i].slot;
            l.piv_wanted = lists[i].piv;
        }
    err = scd_cards(s, &cards, &n);
    for (size_t i = 0; i < n && err == 0; i++)
        err = scd_each_key(s, &cards[i], tell_info, &l);
    if (err == 0 && l.data)
        err = assuan_send_data(s->ctx, NULL, 0);
    scd_cards_free(cards, n);
    return err;
}

const struct scd_command scd_learn_commands[] = {
    {"LEARN", cmd_learn}, {"READKEY", cmd_readkey}, {"KEYINFO", cmd_keyinfo}, {0}};
