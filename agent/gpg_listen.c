#include "agent/gpg_listen.h"

#include "agent/gpg_sockets.h"

#include <assuan.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A terminal is told although there is a log file. */
static void complain(const struct gpg_options *o, const char *what, const char *why)
{
    gpgrt_log_error("%s: %s\n", what, why);
    if (o->log_file != NULL)
        fprintf(stderr, "gpg-agent: %s: %s\n", what, why);
}

/* --- paths ------------------------------------------------------------------------------------------------------------------- */

/* *PATH: the path of a socket, a name in DIR, or NULL, which is FALLBACK. "none": there is none. Redirections are followed. */
static gpg_error_t place(const struct gpg_options *o, const char *dir, const char *fallback,
                         char **path)
{
    const char *name = *path != NULL ? *path : fallback;
    char *whole;
    gpg_error_t err;

    if (strcmp(name, "none") == 0) {
        gpgrt_free(*path);
        *path = NULL;
        return 0;
    }
    whole = strchr(name, '/') != NULL ? gpg_absolute(name) : gpgrt_bsprintf("%s/%s", dir, name);
    if (whole == NULL)
        return gpg_error_from_syserror();
    gpgrt_free(*path);
    *path = whole;
    err = gpg_socket_redirect(path);
    if (err != 0)
        complain(o, whole, "neither a socket nor a redirection to one");
    return err;
}

gpg_error_t gpg_listen_paths(struct gpg_options *o, bool make)
{
    struct gpg_config *c = o->conf;
    char *dir = NULL;
    gpg_error_t err = gpg_socket_dir(NULL, c->home, o->standard_home, make, &dir);

    if (err == 0 && (err = place(o, dir, "S.gpg-agent", &c->socket)) == 0 &&
        (err = place(o, dir, "S.gpg-agent.extra", &c->extra_socket)) == 0 &&
        (err = place(o, dir, "S.gpg-agent.browser", &c->browser_socket)) == 0)
        err = place(o, dir, "S.gpg-agent.ssh", &c->ssh_socket);
    gpgrt_free(dir);
    return err;
}

/* --- is there one already? ----------------------------------------------------------------------------------------------------- */

struct answer {
    char text[24];
    size_t n;
};

static gpg_error_t take(void *arg, const void *data, size_t n)
{
    struct answer *a = arg;

    if (n > sizeof a->text - 1 - a->n)
        n = sizeof a->text - 1 - a->n;
    memcpy(a->text + a->n, data, n);
    a->n += n;
    return 0;
}

bool gpg_agent_answers(const char *path, long *pid)
{
    struct answer a = {.n = 0};
    assuan_context_t ctx = NULL;
    bool answers;

    *pid = 0;
    if (assuan_new(&ctx) != 0)
        return false;
    answers = assuan_socket_connect(ctx, path, ASSUAN_INVALID_PID, 0) == 0;
    if (answers && assuan_transact(ctx, "GETINFO pid", take, &a, NULL, NULL, NULL, NULL) == 0)
        *pid = strtol(a.text, NULL, 10);
    assuan_release(ctx);
    return answers;
}

bool gpg_socket_is_held(const char *path)
{
    FILE *f = fopen("/proc/net/unix", "re");
    char *line = NULL;
    size_t size = 0;
    bool held = false;

    while (f != NULL && !held && getline(&line, &size, f) > 0) {
        unsigned long flags;
        int at = 0;

        /* Num RefCount Protocol Flags Type St Inode Path */
        if (sscanf(line, "%*s %*s %*s %lx %*s %*s %*s %n", &flags, &at) != 1 || at == 0)
            continue;
        line[strcspn(line, "\n")] = '\0';
        held = (flags & __SO_ACCEPTCON) != 0 && strcmp(line + at, path) == 0;
    }
    free(line);
    if (f != NULL)
        fclose(f);
    return held;
}

/* --- listening -------------------------------------------------------------------------------------------------------------------- */

#define LOCK_TRIES   200
#define LOCK_WAIT_NS 10000000

/* As gpg-agent: only the standard home directory is made. And the folder for the keys, where others put some, too. */
static gpg_error_t make_home(const struct gpg_options *o)
{
    const char *home = o->conf->home;
    char *keys = gpgrt_bsprintf("%s/private-keys-v1.d", home);
    gpg_error_t err = 0;

    if (keys == NULL)
        return gpg_error_from_syserror();
    if ((o->standard_home && mkdir(home, 0700) != 0 && errno != EEXIST) ||
        (mkdir(keys, 0700) != 0 && errno != EEXIST))
        err = gpg_error_from_syserror();
    gpgrt_free(keys);
    return err;
}

/* Of two agents that start at once, one waits here and then finds the other. Whoever keeps the lock for longer than that is no
 * agent that starts. */
static int lock_home(const char *home)
{
    int fd = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct timespec pause = {.tv_nsec = LOCK_WAIT_NS};

    for (int i = 0; fd >= 0 && i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
            break;
        nanosleep(&pause, NULL);
    }
    return fd;
}

static void steal(const char *path)
{
    struct stat st;

    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && unlink(path) == 0)
        gpgrt_log_info("the socket %s is taken over, as --steal-socket says\n", path);
}

static gpg_error_t listen_at(struct server *s, const struct gpg_options *o, enum server_role role,
                             const char *path)
{
    gpg_error_t err;

    if (path == NULL)
        return 0;
    if (o->steal_socket)
        steal(path);
    err = server_listen(s, role, path);
    if (err != 0 && gpg_err_code(err) != GPG_ERR_EADDRINUSE)
        complain(
            o, path,
            gpg_err_code(err) == GPG_ERR_ENAMETOOLONG
                ? "longer than the path of a socket can be: use a shorter home directory, or make "
                  "its socket directory by gpgconf --create-socketdir"
                : gpg_strerror(err));
    return err;
}

gpg_error_t gpg_listen(struct server *s, struct gpg_options *o, bool ssh)
{
    const struct gpg_config *c = o->conf;
    gpg_error_t err = make_home(o);
    int lock;

    if (err != 0) {
        complain(o, c->home, gpg_strerror(err));
        return err;
    }
    lock = lock_home(c->home);
    if ((err = gpg_listen_paths(o, true)) == 0 &&
        (err = listen_at(s, o, SERVER_GPG, c->socket)) == 0 &&
        (err = listen_at(s, o, SERVER_GPG_EXTRA, c->extra_socket)) == 0 &&
        (err = listen_at(s, o, SERVER_GPG_BROWSER, c->browser_socket)) == 0 && ssh)
        err = listen_at(s, o, SERVER_SSH, c->ssh_socket);
    if (lock >= 0)
        close(lock);
    return err;
}

gpg_error_t gpg_listen_only(struct gpg_options *o, char *const paths[SERVER_ROLES])
{
    struct gpg_config *c = o->conf;
    const struct {
        char **to;
        const char *path;
    } places[] = {{&c->socket, paths[SERVER_GPG]},
                  {&c->extra_socket, paths[SERVER_GPG_EXTRA]},
                  {&c->browser_socket, paths[SERVER_GPG_BROWSER]},
                  {&c->ssh_socket, paths[SERVER_SSH]}};
    gpg_error_t err;

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char *copy = places[i].path != NULL ? gpgrt_strdup(places[i].path) : NULL;

        if (copy == NULL && places[i].path != NULL)
            return gpg_error_from_syserror();
        gpgrt_free(*places[i].to);
        *places[i].to = copy;
    }
    err = make_home(o);
    if (err != 0)
        complain(o, c->home, gpg_strerror(err));
    return err;
}
