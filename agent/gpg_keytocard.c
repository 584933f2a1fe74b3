/* KEYTOCARD: a private key of the key store's goes to a card. It leaves the one process and enters the other wrapped under a key that is
 * made for this once: the broker has it in secure memory, and unwraps nothing. */
#include "agent/gpg_secret.h"
#include "agent/scd.h"
#include "proto/token_protocol.h"

#include <gcrypt.h>
#include <string.h>

#define MAX_ECDH 64u

static gpg_error_t give_wrapkey(struct gpg_asking *k, struct wait *w, const char *line,
                                struct buf *answer)
{
    const struct buf *key = k->more_arg;

    (void)w;
    if (strncmp(line, "WRAPKEY", strcspn(line, " ")) != 0)
        return gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
    buf_put_rd(answer, buf_rd(key));
    return buf_err(answer);
}

/* Its own policy's use, its own dialog. */
static gpg_error_t export_key(struct gpg_session *s, const struct gpg_stored *file,
                              uint32_t created, const char *text, struct scd_change *g)
{
    uint8_t *fresh = gcry_random_bytes_secure(GPG_WRAPKEY, GCRY_STRONG_RANDOM);
    struct gpg_change c;
    gpg_error_t err;

    buf_put(&g->wrapkey, fresh, GPG_WRAPKEY);
    gcry_free(fresh);
    gpg_change_init(&c, s, "export", text, TOKEN_VERB_EXPORT, file->grip);
    gpg_change_take_desc(&c);
    c.typed_confirms = file->state == STORED_PROTECTED;
    c.asking.more = give_wrapkey;
    c.asking.more_arg = &g->wrapkey;
    field_put(&c.args, "form", "card");
    field_put_int(&c.args, "created", (long)created);
    err = buf_err(&g->wrapkey);
    if (err == 0)
        err = gpg_change_run(&c);
    if (err == 0) {
        buf_free(&g->wrapped);
        g->wrapped = c.result;
        c.result = BUF_INIT_SECURE;
    }
    gpg_change_clear(&c);
    return err;
}

struct words {
    char *serial, *ref, *time, *ecdh;
};

static gpg_error_t parse(struct gpg_session *s, char *line, struct words *w, uint32_t *created)
{
    w->serial = scd_next_word(line);
    w->ref = scd_next_word(w->serial);
    w->time = scd_next_word(w->ref);
    w->ecdh = scd_next_word(w->time);
    (void)scd_next_word(w->ecdh);
    if (w->time[0] == '\0')
        return gpg_fail(s, GPG_ERR_MISSING_VALUE, NULL);
    if (scd_slot_of(w->ref) == NULL)
        return gpg_fail(s, GPG_ERR_INV_ID, NULL);
    if (strcmp(w->serial, "-") != 0 &&
        w->serial[strspn(w->serial, "0123456789abcdefABCDEF")] != '\0')
        return gpg_fail(s, GPG_ERR_INV_ARG, "the serial number is no hexstring");
    if (w->ecdh[strspn(w->ecdh, "0123456789abcdefABCDEF")] != '\0' || strlen(w->ecdh) > MAX_ECDH ||
        strlen(w->ecdh) % 2 != 0)
        return gpg_fail(s, GPG_ERR_INV_ARG, "the ECDH parameters are no hexstring");
    return gpg_read_time(w->time, created) != 0 ? gpg_fail(s, GPG_ERR_INV_TIME, NULL) : 0;
}

/* KEYTOCARD [--force] GRIP SERIAL|- OPENPGP.N TIMESTAMP [ECDHHEX] */
static gpg_error_t cmd_keytocard(struct gpg_session *s, char *line)
{
    bool force = gpg_has_option(line, "--force");
    char *copy = gpgrt_strdup(gpg_skip_options(line)), *text = NULL, grip[GPG_GRIP_CHARS + 1];
    struct scd_change g = SCD_CHANGE_INIT("import", TOKEN_VERB_WRITEKEY);
    struct gpg_stored file = {0};
    struct scd_card c = {0};
    struct scd_key k = {0};
    struct words w = {0};
    uint32_t created = 0;
    gpg_error_t err;

    if (copy == NULL)
        return gpg_error_from_syserror();
    err = gpg_parse_grip(s, copy, grip);
    if (err == 0)
        err = parse(s, copy, &w, &created);
    if (err == 0)
        err = gpg_find_on_disk(s, grip, GPG_ERR_UNUSABLE_SECKEY, &file);
    if (err == 0)
        err = scd_card_open(s, &c);
    if (err == 0 && strcmp(w.serial, "-") != 0) {
        scd_card_close(&c);
        err = scd_card_find(s, w.serial, &c);
    }
    if (err == 0)
        err = scd_key_in(s, &c, scd_slot_of(w.ref), &k);
    if (err == 0 && k.id != NULL && !force)
        err = scd_fail(s, GPG_ERR_EEXIST, NULL);
    if (err == 0) {
        text = gpgrt_bsprintf("move a gpg key to %s", scd_label(&c));
        err = text != NULL ? export_key(s, &file, created, text, &g) : gpg_error_from_syserror();
    }
    if (err == 0)
        err = scd_write_key(s, &k, &g, created, force, w.ecdh[0] != '\0' ? w.ecdh : NULL);
    scd_change_clear(&g);
    scd_key_clear(&k);
    scd_card_close(&c);
    gpg_stored_clear(&file);
    gpgrt_free(text);
    gpgrt_free(copy);
    return err;
}

const struct gpg_command gpg_keytocard_commands[] = {
    {"KEYTOCARD", cmd_keytocard, false,
     "KEYTOCARD [--force] <hexstring_with_keygrip> <serialno> <keyref> <timestamp> "
     "[<ecdh>]\n\nStores a key on a card."},
    {0},
};
