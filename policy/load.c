/* Files: who may write them, Include, and the set that they make. */
#include "policy/file.h"
#include "policy/rules.h"

#include <errno.h>
#include <gcrypt.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define MAX_DEPTH 16

static bool add_string(char ***list, const char *s)
{
    size_t n = 0;
    char **more;

    while (*list != NULL && (*list)[n] != NULL)
        if (strcmp((*list)[n++], s) == 0)
            return true;
    more = gpgrt_realloc(*list, (n + 2) * sizeof *more);
    if (more == NULL)
        return false;
    *list = more;
    more[n] = gpgrt_strdup(s);
    more[n + 1] = NULL;
    return more[n] != NULL;
}

static void free_strings(char **list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        gpgrt_free(list[i]);
    gpgrt_free(list);
}

struct loading {
    struct policy_set *set;
    struct parser parser;
    uid_t uid;
    gcry_md_hd_t hash;
    unsigned depth;
    const char *dir; /* of the file being read */
};

static void load_file(struct loading *ld, const char *path, bool optional);

static void include(void *arg, const struct line *l)
{
    struct loading *ld = arg;

    if (ld->depth >= MAX_DEPTH) {
        report(ld->parser.reporter, l, l->words[0].column,
               "Include goes more than %d files deep: does a file include itself?", MAX_DEPTH);
        return;
    }
    for (size_t i = 1; i < l->n; i++) {
        const char *name = l->words[i].text;
        const char *dir = ld->dir;
        char *path;
        glob_t g;

        if (strncmp(name, "~/", 2) == 0)
            path = gpgrt_bsprintf("%s%s", ld->parser.home != NULL ? ld->parser.home : "", name + 1);
        else
            path = name[0] == '/' ? gpgrt_strdup(name) : gpgrt_bsprintf("%s/%s", dir, name);
        if (path == NULL) {
            ld->parser.reporter->out_of_memory = true;
            return;
        }
        if (glob(path, 0, NULL, &g) == 0) {
            for (size_t j = 0; j < g.gl_pathc; j++)
                load_file(ld, g.gl_pathv[j], false);
            globfree(&g);
        } else if (strpbrk(path, "*?[") == NULL) {
            report(ld->parser.reporter, l, l->words[i].column, "%s: %s", path, strerror(ENOENT));
        }
        gpgrt_free(path);
    }
}

static void load_file(struct loading *ld, const char *path, bool optional)
{
    const char *outer = ld->dir, *slash = strrchr(path, '/');
    char *text = NULL, *dir = NULL, *problem = NULL;
    size_t len = 0;

    if (!add_string(&ld->set->files, path)) {
        ld->parser.reporter->out_of_memory = true;
        return;
    }
    if (!policy_read_file(path, ld->uid, optional, &text, &len, &problem)) {
        if (problem != NULL)
            report_file(ld->parser.reporter, path, "%s", problem);
        gpgrt_free(problem);
        return;
    }
    gcry_md_write(ld->hash, path, strlen(path) + 1);
    gcry_md_write(ld->hash, text, len);
    gcry_md_putc(ld->hash, 0);
    dir = slash != NULL ? gpgrt_bsprintf("%.*s", (int)(slash - path), path) : gpgrt_strdup(".");
    if (dir != NULL) {
        ld->dir = dir;
        ld->depth++;
        parse_text(&ld->parser, path, text, len);
        ld->depth--;
        ld->dir = outer;
    } else {
        ld->parser.reporter->out_of_memory = true;
    }
    gpgrt_free(dir);
    gpgrt_free(text);
}

static void load_admin_dir(struct loading *ld, const char *dir)
{
    char *pattern = gpgrt_bsprintf("%s/*.conf", dir);
    glob_t g;

    if (pattern == NULL || !add_string(&ld->set->files, dir)) {
        ld->parser.reporter->out_of_memory = true;
    } else if (glob(pattern, 0, NULL, &g) == 0) {
        for (size_t i = 0; i < g.gl_pathc; i++)
            load_file(ld, g.gl_pathv[i], false);
        globfree(&g);
    }
    gpgrt_free(pattern);
}

/* Host names without pattern characters: candidates for hashed known_hosts entries. */
static bool collect_hosts(struct policy_set *p, const struct rules *r)
{
    for (size_t i = 0; i < r->n; i++)
        for (size_t j = 0; j < r->blocks[i].ncriteria; j++) {
            const struct criterion *c = &r->blocks[i].criteria[j];
            char *copy, *save = NULL;
            bool ok = true;

            if ((c->kind != CRIT_HOST && c->kind != CRIT_VIA) || c->list == NULL)
                continue;
            copy = gpgrt_strdup(c->list);
            if (copy == NULL)
                return false;
            for (char *s = strtok_r(copy, ",", &save); s != NULL && ok;
                 s = strtok_r(NULL, ",", &save)) {
                s += *s == '!';
                if (strpbrk(s, "*?") == NULL && strncasecmp(s, "SHA256:", 7) != 0)
                    ok = add_string(&p->hosts, s);
            }
            gpgrt_free(copy);
            if (!ok)
                return false;
        }
    return true;
}

static gpg_error_t finish(struct loading *ld, struct policy_set **out)
{
    struct reporter *r = ld->parser.reporter;
    struct policy_set *p = ld->set;
    const unsigned char *digest;

    ld->parser.rules = &p->user;
    ld->parser.include = NULL;
    parse_text(&ld->parser, "built-in", policy_tail, strlen(policy_tail));
    p->has_admin = p->admin.n > 0;
    if (!r->out_of_memory && (!collect_hosts(p, &p->admin) || !collect_hosts(p, &p->user)))
        r->out_of_memory = true;
    digest = gcry_md_read(ld->hash, GCRY_MD_SHA256);
    for (size_t i = 0; i < 32; i++)
        snprintf(p->hash + 2 * i, 3, "%02x", digest[i]);
    gcry_md_close(ld->hash);
    if (r->out_of_memory || r->errors->n > 0) {
        policy_unref(p);
        return gpg_error(r->out_of_memory ? GPG_ERR_ENOMEM : GPG_ERR_SYNTAX);
    }
    *out = p;
    return 0;
}

static gpg_error_t begin(struct loading *ld, struct reporter *r, const char *home)
{
    gpg_error_t err;

    *ld = (struct loading){.set = gpgrt_calloc(1, sizeof *ld->set)};
    if (ld->set == NULL)
        return gpg_error_from_syserror();
    ld->set->refs = 1;
    ld->parser = (struct parser){.home = home, .reporter = r, .arg = ld};
    err = gcry_md_open(&ld->hash, GCRY_MD_SHA256, 0);
    if (err != 0)
        policy_unref(ld->set);
    return err;
}

gpg_error_t policy_load(const struct policy_paths *paths, struct policy_set **out,
                        struct policy_errors *errors)
{
    struct reporter r = {.errors = errors};
    struct loading ld;
    gpg_error_t err = begin(&ld, &r, paths->home);

    if (err != 0)
        return err;
    ld.uid = paths->uid;
    ld.parser.include = include;
    ld.parser.rules = &ld.set->admin;
    if (paths->admin_file != NULL)
        load_file(&ld, paths->admin_file, true);
    if (paths->admin_dir != NULL)
        load_admin_dir(&ld, paths->admin_dir);
    ld.parser.rules = &ld.set->user;
    if (paths->user_file != NULL)
        load_file(&ld, paths->user_file, true);
    return finish(&ld, out);
}

gpg_error_t policy_load_text(const char *name, const char *text, size_t len, const char *home,
                             struct policy_set **out, struct policy_errors *errors)
{
    struct reporter r = {.errors = errors};
    struct loading ld;
    gpg_error_t err = begin(&ld, &r, home);

    if (err != 0)
        return err;
    gcry_md_write(ld.hash, text, len);
    ld.parser.rules = &ld.set->user;
    parse_text(&ld.parser, name, text, len);
    return finish(&ld, out);
}

struct policy_set *policy_ref(struct policy_set *p)
{
    if (p != NULL)
        __atomic_add_fetch(&p->refs, 1, __ATOMIC_RELAXED);
    return p;
}

void policy_unref(struct policy_set *p)
{
    if (p == NULL || __atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    rules_free(&p->admin);
    rules_free(&p->user);
    free_strings(p->files);
    free_strings(p->hosts);
    gpgrt_free(p);
}

const char *policy_hash(const struct policy_set *p)
{
    return p->hash;
}

static const char *const nothing[] = {NULL};

const char *const *policy_files(const struct policy_set *p)
{
    return p->files != NULL ? (const char *const *)p->files : nothing;
}

const char *const *policy_literal_hosts(const struct policy_set *p)
{
    return p->hosts != NULL ? (const char *const *)p->hosts : nothing;
}
