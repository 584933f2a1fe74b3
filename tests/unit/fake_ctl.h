/* An agent that is nothing but a control socket and two keys in memory. */
#ifndef LATCHKEY_TESTS_FAKE_CTL_H
#define LATCHKEY_TESTS_FAKE_CTL_H

#include "tests/unit/openpgp_util.h"

/* Serves DIR/NAME in a process of its own until that is killed. SIGN takes the fingerprints of KEYS, and as key
 *   "cancel"   fails with GPG_ERR_CANCELED and words
 *   "silent"   answers OK without a signature
 *   "hang"     makes DIR/asked, waits until the client hangs up, makes DIR/hungup
 *   any other  fails with GPG_ERR_NO_SECKEY and words.
 * Without a key the first one signs. Each call is added to DIR/calls, each OPTION to DIR/options. */
pid_t fake_ctl_start(const char *dir, const char *name, const struct pgp_pair *keys, size_t nkeys);

#endif
