#include "agent/signing_key.h"

#include "agent/hotplug.h"
#include "agent/lock.h"
#include "agent/missing_token.h"
#include "agent/prompt.h"
#include "proto/git_object.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define SETTLE_MS 3000
/* The policy's Timeout goes by the key, which is not known yet: its default. */
#define WAIT_S 60

/* --- names ----------------------------------------------------------------------------------------------------------------- */

/* Without 0x, blanks and a trailing '!'. */
static char *normal_name(const char *name)
{
    struct buf b = BUF_INIT;

    if (name != NULL && name[0] == '0' && (name[1] == 'x' || name[1] == 'X'))
        name += 2;
    for (const char *p = name; p != NULL && *p != '\0'; p++)
        if (!isspace((unsigned char)*p) && !(*p == '!' && p[1] == '\0'))
            buf_put_u8(&b, (uint8_t)*p);
    return buf_steal_cstr(&b);
}

static bool is_openpgp_name(const char *name)
{
    size_t n = strlen(name);

    return name[strspn(name, "0123456789abcdefABCDEF")] == '\0' && (n == 8 || n == 16 || n == 40);
}

static bool means_any(const char *name)
{
    return name[0] == '\0' || strchr(name, '@') != NULL;
}

/* Could a token that is not plugged in now have a key of that name? */
static bool names_a_key(const char *name)
{
    return means_any(name) || is_openpgp_name(name) || strncmp(name, "SHA256:", 7) == 0 ||
           strchr(name, '/') != NULL;
}

static bool tail_matches(const uint8_t *id, size_t n, const char *hex)
{
    size_t len = strlen(hex);
    char *full = hex_encode(id, n);
    bool ok = full != NULL && len <= 2 * n && strcasecmp(full + 2 * n - len, hex) == 0;

    gpgrt_free(full);
    return ok;
}

/* NAME is TOKEN/SLOT. */
static bool slot_matches(const struct identity *id, const char *name)
{
    const char *slash = strrchr(name, '/');
    size_t n = slash != NULL ? (size_t)(slash - name) : 0;
    bool found = false;

    for (size_t i = 0; i < id->nholders && n > 0 && !found; i++) {
        const struct token_info *info = token_info_get(id->holders[i].token);

        if (info == NULL)
            continue;
        found = strlen(info->name) == n && strncasecmp(info->name, name, n) == 0 &&
                strcasecmp(policy_slot(slash + 1), policy_slot(id->holders[i].id)) == 0;
        token_info_put(info);
    }
    return found;
}

static bool name_matches(const struct identity *id, const char *name)
{
    if (is_openpgp_name(name)) {
        if (id->has_openpgp && tail_matches(id->openpgp_fpr, sizeof id->openpgp_fpr, name))
            return true;
        return strlen(name) == 40 && tail_matches(id->key->grip, sizeof id->key->grip, name);
    }
    return (id->key->fpr != NULL && strcmp(id->key->fpr, name) == 0) || slot_matches(id, name);
}

/* --- what is there --------------------------------------------------------------------------------------------------------- */

static bool is_signing_key(const struct identity *id)
{
    return id->family == FAMILY_GPG && id->can_sign && id->key->cert == NULL;
}

static gpg_error_t find(const struct keyring_snapshot *s, const char *name,
                        const struct identity **out)
{
    gpg_error_t err = gpg_error(GPG_ERR_NO_SECKEY);

    for (size_t i = 0; i < s->n; i++) {
        const struct identity *id = s->ids[i];

        if (!is_signing_key(id) || (!means_any(name) && !name_matches(id, name)))
            continue;
        if (err == 0 && !key_same(id->key, (*out)->key))
            return gpg_error(GPG_ERR_AMBIGUOUS);
        *out = id;
        err = 0;
    }
    return err;
}

static const struct identity *find_other(const struct keyring_snapshot *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (!means_any(name) && name_matches(s->ids[i], name))
            return s->ids[i];
    return NULL;
}

static gpg_error_t look(struct agent *a, const char *name, const struct keyring_snapshot **snap,
                        const struct identity **id)
{
    keyring_put(*snap);
    *snap = keyring_get(a->keyring);
    return *snap != NULL ? find(*snap, name, id) : gpg_error(GPG_ERR_NO_SECKEY);
}

/* --- the token that is not there ------------------------------------------------------------------------------------------- */

struct looking {
    struct agent *a;
    const char *name;
    const struct keyring_snapshot **snap;
    const struct identity **id;
};

static gpg_error_t look_again(void *arg)
{
    struct looking *l = arg;

    return look(l->a, l->name, l->snap, l->id);
}

/* SHOWN: the name as it was given, cleaned, or "". */
static gpg_error_t wait_for_token(struct agent *a, const struct origin *from, const char *shown,
                                  const char *name, const struct keyring_snapshot **snap,
                                  const struct identity **id)
{
    struct prompt_text text = {.title = "latchkey", .cancel = "Cancel"};
    struct looking l = {.a = a, .name = name, .snap = snap, .id = id};
    char *who = from->who != NULL ? requester_describe(from->who) : NULL;
    char *desc = gpgrt_bsprintf("Please insert the token that holds %s%s.\n\nProgram: %s",
                                means_any(name) ? "your signature key" : "the signature key\n",
                                means_any(name) ? "" : shown, who != NULL ? who : "unknown");
    gpg_error_t err;

    text.desc = desc;
    err = desc == NULL ? gpg_error_from_syserror()
                       : missing_token_wait(a, from, &text, WAIT_S, look_again, &l);
    gpgrt_free(who);
    gpgrt_free(desc);
    return err;
}

/* Why there was none, for people. ERR is what asking for the token led to. */
static char *tell_missing(const struct agent *a, gpg_error_t err, const char *shown)
{
    const char *what = shown[0] != '\0' ? shown : "signature key";

    if (!a->owns_hardware)
        return gpgrt_bsprintf("%s: this agent serves software keys only, for another one of yours "
                              "holds the hardware (latchkey status)",
                              what);
    switch (gpg_err_code(err)) {
    case GPG_ERR_AMBIGUOUS:
        return gpgrt_bsprintf("%s: several signature keys fit; name one by its fingerprint "
                              "(latchkey keys shows them)",
                              shown[0] != '\0' ? shown : "no key was named");
    case GPG_ERR_NO_PIN_ENTRY:
        return gpgrt_bsprintf("%s: no token that is plugged in holds this signature key, and no "
                              "dialog can ask for it (latchkey keys shows the keys that are there)",
                              what);
    case GPG_ERR_TIMEOUT:
        return gpgrt_bsprintf("%s: no token with this signature key was plugged in within %d s",
                              what, WAIT_S);
    default:
        return gpgrt_bsprintf("%s: no token that is plugged in holds this signature key "
                              "(latchkey keys shows those that are there)",
                              what);
    }
}

/* --- the whole -------------------------------------------------------------------------------------------------------------- */

/* What needs no dialog to be known. NO_SECKEY without a text: a token may bring it. */
static gpg_error_t look_closely(struct agent *a, const char *shown, const char *name,
                                const struct keyring_snapshot **snap, const struct identity **id,
                                char **error_text)
{
    const struct identity *other;
    gpg_error_t err = look(a, name, snap, id);

    if (gpg_err_code(err) == GPG_ERR_AMBIGUOUS)
        *error_text = tell_missing(a, err, shown);
    if (gpg_err_code(err) != GPG_ERR_NO_SECKEY)
        return err;
    other = *snap != NULL ? find_other(*snap, name) : NULL;
    if (other != NULL) {
        *error_text = gpgrt_bsprintf("%s is there, but it is no OpenPGP signature key (%s)", shown,
                                     other->comment != NULL ? other->comment : "it has no name");
        return gpg_error(GPG_ERR_WRONG_KEY_USAGE);
    }
    if (!names_a_key(name)) {
        *error_text = gpgrt_bsprintf(
            "\"%s\" names no key: there is no keyring to look names up in, so give an OpenPGP "
            "fingerprint or key id, a keygrip or TOKEN/SLOT (latchkey keys shows them)",
            shown);
        return err;
    }
    if (lock_is_passphrase_locked(a->lock)) {
        *error_text = gpgrt_strdup("locked by ssh-add -x: unlock with ssh-add -X");
        return gpg_error(GPG_ERR_LOCKED);
    }
    if (!a->owns_hardware)
        *error_text = tell_missing(a, err, shown);
    return err;
}

gpg_error_t signing_key_get(struct agent *a, const struct origin *from, const char *name,
                            const struct keyring_snapshot **snap, const struct identity **id,
                            char **error_text)
{
    char *normal = normal_name(name);
    char *shown = text_clean(name != NULL ? name : "", name != NULL ? strlen(name) : 0, 80);
    gpg_error_t err;

    if (normal == NULL || shown == NULL) {
        err = gpg_error_from_syserror();
        goto out;
    }
    hotplug_settle_all(a->hotplug, SETTLE_MS); /* a fresh agent has not seen every reader yet */
    err = look_closely(a, shown, normal, snap, id, error_text);
    if (gpg_err_code(err) != GPG_ERR_NO_SECKEY || *error_text != NULL)
        goto out;
    err = wait_for_token(a, from, shown, normal, snap, id);
    if (err == 0)
        goto out;
    *error_text = tell_missing(a, err, shown);
    /* Nobody could be asked, or nobody came: the key is simply not there. */
    if (gpg_err_code(err) == GPG_ERR_NO_PIN_ENTRY || gpg_err_code(err) == GPG_ERR_TIMEOUT)
        err = gpg_error(GPG_ERR_NO_SECKEY);
out:
    gpgrt_free(normal);
    gpgrt_free(shown);
    return err;
}
