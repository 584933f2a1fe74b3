/* Certificates for keys on tokens: the person's *-cert.pub files (PROTOCOL.certkeys), read from
 * ~/.ssh and from where `Certificate` in latchkey.conf says, and read again when they change. Which
 * of them are listed, with which key and until when, is the keyring's business. */
#ifndef LATCHKEY_AGENT_CERTIFICATES_H
#define LATCHKEY_AGENT_CERTIFICATES_H

#include "proto/key.h"

#include <sys/types.h>

struct keyring;

/* What was read from one file. Immutable, reference counted. */
struct certificate {
    char *path;
    struct key
        *key; /* a user certificate that its CA signed, whatever its dates; NULL: see problem */
    char *problem;      /* why the file is of no use, for people; NULL when it is */
    uint8_t digest[32]; /* SHA-256 of the file */
    unsigned refs;      /* atomic */
};
struct certificate *certificate_ref(struct certificate *c);
void certificate_unref(struct certificate *c); /* NULL is fine */
/* NULL when C's dates allow its use at NOW (seconds since the epoch), else "expired" or "not yet
 * valid". For certificates that have a key. */
const char *certificate_out_of_date(const struct certificate *c, uint64_t now);

/* All files, in the order of the patterns and of names. Immutable, reference counted. */
struct certificate_set {
    struct certificate **certs;
    size_t n;
    bool more;     /* there were more files than are read */
    unsigned refs; /* atomic */
};
struct certificate_set *certificate_set_ref(struct certificate_set *s);
void certificate_set_unref(struct certificate_set *s); /* NULL is fine */

/* The certificate in the TEXT of a file "type base64 comment": its first line that is neither blank
 * nor a comment, as ssh(1) reads it. Only user certificates whose CA signature holds. On failure
 * *PROBLEM is a static phrase. Pure. */
gpg_error_t certificate_parse(struct rd text, struct key **out, const char **problem);
/* Reads the files that PATTERNS (absolute, glob(7), NULL-ended) fit: at most 256 of at most 64 KiB,
 * owned by UID or root and writable by nobody else. What did not change since OLD (may be NULL) is
 * taken from there, and only what is new there is logged. Fails only when out of memory. */
gpg_error_t certificate_set_read(char *const *patterns, uid_t uid,
                                 const struct certificate_set *old, struct certificate_set **out);

/* Reads the files, hands them to K, and goes on doing so at each change of the directories, in a
 * thread of its own: nobody who lists keys waits for a file system. HOME may be NULL, PATTERNS too
 * (copied). */
struct certificates;
gpg_error_t certificates_start(struct keyring *k, const char *home, char *const *patterns,
                               uid_t uid, struct certificates **out);
void certificates_stop(struct certificates *c); /* NULL is fine */
/* Looks again soon, where the kernel tells of no changes (network file systems). */
void certificates_reload(struct certificates *c);
/* What was read last; give it back with certificate_set_unref. */
struct certificate_set *certificates_current(struct certificates *c);

#endif
