/* One file of private-keys-v1.d: GnuPG's name-value format ("Key:" and attributes), or a bare canonical s-expression. What is
 * not changed is printed as it was read: comments, order, unknown names, line breaks. */
#ifndef LATCHKEY_DEVICES_GPG_FILE_H
#define LATCHKEY_DEVICES_GPG_FILE_H

#include "proto/buf.h"

struct gpg_file;

/* TEXT of at most GPG_KEY_MAX octets, in either form. GPG_ERR_BAD_DATA; GPG_ERR_MISSING_KEY; GPG_ERR_INV_SEXP. */
gpg_error_t gpg_file_parse(struct rd text, struct gpg_file **out);
/* An empty one; it needs a key. */
gpg_error_t gpg_file_new(struct gpg_file **out);
void gpg_file_free(struct gpg_file *f);
/* Whole file, appended to OUT (secure). */
gpg_error_t gpg_file_print(const struct gpg_file *f, struct buf *out);

/* The key, canonical; lives as long as it is not set. */
struct rd gpg_file_key(const struct gpg_file *f);
/* CANON replaces the key; a bare key becomes a file of names and values. */
gpg_error_t gpg_file_set_key(struct gpg_file *f, struct rd canon);
/* The Nth value of NAME (any case, without colon), or NULL. */
const char *gpg_file_get(const struct gpg_file *f, const char *name, unsigned n);
/* The first value of NAME becomes VALUE, further ones go; NULL: all go. New ones are put before the key. */
gpg_error_t gpg_file_set(struct gpg_file *f, const char *name, const char *value);
/* One more value of NAME. */
gpg_error_t gpg_file_add(struct gpg_file *f, const char *name, const char *value);
/* yes, true, or a number other than 0. */
bool gpg_file_true(const char *value);
/* Letters, digits, hyphens; a letter first; not "Key". */
bool gpg_file_name_ok(struct rd name);

#endif
