/* latchkey-agent: options, start-up order, signals, exit. */
#include "agent/agent.h"
#include "agent/audit.h"
#include "agent/certificates.h"
#include "agent/gpg_agent.h"
#include "agent/gpg_listen.h"
#include "agent/gpg_main.h"
#include "agent/gpg_watch.h"
#include "agent/grants.h"
#include "agent/hotplug.h"
#include "agent/instance.h"
#include "agent/keyring.h"
#include "agent/known_hosts.h"
#include "agent/limits.h"
#include "agent/lock.h"
#include "agent/log_file.h"
#include "agent/options.h"
#include "agent/paths.h"
#include "agent/policy_watch.h"
#include "agent/prompt.h"
#include "agent/resident.h"
#include "agent/server.h"
#include "agent/signals.h"
#include "agent/sk_book.h"
#include "agent/stale.h"
#include "agent/wait.h"
#include "agent/wallets.h"
#include "proto/ssh_agent.h"

#include <assuan.h>
#include <errno.h>
#include <fcntl.h>
#include <gcrypt.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
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

static mode_t callers_umask; /* for COMMAND */

/* No core dumps, no ptrace by others: PINs and new keys pass through here. */
static void harden(void)
{
    struct rlimit none = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &none);
#ifndef SANITIZED
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
    (void)signal(SIGPIPE, SIG_IGN);
    callers_umask = umask(077);
    umask(callers_umask | 077);
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
        (err = sk_book_open(&sk_book_presence, &a->presence)) != 0 ||
        (err = sk_book_open(&sk_book_resident, &a->resident)) != 0 ||
        (err = policy_holder_new(&paths, &a->policy)) != 0 ||
        (err = certificates_start(a->keyring, home, a->settings->certificates, geteuid(),
                                  &a->certificates)) != 0 ||
        (err = wallets_new(a, &a->wallets)) != 0 || (err = hotplug_start(a, &a->hotplug)) != 0 ||
        (err = policy_watch_start(a)) != 0 || (err = lock_start_idle(a)) != 0)
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
    wallets_free(a->wallets);
    certificates_stop(a->certificates);
    policy_holder_free(a->policy);
    sk_book_free(a->presence);
    sk_book_free(a->resident);
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
    dup2(null, 0);
    dup2(null, 1);
    log_file_detach();
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
    umask(callers_umask);
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
    if (o->gpg == NULL || !o->gpg->no_detach)
        detach();
    return 0;
}

/* gpg-agent --server: one conversation, without sockets. */
struct pipe_talk {
    struct agent *a;
    struct server *s;
    atomic_bool over;
};

static void *talk(void *arg)
{
    struct pipe_talk *t = arg;
    struct activity act;

    activity_init(&act);
    gpg_session_serve_pipe(t->a, 0, 1, &act);
    t->over = true;
    server_stop(t->s);
    return NULL;
}

/* Signals end it, too: false then, and its thread goes on. */
static bool serve_pipe(struct agent *a, struct server *s)
{
    static struct pipe_talk t;
    pthread_t thread;

    t = (struct pipe_talk){.a = a, .s = s};
    if (pthread_create(&thread, NULL, talk, &t) != 0)
        return true;
    server_run(s);
    if (t.over)
        pthread_join(thread, NULL);
    return t.over;
}

static gpg_error_t claim(struct agent *a, struct server *s, struct instance *in,
                         const struct options *o, bool service, struct gpg_options *own)
{
    static char *const no_paths[SERVER_ROLES];
    gpg_error_t err;

    if (o->mode == MODE_GPG_SERVER) {
        err = gpg_listen_only(o->gpg, no_paths);
        *in = (struct instance){.lock_fd = -1};
        if (err == 0)
            err = instance_claim_hardware(in);
    } else if (o->gpg != NULL) {
        err = instance_claim_gpg(in, s, o->gpg, o->gpg->mode == GPG_SUPERVISED);
    } else {
        err = instance_claim(in, s, a->settings, o->socket, service);
    }
    if (err == 0)
        err = o->gpg != NULL ? gpg_main_start(a, o->mode != MODE_GPG_SERVER ? s : NULL, o->gpg)
                             : gpg_main_claim(a, s, in, service, own);
    return err;
}

static void tell_serving(struct agent *a)
{
    const struct gpg_config *c = a->gpg != NULL ? gpg_config_get(a) : NULL;
    const char *gpg = c != NULL ? c->socket : NULL;

    const char *ssh = a->ssh_path;

    gpgrt_log_info("serving %s%s%s%s%s%s\n", ssh != NULL ? "ssh at " : "", ssh != NULL ? ssh : "",
                   ssh != NULL && gpg != NULL ? ", " : "", gpg != NULL ? "gpg at " : "",
                   gpg != NULL   ? gpg
                   : ssh == NULL ? "one client"
                                 : "",
                   a->owns_hardware
                       ? ""
                       : "; another agent holds the hardware, so this one has software keys only");
    gpg_config_put(c);
}

/* What an agent started as gpg-agent ends with, and a service does not. */
static gpg_error_t start_watch(const struct options *o, struct server *s, struct gpg_watch **out)
{
    if (o->gpg == NULL || o->mode == MODE_GPG_SERVER)
        return 0;
    return gpg_watch_new(o->gpg->conf->home, s, o->gpg->check_own_socket, out);
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
    struct gpg_watch *watch = NULL;
    struct gpg_options gpg = {0};
    bool service = o->mode == MODE_SERVICE || o->mode == MODE_DAEMON || o->gpg != NULL;
    pid_t parent = 0;
    bool ended = true;
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
    if (err == 0 && a.owns_hardware)
        (void)resident_offer_all(&a);
    if (err == 0)
        err = start_watch(o, server, &watch);
    if (err == 0)
        err = signals_start(&a, server, service, parent, watch, &signals);
    if (err == 0) {
        tell_serving(&a);
        sd_notify(0, "READY=1");
        if (o->mode == MODE_GPG_SERVER)
            ended = serve_pipe(&a, server);
        else
            server_run(server);
        sd_notify(0, "STOPPING=1");
    }
out:
    signals_stop(signals);
    gpg_watch_free(watch);
    if (!ended || !server_free(server)) {
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
        (void)log_file_start("latchkey-agent", o.log_file);
        gpg_options_tell(&g);
        g.owns_log = true;
        status = gpg_main_set_places(&g) == 0 ? run(&o) : 2;
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
    (void)log_file_start("latchkey-agent", o.log_file);
    if (o.mode == MODE_CLEAN) {
        remove_stale(o.any_host);
        return 0;
    }
    return run(&o);
}
