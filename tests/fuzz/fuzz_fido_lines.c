/* What the agent reads of FIDO tokens: its books, the token process' words, HID report descriptors; the first octet says which. */
#include "agent/broker_fido.h"
#include "agent/fido_node.h"
#include "agent/sk_book.h"
#include "proto/sk_file.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

static void book(const struct sk_book_kind *kind, struct rd text)
{
    struct sk_list *s = NULL;
    unsigned line = 0;

    if (sk_list_parse(kind, text, &s, &line) != 0) {
        REQUIRE(line > 0);
        return;
    }
    REQUIRE(s->n <= kind->max);
    for (size_t i = 0; i < s->n; i++) {
        REQUIRE(key_is_sk(s->list[i].key) && s->list[i].handle_len > 0);
        REQUIRE(sk_book_name_ok(s->list[i].label));
    }
    sk_list_unref(s);
}

static void credential(struct rd r)
{
    char *fields = gpgrt_bsprintf("%.*s", (int)r.n, (const char *)r.p), *file;
    struct fido_credential c = {0};

    REQUIRE(fields != NULL);
    if (fido_credential_parse(fields, &c) == 0) {
        REQUIRE(key_is_sk(c.key) && c.handle.len > 0);
        file = sk_file(c.key, c.flags, buf_rd(&c.handle), "comment");
        REQUIRE(file != NULL && strncmp(file, "-----BEGIN", 10) == 0);
        gpgrt_free(file);
    }
    fido_credential_clear(&c);
    gpgrt_free(fields);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_of(data, size);
    uint8_t which;

    fuzz_init();
    if (rd_u8(&r, &which) != 0)
        return 0;
    switch (which) {
    case 'p':
        book(&sk_book_presence, r);
        break;
    case 'r':
        book(&sk_book_resident, r);
        break;
    case 'c':
        credential(r);
        break;
    default:
        (void)fido_descriptor(r);
        break;
    }
    return 0;
}
