#include "agent/policy_watch.h"

#include "agent/audit.h"
#include "agent/prompt.h"
#include "agent/requester.h"
#include "agent/wait.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define SETTLE_MS 100 /* editors write in several steps */

struct policy_holder {
    pthread_mutex_t mutex;
    char *admin_file, *admin_dir, *user_file, *home;
    uid_t uid;
    struct policy_set *current;
    char *problem;
    char *declined; /* hash of the policy that the person did not agree to */
    /* the watching thread */
    struct agent *a;
    pthread_t thread;
    bool running;
    int inotify_fd, wake_fd;
    bool quit, reload;
};

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

static void record(struct policy_holder *h, const struct policy_set *p, const char *result,
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

/* There is no client here: the dialog goes where the agent itself was started. */
static bool person_agrees(struct policy_holder *h, const struct policy_set *now,
                          const struct policy_set *next)
{
    struct requester self = {.pid = getpid(),
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
    struct prompt_text text = {.title = "latchkey", .ok = "Use it", .cancel = "Keep the old one"};
    char *changes = NULL, *desc;
    bool loosens = policy_loosens(now, next, &changes);
    struct wait w;
    gpg_error_t err;

    desc = gpgrt_bsprintf("Your latchkey policy was changed.\n%s\n\n%.1500s\nUse the new policy?",
                          loosens ? "IT DEMANDS LESS than before somewhere."
                                  : "It demands nothing less than before.",
                          changes != NULL ? changes : "");
    text.desc = desc;
    err = desc != NULL ? wait_begin(h->a->waits, &w, -1, 60) : gpg_error(GPG_ERR_ENOMEM);
    if (err == 0) {
        err = prompt_confirm(h->a->prompt, &w, &self, &text);
        wait_end(&w);
    }
    if (err != 0)
        gpgrt_log_info("the changed policy is not used: %s\n", gpg_strerror(err));
    gpgrt_free(changes);
    gpgrt_free(desc);
    return err == 0;
}

static void swap_in(struct policy_holder *h, struct policy_set *next)
{
    struct policy_set *old;

    pthread_mutex_lock(&h->mutex);
    old = h->current;
    h->current = next;
    gpgrt_free(h->problem);
    h->problem = NULL;
    gpgrt_free(h->declined);
    h->declined = NULL;
    pthread_mutex_unlock(&h->mutex);
    policy_unref(old);
    gpgrt_log_info("policy %.12s in force\n", policy_hash(next));
    record(h, next, "loaded", NULL);
}

/* ASKED: the person or the service manager told us to look, so a policy that was declined is asked about again. */
static void load_again(struct policy_holder *h, bool asked)
{
    struct policy_paths paths = paths_of(h);
    struct policy_errors errors = {0};
    struct policy_set *next = NULL, *now = policy_current(h);
    gpg_error_t err = policy_load(&paths, &next, &errors);
    char *problem;

    if (err != 0) {
        problem = errors.n > 0 ? joined(&errors) : gpgrt_strdup(gpg_strerror(err));
        gpgrt_log_error("the changed policy cannot be used%s:\n%s\n",
                        now != NULL ? ", the old one stays" : "", problem != NULL ? problem : "");
        record(h, NULL, "rejected", problem);
        set_problem(h, problem);
    } else if (now != NULL && strcmp(policy_hash(now), policy_hash(next)) == 0) {
        set_problem(h, NULL);
    } else if (now != NULL && h->declined != NULL && strcmp(h->declined, policy_hash(next)) == 0 &&
               !asked) {
        gpgrt_log_debug("the changed policy was declined already\n");
    } else if (now == NULL || !h->a->settings->reload_confirm || person_agrees(h, now, next)) {
        swap_in(h, next);
        next = NULL;
    } else {
        record(h, next, "declined", NULL);
        pthread_mutex_lock(&h->mutex);
        gpgrt_free(h->declined);
        h->declined = gpgrt_strdup(policy_hash(next));
        pthread_mutex_unlock(&h->mutex);
        set_problem(h, gpgrt_strdup("the policy file was changed, and nobody agreed to the change: "
                                    "the old policy stays in "
                                    "force. To be asked again, run: latchkey reload\n"));
    }
    policy_errors_free(&errors);
    policy_unref(next);
    policy_unref(now);
}

/* --- watching ------------------------------------------------------------------------------------------------------------- */

#define FILE_EVENTS \
    (IN_CLOSE_WRITE | IN_MODIFY | IN_ATTRIB | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE)

/* Files are replaced by rename and made later: their directories are what to watch, or the nearest one that is there. */
static void watch_directory_of(struct policy_holder *h, const char *path)
{
    char *dir = gpgrt_strdup(path), *slash;

    while (dir != NULL && (slash = strrchr(dir, '/')) != NULL) {
        if (slash == dir)
            slash++;
        *slash = '\0';
        if (inotify_add_watch(h->inotify_fd, dir, FILE_EVENTS | IN_ONLYDIR) >= 0 ||
            slash == dir + 1)
            break;
    }
    gpgrt_free(dir);
}

static void add_watches(struct policy_holder *h)
{
    struct policy_set *p = policy_current(h);

    if (h->admin_file != NULL)
        watch_directory_of(h, h->admin_file);
    if (h->user_file != NULL)
        watch_directory_of(h, h->user_file);
    if (h->admin_dir != NULL &&
        inotify_add_watch(h->inotify_fd, h->admin_dir, FILE_EVENTS | IN_ONLYDIR) < 0)
        watch_directory_of(h, h->admin_dir);
    for (size_t i = 0; p != NULL && policy_files(p)[i] != NULL; i++)
        watch_directory_of(h, policy_files(p)[i]);
    policy_unref(p);
}

static void drain(int fd)
{
    char junk[4096] __attribute__((aligned(8)));

    while (read(fd, junk, sizeof junk) > 0)
        continue;
}

static void *watch_thread(void *arg)
{
    struct policy_holder *h = arg;

    add_watches(h);
    for (;;) {
        struct pollfd p[] = {{.fd = h->inotify_fd, .events = POLLIN},
                             {.fd = h->wake_fd, .events = POLLIN}};
        bool quit, asked;

        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return NULL;
        drain(h->wake_fd);
        pthread_mutex_lock(&h->mutex);
        quit = h->quit;
        asked = h->reload;
        h->reload = false;
        pthread_mutex_unlock(&h->mutex);
        if (quit)
            return NULL;
        if (!asked) {
            /* Wait until it is quiet, so that one change is one reload. */
            do
                drain(h->inotify_fd);
            while (poll(p, 1, SETTLE_MS) > 0);
        }
        load_again(h, asked);
        add_watches(h);
    }
}

gpg_error_t policy_watch_start(struct agent *a)
{
    struct policy_holder *h = a->policy;
    struct policy_set *p;
    int rc;

    h->a = a;
    h->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    h->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (h->inotify_fd < 0 || h->wake_fd < 0)
        return gpg_error_from_syserror();
    p = policy_current(h);
    record(h, p, p != NULL ? "loaded" : "rejected", h->problem);
    policy_unref(p);
    rc = pthread_create(&h->thread, NULL, watch_thread, h);
    if (rc != 0)
        return gpg_error_from_errno(rc);
    h->running = true;
    return 0;
}

static void wake(struct policy_holder *h)
{
    uint64_t one = 1;

    if (h->wake_fd >= 0 && write(h->wake_fd, &one, sizeof one) < 0)
        gpgrt_log_debug("policy watch: %s\n", strerror(errno));
}

void policy_watch_stop(struct agent *a)
{
    struct policy_holder *h = a->policy;

    if (h->running) {
        pthread_mutex_lock(&h->mutex);
        h->quit = true;
        pthread_mutex_unlock(&h->mutex);
        waits_interrupt_locked(a->waits);
        wake(h);
        pthread_join(h->thread, NULL);
        h->running = false;
    }
    if (h->inotify_fd >= 0)
        close(h->inotify_fd);
    if (h->wake_fd >= 0)
        close(h->wake_fd);
    h->inotify_fd = h->wake_fd = -1;
}

void policy_reload(struct policy_holder *h)
{
    pthread_mutex_lock(&h->mutex);
    h->reload = true;
    pthread_mutex_unlock(&h->mutex);
    wake(h);
}
