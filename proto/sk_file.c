#include "proto/sk_file.h"

#include <string.h>

#define LINE 70u /* as ssh-keygen breaks base64 */

void sk_body_put(struct buf *b, const struct key *k, uint8_t flags, struct rd handle)
{
    /* The public blob is type, [curve,] point, application already. */
    buf_put(b, k->plain, k->plain_len);
    buf_put_u8(b, flags);
    buf_put_string(b, handle.p, handle.n);
    buf_put_cstring(b, "");
}

/* What would be encrypted under a passphrase: twice the same check, the key, padding to the cipher's block, here 8. */
static void put_private(struct buf *b, const struct key *k, uint8_t flags, struct rd handle,
                        const char *comment)
{
    uint8_t check[4];

    gcry_create_nonce(check, sizeof check);
    buf_put(b, check, sizeof check);
    buf_put(b, check, sizeof check);
    sk_body_put(b, k, flags, handle);
    buf_put_cstring(b, comment);
    for (uint8_t i = 1; b->len % 8 != 0 && buf_err(b) == 0; i++)
        buf_put_u8(b, i);
}

char *sk_file(const struct key *k, uint8_t flags, struct rd handle, const char *comment)
{
    static const char magic[] = "openssh-key-v1";
    struct buf inner = BUF_INIT, b = BUF_INIT, text = BUF_INIT;
    char *b64 = NULL;

    put_private(&inner, k, flags, handle, comment);
    buf_put(&b, magic, sizeof magic); /* its NUL included */
    buf_put_cstring(&b, "none");
    buf_put_cstring(&b, "none");
    buf_put_cstring(&b, "");
    buf_put_u32(&b, 1);
    buf_put_string(&b, k->plain, k->plain_len);
    buf_put_string(&b, inner.data, inner.len);
    if (buf_err(&inner) == 0 && buf_err(&b) == 0)
        b64 = b64_encode(b.data, b.len);
    if (b64 != NULL) {
        buf_printf(&text, "-----BEGIN OPENSSH PRIVATE KEY-----\n");
        for (size_t at = 0, n = strlen(b64); at < n; at += LINE)
            buf_printf(&text, "%.*s\n", (int)LINE, b64 + at);
        buf_printf(&text, "-----END OPENSSH PRIVATE KEY-----\n");
    }
    gpgrt_free(b64);
    buf_free(&inner);
    buf_free(&b);
    if (text.len == 0) {
        buf_free(&text);
        return NULL;
    }
    return buf_steal_cstr(&text);
}
