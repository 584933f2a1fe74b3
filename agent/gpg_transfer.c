/* Private keys on their way in and out: KEYWRAP_KEY, IMPORT_KEY, EXPORT_KEY. They pass wrapped (RFC 3394): the broker has both the
 * wrap key and the wrapped key, and unwraps nothing. */
#include "agent/gpg_secret.h"

#include "proto/token_protocol.h"

#include <gcrypt.h>
#include <string.h>

#define MAX_KEYDATA 8192u
#define MIN_WRAPPED 24u

/* --- KEYWRAP_KEY ---------------------------------------------------------------------------------------------------------------- */

static gpg_error_t make_wrapkey(struct gpg_session *s, bool clear, struct buf *key)
{
    uint8_t *fresh;

    buf_reset(key);
    if (clear)
        return 0;
    fresh = gcry_random_bytes_secure(GPG_WRAPKEY, GCRY_STRONG_RANDOM);
    buf_put(key, fresh, GPG_WRAPKEY);
    gcry_free(fresh);
    return buf_err(key) != 0 ? buf_err(key) : gpg_send(s, buf_rd(key), true);
}

static gpg_error_t cmd_keywrap_key(struct gpg_session *s, char *line)
{
    bool clear = gpg_has_option(line, "--clear");

    if (gpg_has_option(line, "--import"))
        return make_wrapkey(s, clear, &s->import_key);
    if (gpg_has_option(line, "--export"))
        return make_wrapkey(s, clear, &s->export_key);
    return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "unknown value for MODE");
}

/* What the key store is given. */
struct parcel {
    const struct buf *wrapkey, *wrapped;
};

static gpg_error_t give_parcel(struct gpg_asking *k, struct wait *w, const char *line,
                               struct buf *answer)
{
    const struct parcel *p = k->more_arg;
    size_t n = strcspn(line, " ");

    (void)w;
    if (n == 7 && strncmp(line, "WRAPKEY", n) == 0)
        buf_put_rd(answer, buf_rd(p->wrapkey));
    else if (n == 7 && strncmp(line, "WRAPPED", n) == 0 && p->wrapped != NULL)
        buf_put_rd(answer, buf_rd(p->wrapped));
    else
        return gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
    return buf_err(answer);
}

static gpg_error_t missing_wrapkey(struct gpg_session *s)
{
    return gpg_fail(s, GPG_ERR_MISSING_KEY, "did you run KEYWRAP_KEY ?");
}

/* --- IMPORT_KEY ------------------------------------------------------------------------------------------------------------------ */

/* IMPORT_KEY [--unattended] [--force] [--timestamp=ISO] [CACHE_NONCE] */
static gpg_error_t cmd_import_key(struct gpg_session *s, char *line)
{
    struct buf wrapped = BUF_INIT_SECURE;
    struct parcel parcel = {.wrapkey = &s->import_key, .wrapped = &wrapped};
    struct gpg_change c;
    gpg_error_t err;

    if (s->import_key.len == 0)
        return missing_wrapkey(s);
    gpg_change_init(&c, s, "import", "import a gpg key", TOKEN_VERB_IMPORT, NULL);
    gpg_change_take_desc(&c);
    c.asking.more = give_parcel;
    c.asking.more_arg = &parcel;
    err = gpg_change_put_time(&c, line);
    if (gpg_has_option(line, "--unattended"))
        field_put_int(&c.args, "unattended", 1);
    if (gpg_has_option(line, "--force"))
        field_put_int(&c.args, "force", 1);
    gpg_change_put_word(&c, gpg_skip_options(line), "nonce");
    if (err == 0)
        err = gpg_inquire(s, "KEYDATA", MAX_KEYDATA, false, true, &wrapped);
    if (err == 0 && wrapped.len < MIN_WRAPPED)
        err = gpg_fail(s, GPG_ERR_INV_LENGTH, NULL);
    if (err == 0)
        err = gpg_change_run(&c);
    if (err == 0)
        err = gpg_pass_nonces(s, buf_rd(&c.lines), false);
    gpg_change_clear(&c);
    buf_free(&wrapped);
    return err;
}

/* --- EXPORT_KEY ------------------------------------------------------------------------------------------------------------------ */

/* EXPORT_KEY [--cache-nonce=N] [--openpgp|--mode1003] GRIP */
static gpg_error_t cmd_export_key(struct gpg_session *s, char *line)
{
    struct parcel parcel = {.wrapkey = &s->export_key};
    bool openpgp = gpg_has_option(line, "--openpgp");
    struct gpg_stored file = {0};
    struct gpg_change c;
    char grip[GPG_GRIP_CHARS + 1];
    gpg_error_t err;

    if (s->export_key.len == 0)
        return missing_wrapkey(s);
    if (gpg_has_option(line, "--mode1003"))
        return gpg_fail(s, GPG_ERR_NOT_SUPPORTED, "--mode1003 is not supported");
    gpg_change_init(&c, s, "export", "export a gpg key", TOKEN_VERB_EXPORT, grip);
    gpg_change_take_desc(&c);
    c.asking.more = give_parcel;
    c.asking.more_arg = &parcel;
    c.asking.new_text = "This key (or subkey) is not protected with a passphrase.  Please enter a "
                        "new passphrase to export it.";
    field_put(&c.args, "form", openpgp ? "openpgp" : "plain");
    gpg_change_put_option(&c, line, "--cache-nonce", "nonce");
    err = gpg_parse_grip(s, gpg_skip_options(line), grip);
    if (err == 0)
        err = gpg_find_on_disk(s, grip, GPG_ERR_UNUSABLE_SECKEY, &file);
    /* An export takes nothing from the cache but by a nonce of this conversation's. */
    c.typed_confirms = file.state == STORED_PROTECTED;
    if (file.state == STORED_CLEAR) /* whoever asks could read the file as well */
        c.use = "export:clear";
    if (err == 0)
        err = gpg_change_run(&c);
    if (err == 0)
        err = gpg_pass_nonces(s, buf_rd(&c.lines), true);
    if (err == 0)
        err = gpg_send(s, buf_rd(&c.result), true);
    gpg_stored_clear(&file);
    gpg_change_clear(&c);
    return err;
}

const struct gpg_command gpg_transfer_commands[] = {
    {"KEYWRAP_KEY", cmd_keywrap_key, false,
     "KEYWRAP_KEY [--clear] --import|--export\n\nA key to wrap private keys with on their way."},
    {"IMPORT_KEY", cmd_import_key, false,
     "IMPORT_KEY [--unattended] [--force] [--timestamp=<isodate>] [<cache_nonce>]\n\nImports a "
     "private key."},
    {"EXPORT_KEY", cmd_export_key, false,
     "EXPORT_KEY [--cache-nonce=<nonce>] [--openpgp] <hexstring_with_keygrip>\n\nExports a "
     "private key."},
    {0},
};
