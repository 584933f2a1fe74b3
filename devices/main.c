/* latchkey-token: one process for one interface of a token. */
#include "devices/key_memory.h"
#include "devices/sk_helper.h"
#include "devices/token_server.h"
#include "devices/watch_pcsc.h"

#include <assuan.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

/* Some hundreds of software keys; beyond that libgcrypt goes on in memory that is not locked. */
#define SECURE_MEMORY 1048576

const struct driver *const drivers[] = {&driver_software, &driver_pcsc,   &driver_pkcs11,
                                        &driver_fido,     &driver_sk,     &driver_gpg,
                                        &driver_trezor,   &driver_ledger, NULL};

static void usage(FILE *f)
{
    fprintf(f, "usage: latchkey-token KIND [ARGUMENT] --channels=N\n\n"
               "One process for one interface of a token, started by latchkey-agent.\n"
               "Descriptors 3 and up are its channels; see the token protocol's page.\n\n");
    for (size_t i = 0; drivers[i] != NULL; i++)
        fprintf(f, "  %-12s%s\n", drivers[i]->kind, drivers[i]->help);
    fprintf(f, "  %-12s%s\n", "watch-pcsc",
            "prints what comes and goes in PC/SC readers to descriptor 3");
}

static void harden(void)
{
    struct rlimit none = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &none);
#ifndef SANITIZED
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
    (void)signal(SIGPIPE, SIG_IGN);
}

static void init_libraries(void)
{
    (void)key_memory_init();
    gcry_check_version(NULL);
    gcry_control(GCRYCTL_SUSPEND_SECMEM_WARN);
    gcry_control(GCRYCTL_INIT_SECMEM, SECURE_MEMORY, 0);
    gcry_control(GCRYCTL_AUTO_EXPAND_SECMEM, 65536, 0);
    gcry_control(GCRYCTL_RESUME_SECMEM_WARN);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    assuan_set_gpg_err_source(GPG_ERR_SOURCE_DEFAULT);
    gpgrt_log_set_prefix("latchkey-token", GPGRT_LOG_WITH_PREFIX | GPGRT_LOG_WITH_PID);
}

int main(int argc, char **argv)
{
    static const char channels[] = "--channels=";
    const char *kind = argc > 1 ? argv[1] : NULL, *arg = NULL;
    unsigned long n = 0;
    gpg_error_t err;

    if (kind != NULL && strcmp(kind, "--help") == 0) {
        usage(stdout);
        return 0;
    }
    if (kind != NULL && strcmp(kind, "--version") == 0) {
        printf("latchkey-token %s\n", LATCHKEY_VERSION);
        return 0;
    }
    harden();
    init_libraries();
    for (int i = 2; i < argc; i++) {
        if (strncmp(argv[i], channels, sizeof channels - 1) == 0)
            n = strtoul(argv[i] + sizeof channels - 1, NULL, 10);
        else
            arg = argv[i];
    }
    if (kind != NULL && strcmp(kind, "watch-pcsc") == 0)
        return watch_pcsc_run() == 0 ? 0 : 1;
    if (kind != NULL && strcmp(kind, "sk-helper") == 0 && arg != NULL)
        return sk_helper_main(arg);
    for (size_t i = 0; kind != NULL && drivers[i] != NULL; i++) {
        if (strcmp(drivers[i]->kind, kind) != 0 || drivers[i]->wants_arg != (arg != NULL) ||
            n == 0 || n > 64)
            continue;
        err = token_server_run(drivers[i], arg, (unsigned)n);
        gpgrt_log_error("%s%s%s: %s\n", kind, arg != NULL ? " " : "", arg != NULL ? arg : "",
                        gpg_strerror(err));
        return 1;
    }
    usage(stderr);
    return 2;
}
