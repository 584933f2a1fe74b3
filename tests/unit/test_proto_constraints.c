/* Constraints of added keys: what is accepted, and all that must fail the whole request. */
#include "tests/unit/ssh_agent_util.h"

static void put_add(struct buf *b, const char *file)
{
    struct buf whole = BUF_INIT;
    struct ssh_agent_msg m;
    bool sk = strncmp(file, "sk", 2) == 0;

    recorded_add(sk ? "test-sk" : "test-ed25519", sk ? "sk-ssh-ed25519@openssh.com" : "ssh-ed25519",
                 0, &whole, &m);
    buf_put_u8(b, SSH_AGENTC_ADD_ID_CONSTRAINED);
    buf_put_rd(b, m.u.add.private_part);
    buf_put_cstring(b, "comment");
    ssh_agent_msg_free(&m);
    buf_free(&whole);
}

static void put_smartcard(struct buf *b)
{
    buf_put_u8(b, SSH_AGENTC_ADD_SMARTCARD_KEY_CONSTRAINED);
    buf_put_cstring(b, "reader");
    buf_put_cstring(b, "1234");
}

START_TEST(simple_constraints)
{
    static const struct {
        const char *to, *hex;
        bool ok;
    } cases[] = {
        {"ed", "", true},
        {"ed", "010000003C", true},
        {"ed", "02", true},
        {"ed", "02010000003C", true},
        {"ed", "0100000000", false},           /* no life at all is not eternal life */
        {"ed", "010000003C0100000E10", false}, /* repeated */
        {"ed", "0202", false},
        {"ed", "0300000001", false}, /* maxsign */
        {"ed", "04", false},
        {"ed", "00", false},
        {"ed", "FE", false},
        {"ed", "0100003C", false}, /* short */
        {"ed", "FF", false},
        {"ed", "FF0000000B756E6B6E6F776E4078797A", false}, /* unknown@xyz */
        {"ed",
         "FF00000017736B2D70726F7669646572406F70656E7373682E636F6D00000001"
         "61",
         false}, /* no sk key */
        {"sk",
         "FF00000017736B2D70726F7669646572406F70656E7373682E636F6D00000001"
         "61",
         true},
        {"sk", "FF00000017736B2D70726F7669646572406F70656E7373682E636F6D00000000", false},
        {"sk",
         "FF00000017736B2D70726F7669646572406F70656E7373682E636F6D00000001"
         "00",
         false},
        {"card",
         "FF00000017736B2D70726F7669646572406F70656E7373682E636F6D00000001"
         "61",
         false},
        {"card", "010000003C02", true},
        {"card", "01", false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf b = BUF_INIT;
        struct ssh_agent_msg m;

        if (strcmp(cases[i].to, "card") == 0)
            put_smartcard(&b);
        else
            put_add(&b, cases[i].to);
        put_hex(&b, cases[i].hex);
        for (int unconstrained = 0; unconstrained < 2;
             unconstrained++) { /* 17 and 20 are read like 25 and 26 */
            gpg_error_t err = parse(&b, &m);

            ck_assert_msg((err == 0) == cases[i].ok, "%zu: %s", i, gpg_strerror(err));
            ssh_agent_msg_free(&m);
            b.data[0] = b.data[0] == SSH_AGENTC_ADD_ID_CONSTRAINED ? SSH_AGENTC_ADD_IDENTITY
                                                                   : SSH_AGENTC_ADD_SMARTCARD_KEY;
        }
        buf_free(&b);
    }
}
END_TEST

struct hop_spec {
    const char *user, *host, *reserved,
        *key; /* key: a recorded file, "xmss" for an unknown type, NULL for none */
    const char *tail;
};

static void put_hop(struct buf *b, const struct hop_spec *h)
{
    struct buf body = BUF_INIT, xmss = BUF_INIT;

    buf_put_cstring(&body, h->user);
    buf_put_cstring(&body, h->host);
    buf_put_cstring(&body, h->reserved);
    if (h->key != NULL && strcmp(h->key, "xmss") == 0) {
        buf_put_cstring(&xmss, "ssh-xmss@openssh.com");
        buf_put_string(&body, xmss.data, xmss.len);
        buf_put_u8(&body, 0);
    } else if (h->key != NULL) {
        struct key *k = recorded_key(h->key);

        buf_put_string(&body, k->blob, k->blob_len);
        buf_put_u8(&body, 1);
        key_unref(k);
    }
    if (h->tail != NULL)
        put_hex(&body, h->tail);
    buf_put_string(b, body.data, body.len);
    buf_free(&body);
    buf_free(&xmss);
}

static void put_dest(struct buf *list, const struct hop_spec *from, const struct hop_spec *to,
                     const char *tail)
{
    struct buf body = BUF_INIT;

    put_hop(&body, from);
    put_hop(&body, to);
    put_hex(&body, tail);
    buf_put_string(list, body.data, body.len);
    buf_free(&body);
}

static void put_restrict(struct buf *b, const struct buf *list)
{
    buf_put_u8(b, 255);
    buf_put_cstring(b, "restrict-destination-v00@openssh.com");
    buf_put_string(b, list->data, list->len);
}

#define ORIGIN                 \
    {                          \
        "", "", "", NULL, NULL \
    }
#define HOST                       \
    {                              \
        "", "h", "", "hosta", NULL \
    }

START_TEST(destinations)
{
    static const struct {
        struct hop_spec from, to;
        const char *tail;
        bool ok;
    } cases[] = {
        {ORIGIN, HOST, "00000000", true},
        {HOST, HOST, "00000000", true},
        {ORIGIN, {"u*", "h", "", "hosta", NULL}, "00000000", true},
        {ORIGIN, {"", "h", "", "xmss", NULL}, "00000000", true},
        {{"", "h", "", "xmss", NULL}, HOST, "00000000", true},
        {ORIGIN, ORIGIN, "00000000", false},                    /* to nowhere */
        {ORIGIN, {"", "h", "", NULL, NULL}, "00000000", false}, /* a name that nothing proves */
        {ORIGIN, {"", "", "", "hosta", NULL}, "00000000", false},
        {{"u", "", "", NULL, NULL}, HOST, "00000000", false}, /* a user of the origin */
        {{"", "h", "", NULL, NULL}, HOST, "00000000", false},
        {{"", "", "", "hosta", NULL}, HOST, "00000000", false},
        {{"", "", "x", NULL, NULL}, HOST, "00000000", false}, /* an extension we do not know */
        {ORIGIN, HOST, "0000000178", false},
        {ORIGIN, HOST, "", false},
        {ORIGIN, HOST, "0000000000", false},
        {ORIGIN, {"", "h", "", "hosta", "00"}, "00000000", false},
        {ORIGIN, {"", "h", "", "hosta", "0000000161"}, "00000000", false}, /* no is_ca */
        {ORIGIN, {"", "h", "", "hosta", "000000016100"}, "00000000", false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf b = BUF_INIT, list = BUF_INIT;
        struct ssh_agent_msg m;
        gpg_error_t err;

        put_dest(&list, &cases[i].from, &cases[i].to, cases[i].tail);
        put_add(&b, "ed");
        put_restrict(&b, &list);
        err = parse(&b, &m);
        ck_assert_msg((err == 0) == cases[i].ok, "%zu: %s", i, gpg_strerror(err));
        if (err == 0) {
            const struct dest_constraint *d = m.u.add.constraints.dest;

            /* A hop whose only key is unknown matches nothing: it keeps its name, and so is no origin. */
            ck_assert_str_eq(d->to.hostname, "h");
            ck_assert((d->from.hostname == NULL) == (cases[i].from.key == NULL));
            if (d->to.nkeys == 1)
                ck_assert(d->to.keys[0].is_ca);
        }
        ssh_agent_msg_free(&m);
        if (cases[i].ok) { /* twice is once too often */
            put_restrict(&b, &list);
            ck_code(parse(&b, &m), GPG_ERR_BAD_DATA);
        }
        buf_free(&b);
        buf_free(&list);
    }
}
END_TEST

START_TEST(how_many_destinations)
{
    static const struct hop_spec from = ORIGIN, to = {"", "h", "", "xmss", NULL};
    struct buf b = BUF_INIT, list = BUF_INIT;
    struct ssh_agent_msg m;

    put_add(&b, "ed");
    put_restrict(&b, &list); /* none at all would read as no restriction */
    ck_code(parse(&b, &m), GPG_ERR_BAD_DATA);
    for (unsigned i = 0; i < SSH_AGENT_MAX_CONSTRAINTS; i++)
        put_dest(&list, &from, &to, "00000000");
    buf_reset(&b);
    put_add(&b, "ed");
    put_restrict(&b, &list);
    ck_ok(parse(&b, &m));
    ck_assert_uint_eq(m.u.add.constraints.ndest, SSH_AGENT_MAX_CONSTRAINTS);
    ssh_agent_msg_free(&m);
    put_dest(&list, &from, &to, "00000000");
    buf_reset(&b);
    put_add(&b, "ed");
    put_restrict(&b, &list);
    ck_code(parse(&b, &m), GPG_ERR_TOO_LARGE);
    buf_free(&b);
    buf_free(&list);
}
END_TEST

START_TEST(associated_certs)
{
    struct key *cert = recorded_key("ed-cert"), *plain = recorded_key("ed");
    struct buf b = BUF_INIT, list = BUF_INIT, ext = BUF_INIT;
    struct ssh_agent_msg m;

    buf_put_string(&list, cert->blob, cert->blob_len);
    buf_put_u8(&ext, 255);
    buf_put_cstring(&ext, "associated-certs-v00@openssh.com");
    buf_put_u8(&ext, 1);
    buf_put_string(&ext, list.data, list.len);
    put_smartcard(&b);
    buf_put_rd(&b, buf_rd(&ext));
    ck_ok(parse(&b, &m));
    ck_assert_str_eq(m.u.smartcard.id, "reader");
    ck_assert(rd_is(m.u.smartcard.pin, "1234"));
    ck_assert(m.u.smartcard.constraints.ncerts == 1 && m.u.smartcard.constraints.certs_only);
    ck_assert(key_same(m.u.smartcard.constraints.certs[0], plain));
    ssh_agent_msg_free(&m);

    buf_reset(&b);
    put_add(&b, "ed"); /* not for an added key */
    buf_put_rd(&b, buf_rd(&ext));
    ck_code(parse(&b, &m), GPG_ERR_BAD_DATA);

    buf_reset(&b);
    put_smartcard(&b); /* a plain key is no certificate */
    buf_put_u8(&b, 255);
    buf_put_cstring(&b, "associated-certs-v00@openssh.com");
    buf_put_u8(&b, 0);
    buf_put_u32(&b, (uint32_t)plain->blob_len + 4);
    buf_put_string(&b, plain->blob, plain->blob_len);
    ck_code(parse(&b, &m), GPG_ERR_BAD_CERT);
    key_unref(cert);
    key_unref(plain);
    buf_free(&b);
    buf_free(&list);
    buf_free(&ext);
}
END_TEST

static void tests(TCase *tc)
{
    tcase_add_test(tc, simple_constraints);
    tcase_add_test(tc, destinations);
    tcase_add_test(tc, how_many_destinations);
    tcase_add_test(tc, associated_certs);
}

int main(void)
{
    return run_suite("constraints", tests);
}
