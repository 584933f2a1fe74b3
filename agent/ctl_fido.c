#include "agent/ctl_fido.h"

#include "agent/broker.h"
#include "agent/broker_fido.h"
#include "agent/resident.h"
#include "proto/sk_file.h"
#include "proto/token_protocol.h"

#include <string.h>

struct call {
    struct agent *a;
    const struct origin *from;
    const char *line;
    json_t *out;
    char **text;
};

static json_t *take_text(char *s)
{
    json_t *j = s != NULL ? json_string(s) : json_null();

    gpgrt_free(s);
    return j != NULL ? j : json_null();
}

static gpg_error_t field_or_missing(const struct call *c, const char *name, char **out)
{
    gpg_error_t err = field_get(c->line, name, out);

    if (err == 0 && *out == NULL)
        err = gpg_error(GPG_ERR_MISSING_VALUE);
    return err;
}

/* --- presence ------------------------------------------------------------------------------------------- */

static gpg_error_t do_enroll(struct call *c)
{
    char *name = NULL;
    gpg_error_t err = field_or_missing(c, "name", &name);

    if (err == 0)
        err = broker_fido_enroll(c->a, c->from, name, c->text);
    gpgrt_free(name);
    return err;
}

static json_t *entry_json(const struct sk_entry *e)
{
    json_t *j = json_object();

    json_object_set_new(j, "name", json_string(e->label));
    json_object_set_new(j, "fingerprint", json_string(e->key->fpr));
    json_object_set_new(j, "application", json_string(e->key->sk_application));
    return j;
}

static gpg_error_t do_enrolled(struct call *c)
{
    struct sk_list *s = sk_book_get(c->a->presence);

    c->out = json_array();
    for (size_t i = 0; s != NULL && i < s->n; i++)
        json_array_append_new(c->out, entry_json(&s->list[i]));
    sk_list_unref(s);
    return 0;
}

static gpg_error_t do_forget(struct call *c)
{
    char *name = NULL;
    gpg_error_t err = field_or_missing(c, "name", &name);

    if (err == 0)
        err = sk_book_remove(c->a->presence, name, NULL);
    if (gpg_err_code(err) == GPG_ERR_NOT_FOUND)
        *c->text = gpgrt_bsprintf("no token is enrolled by the name %s", name);
    gpgrt_free(name);
    return err;
}

/* --- what is there ----------------------------------------------------------------------------------------- */

static json_t *split(char *list)
{
    json_t *j = json_array();
    char *save = NULL;

    for (char *one = list != NULL ? strtok_r(list, ",", &save) : NULL; one != NULL;
         one = strtok_r(NULL, ",", &save))
        json_array_append_new(j, json_string(one));
    gpgrt_free(list);
    return j;
}

static gpg_error_t add_device(void *arg, const char *fields)
{
    static const char *const flags[] = {"fido2", "pin", "uv", "manage"};
    static const char *const numbers[] = {"tries", "firmware", "min-pin"};
    static const char *const texts[] = {"path", "aaguid", "problem"};
    static const char *const lists[] = {"versions", "extensions", "options"};
    json_t *j = json_object();
    char *s = NULL;
    long n;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        s = NULL;
        if (field_get(fields, texts[i], &s) == 0)
            json_object_set_new(j, texts[i], take_text(s));
    }
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        json_object_set_new(j, flags[i],
                            json_boolean(field_get_int(fields, flags[i], 0, &n) == 0 && n != 0));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        json_object_set_new(j, numbers[i],
                            field_get_int(fields, numbers[i], -1, &n) == 0 && n >= 0
                                ? json_integer(n)
                                : json_null());
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        s = NULL;
        if (field_get(fields, lists[i], &s) == 0)
            json_object_set_new(j, lists[i], split(s));
    }
    json_array_append_new(arg, j);
    return 0;
}

static gpg_error_t do_info(struct call *c)
{
    const struct fido_task task = {.verb = TOKEN_VERB_DEVICES};
    struct buf lines = BUF_INIT;
    gpg_error_t err = broker_fido(c->a, c->from, &task, &lines, c->text);

    c->out = json_array();
    if (err == 0)
        err = fido_lines(&lines, TOKEN_STATUS_DEVICE, add_device, c->out);
    buf_free(&lines);
    return err;
}

/* --- resident keys --------------------------------------------------------------------------------------------- */

struct listing {
    struct call *c;
    char *label; /* of the token: its model */
};

static gpg_error_t note_model(void *arg, const char *fields)
{
    struct listing *l = arg;

    gpgrt_free(l->label);
    l->label = NULL;
    return field_get(fields, "aaguid", &l->label);
}

/* Remembered and offered; that fails for one key, and the others are there all the same. */
static json_t *keep(struct listing *l, struct fido_credential *f)
{
    const char *label = l->label != NULL && sk_book_name_ok(l->label) ? l->label : "fido";
    struct sk_entry e = {.key = f->key,
                         .handle = f->handle.data,
                         .handle_len = f->handle.len,
                         .flags = f->flags,
                         .label = (char *)(uintptr_t)label};
    json_t *j = entry_json(&e);
    gpg_error_t err = sk_book_add(l->c->a->resident, f->key, buf_rd(&f->handle), f->flags, label);

    if (err == 0 || gpg_err_code(err) == GPG_ERR_EEXIST)
        err = resident_offer(l->c->a, &e);
    json_object_set_new(j, "user", f->user != NULL ? json_string(f->user) : json_null());
    json_object_set_new(j, "verify", json_boolean((f->flags & SK_FLAG_VERIFICATION) != 0));
    json_object_set_new(j, "ssh", take_text(key_to_text(f->key)));
    json_object_set_new(j, "problem", err != 0 ? json_string(gpg_strerror(err)) : json_null());
    return j;
}

static gpg_error_t list_one(void *arg, const char *fields)
{
    struct listing *l = arg;
    struct fido_credential f = {0};
    gpg_error_t err = fido_credential_parse(fields, &f);

    if (err == 0)
        json_array_append_new(l->c->out, keep(l, &f));
    fido_credential_clear(&f);
    return err;
}

static gpg_error_t do_keys(struct call *c)
{
    const struct fido_task task = {.verb = TOKEN_VERB_RESIDENT,
                                   .use = "card-admin",
                                   .use_text = "list the ssh keys that a FIDO token keeps"};
    struct listing l = {.c = c};
    struct buf lines = BUF_INIT;
    gpg_error_t err = broker_fido(c->a, c->from, &task, &lines, c->text);

    c->out = json_array();
    if (err == 0)
        err = fido_lines(&lines, TOKEN_STATUS_DEVICE, note_model, &l);
    if (err == 0)
        err = fido_lines(&lines, TOKEN_STATUS_CREDENTIAL, list_one, &l);
    gpgrt_free(l.label);
    buf_free(&lines);
    return err;
}

/* The remembered key that NAME, a fingerprint, means. */
static const struct sk_entry *find_resident(const struct sk_list *s, const char *name)
{
    for (size_t i = 0; s != NULL && i < s->n; i++)
        if (strcmp(s->list[i].key->fpr, name) == 0)
            return &s->list[i];
    return NULL;
}

static gpg_error_t delete_entry(struct call *c, const struct sk_entry *e)
{
    struct buf args = BUF_INIT, lines = BUF_INIT;
    char *handle = b64_encode(e->handle, e->handle_len);
    char *what =
        gpgrt_bsprintf("Lost:    the key %s for %s\n", e->key->fpr, e->key->sk_application);
    struct fido_task task = {.verb = TOKEN_VERB_DELRESIDENT,
                             .use = "card-admin",
                             .use_text = "delete an ssh key from a FIDO token",
                             .what = what,
                             .confirm = true};
    gpg_error_t err = handle != NULL && what != NULL ? 0 : gpg_error_from_syserror();

    if (err == 0) {
        field_put(&args, "handle", handle);
        task.args = buf_cstr(&args);
        err =
            task.args != NULL ? broker_fido(c->a, c->from, &task, &lines, c->text) : buf_err(&args);
    }
    if (err == 0) {
        (void)sk_book_remove(c->a->resident, NULL, e->key);
        (void)broker_remove_ssh(c->a, c->from, rd_of(e->key->plain, e->key->plain_len));
    }
    gpgrt_free(handle);
    gpgrt_free(what);
    buf_free(&args);
    buf_free(&lines);
    return err;
}

static gpg_error_t do_delete(struct call *c)
{
    struct sk_list *s = sk_book_get(c->a->resident);
    const struct sk_entry *e = NULL;
    char *key = NULL;
    gpg_error_t err = field_or_missing(c, "key", &key);

    if (err == 0 && (e = find_resident(s, key)) == NULL) {
        *c->text =
            gpgrt_strdup("no such resident key is known: latchkey token fido keys lists them");
        err = gpg_error(GPG_ERR_NOT_FOUND);
    }
    if (err == 0)
        err = delete_entry(c, e);
    gpgrt_free(key);
    sk_list_unref(s);
    return err;
}

/* --- new keys, the PIN --------------------------------------------------------------------------------------------- */

struct made {
    const char *comment;
    json_t *j;
};

static gpg_error_t tell_made(void *arg, const char *fields)
{
    struct made *m = arg;
    struct fido_credential f = {0};
    gpg_error_t err = fido_credential_parse(fields, &f);
    char *public = NULL;

    if (err == 0) {
        public = key_to_text(f.key);
        json_object_set_new(m->j, "fingerprint", json_string(f.key->fpr));
        json_object_set_new(m->j, "public", take_text(public));
        json_object_set_new(m->j, "private",
                            take_text(sk_file(f.key, f.flags, buf_rd(&f.handle), m->comment)));
    }
    fido_credential_clear(&f);
    return err;
}

/* The fields that are the token's to understand. */
static gpg_error_t copy_fields(const struct call *c, struct buf *args)
{
    static const char *const names[] = {"application", "algo",  "user",    "resident",
                                        "verify",      "force", "no-touch"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *v = NULL;
        gpg_error_t err = field_get(c->line, names[i], &v);

        if (err != 0)
            return err;
        if (v != NULL)
            field_put(args, names[i], v);
        gpgrt_free(v);
    }
    return buf_err(args);
}

static gpg_error_t check_application(struct call *c)
{
    char *application = NULL;
    gpg_error_t err = field_or_missing(c, "application", &application);

    if (err == 0 && strncmp(application, "ssh:", 4) != 0) {
        *c->text = gpgrt_strdup("the application has to begin with \"ssh:\"");
        err = gpg_error(GPG_ERR_INV_VALUE);
    }
    gpgrt_free(application);
    return err;
}

static gpg_error_t do_generate(struct call *c)
{
    struct fido_task task = {.verb = TOKEN_VERB_GENERATE,
                             .use = "generate",
                             .use_text = "make a new ssh key with a FIDO token",
                             .makes = true};
    struct buf args = BUF_INIT, lines = BUF_INIT;
    char *comment = NULL;
    struct made m = {.j = json_object()};
    long force = 0;
    gpg_error_t err = check_application(c);

    if (err == 0)
        err = field_get(c->line, "comment", &comment);
    if (err == 0)
        err = field_get_int(c->line, "force", 0, &force);
    if (err == 0)
        err = copy_fields(c, &args);
    task.args = err == 0 ? buf_cstr(&args) : NULL;
    task.confirm = force != 0;
    if (task.confirm)
        task.what = "Lost:    a key of the same application and user that the token keeps\n";
    if (err == 0)
        err = broker_fido(c->a, c->from, &task, &lines, c->text);
    m.comment = comment != NULL ? comment : "";
    if (err == 0)
        err = fido_lines(&lines, TOKEN_STATUS_CREDENTIAL, tell_made, &m);
    c->out = m.j;
    gpgrt_free(comment);
    buf_free(&args);
    buf_free(&lines);
    return err;
}

static gpg_error_t do_pin(struct call *c)
{
    const struct fido_task task = {.verb = TOKEN_VERB_CHANGEPIN,
                                   .use = "card-admin",
                                   .use_text = "set or change the PIN of a FIDO token"};
    struct buf lines = BUF_INIT;
    gpg_error_t err = broker_fido(c->a, c->from, &task, &lines, c->text);

    buf_free(&lines);
    return err;
}

gpg_error_t ctl_fido(struct agent *a, const struct origin *from, const char *line, json_t **out,
                     char **text)
{
    static const struct {
        const char *name;
        gpg_error_t (*run)(struct call *c);
    } table[] = {{"enroll", do_enroll},     {"enrolled", do_enrolled},
                 {"forget", do_forget},     {"info", do_info},
                 {"keys", do_keys},         {"delete", do_delete},
                 {"generate", do_generate}, {"pin", do_pin}};
    struct call c = {.a = a, .from = from, .line = line, .text = text};
    char *what = NULL;
    gpg_error_t err = field_or_missing(&c, "do", &what);

    *text = NULL;
    *out = NULL;
    if (err == 0)
        err = gpg_error(GPG_ERR_UNKNOWN_COMMAND);
    for (size_t i = 0; what != NULL && i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].name, what) == 0)
            err = table[i].run(&c);
    gpgrt_free(what);
    if (err != 0)
        json_decref(c.out);
    else
        *out = c.out;
    return err;
}
