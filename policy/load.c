/* Files: who may write them, Include, and the set that they make. */
#include "policy/file.h"
#include "policy/rules.h"

#include <errno.h>
#include <gcrypt.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

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

static char **join_strings(char *const *a, char *const *b)
{
    char **list = NULL;
    bool ok = true;

    for (size_t i = 0; a != NULL && a[i] != NULL && ok; i++)
        ok = add_string(&list, a[i]);
    for (size_t i = 0; b != NULL && b[i] != NULL && ok; i++)
        ok = add_string(&list, b[i]);
    if (ok && list == NULL)
        list = gpgrt_calloc(1, sizeof *list);
    if (!ok) {
        free_strings(list);
        return NULL;
    }
    return list;
}

/* --- one side's files ------------------------------------------------------------------------------------ */

struct loading {
    struct part *part;
    struct parser parser;
    uid_t uid;
    gcry_md_hd_t hash;
    unsigned depth;
    const char *dir; /* of the file being read */
};

static void load_file(struct loading *ld, const char *path, bool optional);

static int glob_failed(const char *path, int error)
{
    (void)path;
    return error != ENOENT && error != ENOTDIR;
}

/* Reads what PATTERN fits; false when nothing does. What cannot be looked at is a problem, not nothing. */
static bool load_glob(struct loading *ld, const char *pattern)
{
    glob_t g = {0};
    int rc = glob(pattern, 0, glob_failed, &g);

    if (rc == GLOB_ABORTED)
        report_file(ld->parser.reporter, pattern, "%s", strerror(errno));
    else if (rc == GLOB_NOSPACE)
        ld->parser.reporter->out_of_memory = true;
    for (size_t j = 0; rc == 0 && j < g.gl_pathc; j++)
        load_file(ld, g.gl_pathv[j], false);
    globfree(&g);
    return rc != GLOB_NOMATCH;
}

static void include(void *arg, const struct line *l)
{
    struct loading *ld = arg;

    if (ld->depth >= MAX_DEPTH) {
        report(ld->parser.reporter, l, l->words[0].column,
               "Include goes more than %d files deep: does a file include itself?", MAX_DEPTH);
        return;
    }
    for (size_t i = 1; i < l->n; i++) {
        const char *name = l->words[i].text, *home = ld->parser.sources.home;
        char *path;

        if (strncmp(name, "~/", 2) == 0)
            path = gpgrt_bsprintf("%s%s", home != NULL ? home : "", name + 1);
        else
            path = name[0] == '/' ? gpgrt_strdup(name) : gpgrt_bsprintf("%s/%s", ld->dir, name);
        if (path == NULL) {
            ld->parser.reporter->out_of_memory = true;
            return;
        }
        if (!load_glob(ld, path) && strpbrk(path, "*?[") == NULL)
            report(ld->parser.reporter, l, l->words[i].column, "%s: %s", path, strerror(ENOENT));
        gpgrt_free(path);
    }
}

static void load_file(struct loading *ld, const char *path, bool optional)
{
    const char *outer = ld->dir, *slash = strrchr(path, '/');
    char *text = NULL, *dir = NULL, *problem = NULL;
    size_t len = 0;

    if (!add_string(&ld->part->files, path)) {
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

    if (pattern == NULL || !add_string(&ld->part->files, dir))
        ld->parser.reporter->out_of_memory = true;
    else
        (void)load_glob(ld, pattern);
    gpgrt_free(pattern);
}

/* The key in a file that a rule names belongs to what the rule says. */
static void key_used(void *arg, const char *path, const char *blob)
{
    struct loading *ld = arg;

    if (!add_string(&ld->part->files, path))
        ld->parser.reporter->out_of_memory = true;
    gcry_md_write(ld->hash, path, strlen(path) + 1);
    gcry_md_write(ld->hash, blob, strlen(blob) + 1);
}

static gpg_error_t begin(struct loading *ld, struct reporter *r, const char *home, uid_t uid)
{
    gpg_error_t err;

    *ld = (struct loading){.part = gpgrt_calloc(1, sizeof *ld->part), .uid = uid};
    if (ld->part == NULL)
        return gpg_error_from_syserror();
    ld->part->refs = 1;
    ld->parser = (struct parser){
        .rules = &ld->part->rules,
        .sources = {.home = home, .uid = uid, .used = key_used, .arg = ld},
        .reporter = r,
        .arg = ld,
        .outer = NO_BLOCK,
    };
    err = gcry_md_open(&ld->hash, GCRY_MD_SHA256, 0);
    if (err != 0) {
        gpgrt_free(ld->part);
        ld->part = NULL;
    }
    return err;
}

static struct part *end(struct loading *ld)
{
    memcpy(ld->part->hash, gcry_md_read(ld->hash, GCRY_MD_SHA256), sizeof ld->part->hash);
    gcry_md_close(ld->hash);
    return ld->part;
}

static void part_unref(struct part *p)
{
    if (p == NULL || __atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    rules_free(&p->rules);
    free_strings(p->files);
    gpgrt_free(p);
}

static gpg_error_t load_admin(const struct policy_paths *paths, struct reporter *r,
                              struct part **out)
{
    struct loading ld;
    gpg_error_t err =
        begin(&ld, r, paths != NULL ? paths->home : NULL, paths != NULL ? paths->uid : getuid());

    if (err != 0)
        return err;
    ld.parser.include = include;
    if (paths != NULL && paths->admin_file != NULL)
        load_file(&ld, paths->admin_file, true);
    if (paths != NULL && paths->admin_dir != NULL)
        load_admin_dir(&ld, paths->admin_dir);
    *out = end(&ld);
    return 0;
}

static void put_tail(struct loading *ld)
{
    ld->parser.include = NULL;
    parse_text(&ld->parser, "built-in", policy_tail, strlen(policy_tail));
}

static gpg_error_t load_person(const struct policy_paths *paths, struct reporter *r,
                               struct part **out)
{
    struct loading ld;
    gpg_error_t err = begin(&ld, r, paths->home, paths->uid);

    if (err != 0)
        return err;
    ld.parser.include = include;
    if (paths->user_file != NULL)
        load_file(&ld, paths->user_file, true);
    put_tail(&ld);
    *out = end(&ld);
    return 0;
}

static gpg_error_t load_person_text(const char *name, const char *text, size_t len,
                                    const char *home, struct reporter *r, struct part **out)
{
    struct loading ld;
    gpg_error_t err = begin(&ld, r, home, getuid());

    if (err != 0)
        return err;
    gcry_md_write(ld.hash, text, len);
    parse_text(&ld.parser, name, text, len);
    put_tail(&ld);
    *out = end(&ld);
    return 0;
}

/* --- the set --------------------------------------------------------------------------------------------- */

/* Host names without pattern characters: candidates for hashed known_hosts entries. */
static bool collect_hosts(struct policy_set *p, const struct rules *r)
{
    struct list_item item;

    for (size_t i = 0; i < r->n; i++)
        for (size_t j = 0; j < r->blocks[i].ncriteria; j++) {
            const struct criterion *c = &r->blocks[i].criteria[j];
            const char *list = c->list;

            if ((c->kind != CRIT_HOST && c->kind != CRIT_VIA) || list == NULL)
                continue;
            while (list_next(&list, &item))
                if (strpbrk(item.text, "*?") == NULL && strncasecmp(item.text, "SHA256:", 7) != 0 &&
                    !add_string(&p->hosts, item.text))
                    return false;
        }
    return true;
}

static void put_hex(char *out, const unsigned char *digest)
{
    for (size_t i = 0; i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

/* Takes over both parts. */
static gpg_error_t make_set(struct part *admin, struct part *person, struct policy_set **out)
{
    struct policy_set *p = gpgrt_calloc(1, sizeof *p);
    uint8_t both[64], digest[32];

    if (p == NULL) {
        gpg_error_t err = gpg_error_from_syserror();

        part_unref(admin);
        part_unref(person);
        return err;
    }
    *p = (struct policy_set){
        .admin = admin, .person = person, .has_admin = admin->rules.n > 0, .refs = 1};
    p->files = join_strings(admin->files, person->files);
    if (p->files == NULL || !collect_hosts(p, &admin->rules) || !collect_hosts(p, &person->rules)) {
        policy_unref(p);
        return gpg_error(GPG_ERR_ENOMEM);
    }
    memcpy(both, admin->hash, 32);
    memcpy(both + 32, person->hash, 32);
    gcry_md_hash_buffer(GCRY_MD_SHA256, digest, both, sizeof both);
    put_hex(p->hash, digest);
    put_hex(p->person_hash, person->hash);
    *out = p;
    return 0;
}

static gpg_error_t finish(gpg_error_t err, struct reporter *r, struct part *admin,
                          struct part *person, struct policy_set **out)
{
    if (err == 0 && r->out_of_memory)
        err = gpg_error(GPG_ERR_ENOMEM);
    if (err == 0 && r->errors->n > 0)
        err = gpg_error(GPG_ERR_SYNTAX);
    if (err == 0)
        return make_set(admin, person, out);
    part_unref(admin);
    part_unref(person);
    return err;
}

gpg_error_t policy_load(const struct policy_paths *paths, struct policy_set **out,
                        struct policy_errors *errors)
{
    struct reporter r = {.errors = errors};
    struct part *admin = NULL, *person = NULL;
    gpg_error_t err = load_admin(paths, &r, &admin);

    if (err == 0)
        err = load_person(paths, &r, &person);
    return finish(err, &r, admin, person, out);
}

gpg_error_t policy_load_text(const char *name, const char *text, size_t len, const char *home,
                             struct policy_set **out, struct policy_errors *errors)
{
    struct reporter r = {.errors = errors};
    struct part *admin = NULL, *person = NULL;
    gpg_error_t err = load_admin(NULL, &r, &admin);

    if (err == 0)
        err = load_person_text(name, text, len, home, &r, &person);
    return finish(err, &r, admin, person, out);
}

static struct part *part_ref(struct part *p)
{
    __atomic_add_fetch(&p->refs, 1, __ATOMIC_RELAXED);
    return p;
}

gpg_error_t policy_join(const struct policy_set *admins, const struct policy_set *persons,
                        struct policy_set **out)
{
    return make_set(part_ref(admins->admin), part_ref(persons->person), out);
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
    part_unref(p->admin);
    part_unref(p->person);
    free_strings(p->files);
    free_strings(p->hosts);
    gpgrt_free(p);
}

const char *policy_hash(const struct policy_set *p)
{
    return p->hash;
}

const char *policy_person_hash(const struct policy_set *p)
{
    return p->person_hash;
}

static const char *const nothing[] = {NULL};

const char *const *policy_files(const struct policy_set *p)
{
    return (const char *const *)p->files;
}

const char *const *policy_literal_hosts(const struct policy_set *p)
{
    return p->hosts != NULL ? (const char *const *)p->hosts : nothing;
}
