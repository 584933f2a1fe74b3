/* A broker with everything around it replaced: one token whose behaviour a test sets, a person who
 * answers as told, a lock, an audit log that can be read back. The policy, grants, destinations and
 * the broker itself are the real ones. */
#ifndef LATCHKEY_TESTS_FAKES_BROKER_H
#define LATCHKEY_TESTS_FAKES_BROKER_H

#include "agent/broker.h"

#include <jansson.h>

struct world {
    struct agent agent;
    struct origin origin;
    struct requester who;
    struct identity id;
    struct holder holder;
    struct key *host; /* an ed25519 host key named "host.example" */
    gcry_sexp_t host_secret;
    gcry_sexp_t secret; /* the token's private key */
    /* the token */
    bool touched; /* its answer says so */
    bool wrong_signature;
    bool asks_pin;                /* unless a cached one may serve */
    int tries;                    /* left */
    int wrong_pins;               /* that many PINs are refused first */
    struct token_pin_request pin; /* what else it says when it asks for one */
    const char *types[4];         /* what the person types; NULL: 123456 */
    bool repeated;                /* the last one was asked for twice */
    gpg_error_t token_error;
    struct sk_assertion signs,
        claims; /* of a security key: what it signs, and says that it signed */
    unsigned runs;
    struct token_job job; /* as last seen; pointers are stale */
    /* an enrolled FIDO token */
    struct {
        gcry_sexp_t secret, other;
        enum { SHOWS_TOUCH, REPLAYS, OTHER_KEY, NO_TOUCH, CLAIMS_TOUCH, OTHER_WEB, BAD_INDEX } does;
        gpg_error_t error;
        struct buf seen; /* the last message */
        unsigned asked;
    } standin;
    /* a PKCS#11 provider */
    char **provider_keys;       /* KEY lines that it shows once it is loaded; NULL-ended */
    gpg_error_t provider_error; /* when it is to be served */
    bool provider_there;
    struct provider_seen {
        bool started, ended;
        char path[256];
        size_t served, certs;
        uint32_t life_s;
        bool confirm;
        unsigned revived, reaped;
    } provider;
    bool dead; /* its process */
    /* the person */
    gpg_error_t confirm; /* answer to dialogs */
    unsigned confirms, pins;
    char last_desc[2048];
    unsigned awaited; /* dialogs that asked for the token */
    bool comes;       /* .. which is then plugged in */
    /* known_hosts */
    bool revoked, nameless;
    unsigned asked; /* look-ups that tried the name on ssh's command line */
    /* the rest */
    bool locked, passphrase_locked, verified_before, opened;
    unsigned locks;
    void (*meanwhile)(void); /* called while the token works, and while a dialog stands */
    gpg_error_t audit_error;
    unsigned added;       /* keys that got into the keyring */
    struct holder last;   /* the last one's, without id */
    char middleware[256]; /* the last one wanted */
    gpg_error_t full;     /* .. unless this */
    char wiped[64];       /* id of the last key wiped in the software token */
    int client_fd_seen;   /* by the token's last job */
    json_t *record;       /* the last one */
};
extern struct world world;

/* Starts anew with POLICY as the person's file; the key is an ed25519 one on a token of KIND. */
void world_new(const char *policy, const char *kind, enum token_touch touch, enum token_pin pin);
/* Makes the key one of a security key for APPLICATION, which signs with FLAGS. */
void world_security_key(const char *application, uint8_t flags);
/* Enrolls a FIDO token for StandIn fido, with files in the folder DIR. */
void world_enroll(const char *dir);
void world_free(void);
/* Binds the connection to world.host with session id "session-id-0123456789" (binds may be added
 * up). */
void world_bind(bool forwarding);
/* Userauth data for USER by the world's key; HOSTBOUND names world.host in it. Appends to B. */
void world_userauth(struct buf *b, const char *user, bool hostbound);
void world_sshsig(struct buf *b, const char *ns);
/* broker_sign_ssh of that data. */
gpg_error_t world_sign(const struct buf *data);
/* A field of the last record ("" if absent); nested by '.'. */
const char *world_record(const char *path);

#endif
