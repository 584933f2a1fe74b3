/* What is being signed: recognises the structures that ssh clients have signed. Full parse or nothing: data that is
 * not exactly one of these is SIGNDATA_RAW. Views point into the given data. */
#ifndef LATCHKEY_PROTO_SIGNDATA_H
#define LATCHKEY_PROTO_SIGNDATA_H

#include "proto/key.h"

enum signdata_kind {
    SIGNDATA_RAW,      /* no known form */
    SIGNDATA_USERAUTH, /* RFC 4252 7, method publickey or publickey-hostbound-v00@openssh.com */
    SIGNDATA_SSHSIG,   /* PROTOCOL.sshsig */
    SIGNDATA_CERT,     /* the to-be-signed part of an OpenSSH certificate: CA signing */
    SIGNDATA_SUDO, /* pam_ssh_agent_auth: request 101, so that a person may use sudo and the like */
    SIGNDATA_HOSTKEY, /* hostkeys-prove-00@openssh.com (OpenSSH PROTOCOL 2.5): a server's proof of a host key */
};

struct signdata {
    enum signdata_kind kind;
    /* userauth */
    struct rd session_id;
    char *user;          /* owned */
    char *pkalg;         /* owned */
    struct key *key;     /* owned: the key or certificate named in the data */
    struct key *hostkey; /* owned: hostbound only, else NULL */
    bool hostbound;
    /* sshsig */
    char *ns;        /* owned: namespace */
    char *hash_name; /* owned: "sha256" or "sha512" */
    /* cert */
    struct key
        *subject;  /* owned: plain key that gets certified; NULL if its type is unknown to us */
    char *cert_id; /* owned: key id */
    uint32_t cert_type; /* 1 user, 2 host */
    char **principals;  /* owned, NULL-ended; empty: whoever */
    /* sudo: all as the asking machine says; owned */
    struct sudo_request {
        char *service; /* PAM's: "sudo" */
        char *user;    /* who asks there */
        char *host;
        char *cwd;
        char *command; /* its words joined by blanks; "" if not told */
    } sudo;
};

/* Classifies DATA as signed by SIGNER: a userauth request counts only when service is "ssh-connection", the method is
 * one of the two, the signature flag is set, the key (or the key inside the certificate) named there is SIGNER's, the
 * algorithm name fits the key's type, and nothing follows; the like goes for the other forms. No data has two forms. The
 * hash that a server signs in a key exchange (RFC 4253 8) has none. Fails only when out of memory. */
gpg_error_t signdata_parse(struct rd data, const struct key *signer, struct signdata *out);
void signdata_clear(struct signdata *s);

#endif
