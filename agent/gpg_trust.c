/* Which root certificates gpgsm may trust: LISTTRUSTED, ISTRUSTED, MARKTRUSTED. The files are read each time. */
#include "agent/gpg_dialog.h"
#include "agent/gpg_trustlist.h"
#include "agent/replace_file.h"
#include "proto/git_object.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "trustlist.txt"
#define MAX_FILE  (1u << 20)
#define FPR_CHARS (2 * GPG_TRUST_FPR)

/* --- files ------------------------------------------------------------------------------------------------------------------------ */

static gpg_error_t read_all(int fd, struct buf *out)
{
    uint8_t chunk[4096];
    ssize_t n;

    while ((n = read(fd, chunk, sizeof chunk)) > 0 || (n < 0 && errno == EINTR)) {
        if (n > 0)
            buf_put(out, chunk, (size_t)n);
        if (out->len > MAX_FILE)
            return gpg_error(GPG_ERR_TOO_LARGE);
    }
    return n < 0 ? gpg_error_from_syserror() : buf_err(out);
}

static gpg_error_t read_file(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    gpg_error_t err;

    if (fd < 0)
        return gpg_error_from_syserror();
    err = read_all(fd, out);
    close(fd);
    return err;
}

static char *user_path(const struct gpg_session *s)
{
    return gpgrt_bsprintf("%s/" FILE_NAME, s->conf->home);
}

/* sys-trustlist-name: a name in /etc/gnupg, or a path. */
static char *system_path(const struct gpg_session *s)
{
    const char *name = s->conf->sys_trustlist, *home = getenv("HOME");

    if (name != NULL && strncmp(name, "~/", 2) == 0 && home != NULL)
        return gpgrt_bsprintf("%s/%s", home, name + 2);
    if (name != NULL && strchr(name, '/') != NULL)
        return gpgrt_strdup(name);
    return gpgrt_bsprintf("/etc/gnupg/%s", name != NULL ? name : FILE_NAME);
}

struct lists {
    char *user, *system;
    struct buf user_text, system_text;
};

static void lists_clear(struct lists *l)
{
    gpgrt_free(l->user);
    gpgrt_free(l->system);
    buf_free(&l->user_text);
    buf_free(&l->system_text);
}

/* The person's list if there is one, with the administrator's in it where it says so; else the administrator's alone. */
static gpg_error_t read_lists(struct gpg_session *s, struct gpg_trustlist *out)
{
    struct lists l = {.user = user_path(s), .system = system_path(s)};
    struct gpg_trust_file user, system;
    gpg_error_t err, no_user, no_system;

    if (l.user == NULL || l.system == NULL) {
        lists_clear(&l);
        return gpg_error(GPG_ERR_ENOMEM);
    }
    no_user =
        s->conf->no_user_trustlist ? gpg_error(GPG_ERR_ENOENT) : read_file(l.user, &l.user_text);
    no_system = read_file(l.system, &l.system_text);
    user = (struct gpg_trust_file){.name = l.user, .text = buf_rd(&l.user_text)};
    system =
        (struct gpg_trust_file){.name = l.system, .text = buf_rd(&l.system_text), .system = true};
    if (no_user == 0)
        err = gpg_trustlist_parse(&user, no_system == 0 ? &system : NULL, out);
    else if (gpg_err_code(no_user) != GPG_ERR_ENOENT)
        err = no_user;
    else if (no_system == 0)
        err = gpg_trustlist_parse(&system, NULL, out);
    else
        err = gpg_err_code(no_system) == GPG_ERR_ENOENT ? 0 : no_system;
    if (err != 0) {
        gpgrt_log_error("the list of trusted root certificates cannot be used: %s\n",
                        gpg_strerror(err));
        gpg_trustlist_clear(out);
    }
    lists_clear(&l);
    return err;
}

/* --- asking ------------------------------------------------------------------------------------------------------------------------ */

/* 40 hex digits at the start of LINE, or the 32 of an MD5 fingerprint; *END: what follows. */
static bool take_fingerprint(const char *line, uint8_t fpr[GPG_TRUST_FPR], const char **end)
{
    char hex[FPR_CHARS + 1] = "00000000";
    size_t n = strspn(line, "0123456789abcdefABCDEF"), at = FPR_CHARS - n;
    struct buf b = BUF_INIT;
    bool good = n == FPR_CHARS || n == 32;

    if (good) {
        memcpy(hex + at, line, n);
        hex[FPR_CHARS] = '\0';
        good = hex_decode(hex, &b) == 0 && b.len == GPG_TRUST_FPR;
    }
    if (good) {
        memcpy(fpr, b.data, GPG_TRUST_FPR);
        *end = line + n;
    }
    buf_free(&b);
    return good;
}

static gpg_error_t tell_flags(struct gpg_session *s, const struct gpg_trusted *t)
{
    const struct {
        const char *word;
        bool is;
    } flags[] = {{"relax", t->relax}, {"cm", t->cm}, {"qual", t->qual}, {"de-vs", t->de_vs}};
    gpg_error_t err = 0;

    for (size_t i = 0; err == 0 && i < sizeof flags / sizeof flags[0]; i++)
        if (flags[i].is)
            err = gpg_status(s, "TRUSTLISTFLAG", "%s", flags[i].word);
    return err;
}

static gpg_error_t cmd_istrusted(struct gpg_session *s, char *line)
{
    struct gpg_trustlist list = {0};
    const struct gpg_trusted *t;
    uint8_t fpr[GPG_TRUST_FPR];
    const char *end;
    gpg_error_t err;

    if (!take_fingerprint(line, fpr, &end) || *end != '\0')
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "invalid fingerprint");
    err = read_lists(s, &list);
    if (err != 0)
        return gpg_map_error(s, err, false);
    t = gpg_trustlist_find(&list, fpr);
    if (t != NULL)
        err = tell_flags(s, t);
    if (err == 0 && (t == NULL || t->disabled))
        err = gpg_fail(s, GPG_ERR_NOT_TRUSTED, NULL);
    gpg_trustlist_clear(&list);
    return err;
}

static gpg_error_t cmd_listtrusted(struct gpg_session *s, char *line)
{
    struct gpg_trustlist list = {0};
    gpg_error_t err = read_lists(s, &list);

    (void)line;
    if (err != 0)
        return gpg_map_error(s, err, false);
    for (size_t i = 0; err == 0 && i < list.n; i++) {
        const struct gpg_trusted *t = &list.items[i];
        char *hex = hex_encode(t->fpr, sizeof t->fpr), text[FPR_CHARS + 4];

        if (hex == NULL) {
            err = gpg_error_from_syserror();
            break;
        }
        snprintf(text, sizeof text, "%s %c\n", hex,
                 t->for_smime && t->for_pgp ? '*'
                 : t->for_smime             ? 'S'
                                            : 'P');
        gpgrt_free(hex);
        if (!t->disabled)
            err = gpg_send(s, rd_of(text, strlen(text)), false);
    }
    gpg_trustlist_clear(&list);
    return err;
}

/* --- marking ----------------------------------------------------------------------------------------------------------------------- */

/* A distinguished name with a line a part; SEP stands between them. New string. */
static char *put_apart(const char *name, const char *sep)
{
    char *clean = text_clean(name, strlen(name), 600);
    struct buf b = BUF_INIT;
    char *out;

    if (clean == NULL)
        return NULL;
    if (clean[0] != '/')
        return clean;
    for (const char *p = clean + 1; *p != '\0'; p++) {
        if (*p == '/')
            buf_put(&b, sep, strlen(sep));
        else
            buf_put_u8(&b, (uint8_t)*p);
    }
    gpgrt_free(clean);
    out = buf_steal_cstr(&b);
    return out;
}

static char *with_colons(const uint8_t fpr[GPG_TRUST_FPR])
{
    struct buf b = BUF_INIT;

    for (size_t i = 0; i < GPG_TRUST_FPR; i++)
        buf_printf(&b, i > 0 ? ":%02X" : "%02X", fpr[i]);
    return buf_steal_cstr(&b);
}

struct mark {
    uint8_t fpr[GPG_TRUST_FPR];
    char flag;
    char *name; /* unescaped */
    char *fpr_text;
};

static void mark_clear(struct mark *m)
{
    gpgrt_free(m->name);
    gpgrt_free(m->fpr_text);
}

static gpg_error_t parse_mark(struct gpg_session *s, const char *line, struct mark *m)
{
    const char *p;

    if (!take_fingerprint(line, m->fpr, &p) || !isspace((unsigned char)*p))
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "invalid fingerprint");
    p += strspn(p, " \t");
    m->flag = *p;
    if ((m->flag != 'S' && m->flag != 'P') || !isspace((unsigned char)p[1]))
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "invalid flag - must be P or S");
    p++;
    p += strspn(p, " \t");
    m->name = gpg_unescape(p, false);
    m->fpr_text = with_colons(m->fpr);
    return m->name != NULL && m->fpr_text != NULL ? 0 : gpg_error(GPG_ERR_ENOMEM);
}

/* Two questions; a No to one of them is *YES false, anything else that is no Yes an error. */
static gpg_error_t ask_trust(struct gpg_session *s, const struct mark *m, bool *yes)
{
    char *name = put_apart(m->name, "\n   ");
    char *trust = name != NULL ? gpgrt_bsprintf("Do you ultimately trust\n  \"%s\"\nto correctly "
                                                "certify user certificates?",
                                                name)
                               : NULL;
    char *verify = name != NULL
                       ? gpgrt_bsprintf("Please verify that the certificate identified as:\n  "
                                        "\"%s\"\nhas the fingerprint:\n  %s",
                                        name, m->fpr_text)
                       : NULL;
    const struct prompt_text questions[] = {{.desc = trust, .ok = "Yes", .notok = "No"},
                                            {.desc = verify, .ok = "Correct", .notok = "Wrong"}};
    struct wait w;
    gpg_error_t err = trust != NULL && verify != NULL ? 0 : gpg_error(GPG_ERR_ENOMEM);

    if (err == 0)
        err = wait_begin(s->a->waits, &w, s->origin.fd, 0);
    if (err == 0) {
        for (size_t i = 0; err == 0 && i < 2; i++)
            err = gpg_confirm(s, &w, &questions[i]);
        wait_end(&w);
    }
    *yes = err == 0;
    gpgrt_free(name);
    gpgrt_free(trust);
    gpgrt_free(verify);
    return gpg_err_code(err) == GPG_ERR_NOT_CONFIRMED ? 0 : err;
}

static void put_entry(struct buf *b, const struct mark *m, bool yes)
{
    static const char header[] =
        "# Root certificates that are trusted, one a line: the fingerprint, then S (S/MIME), P\n"
        "# (OpenPGP) or * for both, and flags. A line that begins with ! is about one that is not\n"
        "# trusted. \"include-default\" stands for the administrator's list.\n"
        "#include-default\n";
    char *name = put_apart(m->name, "\n# ");

    if (b->len == 0)
        buf_put(b, header, sizeof header - 1);
    else if (b->data[b->len - 1] != '\n')
        buf_put_u8(b, '\n');
    buf_printf(b, "\n# %s\n%s%s %c%s\n", name != NULL ? name : "", yes ? "" : "!", m->fpr_text,
               m->flag, m->flag == 'S' ? " relax" : "");
    gpgrt_free(name);
}

static gpg_error_t find_trusted(struct gpg_session *s, const struct mark *m, bool *there,
                                bool *disabled)
{
    struct gpg_trustlist list = {0};
    const struct gpg_trusted *t;
    gpg_error_t err = read_lists(s, &list);

    if (err != 0)
        return gpg_map_error(s, err, false);
    t = gpg_trustlist_find(&list, m->fpr);
    *there = t != NULL && !t->disabled;
    *disabled = t != NULL && t->disabled;
    gpg_trustlist_clear(&list);
    return 0;
}

/* Adds it, unless it has come into the list while the person was asked. */
static gpg_error_t add_mark(struct gpg_session *s, const char *path, const struct mark *m, bool yes)
{
    static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;
    struct buf text = BUF_INIT;
    bool there, disabled;
    gpg_error_t err;

    pthread_mutex_lock(&writing);
    err = find_trusted(s, m, &there, &disabled);
    if (err == 0 && disabled)
        err = gpg_fail(s, GPG_ERR_NOT_TRUSTED, NULL);
    if (err == 0 && !there) {
        err = read_file(path, &text);
        if (gpg_err_code(err) == GPG_ERR_ENOENT)
            err = 0;
        if (err == 0)
            put_entry(&text, m, yes);
        if (err == 0)
            err = buf_err(&text);
        if (err == 0)
            err = replace_file(path, true, buf_rd(&text));
        if (err != 0) {
            gpgrt_log_error("%s: %s\n", path, gpg_strerror(err));
            err = gpg_map_error(s, err, false);
        }
    }
    pthread_mutex_unlock(&writing);
    buf_free(&text);
    return err;
}

/* MARKTRUSTED FPR S|P NAME */
static gpg_error_t cmd_marktrusted(struct gpg_session *s, char *line)
{
    struct mark m = {0};
    char *path = user_path(s);
    bool there = false, disabled = false, yes = false;
    gpg_error_t err = path != NULL ? parse_mark(s, line, &m) : gpg_error_from_syserror();

    if (err == 0 && access(path, W_OK) != 0 && errno != ENOENT)
        err = gpg_fail(s, GPG_ERR_EPERM, NULL);
    if (err == 0)
        err = find_trusted(s, &m, &there, &disabled);
    if (err != 0 || there)
        goto out;
    if (!s->conf->allow_mark_trusted || s->conf->no_user_trustlist)
        err = gpg_fail(s, GPG_ERR_NOT_SUPPORTED, NULL);
    else if (disabled) /* the person's word; gpgsm is not to ask again */
        err = gpg_fail(s, GPG_ERR_NOT_TRUSTED, NULL);
    else
        err = gpg_map_error(s, ask_trust(s, &m, &yes), false);
    if (err == 0)
        err = add_mark(s, path, &m, yes);
    if (err == 0 && !yes)
        err = gpg_map_error(s, gpg_error(GPG_ERR_NOT_CONFIRMED), false);
    if (err == 0)
        gpg_count_event(s->a->gpg, GPG_EVENT_KEY);
out:
    mark_clear(&m);
    gpgrt_free(path);
    return err;
}

const struct gpg_command gpg_trust_commands[] = {
    {"LISTTRUSTED", cmd_listtrusted, false,
     "LISTTRUSTED\n\nThe root certificates that are trusted."},
    {"ISTRUSTED", cmd_istrusted, true,
     "ISTRUSTED <hexstring_with_fingerprint>\n\nIs this root certificate trusted?"},
    {"MARKTRUSTED", cmd_marktrusted, false,
     "MARKTRUSTED <hexstring_with_fingerprint> <flag> <display_name>\n\nAsks whether to trust a "
     "root "
     "certificate."},
    {0},
};
