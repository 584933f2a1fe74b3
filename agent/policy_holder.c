/* The policy in force, and what has to happen before another one is. */
#include "agent/policy_holder.h"

#include "agent/audit.h"
#include "agent/prompt.h"
#include "agent/wait.h"
#include "proto/git_object.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHOWN_LINES 24u
#define SHOWN_CHARS 100u

static struct policy_paths paths_of(const struct policy_holder *h)
{
    return (struct policy_paths){.admin_file = h->admin_file,
                                 .admin_dir = h->admin_dir,
                                 .user_file = h->user_file,
                                 .home = h->home,
                                 .uid = h->uid};
}

static char *joined(const struct policy_errors *e)
{
    struct buf b = BUF_INIT;

    for (size_t i = 0; i < e->n; i++)
        buf_printf(&b, "%s", e->text[i]);
    return buf_steal_cstr(&b);
}

static char *copy_or_null(const char *s)
{
    return s != NULL ? gpgrt_strdup(s) : NULL;
}

static void set_problem(struct policy_holder *h, char *problem)
{
    pthread_mutex_lock(&h->mutex);
    gpgrt_free(h->problem);
    h->problem = problem;
    pthread_mutex_unlock(&h->mutex);
}

gpg_error_t policy_holder_new(const struct policy_paths *paths, struct policy_holder **out)
{
    struct policy_holder *h = gpgrt_calloc(1, sizeof *h);
    struct policy_errors errors = {0};
    gpg_error_t err;

    if (h == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&h->mutex, NULL);
    h->admin_file = copy_or_null(paths->admin_file);
    h->admin_dir = copy_or_null(paths->admin_dir);
    h->user_file = copy_or_null(paths->user_file);
    h->home = copy_or_null(paths->home);
    h->uid = paths->uid;
    h->inotify_fd = h->wake_fd = -1;
    h->last_wd = -1;
    pthread_mutex_init(&h->load_mutex, NULL);
    err = policy_load(paths, &h->current, &errors);
    if (err != 0) {
        h->problem = errors.n > 0 ? joined(&errors) : gpgrt_strdup(gpg_strerror(err));
        gpgrt_log_error(
            "no valid policy, so every key operation is refused until it is mended:\n%s\n",
            h->problem);
    }
    policy_errors_free(&errors);
    *out = h;
    return 0;
}

void policy_holder_free(struct policy_holder *h)
{
    if (h == NULL)
        return;
    policy_unref(h->current);
    gpgrt_free(h->admin_file);
    gpgrt_free(h->admin_dir);
    gpgrt_free(h->user_file);
    gpgrt_free(h->home);
    gpgrt_free(h->problem);
    gpgrt_free(h->declined);
    pthread_mutex_destroy(&h->mutex);
    pthread_mutex_destroy(&h->load_mutex);
    gpgrt_free(h);
}

struct policy_set *policy_current(struct policy_holder *h)
{
    struct policy_set *p;

    pthread_mutex_lock(&h->mutex);
    p = policy_ref(h->current);
    pthread_mutex_unlock(&h->mutex);
    return p;
}

char *policy_problem(struct policy_holder *h)
{
    char *text;

    pthread_mutex_lock(&h->mutex);
    text = copy_or_null(h->problem);
    pthread_mutex_unlock(&h->mutex);
    return text;
}

/* --- records ------------------------------------------------------------------------------------------------------------ */

void policy_record(struct policy_holder *h, const struct policy_set *p, const char *result,
                   const char *problem)
{
    json_t *j = json_object(), *files = json_array();

    json_object_set_new(j, "event", json_string("policy"));
    json_object_set_new(j, "result", json_string(result));
    if (p != NULL) {
        json_object_set_new(j, "hash", json_string(policy_hash(p)));
        for (size_t i = 0; policy_files(p)[i] != NULL; i++)
            json_array_append_new(files, json_string(policy_files(p)[i]));
    }
    json_object_set_new(j, "files", files);
    if (problem != NULL)
        json_object_set_new(j, "problem", json_string(problem));
    (void)audit_write(h->a->audit, j);
}

/* --- reload ------------------------------------------------------------------------------------------------------------- */

/* The changes as a dialog can show them: each line made fit, and no pretence that the rest were nothing. */
static void put_changes(struct buf *b, const char *changes)
{
    unsigned shown = 0, more = 0;

    for (const char *line = changes; line != NULL && *line != '\0';) {
        const char *end = strchrnul(line, '\n');

        if (shown < SHOWN_LINES) {
            char *clean = text_clean(line, (size_t)(end - line), SHOWN_CHARS);

            buf_printf(b, "%s\n", clean != NULL ? clean : "?");
            gpgrt_free(clean);
            shown++;
        } else {
            more++;
        }
        line = *end == '\n' ? end + 1 : end;
    }
    if (more > 0)
        buf_printf(b, "... and %u more lines that are not shown here: look at the file first.\n",
                   more);
}

/* Where the agent itself was started. */
static struct requester own_place(const struct policy_holder *h)
{
    return (struct requester){.pid = getpid(),
                              .uid = h->uid,
                              .pidfd = -1,
                              .session = -1,
                              .login_session = -1,
                              .tty = getenv("GPG_TTY"),
                              .display = getenv("DISPLAY"),
                              .wayland_display = getenv("WAYLAND_DISPLAY"),
                              .xauthority = getenv("XAUTHORITY"),
                              .dbus = getenv("DBUS_SESSION_BUS_ADDRESS"),
                              .term = getenv("TERM"),
                              .pinentry_user_data = getenv("PINENTRY_USER_DATA")};
}

static bool person_agrees(struct policy_holder *h, const struct reload *r,
                          const struct policy_set *now, const struct policy_set *next)
{
    struct requester self = own_place(h);
    struct prompt_text text = {.title = "latchkey", .ok = "Use it", .cancel = "Keep the old one"};
    struct buf desc = BUF_INIT;
    char *changes = NULL;
    bool loosens = policy_loosens(now, next, &changes);
    struct wait w;
    gpg_error_t err;

    buf_printf(&desc, "Your latchkey policy was changed.\n%s\n\n",
               loosens ? "IT DEMANDS LESS than before somewhere."
                       : "It demands nothing less than before.");
    put_changes(&desc, changes);
    buf_printf(&desc, "\nUse the new policy?");
    text.desc = buf_cstr(&desc);
    err = text.desc != NULL ? wait_begin(h->a->waits, &w, r->client_fd, 60) : buf_err(&desc);
    if (err == 0) {
        /* Not where the asker likes: a program could agree with itself on a terminal of its own. */
        err = prompt_confirm(h->a->prompt, &w, &self, &text);
        if (gpg_err_code(err) == GPG_ERR_NO_PIN_ENTRY && r->who != NULL)
            err = prompt_confirm(h->a->prompt, &w, r->who, &text);
        wait_end(&w);
    }
    if (err != 0)
        gpgrt_log_info("the changed policy is not used: %s\n", gpg_strerror(err));
    gpgrt_free(changes);
    buf_free(&desc);
    return err == 0;
}

/* Takes over NEXT. */
static void swap_in(struct policy_holder *h, struct policy_set *next)
{
    struct policy_set *old;

    pthread_mutex_lock(&h->mutex);
    old = h->current;
    h->current = next;
    pthread_mutex_unlock(&h->mutex);
    policy_unref(old);
    gpgrt_log_info("policy %.12s in force\n", policy_hash(next));
    policy_record(h, next, "loaded", NULL);
}

/* The floor waits for nobody: what the administrator says now, with the person's part as it was. */
static void swap_in_admins_part(struct policy_holder *h, const struct policy_set *admins)
{
    struct policy_set *now = policy_current(h), *joined = NULL;

    if (now != NULL && policy_join(admins, now, &joined) == 0) {
        if (strcmp(policy_hash(joined), policy_hash(now)) != 0)
            swap_in(h, joined);
        else
            policy_unref(joined);
    }
    policy_unref(now);
}

static void reject(struct policy_holder *h, bool have_old, const struct policy_errors *errors,
                   gpg_error_t err)
{
    char *problem = errors->n > 0 ? joined(errors) : gpgrt_strdup(gpg_strerror(err));
    bool new_one;

    pthread_mutex_lock(&h->mutex);
    new_one = h->problem == NULL || problem == NULL || strcmp(h->problem, problem) != 0;
    pthread_mutex_unlock(&h->mutex);
    if (new_one) {
        gpgrt_log_error("the changed policy cannot be used%s:\n%s\n",
                        have_old ? ", the old one stays" : "", problem != NULL ? problem : "");
        policy_record(h, NULL, "rejected", problem);
    }
    set_problem(h, problem);
}

/* A broken file of the person's does not hold the administrator's up. */
static void load_admins_part(struct policy_holder *h)
{
    struct policy_paths paths = paths_of(h);
    struct policy_errors errors = {0};
    struct policy_set *admins = NULL;

    paths.user_file = NULL;
    if (policy_load(&paths, &admins, &errors) == 0)
        swap_in_admins_part(h, admins);
    policy_unref(admins);
    policy_errors_free(&errors);
}

/* NOW is in force, NEXT differs from it in the person's part. */
static void judge_change(struct policy_holder *h, const struct reload *r, struct policy_set *now,
                         struct policy_set *next)
{
    bool declined = h->declined != NULL && strcmp(h->declined, policy_person_hash(next)) == 0;

    if ((!declined || r->asked) && person_agrees(h, r, now, next)) {
        swap_in(h, policy_ref(next));
        set_problem(h, NULL);
        return;
    }
    if (!declined) {
        policy_record(h, next, "declined", NULL);
        gpgrt_free(h->declined);
        h->declined = gpgrt_strdup(policy_person_hash(next));
    }
    set_problem(h, gpgrt_strdup("the policy file was changed, and nobody agreed to the change: "
                                "the old policy stays in force. To be asked again, run: "
                                "latchkey reload\n"));
}

void policy_load_again(struct policy_holder *h, const struct reload *r)
{
    struct policy_paths paths = paths_of(h);
    struct policy_errors errors = {0};
    struct policy_set *next = NULL, *now;
    gpg_error_t err;

    pthread_mutex_lock(&h->load_mutex);
    now = policy_current(h);
    err = policy_load(&paths, &next, &errors);
    if (err != 0) {
        reject(h, now != NULL, &errors, err);
        load_admins_part(h);
    } else if (now != NULL && strcmp(policy_person_hash(now), policy_person_hash(next)) != 0 &&
               h->a->settings->reload_confirm) {
        swap_in_admins_part(h, next);
        policy_unref(now);
        now = policy_current(h);
        judge_change(h, r, now, next);
    } else {
        if (now == NULL || strcmp(policy_hash(now), policy_hash(next)) != 0)
            swap_in(h, policy_ref(next));
        gpgrt_free(h->declined);
        h->declined = NULL;
        set_problem(h, NULL);
    }
    pthread_mutex_unlock(&h->load_mutex);
    policy_errors_free(&errors);
    policy_unref(next);
    policy_unref(now);
}

gpg_error_t policy_reload_for(struct policy_holder *h, const struct requester *who, int client_fd,
                              char **problem)
{
    const struct reload r = {.asked = true, .who = who, .client_fd = client_fd};

    policy_load_again(h, &r);
    policy_watch_wake(h); /* there may be new files to watch */
    *problem = policy_problem(h);
    return *problem != NULL ? gpg_error(GPG_ERR_NO_POLICY_MATCH) : 0;
}
