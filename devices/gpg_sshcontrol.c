#include "devices/gpg_sshcontrol.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <gcrypt.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILE  1048576u
#define MAX_LINE  255u
#define MAX_LINES 10000u

/* --- lines ---------------------------------------------------------------------------------------------------------------- */

static const char *skip_blanks(const char *s)
{
    return s + strspn(s, " \t\r");
}

/* "[!]GRIP [TTL [FLAGS]]": NULL, or what is wrong. */
static const char *parse_line(const char *s, struct gpg_ssh_line *out)
{
    struct gpg_ssh_line l = {.disabled = *s == '!'};

    s = skip_blanks(s + l.disabled);
    for (int i = 0; i < GPG_GRIP; i++, s++) {
        if (!isxdigit((unsigned char)*s))
            return "no keygrip of 40 hex digits";
        l.grip[i] = (char)toupper((unsigned char)*s);
    }
    if (*s != '\0' && strchr(" \t\r", *s) == NULL)
        return "no keygrip of 40 hex digits";
    s = skip_blanks(s);
    for (int digits = 0; isdigit((unsigned char)*s); s++) {
        if (++digits > 9)
            return "the time is too long";
        l.ttl = l.ttl * 10 + (*s - '0');
    }
    if (*s != '\0' && strchr(" \t\r", *s) == NULL)
        return "the time is no number of seconds";
    for (s = skip_blanks(s); *s != '\0'; s = skip_blanks(s)) {
        size_t n = strcspn(s, " \t\r=");

        if (n != strlen("confirm") || strncasecmp(s, "confirm", n) != 0)
            return "a flag other than \"confirm\"";
        l.confirm = true;
        s += n;
        if (*s == '=')
            return "a flag with a value";
    }
    *out = l;
    return NULL;
}

gpg_error_t gpg_sshcontrol_parse(struct rd text, struct gpg_ssh_line **out, size_t *n,
                                 void (*bad)(void *arg, unsigned line, const char *why), void *arg)
{
    struct gpg_ssh_line *list = NULL;
    size_t got = 0;

    for (unsigned number = 1; text.n > 0; number++) {
        const uint8_t *end = memchr(text.p, '\n', text.n);
        size_t len = end != NULL ? (size_t)(end - text.p) : text.n;
        char line[MAX_LINE + 1];
        const char *why = NULL, *s = line;
        struct gpg_ssh_line l, *more;

        if (len <= MAX_LINE) {
            memcpy(line, text.p, len);
            line[len] = '\0';
            s = skip_blanks(line);
        }
        if (len > MAX_LINE || strlen(line) != len)
            why = "too long, or no text";
        else if (*s != '\0' && *s != '#')
            why = parse_line(s, &l);
        text.p += len + (end != NULL);
        text.n -= len + (end != NULL);
        if (why != NULL && bad != NULL)
            bad(arg, number, why);
        if (why != NULL || *s == '\0' || *s == '#')
            continue;
        more = got < MAX_LINES ? gpgrt_reallocarray(list, got, got + 1, sizeof *more) : NULL;
        if (more == NULL) {
            gpgrt_free(list);
            return got < MAX_LINES ? gpg_error_from_syserror() : gpg_error(GPG_ERR_TOO_MANY);
        }
        list = more;
        list[got++] = l;
    }
    *out = list;
    *n = got;
    return 0;
}

/* --- the file --------------------------------------------------------------------------------------------------------------- */

static gpg_error_t read_file(int fd, struct buf *text)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return gpg_error_from_syserror();
    if (!S_ISREG(st.st_mode))
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    if ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & S_IWOTH) != 0)
        return gpg_error(GPG_ERR_EACCES);
    for (;;) {
        char chunk[4096];
        ssize_t n = read(fd, chunk, sizeof chunk);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return gpg_error_from_syserror();
        if (n == 0)
            return buf_err(text);
        buf_put(text, chunk, (size_t)n);
        if (text->len > MAX_FILE)
            return gpg_error(GPG_ERR_TOO_LARGE);
    }
}

static gpg_error_t open_file(const char *home, int flags, int *fd)
{
    char *path = gpgrt_bsprintf("%s/sshcontrol", home);
    gpg_error_t err = 0;

    if (path == NULL)
        return gpg_error_from_syserror();
    *fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
    if (*fd < 0)
        err = gpg_error_from_syserror();
    gpgrt_free(path);
    return err;
}

static void log_line(void *arg, unsigned line, const char *why)
{
    gpgrt_log_error("%s/sshcontrol:%u: left out: %s\n", (const char *)arg, line, why);
}

/* Was it logged as it is now? */
static bool is_logged(const char *home, gpg_error_t err, const struct buf *text)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static uint8_t last[32];
    uint8_t now[32];
    bool is;

    gcry_md_hash_buffer(GCRY_MD_SHA256, now, text->data, text->len);
    now[0] ^= (uint8_t)gpg_err_code(err);
    pthread_mutex_lock(&mutex);
    is = memcmp(now, last, sizeof now) == 0;
    memcpy(last, now, sizeof now);
    pthread_mutex_unlock(&mutex);
    if (err != 0 && !is)
        gpgrt_log_error("%s/sshcontrol: %s\n", home, gpg_strerror(err));
    return is;
}

gpg_error_t gpg_sshcontrol_read(const char *home, struct gpg_ssh_line **out, size_t *n)
{
    struct buf text = BUF_INIT;
    int fd = -1;
    gpg_error_t err = open_file(home, O_RDONLY, &fd);

    *out = NULL;
    *n = 0;
    if (gpg_err_code(err) == GPG_ERR_ENOENT)
        return 0;
    if (err == 0)
        err = read_file(fd, &text);
    if (fd >= 0)
        close(fd);
    if (err != 0)
        (void)is_logged(home, err, &text);
    else
        err =
            gpg_sshcontrol_parse(buf_rd(&text), out, n, is_logged(home, 0, &text) ? NULL : log_line,
                                 (void *)(uintptr_t)home);
    buf_free(&text);
    return err;
}

static const char header[] = "# Keys of gpg's that the agent offers to ssh, one a line: the "
                             "keygrip, 40 hex digits; behind it, if wanted, for how\n"
                             "# many seconds its passphrase is kept (0: as configured), and the "
                             "word \"confirm\", to be asked at each use. A\n"
                             "# \"!\" before the keygrip takes a key out. ssh-add adds lines; they "
                             "may be added by hand.\n\n";

gpg_error_t gpg_sshcontrol_add(const char *home, const char *grip, long ttl, bool confirm,
                               const char *comment)
{
    struct gpg_ssh_line *list = NULL;
    struct buf text = BUF_INIT, more = BUF_INIT;
    size_t n = 0;
    int fd = -1;
    bool there = false;
    gpg_error_t err = open_file(home, O_RDWR | O_CREAT | O_APPEND, &fd);

    if (err == 0)
        err = read_file(fd, &text);
    if (err == 0)
        err = gpg_sshcontrol_parse(buf_rd(&text), &list, &n, NULL, NULL);
    for (size_t i = 0; i < n && err == 0; i++)
        there |= strcasecmp(list[i].grip, grip) == 0;
    if (err != 0 || there)
        goto out;
    if (text.len == 0)
        buf_put(&more, header, sizeof header - 1);
    else if (text.data[text.len - 1] != '\n')
        buf_put_u8(&more, '\n');
    for (const char *line = comment; *line != '\0';) {
        size_t len = strcspn(line, "\r\n");

        buf_printf(&more, "# %.*s\n", (int)len, line);
        line += len + (line[len] != '\0');
    }
    buf_printf(&more, "%s %ld%s\n", grip, ttl, confirm ? " confirm" : "");
    err = buf_err(&more);
    if (err == 0 && (write(fd, more.data, more.len) != (ssize_t)more.len || fsync(fd) != 0))
        err = gpg_error_from_syserror();
out:
    if (fd >= 0)
        close(fd);
    gpgrt_free(list);
    buf_free(&text);
    buf_free(&more);
    return err;
}
