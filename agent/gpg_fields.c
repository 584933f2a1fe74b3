/* What the key store is told with a command, and tells back: CACHE fields, nonces. */
#include "agent/gpg_session.h"
#include "proto/token_protocol.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

void gpg_put_cache_fields(struct gpg_session *s, bool normal_cache, bool ssh, struct buf *fields)
{
    const struct gpg_config *c = s->conf;

    if (!normal_cache)
        field_put_int(fields, "cache", 0);
    field_put_int(fields, "ttl", (long)(ssh ? c->default_ttl_ssh : c->default_ttl));
    field_put_int(fields, "max-ttl", (long)(ssh ? c->max_ttl_ssh : c->max_ttl));
    if (ssh)
        field_put(fields, "mode", "ssh");
    if (s->level != GPG_FULL)
        field_put_int(fields, "realm", (long)s->level);
}

static gpg_error_t pass_nonce(struct gpg_session *s, const char *line, const char *field,
                              const char *keyword, char **last)
{
    char *value = NULL;
    gpg_error_t err = field_get(line, field, &value);

    if (err != 0 || value == NULL)
        return err;
    if (value[strspn(value, "0123456789ABCDEFabcdef")] != '\0')
        err = gpg_error(GPG_ERR_BAD_DATA);
    else
        err = gpg_status(s, keyword, "%s", value);
    if (err == 0 && last != NULL) {
        gpgrt_free(*last);
        *last = value;
        value = NULL;
    }
    gpgrt_free(value);
    return err;
}

gpg_error_t gpg_pass_nonces(struct gpg_session *s, struct rd lines, bool until_reset)
{
    static const char keyword[] = TOKEN_STATUS_NONCE " ";
    char *text = gpgrt_bsprintf("%.*s", (int)lines.n, lines.n > 0 ? (const char *)lines.p : ""),
         *save = NULL;
    gpg_error_t err = 0;

    if (text == NULL)
        return gpg_error_from_syserror();
    for (char *l = strtok_r(text, "\n", &save); l != NULL && err == 0;
         l = strtok_r(NULL, "\n", &save)) {
        if (strncmp(l, keyword, sizeof keyword - 1) != 0)
            continue;
        err = pass_nonce(s, l + sizeof keyword - 1, "cache", "CACHE_NONCE",
                         until_reset ? &s->last_cache_nonce : NULL);
        if (err == 0)
            err = pass_nonce(s, l + sizeof keyword - 1, "passwd", "PASSWD_NONCE",
                             until_reset ? &s->last_passwd_nonce : NULL);
    }
    gpgrt_free(text);
    return err;
}

void gpg_pass_progress(struct gpg_session *s, const char *line)
{
    char *what = NULL, *chr = NULL;
    long cur = 0, total = 0;

    if (field_get(line, "what", &what) == 0 && field_get(line, "char", &chr) == 0 && what != NULL &&
        chr != NULL && strlen(chr) == 1 && strpbrk(what, " \r\n") == NULL &&
        field_get_int(line, "cur", 0, &cur) == 0 && field_get_int(line, "total", 0, &total) == 0)
        (void)gpg_status(s, "PROGRESS", "%s %s %ld %ld", what, chr, cur, total);
    gpgrt_free(what);
    gpgrt_free(chr);
}

gpg_error_t gpg_read_time(const char *text, uint32_t *out)
{
    struct tm tm = {0};
    int used = 0;
    time_t t;

    if (sscanf(text, "%4d%2d%2dT%2d%2d%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
               &tm.tm_min, &tm.tm_sec, &used) != 6 ||
        used != 15 || (text[used] != '\0' && text[used] != ' ') || tm.tm_year < 1970 ||
        tm.tm_mon < 1 || tm.tm_mon > 12)
        return gpg_error(GPG_ERR_INV_TIME);
    tm.tm_year -= 1900;
    tm.tm_mon--;
    t = timegm(&tm);
    if (t < 0 || t > UINT32_MAX)
        return gpg_error(GPG_ERR_INV_TIME);
    *out = (uint32_t)t;
    return 0;
}

gpg_error_t gpg_read_timestamp(struct gpg_session *s, const char *line, uint32_t *out)
{
    const char *value = gpg_option_value(line, "--timestamp");

    if (value == NULL || gpg_read_time(value, out) == 0)
        return 0;
    return gpg_fail(s, GPG_ERR_INV_TIME, "--timestamp wants YYYYMMDDThhmmss");
}
