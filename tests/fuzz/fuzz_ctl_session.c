/* A whole conversation on the control socket, with fakes for what is below the session. Whatever comes, what goes back are
 * lines of Assuan, and each command gets one answer at most. */
#include "agent/audit.h"
#include "agent/broker.h"
#include "agent/certificates.h"
#include "agent/ctl_explain.h"
#include "agent/ctl_fido.h"
#include "agent/ctl_json.h"
#include "agent/ctl_token.h"
#include "agent/grants.h"
#include "agent/limits.h"
#include "agent/lock.h"
#include "agent/policy_watch.h"
#include "agent/wallets.h"
#include "proto/ctl_protocol.h"
#include "proto/token_protocol.h"
#include "tests/fuzz/converse.h"
#include "tests/fuzz/fuzz_util.h"

#include <assuan.h>
#include <string.h>

gpg_error_t requester_new(int fd, struct requester **out)
{
    struct requester *r = gpgrt_calloc(1, sizeof *r);

    (void)fd;
    REQUIRE(r != NULL);
    r->pidfd = -1;
    *out = r;
    return 0;
}

void requester_free(struct requester *r)
{
    char **texts[] = {
        &r->tty,  &r->term,     &r->display,     &r->wayland_display,   &r->xauthority,
        &r->dbus, &r->lc_ctype, &r->lc_messages, &r->pinentry_user_data};

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        gpgrt_free(*texts[i]);
    gpgrt_free(r);
}

void certificates_reload(struct certificates *c)
{
    (void)c;
}

json_t *ctl_status_json(struct agent *a, bool all)
{
    (void)a;
    (void)all;
    return json_pack("{s:s}", "version", "x");
}

json_t *ctl_keys_json(struct agent *a)
{
    (void)a;
    return json_array();
}

gpg_error_t ctl_explain(struct agent *a, const char *args, struct buf *out)
{
    static const char *const names[] = {"host", "user", "key", "use", "client", "last"};
    size_t said = 0;

    (void)a;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *value = NULL;
        gpg_error_t err = field_get(args, names[i], &value);

        if (err != 0)
            return err;
        if (value != NULL) {
            buf_printf(out, "%s %s\n", names[i], value);
            said++;
        }
        gpgrt_free(value);
    }
    return gpg_error(said == 0   ? GPG_ERR_NO_DATA
                     : said == 1 ? GPG_ERR_NO_PUBKEY
                     : said == 2 ? GPG_ERR_NO_POLICY_MATCH
                                 : 0);
}

gpg_error_t ctl_token(assuan_context_t ctx, struct agent *a, const struct origin *from,
                      const char *line, char **text)
{
    (void)ctx;
    (void)a;
    (void)from;
    (void)line;
    *text = gpgrt_strdup("no token is named so");
    return gpg_error(GPG_ERR_NOT_FOUND);
}

gpg_error_t wallets_reload(struct wallets *w)
{
    (void)w;
    return 0;
}

json_t *wallets_json(struct wallets *w)
{
    (void)w;
    return json_pack("{s:[]}", "identities");
}

gpg_error_t ctl_fido(struct agent *a, const struct origin *from, const char *line, json_t **out,
                     char **text)
{
    char *what = NULL;
    gpg_error_t err = field_get(line, "do", &what);

    (void)a;
    (void)from;
    *text = NULL;
    *out = err == 0 && what != NULL ? json_array() : NULL;
    gpgrt_free(what);
    return *out != NULL ? 0 : gpg_error(GPG_ERR_MISSING_VALUE);
}

void lock_now(struct agent *a, enum lock_reason why, const char *what)
{
    (void)a;
    (void)what;
    REQUIRE(why == LOCK_COMMAND);
}

void audit_reopen(struct audit *a)
{
    (void)a;
}

gpg_error_t policy_reload_for(struct policy_holder *h, const struct requester *who, int client_fd,
                              char **problem)
{
    (void)h;
    (void)client_fd;
    REQUIRE(who != NULL);
    *problem = gpgrt_strdup("nobody agreed to the change");
    return gpg_error(GPG_ERR_CANCELED);
}

struct policy_set *policy_current(struct policy_holder *h)
{
    (void)h;
    return NULL;
}

char *policy_problem(struct policy_holder *h)
{
    (void)h;
    return gpgrt_strdup("policy.conf:1:1: unknown keyword \"T\xc3\xb6uch\"\n");
}

void grants_drop_origin(struct grants *g, uint64_t origin)
{
    (void)g;
    (void)origin;
}

gpg_error_t broker_unlock(struct agent *a, const struct origin *from, char **error_text)
{
    (void)a;
    REQUIRE(from->who != NULL);
    *error_text = gpgrt_strdup("no token that could prove anything is plugged in");
    return gpg_error(GPG_ERR_LOCKED);
}

gpg_error_t broker_sign_openpgp(struct agent *a, const struct origin *from, const char *key,
                                struct rd object, bool text, struct openpgp_result *out)
{
    (void)a;
    (void)from;
    if (text || (key != NULL && key[0] == 'x')) {
        out->error_text = gpgrt_strdup(key != NULL ? key : "no");
        return gpg_error(GPG_ERR_NO_SECKEY);
    }
    buf_put_rd(&out->packet, object);
    return 0;
}

gpg_error_t broker_openpgp_certificate(struct agent *a, const struct origin *from, const char *key,
                                       const char *uid, struct openpgp_result *out)
{
    (void)a;
    (void)from;
    (void)key;
    buf_printf(&out->packet, "%s", uid);
    return 0;
}

/* --- the conversation -------------------------------------------------------------------------------- */

static struct settings settings = {
    .max_clients = 16, .max_keys = 16, .max_memory = 4u << 20, .message_timeout = 600};
static struct agent agent = {.settings = &settings};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf got = BUF_INIT;

    fuzz_init();
    if (agent.limits == NULL) {
        assuan_set_gpg_err_source(GPG_ERR_SOURCE_DEFAULT);
        REQUIRE(limits_new(&settings, &agent.limits) == 0);
    }
    converse(&agent, ctl_session_serve, rd_of(data, size), &got);
    converse_check_assuan(buf_rd(&got), rd_of(data, size), "INQUIRE OBJECT");
    buf_free(&got);
    return 0;
}
