/* The process that turns SCardGetStatusChange into lines for the broker (TOKEN_WATCH_* in proto/token_protocol.h). */
#ifndef LATCHKEY_DEVICES_WATCH_PCSC_H
#define LATCHKEY_DEVICES_WATCH_PCSC_H

#include <gpg-error.h>

/* Writes to descriptor 3 until nobody reads it any more. */
gpg_error_t watch_pcsc_run(void);

#endif
