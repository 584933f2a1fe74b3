/* The token protocol's server: Assuan verbs -> driver (proto/token_protocol.h). */
#ifndef LATCHKEY_DEVICES_TOKEN_SERVER_H
#define LATCHKEY_DEVICES_TOKEN_SERVER_H

#include "devices/driver.h"

/* Serves descriptors 3 .. 3+NCHANNELS-1 until the last is closed; the cancel pipe is the one after them. Returns when the
 * process should end: 0, or why the driver could not go on. */
gpg_error_t token_server_run(const struct driver *d, const char *arg, unsigned nchannels);

#endif
