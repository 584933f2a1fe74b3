#include "agent/requester.h"

#include "agent/procfs.h"
#include "proto/git_object.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

#define MAX_PARENTS 16

static int peer_pidfd(int fd, pid_t pid)
{
    int pidfd = -1;
    socklen_t len = sizeof pidfd;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) == 0)
        return pidfd;
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static char **parents_of(pid_t pid)
{
    char **list = gpgrt_calloc(MAX_PARENTS + 1, sizeof *list);
    struct proc_stat st;

    for (size_t n = 0; list != NULL && n < MAX_PARENTS; n++) {
        if (proc_stat(pid, &st) != 0 || st.ppid <= 0)
            break;
        pid = st.ppid;
        list[n] = proc_exe(pid);
        if (list[n] == NULL)
            list[n] = gpgrt_strdup("?"); /* not ours to read: an ancestor all the same */
    }
    return list;
}

/* Whose program is process PID's? That of the process itself is looked at, not what now lies under its
 * name: it may be another file in another mount namespace. False when others may write it. */
static bool program_owner(pid_t pid, uid_t *owner)
{
    char path[64];
    struct stat st;

    snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
    if (stat(path, &st) != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return false;
    *owner = st.st_uid;
    return true;
}

static bool is_root_owned(pid_t pid)
{
    uid_t owner;

    return program_owner(pid, &owner) && owner == 0;
}

/* Who could have replaced it could have replaced us. */
static bool is_as_good_as_we(pid_t pid)
{
    uid_t theirs, ours;

    return program_owner(pid, &theirs) &&
           (theirs == 0 || (program_owner(getpid(), &ours) && theirs == ours));
}

static bool is_named(const char *exe, const char *const *names)
{
    const char *base = exe != NULL ? strrchr(exe, '/') : NULL;

    for (; base != NULL && *names != NULL; names++)
        if (strcmp(base + 1, *names) == 0)
            return true;
    return false;
}

/* An ssh whose binds are worth believing, and an sshd of the system's own. */
static void ssh_facts(struct requester *r)
{
    static const char *const ssh[] = {"ssh", NULL}, *const ssh_add[] = {"ssh-add", NULL};
    static const char *const sshd[] = {"sshd", "sshd-session", "sshd-auth", NULL};
    struct proc_strings argv;

    r->root_owned_ssh = is_named(r->exe, ssh) && is_root_owned(r->pid);
    /* Root's processes show their programs to nobody else; but root needs no disguise. */
    if (r->uid == 0 && r->exe == NULL)
        r->is_sshd = proc_is_called(r->pid, sshd);
    else
        r->is_sshd = is_named(r->exe, sshd) && is_as_good_as_we(r->pid);
    r->is_ssh_add = is_named(r->exe, ssh_add) && is_as_good_as_we(r->pid);
    if (is_named(r->exe, ssh) && proc_strings_read(r->pid, "cmdline", &argv) == 0) {
        proc_ssh_destination(&argv, &r->ssh_host, &r->ssh_port);
        proc_strings_free(&argv);
    }
}

static void environment_facts(struct requester *r, const struct proc_strings *env)
{
    const struct {
        const char *name;
        char **to;
    } wanted[] = {
        {"DISPLAY", &r->display},
        {"WAYLAND_DISPLAY", &r->wayland_display},
        {"XAUTHORITY", &r->xauthority},
        {"DBUS_SESSION_BUS_ADDRESS", &r->dbus},
        {"TERM", &r->term},
        {"LC_CTYPE", &r->lc_ctype},
        {"LC_MESSAGES", &r->lc_messages},
        {"PINENTRY_USER_DATA", &r->pinentry_user_data},
    };
    const char *all = proc_strings_get(env, "LC_ALL"), *lang = proc_strings_get(env, "LANG");

    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        const char *v = proc_strings_get(env, wanted[i].name);

        if (strncmp(wanted[i].name, "LC_", 3) == 0)
            v = all != NULL ? all : v != NULL ? v : lang;
        if (v != NULL && v[0] != '\0')
            *wanted[i].to = gpgrt_strdup(v);
    }
    if (r->tty == NULL) {
        const char *tty = proc_strings_get(env, "GPG_TTY");

        if (tty != NULL && strncmp(tty, "/dev/", 5) == 0)
            r->tty = gpgrt_strdup(tty);
    }
}

static void forget_facts(struct requester *r)
{
    char **texts[] = {&r->exe,         &r->unit,
                      &r->tty,         &r->cwd,
                      &r->ssh_host,    &r->ssh_port,
                      &r->display,     &r->wayland_display,
                      &r->xauthority,  &r->dbus,
                      &r->term,        &r->lc_ctype,
                      &r->lc_messages, &r->pinentry_user_data};

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        gpgrt_free(*texts[i]);
        *texts[i] = NULL;
    }
    for (size_t i = 0; r->parents != NULL && r->parents[i] != NULL; i++)
        gpgrt_free(r->parents[i]);
    gpgrt_free(r->parents);
    r->parents = NULL;
    r->root_owned_ssh = r->is_sshd = r->is_ssh_add = false;
    r->session = -1;
    r->login_session = -1;
    r->start_time = 0;
}

static void read_facts(struct requester *r)
{
    struct proc_strings env;
    struct proc_stat before, after;

    if (proc_stat(r->pid, &before) != 0)
        return;
    r->start_time = before.start_time;
    r->session = before.session;
    r->tty = proc_tty_name(before.tty_nr);
    r->exe = proc_exe(r->pid);
    r->cwd = proc_link(r->pid, "cwd");
    r->unit = proc_unit(r->pid);
    r->login_session = proc_login_session(r->pid);
    r->parents = parents_of(r->pid);
    ssh_facts(r);
    if (proc_strings_read(r->pid, "environ", &env) == 0) {
        environment_facts(r, &env);
        proc_strings_free(&env);
    }
    /* The process may have ended meanwhile and its number been given to another: then none of this is its. */
    if (proc_stat(r->pid, &after) != 0 || after.start_time != before.start_time ||
        !requester_alive(r))
        forget_facts(r);
}

gpg_error_t requester_new(int fd, struct requester **out)
{
    struct ucred cred;
    socklen_t len = sizeof cred;
    struct requester *r;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0) {
        if (errno != ENOTSOCK)
            return gpg_error_from_syserror();
        cred = (struct ucred){.pid = getppid(), .uid = getuid(), .gid = getgid()};
    }
    r = gpgrt_calloc(1, sizeof *r);
    if (r == NULL)
        return gpg_error_from_syserror();
    r->pid = cred.pid;
    r->uid = cred.uid;
    r->gid = cred.gid;
    r->session = -1;
    r->login_session = -1;
    r->pidfd = cred.pid > 0 ? peer_pidfd(fd, cred.pid) : -1;
    if (cred.pid > 0)
        read_facts(r);
    *out = r;
    return 0;
}

void requester_free(struct requester *r)
{
    if (r == NULL)
        return;
    forget_facts(r);
    if (r->pidfd >= 0)
        close(r->pidfd);
    gpgrt_free(r);
}

bool requester_alive(const struct requester *r)
{
    struct pollfd p = {.fd = r->pidfd, .events = POLLIN};
    struct proc_stat st;

    if (r->pidfd >= 0)
        return poll(&p, 1, 0) == 0; /* a pidfd gets readable when its process ends */
    return proc_stat(r->pid, &st) == 0 && (r->start_time == 0 || st.start_time == r->start_time);
}

char *requester_describe(const struct requester *r)
{
    const char *name = r->exe != NULL ? r->exe : "unknown program";
    char *exe = text_clean(name, strlen(name), 120);
    char *cwd = r->cwd != NULL ? text_clean(r->cwd, strlen(r->cwd), 120) : NULL;
    char *text = NULL;

    if (exe != NULL)
        text = gpgrt_bsprintf("%s (pid %d)%s%s", exe, (int)r->pid, cwd != NULL ? " in " : "",
                              cwd != NULL ? cwd : "");
    gpgrt_free(exe);
    gpgrt_free(cwd);
    return text;
}

char *requester_scope(const struct requester *r)
{
    if (r->exe == NULL)
        return NULL;
    return gpgrt_bsprintf("%s|%s|%ld|%d", r->exe, r->unit != NULL ? r->unit : "-", r->login_session,
                          (int)r->session);
}
