#include "agent/instance.h"

#include "agent/gpg_listen.h"
#include "agent/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

static gpg_error_t complain(gpg_error_t err, const char *what)
{
    if (gpg_err_code(err) == GPG_ERR_EADDRINUSE)
        fprintf(stderr, "latchkey-agent: %s: an agent serves there already\n", what);
    else if (gpg_err_code(err) == GPG_ERR_EEXIST)
        fprintf(stderr,
                "latchkey-agent: %s: is there already and is no socket; name another with -a\n",
                what);
    else if (gpg_err_code(err) == GPG_ERR_EPERM)
        fprintf(stderr, "latchkey-agent: %s: not a directory of ours that only we can write\n",
                what);
    else
        fprintf(stderr, "latchkey-agent: %s: %s\n", what, gpg_strerror(err));
    return err;
}

/* The lock outlives a fork (it belongs to the open file) and ends with the agent, however that ends. */
static void take_lock(struct instance *in, const char *runtime)
{
    char *path = gpgrt_bsprintf("%s/lock", runtime);

    in->lock_fd = path != NULL ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    if (in->lock_fd >= 0 && flock(in->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        in->owns_hardware = true;
    } else if (in->lock_fd >= 0) {
        close(in->lock_fd);
        in->lock_fd = -1;
    }
    gpgrt_free(path);
}

static char *path_of_fd(int fd)
{
    struct sockaddr_un sa;
    socklen_t len = sizeof sa;

    memset(&sa, 0, sizeof sa);
    if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0 || sa.sun_family != AF_UNIX ||
        sa.sun_path[0] != '/')
        return NULL;
    return gpgrt_bsprintf("%.*s", (int)sizeof sa.sun_path, sa.sun_path);
}

static enum server_role role_of(const char *name, enum server_role fallback)
{
    static const struct {
        const char *name;
        enum server_role role;
    } names[] = {{"ssh", SERVER_SSH},
                 {"ctl", SERVER_CTL},
                 {"std", SERVER_GPG},
                 {"extra", SERVER_GPG_EXTRA},
                 {"browser", SERVER_GPG_BROWSER}};

    for (size_t i = 0; name != NULL && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i].name, name) == 0)
            return names[i].role;
    return fallback;
}

/* Sockets that systemd hands over: FileDescriptorName= tells what for; what has no name that we know is FALLBACK's. A second one
 * for one role is closed; latchkey's own service may have several for ssh. */
static gpg_error_t adopt(struct instance *in, struct server *s, enum server_role fallback)
{
    char **names = NULL;
    int n = sd_listen_fds_with_names(1, &names);
    gpg_error_t err = 0;

    if (n < 0)
        gpgrt_log_error("sockets of the service manager: %s; LISTEN_FDS, LISTEN_FDNAMES and what "
                        "is open do not agree\n",
                        strerror(-n));
    for (int i = 0; i < n && err == 0; i++) {
        int fd = SD_LISTEN_FDS_START + i;
        enum server_role role = role_of(names != NULL ? names[i] : NULL, fallback);

        if (in->adopted[role] && (role != SERVER_SSH || fallback == SERVER_GPG)) {
            gpgrt_log_info("a second socket named \"%s\" is not used\n",
                           names != NULL && names[i] != NULL ? names[i] : "");
            close(fd);
            continue;
        }
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        err = server_adopt(s, role, fd);
        if (!in->adopted[role])
            in->adopted_path[role] = path_of_fd(fd);
        in->adopted[role] = true;
    }
    if (err == 0 && in->adopted_path[SERVER_SSH] != NULL) {
        in->ssh_path = gpgrt_strdup(in->adopted_path[SERVER_SSH]);
        if (in->ssh_path == NULL)
            err = gpg_error_from_syserror();
    }
    for (int i = 0; names != NULL && i < n; i++)
        free(names[i]);
    free(names);
    return err;
}

/* The environment as sd_listen_fds wants it, from what gpg-agent --supervised is content with. */
static gpg_error_t settle_supervision(void)
{
    const char *pid = getenv("LISTEN_PID"), *names = getenv("LISTEN_FDNAMES"),
               *fds = getenv("LISTEN_FDS");
    unsigned n = 1;
    char text[24];

    for (const char *p = names; p != NULL && *p != '\0'; p++)
        n += *p == ':';
    if (names != NULL && fds != NULL && strtoul(fds, NULL, 10) != n) {
        fprintf(stderr,
                "gpg-agent: --supervised: LISTEN_FDNAMES has %u names and LISTEN_FDS says %s\n", n,
                fds);
        return gpg_error(GPG_ERR_INV_VALUE);
    }
    if (names == NULL)
        gpgrt_log_info("--supervised: no LISTEN_FDNAMES; descriptor 3 is the main socket\n");
    snprintf(text, sizeof text, "%u", n);
    if (setenv("LISTEN_FDS", text, 1) != 0)
        return gpg_error_from_syserror();
    snprintf(text, sizeof text, "%ld", (long)getpid());
    if (pid == NULL || strcmp(pid, text) != 0)
        gpgrt_log_info("--supervised: LISTEN_PID is %s, not %s; ignored\n",
                       pid != NULL ? pid : "not set", text);
    return setenv("LISTEN_PID", text, 1) == 0 ? 0 : gpg_error_from_syserror();
}

static gpg_error_t make_private_dir(struct instance *in)
{
    const char *tmp = getenv("TMPDIR");

    in->made_dir =
        gpgrt_bsprintf("%s/" INSTANCE_DIR "XXXXXX", tmp != NULL && tmp[0] == '/' ? tmp : "/tmp");
    if (in->made_dir == NULL)
        return gpg_error_from_syserror();
    if (mkdtemp(in->made_dir) == NULL) {
        gpg_error_t err = complain(gpg_error_from_syserror(), in->made_dir);

        gpgrt_free(in->made_dir);
        in->made_dir = NULL;
        return err;
    }
    return 0;
}

static gpg_error_t choose_ssh_path(struct instance *in, const char *runtime,
                                   const struct settings *set, const char *socket, bool service)
{
    gpg_error_t err;

    if (socket == NULL && !service) {
        err = make_private_dir(in);
        if (err != 0)
            return err;
        in->ssh_path = gpgrt_bsprintf("%s/agent.%ld", in->made_dir, (long)getpid());
    } else if (socket != NULL || set->ssh_socket != NULL) {
        in->ssh_path = gpgrt_strdup(socket != NULL ? socket : set->ssh_socket);
    } else {
        in->ssh_path = gpgrt_bsprintf("%s/ssh", runtime);
    }
    return in->ssh_path != NULL ? 0 : gpg_error_from_syserror();
}

/* BESIDE: another of this agent's sockets. */
static gpg_error_t listen_ctl(struct instance *in, struct server *s, const char *runtime,
                              const char *beside)
{
    char *path;
    gpg_error_t err;

    if (in->owns_hardware)
        in->dir = gpgrt_strdup(runtime);
    else if (in->made_dir != NULL)
        in->dir = gpgrt_strdup(in->made_dir);
    if (in->dir != NULL)
        path = gpgrt_bsprintf("%s/ctl", in->dir);
    else
        path = gpgrt_bsprintf("%s.ctl", beside != NULL ? beside : runtime);
    if (path == NULL)
        return gpg_error_from_syserror();
    err = server_listen(s, SERVER_CTL, path);
    if (err != 0)
        complain(err, path);
    gpgrt_free(path);
    if (in->dir == NULL)
        in->dir = gpgrt_strdup(runtime);
    return err;
}

gpg_error_t instance_claim(struct instance *in, struct server *s, const struct settings *set,
                           const char *socket, bool service)
{
    char *runtime = path_runtime_dir();
    gpg_error_t err;

    *in = (struct instance){.lock_fd = -1};
    if (runtime == NULL)
        return gpg_error_from_syserror();
    err = path_make_private_dir(runtime);
    if (err != 0) {
        complain(err, runtime);
        goto out;
    }
    take_lock(in, runtime);
    err = adopt(in, s, SERVER_SSH);
    if (err == 0 && in->ssh_path == NULL) {
        err = choose_ssh_path(in, runtime, set, socket, service);
        if (err == 0 && (err = server_listen(s, SERVER_SSH, in->ssh_path)) != 0)
            complain(err, in->ssh_path);
    }
    if (err == 0 && !in->adopted[SERVER_CTL])
        err = listen_ctl(in, s, runtime, in->ssh_path);
    else if (err == 0)
        in->dir = gpgrt_strdup(runtime);
    if (err != 0)
        instance_release(in);
out:
    gpgrt_free(runtime);
    return err;
}

static gpg_error_t adopt_supervised(struct instance *in, struct server *s, struct gpg_options *o)
{
    gpg_error_t err = settle_supervision();

    if (err == 0)
        err = adopt(in, s, SERVER_GPG);
    if (err == 0 && !in->adopted[SERVER_GPG]) {
        fprintf(stderr, "gpg-agent: --supervised: no socket was handed over\n");
        err = gpg_error(GPG_ERR_ENOTSOCK);
    }
    return err != 0 ? err : gpg_listen_only(o, in->adopted_path);
}

static gpg_error_t listen_as_gpg_agent(struct instance *in, struct server *s, struct gpg_options *o)
{
    gpg_error_t err = gpg_listen(s, o, true);

    if (err == 0 && o->conf->ssh_socket != NULL) {
        in->ssh_path = gpgrt_strdup(o->conf->ssh_socket);
        if (in->ssh_path == NULL)
            err = gpg_error_from_syserror();
    }
    return err;
}

gpg_error_t instance_claim_gpg(struct instance *in, struct server *s, struct gpg_options *o,
                               bool supervised)
{
    char *runtime = path_runtime_dir();
    gpg_error_t err;

    *in = (struct instance){.lock_fd = -1};
    if (runtime == NULL)
        return gpg_error_from_syserror();
    err = path_make_private_dir(runtime);
    if (err != 0) {
        complain(err, runtime);
        goto out;
    }
    take_lock(in, runtime);
    err = supervised ? adopt_supervised(in, s, o) : listen_as_gpg_agent(in, s, o);
    if (err == 0 && !in->adopted[SERVER_CTL])
        err = listen_ctl(in, s, runtime, in->ssh_path != NULL ? in->ssh_path : o->conf->socket);
    else if (err == 0)
        in->dir = gpgrt_strdup(runtime);
    if (err != 0)
        instance_release(in);
out:
    gpgrt_free(runtime);
    return err;
}

gpg_error_t instance_claim_hardware(struct instance *in)
{
    char *runtime = path_runtime_dir();
    gpg_error_t err;

    *in = (struct instance){.lock_fd = -1};
    if (runtime == NULL)
        return gpg_error_from_syserror();
    err = path_make_private_dir(runtime);
    if (err == 0)
        take_lock(in, runtime);
    else
        complain(err, runtime);
    in->dir = runtime;
    return err;
}

void instance_release(struct instance *in)
{
    if (in->made_dir != NULL)
        rmdir(in->made_dir);
    if (in->lock_fd >= 0)
        close(in->lock_fd);
    gpgrt_free(in->made_dir);
    gpgrt_free(in->dir);
    gpgrt_free(in->ssh_path);
    for (size_t i = 0; i < SERVER_ROLES; i++)
        gpgrt_free(in->adopted_path[i]);
    *in = (struct instance){.lock_fd = -1};
}
