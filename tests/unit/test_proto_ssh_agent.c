/* The ssh-agent protocol: every frame of a recorded OpenSSH, malformed requests, answers. */
#include "tests/unit/ssh_agent_util.h"

START_TEST(every_recorded_request)
{
    static const struct {
        uint8_t type;
        unsigned count;
    } want[] = {{9, 4},  {11, 18}, {13, 15}, {17, 4}, {18, 2}, {19, 4},
                {20, 1}, {22, 2},  {23, 2},  {25, 7}, {27, 14}};
    unsigned seen[256] = {0}, total = 0;
    FILE *f = open_capture();
    struct buf b = BUF_INIT;
    char tag[16];

    while (next_frame(f, tag, &b)) {
        struct ssh_agent_msg m;
        struct rd r;

        if (strchr(tag, '>') == NULL)
            continue;
        ck_ok(parse(&b, &m));
        ck_assert_uint_eq(m.type, b.data[0]);
        seen[m.type]++;
        total++;
        if (is_add(m.type)) {
            /* type string first, the comment right behind */
            r = m.u.add.private_part;
            ck_assert(r.p == b.data + 1);
            ck_assert(rd_is(rd_of(r.p + 4, strlen(m.u.add.key->type)), m.u.add.key->type));
            ck_assert(memcmp(r.p + r.n + 4, m.u.add.comment, strlen(m.u.add.comment)) == 0);
            ck_assert(strncmp(m.u.add.comment, "test-", 5) == 0);
        }
        ssh_agent_msg_free(&m);
    }
    fclose(f);
    buf_free(&b);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        ck_assert_msg(seen[want[i].type] == want[i].count, "type %u: %u", want[i].type,
                      seen[want[i].type]);
        total -= want[i].count;
    }
    ck_assert_uint_eq(total, 0);
}
END_TEST

START_TEST(recorded_keys)
{
    static const struct {
        const char *comment, *type, *file;
    } keys[] = {
        {"test-ed25519", "ssh-ed25519", "ed"},
        {"test-ed25519", "ssh-ed25519-cert-v01@openssh.com", "ed-cert"},
        {"test-p256", "ecdsa-sha2-nistp256", "ec"},
        {"test-rsa", "ssh-rsa", "rsa"},
        {"test-sk", "sk-ssh-ed25519@openssh.com", "sked"},
        {"test-sk", "sk-ssh-ed25519-cert-v01@openssh.com", "sked-cert"},
        {"test-sk", "sk-ecdsa-sha2-nistp256@openssh.com", "skec"},
        {"test-sk", "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com", "skec-cert"},
    };

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct buf b = BUF_INIT;
        struct ssh_agent_msg m;
        struct key *k = recorded_key(keys[i].file);

        recorded_add(keys[i].comment, keys[i].type, 0, &b, &m);
        ck_assert(
            rd_eq(rd_of(k->blob, k->blob_len), rd_of(m.u.add.key->blob, m.u.add.key->blob_len)));
        if (strncmp(keys[i].type, "sk-", 3) == 0)
            ck_assert_str_eq(m.u.add.constraints.sk_provider, "internal");
        else
            ck_assert(m.u.add.constraints.sk_provider == NULL);
        ssh_agent_msg_free(&m);
        buf_free(&b);
        key_unref(k);
    }
}
END_TEST

START_TEST(recorded_constraints)
{
    struct buf b = BUF_INIT;
    struct ssh_agent_msg m;
    struct key *hosta = recorded_key("hosta"), *hostb = recorded_key("hostb");
    const struct dest_constraint *d;

    recorded_add("test-rsa", "ssh-rsa", 0, &b, &m);
    ck_assert_uint_eq(m.u.add.constraints.lifetime, 3600);
    ck_assert(!m.u.add.constraints.confirm && m.u.add.constraints.ndest == 0);
    ssh_agent_msg_free(&m);

    recorded_add("test-p256", "ecdsa-sha2-nistp256", 1, &b, &m);
    ck_assert_uint_eq(m.u.add.constraints.ndest, 2);
    d = &m.u.add.constraints.dest[0]; /* -h 'root@[127.0.0.1]:22022' */
    ck_assert(d->from.hostname == NULL && d->from.nkeys == 0);
    ck_assert_str_eq(d->to.user, "root");
    ck_assert_str_eq(d->to.hostname, "[127.0.0.1]:22022");
    ck_assert(d->to.nkeys == 1 && !d->to.keys[0].is_ca && key_same(d->to.keys[0].key, hosta));
    d++; /* -h '[127.0.0.1]:22022>root@[127.0.0.1]:22023' */
    ck_assert_str_eq(d->from.hostname, "[127.0.0.1]:22022");
    ck_assert(d->from.nkeys == 1 && key_same(d->from.keys[0].key, hosta));
    ck_assert_str_eq(d->to.user, "root");
    ck_assert(d->to.nkeys == 1 && key_same(d->to.keys[0].key, hostb));
    ssh_agent_msg_free(&m);

    recorded_add("test-p256", "ecdsa-sha2-nistp256", 2, &b, &m);
    ck_assert(m.u.add.constraints.lifetime == 60 && m.u.add.constraints.confirm);
    ssh_agent_msg_free(&m);
    buf_free(&b);
    key_unref(hosta);
    key_unref(hostb);
}
END_TEST

/* No cut and no trailing octet of a recorded request is a request; flipped ones do no harm. */
START_TEST(mutations)
{
    FILE *f = open_capture();
    struct buf b = BUF_INIT;
    char tag[16];

    while (next_frame(f, tag, &b)) {
        struct ssh_agent_msg m;

        if (strchr(tag, '>') == NULL)
            continue;
        for (size_t n = 0; n < b.len; n++) {
            uint8_t *exact = malloc(n > 0 ? n : 1);
            gpg_error_t err;

            memcpy(exact, b.data, n);
            err = ssh_agent_parse(rd_of(exact, n), &m);
            /* An ADD cut before its constraints, and an extension cut in its body, are whole requests. */
            ck_assert(err != 0 || m.type == SSH_AGENTC_EXTENSION ||
                      m.type == SSH_AGENTC_ADD_ID_CONSTRAINED);
            if (err == 0 && m.type == SSH_AGENTC_ADD_ID_CONSTRAINED)
                ck_assert(m.u.add.constraints.ndest == 0 &&
                          m.u.add.constraints.sk_provider == NULL);
            ck_assert(err == 0 || m.type == 0);
            ssh_agent_msg_free(&m);
            free(exact);
        }
        if (b.data[0] != SSH_AGENTC_EXTENSION) {
            buf_put_u8(&b, 0);
            ck_assert(ssh_agent_parse(buf_rd(&b), &m) != 0);
            b.len--;
        }
        for (size_t i = 0; i < b.len; i++) {
            b.data[i] ^= (uint8_t)(1 << (i % 8));
            (void)ssh_agent_parse(buf_rd(&b), &m);
            ssh_agent_msg_free(&m);
            b.data[i] ^= (uint8_t)(1 << (i % 8));
        }
    }
    fclose(f);
    buf_free(&b);
}
END_TEST

START_TEST(unknown_types)
{
    static const uint8_t known[] = {9, 11, 13, 17, 18, 19, 20, 21, 22, 23, 25, 26, 27};
    struct ssh_agent_msg m;

    for (unsigned t = 0; t < 256; t++) {
        uint8_t type = (uint8_t)t;
        gpg_error_t err = ssh_agent_parse(rd_of(&type, 1), &m);

        ck_assert((gpg_err_code(err) == GPG_ERR_NOT_SUPPORTED) ==
                  (memchr(known, type, sizeof known) == NULL));
        ssh_agent_msg_free(&m);
    }
    ck_code(ssh_agent_parse(rd_of(NULL, 0), &m), GPG_ERR_BUFFER_TOO_SHORT);
    uint8_t *huge = calloc(1, SSH_AGENT_MAX_MESSAGE + 1);

    huge[0] = SSH_AGENTC_EXTENSION;
    ck_code(ssh_agent_parse(rd_of(huge, SSH_AGENT_MAX_MESSAGE + 1), &m), GPG_ERR_TOO_LARGE);
    ck_ok(ssh_agent_parse(rd_of(huge, SSH_AGENT_MAX_MESSAGE), &m));
    ck_assert(m.u.ext.name.n == 0 && m.u.ext.body.n == SSH_AGENT_MAX_MESSAGE - 5);
    ssh_agent_msg_free(&m);
    free(huge);
}
END_TEST

/* --- added certificates ------------------------------------------------------------------------------------ */

START_TEST(certificate_holds_the_key)
{
    struct key *cert = recorded_key("ed-cert"), *sk = recorded_key("sked-cert"),
               *other = recorded_key("hosta");
    uint8_t secret[64] = {1};
    struct buf b = BUF_INIT;
    struct ssh_agent_msg m;
    struct rd point = rd_of(cert->plain + cert->plain_len - 32, 32);

    for (int i = 0; i < 4; i++) {
        static const gpg_err_code_t want[] = {0, GPG_ERR_BAD_CERT, GPG_ERR_BAD_CERT,
                                              GPG_ERR_BAD_CERT};

        buf_reset(&b);
        buf_put_u8(&b, SSH_AGENTC_ADD_IDENTITY);
        buf_put_cstring(&b, cert->type);
        if (i == 2) /* a certificate of another type */
            buf_put_string(&b, sk->blob, sk->blob_len);
        else if (i == 3) /* no certificate */
            buf_put_string(&b, cert->plain, cert->plain_len);
        else
            buf_put_string(&b, cert->blob, cert->blob_len);
        if (i == 1) /* of another key */
            buf_put_string(&b, other->plain + other->plain_len - 32, 32);
        else
            buf_put_string(&b, point.p, 32);
        buf_put_string(&b, secret, sizeof secret);
        buf_put_cstring(&b, "c");
        ck_code(parse(&b, &m), want[i]);
        ssh_agent_msg_free(&m);
    }
    /* sk: another application than the certificate's */
    for (int same = 0; same < 2; same++) {
        buf_reset(&b);
        buf_put_u8(&b, SSH_AGENTC_ADD_IDENTITY);
        buf_put_cstring(&b, sk->type);
        buf_put_string(&b, sk->blob, sk->blob_len);
        buf_put_string(&b, point.p, 32); /* sked is the same point as ed */
        buf_put_cstring(&b, same ? "ssh:test" : "ssh:");
        buf_put_u8(&b, 1);
        buf_put_cstring(&b, "handle");
        buf_put_cstring(&b, "");
        buf_put_cstring(&b, "c");
        ck_code(parse(&b, &m), same ? 0 : GPG_ERR_BAD_CERT);
        ssh_agent_msg_free(&m);
    }
    key_unref(cert);
    key_unref(sk);
    key_unref(other);
    buf_free(&b);
}
END_TEST

START_TEST(added_types_we_do_not_know)
{
    static const char *const types[] = {"ssh-mldsa44-ed25519@openssh.com", "ssh-dss-1",
                                        "ssh-xmss@openssh.com", ""};

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct buf b = BUF_INIT;
        struct ssh_agent_msg m;

        buf_put_u8(&b, SSH_AGENTC_ADD_IDENTITY);
        buf_put_cstring(&b, types[i]);
        buf_put_cstring(&b, "whatever");
        ck_code(parse(&b, &m), GPG_ERR_PUBKEY_ALGO);
        buf_free(&b);
    }
}
END_TEST

/* --- answers ----------------------------------------------------------------------------------------------- */

START_TEST(answers)
{
    static const char *const names[] = {"session-bind@openssh.com", NULL};
    struct buf b = BUF_INIT;

    ssh_agent_put_simple(&b, SSH_AGENT_FAILURE);
    ssh_agent_put_simple(&b, SSH_AGENT_SUCCESS);
    ssh_agent_put_sign_response(&b, rd_str("sig"));
    ck_hex(buf_rd(&b), "0000000105"
                       "0000000106"
                       "000000080E00000003736967");
    buf_reset(&b);
    ssh_agent_put_query(&b, names, false);
    ck_hex(buf_rd(&b), "000000261D000000057175657279"
                       "0000001873657373696F6E2D62696E64406F70656E7373682E636F6D");
    buf_reset(&b);
    ssh_agent_put_query(&b, names, true);
    ck_hex(buf_rd(&b), "0000001D06"
                       "0000001873657373696F6E2D62696E64406F70656E7373682E636F6D");
    buf_free(&b);
}
END_TEST

/* Our list is, octet by octet, the one that OpenSSH's agent gave for the same keys. */
START_TEST(list_as_openssh_writes_it)
{
    FILE *f = open_capture();
    struct buf b = BUF_INIT, ours = BUF_INIT;
    unsigned lists = 0;
    char tag[16];

    while (next_frame(f, tag, &b)) {
        struct rd r = buf_rd(&b), blob;
        struct ssh_agent_list l;
        uint8_t type;
        uint32_t n;

        if (strchr(tag, '<') == NULL || b.data[0] != SSH_AGENT_IDENTITIES_ANSWER)
            continue;
        ck_ok(rd_u8(&r, &type));
        ck_ok(rd_u32(&r, &n));
        buf_reset(&ours);
        ssh_agent_list_begin(&l, &ours);
        while (n-- > 0) {
            char *comment;
            struct key *k;

            ck_ok(rd_string(&r, &blob));
            ck_ok(rd_cstring(&r, &comment));
            ck_ok(key_from_blob(blob, &k));
            ssh_agent_list_add(&l, rd_of(k->blob, k->blob_len), comment);
            key_unref(k);
            gpgrt_free(comment);
        }
        ssh_agent_list_end(&l);
        ck_ok(buf_err(&ours));
        ck_assert(rd_eq(rd_of(ours.data + 4, ours.len - 4), buf_rd(&b)));
        lists++;
    }
    fclose(f);
    ck_assert_uint_eq(lists, 18);
    buf_free(&b);
    buf_free(&ours);
}
END_TEST

START_TEST(list_never_too_long)
{
    struct buf b = BUF_INIT, comment = BUF_INIT;
    struct ssh_agent_list l;
    struct rd r;
    uint32_t len;

    ssh_agent_list_begin(&l, &b);
    for (unsigned i = 0; i < SSH_AGENT_MAX_IDENTITIES + 10; i++)
        ssh_agent_list_add(&l, rd_str("k"), "");
    ck_assert_uint_eq(l.n, SSH_AGENT_MAX_IDENTITIES);
    for (int i = 0; i < 1000; i++)
        buf_put_u8(&comment, 'c');
    buf_reset(&b);
    ssh_agent_list_begin(&l, &b);
    for (unsigned i = 0; i < 300; i++)
        ssh_agent_list_add(&l, rd_str("k"), buf_cstr(&comment));
    ssh_agent_list_end(&l);
    r = buf_rd(&b);
    ck_ok(rd_u32(&r, &len));
    ck_assert(len == r.n && len <= SSH_AGENT_MAX_MESSAGE &&
              l.n == (SSH_AGENT_MAX_MESSAGE - 5) / 1009);
    buf_free(&b);
    buf_free(&comment);
}
END_TEST

static void tests(TCase *tc)
{
    tcase_add_test(tc, every_recorded_request);
    tcase_add_test(tc, recorded_keys);
    tcase_add_test(tc, recorded_constraints);
    tcase_add_test(tc, mutations);
    tcase_add_test(tc, unknown_types);
    tcase_add_test(tc, certificate_holds_the_key);
    tcase_add_test(tc, added_types_we_do_not_know);
    tcase_add_test(tc, answers);
    tcase_add_test(tc, list_as_openssh_writes_it);
    tcase_add_test(tc, list_never_too_long);
}

int main(void)
{
    return run_suite("ssh_agent", tests);
}
