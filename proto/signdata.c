#include "proto/signdata.h"
#include "proto/key_internal.h"

#include <string.h>

#define MSG_USERAUTH_REQUEST 50
/* pam_ssh_agent_auth's own: SSH2_MSG_USERAUTH_TRUST_REQUEST, PAM_SSH_AGENT_AUTH_REQUESTv1, and the
 * least octets of its cookie. */
#define MSG_TRUST_REQUEST 54
#define SUDO_REQUEST_V1   101u
#define SUDO_COOKIE_MIN   16u
/* A session identifier is the hash of a key exchange: SHA-1 to SHA-512. Its length in front also
 * keeps userauth data and SSHSIG data apart. */
#define SID_MIN 20u
#define SID_MAX 64u
/* Public fields of certified keys of types that we do not know: the longest known (DSA) has four.
 */
#define CERT_MAX_FIELDS 6

static gpg_error_t expect(struct rd *r, const char *text)
{
    struct rd s;
    gpg_error_t err = rd_string(r, &s);

    if (err != 0)
        return err;
    return rd_is(s, text) ? 0 : gpg_error(GPG_ERR_BAD_DATA);
}

static gpg_error_t expect_u8(struct rd *r, uint8_t v)
{
    uint8_t c;
    gpg_error_t err = rd_u8(r, &c);

    if (err != 0)
        return err;
    return c == v ? 0 : gpg_error(GPG_ERR_BAD_DATA);
}

static gpg_error_t read_key(struct rd *r, struct key **out)
{
    struct rd blob;
    gpg_error_t err = rd_string(r, &blob);

    return err != 0 ? err : key_from_blob(blob, out);
}

/* --- userauth
 * ---------------------------------------------------------------------------------------------- */

/* RSA is the only key type with algorithms of other names (RFC 8332, PROTOCOL.certkeys). */
static bool pkalg_fits(const struct key *k, const char *alg)
{
    static const char *const rsa[] = {"rsa-sha2-256", "rsa-sha2-512", NULL};
    static const char *const rsa_cert[] = {"rsa-sha2-256-cert-v01@openssh.com",
                                           "rsa-sha2-512-cert-v01@openssh.com", NULL};

    if (strcmp(alg, k->type) == 0)
        return true;
    if (k->algo != KEY_RSA)
        return false;
    for (const char *const *name = k->cert != NULL ? rsa_cert : rsa; *name != NULL; name++)
        if (strcmp(alg, *name) == 0)
            return true;
    return false;
}

static gpg_error_t parse_method(struct rd *r, bool *hostbound)
{
    struct rd method;
    gpg_error_t err = rd_string(r, &method);

    if (err != 0)
        return err;
    *hostbound = rd_is(method, "publickey-hostbound-v00@openssh.com");
    return *hostbound || rd_is(method, "publickey") ? 0 : gpg_error(GPG_ERR_BAD_DATA);
}

static gpg_error_t parse_userauth(struct rd r, const struct key *signer, struct signdata *out)
{
    gpg_error_t err;

    out->kind = SIGNDATA_USERAUTH;
    err = rd_string(&r, &out->session_id);
    if (err == 0 && (out->session_id.n < SID_MIN || out->session_id.n > SID_MAX))
        err = gpg_error(GPG_ERR_BAD_DATA);
    if (err == 0)
        err = expect_u8(&r, MSG_USERAUTH_REQUEST);
    if (err == 0)
        err = rd_cstring(&r, &out->user);
    if (err == 0)
        err = expect(&r, "ssh-connection");
    if (err == 0)
        err = parse_method(&r, &out->hostbound);
    if (err == 0)
        err = expect_u8(&r, 1);
    if (err == 0)
        err = rd_cstring(&r, &out->pkalg);
    if (err == 0)
        err = read_key(&r, &out->key);
    if (err == 0 && (!key_same(out->key, signer) || !pkalg_fits(out->key, out->pkalg)))
        err = gpg_error(GPG_ERR_BAD_DATA);
    if (err == 0 && out->hostbound)
        err = read_key(&r, &out->hostkey);
    return err != 0 ? err : rd_end(&r);
}

/* --- SSHSIG
 * ------------------------------------------------------------------------------------------------
 */

static gpg_error_t parse_sshsig(struct rd r, const struct key *signer, struct signdata *out)
{
    struct rd magic, reserved, digest;
    gpg_error_t err = rd_bytes(&r, strlen("SSHSIG"), &magic);

    (void)signer;
    out->kind = SIGNDATA_SSHSIG;
    if (err == 0 && !rd_is(magic, "SSHSIG"))
        err = gpg_error(GPG_ERR_BAD_DATA);
    if (err == 0)
        err = rd_cstring(&r, &out->ns);
    if (err == 0 && *out->ns == 0)
        err = gpg_error(GPG_ERR_BAD_DATA);
    if (err == 0)
        err = rd_string(&r, &reserved); /* whatever it holds is to be ignored (PROTOCOL.sshsig 3) */
    if (err == 0)
        err = rd_cstring(&r, &out->hash_name);
    if (err == 0)
        err = rd_string(&r, &digest);
    if (err == 0 && !(strcmp(out->hash_name, "sha512") == 0 && digest.n == 64) &&
        !(strcmp(out->hash_name, "sha256") == 0 && digest.n == 32))
        err = gpg_error(GPG_ERR_BAD_DATA);
    return err != 0 ? err : rd_end(&r);
}

/* --- certificates to be signed
 * ----------------------------------------------------------------------------- */

static bool is_cert_name(struct rd name)
{
    static const char suffix[] = "-cert-v01@openssh.com";
    size_t n = sizeof suffix - 1;

    return name.n > n && memcmp(name.p + name.n - n, suffix, n) == 0;
}

static gpg_error_t read_rest(struct rd r, const struct key *signer, struct signdata *out)
{
    struct ssh_cert *c = gpgrt_calloc(1, sizeof *c);
    gpg_error_t err;

    if (c == NULL)
        return gpg_error_from_syserror();
    err = cert_read_body(&r, c);
    if (err == 0)
        err = rd_end(&r);
    if (err == 0 && !key_same(c->ca, signer)) /* nobody would accept the certificate */
        err = gpg_error(GPG_ERR_BAD_DATA);
    if (err == 0) {
        out->cert_type = c->type;
        out->cert_id = c->key_id;
        out->principals = c->principals;
        c->key_id = NULL;
        c->principals = NULL;
    }
    cert_free(c);
    return err;
}

/* A subject of unknown type: its public fields are strings, only their number is not known. */
static gpg_error_t parse_unknown_subject(struct rd r, const struct key *signer,
                                         struct signdata *out)
{
    gpg_error_t err = gpg_error(GPG_ERR_BAD_DATA);

    for (int i = 0; i < CERT_MAX_FIELDS; i++) {
        struct rd field;

        if (rd_string(&r, &field) != 0)
            break;
        err = read_rest(r, signer, out);
        if (err == 0 || gpg_err_code(err) == GPG_ERR_ENOMEM)
            return err;
    }
    return err;
}

static gpg_error_t parse_cert_tbs(struct rd r, const struct key *signer, struct signdata *out)
{
    struct rd name, nonce;
    const struct ssh_type *type;
    struct key_numbers num;
    gpg_error_t err = rd_string(&r, &name);

    out->kind = SIGNDATA_CERT;
    if (err == 0 && !is_cert_name(name))
        err = gpg_error(GPG_ERR_BAD_DATA);
    if (err == 0)
        err = rd_string(&r, &nonce);
    if (err != 0)
        return err;
    type = ssh_type_by_name(name);
    if (type == NULL)
        return parse_unknown_subject(r, signer, out);
    err = key_numbers_read(type, &r, &num);
    if (err == 0)
        err = key_make(type->algo, &num, &out->subject);
    return err != 0 ? err : read_rest(r, signer, out);
}

/* --- sudo
 * ------------------------------------------------------------------------------------------------
 */

/* u32 count and as many strings, nothing after. */
static gpg_error_t read_words(struct rd r, char **out)
{
    struct buf text = BUF_INIT;
    uint32_t count;
    gpg_error_t err = rd_u32(&r, &count);

    for (uint32_t i = 0; i < count && err == 0; i++) {
        struct rd word;

        err = rd_string(&r, &word);
        if (err == 0 && word.n > 0 && memchr(word.p, 0, word.n) != NULL)
            err = gpg_error(GPG_ERR_BAD_DATA);
        if (err != 0)
            break;
        if (i > 0)
            buf_put_u8(&text, ' ');
        buf_put_rd(&text, word);
    }
    if (err == 0)
        err = rd_end(&r);
    if (err == 0)
        err = buf_err(&text);
    if (err != 0) {
        buf_free(&text);
        return err;
    }
    *out = buf_steal_cstr(&text);
    return *out != NULL ? 0 : gpg_error(GPG_ERR_ENOMEM);
}

/* The command: words, or nothing where it cannot be known, or (up to 0.9.3) plain text. */
static gpg_error_t read_action(struct rd *r, char **out)
{
    struct rd whole = *r, action;
    gpg_error_t err = rd_string(r, &action);

    if (err != 0)
        return err;
    err = action.n > 0 ? read_words(action, out) : gpg_error(GPG_ERR_BAD_DATA);
    if (err == 0 || gpg_err_code(err) == GPG_ERR_ENOMEM)
        return err;
    return rd_cstring(&whole, out);
}

static gpg_error_t read_sudo_request(struct rd r, struct sudo_request *out)
{
    uint32_t version;
    uint64_t when;
    char *user = NULL;
    struct rd cookie;
    gpg_error_t err = rd_u32(&r, &version);

    if (err == 0 && version != SUDO_REQUEST_V1)
        err = gpg_error(GPG_ERR_BAD_DATA);
    if (err == 0)
        err = rd_string(&r, &cookie);
    if (err == 0 && cookie.n < SUDO_COOKIE_MIN)
        err = gpg_error(GPG_ERR_BAD_DATA);
    if (err == 0)
        err = rd_cstring(&r, &user); /* PAM's: the one whose password would be asked for */
    gpgrt_free(user);
    if (err == 0)
        err = rd_cstring(&r, &out->user);
    if (err == 0)
        err = rd_cstring(&r, &out->service);
    if (err == 0)
        err = rd_cstring(&r, &out->cwd);
    if (err == 0)
        err = read_action(&r, &out->command);
    if (err == 0)
        err = rd_cstring(&r, &out->host);
    if (err == 0)
        err = rd_u64(&r, &when);
    return err != 0 ? err : rd_end(&r);
}

/* Built like a userauth request, but the message number can be no server's. */
static gpg_error_t parse_sudo(struct rd r, const struct key *signer, struct signdata *out)
{
    struct rd request;
    gpg_error_t err;

    out->kind = SIGNDATA_SUDO;
    err = rd_string(&r, &request);
    if (err == 0)
        err = expect_u8(&r, MSG_TRUST_REQUEST);
    if (err == 0)
        err = read_sudo_request(request, &out->sudo);
    if (err == 0)
        err = expect(&r, out->sudo.user);
    if (err == 0)
        err = expect(&r, "pam_ssh_agent_auth");
    if (err == 0)
        err = expect(&r, "publickey");
    if (err == 0)
        err = expect_u8(&r, 1);
    if (err == 0)
        err = rd_cstring(&r, &out->pkalg);
    if (err == 0)
        err = read_key(&r, &out->key);
    if (err == 0 && (!key_same(out->key, signer) || !pkalg_fits(out->key, out->pkalg)))
        err = gpg_error(GPG_ERR_BAD_DATA);
    return err != 0 ? err : rd_end(&r);
}

/* --- host keys
 * ------------------------------------------------------------------------------------------------
 */

static gpg_error_t parse_hostkey_proof(struct rd r, const struct key *signer, struct signdata *out)
{
    gpg_error_t err = expect(&r, "hostkeys-prove-00@openssh.com");

    out->kind = SIGNDATA_HOSTKEY;
    if (err == 0)
        err = rd_string(&r, &out->session_id);
    if (err == 0 && (out->session_id.n < SID_MIN || out->session_id.n > SID_MAX))
        err = gpg_error(GPG_ERR_BAD_DATA);
    if (err == 0)
        err = read_key(&r, &out->key);
    if (err == 0 && !key_same(out->key, signer))
        err = gpg_error(GPG_ERR_BAD_DATA);
    return err != 0 ? err : rd_end(&r);
}

/* -----------------------------------------------------------------------------------------------------------
 */

gpg_error_t signdata_parse(struct rd data, const struct key *signer, struct signdata *out)
{
    static gpg_error_t (*const forms[])(struct rd, const struct key *, struct signdata *) = {
        parse_userauth, parse_sshsig, parse_cert_tbs, parse_sudo, parse_hostkey_proof,
    };

    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct signdata s = {0};
        gpg_error_t err = forms[i](data, signer, &s);

        if (err == 0) {
            *out = s;
            return 0;
        }
        signdata_clear(&s);
        if (gpg_err_code(err) == GPG_ERR_ENOMEM)
            return err;
    }
    *out = (struct signdata){.kind = SIGNDATA_RAW};
    return 0;
}

void signdata_clear(struct signdata *s)
{
    gpgrt_free(s->user);
    gpgrt_free(s->pkalg);
    key_unref(s->key);
    key_unref(s->hostkey);
    gpgrt_free(s->ns);
    gpgrt_free(s->hash_name);
    key_unref(s->subject);
    gpgrt_free(s->cert_id);
    for (size_t i = 0; s->principals != NULL && s->principals[i] != NULL; i++)
        gpgrt_free(s->principals[i]);
    gpgrt_free(s->principals);
    gpgrt_free(s->sudo.service);
    gpgrt_free(s->sudo.user);
    gpgrt_free(s->sudo.host);
    gpgrt_free(s->sudo.cwd);
    gpgrt_free(s->sudo.command);
    *s = (struct signdata){0};
}
