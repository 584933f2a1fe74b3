/* THE one path of every private-key operation: key -> policy -> confirm -> PIN -> touch -> token ->
 * audit. The broker holds no key. Sessions translate their protocol into these calls and the
 * results back. */
#ifndef LATCHKEY_AGENT_BROKER_H
#define LATCHKEY_AGENT_BROKER_H

#include "agent/agent.h"
#include "agent/keyring.h"
#include "agent/origin.h"

/* Which identities of the snapshot S this connection may see, in the order in which to list them:
 * by policy (Keys, family ssh), destination constraints, lock. VISIBLE has room for S->n pointers;
 * *N of them are set. ssh order: well known types first, certificates beside their plain key,
 * vendor types last. */
void broker_list_ssh(struct agent *a, const struct origin *from, const struct keyring_snapshot *s,
                     const struct identity **visible, size_t *n);

/* Must from->who be there for a list? Reading /proc costs more than the rest of it. */
bool broker_list_needs_requester(struct agent *a);

/* SIGN_REQUEST. Appends the signature blob to SIG. The error is only for the log: the client gets
 * FAILURE. */
gpg_error_t broker_sign_ssh(struct agent *a, const struct origin *from, struct rd key_blob,
                            struct rd data, uint32_t flags, struct buf *sig);

/* ssh-add & co.: policy (uses import, delete), lock, then keyring and software token. */
gpg_error_t broker_add_ssh(struct agent *a, const struct origin *from, struct ssh_agent_msg *add);
gpg_error_t broker_remove_ssh(struct agent *a, const struct origin *from, struct rd blob);
gpg_error_t broker_remove_all_ssh(struct agent *a, const struct origin *from);
/* ssh-add -s and -e: the same for a PKCS#11 provider and all its keys. Adding: only from the paths
 * that -P allows, and not for bound connections; PIN may be empty. C is taken over and emptied. */
gpg_error_t broker_add_provider(struct agent *a, const struct origin *from, const char *provider,
                                struct rd pin, struct key_constraints *c);
gpg_error_t broker_remove_provider(struct agent *a, const struct origin *from,
                                   const char *provider);

/* An OpenPGP data signature over OBJECT (a git object or anything else): parses it, shows it,
 * builds and signs the v4 packet. KEY: as signing_key.h takes it; when no inserted token holds it, a dialog asks for it and
 * the call goes on when it comes. TEXT: text-mode signature (line ends canonicalised). */
struct openpgp_result {
    struct buf packet;
    uint8_t fpr[20];
    int pubkey_algo, hash_algo; /* OpenPGP numbers */
    uint32_t created;           /* of the signature */
    char *error_text;           /* for people, when the call failed; gpgrt_free */
};
gpg_error_t broker_sign_openpgp(struct agent *a, const struct origin *from, const char *key,
                                struct rd object, bool text, struct openpgp_result *out);
/* An OpenPGP certificate (public key block, binary) for the token whose signature key is KEY, with
 * user id UID: primary = signature key, subkeys = decryption and authentication keys of the same
 * token, self-signed through this broker. */
gpg_error_t broker_openpgp_certificate(struct agent *a, const struct origin *from, const char *key,
                                       const char *uid, struct openpgp_result *out);

/* `latchkey unlock`: proof from a token that was verified before the lock (PIN typed now), or a
 * dialog when there is none. *HOW (gpgrt_free) tells what served. */
gpg_error_t broker_unlock(struct agent *a, const struct origin *from, char **error_text);

/* The facts and names that a request of this origin for this identity would be judged by, for
 * `policy explain`. */

#endif
