/* New keys: GENKEY. */
#include "agent/gpg_secret.h"

#include "proto/token_protocol.h"

#include <string.h>

#define MAX_PARAM  1024u
#define MAX_PASSWD 256u

static gpg_error_t give_param(struct gpg_asking *k, struct wait *w, const char *line,
                              struct buf *answer)
{
    const struct buf *param = k->more_arg;

    (void)w;
    if (strncmp(line, "PARAM", strcspn(line, " ")) != 0)
        return gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
    buf_put_rd(answer, buf_rd(param));
    return buf_err(answer);
}

/* "S KEYGRIP", and the key. */
static gpg_error_t send_key(struct gpg_session *s, struct rd canon)
{
    uint8_t grip[GPG_GRIP_CHARS / 2];
    gcry_sexp_t pub = NULL;
    char *hex = NULL;
    gpg_error_t err = gcry_sexp_sscan(&pub, NULL, (const char *)canon.p, canon.n);

    if (err == 0 && gcry_pk_get_keygrip(pub, grip) == NULL)
        err = gpg_error(GPG_ERR_BAD_PUBKEY);
    if (err == 0)
        hex = hex_encode(grip, sizeof grip);
    if (err == 0)
        err = hex != NULL ? gpg_status(s, "KEYGRIP", "%s", hex) : gpg_error_from_syserror();
    if (err == 0)
        err = gpg_send(s, canon, false);
    gpgrt_free(hex);
    gcry_sexp_release(pub);
    return err;
}

/* GENKEY [--no-protection] [--preset] [--timestamp=ISO] [--inq-passwd] [--passwd-nonce=N] [CACHE_NONCE] */
static gpg_error_t cmd_genkey(struct gpg_session *s, char *line)
{
    bool protect = !gpg_has_option(line, "--no-protection"),
         inquire = gpg_has_option(line, "--inq-passwd");
    struct buf param = BUF_INIT, passwd = BUF_INIT_SECURE;
    struct gpg_change c;
    gpg_error_t err;

    gpg_change_init(&c, s, "generate", "generate a gpg key", TOKEN_VERB_GENERATE, NULL);
    c.patient = true;
    c.asking.new_text = "Please enter the passphrase to\nprotect your new key";
    c.asking.more = give_param;
    c.asking.more_arg = &param;
    err = gpg_change_put_time(&c, line);
    gpg_change_put_option(&c, line, "--passwd-nonce", "passwd-nonce");
    gpg_change_put_preset(&c, line);
    gpg_change_put_word(&c, gpg_skip_options(line), "nonce");
    if (err == 0)
        err = gpg_inquire(s, "KEYPARAM", MAX_PARAM, true, false, &param);
    if (err == 0 && inquire && protect) {
        err = gpg_inquire_passphrase(s, "NEWPASSWD", MAX_PASSWD, false, &passwd);
        protect = passwd.len > 0;
        c.asking.new_passphrase = &passwd;
    }
    if (!protect)
        field_put_int(&c.args, "protect", 0);
    if (err == 0)
        err = gpg_change_run(&c);
    if (err == 0)
        err = gpg_pass_nonces(s, buf_rd(&c.lines), false);
    if (err == 0)
        err = send_key(s, buf_rd(&c.result));
    buf_free(&param);
    buf_free(&passwd);
    gpg_change_clear(&c);
    return err;
}

const struct gpg_command gpg_generate_commands[] = {
    {"GENKEY", cmd_genkey, false,
     "GENKEY [--no-protection] [--preset] [--timestamp=<isodate>] [--inq-passwd] "
     "[--passwd-nonce=<s>] [<cache_nonce>]\n\nMakes a new key."},
    {0},
};
