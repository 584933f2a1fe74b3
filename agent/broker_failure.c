/* What went wrong, in words for the person and the record. */
#include "agent/broker_run.h"

#include <string.h>

/* What only security keys answer, or mean otherwise than cards. */
static const char *explain_security_key(gpg_error_t err)
{
    switch (gpg_err_code(err)) {
    case GPG_ERR_PIN_BLOCKED:
        return "the PIN is blocked: take the security key out and plug it in again; if that does "
               "not "
               "help, only a reset will, which ends its keys";
    case GPG_ERR_NO_PIN:
        return "a PIN is wanted and the security key has none: set one first";
    case GPG_ERR_CARD_NOT_PRESENT:
        return "no security key that holds the key is plugged in";
    case GPG_ERR_BAD_SIGNATURE:
        return "it did not sign what it was asked to: without the touch or the PIN, or by another "
               "key";
    case GPG_ERR_UNEXPECTED:
        return "its middleware died";
    case GPG_ERR_CARD:
        return "it failed; the agent's log may tell more";
    default:
        return NULL;
    }
}

/* Of a dialog that gpg wanted. */
static const char *explain_dialog(gpg_error_t err)
{
    switch (gpg_err_code(err)) {
    case GPG_ERR_CANCELED:
    case GPG_ERR_FULLY_CANCELED:
        return "the person cancelled";
    case GPG_ERR_TIMEOUT:
        return "the dialog was not answered in time";
    default:
        return NULL;
    }
}

static const char *explain_wallet(gpg_error_t err)
{
    switch (gpg_err_code(err)) {
    case GPG_ERR_NOT_CONFIRMED:
        return "refused on the device";
    case GPG_ERR_CARD:
        return "the device did not answer as it should: take it out and put it in again";
    case GPG_ERR_BAD_DATA:
    case GPG_ERR_TOO_LARGE:
        return "what the device answered cannot be understood";
    case GPG_ERR_BAD_SIGNATURE:
        return "its signature is not one by the key that it listed";
    case GPG_ERR_WRONG_SECKEY:
        return "it has another key for this identity: another passphrase, or another seed";
    case GPG_ERR_TIMEOUT:
        return "not confirmed on the device in time";
    case GPG_ERR_CARD_NOT_INITIALIZED:
        return "the device is not set up yet";
    default:
        return NULL;
    }
}

/* Of what manages a PIV card. */
static const char *explain_piv(gpg_error_t err)
{
    switch (gpg_err_code(err)) {
    case GPG_ERR_PIN_BLOCKED:
        return "blocked: a PIN is unblocked by the PUK; when both are blocked only a PIV reset "
               "helps, which "
               "ends its keys";
    case GPG_ERR_EEXIST:
        return "a key is there already, and stays unless its loss is asked for (--force)";
    case GPG_ERR_NOT_SUPPORTED:
        return "the token cannot do that";
    case GPG_ERR_UNSUPPORTED_ALGORITHM:
    case GPG_ERR_BAD_DATA:
        return "the token makes or takes no such key";
    case GPG_ERR_USE_CONDITIONS:
        return "the card does not take it: a PIN that is too simple, or too short?";
    case GPG_ERR_BAD_PASSPHRASE:
        return "the management key is another one";
    case GPG_ERR_BAD_SECKEY:
        return "this is no private key in PEM, or its passphrase is wrong";
    case GPG_ERR_PUBKEY_ALGO:
    case GPG_ERR_UNKNOWN_CURVE:
        return "no PIV card takes a key of that kind";
    default:
        return NULL;
    }
}

const char *run_explain(const struct run *r, gpg_error_t err)
{
    const char *why = r->held->wallet != NULL ? explain_wallet(err)
                      : r->info != NULL && strcmp(r->info->kind, "fido") == 0
                          ? explain_security_key(err)
                          : NULL;

    if (why == NULL && r->op->word != NULL && strncmp(r->op->word, "PIV", 3) == 0)
        why = explain_piv(err);
    if (why != NULL)
        return why;
    if (gpg_err_source(err) == GPG_ERR_SOURCE_PINENTRY)
        return explain_dialog(err);
    switch (gpg_err_code(err)) {
    case GPG_ERR_BAD_PIN:
        return "wrong PIN";
    case GPG_ERR_PIN_BLOCKED:
        return "the PIN is blocked: unblock it with the reset code or the admin PIN";
    case GPG_ERR_NOT_CONFIRMED:
        return "refused on the token";
    case GPG_ERR_CARD_REMOVED:
    case GPG_ERR_CARD_NOT_PRESENT:
        return "the token was taken away";
    case GPG_ERR_ENODEV:
        return "the token's process ended";
    case GPG_ERR_EAGAIN:
    case GPG_ERR_CARD:
        return "the card did not answer as it should: take it out and put it in again";
    case GPG_ERR_TIMEOUT:
        return "not touched in time";
    case GPG_ERR_NO_SECKEY:
        return "the token does not hold the private key";
    case GPG_ERR_BAD_SIGNATURE:
        return "the card does not prove that it is the card that it says it is (PIV slot 9E); no "
               "PIN was "
               "sent to it";
    case GPG_ERR_CANCELED:
        return "the client hung up";
    case GPG_ERR_LOCKED:
        return "the agent was locked meanwhile";
    default:
        return NULL;
    }
}
