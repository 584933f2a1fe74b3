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

/* What gpg asks for: an operation in a token's own terms. */
struct token_request {
    const char *use,
        *use_text;        /* policy use; for people: "decrypt", "change the name on the card".. */
    const char *what;     /* further lines for dialogs, or NULL */
    enum token_verb verb; /* TOKEN_SIGN, TOKEN_DECRYPT, TOKEN_OTHER, TOKEN_VERIFY, TOKEN_DELKEY */
    const char *word, *args; /* as struct token_job has them */
    struct tosign tosign;    /* TOKEN_SIGN; .data is the input of TOKEN_DECRYPT */
    /* Answers the token's inquiries but for PINs; ANSWER is secure; W: what may end a wait for the answer. */
    gpg_error_t (*answer)(void *arg, struct wait *w, const char *line, struct buf *answer);
    void (*progress)(void *arg, const char *line); /* as struct token_job has it, or NULL */
    void *answer_arg;                              /* of both */
    const char *refusal; /* refuse for this reason whatever the policy says; NULL: none */
    bool public;         /* reads what is public: nobody has to show that he is there */
    bool patient;        /* may take as long as it takes */
    bool confirm;        /* a dialog whatever the policy says */
    bool
        typed_confirms; /* the dialog for the passphrase, which is typed for this alone, serves for Confirm */
    /* results, token_request_clear */
    gcry_sexp_t sig;
    struct buf result; /* secure */
    struct buf lines;  /* TOKEN_OTHER: the token's status lines, LF-ended */
    char *error_text;  /* for people */
};
void token_request_clear(struct token_request *r);
/* With the key ID of a snapshot. A bare hash signed by a key of ssh's is judged as `raw`, whatever R says. */
gpg_error_t broker_request(struct agent *a, const struct origin *from, const struct identity *id,
                           struct token_request *r);
/* With the token T: KEY_ID names a key or slot there, NULL: none. */
gpg_error_t broker_request_token(struct agent *a, const struct origin *from, struct token *t,
                                 const char *key_id, struct token_request *r);

/* `latchkey unlock`: proof from a token that was verified before the lock (PIN typed now), or a
 * dialog when there is none. *HOW (gpgrt_free) tells what served. */
gpg_error_t broker_unlock(struct agent *a, const struct origin *from, char **error_text);

/* The facts and names that a request of this origin for this identity would be judged by, for
 * `policy explain`. */

#endif
