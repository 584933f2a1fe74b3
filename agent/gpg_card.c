/* Cards as gpg-agent's own commands see them: READKEY --card, and cards that are not there. */
#include "agent/gpg_dialog.h"
#include "agent/missing_token.h"

#include <string.h>

#define WAIT_S 60

/* "0005 12345678" in an OpenPGP card's serial number, as gpg shows it; the serial number itself elsewhere. New string. */
static char *shown_serial(const char *serial)
{
    return strlen(serial) == 32 && strncmp(serial, "D27600012401", 12) == 0
               ? gpgrt_bsprintf("%.4s %.8s", serial + 16, serial + 20)
               : gpgrt_strdup(serial);
}

gpg_error_t gpg_await_card(struct gpg_session *s, const struct gpg_stored *file,
                           gpg_error_t (*come)(void *arg), void *arg)
{
    struct prompt_style style;
    struct prompt_text text = {.cancel = "Cancel", .style = &style};
    char *serial = file->serial != NULL ? shown_serial(file->serial) : gpgrt_strdup("?"), *desc;
    gpg_error_t err;

    if (!file->prompt) {
        gpgrt_free(serial);
        return gpg_fail(s, GPG_ERR_UNUSABLE_SECKEY, NULL);
    }
    if (s->ask.mode != ASK_DIALOG || s->conf->batch) {
        gpgrt_free(serial);
        return gpg_err_make(GPG_ERR_SOURCE_SCD, GPG_ERR_CARD_NOT_PRESENT);
    }
    gpg_style(s, NULL, &style);
    desc = serial != NULL
               ? gpgrt_bsprintf("Please insert the card with serial number:\n\n  %s\n  %s", serial,
                                file->label != NULL ? file->label : "")
               : NULL;
    text.desc = desc;
    text.launched = s->ask.launched;
    text.launched_arg = s->ask.arg;
    err = desc != NULL ? missing_token_wait(s->a, &s->origin, &text, WAIT_S, come, arg)
                       : gpg_error_from_syserror();
    gpgrt_free(serial);
    gpgrt_free(desc);
    if (gpg_err_code(err) == GPG_ERR_TIMEOUT)
        err = gpg_error(GPG_ERR_CARD_NOT_PRESENT);
    return gpg_map_error(s, err, true);
}

gpg_error_t gpg_read_card_key(struct gpg_session *s, const char *ref, bool no_data)
{
    (void)ref;
    (void)no_data;
    return gpg_fail(s, GPG_ERR_NOT_SUPPORTED, NULL);
}
