/* The token protocol: Assuan between the broker (client) and one latchkey-token process (server). The one place where
 * agent/ and devices/ meet. contrib/token-protocol.md tells it in prose.
 *
 * Process:  latchkey-token KIND [ARG] --channels=N
 *   KIND "software"                    keys in memory, added by ADDKEY
 *   KIND "pcsc" ARG = reader name      one PC/SC reader and its card's applications
 *   KIND "pkcs11" ARG = absolute path  one PKCS#11 module, loaded by LOAD or at first use
 *   KIND "fido" ARG = "hid"            keys of security keys, added by ADDKEY; by libfido2 on whatever FIDO devices are there
 *                     "emulator=SOCKET[,SOCKET..]"   or on these emulators only
 *   KIND "sk" ARG = path               the same by a middleware library of OpenSSH's sk-api.h
 *   KIND "trezor" ARG = address        a hardware wallet: "usb:BUS:DEV", "hid:NODE", "udp:HOST:PORT" (an emulator)
 *   KIND "watch-pcsc"                  no channels: prints reader events (see TOKEN_WATCH_*) to descriptor 3
 * Descriptors: 3 .. 3+N-1 are connected AF_UNIX stream sockets, one Assuan channel each; 3+N is the read end of a pipe:
 * five octets, a channel k and a number n (big-endian), cancel the command job=n of channel k, whether it has come, runs or
 * is still to come (as far as the device can be cancelled); one that is over is not affected, and neither is the next.
 * stderr is the log. The process ends when all its channels are closed, when its card or reader goes, or at SIGTERM.
 *
 * Arguments and status fields are NAME=VALUE, percent-escaped (%XX for blank, %, control characters and non-ASCII),
 * separated by one blank; unknown names are ignored by both sides. Flags have the value 1.
 *
 * Verbs (all answer OK or ERR):
 *   LEARN [refresh=1] [ssh=1]
 *                           describes token and keys: one TOKEN status line, then one KEY line per key. With refresh,
 *                           card data is read anew (PIN tries, counters); else a cached answer may be given. With
 *                           ssh, keys of other families may be left out to save time; more=1 then tells so.
 *   SIGN key=ID use=U hash=N pin-age=S [drop=1] [touch=1] [data=BASE64]
 *                           data, or else INQUIRE DATA gets, the digest (hash = libgcrypt's number) or, hash=0, the message.
 *                           Answer: data lines with a canonical (sig-val ..), after one SHOWN status line. A security
 *                           key gets the message and signs what PROTOCOL.u2f says.
 *   DECRYPT key=ID pin-age=S [drop=1] [touch=1]
 *                           INQUIRE DATA gets a canonical (enc-val ..); answer: for RSA the decrypted octets, for ECDH
 *                           the shared point or x coordinate; after one SHOWN line.
 *   VERIFY [ref=81|82|83] pin-age=S
 *                           a PIN verification by itself (unlock); SHOWN line.
 *   FORGET                  wipe the cached PIN, log the card out (best effort), forget presence.
 *   ADDKEY comment=C        software, fido, sk: INQUIRE KEY gets the private part of ADD_IDENTITY (PROTOCOL.agent) in
 *                           confidential mode; answers a KEY status line, with an id of its own even if the key was added before.
 *   DELKEY key=ID | DELALL  the same kinds.
 *   LOAD pin-age=S [drop=1] pkcs11 only: loads the module; INQUIRE GIVENPIN gets the PIN that came with ssh-add -s (it
 *                           may be empty) in confidential mode. Until then LEARN tells no keys. SHOWN line.
 *
 * Verbs of the key store ("gpg"). A key's id is its keygrip in upper-case hex. The disk is looked at each time: other programs
 * share the folder. LEARN tells of private keys, not of stubs; SIGN and DECRYPT, and the verbs below where a passphrase
 * is wanted, take CACHE fields.
 *   SIGN, DECRYPT: RSA with hash=0: pad=type1 pads without DigestInfo, pad=none takes a whole block; decrypted: the padded
 *                           block. nonce=N: its passphrase is tried first
 *   STORED key=G | all=1    a STORED status line per key file; of one, its canonical public-key is the answer
 *   GENERATE [created=UNIX] [protect=0] [preset=1] [nonce=N] [passwd-nonce=N] [preset-ttl=N] CACHE
 *                           INQUIRE PARAM gets gpg's (genkey ..). Answer: canonical public-key; NONCE unless protect=0
 *   IMPORT [created=UNIX] [force=1] [unattended=1] [nonce=N] CACHE
 *                           INQUIRE WRAPKEY gets the AES-128 key, INQUIRE WRAPPED the private key wrapped by it (RFC 3394).
 *                           GPG_ERR_EEXIST. A KEY and perhaps a NONCE status line. With ssh=1 [comment=C] WRAPPED gets the
 *                           private part of ADD_IDENTITY as it is, and there is no WRAPKEY
 *   EXPORT key=G form=plain|openpgp|card [created=UNIX] [nonce=N] CACHE
 *                           INQUIRE WRAPKEY; answer: the key wrapped. card: a private-key with (created-at ..) for WRITEKEY
 *   PASSWD key=G [verify=1] [preset=1] [preset-ttl=N] [cache-nonce=N] [passwd-nonce=N] CACHE    NONCE
 *   ATTR key=G name=NAME: [delete=1 | set=1]     an attribute of the key file; set: INQUIRE VALUE. Answer: its value
 *   STUB key=G serial=HEX ref=OPENPGP.N [label=DISPLAYSERIAL] [force=1]   INQUIRE PUB (canonical public-key): a shadowed key
 *                           file; without force one that is there stays, but for the Token of a stub
 *   SSHADD key=G [ttl=N] [confirm=1]             a line in sshcontrol
 *   CACHE do=get|put|clear id=ID mode=normal|user|ssh|any|nonce (clear only) [realm=N] [ttl=N] [max-ttl=N]
 *                           passphrases that are no key's, or not yet: put: INQUIRE SECRET; get: answer, GPG_ERR_NO_DATA
 *   CACHE fields: [cache=0: none of it may be used] [ttl=N max-ttl=N: how long a right passphrase serves, in seconds; 0 not at
 *                           all] [mode=normal|ssh] [realm=N: what one realm was told serves no other]
 *
 * Verbs of cards ("pcsc"):
 *   GETATTR name=K          an ATTR line each, as scdaemon's GETATTR K would print it; K "LEARN": all that its LEARN prints
 *   SETATTR name=K pin-age=S          INQUIRE VALUE
 *   CHANGEPIN ref=1|2|3 [reset=1]     as scdaemon's PASSWD; old and new ones by INQUIRE PIN
 *   GENERATE key=ID created=UNIX [force=1] pin-age=S      answer: canonical public-key. GPG_ERR_EEXIST
 *   WRITEKEY key=ID created=UNIX [force=1] [ecdh=HEX: KDF parameters for the fingerprint] pin-age=S
 *                           INQUIRE WRAPKEY, WRAPPED as IMPORT has them
 *   READCERT ref=N          answer: the certificate.     WRITECERT ref=N pin-age=S: INQUIRE VALUE
 *   RESET                   factory reset: all keys go
 *   APDU [select=HEX] hex=HEX [atr=1]     SELECT and GET DATA only; answer: data and status word
 *   RANDOM n=N
 * Of their PIV application (key ids piv-9a, piv-9c, piv-9d, piv-9e, piv-82 .. piv-95; all forget what was verified):
 *   PIVSTATUS               S PIV [version=V] [serial=N] [guid=HEX] [pin-tries=N pin-total=N pin-default=0|1] [puk-..] [management-default=..]
 *                           [proves=1: 9E answers a challenge], then S PIVSLOT id=ID [algo=A fpr=F pin=P touch=T origin=generated|imported]
 *                           [certificate=1] for each slot with anything in it
 *   PIVCHANGEPIN ref=pin|puk          PIVUNBLOCK: a new PIN by the PUK. Old and new ones by INQUIRE PIN
 *   PIVGENERATE key=ID [algo=A] [pin-policy=never|once|always] [touch-policy=never|always|cached] [force=1]
 *                           answer: canonical public-key. GPG_ERR_EEXIST. The certificate that was there goes
 *   PIVCERTIFICATE key=ID [name=CN] [days=N]   a self-signed one is stored; answer: DER
 *   PIVIMPORT key=ID [pin-policy=..] [touch-policy=..] [force=1]       INQUIRE VALUE: a private key, PEM
 *   PIVDELETE key=ID        key and certificate; S PIVKEPT key=1 where the card can delete no key, and only the certificate went
 *   PIVRESET                the PIV application as it left the factory (Yubico's command)
 *
 * Verbs of security keys by libfido2 ("fido"). Where several are plugged in and one is meant, they blink until one is
 * touched. PIN ref=fido.
 *   ASSERT                  INQUIRE CREDENTIALS gets SSH strings, each the private part of ADD_IDENTITY, all for one application;
 *                           INQUIRE DATA the message. All devices that hold one of them wait for a touch; the first that is touched
 *                           signs as with SIGN: canonical (sig-val ..), CREDENTIAL n=I (from 0) and SHOWN lines.
 *   GENERATE application=A algo=ed25519|ecdsa [resident=1] [verify=1] [no-touch=1] [user=U] [force=1]
 *                           a new credential: a CREDENTIAL line. GPG_ERR_EEXIST: a resident one of that application and user
 *                           is there, which force would replace
 *   DEVICES                 a DEVICE line each
 *   RESIDENT                the resident keys for "ssh:.." of one: its DEVICE line, CREDENTIAL lines
 *   DELRESIDENT handle=BASE64
 *   CHANGEPIN               sets the PIN where there is none, else changes it
 *
 * Verbs of wallets ("trezor", "ledger"). Their keys follow from identities (proto/wallet_identity.h), which the broker knows and the
 * device does not: LEARN tells of the keys of those it was given, where the public key is known or the device tells it without
 * asking anybody. Key ids are keygrips.
 *   IDENTITY uri=URI curve=C [ecdh=1] [pub=BASE64(canonical public-key): known from before [maybe=1: not by this device]]
 *            none=1         forget all of them
 *   CONFIGURE [passphrase=ask|device|none]
 *   PUBKEY uri=URI curve=C [ecdh=1] pin-age=-1     reads the public key, with all that the device asks for it. Answer: the
 *                           fields of its KEY line
 *
 * Arguments:
 *   job      the command's number on its channel, with every verb: for cancelling
 *   key      the key's id within the token: "sig", "dec", "aut" (OpenPGP), keygrip in hex and a number (software),
 *            keygrip in hex (pkcs11), SHA-256 of the key in hex and a number (fido, sk)
 *   use      text of the use for the driver's log only
 *   pin-age  greatest age in seconds of the PIN verification that may serve; -1: any age since the last FORGET;
 *            0: typed for this operation
 *   drop     leave the card unverified when the operation ends (AfterUse drop)
 *   touch    the broker relies on the token's own touch: fail with GPG_ERR_... rather than sign when the driver knows
 *            that the token will not ask for it
 *
 * Inquiries token -> broker:
 *   DATA, KEY, GIVENPIN     as above
 *   PIN ref=R tries=N [low=1] [last=1] [error=wrong] [min=N] [max=N] [label=L] [new=1]
 *                           a PIN is needed (never with a PC/SC transaction open). Answer: the PIN (D line), or CAN.
 *                           tries: left before this attempt, -1 unknown; last: this attempt is the last one, the person
 *                           must have been warned; error=wrong: the previous one in this request was refused.
 *                           low: the number is not known, but a wrong one was given since the last right one. label:
 *                           which token, where one process serves several. new: one to be set (typed twice). ref: 81, 82 user
 *                           PIN, 83 admin PIN, rc reset code, user (PKCS#11), fido, piv and
 *                           piv-puk, global (the card's own for all its applications), piv-mgm PIV management key in hex, file
 *                           passphrase of a key file.
 *   PIN ref=matrix          of a wallet that shows a grid of digits: the positions, numbered as on a keypad (7 8 9 on top)
 *   PASSPHRASE why=wallet   of a wallet: may be empty
 *   PASSPHRASE key=G why=use|old|import|export|new try=N tries=N [error=bad]
 *                           of the key store. why=new: one to protect with, which the broker has had repeated and found good;
 *                           an empty one: no protection. why=export: to protect what leaves an unprotected key.
 *   others                  named with their verbs
 * Status lines token -> broker:
 *   TOKEN kind=K serial=S name=N [label=L] [version=V] [reader=R] [bus=N dev=N] [contactless=1] [manufacturer=M]
 *         [tries=A/B/C] [counter=N] [aid=HEX] [apps=openpgp,piv..] [more=1] [factory=..] [soft=1: keys in software, whatever the kind]
 *         [problem=TEXT: why it cannot be used as it is] [hint=TEXT: what the person has to do first] [unread=N: identities whose public key is not known yet]
 *   KEY id=ID pub=BASE64(canonical public-key sexp) [ecdh=1] [caps=s|e|a letters] [family=ssh|gpg] [created=UNIX]
 *       [fpr=HEX40] [touch=never|always|cached|unknown] [touch-fixed=1] [touch-secs=N] [pin=none|need|once|always]
 *       [proved=1: it just answered a challenge, so that it is no copy of a public key] [slow=1] [comment=C] [sk=APPLICATION] [ssh=N] [confirm=1] [wallet=<URI|CURVE>: it follows from that identity]
 *       [whole=1: SIGN wants the message for it, hash=0, whatever the algorithm]
 *       [maybe=1: another device has that key for the identity, this one was not asked]
 *         touch "cached": the token's own touch serves for touch-secs seconds. pin "always": the card wants VERIFY
 *         before each use (forced signature PIN); "once": until reset; "none": no PIN. sk: a
 *         security key for that application; pub is the key on its curve. ssh: a key of gpg's that its owner offers to ssh,
 *         too, at this place of the list; confirm: and wants to be asked each time.
 *   TOUCH wait | TOUCH done a touch is being waited for now / no longer (pkcs11: a PIN on the reader's keypad)
 *   STORED key=G state=clear|protected|shadowed|unknown [pub=BASE64] [cached=1] [serial=HEX ref=R (first Token)] [label=L]
 *         [comment=C] [ssh=N: place in the list] [ssh-disabled=1] [ssh-ttl=N] [confirm=yes|restricted|ssh] [prompt=no] [remote-list=1]
 *   NONCE [cache=HEX] [passwd=HEX]   names a passphrase for this while
 *   ATTR name=K text=T      "S K T" as scdaemon writes it, its escapes included
 *   CREDENTIAL blob=BASE64 (public key, ssh) handle=BASE64 flags=N [user=U]
 *   DEVICE path=P [fido2=1] [pin=1] [tries=N] [uv=1] [manage=1: RESIDENT] [aaguid=HEX] [versions=A,B] [extensions=A,B]
 *          [options=NAME:0|1,..] [firmware=N] [min-pin=N] [problem=T: it cannot be opened]
 *   PROGRESS what=W char=C cur=N total=N
 *   MORE part, LAST part    of one status line, keyword and all, that is too long for Assuan
 *   WALLET say=TEXT         why the operation is about to fail, for the person
 *   SHOWN [pin=typed|cached|device] [touch=1] [flags=N counter=N] [device=P: of those that one process serves]
 *                           what was shown for this operation; touch=1 only if the token enforced one just now; pin=device:
 *                           the token itself verified the person. flags, counter: what a security key signed with it
 */
#ifndef LATCHKEY_PROTO_TOKEN_PROTOCOL_H
#define LATCHKEY_PROTO_TOKEN_PROTOCOL_H

#include "proto/buf.h"

#define TOKEN_PROTOCOL_VERSION 1
#define TOKEN_FIRST_FD         3
#define TOKEN_CANCEL_OCTETS    5

#define TOKEN_VERB_LEARN   "LEARN"
#define TOKEN_VERB_SIGN    "SIGN"
#define TOKEN_VERB_DECRYPT "DECRYPT"
#define TOKEN_VERB_VERIFY  "VERIFY"
#define TOKEN_VERB_FORGET  "FORGET"
#define TOKEN_VERB_ADDKEY  "ADDKEY"
#define TOKEN_VERB_DELKEY  "DELKEY"
#define TOKEN_VERB_DELALL  "DELALL"
#define TOKEN_VERB_LOAD    "LOAD"
/* Verbs of some kinds only: struct driver_verb, TOKEN_OTHER. */
#define TOKEN_VERB_STORED    "STORED"
#define TOKEN_VERB_GENERATE  "GENERATE"
#define TOKEN_VERB_IMPORT    "IMPORT"
#define TOKEN_VERB_EXPORT    "EXPORT"
#define TOKEN_VERB_PASSWD    "PASSWD"
#define TOKEN_VERB_ATTR      "ATTR"
#define TOKEN_VERB_STUB      "STUB"
#define TOKEN_VERB_SSHADD    "SSHADD"
#define TOKEN_VERB_CACHE     "CACHE"
#define TOKEN_VERB_GETATTR   "GETATTR"
#define TOKEN_VERB_SETATTR   "SETATTR"
#define TOKEN_VERB_CHANGEPIN "CHANGEPIN"
#define TOKEN_VERB_WRITEKEY  "WRITEKEY"
#define TOKEN_VERB_READCERT  "READCERT"
#define TOKEN_VERB_WRITECERT "WRITECERT"
#define TOKEN_VERB_RESET     "RESET"
#define TOKEN_VERB_APDU      "APDU"
#define TOKEN_VERB_RANDOM    "RANDOM"
#define TOKEN_VERB_IDENTITY  "IDENTITY"
#define TOKEN_VERB_CONFIGURE "CONFIGURE"
#define TOKEN_VERB_PUBKEY    "PUBKEY"

#define TOKEN_VERB_PIV_STATUS      "PIVSTATUS"
#define TOKEN_VERB_PIV_CHANGE_PIN  "PIVCHANGEPIN"
#define TOKEN_VERB_PIV_UNBLOCK     "PIVUNBLOCK"
#define TOKEN_VERB_PIV_RESET       "PIVRESET"
#define TOKEN_VERB_PIV_GENERATE    "PIVGENERATE"
#define TOKEN_VERB_PIV_CERTIFICATE "PIVCERTIFICATE"
#define TOKEN_VERB_PIV_IMPORT      "PIVIMPORT"
#define TOKEN_VERB_PIV_DELETE      "PIVDELETE"

#define TOKEN_VERB_ASSERT      "ASSERT"
#define TOKEN_VERB_DEVICES     "DEVICES"
#define TOKEN_VERB_RESIDENT    "RESIDENT"
#define TOKEN_VERB_DELRESIDENT "DELRESIDENT"

/* Status lines of theirs. */
#define TOKEN_STATUS_STORED     "STORED"
#define TOKEN_STATUS_NONCE      "NONCE"
#define TOKEN_STATUS_ATTR       "ATTR"
#define TOKEN_STATUS_CREDENTIAL "CREDENTIAL"
#define TOKEN_STATUS_DEVICE     "DEVICE"
#define TOKEN_STATUS_WALLET     "WALLET"
/* A long line's parts, of any verb. */
#define TOKEN_STATUS_MORE "MORE"
#define TOKEN_STATUS_LAST "LAST"

/* Lines of watch-pcsc on descriptor 3, LF-ended, fields as above:
 *   "SERVICE up=1"  "SERVICE up=0"            pcscd answers / is gone (every reader is then lost, not pulled)
 *   "READER name=R present=1 atr=HEX events=N [contactless=1] [bus=N dev=N]"   a card is in R (also after a swap)
 *   "READER name=R present=0 [contactless=1] [bus=N dev=N]"                    R is empty
 *   "GONE name=R [bus=N dev=N]"                                                reader R is gone
 */
#define TOKEN_WATCH_SERVICE "SERVICE"
#define TOKEN_WATCH_READER  "READER"
#define TOKEN_WATCH_GONE    "GONE"

/* The value of field NAME in LINE, unescaped, as a new string (gpgrt_free); *OUT NULL when absent.
 * GPG_ERR_BAD_DATA on a broken escape or an embedded %00. */
gpg_error_t field_get(const char *line, const char *name, char **out);
/* The same as a number; FALLBACK when absent. */
gpg_error_t field_get_int(const char *line, const char *name, long fallback, long *out);
/* Appends " NAME=VALUE" (no blank at the very start of B), escaped. */
void field_put(struct buf *b, const char *name, const char *value);
void field_put_int(struct buf *b, const char *name, long value);

#endif
