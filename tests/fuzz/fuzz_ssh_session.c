/* A whole ssh-agent conversation: the session over a socket pair, with fakes for what is below it. Whatever comes, each
 * whole frame gets one whole frame back, in order, until the first one that ends the connection. */
#include "agent/binds.h"
#include "agent/broker.h"
#include "agent/gpg_agent.h"
#include "agent/grants.h"
#include "agent/hotplug.h"
#include "agent/limits.h"
#include "agent/lock.h"
#include "tests/fuzz/converse.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

/* --- what is below: one key, a lock, a broker that signs everything ---------------------------------- */

static struct key *only_key;
static bool has_key, locked;
static uint8_t passphrase[64];
static size_t passphrase_len;

gpg_error_t requester_new(int fd, struct requester **out)
{
    (void)fd;
    (void)out;
    return gpg_error(GPG_ERR_NOT_FOUND);
}

void requester_free(struct requester *r)
{
    REQUIRE(r == NULL);
}

void hotplug_settle(struct hotplug *h, int ms)
{
    (void)h;
    (void)ms;
}

void gpg_look_at_disk(struct agent *a)
{
    (void)a;
}

void grants_drop_origin(struct grants *g, uint64_t origin)
{
    (void)g;
    (void)origin;
}

static struct identity id = {.comment = (char *)(uintptr_t) "only"};
static struct identity *const ids[] = {&id};
static struct keyring_snapshot snapshot = {.ids = ids};

const struct keyring_snapshot *keyring_get(struct keyring *k)
{
    (void)k;
    id.key = only_key;
    snapshot.n = has_key ? 1 : 0;
    return &snapshot;
}

void keyring_put(const struct keyring_snapshot *s)
{
    (void)s;
}

void broker_list_ssh(struct agent *a, const struct origin *from, const struct keyring_snapshot *s,
                     const struct identity **visible, size_t *n)
{
    (void)a;
    REQUIRE(from->nbinds <= SSH_AGENT_MAX_BINDS);
    *n = locked ? 0 : s->n;
    if (*n > 0)
        visible[0] = s->ids[0];
}

bool broker_list_needs_requester(struct agent *a)
{
    (void)a;
    return locked;
}

gpg_error_t broker_sign_ssh(struct agent *a, const struct origin *from, struct rd key_blob,
                            struct rd data, uint32_t flags, struct buf *sig)
{
    (void)a;
    (void)from;
    (void)key_blob;
    (void)flags;
    REQUIRE(!locked);
    if (data.n % 2 != 0)
        return gpg_error(GPG_ERR_FORBIDDEN);
    buf_put_rd(sig, data);
    return 0;
}

gpg_error_t broker_add_ssh(struct agent *a, const struct origin *from, struct ssh_agent_msg *add)
{
    (void)a;
    (void)from;
    REQUIRE(!locked && add->u.add.key != NULL);
    key_unref(only_key);
    only_key = key_ref(add->u.add.key);
    has_key = true;
    return 0;
}

gpg_error_t broker_add_provider(struct agent *a, const struct origin *from, const char *provider,
                                struct rd pin, struct key_constraints *c)
{
    (void)a;
    (void)from;
    (void)c;
    REQUIRE(!locked && provider != NULL);
    return pin.n > 0 ? 0 : gpg_error(GPG_ERR_BAD_PIN);
}

gpg_error_t broker_remove_provider(struct agent *a, const struct origin *from, const char *provider)
{
    (void)a;
    (void)from;
    REQUIRE(!locked && provider != NULL);
    return gpg_error(GPG_ERR_NOT_FOUND);
}

gpg_error_t broker_remove_ssh(struct agent *a, const struct origin *from, struct rd blob)
{
    (void)a;
    (void)from;
    (void)blob;
    REQUIRE(!locked);
    return has_key ? 0 : gpg_error(GPG_ERR_NOT_FOUND);
}

gpg_error_t broker_remove_all_ssh(struct agent *a, const struct origin *from)
{
    (void)a;
    (void)from;
    REQUIRE(!locked);
    has_key = false;
    return 0;
}

bool lock_is_passphrase_locked(struct lock *l)
{
    (void)l;
    return locked;
}

gpg_error_t lock_passphrase(struct agent *a, int client_fd, struct rd p)
{
    (void)a;
    (void)client_fd;
    if (p.n == 0 || p.n > sizeof passphrase || locked)
        return gpg_error(GPG_ERR_INV_VALUE);
    memcpy(passphrase, p.p, p.n);
    passphrase_len = p.n;
    locked = true;
    return 0;
}

gpg_error_t unlock_passphrase(struct agent *a, int client_fd, struct rd p)
{
    (void)a;
    (void)client_fd;
    if (!locked || !rd_eq(p, rd_of(passphrase, passphrase_len)))
        return gpg_error(GPG_ERR_BAD_PASSPHRASE);
    locked = false;
    return 0;
}

/* --- the conversation -------------------------------------------------------------------------------- */

static struct settings settings = {
    .max_clients = 16, .max_keys = 16, .max_memory = 4u << 20, .message_timeout = 600};
static struct agent agent = {.settings = &settings};

/* How many frames of R are answered: up to the first that is cut, empty or too large. */
static size_t answered(struct rd r)
{
    struct rd frame;
    size_t n = 0;

    while (rd_string(&r, &frame) == 0 && frame.n >= 1 && frame.n <= SSH_AGENT_MAX_MESSAGE)
        n++;
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf got = BUF_INIT;
    struct rd in, frame;
    size_t n = 0;

    fuzz_init();
    if (agent.limits == NULL)
        REQUIRE(limits_new(&settings, &agent.limits) == 0);
    has_key = locked = false;
    converse(&agent, ssh_session_serve, rd_of(data, size), &got);
    for (in = buf_rd(&got); in.n > 0; n++) {
        REQUIRE(rd_string(&in, &frame) == 0 && frame.n >= 1);
        REQUIRE(frame.p[0] == SSH_AGENT_FAILURE || frame.p[0] == SSH_AGENT_SUCCESS ||
                frame.p[0] == SSH_AGENT_IDENTITIES_ANSWER ||
                frame.p[0] == SSH_AGENT_SIGN_RESPONSE ||
                frame.p[0] == SSH_AGENT_EXTENSION_FAILURE ||
                frame.p[0] == SSH_AGENT_EXTENSION_RESPONSE);
    }
    REQUIRE(n == answered(rd_of(data, size)));
    buf_free(&got);
    return 0;
}
