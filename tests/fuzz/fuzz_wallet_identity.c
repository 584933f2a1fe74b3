/* Files of identities, as people and trezor-agent write them, and the file of the keys that are known. The first octet chooses. */
#include "agent/wallets_files.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

static gpg_error_t each(void *arg, const struct wallet_identity *id, const char *line,
                        const char *text, gpg_error_t err)
{
    uint32_t path[WALLET_PATH_LEN];
    struct wallet_identity again = {0};
    char *uri;

    (void)arg;
    REQUIRE((id == NULL) == (err != 0));
    REQUIRE(line != NULL && text != NULL);
    if (id == NULL)
        return 0;
    REQUIRE(id->proto != NULL && id->host != NULL);
    REQUIRE(wallet_path(id, false, path) == 0 && path[0] == (0x80000000u | 13));
    uri = wallet_uri(id);
    REQUIRE(uri != NULL);
    /* What is hashed is what would be read again, unless a path holds what looks like a user. */
    if (wallet_identity_parse(uri, wallet_curve(id), &again) == 0)
        REQUIRE(strcmp(again.proto, id->proto) == 0);
    wallet_identity_clear(&again);
    gpgrt_free(uri);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool quiet;
    struct rd r = rd_of(data, size);
    struct wallet_wish_list wanted = {0};
    struct wallet_known_list known = {0};
    uint8_t which;

    fuzz_init();
    if (!quiet) /* what it logs would be most of the work */
        gpgrt_log_set_sink("/dev/null", NULL, -1);
    quiet = true;
    if (rd_u8(&r, &which) != 0)
        return 0;
    switch (which) {
    case 'k':
        (void)wallet_known_read_text(r, &known);
        break;
    case 'p':
        (void)wallet_wish_list_read_text("/f.pub", r, &wanted, &known);
        break;
    default:
        (void)wallet_identities_read(r, each, NULL);
        (void)wallet_wish_list_read_text("/f", r, &wanted, &known);
        break;
    }
    for (size_t i = 0; i < known.n; i++)
        REQUIRE(known.list[i].text != NULL && known.list[i].line != NULL);
    wallet_wish_list_clear(&wanted);
    wallet_known_list_clear(&known);
    return 0;
}
