/* FIDO tokens whose touch serves as presence for tokens that have none (StandIn fido): a credential of each, which is public
 * data, kept in a file of the person's. Read once at start-up: whoever writes the file later enrolls nothing in this agent. */
#ifndef LATCHKEY_AGENT_PRESENCE_H
#define LATCHKEY_AGENT_PRESENCE_H

#include "proto/key.h"

#define PRESENCE_APPLICATION "latchkey:presence"
#define PRESENCE_MAX \
    8u /* what every token takes in one question (CTAP 2.1, maxCredentialCountInList) */

struct enrolled {
    struct key *key; /* a security key's, for PRESENCE_APPLICATION */
    uint8_t *handle;
    size_t handle_len;
    char *label; /* the person's name for the token; unique */
};
/* Immutable, reference counted. */
struct enrolled_set {
    struct enrolled *list;
    size_t n;
    unsigned refs; /* atomic */
};
void enrolled_set_unref(struct enrolled_set *s); /* NULL is fine */
/* The lines of a file: "type base64 handle label", '#' comments. GPG_ERR_BAD_DATA with *LINE. Pure. */
gpg_error_t enrolled_set_parse(struct rd text, struct enrolled_set **out, unsigned *line);

struct presence;
/* PATH need not be there. A file that cannot be read, that others can write, or that is broken enrolls nothing, which is
 * logged. */
gpg_error_t presence_open(const char *path, struct presence **out);
void presence_free(struct presence *p);
/* A new reference; NULL when none is enrolled. P may be NULL. */
struct enrolled_set *presence_get(struct presence *p);
/* Adds one and writes the file. GPG_ERR_EEXIST: the label is taken. GPG_ERR_TOO_MANY. GPG_ERR_INV_NAME. */
gpg_error_t presence_add(struct presence *p, const struct key *k, struct rd handle,
                         const char *label);
/* GPG_ERR_NOT_FOUND. */
gpg_error_t presence_remove(struct presence *p, const char *label);
/* May a token be called that? 1 to 32 letters, digits, and "-_.". */
bool presence_label_ok(const char *label);

#endif
