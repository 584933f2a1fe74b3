/* The binary interface of security-key middleware, as OpenSSH's sk-api.h of API version 10 defines it (OpenSSH 8.9 to 10.x):
 * only what a signature takes. */
#ifndef LATCHKEY_DEVICES_SK_API_H
#define LATCHKEY_DEVICES_SK_API_H

#include <stddef.h>
#include <stdint.h>

#define SK_API_MAJOR      0x000a0000u
#define SK_API_MAJOR_MASK 0xffff0000u

enum sk_api_alg { SK_API_ECDSA = 0, SK_API_ED25519 = 1 };
enum sk_api_error {
    SK_API_OK = 0,
    SK_API_GENERAL = -1,
    SK_API_UNSUPPORTED = -2,
    SK_API_PIN_REQUIRED = -3, /* also when the PIN given is wrong */
    SK_API_DEVICE_NOT_FOUND = -4,
};

/* Allocated by the middleware's malloc, as are its members; freed by the caller. */
struct sk_sign_response {
    uint8_t flags;
    uint32_t counter;
    uint8_t *sig_r; /* Ed25519: R‖S */
    size_t sig_r_len;
    uint8_t *sig_s;
    size_t sig_s_len;
};

struct sk_option {
    char *name, *value;
    uint8_t required;
};

typedef uint32_t sk_api_version_fn(void);
/* DATA is the message itself; the middleware hashes it. PIN and OPTIONS may be NULL. */
typedef int sk_sign_fn(uint32_t alg, const uint8_t *data, size_t data_len, const char *application,
                       const uint8_t *key_handle, size_t key_handle_len, uint8_t flags,
                       const char *pin, struct sk_option **options,
                       struct sk_sign_response **response);

#endif
