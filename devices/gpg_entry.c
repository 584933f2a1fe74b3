/* From a key file to its description. */
#include "devices/gpg_entry.h"

#include "devices/gpg_protect.h"
#include "devices/gpg_transfer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define MAX_TEXT 200u /* of a label or comment: it goes into one line with the key */

void gpg_entry_unref(struct gpg_entry *e)
{
    if (e == NULL || __atomic_sub_fetch(&e->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    buf_free(&e->pub);
    key_unref(e->key);
    gpgrt_free(e->comment);
    gpgrt_free(e->label);
    gpgrt_free(e->serial);
    gpgrt_free(e->ref);
    gpgrt_free(e);
}

static char *text_of(struct rd v)
{
    size_t n = v.n < MAX_TEXT ? v.n : MAX_TEXT;
    char *s = v.p != NULL && memchr(v.p, 0, n) == NULL ? gpgrt_malloc(n + 1) : NULL;

    if (s != NULL) {
        memcpy(s, v.p, n);
        s[n] = '\0';
    }
    return s;
}

static int64_t parse_time(const char *s)
{
    struct tm tm = {0};
    const char *end = s != NULL ? strptime(s, "%Y%m%dT%H%M%S", &tm) : NULL;

    return end != NULL && *end == '\0' ? timegm(&tm) : -1;
}

static long parse_ssh(const char *s)
{
    long n;

    if (s == NULL)
        return 0;
    n = strtol(s, NULL, 10);
    if (n == 0)
        return gpg_file_true(s) ? 1 : 0;
    return n < -999 ? -999 : n > 99999 ? 99999 : n;
}

static enum gpg_confirm parse_confirm(const char *s)
{
    if (s != NULL && strcasecmp(s, "restricted") == 0)
        return GPG_CONFIRM_RESTRICTED;
    return gpg_file_true(s) ? GPG_CONFIRM_YES : GPG_CONFIRM_NO;
}

static void read_attributes(const struct gpg_file *f, struct gpg_entry *e)
{
    const char *label = gpg_file_get(f, "Label", 0), *prompt = gpg_file_get(f, "Prompt", 0);

    if (label != NULL)
        e->label = text_of(rd_of(label, strlen(label)));
    e->created = parse_time(gpg_file_get(f, "Created", 0));
    e->ssh = parse_ssh(gpg_file_get(f, "Use-for-ssh", 0));
    e->confirm = parse_confirm(gpg_file_get(f, "Confirm", 0));
    e->never_prompt = prompt != NULL && strcasecmp(prompt, "no") == 0;
    e->remote_list = gpg_file_true(gpg_file_get(f, "Remote-list", 0));
}

/* A card's word of itself: no blanks, nothing that could be another field. */
static bool is_word(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] <= ' ' || s[i] > '~')
            return false;
    return n > 0 && n < 64;
}

/* Where the key of a stub is: by the first Token attribute, which is authoritative, else by (shadowed t1-v1 (SERIAL REF)). */
static void read_token(const struct gpg_file *f, const struct gpg_key_parts *p, struct gpg_entry *e)
{
    const char *token = gpg_file_get(f, "Token", 0);
    struct rd inside, list, serial, ref;
    size_t n = token != NULL ? strcspn(token, " ") : 0;

    if (token != NULL && is_word(token, n)) {
        const char *at = token + n + strspn(token + n, " ");
        size_t m = strcspn(at, " ");

        e->serial = text_of(rd_of(token, n));
        if (is_word(at, m))
            e->ref = text_of(rd_of(at, m));
        return;
    }
    if (canon_atom(p->secret, 1, &ref) != 0 || !rd_is(ref, "t1-v1") ||
        canon_enter(p->secret, &inside) != 0 || canon_next(&inside, NULL, NULL) != 0 ||
        canon_next(&inside, NULL, NULL) != 0 || canon_next(&inside, &list, NULL) != 0 ||
        canon_atom(list, 0, &serial) != 0 || canon_atom(list, 1, &ref) != 0 ||
        !is_word((const char *)ref.p, ref.n) || serial.n == 0 || serial.n > 32)
        return;
    e->serial = hex_encode(serial.p, serial.n);
    e->ref = text_of(ref);
}

static enum gpg_state state_of(const struct gpg_key_parts *p)
{
    struct rd transfer;
    bool is_protected;

    switch (p->form) {
    case GPG_KEY_CLEAR:
        return GPG_CLEAR;
    case GPG_KEY_PROTECTED:
        return GPG_PROTECTED;
    case GPG_KEY_SHADOWED:
        return GPG_SHADOWED;
    case GPG_KEY_NATIVE:
        if (gpg_native_inner(p, &transfer) == 0 &&
            gpg_transfer_look(transfer, NULL, &is_protected) == 0)
            return is_protected ? GPG_PROTECTED : GPG_CLEAR;
        break;
    }
    return GPG_UNKNOWN;
}

/* The numbers, as gpg and as the broker know them. */
static gpg_error_t read_public(const struct gpg_key_parts *p, const char *grip, struct gpg_entry *e)
{
    gcry_sexp_t sexp = NULL;
    uint8_t own[20];
    char *hex = NULL;
    gpg_error_t err = gpg_key_public(p, &e->pub);

    if (err == 0)
        err = gpg_key_grip(buf_rd(&e->pub), own);
    if (err == 0 && (hex = hex_encode(own, sizeof own)) == NULL)
        err = gpg_error_from_syserror();
    /* Asked for by one name, it would sign as another. */
    if (err == 0 && strcmp(hex, grip) != 0)
        err = gpg_error(GPG_ERR_WRONG_NAME);
    if (err == 0)
        err = gcry_sexp_sscan(&sexp, NULL, (const char *)e->pub.data, e->pub.len);
    /* A point that is not on its curve and the like: for other programs to see, not for use. */
    if (err == 0)
        (void)key_from_sexp(sexp, false, &e->key);
    gcry_sexp_release(sexp);
    gpgrt_free(hex);
    return err;
}

gpg_error_t gpg_entry_new(const char *grip, const struct gpg_file *f, const struct gpg_file_id *id,
                          struct gpg_entry **out)
{
    struct gpg_entry *e = gpgrt_calloc(1, sizeof *e);
    struct gpg_key_parts p;
    struct rd comment;
    gpg_error_t err;

    if (e == NULL)
        return gpg_error_from_syserror();
    e->refs = 1;
    memcpy(e->grip, grip, GPG_GRIP);
    e->file = *id;
    e->state = GPG_UNKNOWN;
    e->created = -1;
    if (f == NULL) {
        *out = e;
        return 0;
    }
    read_attributes(f, e);
    err = gpg_key_split(gpg_file_key(f), &p);
    if (err == 0)
        err = read_public(&p, grip, e);
    if (err == 0) {
        e->algo = p.algo;
        e->state = state_of(&p);
        if (canon_value(p.rest, "comment", &comment) == 0)
            e->comment = text_of(comment);
        if (e->state == GPG_SHADOWED)
            read_token(f, &p, e);
    } else {
        buf_free(&e->pub);
    }
    *out = e;
    return err;
}
