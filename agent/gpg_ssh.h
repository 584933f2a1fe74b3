/* gpg's key store and ssh: keys that their owner offers to ssh, too (sshcontrol, Use-for-ssh), and keys that ssh-add brings to one who
 * started this agent as gpg-agent. */
#ifndef LATCHKEY_AGENT_GPG_SSH_H
#define LATCHKEY_AGENT_GPG_SSH_H

#include "agent/operation.h"
#include "proto/ssh_agent.h"

/* What an ssh operation with a key of gpg's takes besides: the passphrase, asked for as gpg-agent does, and its owner's wish to be asked.
 * OP->id is set. *OUT stays NULL for other keys; else it must outlive the operation: gpg_ssh_end (NULL is fine). */
struct gpg_ssh;
gpg_error_t gpg_ssh_begin(struct gpg_ssh **out, struct agent *a, const struct origin *from,
                          struct operation *op);
void gpg_ssh_end(struct gpg_ssh *g);

/* Does a key that is added go into gpg's key store? Not those that are bound to destinations, nor certificates and security keys. */
bool gpg_ssh_keeps(const struct agent *a, const struct ssh_agent_msg *add);
/* .. under a passphrase that is asked for, and into sshcontrol. */
gpg_error_t gpg_ssh_add(struct agent *a, const struct origin *from, struct ssh_agent_msg *add);

#endif
