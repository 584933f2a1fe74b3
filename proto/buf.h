/* Bounds-checked readers and growing writers: the only way bytes from outside get in.
 *
 * A reader is a view (pointer and rest length travel together) over bytes that somebody else owns.
 * Every rd_* function either succeeds and moves the reader on, or fails with GPG_ERR_BUFFER_TOO_SHORT
 * (or GPG_ERR_BAD_DATA) and leaves reader and results untouched.
 *
 * A writer keeps the first error (out of memory, too large) to itself; buf_err() tells it at the end,
 * so that builders are straight lines. */
#ifndef LATCHKEY_PROTO_BUF_H
#define LATCHKEY_PROTO_BUF_H

#include <gpg-error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rd {
    const uint8_t *p;
    size_t n; /* bytes left */
};

/* A reader over N bytes at P (P may be NULL when N is 0). */
static inline struct rd rd_of(const void *p, size_t n)
{
    return (struct rd){.p = p, .n = n};
}

gpg_error_t rd_u8(struct rd *r, uint8_t *out);
gpg_error_t rd_u16(struct rd *r, uint16_t *out); /* big-endian, as all of these */
gpg_error_t rd_u32(struct rd *r, uint32_t *out);
gpg_error_t rd_u64(struct rd *r, uint64_t *out);
/* The next N bytes as a view. */
gpg_error_t rd_bytes(struct rd *r, size_t n, struct rd *out);
/* An SSH string (u32 length and bytes, RFC 4251 5) as a view. */
gpg_error_t rd_string(struct rd *r, struct rd *out);
/* An SSH string as a new C string (caller frees with gpgrt_free); GPG_ERR_BAD_DATA on an embedded NUL. */
gpg_error_t rd_cstring(struct rd *r, char **out);
/* A non-negative SSH mpint as a view of its magnitude, leading zero octets stripped; negative numbers and
 * numbers over 16384 bits are GPG_ERR_BAD_MPI. */
gpg_error_t rd_mpint(struct rd *r, struct rd *out);
/* One BER-TLV object as cards send it (ISO 7816-4 annex: tags of 1 to 3 octets, definite lengths of up to
 * 3 length octets): TAG such as 0x5F50 or 0x6E, VAL a view of the value. */
gpg_error_t rd_tlv(struct rd *r, uint32_t *tag, struct rd *val);
/* First object with TAG in the TLV list R, searched depth first through constructed objects (some cards put
 * C0.. directly under 6E); GPG_ERR_NOT_FOUND when absent, which a malformed tail counts as too. */
gpg_error_t rd_tlv_find(struct rd r, uint32_t tag, struct rd *val);
/* GPG_ERR_BAD_DATA unless everything was read. */
gpg_error_t rd_end(const struct rd *r);
/* Equality with a C string, with another view. */
bool rd_is(struct rd r, const char *s);
bool rd_eq(struct rd a, struct rd b);
/* R without its leading zero octets. */
struct rd rd_magnitude(struct rd r);

struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    bool
        secure; /* storage comes from libgcrypt's secure memory and is wiped when it moves or is freed */
    gpg_error_t err; /* first error; further puts do nothing */
};

#define BUF_INIT        ((struct buf){0})
#define BUF_INIT_SECURE ((struct buf){.secure = true})

void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
void buf_put(struct buf *b, const void *p, size_t n);
void buf_put_rd(struct buf *b, struct rd r);
/* SSH string from bytes, from a C string. */
void buf_put_string(struct buf *b, const void *p, size_t n);
void buf_put_cstring(struct buf *b, const char *s);
/* SSH mpint from an unsigned big-endian number of N octets (leading zeros allowed). */
void buf_put_mpint(struct buf *b, const void *p, size_t n);
/* OpenPGP MPI (RFC 4880 3.2) from an unsigned big-endian number. */
void buf_put_pgp_mpi(struct buf *b, const void *p, size_t n);
/* BER-TLV with the shortest length form. */
void buf_put_tlv(struct buf *b, uint32_t tag, const void *p, size_t n);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Overwrites the u32 at OFFSET (which must have been written): for lengths known late. */
void buf_set_u32(struct buf *b, size_t offset, uint32_t v);
gpg_error_t buf_err(const struct buf *b);
struct rd buf_rd(const struct buf *b);
/* The content as a C string owned by B (appends a NUL that len does not count); NULL on error. */
const char *buf_cstr(struct buf *b);
/* Takes the storage away from B as a C string (caller frees with gpgrt_free; not for secure buffers). */
char *buf_steal_cstr(struct buf *b);
/* Empties (and wipes a secure one) but keeps the storage. */
void buf_reset(struct buf *b);
/* Wipes when secure, frees, and leaves B as BUF_INIT. */
void buf_free(struct buf *b);

/* Upper-case hex of N octets as a new string (gpgrt_free); NULL when out of memory. */
char *hex_encode(const void *p, size_t n);
/* Appends the octets of the hex string S (even number of digits, either case) to B; GPG_ERR_INV_VALUE else. */
gpg_error_t hex_decode(const char *s, struct buf *b);
/* Base64: ENCODE gives one line without breaks (gpgrt_free); DECODE ignores white space. */
char *b64_encode(const void *p, size_t n);
gpg_error_t b64_decode(const char *s, size_t n, struct buf *b);

#endif
