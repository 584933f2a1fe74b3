#ifndef LATCHKEY_AGENT_CLI_CERTIFICATE_H
#define LATCHKEY_AGENT_CLI_CERTIFICATE_H

/* An OpenPGP certificate for user id UID and the token whose signature key is KEY (NULL: the only
 * one), armoured, to the new file PATH or (NULL) to stdout. The exit code; messages are out. */
int certificate_make(const char *uid, const char *key, const char *path);

#endif
