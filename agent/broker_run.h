/* An operation under way: the broker's steps read and write this and nothing else. Only broker.c,
 * broker_failure.c, broker_person.c and broker_standin.c include it. */
#ifndef LATCHKEY_AGENT_BROKER_RUN_H
#define LATCHKEY_AGENT_BROKER_RUN_H

#include "agent/operation.h"

struct run {
    struct operation *op;
    struct agent *a;
    struct policy_verdict v;
    struct wait w;
    struct outcome out;
    const struct identity *held; /* whose holders may serve: the operation's, or what came later */
    const struct keyring_snapshot *snap; /* of the latter */
    const struct holder *holder;
    const struct token_info *info; /* of the holder's token */
    char *scope;                   /* for grants; NULL: nothing may be cached */
    char *approval_scope;          /* for Confirm connection; NULL: nothing may be approved ahead */
    char grip[41];
    char *reason;            /* owned text behind out.reason */
    bool was_locked;         /* the operation must bring its own fresh proof */
    bool confirm_by_typing;  /* Confirm is left to the dialog for the passphrase */
    bool want_dialog;        /* a dialog is due, for any of the reasons for one */
    bool dialog_is_presence; /* .. and stands in for a touch */
    bool want_standin;       /* a touch on an enrolled FIDO token does */
    bool stood_in;           /* it was given */
    char standin_label[33];  /* behind out.standin */
    bool want_touch;         /* the token's own touch is the presence asked for */
    bool over_rate;
    bool counted;   /* between grants_begin_use and _end_use */
    bool approved;  /* by a dialog, for the connection */
    unsigned locks; /* lock_count at the beginning */
    struct prompt_notice *notice;
};

/* Notes that the operation is refused and why (static text, or one that R owns). */
gpg_error_t run_refuse(struct run *r, gpg_err_code_t code, const char *why);
/* What the token's error ERR means to people, static text; NULL: what its code says. */
const char *run_explain(const struct run *r, gpg_error_t err);
/* Starts the policy's Timeout anew: each thing that is waited for gets all of it. */
void run_fresh_deadline(struct run *r);

/* A key that no token holds now: shows a dialog until one does (broker_await.c). Then HELD is of it. */
gpg_error_t run_await_token(struct run *r);
/* The passphrase of a hardware wallet, which may be empty. */
gpg_error_t run_wallet_passphrase(struct run *r, struct buf *answer);

/* Shows the one dialog, if one is due, and notes what agreeing to it means. */
gpg_error_t run_ask_dialog(struct run *r);
/* token_job's callbacks; ARG is the struct run. */
gpg_error_t run_on_pin(void *arg, const struct token_pin_request *q, struct buf *pin);
gpg_error_t run_on_inquire(void *arg, const char *line, struct buf *answer);
void run_on_touch(void *arg, bool on);
void run_on_queued(void *arg, unsigned ahead, bool draining);
void run_on_progress(void *arg, const char *line);
void run_hide_notice(struct run *r);
/* Shows DESC, new text that it frees, in the place of what is shown now. */
void run_show_notice(struct run *r, char *desc);

/* broker_standin.c: asks the enrolled FIDO tokens for a touch, if one is wanted, and notes it. */
gpg_error_t run_ask_standin(struct run *r);

#endif
