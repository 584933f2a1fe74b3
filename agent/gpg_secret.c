/* Private keys made, moved and changed in gpg's key store: GENKEY, PASSWD, KEYWRAP_KEY, IMPORT_KEY, EXPORT_KEY, DELETE_KEY. None of
 * them is in clear here: what passes through is wrapped. */
#include "agent/gpg_dialog.h"
#include "agent/hotplug.h"
#include "proto/token_protocol.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_KEYPARAM  1024u
#define MAX_KEYDATA   8192u
#define MAX_NEWPASSWD 1024u

/* --- what the store inquires ------------------------------------------------------------------------------------------------------ */

struct input {
    const char *keyword;
    struct rd data;
};

/* An operation on the store: its arguments, what it inquires, and who may be asked. */
struct work {
    struct gpg_session *s;
    struct gpg_asking asking;
    struct token_request r;
    struct buf args;
    struct input inputs[3];
    char *desc;
};

static gpg_error_t give_input(struct gpg_asking *k, struct wait *w, const char *line,
                              struct buf *answer)
{
    const struct work *work = k->more_arg;
    size_t n = strcspn(line, " ");

    (void)w;
    for (size_t i = 0; i < sizeof work->inputs / sizeof work->inputs[0]; i++) {
        const struct input *in = &work->inputs[i];

        if (in->keyword == NULL || strlen(in->keyword) != n || strncmp(in->keyword, line, n) != 0)
            continue;
        buf_put_rd(answer, in->data);
        return buf_err(answer);
    }
    return gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
}

/* Takes SETKEYDESC's text, which is for one operation. */
static void work_init(struct work *w, struct gpg_session *s, const char *use, const char *use_text,
                      const char *word)
{
    *w = (struct work){.s = s, .args = BUF_INIT, .desc = s->desc};
    s->desc = NULL;
    w->asking = (struct gpg_asking){.s = s, .desc = w->desc, .more = give_input, .more_arg = w};
    w->r = (struct token_request){.use = use,
                                  .use_text = use_text,
                                  .verb = TOKEN_OTHER,
                                  .word = word,
                                  .answer = gpg_answer,
                                  .answer_arg = &w->asking};
    gpg_put_cache_fields(s, false, false, &w->args);
}

static void work_clear(struct work *w)
{
    token_request_clear(&w->r);
    buf_free(&w->args);
    gpgrt_free(w->desc);
}

/* GRIP: the key; NULL: none yet. */
static gpg_error_t work_run(struct work *w, const char *grip)
{
    struct token *t = NULL;
    gpg_error_t err = gpg_store(w->s->a, &t);

    if (err == 0) {
        w->r.args = buf_cstr(&w->args);
        err = w->r.args != NULL ? broker_request_token(w->s->a, &w->s->origin, t, grip, &w->r)
                                : buf_err(&w->args);
        token_unref(t);
    }
    if (err == 0)
        return 0;
    err = gpg_map_error(w->s, err, false);
    return w->r.error_text != NULL ? assuan_set_error(w->s->ctx, err, w->r.error_text) : err;
}

/* --- arguments ------------------------------------------------------------------------------------------------------------------------ */

/* A nonce's value, up to the next blank, into FIELD. */
static gpg_error_t put_nonce(struct gpg_session *s, const char *value, const char *field,
                             struct buf *args)
{
    size_t n = value != NULL ? strcspn(value, " \t") : 0;
    char *copy;

    if (n == 0)
        return 0;
    if (strspn(value, "0123456789ABCDEFabcdef") < n || n > 64)
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "invalid nonce");
    copy = gpgrt_bsprintf("%.*s", (int)n, value);
    if (copy == NULL)
        return gpg_error_from_syserror();
    field_put(args, field, copy);
    gpgrt_free(copy);
    return 0;
}

/* --timestamp=YYYYMMDDThhmmss */
static gpg_error_t put_timestamp(struct gpg_session *s, const char *line, struct buf *args)
{
    const char *value = gpg_option_value(line, "--timestamp");
    struct tm tm = {0};
    time_t t;

    if (value == NULL)
        return 0;
    if (sscanf(value, "%4d%2d%2dT%2d%2d%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
               &tm.tm_min, &tm.tm_sec) != 6)
        return gpg_fail(s, GPG_ERR_INV_TIME, NULL);
    tm.tm_year -= 1900;
    tm.tm_mon--;
    t = timegm(&tm);
    if (t <= 0 || (unsigned long)t > UINT32_MAX)
        return gpg_fail(s, GPG_ERR_INV_TIME, NULL);
    field_put_int(args, "created", (long)t);
    return 0;
}

/* --- GENKEY ---------------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t tell_grip(struct gpg_session *s, struct rd public_key)
{
    gcry_sexp_t sexp = NULL;
    unsigned char grip[20];
    char *hex;
    gpg_error_t err = gcry_sexp_new(&sexp, public_key.p, public_key.n, 0);

    if (err == 0 && gcry_pk_get_keygrip(sexp, grip) != NULL) {
        hex = hex_encode(grip, sizeof grip);
        err = hex != NULL ? gpg_status(s, "KEYGRIP", "%s", hex) : gpg_error_from_syserror();
        gpgrt_free(hex);
    }
    gcry_sexp_release(sexp);
    return err;
}

static gpg_error_t cmd_genkey(struct gpg_session *s, char *line)
{
    bool no_protection = gpg_has_option(line, "--no-protection"),
         preset = gpg_has_option(line, "--preset"), inq = gpg_has_option(line, "--inq-passwd");
    struct buf param = BUF_INIT, passwd = BUF_INIT_SECURE;
    struct work w;
    gpg_error_t err;

    work_init(&w, s, "generate", "make a new OpenPGP key", TOKEN_VERB_GENERATE);
    w.r.patient = true;
    w.asking.new_text = "Please enter the passphrase to\nprotect your new key";
    if ((err = put_timestamp(s, line, &w.args)) != 0 ||
        (err = put_nonce(s, gpg_option_value(line, "--passwd-nonce"), "passwd-nonce", &w.args)) !=
            0 ||
        (err = put_nonce(s, gpg_skip_options(line), "nonce", &w.args)) != 0)
        goto out;
    if (preset) {
        field_put_int(&w.args, "preset", 1);
        field_put_int(&w.args, "preset-ttl", (long)s->preset_ttl);
    }
    err = gpg_inquire(s, "KEYPARAM", MAX_KEYPARAM, true, false, &param);
    if (err == 0 && inq) {
        err = gpg_inquire(s, "NEWPASSWD", MAX_NEWPASSWD, false, true, &passwd);
        while (passwd.len > 0 && passwd.data[passwd.len - 1] == '\0')
            passwd.len--;
        w.asking.new_passphrase = &passwd;
    }
    if (err != 0)
        goto out;
    if (no_protection || (inq && passwd.len == 0))
        field_put_int(&w.args, "protect", 0);
    w.inputs[0] = (struct input){"PARAM", buf_rd(&param)};
    err = work_run(&w, NULL);
    if (err == 0)
        err = tell_grip(s, buf_rd(&w.r.result));
    if (err == 0)
        err = gpg_pass_nonces(s, buf_rd(&w.r.lines), false);
    if (err == 0)
        err = gpg_send(s, buf_rd(&w.r.result), false);
out:
    work_clear(&w);
    buf_free(&param);
    buf_free(&passwd);
    return err;
}

/* --- PASSWD ------------------------------------------------------------------------------------------------------------------------------ */

/* A private key on disk, not a stub or a token's. */
static gpg_error_t must_be_stored(struct gpg_session *s, const char *grip, gpg_err_code_t for_stubs)
{
    struct gpg_stored k = {0};
    const struct keyring_snapshot *snap = NULL;
    gpg_error_t err = gpg_stored_get(s, grip, &k);

    if (gpg_err_code(err) == GPG_ERR_NOT_FOUND) {
        err = gpg_fail(s, gpg_find(s, grip, &snap) != NULL ? for_stubs : GPG_ERR_NO_SECKEY, NULL);
        keyring_put(snap);
        return err;
    }
    if (err == 0 && k.state == STORED_SHADOWED)
        err = gpg_fail(s, for_stubs, NULL);
    gpg_stored_clear(&k);
    return err;
}

static gpg_error_t cmd_passwd(struct gpg_session *s, char *line)
{
    bool verify = gpg_has_option(line, "--verify"), preset = gpg_has_option(line, "--preset");
    char grip[GPG_GRIP_CHARS + 1];
    struct work w;
    gpg_error_t err;

    /* It writes the key anew, as an import does; the policy has no word of its own for that. */
    work_init(&w, s, "import",
              verify ? "check the passphrase of a key" : "change the passphrase of a key",
              TOKEN_VERB_PASSWD);
    if ((err = put_nonce(s, gpg_option_value(line, "--cache-nonce"), "cache-nonce", &w.args)) !=
            0 ||
        (err = put_nonce(s, gpg_option_value(line, "--passwd-nonce"), "passwd-nonce", &w.args)) !=
            0 ||
        (err = gpg_parse_grip(s, gpg_skip_options(line), grip)) != 0 ||
        (err = must_be_stored(s, grip, GPG_ERR_NOT_IMPLEMENTED)) != 0)
        goto out;
    if (verify)
        field_put_int(&w.args, "verify", 1);
    if (preset) {
        field_put_int(&w.args, "preset", 1);
        field_put_int(&w.args, "preset-ttl", (long)s->preset_ttl);
    }
    err = work_run(&w, grip);
    if (err == 0)
        err = gpg_pass_nonces(s, buf_rd(&w.r.lines), true);
out:
    work_clear(&w);
    return err;
}

/* --- KEYWRAP_KEY, EXPORT_KEY, IMPORT_KEY --------------------------------------------------------------------------------------------------- */

static gpg_error_t cmd_keywrap_key(struct gpg_session *s, char *line)
{
    bool import = gpg_has_option(line, "--import"), export = gpg_has_option(line, "--export"),
         clear = gpg_has_option(line, "--clear");
    uint8_t *key = import ? s->import_key : s->export_key;

    if (clear) {
        explicit_bzero(s->import_key, sizeof s->import_key);
        explicit_bzero(s->export_key, sizeof s->export_key);
        s->has_import_key = s->has_export_key = false;
        return 0;
    }
    if (import == export)
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "unknown value for MODE");
    gcry_randomize(key, GPG_WRAPKEY, GCRY_STRONG_RANDOM);
    *(import ? &s->has_import_key : &s->has_export_key) = true;
    return gpg_send(s, rd_of(key, GPG_WRAPKEY), true);
}

static gpg_error_t cmd_export_key(struct gpg_session *s, char *line)
{
    bool openpgp = gpg_has_option(line, "--openpgp");
    char grip[GPG_GRIP_CHARS + 1];
    struct work w;
    gpg_error_t err;

    work_init(&w, s, "export", "export a private key", TOKEN_VERB_EXPORT);
    w.asking.new_text = "This key (or subkey) is not protected with a passphrase.\n"
                        "Please enter a new passphrase to export it.";
    if (gpg_has_option(line, "--mode1003")) {
        err = gpg_fail(s, GPG_ERR_NOT_SUPPORTED, NULL);
        goto out;
    }
    if ((err = put_nonce(s, gpg_option_value(line, "--cache-nonce"), "nonce", &w.args)) != 0 ||
        (err = gpg_parse_grip(s, gpg_skip_options(line), grip)) != 0)
        goto out;
    if (!s->has_export_key) {
        err = gpg_fail(s, GPG_ERR_MISSING_KEY, "did you run KEYWRAP_KEY ?");
        goto out;
    }
    err = must_be_stored(s, grip, GPG_ERR_UNUSABLE_SECKEY);
    if (err != 0)
        goto out;
    field_put(&w.args, "form", openpgp ? "openpgp" : "plain");
    w.inputs[0] = (struct input){"WRAPKEY", rd_of(s->export_key, GPG_WRAPKEY)};
    err = work_run(&w, grip);
    if (err == 0)
        err = gpg_pass_nonces(s, buf_rd(&w.r.lines), true);
    if (err == 0)
        err = gpg_send(s, buf_rd(&w.r.result), true);
out:
    work_clear(&w);
    return err;
}

static gpg_error_t cmd_import_key(struct gpg_session *s, char *line)
{
    struct buf data = BUF_INIT_SECURE;
    struct work w;
    gpg_error_t err;

    work_init(&w, s, "import", "import a private key", TOKEN_VERB_IMPORT);
    w.asking.new_text = "Please enter the passphrase to\nprotect the imported key";
    if (!s->has_import_key) {
        err = gpg_fail(s, GPG_ERR_MISSING_KEY, "did you run KEYWRAP_KEY ?");
        goto out;
    }
    if ((err = put_timestamp(s, line, &w.args)) != 0 ||
        (err = put_nonce(s, gpg_skip_options(line), "nonce", &w.args)) != 0)
        goto out;
    if (gpg_has_option(line, "--force"))
        field_put_int(&w.args, "force", 1);
    if (gpg_has_option(line, "--unattended"))
        field_put_int(&w.args, "unattended", 1);
    err = gpg_inquire(s, "KEYDATA", MAX_KEYDATA, false, true, &data);
    if (err != 0)
        goto out;
    w.inputs[0] = (struct input){"WRAPKEY", rd_of(s->import_key, GPG_WRAPKEY)};
    w.inputs[1] = (struct input){"WRAPPED", buf_rd(&data)};
    err = work_run(&w, NULL);
    if (err == 0)
        err = gpg_pass_nonces(s, buf_rd(&w.r.lines), false);
out:
    work_clear(&w);
    buf_free(&data);
    return err;
}

/* --- DELETE_KEY ------------------------------------------------------------------------------------------------------------------------------ */

static gpg_error_t ask_to_delete(struct gpg_session *s, const char *desc,
                                 const struct gpg_stored *k)
{
    char *text = desc != NULL
                     ? gpg_unescape(desc, false)
                     : gpgrt_bsprintf("Do you really want to delete the key identified by keygrip\n"
                                      "  %s\n  %s\n?",
                                      k->grip, k->comment != NULL ? k->comment : "");
    struct wait w;
    gpg_error_t err =
        text != NULL ? wait_begin(s->a->waits, &w, s->origin.fd, 0) : gpg_error_from_syserror();

    if (err == 0) {
        err = gpg_confirm(s, &w, text, "Delete key", "No");
        wait_end(&w);
    }
    gpgrt_free(text);
    return err;
}

static gpg_error_t cmd_delete_key(struct gpg_session *s, char *line)
{
    /* With the pinentry under the client's hand --force would be all the confirmation that there is. */
    bool force = gpg_has_option(line, "--force") && s->conf->allow_loopback,
         stub_only = gpg_has_option(line, "--stub-only");
    char grip[GPG_GRIP_CHARS + 1];
    struct gpg_stored k = {0};
    struct work w;
    gpg_error_t err;

    work_init(&w, s, "delete", "delete a private key", NULL);
    w.r.verb = TOKEN_DELKEY;
    if ((err = gpg_parse_grip(s, gpg_skip_options(line), grip)) != 0)
        goto out;
    err = gpg_stored_get(s, grip, &k);
    if (gpg_err_code(err) == GPG_ERR_NOT_FOUND)
        err = gpg_error(GPG_ERR_NO_SECKEY);
    else if (err == 0 && stub_only && k.state != STORED_SHADOWED)
        err = gpg_error(GPG_ERR_FORBIDDEN);
    if (err == 0 && k.state != STORED_SHADOWED && !force)
        err = ask_to_delete(s, w.desc, &k);
    err = err == 0 ? work_run(&w, grip) : gpg_map_error(s, err, false);
out:
    gpg_stored_clear(&k);
    work_clear(&w);
    return err;
}

static gpg_error_t cmd_not_supported(struct gpg_session *s, char *line)
{
    (void)line;
    return gpg_fail(s, GPG_ERR_NOT_SUPPORTED, NULL);
}

const struct gpg_command gpg_secret_commands[] = {
    {"GENKEY", cmd_genkey, false,
     "GENKEY [--no-protection] [--preset] [--timestamp=<isodate>] [--inq-passwd] "
     "[--passwd-nonce=<s>] "
     "[<cache_nonce>]\n\nMakes a key; INQUIRE KEYPARAM tells which."},
    {"PASSWD", cmd_passwd, false,
     "PASSWD [--cache-nonce=<c>] [--passwd-nonce=<s>] [--preset] [--verify] "
     "<hexkeygrip>\n\nChanges a "
     "key's passphrase."},
    {"KEYWRAP_KEY", cmd_keywrap_key, false,
     "KEYWRAP_KEY [--clear] <mode>\n\nA key to wrap private keys with; mode is --import or "
     "--export."},
    {"IMPORT_KEY", cmd_import_key, false,
     "IMPORT_KEY [--unattended] [--force] [--timestamp=<isodate>] [<cache_nonce>]\n\nTakes a "
     "wrapped "
     "private key."},
    {"EXPORT_KEY", cmd_export_key, false,
     "EXPORT_KEY [--cache-nonce=<nonce>] [--openpgp] <hexkeygrip>\n\nGives a wrapped private key."},
    {"DELETE_KEY", cmd_delete_key, false,
     "DELETE_KEY [--force|--stub-only] <hexstring_with_keygrip>\n\nDeletes a key file."},
    {"KEYTOTPM", cmd_not_supported, false, "KEYTOTPM <hexgrip>\n\nNot supported."},
    {"GET_SECRET", cmd_not_supported, false, "GET_SECRET <key>\n\nNot supported."},
    {"PUT_SECRET", cmd_not_supported, false,
     "PUT_SECRET [--clear] <key> <ttl> [<value>]\n\nNot supported."},
    {0},
};
