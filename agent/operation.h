/* One private-key operation on its way through the broker: what a session wants, translated. Only
 * the broker's own files (broker*.c) include this. */
#ifndef LATCHKEY_AGENT_OPERATION_H
#define LATCHKEY_AGENT_OPERATION_H

#include "agent/broker.h"
#include "agent/destination.h"

#include <jansson.h>

struct operation {
    /* what is wanted: filled in by the caller, borrowed */
    struct agent *a;
    const struct origin *from;
    const struct policy_set *policy; /* the set that judges it */
    const struct identity *id;       /* in a snapshot that outlives the operation; its key may be
                                        NULL where none is known yet */
    enum token_verb verb;    /* TOKEN_SIGN, TOKEN_DECRYPT, TOKEN_ADDKEY, TOKEN_LOAD, TOKEN_OTHER */
    const char *word, *args; /* as struct token_job has them */
    /* Answers the token's inquiries but for PINs; ANSWER is secure. W: what may end a wait for it. */
    gpg_error_t (*answer)(void *arg, struct wait *w, const char *line, struct buf *answer);
    void (*progress)(void *arg, const char *line); /* as struct token_job has it, or NULL */
    void *answer_arg;                              /* of both */
    bool public;  /* reads what is public: nobody has to show that he is there */
    bool patient; /* may take as long as it takes (key generation) */
    bool confirm; /* a dialog whatever the policy says */
    bool
        typed_confirms; /* the dialog for the passphrase, which is typed for this alone, serves for Confirm */
    bool judge_only;      /* ends with the person's consent; nothing is asked of the token */
    const char *use;      /* policy use: "ssh-auth", "sshsig:git", "git-commit".. */
    const char *use_text; /* for people: "log in", "sign a git commit".. */
    const char *what;     /* further lines for dialogs, or NULL */
    json_t *detail;       /* for the audit record, borrowed, or NULL */
    const struct destination *dest; /* NULL: this use has none */
    const char *user;               /* remote user, or NULL */
    const struct key *cert;         /* the certificate that an ssh authentication names, or NULL */
    const char *refusal;  /* refuse for this reason whatever the policy says; NULL: none */
    struct tosign tosign; /* .data is the token's input for other verbs too */
    struct rd message;    /* what TOSIGN is the digest of, where that is known */
    /* result */
    gcry_sexp_t sig; /* TOKEN_SIGN; owned by the caller */
    bool asserted;   /* by a security key, which says: */
    struct sk_assertion says;
    struct buf result; /* other verbs: what the token answered; owned by the caller. TOKEN_ADDKEY:
                          set after errors too once the token has the key, for it to be wiped */
    struct buf lines;  /* TOKEN_OTHER: the token's status lines; owned by the caller */
    char *error_text;  /* for people, when it failed; owned by the caller */
};

/* The straight path. Writes one audit record whatever happens. */
gpg_error_t broker_operate(struct operation *op);

/* What a client brings or takes away goes the same straight path as a signature: as an identity whose
 * one holder is the token that it goes to. */
struct change {
    struct policy_set *policy;
    struct destination dest;
    struct holder holder;
    struct identity id;
    struct operation op;
};
/* USE: "import", "delete". T: the token; KEY: NULL where it is not known yet; COMMENT is borrowed.
 * change_clear also after failure. */
gpg_error_t change_init(struct change *c, struct agent *a, const struct origin *from,
                        const char *use, struct token *t, struct key *key, char *comment);
void change_clear(struct change *c);

/* Starts anew the processes of ID's holders that died at their work. True: look the key up again. */
bool broker_revive(struct agent *a, const struct identity *id);

/* The facts that the policy judges an operation by. Everything points into OP's parts or into F
 * itself. */
struct facts {
    struct policy_facts f;
    struct policy_host *via;
    struct policy_token *tokens;
    const struct token_info **infos;
    size_t ntokens;
    char *b64;
    char grip[41], openpgp[41];
};
gpg_error_t facts_make(const struct origin *from, const struct identity *id,
                       const struct destination *dest, struct facts *out);
void facts_clear(struct facts *f);

/* The audit record of an operation and its person-readable parts: broker_record.c. */
struct outcome {
    const char *verdict;   /* "allowed", "refused" */
    const char *reason;    /* why refused or failed, or NULL */
    const char *presence;  /* "touch", "dialog", "cached", "none" */
    unsigned presence_age; /* cached: seconds */
    const char *standin;   /* touch: of this enrolled FIDO token, which said: */
    struct sk_assertion standin_says;
    const char *pin;   /* "typed", "cached", "device", "none" */
    const char *token; /* name of the token that did it, or NULL */
    bool soft;         /* that token's keys are in software */
    int64_t started_ms;
    gpg_error_t err;
};
gpg_error_t broker_record(const struct operation *op, const struct policy_verdict *v,
                          const struct outcome *o);
/* The dialog's text: program, use, key, destination, rule; HEAD is the first line, TAIL (may be
 * NULL) the last. */
char *broker_describe(const struct operation *op, const struct policy_verdict *v, const char *head,
                      const char *tail);
/* One line of such a text, "LABEL   TEXT\n", TEXT cleaned and cut; nothing when TEXT is empty or
 * NULL. */
void broker_put_line(struct buf *b, const char *label, const char *text);
/* TEXT (may be NULL) as it may stand in a record. */
json_t *broker_clean_json(const char *text);

#endif
