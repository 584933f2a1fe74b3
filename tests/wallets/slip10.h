/* Keys from a mnemonic, as a wallet makes them: BIP-39, SLIP-0010. */
#ifndef LATCHKEY_TESTS_SLIP10_H
#define LATCHKEY_TESTS_SLIP10_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLIP10_HARDENED 0x80000000u

/* BIP-39: the seed of the words. */
bool slip10_seed(const char *mnemonic, const char *passphrase, uint8_t seed[64]);
/* The private key at PATH, all of whose N elements are hardened, for "nist256p1", "ed25519" or "curve25519". */
bool slip10_key(const uint8_t seed[64], const char *curve, const uint32_t *path, size_t n,
                uint8_t key[32]);

#endif
