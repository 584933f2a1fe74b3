/* Where libcrypto and libgcrypt put private keys. libcrypto's own secure heap takes only part of them (OpenSSL 3: EC scalars, but neither
 * RSA's primes nor Ed25519's seeds); libgcrypt's s-expressions lose it when they are taken apart. Here all that
 * they allocate between begin and end goes into libgcrypt's locked memory, is wiped when it is freed, and stays there for
 * the key's life. */
#ifndef LATCHKEY_DEVICES_KEY_MEMORY_H
#define LATCHKEY_DEVICES_KEY_MEMORY_H

#include <stdbool.h>

/* Before libcrypto and libgcrypt have allocated anything. False: too late; keys are then in ordinary memory. */
bool key_memory_init(void);
/* For the calling thread; pairs may be nested. */
void key_memory_begin(void);
void key_memory_end(void);

#endif
