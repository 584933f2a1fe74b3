/* A key of either application. */
#ifndef LATCHKEY_TESTS_CARD_EMU_KEY_H
#define LATCHKEY_TESTS_CARD_EMU_KEY_H

#include "proto/buf.h"

#include <openssl/evp.h>

struct emu_key {
    EVP_PKEY *pkey;
    EVP_PKEY *shown;  /* an imposter's: the public half that it copied; NULL: pkey's own */
    uint8_t attr[16]; /* algorithm attributes */
    size_t attr_len;
    const char *algo; /* name in emu_algos, NULL: RSA by attr or unset */
    uint8_t fpr[20], ca_fpr[20];
    uint32_t created;
    uint8_t origin; /* DE: 0 none, 1 generated, 2 imported */
    uint8_t uif;
};

#endif
