/* The agent's state as JSON, for STATUS and KEYS (proto/ctl_protocol.h). */
#ifndef LATCHKEY_AGENT_CTL_JSON_H
#define LATCHKEY_AGENT_CTL_JSON_H

#include "agent/agent.h"

#include <jansson.h>

/* New references. ALL: once what the tokens hold is known, or for a while. */
json_t *ctl_status_json(struct agent *a, bool all);
json_t *ctl_keys_json(struct agent *a);

#endif
