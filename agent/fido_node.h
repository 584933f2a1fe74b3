/* Is a hidraw node a FIDO token's? What the kernel tells of it. */
#ifndef LATCHKEY_AGENT_FIDO_NODE_H
#define LATCHKEY_AGENT_FIDO_NODE_H

#include "proto/buf.h"

/* Has the HID report descriptor R (HID 1.11, 6.2.2) the usage page of FIDO, F1D0 (CTAP 2.1, 11.2.8)? A broken one has not. */
bool fido_descriptor(struct rd r);

#endif
