/* What is in gpg's key store: a description of each key file, nothing secret, read anew when the file is another one. */
#ifndef LATCHKEY_DEVICES_GPG_STORE_H
#define LATCHKEY_DEVICES_GPG_STORE_H

#include "devices/gpg_cache.h"
#include "devices/gpg_file.h"
#include "devices/gpg_sshcontrol.h"
#include "proto/key.h"

enum gpg_state { GPG_CLEAR, GPG_PROTECTED, GPG_SHADOWED, GPG_UNKNOWN };
enum gpg_confirm { GPG_CONFIRM_NO, GPG_CONFIRM_RESTRICTED, GPG_CONFIRM_YES };

/* Immutable. */
struct gpg_entry {
    int refs;
    char grip[GPG_GRIP + 1];
    enum gpg_state state;
    struct gpg_file_id file;
    const struct gpg_algo *algo; /* NULL for UNKNOWN ones */
    struct buf pub;              /* canonical (public-key ..); empty: not known */
    struct key *key;             /* the same; NULL: none that gpg's protocol can use */
    char *comment, *label;       /* NULL: none */
    char *serial, *ref;          /* of a stub's first card: hex, and OPENPGP.n or the like */
    int64_t created;             /* -1: not known */
    long ssh;                    /* Use-for-ssh: -999 .. 99999, 0 no */
    enum gpg_confirm confirm;
    bool never_prompt, remote_list;
};
void gpg_entry_unref(struct gpg_entry *e);

struct gpg_store;

/* HOME: an absolute path; it need not exist. */
gpg_error_t gpg_store_new(const char *home, struct gpg_store **out);
void gpg_store_free(struct gpg_store *s);
const char *gpg_store_home(const struct gpg_store *s);

/* All files, by name, as references in a new array; what cannot be read is among them as UNKNOWN, and named in the log once.
 * No folder: none. */
gpg_error_t gpg_store_list(struct gpg_store *s, struct gpg_entry ***out, size_t *n);
void gpg_store_list_free(struct gpg_entry **list, size_t n);
/* The file of GRIP (hex, any case) as it is now. GPG_ERR_NO_SECKEY. */
gpg_error_t gpg_store_find(struct gpg_store *s, const char *grip, struct gpg_entry **out);
/* The file itself, and which it was. GPG_ERR_NO_SECKEY. */
gpg_error_t gpg_store_read(struct gpg_store *s, const char *grip, struct gpg_file **out,
                           struct gpg_file_id *id);

/* Writes F as GRIP's file. OLD: the file that it replaces, GPG_ERR_CONFLICT if it is another one by now; NULL: there is
 * none, or GPG_ERR_EEXIST. */
gpg_error_t gpg_store_write(struct gpg_store *s, const char *grip, const struct gpg_file *f,
                            const struct gpg_file_id *old);
/* GPG_ERR_NO_SECKEY. */
gpg_error_t gpg_store_delete(struct gpg_store *s, const char *grip);

#endif
