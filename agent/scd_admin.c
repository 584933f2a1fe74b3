/* What changes a card as a whole: SCD PASSWD, CHECKPIN, GENKEY, WRITEKEY, RANDOM. */
#include "agent/gpg_dialog.h"
#include "agent/scd.h"
#include "proto/openpgp.h"
#include "proto/token_protocol.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define MAX_KEYDATA 4096u
#define MAX_RANDOM  4096ul

/* --- PINs ------------------------------------------------------------------------------------------------------------------------- */

/* PASSWD [--reset] [--clear] N: 1 the PIN, 2 by or of the reset code, 3 the admin PIN */
static gpg_error_t cmd_passwd(struct gpg_session *s, char *line)
{
    static const char *const texts[2][3] = {
        {"change the PIN of", "set a new PIN by the reset code of", "change the admin PIN of"},
        {"unblock the PIN of", "set the reset code of", NULL}};
    bool reset = gpg_has_option(line, "--reset"), clear = gpg_has_option(line, "--clear");
    char *word = gpg_skip_options(line);
    struct scd_change g = SCD_CHANGE_INIT("card-admin", TOKEN_VERB_CHANGEPIN);
    struct scd_card c = {0};
    const char *text;
    int ref;
    gpg_error_t err;

    if (gpg_has_option(line, "--nullpin"))
        return scd_fail(s, GPG_ERR_UNSUPPORTED_OPERATION, NULL);
    (void)scd_next_word(word);
    if (word[0] == '\0')
        return scd_fail(s, GPG_ERR_ASS_PARAMETER, "no CHV number given");
    if (strncasecmp(word, "OPENPGP.", 8) == 0)
        word += 8;
    ref = word[0] >= '1' && word[0] <= '3' && word[1] == '\0' ? word[0] - '0' : 0;
    text = ref != 0 ? texts[reset][ref - 1] : NULL;
    if (text == NULL)
        return scd_fail(s, GPG_ERR_INV_ID, NULL);
    err = scd_card_open(s, &c);
    if (err == 0 && clear) {
        token_forget(c.token);
    } else if (err == 0) {
        g.use_text = gpgrt_bsprintf("%s %s", text, scd_label(&c));
        g.relearn = true;
        field_put_int(&g.args, "ref", ref);
        if (reset)
            field_put_int(&g.args, "reset", 1);
        err = scd_change_run(s, &c, &g);
    }
    scd_change_clear(&g);
    scd_card_close(&c);
    return err;
}

/* The admin PIN is checked for no reason but a check only while none of its tries was used up. */
static gpg_error_t check_admin_tries(struct gpg_session *s, const struct scd_card *c)
{
    char *text = NULL, *last;
    gpg_error_t err = scd_get_attribute(s, c, "CHV-STATUS", &text);
    long tries;

    if (err != 0)
        return gpg_map_error(s, err, true);
    last = strrchr(text, '+');
    tries = last != NULL ? strtol(last + 1, NULL, 10) : 0;
    gpgrt_free(text);
    if (tries <= 0)
        return scd_fail(s, GPG_ERR_PIN_BLOCKED, NULL);
    return tries < 3 ? scd_fail(s, GPG_ERR_GENERAL,
                                "the admin PIN is not checked while some of its tries are used up")
                     : 0;
}

/* CHECKPIN SERIAL[/..][CHV3] */
static gpg_error_t cmd_checkpin(struct gpg_session *s, char *line)
{
    size_t n = strspn(line, "0123456789ABCDEFabcdef");
    bool admin = strstr(line, "[CHV3]") != NULL;
    struct scd_change g = SCD_CHANGE_INIT("card-admin", NULL);
    struct scd_card c = {0};
    gpg_error_t err;

    if (n < 20)
        return scd_fail(s, GPG_ERR_INV_ID, NULL);
    err = scd_card_open(s, &c);
    if (err == 0 && (strlen(c.info->aid) != n || strncasecmp(line, c.info->aid, n) != 0))
        err = scd_fail(s, GPG_ERR_WRONG_CARD, NULL);
    if (err == 0 && admin)
        err = check_admin_tries(s, &c);
    if (err == 0) {
        g.verb = TOKEN_VERIFY;
        g.use_text = gpgrt_bsprintf("check the %sPIN of %s", admin ? "admin " : "", scd_label(&c));
        field_put(&g.args, "ref", admin ? "83" : "82");
        err = scd_change_run(s, &c, &g);
    }
    scd_change_clear(&g);
    scd_card_close(&c);
    return err;
}

/* --- new keys --------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t tell_part(struct gpg_session *s, const char *name, struct rd value)
{
    char *hex = hex_encode(value.p, value.n);
    gpg_error_t err =
        hex != NULL ? gpg_status(s, "KEY-DATA", "%s %s", name, hex) : gpg_error_from_syserror();

    gpgrt_free(hex);
    return err;
}

/* An OpenPGP MPI (RFC 4880 3.2) as it is, without its length. */
static gpg_error_t read_mpi(struct rd *r, struct rd *out)
{
    uint16_t bits;
    gpg_error_t err = rd_u16(r, &bits);

    return err != 0 ? err : rd_bytes(r, ((size_t)bits + 7) / 8, out);
}

static gpg_error_t tell_rsa(struct gpg_session *s, struct rd body)
{
    struct rd n, e;
    gpg_error_t err = read_mpi(&body, &n);

    if (err == 0)
        err = read_mpi(&body, &e);
    if (err == 0)
        err = tell_part(s, "n", n);
    return err != 0 ? err : tell_part(s, "e", e);
}

static gpg_error_t tell_point(struct gpg_session *s, struct rd body)
{
    struct rd q, oid, whole = body;
    uint8_t len;
    gpg_error_t err = rd_u8(&body, &len);

    if (err == 0)
        err = rd_bytes(&body, len, &oid);
    if (err == 0)
        err = read_mpi(&body, &q);
    if (err == 0)
        err = tell_part(s, "q", q);
    if (err == 0)
        err = tell_part(s, "curve", rd_of(whole.p, 1u + len));
    return err == 0 && body.n > 0 ? tell_part(s, "kdf/kek", body) : err;
}

/* The numbers of K as its OpenPGP packet has them (RFC 4880 5.5.2), and its fingerprint. */
static gpg_error_t tell_new_key(struct gpg_session *s, const struct key *k, uint32_t created)
{
    struct buf packet = BUF_INIT;
    struct rd r, head;
    uint8_t fpr[20];
    char *hex = NULL;
    gpg_error_t err = openpgp_put_pubkey(&packet, k, created, false);

    if (err == 0)
        err = openpgp_fingerprint(k, created, fpr);
    if (err == 0 && (hex = hex_encode(fpr, sizeof fpr)) == NULL)
        err = gpg_error_from_syserror();
    if (err == 0)
        err = gpg_status(s, "KEY-CREATED-AT", "%lu", (unsigned long)created);
    /* tag, length of 1, 2 or 5 octets; version, time, algorithm */
    r = buf_rd(&packet);
    if (err == 0)
        err = rd_bytes(&r, packet.data[1] < 192 ? 2 : packet.data[1] < 255 ? 3 : 6, &head);
    if (err == 0)
        err = rd_bytes(&r, 6, &head);
    if (err == 0)
        err = k->algo == KEY_RSA ? tell_rsa(s, r) : tell_point(s, r);
    if (err == 0)
        err = gpg_status(s, "KEY-FPR", "%s", hex);
    gpgrt_free(hex);
    buf_free(&packet);
    return err;
}

static gpg_error_t read_public(struct rd canon, bool ecdh, struct key **out)
{
    gcry_sexp_t sexp = NULL;
    gpg_error_t err = gcry_sexp_sscan(&sexp, NULL, (const char *)canon.p, canon.n);

    if (err == 0)
        err = key_from_sexp(sexp, ecdh, out);
    gcry_sexp_release(sexp);
    return err;
}

const char *scd_slot_text(const char *slot)
{
    return strcmp(slot, "sig") == 0   ? "signature"
           : strcmp(slot, "dec") == 0 ? "decryption"
                                      : "authentication";
}

char *scd_lost_key(const struct scd_key *k)
{
    char *hex, *text;

    if (k->id == NULL)
        return NULL;
    hex = hex_encode(k->id->has_openpgp ? k->id->openpgp_fpr : k->id->key->grip, 20);
    text = hex != NULL ? gpgrt_bsprintf("Lost:    the %s key %s\n", scd_slot_text(k->slot), hex)
                       : NULL;
    gpgrt_free(hex);
    return text;
}

/* 2.4's --algo: the kind of the key is set first, as gpg-card could have done by SETATTR KEY-ATTR. */
static gpg_error_t set_kind(struct gpg_session *s, const struct scd_key *k, const char *algo)
{
    size_t n = strcspn(algo, " \t");
    struct scd_change g = SCD_CHANGE_INIT("card-admin", TOKEN_VERB_SETATTR);
    bool dec = strcmp(k->slot, "dec") == 0;
    int number = strncmp(algo, "rsa", 3) == 0       ? 1
                 : strncmp(algo, "ed25519", 7) == 0 ? 22
                 : dec                              ? 18
                                                    : 19;
    gpg_error_t err;

    field_put(&g.args, "name", "KEY-ATTR");
    buf_printf(&g.value, "--force %s %d %.*s", k->ref + strlen("OPENPGP."), number, (int)n, algo);
    g.use_text = gpgrt_bsprintf("change the kind of the %s key on %s", scd_slot_text(k->slot),
                                scd_label(&k->card));
    err = scd_change_run(s, &k->card, &g);
    scd_change_clear(&g);
    return err;
}

/* GENKEY [--force] [--timestamp=ISO] [--algo=NAME] KEYREF */
static gpg_error_t cmd_genkey(struct gpg_session *s, char *line)
{
    bool force = gpg_has_option(line, "--force");
    const char *algo = gpg_option_value(line, "--algo");
    char *word = gpg_skip_options(line);
    struct scd_change g = SCD_CHANGE_INIT("generate", TOKEN_VERB_GENERATE);
    struct scd_key k = {0};
    struct key *made = NULL;
    uint32_t created = (uint32_t)time(NULL);
    gpg_error_t err = gpg_read_timestamp(s, line, &created);

    if (err != 0)
        return err;
    (void)scd_next_word(word);
    if (word[0] == '\0')
        return scd_fail(s, GPG_ERR_ASS_PARAMETER, "no key number given");
    if (scd_slot_of(word) == NULL)
        return scd_fail(s, GPG_ERR_INV_ID, NULL);
    err = scd_key_find(s, word, NULL, &k);
    if (err == 0 && k.id != NULL && !force)
        err = scd_fail(s, GPG_ERR_EEXIST, NULL);
    if (err == 0 && algo != NULL && algo[0] != '\0')
        err = set_kind(s, &k, algo);
    if (err == 0) {
        g.slot = k.slot;
        g.use_text =
            gpgrt_bsprintf("make a new %s key on %s", scd_slot_text(k.slot), scd_label(&k.card));
        g.what = scd_lost_key(&k);
        g.patient = g.relearn = true;
        field_put_int(&g.args, "created", (long)created);
        if (force)
            field_put_int(&g.args, "force", 1);
        err = scd_change_run(s, &k.card, &g);
    }
    if (err == 0)
        err = read_public(buf_rd(&g.result), strcmp(k.slot, "dec") == 0, &made);
    if (err == 0)
        err = tell_new_key(s, made, created);
    key_unref(made);
    scd_change_clear(&g);
    scd_key_clear(&k);
    return err;
}

/* (created-at N) of a private key; now without one. SEXP: secure. */
static gpg_error_t find_created(struct rd sexp, uint32_t *created)
{
    gcry_sexp_t whole = NULL, part;
    char *text = NULL;
    gpg_error_t err = gcry_sexp_sscan(&whole, NULL, (const char *)sexp.p, sexp.n);

    if (err != 0)
        return err;
    part = gcry_sexp_find_token(whole, "private-key", 0);
    if (part == NULL) {
        gcry_sexp_release(whole);
        return gpg_error(GPG_ERR_BAD_SECKEY);
    }
    gcry_sexp_release(part);
    *created = (uint32_t)time(NULL);
    part = gcry_sexp_find_token(whole, "created-at", 0);
    text = part != NULL ? gcry_sexp_nth_string(part, 1) : NULL;
    if (text != NULL)
        *created = (uint32_t)strtoul(text, NULL, 10);
    gcry_free(text);
    gcry_sexp_release(part);
    gcry_sexp_release(whole);
    return 0;
}

/* WRITEKEY [--force] KEYREF */
static gpg_error_t cmd_writekey(struct gpg_session *s, char *line)
{
    bool force = gpg_has_option(line, "--force");
    char *word = gpg_skip_options(line);
    struct buf secret = BUF_INIT_SECURE;
    struct scd_key k = {0};
    uint32_t created = 0;
    gpg_error_t err;

    (void)scd_next_word(word);
    if (word[0] == '\0')
        return scd_fail(s, GPG_ERR_ASS_PARAMETER, "no keyid given");
    if (scd_slot_of(word) == NULL)
        return scd_fail(s, GPG_ERR_INV_ID, NULL);
    err = scd_key_find(s, word, NULL, &k);
    if (err == 0)
        err = gpg_inquire(s, "KEYDATA", MAX_KEYDATA, false, true, &secret);
    if (err == 0)
        err = gpg_map_error(s, find_created(buf_rd(&secret), &created), true);
    if (err == 0) {
        struct scd_change g = SCD_CHANGE_INIT("import", TOKEN_VERB_WRITEKEY);

        err = scd_change_wrap(&g, buf_rd(&secret));
        if (err == 0)
            err = scd_write_key(s, &k, &g, created, force, NULL);
        scd_change_clear(&g);
    }
    buf_free(&secret);
    scd_key_clear(&k);
    return err;
}

gpg_error_t scd_write_key(struct gpg_session *s, const struct scd_key *k, struct scd_change *g,
                          uint32_t created, bool force, const char *ecdh)
{
    if (k->id != NULL && !force)
        return scd_fail(s, GPG_ERR_EEXIST, NULL);
    g->slot = k->slot;
    g->use_text =
        gpgrt_bsprintf("store a %s key on %s", scd_slot_text(k->slot), scd_label(&k->card));
    g->what = scd_lost_key(k);
    g->relearn = true;
    field_put_int(&g->args, "created", (long)created);
    if (force)
        field_put_int(&g->args, "force", 1);
    if (ecdh != NULL)
        field_put(&g->args, "ecdh", ecdh);
    return scd_change_run(s, &k->card, g);
}

/* --- RANDOM ----------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t cmd_random(struct gpg_session *s, char *line)
{
    unsigned long n = strtoul(line, NULL, 0);
    struct buf args = BUF_INIT, out = BUF_INIT;
    struct scd_card c = {0};
    gpg_error_t err;

    if (line[0] == '\0')
        return scd_fail(s, GPG_ERR_ASS_PARAMETER, "number of requested bytes missing");
    if (n == 0 || n > MAX_RANDOM)
        return scd_fail(s, GPG_ERR_INV_VALUE, NULL);
    err = scd_card_open(s, &c);
    if (err == 0) {
        field_put_int(&args, "n", (long)n);
        err = scd_ask(s, &c, TOKEN_VERB_RANDOM, buf_cstr(&args), &out, NULL);
    }
    if (err == 0)
        err = gpg_send(s, buf_rd(&out), true);
    scd_card_close(&c);
    buf_free(&args);
    buf_free(&out);
    return err;
}

const struct scd_command scd_admin_commands[] = {{"PASSWD", cmd_passwd}, {"CHECKPIN", cmd_checkpin},
                                                 {"GENKEY", cmd_genkey}, {"WRITEKEY", cmd_writekey},
                                                 {"RANDOM", cmd_random}, {0}};
