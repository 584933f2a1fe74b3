#include "agent/options.h"

#include "agent/provider_path.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char usage[] =
    "usage: latchkey-agent [-c | -s] [-Dd] [-a SOCKET] [-t LIFE]\n"
    "       latchkey-agent [-a SOCKET] [-t LIFE] COMMAND [ARG ...]\n"
    "       latchkey-agent [-c | -s] -k\n"
    "       latchkey-agent -u\n"
    "       latchkey-agent --foreground | --daemon [-a SOCKET] [--log-file FILE]\n"
    "\n"
    "An ssh-agent that finds keys on every personal HSM that is plugged in and asks for the\n"
    "touch, PIN or confirmation that a policy file demands.\n"
    "\n"
    "  -a SOCKET        listen there\n"
    "  -c, -s           print variables for csh, for sh (default: by $SHELL)\n"
    "  -D               stay in the foreground\n"
    "  -d               the same, and log to standard error\n"
    "  -k               end the agent that $SSH_AGENT_PID names\n"
    "  -P PATTERNS      paths from which ssh-add -s and -S may load providers\n"
    "                   (default: " PROVIDER_PATTERNS ")\n"
    "  -O allow-remote-pkcs11\n"
    "                   also for connections that are bound to a host\n"
    "  -O no-restrict-websafe\n"
    "                   security keys of web applications sign any data\n"
    "  -t LIFE          life of added keys (90, 10m, 1h ..)\n"
    "  -u, -uu          remove the sockets that killed agents left behind, those of other hosts\n"
    "                   in a shared home directory too, and end\n"
    "  -U               do not do so at the start\n"
    "  COMMAND          run it with SSH_AUTH_SOCK set, and end with it\n"
    "      --foreground run as a service: SIGHUP reloads policy and log\n"
    "      --daemon     the same in the background\n"
    "      --log-file FILE\n"
    "      --help, --version\n"
    "  -E HASH, -T      for ssh-agent's sake; see latchkey-agent(1)\n";

void options_usage(bool to_stderr)
{
    fputs(usage, to_stderr ? stderr : stdout);
}

gpg_error_t options_parse_life(const char *s, unsigned *seconds)
{
    static const struct {
        char letter;
        unsigned secs;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
    unsigned long total = 0;

    if (*s == '\0')
        return gpg_error(GPG_ERR_INV_VALUE);
    while (*s != '\0') {
        unsigned long n = 0, unit = 1;

        if (*s < '0' || *s > '9')
            return gpg_error(GPG_ERR_INV_VALUE);
        for (; *s >= '0' && *s <= '9'; s++) {
            n = n * 10 + (unsigned long)(*s - '0');
            if (n > UINT_MAX)
                return gpg_error(GPG_ERR_INV_VALUE);
        }
        if (*s != '\0') {
            size_t i = 0;

            while (i < sizeof units / sizeof units[0] && units[i].letter != (*s | 0x20))
                i++;
            if (i == sizeof units / sizeof units[0])
                return gpg_error(GPG_ERR_INV_VALUE);
            unit = units[i].secs;
            s++;
        }
        total += n * unit;
        if (total > UINT_MAX)
            return gpg_error(GPG_ERR_INV_VALUE);
    }
    *seconds = (unsigned)total;
    return 0;
}

static bool is_csh(const char *shell)
{
    size_t n = shell != NULL ? strlen(shell) : 0;

    return n >= 3 && strcmp(shell + n - 3, "csh") == 0;
}

enum { OPT_FOREGROUND = 256, OPT_DAEMON, OPT_LOG_FILE, OPT_HELP, OPT_VERSION };

static const struct option long_options[] = {
    {"foreground", no_argument, NULL, OPT_FOREGROUND},
    {"daemon", no_argument, NULL, OPT_DAEMON},
    {"log-file", required_argument, NULL, OPT_LOG_FILE},
    {"verbose", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

/* What ssh-agent -E takes. */
static bool is_digest(const char *name)
{
    static const char *const known[] = {"MD5", "SHA1", "SHA256", "SHA384", "SHA512"};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcasecmp(name, known[i]) == 0)
            return true;
    return false;
}

/* A value that ssh-agent dies of, where it prints its usage for other mistakes. */
static gpg_error_t refuse(char opt, const char *value, const char *why)
{
    fprintf(stderr, "latchkey-agent: -%c %s: %s\n", opt, value, why);
    return gpg_error(GPG_ERR_INV_VALUE);
}

static gpg_error_t complain(const char *what)
{
    fprintf(stderr, "latchkey-agent: %s\nTry: latchkey-agent --help\n", what);
    return gpg_error(GPG_ERR_SYNTAX);
}

/* ssh-agent(1) -O; false: there is none of that name. */
static bool take_extra(const char *s, struct options *o)
{
    static const char allow[] = "websafe-allow=";

    if (strcmp(s, "no-restrict-websafe") == 0)
        o->websafe_allow = NULL;
    else if (strcmp(s, "allow-remote-pkcs11") == 0)
        o->remote_providers = true;
    else if (strncmp(s, allow, sizeof allow - 1) == 0)
        o->websafe_allow = s + sizeof allow - 1;
    else
        return false;
    return true;
}

gpg_error_t options_parse(int argc, char **argv, const char *shell, struct options *out)
{
    struct options o = {.mode = MODE_FORK, .csh = is_csh(shell), .websafe_allow = "ssh:*"};
    bool csh = false, sh = false;
    int opt;

    optind = 0; /* glibc: start anew, for tests */
    while ((opt = getopt_long(argc, argv, "+a:cDdE:kO:P:st:TUuv", long_options, NULL)) != -1) {
        switch (opt) {
        case 'a':
            o.socket = optarg;
            break;
        case 'c':
            csh = true;
            break;
        case 's':
            sh = true;
            break;
        case 'D':
            o.mode = MODE_FOREGROUND;
            break;
        case 'd':
            o.mode = MODE_DEBUG;
            break;
        case 'k':
            o.mode = MODE_KILL;
            break;
        case 't':
            if (options_parse_life(optarg, &o.life) != 0) {
                fprintf(stderr,
                        "latchkey-agent: -t %s: not a life time: use seconds or 10m, 1h, 2d\n",
                        optarg);
                return gpg_error(GPG_ERR_SYNTAX);
            }
            break;
        case 'v':
            o.verbose++;
            break;
        case OPT_FOREGROUND:
            o.mode = MODE_SERVICE;
            break;
        case OPT_DAEMON:
            o.mode = MODE_DAEMON;
            break;
        case OPT_LOG_FILE:
            o.log_file = optarg;
            break;
        case OPT_HELP:
            o.mode = MODE_HELP;
            break;
        case OPT_VERSION:
            o.mode = MODE_VERSION;
            break;
        case 'P':
            if (o.providers != NULL)
                return refuse('P', optarg, "is given twice");
            o.providers = optarg;
            break;
        case 'O':
            if (!take_extra(optarg, &o))
                return refuse('O', optarg, "there is no such option");
            break;
        case 'E': /* fingerprints are shown as SHA-256 only */
            if (!is_digest(optarg))
                return refuse('E', optarg, "not a hash for fingerprints");
            break;
        case 'T': /* sockets are made in private directories below $TMPDIR as it is */
            break;
        case 'U':
            o.keep_stale = true;
            break;
        case 'u':
            o.any_host = o.mode == MODE_CLEAN;
            o.mode = MODE_CLEAN;
            break;
        default:
            return complain("see the usage");
        }
    }
    if (csh && sh)
        return complain("-c and -s exclude each other");
    if (csh || sh)
        o.csh = csh;
    if (optind < argc) {
        if (o.mode != MODE_FORK || csh || sh)
            return complain(
                "a COMMAND goes with none of -c, -s, -D, -d, -k, -u, --foreground, --daemon");
        o.mode = MODE_COMMAND;
        o.command = argv + optind;
    }
    *out = o;
    return 0;
}
