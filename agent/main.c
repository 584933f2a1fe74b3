/* latchkey-agent: options, start-up order, signals, exit. */
#include "agent/agent.h"
#include "agent/audit.h"
#include "agent/certificates.h"
#include "agent/gpg_agent.h"
#include "agent/gpg_listen.h"
#include "agent/gpg_main.h"
#include "agent/grants.h"
#include "agent/hotplug.h"
#include "agent/instance.h"
#include "agent/keyring.h"
#include "agent/known_hosts.h"
#include "agent/limits.h"
#include "agent/lock.h"
#include "agent/options.h"
#include "agent/paths.h"
#include "agent/policy_watch.h"
#include "agent/prompt.h"
#include "agent/server.h"
#include "agent/signals.h"
#include "agent/stale.h"
#include "agent/wait.h"
#include "proto/ssh_agent.h"

#include <assuan.h>
#include <errno.h>
#include <fcntl.h>
#include <gcrypt.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

/* No core dumps, no ptrace by others: PINs and new keys pass through here. */
static void harden(void)
{
    struct rlimit none = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &none);
#ifndef SANITIZED
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
    (void)signal(SIGPIPE, SIG_IGN);
    umask(umask(077) | 077);
}

static void init_libraries(void)
{
    /* Large pieces go back to the system: each thread that kept 16 MiB for a passphrase would add up. */
    (void)mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    gcry_check_version(NULL);
    gcry_control(GCRYCTL_SUSPEND_SECMEM_WARN);
    gcry_control(GCRYCTL_INIT_SECMEM, 262144, 0);
    gcry_control(GCRYCTL_AUTO_EXPAND_SECMEM, 2 * SSH_AGENT_MAX_MESSAGE, 0);
    gcry_control(GCRYCTL_RESUME_SECMEM_WARN);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    assuan_set_gpg_err_source(GPG_ERR_SOURCE_DEFAULT);
    assuan_sock_init();
}

static void init_log(const struct options *o)
{
    gpgrt_log_set_prefix("latchkey-agent",
                         GPGRT_LOG_WITH_PREFIX | GPGRT_LOG_WITH_PID | GPGRT_LOG_WITH_TIME);
    if (o->log_file != NULL)
        gpgrt_log_set_sink(o->log_file, NULL, -1);
}

static int kill_agent(const struct options *o)
{
    const char *text = getenv("SSH_AGENT_PID");
    char *end;
    long pid;

    if (text == NULL) {
        fprintf(stderr,
                "latchkey-agent: -k: SSH_AGENT_PID is not set, so there is no agent to end\n");
        return 1;
    }
    pid = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || pid <= 1) {
        fprintf(stderr, "latchkey-agent: -k: SSH_AGENT_PID=\"%s\" is no process number\n", text);
        return 1;
    }
    if (kill((pid_t)pid, SIGTERM) != 0) {
        fprintf(stderr, "latchkey-agent: -k: process %ld: %s\n", pid, strerror(errno));
        return 1;
    }
    printf(o->csh ? "unsetenv SSH_AUTH_SOCK;\nunsetenv SSH_AGENT_PID;\necho Agent pid %ld killed;\n"
                  : "unset SSH_AUTH_SOCK;\nunset SSH_AGENT_PID;\necho Agent pid %ld killed;\n",
           pid);
    return 0;
}

static void remove_stale(bool any_host)
{
    char *home = path_home();
    const char *tmp = getenv("TMPDIR");

    stale_sockets_remove(home, tmp != NULL ? tmp : "/tmp", any_host);
    gpgrt_free(home);
}

static void print_variables(const struct options *o, const char *path, pid_t pid)
{
    printf(o->csh ? "setenv SSH_AUTH_SOCK %s;\n" : "SSH_AUTH_SOCK=%s; export SSH_AUTH_SOCK;\n",
           path);
    if (o->mode == MODE_FORK) /* with -D and -d ssh-agent leaves it out */
        printf(o->csh ? "setenv SSH_AGENT_PID %ld;\n"
                      : "SSH_AGENT_PID=%ld; export SSH_AGENT_PID;\n",
               (long)pid);
    printf("echo Agent pid %ld;\n", (long)pid);
    fflush(stdout);
}

/* The live parts, in the order in which they need each other. */
static gpg_error_t start_parts(struct agent *a)
{
    char *admin_file = path_sysconfig("policy.conf"), *admin_dir = path_sysconfig("policy.d");
    char *user_file = path_config("policy.conf"), *home = path_home();
    char *log = a->settings->audit_log != NULL ? gpgrt_strdup(a->settings->audit_log)
                                               : path_state("audit.jsonl");
    struct policy_paths paths = {.admin_file = admin_file,
                                 .admin_dir = admin_dir,
                                 .user_file = user_file,
                                 .home = home,
                                 .uid = geteuid()};
    gpg_error_t err;

    err = audit_new(log != NULL ? log : "no", &a->audit);
    if (err != 0) {
        gpgrt_log_error("audit log %s: %s; set AuditLog in latchkey.conf\n", log,
                        gpg_strerror(err));
        goto out;
    }
    if ((err = waits_new(&a->waits)) != 0 || (err = lock_new(&a->lock)) != 0 ||
        (err = grants_new(&a->grants)) != 0 || (err = keyring_new(&a->keyring)) != 0 ||
        (err = known_hosts_new(home, NULL, &a->known_hosts)) != 0 ||
        (err = prompt_new(a->settings->pinentry, NULL, &a->prompt)) != 0 ||
        (err = policy_holder_new(&paths, &a->policy)) != 0 ||
        (err = certificates_start(a->keyring, home, a->settings->certificates, geteuid(),
                                  &a->certificates)) != 0 ||
        (err = hotplug_start(a, &a->hotplug)) != 0 || (err = policy_watch_start(a)) != 0 ||
        (err = lock_start_idle(a)) != 0)
        gpgrt_log_error("start-up: %s\n", gpg_strerror(err));
    else
        keyring_limit(a->keyring, a->settings->max_keys);
out:
    gpgrt_free(admin_file);
    gpgrt_free(admin_dir);
    gpgrt_free(user_file);
    gpgrt_free(home);
    gpgrt_free(log);
    return err;
}

static void stop_parts(struct agent *a)
{
    if (a->lock != NULL)
        lock_stop_idle(a);
    if (a->policy != NULL)
        policy_watch_stop(a);
    if (a->hotplug != NULL)
        hotplug_stop(a->hotplug);
    a->hotplug = NULL;
    certificates_stop(a->certificates);
    policy_holder_free(a->policy);
    prompt_free(a->prompt);
    known_hosts_free(a->known_hosts);
    keyring_free(a->keyring);
    grants_free(a->grants);
    lock_free(a->lock);
    waits_free(a->waits);
    audit_free(a->audit);
    limits_free(a->limits);
}

static gpg_error_t load_settings(struct agent *a)
{
    char *admin = path_sysconfig("latchkey.conf"), *user = path_config("latchkey.conf"),
         *home = path_home();
    struct policy_errors errors = {0};
    gpg_error_t err = settings_load(admin, user, home, geteuid(), &a->settings, &errors);

    for (size_t i = 0; i < errors.n; i++)
        fprintf(stderr, "%s", errors.text[i]);
    if (err != 0)
        fprintf(
            stderr,
            "latchkey-agent: the settings cannot be used: mend the file above, or move it away\n");
    policy_errors_free(&errors);
    gpgrt_free(admin);
    gpgrt_free(user);
    gpgrt_free(home);
    return err;
}

/* Standard descriptors that tell nobody anything any more. A log to a file goes on. */
static void detach(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    setsid();
    if (chdir("/") != 0 || null < 0)
        return;
    for (int fd = 0; fd <= 2; fd++)
        dup2(null, fd);
    if (null > 2)
        close(null);
}

static void exec_command(const struct options *o, const char *path, pid_t agent)
{
    char pid[24];

    snprintf(pid, sizeof pid, "%ld", (long)agent);
    if (o->gpg != NULL) {
        if (gpg_main_set_variables(o, getpid()) != 0)
            exit(1);
    } else if (setenv("SSH_AUTH_SOCK", path, 1) != 0 || setenv("SSH_AGENT_PID", pid, 1) != 0) {
        exit(1);
    }
    (void)signal(SIGPIPE, SIG_DFL);
    signals_unblock();
    limits_restore_descriptors();
    execvp(o->command[0], o->command);
    fprintf(stderr, "latchkey-agent: %s: %s\n", o->command[0], strerror(errno));
    exit(1);
}

/* Splits off the agent where the mode wants that. In the process that goes on as the agent *PARENT is the process whose
 * end is the agent's too (COMMAND), or 0; the other one never returns. */
static gpg_error_t go_to_background(const struct options *o, const char *path, pid_t *parent)
{
    pid_t self = getpid(), child;

    *parent = 0;
    if (o->mode == MODE_FOREGROUND || o->mode == MODE_DEBUG)
        print_variables(o, path, self);
    if (o->mode != MODE_FORK && o->mode != MODE_DAEMON && o->mode != MODE_COMMAND)
        return 0;
    child = fork();
    if (child < 0)
        return gpg_error_from_syserror();
    if (child > 0) {
        if (o->mode == MODE_COMMAND)
            exec_command(o, path, child);
        if (o->mode == MODE_FORK)
            print_variables(o, path, child);
        if (o->mode == MODE_DAEMON && o->gpg != NULL)
            gpg_main_print_variables(o);
        exit(0);
    }
    if (o->mode == MODE_COMMAND)
        *parent = self;
    detach();
    return 0;
}

/* --- gpg ---------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t reload_gpg(void *arg, struct gpg_config **out)
{
    const struct gpg_options *g = arg;
    struct gpg_options fresh = {0};
    gpg_error_t err = gpg_options_parse(g->argc, g->argv, &fresh);

    if (err == 0)
        err = gpg_listen_paths(&fresh, false);
    if (err == 0) {
        *out = fresh.conf;
        fresh.conf = NULL;
    }
    gpg_options_clear(&fresh);
    return err;
}

static void stop_server(void *arg)
{
    server_stop(arg);
}

static gpg_error_t start_gpg(struct agent *a, struct server *s, struct gpg_options *g)
{
    struct requester env = {.pid = -1};
    gpg_error_t err;

    g->conf->refs++; /* nobody else knows it yet */
    err = gpg_agent_new(a, g->conf, reload_gpg, g, &a->gpg);
    if (err != 0)
        return err;
    if (s != NULL)
        gpg_agent_on_kill(a->gpg, stop_server, s);
    /* Where the agent was started is where dialogs go that nobody's terminal is known for. */
    env.tty = isatty(0) ? ttyname(0) : getenv("GPG_TTY");
    env.term = getenv("TERM");
    env.display = getenv("DISPLAY");
    env.wayland_display = getenv("WAYLAND_DISPLAY");
    env.xauthority = getenv("XAUTHORITY");
    env.dbus = getenv("DBUS_SESSION_BUS_ADDRESS");
    env.pinentry_user_data = getenv("PINENTRY_USER_DATA");
    return gpg_startup_set(a->gpg, &env);
}

/* latchkey's own service takes gpg's sockets, too, where the settings want that and nobody else has them. An ssh-agent does so only
 * when the settings say so. */
static gpg_error_t claim_gpg(struct agent *a, struct server *s, const struct instance *in,
                             bool service, struct gpg_options *g)
{
    static char *argv[] = {(char *)(uintptr_t) "gpg-agent", NULL};
    const char *want = a->settings->gpg_socket;
    struct stat st;
    gpg_error_t err;

    if (!in->gpg_adopted && (want != NULL ? strcmp(want, "no") == 0 : !service))
        return 0;
    err = gpg_options_parse(1, argv, g);
    if (err == 0 && want != NULL && want[0] == '/') {
        err = server_listen(s, SERVER_GPG, want);
        gpgrt_free(g->conf->socket);
        g->conf->socket = gpgrt_strdup(want);
        g->conf->extra_socket = g->conf->browser_socket = NULL;
    } else if (err == 0 && in->gpg_adopted) {
        err = gpg_listen_paths(g, false);
    } else if (err == 0) {
        /* gpg makes its home directory when it is first used: not before. */
        if (stat(g->conf->home, &st) != 0)
            return 0;
        err = gpg_listen(s, g, false);
        if (gpg_err_code(err) == GPG_ERR_EADDRINUSE) {
            gpgrt_log_info(
                "gpg's socket %s is another agent's; to have this one serve gpg, end that one "
                "(gpgconf --kill gpg-agent) and start this one anew\n",
                g->conf->socket);
            return 0;
        }
    }
    return err != 0 ? err : start_gpg(a, s, g);
}

/* gpg-agent --server: one conversation, without sockets. */
static void serve_pipe(struct agent *a)
{
    struct activity act;

    activity_init(&act);
    gpg_session_serve_pipe(a, 0, 1, &act);
}

static gpg_error_t claim(struct agent *a, struct server *s, struct instance *in,
                         const struct options *o, bool service, struct gpg_options *own)
{
    gpg_error_t err;

    if (o->mode == MODE_GPG_SERVER) {
        *in = (struct instance){.lock_fd = -1};
        err = gpg_listen_paths(o->gpg, false);
        if (err == 0)
            err = instance_claim_hardware(in);
    } else if (o->gpg != NULL) {
        err = instance_claim_gpg(in, s, o->gpg, o->gpg->mode == GPG_SUPERVISED);
    } else {
        err = instance_claim(in, s, a->settings, o->socket, service);
    }
    if (err == 0)
        err = o->gpg != NULL ? start_gpg(a, s, o->gpg) : claim_gpg(a, s, in, service, own);
    return err;
}

static int run(const struct options *o)
{
    struct agent a = {.default_life = o->life,
                      .started = time(NULL),
                      .provider_patterns = o->providers,
                      .remote_providers = o->remote_providers,
                      .websafe_allow = o->websafe_allow,
                      .as_gpg_agent = o->gpg != NULL};
    struct instance in = {0};
    struct server *server = NULL;
    struct signals *signals = NULL;
    struct gpg_options gpg = {0};
    bool service = o->mode == MODE_SERVICE || o->mode == MODE_DAEMON || o->gpg != NULL;
    pid_t parent = 0;
    int status = 1;
    gpg_error_t err;

    if (load_settings(&a) != 0)
        return 1;
    limits_raise_descriptors();
    signals_block(); /* from here on there are sockets to remove */
    err = limits_new(a.settings, &a.limits);
    if (err == 0)
        err = server_new(&a, &server);
    if (err == 0)
        err = claim(&a, server, &in, o, service, &gpg);
    if (o->gpg != NULL && gpg_err_code(err) == GPG_ERR_EADDRINUSE)
        status = gpg_main_running_already(o->gpg);
    if (err != 0)
        goto out;
    a.owns_hardware = in.owns_hardware;
    a.runtime_dir = in.dir;
    a.ssh_path = in.ssh_path;
    a.token_program = path_program("latchkey-token");
    if (a.token_program == NULL) {
        err = gpg_error(GPG_ERR_ENOENT);
        fprintf(stderr, "latchkey-agent: latchkey-token is neither beside this program nor in "
                        "../libexec/latchkey\n");
        goto out;
    }
    err = go_to_background(o, in.ssh_path, &parent);
    if (err != 0)
        goto out;
    if (!service && !o->keep_stale)
        remove_stale(false);
    err = start_parts(&a);
    if (err == 0)
        err = signals_start(&a, server, service, parent, &signals);
    if (err == 0) {
        gpgrt_log_info(
            "serving ssh at %s%s\n", in.ssh_path != NULL ? in.ssh_path : "no socket",
            a.owns_hardware
                ? ""
                : "; another agent holds the hardware, so this one has software keys only");
        sd_notify(0, "READY=1");
        if (o->mode == MODE_GPG_SERVER)
            serve_pipe(&a);
        else
            server_run(server);
        sd_notify(0, "STOPPING=1");
    }
out:
    signals_stop(signals);
    if (!server_free(server)) {
        instance_release(&in);
        _exit(err == 0 ? 0
                       : status); /* a connection's thread does not end: it ends with the process */
    }
    stop_parts(&a);
    gpg_agent_free(a.gpg);
    gpg_options_clear(&gpg);
    instance_release(&in);
    settings_free(a.settings);
    gpgrt_free(a.token_program);
    return err == 0 ? 0 : status;
}

/* Started as gpg-agent, or as gpg starts its agent. */
static int main_as_gpg_agent(int argc, char **argv)
{
    struct gpg_options g;
    struct options o;
    int status = 2;

    gpgrt_log_set_prefix("gpg-agent", GPGRT_LOG_WITH_PREFIX);
    init_libraries();
    if (gpg_options_parse(argc, argv, &g) == 0 &&
        !gpg_main_tells(&g, getenv("SHELL"), &o, &status)) {
        init_log(&o);
        status = run(&o);
    }
    gpg_options_clear(&g);
    return status;
}

int main(int argc, char **argv)
{
    struct options o;
    gpg_error_t err;

    harden();
    if (gpg_options_are_meant(argc, argv))
        return main_as_gpg_agent(argc, argv);
    err = options_parse(argc, argv, getenv("SHELL"), &o);
    if (err != 0) /* as ssh-agent ends */
        return gpg_err_code(err) == GPG_ERR_SYNTAX ? 1 : 255;
    switch (o.mode) {
    case MODE_HELP:
        options_usage(false);
        return 0;
    case MODE_VERSION:
        printf("latchkey-agent %s\n", LATCHKEY_VERSION);
        return 0;
    case MODE_KILL:
        return kill_agent(&o);
    default:
        break;
    }
    init_libraries();
    init_log(&o);
    if (o.mode == MODE_CLEAN) {
        remove_stale(o.any_host);
        return 0;
    }
    return run(&o);
}
