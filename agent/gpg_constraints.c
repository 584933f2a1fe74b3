#include "agent/gpg_constraints.h"

#include "agent/child.h"

#include <ctype.h>
#include <gcrypt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATTERN_MS     10000
#define SUGGEST_OCTETS 19u /* a little more than .. */
#define SUGGEST_CHARS  30u /* .. 150 bits */
#define SUGGEST_ROUNDS 20

/* --- patterns ------------------------------------------------------------------------------------------------------------------- */

static const char *pattern_program(void)
{
    static const char *const places[] = {
        "/usr/lib/gnupg/gpg-check-pattern", "/usr/libexec/gpg-check-pattern",
        "/usr/libexec/gnupg/gpg-check-pattern", "/usr/lib/gnupg2/gpg-check-pattern",
        "/usr/local/libexec/gpg-check-pattern"};

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (access(places[i], X_OK) == 0)
            return places[i];
    return NULL;
}

static void note_exit(void *arg, int status)
{
    int *const fd = arg;
    uint8_t good = WIFEXITED(status) && WEXITSTATUS(status) == 0;

    if (write(*fd, &good, 1) < 0)
        gpgrt_log_debug("gpg-check-pattern: nobody waits for it\n");
    close(*fd);
    gpgrt_free(fd);
}

/* Runs it with WORD on its standard input, which is a socket: no file, no argument holds it. */
static gpg_error_t run_check(const char *program, const char *file, const char *word, bool *clean)
{
    char *const argv[] = {(char *)(uintptr_t) "gpg-check-pattern", (char *)(uintptr_t) "--null",
                          (char *)(uintptr_t) "--", (char *)(uintptr_t)file, NULL};
    int input[2] = {-1, -1}, end[2] = {-1, -1}, fds[3] = {-1, -1, -1},
        *report = gpgrt_malloc(sizeof *report);
    const struct child_spec spec = {
        .path = program, .argv = argv, .fds = fds, .nfds = 3, .keep_stderr = true};
    struct timeval most = {.tv_sec = PATTERN_MS / 1000};
    struct child *child = NULL;
    size_t n = strlen(word);
    uint8_t good = 0;
    gpg_error_t err = 0;

    if (report == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, input) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, end) < 0) {
        err = gpg_error_from_syserror();
        goto out;
    }
    fds[0] = input[1];
    *report = end[1];
    err = child_start(&spec, note_exit, report, &child);
    if (err != 0)
        goto out;
    report = NULL; /* the child's now, and so is: */
    end[1] = -1;
    close(input[1]);
    input[1] = -1;
    (void)setsockopt(end[0], SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    if (send(input[0], word, n, MSG_NOSIGNAL) != (ssize_t)n)
        err = gpg_error(GPG_ERR_EIO);
    close(input[0]);
    input[0] = -1;
    if (err == 0 && recv(end[0], &good, 1, 0) != 1)
        err = gpg_error(GPG_ERR_TIMEOUT);
    if (err != 0)
        child_end(child, SIGTERM);
    child_release(child);
    *clean = good != 0;
out:
    gpgrt_free(report);
    for (int i = 0; i < 2; i++) {
        if (input[i] >= 0)
            close(input[i]);
        if (end[i] >= 0)
            close(end[i]);
    }
    return err;
}

static bool matches_pattern(const struct gpg_constraints *c, const char *word)
{
    const char *file = c->symkey ? c->conf->check_sym_pattern : c->conf->check_pattern;
    const char *program = file != NULL ? pattern_program() : NULL;
    bool clean = false;
    gpg_error_t err;

    if (file == NULL)
        return false;
    err = program != NULL ? run_check(program, file, word, &clean) : gpg_error(GPG_ERR_ENOENT);
    if (err != 0)
        gpgrt_log_error("the passphrase cannot be checked against %s by gpg-check-pattern: %s\n",
                        file, gpg_strerror(err));
    return err != 0 || !clean;
}

/* --- rules ------------------------------------------------------------------------------------------------------------------------ */

char *gpg_complaint(const struct gpg_constraints *c, const char *word)
{
    const unsigned len = c->conf->min_passphrase_len, nonalpha = c->conf->min_passphrase_nonalpha;
    struct buf b = BUF_INIT;
    size_t n = 0, other = 0;

    if (word[0] == '\0')
        return NULL;
    for (const char *p = word; *p != '\0'; p++) {
        n += ((unsigned char)*p & 0xc0) != 0x80; /* characters, not octets */
        other += !((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z'));
    }
    if (n < len)
        buf_printf(&b, "A passphrase should be at least %u character%s long.\n", len,
                   len == 1 ? "" : "s");
    if (other < nonalpha)
        buf_printf(&b, "A passphrase should contain at least %u digit%s or\nspecial character%s.\n",
                   nonalpha, nonalpha == 1 ? "" : "s", nonalpha == 1 ? "" : "s");
    if (matches_pattern(c, word))
        buf_printf(&b, "A passphrase may not be a known term or match\ncertain pattern.\n");
    if (b.len == 0)
        return NULL;
    b.len--; /* the last line's end */
    return buf_steal_cstr(&b);
}

int gpg_quality(const struct gpg_constraints *c, const char *word)
{
    size_t good = c->conf->min_passphrase_len + c->conf->min_passphrase_len / 3, n = 0;
    char *complaint;
    int percent;

    for (const char *p = word; *p != '\0'; p++)
        n += !isspace((unsigned char)*p);
    if (good == 0)
        return 0;
    percent = n > good ? 100 : (int)(n * 10 / good) * 10;
    complaint = gpg_complaint(c, word);
    if (complaint != NULL)
        percent = -percent;
    gpgrt_free(complaint);
    return percent;
}

gpg_error_t gpg_suggest(const struct gpg_constraints *c, struct buf *word)
{
    static const char digits[] = "ybndrfg8ejkmcpqxot1uwisza345h769"; /* zbase32 */

    for (int round = 0; round < SUGGEST_ROUNDS; round++) {
        uint8_t *octets = gcry_random_bytes_secure(SUGGEST_OCTETS, GCRY_STRONG_RANDOM);
        char *complaint;

        buf_reset(word);
        for (unsigned i = 0; i < SUGGEST_CHARS; i++) {
            unsigned at = i * 5 / 8, shift = i * 5 % 8;
            unsigned two = (unsigned)octets[at] << 8 | octets[at + 1];

            buf_put_u8(word, (uint8_t)digits[two >> (11 - shift) & 31]);
        }
        gcry_free(octets);
        if (buf_cstr(word) == NULL)
            return buf_err(word);
        complaint = gpg_complaint(c, buf_cstr(word));
        if (complaint == NULL)
            return 0;
        gpgrt_free(complaint);
    }
    buf_reset(word);
    return gpg_error(GPG_ERR_NOT_FOUND);
}

/* --- for a pinentry ---------------------------------------------------------------------------------------------------------------- */

static int rule_quality(void *arg, const char *word)
{
    return gpg_quality(arg, word);
}

static char *rule_complaint(void *arg, const char *word)
{
    return word[0] == '\0' ? gpgrt_strdup("An empty passphrase is not allowed.")
                           : gpg_complaint(arg, word);
}

static gpg_error_t rule_suggest(void *arg, struct buf *word)
{
    return gpg_suggest(arg, word);
}

gpg_error_t gpg_rules_init(struct gpg_rules *r, const struct gpg_constraints *c, bool quality)
{
    const struct gpg_config *conf = c->conf;

    *r = (struct gpg_rules){
        .rules = {.quality = quality && conf->min_passphrase_len > 0 ? rule_quality : NULL,
                  .complaint = rule_complaint,
                  .suggest = rule_suggest,
                  .arg = (void *)(uintptr_t)c,
                  .enforced = conf->enforce_constraints,
                  .hint_short = "Not every passphrase is allowed here.",
                  .error_title = "Passphrase Not Allowed",
                  .format_hint = conf->formatted_passphrase
                                     ? "Note: The blanks are not part of the passphrase."
                                     : NULL}};
    r->hint = gpgrt_bsprintf(
        "A passphrase has at least %u characters, %u of them digits or special characters.",
        conf->min_passphrase_len, conf->min_passphrase_nonalpha);
    r->rules.hint_long = r->hint;
    return r->hint != NULL ? 0 : gpg_error_from_syserror();
}

void gpg_rules_clear(struct gpg_rules *r)
{
    gpgrt_free(r->hint);
}
