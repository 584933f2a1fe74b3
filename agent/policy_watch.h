/* The policy in force: loading at start-up, reload by SIGHUP and inotify, the dialog before a
 * person's changed file takes effect (ReloadConfirm). */
#ifndef LATCHKEY_AGENT_POLICY_WATCH_H
#define LATCHKEY_AGENT_POLICY_WATCH_H

#include "agent/agent.h"
#include "agent/requester.h"

struct policy_holder;
/* Loads. A policy that does not parse is no error here: policy_current gives NULL until it is
 * mended, everything is refused with policy_problem's text, and the errors are logged. */
gpg_error_t policy_holder_new(const struct policy_paths *paths, struct policy_holder **out);
void policy_holder_free(struct policy_holder *h);
/* Starts the watching thread (needs prompt, audit, settings in A). */
gpg_error_t policy_watch_start(struct agent *a);
void policy_watch_stop(struct agent *a);
/* The set in force as a new reference, or NULL: none is valid. */
struct policy_set *policy_current(struct policy_holder *h);
/* What is wrong with the files now (new string, gpgrt_free), NULL: nothing. */
char *policy_problem(struct policy_holder *h);
/* Re-reads now (SIGHUP); returns at once, the watching thread does the work. */
void policy_reload(struct policy_holder *h);
/* Re-reads now, for somebody who asks and waits (RELOAD): a dialog goes to where the agent was
 * started or, failing that, to WHO, and is withdrawn when CLIENT_FD hangs up. 0: what the files say is in force; else GPG_ERR_NO_POLICY_MATCH and *PROBLEM
 * (new string) says why it is not. */
gpg_error_t policy_reload_for(struct policy_holder *h, const struct requester *who, int client_fd,
                              char **problem);

#endif
