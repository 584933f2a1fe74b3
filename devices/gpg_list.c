#include "devices/gpg_list.h"

#include "devices/gpg_manage.h"
#include "proto/token_protocol.h"

#include <string.h>

/* Places in ssh's list, as gpg 2.4 orders them: keys that are to come before cards, cards (the broker's), sshcontrol by line,
 * then the others. */
#define PLACE_SSHCONTROL 1001
#define PLACE_OTHERS     200000

struct ssh_use {
    long place; /* 0: none */
    long ttl;
    bool disabled, confirm;
};

static struct ssh_use ssh_use(const struct gpg_entry *e, const struct gpg_ssh_line *lines, size_t n)
{
    struct ssh_use u = {0};

    for (size_t i = 0; i < n; i++)
        if (strcmp(lines[i].grip, e->grip) == 0) {
            u = (struct ssh_use){.place = PLACE_SSHCONTROL + (long)i,
                                 .ttl = lines[i].ttl,
                                 .disabled = lines[i].disabled,
                                 .confirm = lines[i].confirm};
            break;
        }
    if (e->ssh < 0)
        u.place = -e->ssh;
    else if (e->ssh > 0 && (u.place == 0 || u.disabled))
        u.place = PLACE_OTHERS + e->ssh;
    if (e->ssh != 0)
        u.disabled = false;
    return u;
}

static const char *caps_of(const struct gpg_entry *e)
{
    const char *curve = e->key->curve;

    switch (e->algo->pk) {
    case GCRY_PK_DSA:
        return "s";
    case GCRY_PK_ELG:
        return "e";
    case GCRY_PK_RSA:
        return "se";
    default:
        break;
    }
    if (e->key->algo == KEY_ED25519)
        return "s";
    if (e->key->algo == KEY_ECDH)
        return "e";
    if (curve == NULL) { /* one that only libgcrypt knows */
        curve = gcry_pk_get_curve(e->key->sexp, 0, NULL);
        if (curve != NULL && strcmp(curve, "Ed448") == 0)
            return "s";
        if (curve != NULL && strcmp(curve, "X448") == 0)
            return "e";
    }
    return "se"; /* ECDSA's and ECDH's keys look the same */
}

static bool is_usable(const struct gpg_entry *e)
{
    return e->key != NULL && (e->state == GPG_CLEAR || e->state == GPG_PROTECTED);
}

gpg_error_t gpg_put_key_line(struct buf *line, const struct gpg_entry *e,
                             const struct gpg_ssh_line *lines, size_t nlines)
{
    struct ssh_use u = ssh_use(e, lines, nlines);
    const char *comment = e->label != NULL ? e->label : e->comment;
    gpg_error_t err;

    if (!is_usable(e))
        return 0;
    err = driver_put_key(line, e->grip, e->key, caps_of(e), "gpg");
    if (err != 0)
        return err;
    field_put(line, "pin", e->state == GPG_PROTECTED ? "need" : "none");
    field_put(line, "touch", "never");
    if (comment != NULL)
        field_put(line, "comment", comment);
    if (e->created >= 0 && e->created <= UINT32_MAX)
        field_put_int(line, "created", (long)e->created);
    if (u.place != 0 && !u.disabled)
        field_put_int(line, "ssh", u.place);
    if (u.confirm || e->confirm == GPG_CONFIRM_YES)
        field_put_int(line, "confirm", 1);
    return buf_err(line);
}

gpg_error_t gpg_list_learn(struct gpg_keystore *ks, struct buf *out)
{
    struct gpg_ssh_line *lines = NULL;
    struct gpg_entry **list = NULL;
    size_t n = 0, nlines = 0;
    gpg_error_t err = gpg_store_list(ks->store, &list, &n);

    if (err != 0)
        return err;
    /* Not readable, it offers nothing to ssh; the log says why. */
    (void)gpg_sshcontrol_read(gpg_store_home(ks->store), &lines, &nlines);
    buf_printf(out,
               "TOKEN kind=software serial=gpg name=software-gpg label=GnuPG%%20keys soft=1\n");
    for (size_t i = 0; i < n && err == 0; i++) {
        struct buf line = BUF_INIT;

        err = gpg_put_key_line(&line, list[i], lines, nlines);
        if (err == 0 && line.len > 0)
            buf_printf(out, "KEY %s\n", buf_cstr(&line));
        buf_free(&line);
    }
    gpgrt_free(lines);
    gpg_store_list_free(list, n);
    return err != 0 ? err : buf_err(out);
}

/* --- STORED ------------------------------------------------------------------------------------------------------------------- */

static void put_text(struct buf *line, const char *name, const char *value)
{
    if (value != NULL)
        field_put(line, name, value);
}

static bool is_cached(struct gpg_keystore *ks, const struct gpg_entry *e, long realm)
{
    return gpg_cache_has(ks->cache, &(struct gpg_cache_slot){
                                        .id = e->grip, .mode = GPG_CACHE_NORMAL, .realm = realm});
}

static gpg_error_t put_stored(struct gpg_keystore *ks, const struct gpg_entry *e,
                              const struct ssh_use *u, long realm, struct buf *line)
{
    static const char *const states[] = {"clear", "protected", "shadowed", "unknown"};
    char *text = NULL;

    field_put(line, "key", e->grip);
    field_put(line, "state", states[e->state]);
    if (e->pub.len > 0) {
        text = b64_encode(e->pub.data, e->pub.len);
        if (text == NULL)
            return gpg_error_from_syserror();
        field_put(line, "pub", text);
        gpgrt_free(text);
    }
    if (is_cached(ks, e, realm))
        field_put_int(line, "cached", 1);
    put_text(line, "serial", e->serial);
    put_text(line, "ref", e->ref);
    put_text(line, "label", e->label);
    put_text(line, "comment", e->comment);
    if (u->place != 0)
        field_put_int(line, "ssh", u->place);
    if (u->disabled)
        field_put_int(line, "ssh-disabled", 1);
    if (u->ttl != 0)
        field_put_int(line, "ssh-ttl", u->ttl);
    if (e->confirm != GPG_CONFIRM_NO || u->confirm)
        field_put(line, "confirm",
                  e->confirm == GPG_CONFIRM_YES          ? "yes"
                  : e->confirm == GPG_CONFIRM_RESTRICTED ? "restricted"
                                                         : "ssh");
    if (e->never_prompt)
        field_put(line, "prompt", "no");
    if (e->remote_list)
        field_put_int(line, "remote-list", 1);
    return buf_err(line);
}

static gpg_error_t tell_stored(struct gpg_keystore *ks, const struct driver_op *op,
                               const struct gpg_entry *e, const struct gpg_ssh_line *lines,
                               size_t nlines, long realm)
{
    struct ssh_use u = ssh_use(e, lines, nlines);
    struct buf line = BUF_INIT;
    gpg_error_t err = put_stored(ks, e, &u, realm, &line);

    if (err == 0)
        err = buf_cstr(&line) != NULL
                  ? op->io->status(op->io->arg, TOKEN_STATUS_STORED, buf_cstr(&line))
                  : gpg_error(GPG_ERR_ENOMEM);
    buf_free(&line);
    return err;
}

gpg_error_t gpg_stored(void *state, struct driver_op *op, struct buf *result)
{
    struct gpg_keystore *ks = state;
    struct gpg_ssh_line *lines = NULL;
    struct gpg_entry **list = NULL, *one = NULL;
    size_t n = 0, nlines = 0;
    char grip[GPG_GRIP + 1];
    long realm = 0;
    bool all = false;
    gpg_error_t err;

    if ((err = gpg_flag(op->args, "all", &all)) != 0 ||
        (err = field_get_int(op->args, "realm", 0, &realm)) != 0)
        return err;
    if (all)
        err = gpg_store_list(ks->store, &list, &n);
    else if ((err = gpg_op_grip(op, grip)) == 0)
        err = gpg_store_find(ks->store, grip, &one);
    if (err != 0)
        return err;
    (void)gpg_sshcontrol_read(gpg_store_home(ks->store), &lines, &nlines);
    for (size_t i = 0; i < n && err == 0; i++)
        err = tell_stored(ks, op, list[i], lines, nlines, realm);
    if (one != NULL) {
        err = tell_stored(ks, op, one, lines, nlines, realm);
        buf_put_rd(result, buf_rd(&one->pub));
    }
    gpgrt_free(lines);
    gpg_entry_unref(one);
    gpg_store_list_free(list, n);
    return err;
}
