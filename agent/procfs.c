#include "agent/procfs.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define MAX_FILE (128u * 1024u)

/* The whole of /proc/PID/NAME as a string with its length. */
static gpg_error_t read_file(pid_t pid, const char *name, char **out, size_t *len)
{
    char path[64];
    size_t cap = 4096, n = 0;
    char *text = NULL;
    int fd;
    gpg_error_t err = 0;

    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return gpg_error_from_syserror();
    for (;;) {
        char *more = gpgrt_realloc(text, cap + 1);
        ssize_t got;

        if (more == NULL) {
            err = gpg_error_from_syserror();
            break;
        }
        text = more;
        got = read(fd, text + n, cap - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            err = gpg_error_from_syserror();
        if (got <= 0)
            break;
        n += (size_t)got;
        if (n == cap) {
            if (cap >= MAX_FILE)
                break;
            cap *= 2;
        }
    }
    close(fd);
    if (err != 0) {
        gpgrt_free(text);
        return err;
    }
    text[n] = '\0';
    *out = text;
    *len = n;
    return 0;
}

gpg_error_t proc_stat_parse(const char *text, struct proc_stat *out)
{
    const char *p = strrchr(text, ')'); /* the name in parentheses may hold parentheses itself */
    int ppid, session, tty;
    unsigned long long start;

    if (p == NULL ||
        sscanf(p + 1,
               " %*c %d %*d %d %d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &ppid, &session, &tty, &start) != 4)
        return gpg_error(GPG_ERR_BAD_DATA);
    *out = (struct proc_stat){
        .ppid = ppid, .session = session, .tty_nr = (unsigned)tty, .start_time = start};
    return 0;
}

gpg_error_t proc_stat(pid_t pid, struct proc_stat *out)
{
    char *text;
    size_t len;
    gpg_error_t err = read_file(pid, "stat", &text, &len);

    if (err != 0)
        return err;
    err = proc_stat_parse(text, out);
    gpgrt_free(text);
    return err;
}

char *proc_link(pid_t pid, const char *name)
{
    char path[64], target[PATH_MAX];
    ssize_t n;

    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    n = readlink(path, target, sizeof target - 1);
    if (n <= 0)
        return NULL;
    target[n] = '\0';
    return target[0] == '/' ? gpgrt_strdup(target) : NULL;
}

char *proc_exe(pid_t pid)
{
    static const char gone[] = " (deleted)";
    char *exe = proc_link(pid, "exe");
    size_t n = exe != NULL ? strlen(exe) : 0;

    if (n >= sizeof gone - 1 && strcmp(exe + n - (sizeof gone - 1), gone) == 0) {
        gpgrt_free(exe);
        return NULL;
    }
    return exe;
}

bool proc_is_called(pid_t pid, const char *const *names)
{
    char *text;
    size_t len;
    bool is = false;

    if (read_file(pid, "comm", &text, &len) != 0)
        return false;
    text[strcspn(text, "\n")] = '\0';
    for (; *names != NULL && !is; names++)
        is = strcmp(text, *names) == 0;
    gpgrt_free(text);
    return is;
}

char *proc_tty_name(unsigned tty_nr)
{
    unsigned major = (tty_nr >> 8) & 0xfff;
    unsigned minor = (tty_nr & 0xff) | ((tty_nr >> 12) & 0xfff00);

    if (major >= 136 && major <= 143) /* Unix98 pseudo terminals */
        return gpgrt_bsprintf("/dev/pts/%u", (major - 136) * 256 + minor);
    if (major == 4 && minor < 64)
        return gpgrt_bsprintf("/dev/tty%u", minor);
    if (major == 4)
        return gpgrt_bsprintf("/dev/ttyS%u", minor - 64);
    return NULL;
}

long proc_login_session(pid_t pid)
{
    char *text;
    size_t len;
    long id;

    if (read_file(pid, "sessionid", &text, &len) != 0)
        return -1;
    id = strtol(text, NULL, 10);
    gpgrt_free(text);
    return id >= 0 && id < (long)UINT_MAX ? id : -1;
}

static bool is_unit(const char *s, size_t n)
{
    static const char *const ends[] = {".service", ".scope", ".slice"};

    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t e = strlen(ends[i]);

        if (n > e && strncmp(s + n - e, ends[i], e) == 0)
            return true;
    }
    return false;
}

/* The unit is the last path element that is one (a unit may have groups of its own below); a container engine's path
 * without units names the container by its last element. */
char *proc_unit_parse(const char *cgroup)
{
    const char *best = NULL, *path = NULL;
    size_t best_len = 0;

    for (const char *line = cgroup; line != NULL && *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        const char *slash = memchr(line, '/', (size_t)(end - line));

        /* "0::/path" (v2) and "1:name=systemd:/path" (v1) are the ones that systemd keeps. */
        if (slash != NULL && (strncmp(line, "0::", 3) == 0 ||
                              memmem(line, (size_t)(slash - line), "name=systemd", 12) != NULL)) {
            path = slash;
            for (const char *p = slash; p < end;) {
                const char *next = memchr(p + 1, '/', (size_t)(end - p - 1));
                size_t n = (size_t)((next != NULL ? next : end) - p - 1);

                if (is_unit(p + 1, n) || (next == NULL && best == NULL && n > 0)) {
                    best = p + 1;
                    best_len = n;
                }
                p = next != NULL ? next : end;
            }
            break;
        }
        line = *end == '\n' ? end + 1 : NULL;
    }
    if (path == NULL || best == NULL)
        return NULL;
    return gpgrt_bsprintf("%.*s", (int)best_len, best);
}

char *proc_unit(pid_t pid)
{
    char *text, *unit;
    size_t len;

    if (read_file(pid, "cgroup", &text, &len) != 0)
        return NULL;
    unit = proc_unit_parse(text);
    gpgrt_free(text);
    return unit;
}

gpg_error_t proc_strings_parse(const char *text, size_t len, struct proc_strings *out)
{
    struct proc_strings s = {.text = gpgrt_malloc(len + 1)};
    size_t count = 1;

    if (s.text == NULL)
        return gpg_error_from_syserror();
    memcpy(s.text, text, len);
    s.text[len] = '\0';
    for (size_t i = 0; i < len; i++)
        count += text[i] == '\0';
    s.at = gpgrt_calloc(count, sizeof *s.at);
    if (s.at == NULL) {
        gpgrt_free(s.text);
        return gpg_error_from_syserror();
    }
    for (size_t i = 0; i < len; i += strlen(s.text + i) + 1)
        s.at[s.n++] = s.text + i;
    *out = s;
    return 0;
}

gpg_error_t proc_strings_read(pid_t pid, const char *name, struct proc_strings *out)
{
    char *text;
    size_t len;
    gpg_error_t err = read_file(pid, name, &text, &len);

    if (err != 0)
        return err;
    err = proc_strings_parse(text, len, out);
    gpgrt_free(text);
    return err;
}

void proc_strings_free(struct proc_strings *s)
{
    gpgrt_free(s->at);
    gpgrt_free(s->text);
    *s = (struct proc_strings){0};
}

const char *proc_strings_get(const struct proc_strings *s, const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < s->n; i++)
        if (strncmp(s->at[i], name, n) == 0 && s->at[i][n] == '=')
            return s->at[i] + n + 1;
    return NULL;
}

/* --- ssh's command line --------------------------------------------------------------------------------------------- */

struct ssh_args {
    const char *destination, *port, *host_name, *alias;
};

/* "Keyword=value" or "Keyword value", as ssh -o takes it; the first value obtained wins there too. */
static void ssh_option(struct ssh_args *a, const char *text)
{
    const struct {
        const char *name;
        const char **to;
    } known[] = {{"Port", &a->port}, {"HostName", &a->host_name}, {"HostKeyAlias", &a->alias}};

    while (isspace((unsigned char)*text))
        text++;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t n = strlen(known[i].name);

        if (strncasecmp(text, known[i].name, n) != 0 ||
            (text[n] != '=' && !isspace((unsigned char)text[n])))
            continue;
        text += n + strspn(text + n, "= \t");
        if (*known[i].to == NULL && *text != '\0')
            *known[i].to = text;
        return;
    }
}

static void ssh_arguments(const struct proc_strings *argv, struct ssh_args *a)
{
    static const char with_value[] = "BbcDEeFIiJLlmOoPpQRSWw";

    for (size_t i = 1; i < argv->n; i++) {
        const char *arg = argv->at[i];

        if (strcmp(arg, "--") == 0) {
            if (i + 1 < argv->n)
                a->destination = argv->at[i + 1];
            return;
        }
        if (arg[0] != '-' || arg[1] == '\0') {
            /* Options may follow the destination; what follows them is the command. */
            if (a->destination != NULL)
                return;
            a->destination = arg;
            continue;
        }
        for (const char *p = arg + 1; *p != '\0'; p++) {
            const char *value;

            if (strchr(with_value, *p) == NULL)
                continue;
            value = p[1] != '\0' ? p + 1 : i + 1 < argv->n ? argv->at[++i] : NULL;
            if (value != NULL && *p == 'o')
                ssh_option(a, value);
            else if (value != NULL && *p == 'p' && a->port == NULL)
                a->port = value;
            break;
        }
    }
}

void proc_ssh_destination(const struct proc_strings *argv, char **host, char **port)
{
    struct ssh_args a = {0};
    const char *dest, *at, *end;
    char *name = NULL;

    *host = NULL;
    *port = NULL;
    ssh_arguments(argv, &a);
    dest = a.destination;
    if (dest == NULL)
        return;
    if (strncasecmp(dest, "ssh://", 6) == 0) {
        dest += 6;
        at = strrchr(dest, '@');
        if (at != NULL)
            dest = at + 1;
        if (dest[0] == '[' && (end = strchr(dest, ']')) != NULL) {
            name = gpgrt_bsprintf("%.*s", (int)(end - dest - 1), dest + 1);
            end++;
        } else {
            end = dest + strcspn(dest, ":/");
            name = gpgrt_bsprintf("%.*s", (int)(end - dest), dest);
        }
        if (*end == ':' && a.port == NULL)
            *port = gpgrt_bsprintf("%.*s", (int)strcspn(end + 1, "/"), end + 1);
    } else {
        at = strrchr(dest, '@');
        name = gpgrt_strdup(at != NULL ? at + 1 : dest);
    }
    if (a.alias != NULL || a.host_name != NULL) {
        gpgrt_free(name);
        name = gpgrt_strdup(a.alias != NULL ? a.alias : a.host_name);
    }
    /* An alias stands in known_hosts as it is, without a port. */
    if (a.alias != NULL) {
        gpgrt_free(*port);
        *port = NULL;
    } else if (a.port != NULL && *port == NULL) {
        *port = gpgrt_strdup(a.port);
    }
    for (char *p = name; p != NULL && *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    *host = name;
}
