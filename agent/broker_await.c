/* A key whose token is not there: the person is told which one to plug in. And what only hardware wallets want to know. */
#include "agent/broker_run.h"

#include "agent/ask.h"
#include "agent/missing_token.h"
#include "agent/wallets.h"

#include <string.h>

#define MAX_PASSPHRASE 50u /* of a Trezor */

/* Does a token hold the key now? */
static gpg_error_t has_come(void *arg)
{
    struct run *r = arg;
    const struct keyring_snapshot *snap = keyring_get(r->a->keyring);

    for (size_t i = 0; snap != NULL && i < snap->n; i++) {
        const struct identity *id = snap->ids[i];

        if (id->nholders == 0 || id->family != r->op->id->family ||
            (id->key->cert == NULL) != (r->op->id->key->cert == NULL) ||
            !key_same(id->key, r->op->id->key))
            continue;
        r->snap = snap;
        r->held = id;
        return 0;
    }
    keyring_put(snap);
    return gpg_error(GPG_ERR_NO_SECKEY);
}

static gpg_error_t explain(struct run *r, gpg_error_t err)
{
    switch (gpg_err_code(err)) {
    case GPG_ERR_FULLY_CANCELED:
        return run_refuse(r, GPG_ERR_CANCELED, "the client hung up");
    case GPG_ERR_CANCELED:
    case GPG_ERR_NOT_CONFIRMED:
        return run_refuse(r, GPG_ERR_CARD_NOT_PRESENT,
                          "the device that holds the key is not plugged in, and will not be");
    case GPG_ERR_TIMEOUT:
        return run_refuse(r, GPG_ERR_CARD_NOT_PRESENT,
                          "the device that holds the key was not plugged in in time");
    case GPG_ERR_NO_PIN_ENTRY:
        return run_refuse(r, GPG_ERR_CARD_NOT_PRESENT,
                          "the device that holds the key is not plugged in, and no dialog can be "
                          "shown to ask for it");
    default:
        return err;
    }
}

gpg_error_t run_await_token(struct run *r)
{
    struct prompt_text text = {.title = "latchkey", .cancel = "Cancel"};
    char *tail, *desc;
    gpg_error_t err;

    if (r->op->id->nholders > 0 || r->op->id->wallet == NULL || r->op->judge_only)
        return 0;
    tail = gpgrt_bsprintf("Wallet identity: %s", r->op->id->wallet);
    desc =
        broker_describe(r->op, &r->v,
                        "Plug in the hardware wallet that holds this key (any with the same seed "
                        "will do), and unlock it.",
                        tail);
    text.desc = desc;
    err = desc != NULL ? missing_token_wait(r->a, r->op->from, &text, r->v.timeout, has_come, r)
                       : gpg_error_from_syserror();
    gpgrt_free(tail);
    gpgrt_free(desc);
    return err != 0 ? explain(r, err) : 0;
}

gpg_error_t run_wallet_passphrase(struct run *r, struct buf *answer)
{
    struct prompt_text text = {.title = "latchkey", .label = "Passphrase"};
    const char *label = r->info == NULL          ? "the device"
                        : r->info->label != NULL ? r->info->label
                                                 : r->info->name;
    char *head = wallets_passphrase_text(label);
    char *desc = head != NULL ? broker_describe(r->op, &r->v, head, NULL) : NULL;
    gpg_error_t err;

    text.desc = desc;
    err = desc != NULL ? ask_secret(r->a, &r->w, r->op->from, &text, false, MAX_PASSPHRASE, answer)
                       : gpg_error_from_syserror();
    run_fresh_deadline(r);
    gpgrt_free(head);
    gpgrt_free(desc);
    return err;
}
