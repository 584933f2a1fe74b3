/* A private key in the form in which an OpenPGP card takes it: the extended header list (4.4.3.12 of version 3.4). */
#ifndef LATCHKEY_DEVICES_OPENPGP_IMPORT_H
#define LATCHKEY_DEVICES_OPENPGP_IMPORT_H

#include "devices/gpg_sexp.h"

/* Appends the list for the key in KEY's parts (clear) and the slot whose control reference template is CRT and whose algorithm
 * attributes are ATTR to LIST, which is secure. GPG_ERR_BAD_SECKEY: it does not fit ATTR, or has not what it takes. */
gpg_error_t openpgp_put_key(struct rd attr, struct rd crt, const struct gpg_key_parts *key,
                            struct buf *list);

#endif
