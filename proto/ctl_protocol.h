/* The control protocol: Assuan between the agent (server) and the person's programs `latchkey` and `latchkey-gpg`.
 * contrib/control-protocol.md tells it in prose. Socket: $XDG_RUNTIME_DIR/latchkey/ctl (0600), see agent/paths.h.
 * Answers with content are one JSON document in data lines.
 *
 *   OPTION NAME=VALUE   ttyname, ttytype, display, wayland-display, xauthority, dbus, lc-ctype, lc-messages,
 *                       pinentry-user-data: where dialogs go
 *   GETINFO pid | version
 *   STATUS [all=1]      all: once each token's applications and keys are known
 *                       { "version", "pid", "started", "sockets": {"ssh"}, "hardware": true|false,
 *                         "lock": {"state": "open|locked|passphrase-locked|both", "reason", "what", "since"},
 *                         "policy": {"ok": bool, "hash", "files": [..], "problem": text|null},
 *                         "tokens": [{"name","kind","serial","label","version","reader","state","contactless",
 *                                     "tries":[a,b,c],"counter","queue":n,"waiting_for_touch":bool,"draining":bool,
 *                                     "verified_before":bool,
 *                                     "applications": ["openpgp","piv"..],"keys":n,"identities_unread":n,
 *                                     "hint": what its person has to do first|null}], "audit": path|null,
 *                         "certificates_left_out": [{"file","problem"}] }
 *   KEYS                [{ "type","bits","curve"|null,"fingerprint","keygrip","openpgp_fingerprint"|null,
 *                          "openpgp_created"|null,"comment","ssh": "type base64"|null,"certificate": bool,
 *                          "family": "ssh|gpg", "uses": ["sign","auth","decrypt"], "added": bool, "expires_in"|null,
 *                          "confirm": bool, "constrained": bool, "wallet": "<URI|CURVE>"|null, "away": bool,
 *                          "tokens": [{"name","slot","touch","pin"}],
 *                          "certificates": [{ "file","type","key_id","serial": text,"principals": [..],
 *                                             "valid_after","valid_before"|null,"ca": fingerprint,
 *                                             "listed": bool,"left_out_because": text|null }] }]
 *   IDENTITIES [reload=1]   { "identities": [{"uri","curve","from": file,"keys": [{"token","label","ssh"|null,"keygrip",
 *                       "decrypts": bool}]}], "problems": text|null } of hardware wallets; reload: their files are read anew first
 *   LOCK
 *   UNLOCK
 *   RELOAD
 *   POLICY SHOW         text in data lines
 *   POLICY EXPLAIN [last=1] [host=H] [user=U] [key=K] [use=S] [client=P] [forwarded=1] [unbound=1]   text
 *   SIGN [key=K] [text=1]   K as agent/signing_key.h takes it. INQUIRE OBJECT gets the bytes (any length up to
 *                       CTL_MAX_OBJECT); data lines: the packet; before it: S SIGNED fpr=HEX40 pubkey-algo=N hash-algo=N
 *                       created=UNIX
 *   TOKEN token=NAME verb=VERB [key=SLOT] FIELDS   one of the verbs of agent/ctl_token_verbs.c, with its fields of token_protocol.h, on
 *                       the token that STATUS calls NAME; asked for as the policy has it. INQUIRE VALUE where the token wants
 *                       one; its status lines and data
 *   FIDO do=WHAT        FIDO tokens. Where several are plugged in, they blink and the person touches the one that is meant.
 *     do=enroll name=N    for StandIn fido;  do=enrolled   [{ "name","fingerprint","application" }];  do=forget name=N
 *     do=info           [{ "path","aaguid"|null,"problem"|null,"fido2","pin","uv","manage": bool,"tries"|null,"firmware"|null,
 *                          "min-pin"|null,"versions","extensions","options": [..] }]
 *     do=keys           lists the resident ssh keys, remembers and offers them: [{ "name","fingerprint","application","user"|null,
 *                          "verify": bool,"ssh","problem"|null }]
 *     do=delete key=FPR   one that was listed
 *     do=generate application=ssh:.. algo=ed25519|ecdsa [resident=1] [verify=1] [no-touch=1] [user=U] [force=1] [comment=C]
 *                       { "fingerprint","public","private": the file's text }
 *     do=pin
 *   CERTIFICATE [key=K] uid=U   data lines: OpenPGP public key block, binary
 * Fields are written as in token_protocol.h (field_get). Failures: ERR code and, before it where there is one, a line
 * "S ERROR_TEXT text=..." for people. */
#ifndef LATCHKEY_PROTO_CTL_PROTOCOL_H
#define LATCHKEY_PROTO_CTL_PROTOCOL_H

#include "proto/buf.h"

#define CTL_MAX_OBJECT (64u * 1024u * 1024u)

#endif
