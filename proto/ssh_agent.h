/* The ssh-agent protocol (RFC 9987 and OpenSSH's PROTOCOL.agent): messages as structs.
 * Parsing gives views into the caller's message, which must outlive them. No private key is taken apart here: the
 * private part of an ADD_IDENTITY stays an opaque view that only the software token reads. */
#ifndef LATCHKEY_PROTO_SSH_AGENT_H
#define LATCHKEY_PROTO_SSH_AGENT_H

#include "proto/key.h"

#define SSH_AGENT_MAX_MESSAGE     (256u * 1024u) /* type and body */
#define SSH_AGENT_MAX_BINDS       16u
#define SSH_AGENT_MAX_SID         128u
#define SSH_AGENT_MAX_CONSTRAINTS 1024u /* destination constraints of one key */
#define SSH_AGENT_MAX_CERTS       1024u
#define SSH_AGENT_MAX_IDENTITIES  2048u

enum ssh_agent_type {
    SSH_AGENTC_REQUEST_RSA_IDENTITIES = 1,
    SSH_AGENT_FAILURE = 5,
    SSH_AGENT_SUCCESS = 6,
    SSH_AGENTC_REMOVE_ALL_RSA_IDENTITIES = 9,
    SSH_AGENTC_REQUEST_IDENTITIES = 11,
    SSH_AGENT_IDENTITIES_ANSWER = 12,
    SSH_AGENTC_SIGN_REQUEST = 13,
    SSH_AGENT_SIGN_RESPONSE = 14,
    SSH_AGENTC_ADD_IDENTITY = 17,
    SSH_AGENTC_REMOVE_IDENTITY = 18,
    SSH_AGENTC_REMOVE_ALL_IDENTITIES = 19,
    SSH_AGENTC_ADD_SMARTCARD_KEY = 20,
    SSH_AGENTC_REMOVE_SMARTCARD_KEY = 21,
    SSH_AGENTC_LOCK = 22,
    SSH_AGENTC_UNLOCK = 23,
    SSH_AGENTC_ADD_ID_CONSTRAINED = 25,
    SSH_AGENTC_ADD_SMARTCARD_KEY_CONSTRAINED = 26,
    SSH_AGENTC_EXTENSION = 27,
    SSH_AGENT_EXTENSION_FAILURE = 28,
    SSH_AGENT_EXTENSION_RESPONSE = 29,
};

#define SSH_AGENT_RSA_SHA2_256 0x02u
#define SSH_AGENT_RSA_SHA2_512 0x04u

/* One hop of a destination constraint (restrict-destination-v00@openssh.com). */
struct dest_hop {
    char *user;     /* pattern, NULL: any */
    char *hostname; /* NULL: the origin (this machine) */
    struct dest_key {
        struct key *key;
        bool is_ca;
    } * keys;
    size_t nkeys;
};
struct dest_constraint {
    struct dest_hop from, to;
};

/* Constraints of an added key; owned, freed by constraints_free. */
struct key_constraints {
    uint32_t lifetime; /* seconds, 0: none */
    bool confirm;
    struct dest_constraint *dest;
    size_t ndest;
    char *sk_provider;  /* NULL: none given */
    struct key **certs; /* associated-certs-v00@openssh.com */
    size_t ncerts;
    bool certs_only;
};
void constraints_free(struct key_constraints *c); /* contents only */

struct ssh_agent_msg {
    uint8_t type;
    union {
        struct {
            struct rd key_blob, data;
            uint32_t flags;
        } sign;
        struct {
            struct key *key;        /* public part (certificate if one came); owned */
            struct rd private_part; /* from the type string to before the comment: opaque, secret */
            char *comment;          /* owned */
            struct key_constraints constraints;
        } add;
        struct {
            struct rd key_blob;
        } remove;
        struct {
            char *id;      /* owned */
            struct rd pin; /* secret */
            struct key_constraints constraints;
        } smartcard;
        struct {
            struct rd passphrase; /* secret */
        } lock;
        struct {
            struct rd name, body;
        } ext;
    } u;
};

/* Parses one message (type and body, without the length). GPG_ERR_NOT_SUPPORTED for a type we have no parser for
 * (answer FAILURE), GPG_ERR_PUBKEY_ALGO for an added key of unknown type, GPG_ERR_BAD_DATA and others for malformed
 * bodies, unknown or repeated constraints, constraints not allowed for the message (maxsign; associated-certs with
 * 17/25; sk-provider with 20/26, or with a key that is no sk key), a certificate that does not hold the given key.
 * Free with ssh_agent_msg_free also after failure (which leaves it empty). */
gpg_error_t ssh_agent_parse(struct rd message, struct ssh_agent_msg *out);
void ssh_agent_msg_free(struct ssh_agent_msg *m);

/* Builders append a whole frame, length included. */
void ssh_agent_put_simple(struct buf *b, uint8_t type);
void ssh_agent_put_sign_response(struct buf *b, struct rd signature);
/* IDENTITIES_ANSWER: begin, then each identity, then end (which fills in length and number). */
struct ssh_agent_list {
    struct buf *b;
    size_t start;
    uint32_t n;
    bool
        full; /* an identity was left out: clients take no more than SSH_AGENT_MAX_IDENTITIES, _MESSAGE octets */
};
void ssh_agent_list_begin(struct ssh_agent_list *l, struct buf *b);
void ssh_agent_list_add(struct ssh_agent_list *l, struct rd key_blob, const char *comment);
void ssh_agent_list_end(struct ssh_agent_list *l);
/* Answer to "query": RFC 9987 form (29, "query", names) or, with OLD, the draft's (6, names). NAMES is NULL-ended. */
void ssh_agent_put_query(struct buf *b, const char *const *names, bool old);

/* session-bind@openssh.com (PROTOCOL.agent 1): parse and verify the host key's signature over the session id
 * (Ed25519, ECDSA, RSA-SHA2; a host certificate's plain key). SHA-1 signatures are refused. */
struct session_bind {
    struct key *hostkey; /* owned */
    struct rd session_id;
    bool forwarding;
};
gpg_error_t session_bind_parse(struct rd ext_body, struct session_bind *out);
void session_bind_clear(struct session_bind *b);

#endif
