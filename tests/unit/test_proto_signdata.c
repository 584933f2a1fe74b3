/* What is being signed: the recorded requests, forged ones, and session-binds. */
#include "proto/signdata.h"
#include "proto/ssh_agent.h"
#include "tests/unit/proto_util.h"

/* --- the capture ------------------------------------------------------------------------------------------- */

START_TEST(every_recorded_signature)
{
    unsigned userauth = 0, sshsig = 0, raw = 0, verified = 0;
    struct buf b = BUF_INIT, request = BUF_INIT, sid = BUF_INIT, hostblob = BUF_INIT;
    FILE *f = open_capture();
    char tag[16];

    while (next_frame(f, tag, &b)) {
        struct ssh_agent_msg m;
        struct signdata s;
        struct session_bind bind;
        struct key *signer, *plain;

        if (b.data[0] == SSH_AGENT_SIGN_RESPONSE) { /* to REQUEST */
            struct rd r = rd_of(b.data + 1, b.len - 1), sig;

            ck_ok(ssh_agent_parse(buf_rd(&request), &m));
            ck_ok(key_from_blob(m.u.sign.key_blob, &signer));
            ck_ok(rd_string(&r, &sig));
            ck_ok(rd_end(&r));
            ck_ok(ssh_sig_verify(signer, m.u.sign.data, sig, m.u.sign.flags == 0));
            key_unref(signer);
            verified++;
            continue;
        }
        if (strchr(tag, '>') == NULL)
            continue;
        ck_ok(ssh_agent_parse(buf_rd(&b), &m));
        if (m.type == SSH_AGENTC_EXTENSION && session_bind_parse(m.u.ext.body, &bind) == 0) {
            buf_reset(&sid);
            buf_put_rd(&sid, bind.session_id);
            buf_reset(&hostblob);
            buf_put(&hostblob, bind.hostkey->blob, bind.hostkey->blob_len);
            session_bind_clear(&bind);
        }
        if (m.type == SSH_AGENTC_SIGN_REQUEST) {
            buf_reset(&request);
            buf_put_rd(&request, buf_rd(&b));
            ck_ok(key_from_blob(m.u.sign.key_blob, &signer));
            ck_ok(key_plain(signer, &plain));
            ck_ok(signdata_parse(m.u.sign.data, plain, &s));
            switch (s.kind) {
            case SIGNDATA_USERAUTH: /* on a connection that was bound just before */
                ck_assert(s.hostbound && rd_eq(s.session_id, buf_rd(&sid)));
                ck_assert(rd_eq(rd_of(s.hostkey->blob, s.hostkey->blob_len), buf_rd(&hostblob)));
                ck_assert_str_eq(s.user, "root");
                ck_assert_str_eq(s.pkalg, s.key->type);
                userauth++;
                break;
            case SIGNDATA_SSHSIG:
                ck_assert(strcmp(s.ns, "git") == 0 || strcmp(s.ns, "file") == 0);
                ck_assert_str_eq(s.hash_name, "sha512");
                sshsig++;
                break;
            default: /* ssh-add -T */
                ck_assert(s.kind == SIGNDATA_RAW && m.u.sign.data.n == 1024);
                raw++;
                break;
            }
            signdata_clear(&s);
            key_unref(signer);
            key_unref(plain);
        }
        ssh_agent_msg_free(&m);
    }
    fclose(f);
    ck_assert_uint_eq(userauth, 8);
    ck_assert_uint_eq(sshsig, 5);
    ck_assert_uint_eq(raw, 2);
    ck_assert_uint_eq(verified, 12); /* the others were refused */
    buf_free(&b);
    buf_free(&request);
    buf_free(&sid);
    buf_free(&hostblob);
}
END_TEST

START_TEST(every_recorded_bind)
{
    unsigned binds = 0, forwarding = 0;
    struct key *hosta = recorded_key("hosta"), *hostb = recorded_key("hostb");
    struct buf b = BUF_INIT;
    FILE *f = open_capture();
    char tag[16];

    while (next_frame(f, tag, &b)) {
        struct ssh_agent_msg m;
        struct session_bind bind = {0};
        uint8_t *body;
        size_t n;

        if (strchr(tag, '>') == NULL || b.data[0] != SSH_AGENTC_EXTENSION)
            continue;
        ck_ok(ssh_agent_parse(buf_rd(&b), &m));
        if (!rd_is(m.u.ext.name, "session-bind@openssh.com"))
            continue;
        ck_ok(session_bind_parse(m.u.ext.body, &bind));
        ck_assert(key_same(bind.hostkey, hosta) || key_same(bind.hostkey, hostb));
        ck_assert_uint_eq(bind.session_id.n, 64);
        forwarding += bind.forwarding;
        session_bind_clear(&bind);
        ck_assert(bind.hostkey == NULL);
        if (binds++ < 2 || forwarding == 1) { /* every cut, every octet flipped, one too many */
            n = m.u.ext.body.n;
            body = malloc(n + 1);
            memcpy(body, m.u.ext.body.p, n);
            body[n] = 0;
            ck_assert(session_bind_parse(rd_of(body, n + 1), &bind) != 0);
            for (size_t i = 0; i < n; i++)
                ck_assert(session_bind_parse(rd_of(body, i), &bind) != 0);
            for (size_t i = 0; i < n - 1; i++) { /* the last is the forwarding flag, not signed */
                body[i] ^= (uint8_t)(1 << (i % 8));
                ck_assert_msg(session_bind_parse(rd_of(body, n), &bind) != 0, "octet %zu", i);
                body[i] ^= (uint8_t)(1 << (i % 8));
            }
            free(body);
        }
    }
    fclose(f);
    ck_assert_uint_eq(binds, 11);
    ck_assert_uint_eq(forwarding, 2);
    buf_free(&b);
    key_unref(hosta);
    key_unref(hostb);
}
END_TEST

/* --- session-bind ------------------------------------------------------------------------------------------ */

static gpg_error_t bind_with(const struct pair *host, struct rd blob, struct rd sid, int hash)
{
    struct buf b = BUF_INIT, sig = BUF_INIT;
    struct session_bind bind;
    gpg_error_t err;

    pair_ssh_sign(host, hash, sid, &sig);
    buf_put_string(&b, blob.p, blob.n);
    buf_put_string(&b, sid.p, sid.n);
    buf_put_string(&b, sig.data, sig.len);
    buf_put_u8(&b, 1);
    err = session_bind_parse(buf_rd(&b), &bind);
    if (err == 0) {
        ck_assert(bind.forwarding && rd_eq(bind.session_id, sid));
        session_bind_clear(&bind);
    }
    buf_free(&b);
    buf_free(&sig);
    return err;
}

START_TEST(binds_of_every_kind)
{
    static const char *const hosts[] = {GEN_ED25519, GEN_P256, GEN_P384, GEN_P521, GEN_RSA};
    static const char *const names[] = {"h", NULL};
    struct pair host = pair_new(hosts[_i]), ca = pair_new(GEN_ED25519), other = pair_new(hosts[_i]);
    struct rd blob = rd_of(host.pub->blob, host.pub->blob_len);
    struct cert_spec spec = {.type = CERT_HOST, .principals = names, .before = UINT64_MAX};
    struct buf cert = BUF_INIT;
    uint8_t sid[129] = {9};

    ck_ok(bind_with(&host, blob, rd_of(sid, 64), GCRY_MD_SHA512));
    ck_ok(bind_with(&host, blob, rd_of(sid, 20), GCRY_MD_SHA256));
    ck_ok(bind_with(&host, blob, rd_of(sid, 128), GCRY_MD_SHA512));
    ck_code(bind_with(&host, blob, rd_of(sid, 129), GCRY_MD_SHA512), GPG_ERR_BAD_DATA);
    ck_code(bind_with(&host, blob, rd_of(sid, 0), GCRY_MD_SHA512), GPG_ERR_BAD_DATA);
    ck_code(bind_with(&other, blob, rd_of(sid, 64), GCRY_MD_SHA512), GPG_ERR_BAD_SIGNATURE);
    if (host.pub->algo == KEY_RSA)
        ck_code(bind_with(&host, blob, rd_of(sid, 64), GCRY_MD_SHA1), GPG_ERR_BAD_SIGNATURE);
    cert_make(host.pub, &ca, &spec, &cert);
    ck_ok(bind_with(&host, buf_rd(&cert), rd_of(sid, 32), GCRY_MD_SHA512));
    ck_code(bind_with(&other, buf_rd(&cert), rd_of(sid, 32), GCRY_MD_SHA512),
            GPG_ERR_BAD_SIGNATURE);
    buf_free(&cert);
    pair_free(&host);
    pair_free(&other);
    pair_free(&ca);
}
END_TEST

/* --- userauth ---------------------------------------------------------------------------------------------- */

struct userauth {
    const char *sid; /* n octets of it */
    size_t sid_len;
    uint8_t type;
    const char *user, *service, *method;
    uint8_t flag;
    const char *pkalg, *key, *hostkey;
    const char *tail;
};

static const char sid64[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static void put_userauth(struct buf *b, const struct userauth *u)
{
    struct key *k = recorded_key(u->key);

    buf_put_string(b, u->sid, u->sid_len);
    buf_put_u8(b, u->type);
    buf_put_cstring(b, u->user);
    buf_put_cstring(b, u->service);
    buf_put_cstring(b, u->method);
    buf_put_u8(b, u->flag);
    buf_put_cstring(b, u->pkalg);
    buf_put_string(b, k->blob, k->blob_len);
    key_unref(k);
    if (u->hostkey != NULL) {
        k = recorded_key(u->hostkey);
        buf_put_string(b, k->blob, k->blob_len);
        key_unref(k);
    }
    if (u->tail != NULL)
        put_hex(b, u->tail);
}

#define PLAIN "publickey"
#define BOUND "publickey-hostbound-v00@openssh.com"
#define ED    "ssh-ed25519"
#define SVC   "ssh-connection"

START_TEST(userauth)
{
    static const struct {
        struct userauth u;
        const char *signer;
        bool ok;
    } cases[] = {
        {{sid64, 64, 50, "u", SVC, PLAIN, 1, ED, "ed", NULL, NULL}, "ed", true},
        {{sid64, 20, 50, "u", SVC, PLAIN, 1, ED, "ed", NULL, NULL}, "ed", true},
        {{sid64, 32, 50, "", SVC, BOUND, 1, ED, "ed", "hostb", NULL}, "ed", true},
        {{sid64, 32, 50, "u", SVC, PLAIN, 1, "rsa-sha2-512", "rsa", NULL, NULL}, "rsa", true},
        {{sid64, 32, 50, "u", SVC, PLAIN, 1, "rsa-sha2-256", "rsa", NULL, NULL}, "rsa", true},
        {{sid64, 32, 50, "u", SVC, PLAIN, 1, "ssh-rsa", "rsa", NULL, NULL}, "rsa", true},
        {{sid64, 32, 50, "u", SVC, PLAIN, 1, "ssh-ed25519-cert-v01@openssh.com", "ed-cert", NULL,
          NULL},
         "ed",
         true},
        {{sid64, 32, 50, "u", SVC, PLAIN, 1, ED, "ed", NULL, NULL}, "ed-cert", true},
        {{sid64, 32, 50, "u", SVC, PLAIN, 1, "sk-ssh-ed25519@openssh.com", "sked", NULL, NULL},
         "sked",
         true},
        /* the host is another one than it seems, the signer another key, or it is not ssh at all */
        {{sid64, 32, 50, "u", SVC, PLAIN, 1, ED, "ed", "hostb", NULL}, "ed", false},
        {{sid64, 32, 50, "u", SVC, BOUND, 1, ED, "ed", NULL, NULL}, "ed", false},
        {{sid64, 32, 50, "u", SVC, BOUND, 1, ED, "ed", "hostb", "00"}, "ed", false},
        {{sid64, 32, 50, "u", SVC, PLAIN, 1, ED, "ed", NULL, "00"}, "ed", false},
        {{sid64, 19, 50, "u", SVC, PLAIN, 1, ED, "ed", NULL, NULL}, "ed", false},
        {{sid64, 0, 50, "u", SVC, PLAIN, 1, ED, "ed", NULL, NULL}, "ed", false},
        {{sid64, 32, 51, "u", SVC, PLAIN, 1, ED, "ed", NULL, NULL}, "ed", false},
        {{sid64, 32, 50, "u", "ssh-userauth", PLAIN, 1, ED, "ed", NULL, NULL}, "ed", false},
        {{sid64, 32, 50, "u", SVC, "hostbased", 1, ED, "ed", NULL, NULL}, "ed", false},
        {{sid64, 32, 50, "u", SVC, PLAIN, 0, ED, "ed", NULL, NULL}, "ed", false},
        {{sid64, 32, 50, "u", SVC, PLAIN, 2, ED, "ed", NULL, NULL}, "ed", false},
        {{sid64, 32, 50, "u", SVC, PLAIN, 1, "ssh-rsa", "ed", NULL, NULL}, "ed", false},
        {{sid64, 32, 50, "u", SVC, PLAIN, 1, ED, "ed-cert", NULL, NULL}, "ed", false},
        {{sid64, 32, 50, "u", SVC, PLAIN, 1, ED, "ed", NULL, NULL}, "hosta", false},
        {{sid64, 32, 50, "u", SVC, PLAIN, 1, ED, "ed", NULL, NULL}, "sked", false},
        {{sid64, 32, 50, "u", SVC, PLAIN, 1, "rsa-sha2-512-cert-v01@openssh.com", "rsa", NULL,
          NULL},
         "rsa",
         false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct key *signer = recorded_key(cases[i].signer);
        struct buf b = BUF_INIT;
        struct signdata s;

        put_userauth(&b, &cases[i].u);
        ck_ok(signdata_parse(buf_rd(&b), signer, &s));
        ck_assert_msg((s.kind == SIGNDATA_USERAUTH) == cases[i].ok, "case %zu", i);
        ck_assert(cases[i].ok || s.kind == SIGNDATA_RAW);
        if (cases[i].ok) {
            ck_assert_str_eq(s.user, cases[i].u.user);
            ck_assert_str_eq(s.pkalg, cases[i].u.pkalg);
            ck_assert(rd_eq(s.session_id, rd_of(sid64, cases[i].u.sid_len)));
            ck_assert(s.hostbound == (cases[i].u.hostkey != NULL) &&
                      s.hostbound == (s.hostkey != NULL));
            ck_assert(key_same(s.key, signer));
        }
        signdata_clear(&s);
        for (size_t n = 0; cases[i].ok && n < b.len; n++) {
            ck_ok(signdata_parse(rd_of(b.data, n), signer, &s));
            ck_assert_msg(s.kind == SIGNDATA_RAW, "case %zu cut to %zu", i, n);
            signdata_clear(&s);
        }
        buf_free(&b);
        key_unref(signer);
    }
}
END_TEST

/* --- SSHSIG, certificates ---------------------------------------------------------------------------------- */

START_TEST(sshsig)
{
    static const struct {
        const char *magic, *ns, *reserved, *hash;
        size_t n, tail;
        bool ok;
    } cases[] = {
        {"SSHSIG", "git", "", "sha512", 64, 0, true},
        {"SSHSIG", "a b", "", "sha256", 32, 0, true},
        {"SSHSIG", "git", "later", "sha512", 64, 0, true},
        {"SSHSIG", "", "", "sha512", 64, 0, false},
        {"SSHSIG", "git", "", "sha512", 32, 0, false},
        {"SSHSIG", "git", "", "sha256", 64, 0, false},
        {"SSHSIG", "git", "", "sha1", 20, 0, false},
        {"SSHSIG", "git", "", "sha512", 64, 1, false},
        {"SSHSIX", "git", "", "sha512", 64, 0, false},
    };
    static const uint8_t digest[65];
    struct key *signer = recorded_key("ed");

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf b = BUF_INIT;
        struct signdata s;

        buf_put(&b, cases[i].magic, 6);
        buf_put_cstring(&b, cases[i].ns);
        buf_put_cstring(&b, cases[i].reserved);
        buf_put_cstring(&b, cases[i].hash);
        buf_put_string(&b, digest, cases[i].n);
        buf_put(&b, digest, cases[i].tail);
        ck_ok(signdata_parse(buf_rd(&b), signer, &s));
        ck_assert_msg((s.kind == SIGNDATA_SSHSIG) == cases[i].ok, "case %zu", i);
        if (cases[i].ok)
            ck_assert_str_eq(s.ns, cases[i].ns);
        signdata_clear(&s);
        for (size_t n = 0; cases[i].ok && n < b.len; n++) {
            ck_ok(signdata_parse(rd_of(b.data, n), signer, &s));
            ck_assert_int_eq(s.kind, SIGNDATA_RAW);
            signdata_clear(&s);
        }
        buf_free(&b);
    }
    key_unref(signer);
}
END_TEST

START_TEST(certificates_to_sign)
{
    static const char *const subjects[] = {"ed", "ec", "rsa", "sked", "skec"};
    struct pair ca = pair_new(GEN_ED25519), other = pair_new(GEN_ED25519);
    struct key *subject = recorded_key(subjects[_i]);
    struct buf b = BUF_INIT;
    struct signdata s;

    cert_make_tbs(subject, &ca, &(struct cert_spec){.type = 2}, &b);
    ck_ok(signdata_parse(buf_rd(&b), ca.pub, &s));
    ck_assert_int_eq(s.kind, SIGNDATA_CERT);
    ck_assert(s.cert_type == CERT_HOST && strcmp(s.cert_id, "the id") == 0);
    ck_assert(key_same(s.subject, subject));
    signdata_clear(&s);
    ck_ok(signdata_parse(buf_rd(&b), other.pub, &s)); /* it names another CA */
    ck_assert_int_eq(s.kind, SIGNDATA_RAW);
    signdata_clear(&s);
    for (size_t n = 0; n < b.len; n++) {
        ck_ok(signdata_parse(rd_of(b.data, n), ca.pub, &s));
        ck_assert_int_eq(s.kind, SIGNDATA_RAW);
        signdata_clear(&s);
    }
    buf_put_u8(&b, 0);
    ck_ok(signdata_parse(buf_rd(&b), ca.pub, &s));
    ck_assert_int_eq(s.kind, SIGNDATA_RAW);
    signdata_clear(&s);
    buf_free(&b);
    key_unref(subject);
    pair_free(&ca);
    pair_free(&other);
}
END_TEST

/* A CA asked to certify a key of a type that came after us is still a CA. */
START_TEST(certificate_of_unknown_type)
{
    struct pair ca = pair_new(GEN_P256);
    struct key *ed = recorded_key("ed");
    struct buf known = BUF_INIT, b = BUF_INIT;
    struct rd r, skip;
    struct signdata s;

    cert_make_tbs(ed, &ca, &(struct cert_spec){.type = 1}, &known);
    r = buf_rd(&known);
    for (int i = 0; i < 3; i++) /* type, nonce, key */
        ck_ok(rd_string(&r, &skip));
    for (int fields = 1; fields <= 4; fields++) {
        buf_reset(&b);
        buf_put_cstring(&b, "ssh-mldsa44-ed25519-cert-v01@openssh.com");
        buf_put_cstring(&b, "nonce");
        for (int i = 0; i < fields; i++)
            buf_put_cstring(&b, "a public number");
        buf_put_rd(&b, r);
        ck_ok(signdata_parse(buf_rd(&b), ca.pub, &s));
        ck_assert(s.kind == SIGNDATA_CERT && s.subject == NULL && s.cert_type == CERT_USER);
        signdata_clear(&s);
    }
    buf_free(&known);
    buf_free(&b);
    key_unref(ed);
    pair_free(&ca);
}
END_TEST

/* --- sudo, host keys --------------------------------------------------------------------------------------- */

struct sudo {
    uint32_t version;
    size_t cookie;
    const char *user, *words; /* words: hex of the action field */
    const char *tail;
    uint8_t type;
    const char *outer, *service, *method, *pkalg, *key;
};

static void put_sudo(struct buf *b, const struct sudo *u)
{
    struct buf in = BUF_INIT, words = BUF_INIT;
    struct key *k = recorded_key(u->key);

    put_hex(&words, u->words);
    buf_put_u32(&in, u->version);
    buf_put_string(&in, sid64, u->cookie);
    buf_put_cstring(&in, "pam user");
    buf_put_cstring(&in, u->user);
    buf_put_cstring(&in, "sudo");
    buf_put_cstring(&in, "/home/u");
    buf_put_string(&in, words.data, words.len);
    buf_put_cstring(&in, "web1");
    buf_put_u64(&in, 1700000000);
    put_hex(&in, u->tail);
    buf_put_string(b, in.data, in.len);
    buf_put_u8(b, u->type);
    buf_put_cstring(b, u->outer);
    buf_put_cstring(b, u->service);
    buf_put_cstring(b, u->method);
    buf_put_u8(b, 1);
    buf_put_cstring(b, u->pkalg);
    buf_put_string(b, k->blob, k->blob_len);
    buf_free(&in);
    buf_free(&words);
    key_unref(k);
}

#define PAM "pam_ssh_agent_auth"
#define WORDS          \
    "0000000200000005" \
    "2f62696e2f"       \
    "000000016c" /* "/bin/", "l" */

START_TEST(sudo)
{
    static const struct {
        struct sudo u;
        bool ok;
        const char *command;
    } cases[] = {
        {{101, 16, "u", WORDS, "", 54, "u", PAM, PLAIN, ED, "ed"}, true, "/bin/ l"},
        {{101, 60, "u", "", "", 54, "u", PAM, PLAIN, ED, "ed"}, true, ""},
        {{101, 16, "u", "6c73202d6c", "", 54, "u", PAM, PLAIN, ED, "ed"}, true, "ls -l"},
        /* a login in disguise, another's key, parts that do not fit each other, more than there should be */
        {{101, 16, "u", WORDS, "", 50, "u", PAM, PLAIN, ED, "ed"}, false, NULL},
        {{101, 16, "u", WORDS, "", 54, "u", SVC, PLAIN, ED, "ed"}, false, NULL},
        {{101, 16, "u", WORDS, "", 54, "u", PAM, BOUND, ED, "ed"}, false, NULL},
        {{101, 16, "u", WORDS, "", 54, "u", PAM, PLAIN, ED, "hosta"}, false, NULL},
        {{101, 16, "u", WORDS, "", 54, "u", PAM, PLAIN, "ssh-rsa", "ed"}, false, NULL},
        {{101, 16, "u", WORDS, "", 54, "root", PAM, PLAIN, ED, "ed"}, false, NULL},
        {{101, 15, "u", WORDS, "", 54, "u", PAM, PLAIN, ED, "ed"}, false, NULL},
        {{102, 16, "u", WORDS, "", 54, "u", PAM, PLAIN, ED, "ed"}, false, NULL},
        {{101, 16, "u", WORDS, "00", 54, "u", PAM, PLAIN, ED, "ed"}, false, NULL},
        {{101, 16, "u",
          "0000000100000002"
          "6c00",
          "", 54, "u", PAM, PLAIN, ED, "ed"},
         false,
         NULL},
        {{101, 16, "u", "ffffffff", "", 54, "u", PAM, PLAIN, ED, "ed"}, true, "\xff\xff\xff\xff"},
    };
    struct key *signer = recorded_key("ed");

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf b = BUF_INIT;
        struct signdata s;

        put_sudo(&b, &cases[i].u);
        ck_ok(signdata_parse(buf_rd(&b), signer, &s));
        ck_assert_msg(s.kind == (cases[i].ok ? SIGNDATA_SUDO : SIGNDATA_RAW), "case %zu", i);
        if (cases[i].ok) {
            ck_assert_str_eq(s.sudo.user, "u");
            ck_assert_str_eq(s.sudo.service, "sudo");
            ck_assert_str_eq(s.sudo.host, "web1");
            ck_assert_str_eq(s.sudo.cwd, "/home/u");
            ck_assert_str_eq(s.sudo.command, cases[i].command);
        }
        signdata_clear(&s);
        for (size_t n = 0; cases[i].ok && n < b.len; n++) {
            ck_ok(signdata_parse(rd_of(b.data, n), signer, &s));
            ck_assert_msg(s.kind == SIGNDATA_RAW, "case %zu cut to %zu", i, n);
            signdata_clear(&s);
        }
        buf_free(&b);
    }
    key_unref(signer);
}
END_TEST

START_TEST(hostkey_proof)
{
    static const struct {
        const char *what;
        size_t sid;
        const char *key, *signer, *tail;
        bool ok;
    } cases[] = {
        {"hostkeys-prove-00@openssh.com", 64, "ed", "ed", "", true},
        {"hostkeys-prove-00@openssh.com", 20, "rsa", "rsa", "", true},
        {"hostkeys-prove-00@openssh.com", 64, "hosta", "ed", "", false},
        {"hostkeys-prove-00@openssh.com", 19, "ed", "ed", "", false},
        {"hostkeys-prove-00@openssh.com", 64, "ed", "ed", "00", false},
        {"hostkeys-00@openssh.com", 64, "ed", "ed", "", false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct key *signer = recorded_key(cases[i].signer), *k = recorded_key(cases[i].key);
        struct buf b = BUF_INIT;
        struct signdata s;

        buf_put_cstring(&b, cases[i].what);
        buf_put_string(&b, sid64, cases[i].sid);
        buf_put_string(&b, k->blob, k->blob_len);
        put_hex(&b, cases[i].tail);
        ck_ok(signdata_parse(buf_rd(&b), signer, &s));
        ck_assert_msg(s.kind == (cases[i].ok ? SIGNDATA_HOSTKEY : SIGNDATA_RAW), "case %zu", i);
        signdata_clear(&s);
        for (size_t n = 0; cases[i].ok && n < b.len; n++) {
            ck_ok(signdata_parse(rd_of(b.data, n), signer, &s));
            ck_assert_int_eq(s.kind, SIGNDATA_RAW);
            signdata_clear(&s);
        }
        buf_free(&b);
        key_unref(k);
        key_unref(signer);
    }
}
END_TEST

static void tests(TCase *tc)
{
    tcase_add_test(tc, every_recorded_signature);
    tcase_add_test(tc, every_recorded_bind);
    tcase_add_loop_test(tc, binds_of_every_kind, 0, 5);
    tcase_add_test(tc, userauth);
    tcase_add_test(tc, sshsig);
    tcase_add_loop_test(tc, certificates_to_sign, 0, 5);
    tcase_add_test(tc, certificate_of_unknown_type);
    tcase_add_test(tc, sudo);
    tcase_add_test(tc, hostkey_proof);
}

int main(void)
{
    return run_suite("signdata", tests);
}
