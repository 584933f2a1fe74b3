/* Credentials on FIDO tokens that the agent remembers: public data, in a file of the person's. Two books: the tokens whose touch
 * serves as presence for those that have none (StandIn fido), and the resident ssh keys that were listed. Read once at start-up:
 * whoever writes the file later changes nothing for this agent. */
#ifndef LATCHKEY_AGENT_SK_BOOK_H
#define LATCHKEY_AGENT_SK_BOOK_H

#include "proto/key.h"

#define PRESENCE_APPLICATION "latchkey:presence"

struct sk_entry {
    struct key *key; /* of a security key, plain */
    uint8_t *handle;
    size_t handle_len;
    uint8_t flags; /* SK_FLAG_* */
    char *
        label; /* presence: the person's name for the token; resident keys: which token, and for which user */
};
/* Immutable, reference counted. */
struct sk_list {
    struct sk_entry *list;
    size_t n;
    unsigned refs; /* atomic */
};
void sk_list_unref(struct sk_list *s); /* NULL is fine */

/* What goes into a book. */
struct sk_book_kind {
    const char *name;        /* the file's, in the state directory */
    const char *head;        /* its first line */
    const char *application; /* all are for this one, or begin with it where it ends with ':' */
    size_t max;
    bool names; /* labels are names, and name one each */
};
extern const struct sk_book_kind sk_book_presence, sk_book_resident;

/* The lines of a file: "type base64 handle flags label", '#' comments. GPG_ERR_BAD_DATA with *LINE. Pure. */
gpg_error_t sk_list_parse(const struct sk_book_kind *kind, struct rd text, struct sk_list **out,
                          unsigned *line);

struct sk_book;
/* The file need not be there. One that cannot be read, that others can write, or that is broken is taken for empty, which
 * is logged. */
gpg_error_t sk_book_open(const struct sk_book_kind *kind, struct sk_book **out);
void sk_book_free(struct sk_book *b);
/* A new reference; NULL when it is empty. B may be NULL. */
struct sk_list *sk_book_get(struct sk_book *b);
/* Adds one and writes the file. GPG_ERR_EEXIST: the key is there, or the name is taken. GPG_ERR_TOO_MANY, GPG_ERR_INV_NAME,
 * GPG_ERR_INV_VALUE: none of this kind. */
gpg_error_t sk_book_add(struct sk_book *b, struct key *k, struct rd handle, uint8_t flags,
                        const char *label);
/* Removes those with that label (NULL: any) and that key (NULL: any). GPG_ERR_NOT_FOUND. */
gpg_error_t sk_book_remove(struct sk_book *b, const char *label, const struct key *k);
/* May a token be called that? 1 to 32 letters, digits, and "-_.". */
bool sk_book_name_ok(const char *label);

#endif
