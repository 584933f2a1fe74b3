/* Passphrases that are no key's, and the cache: GET_PASSPHRASE, CLEAR_PASSPHRASE, PRESET_PASSPHRASE, GET_CONFIRMATION. */
#include "agent/gpg_dialog.h"
#include "proto/token_protocol.h"

#include <stdlib.h>
#include <string.h>

#define MAX_CACHE_ID 50u
#define MAX_PRESET   480u
#define ASK_S        0u /* a dialog has its own time-out */

/* --- the cache -------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t give_secret(void *arg, const char *line, struct buf *answer)
{
    const struct buf *secret = arg;

    if (strncmp(line, "SECRET", strcspn(line, " ")) != 0)
        return gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
    buf_put_rd(answer, buf_rd(secret));
    return buf_err(answer);
}

static gpg_error_t cache(struct gpg_session *s, const char *what, const char *id, const char *mode,
                         bool ssh, const struct buf *secret, struct buf *result)
{
    struct buf args = BUF_INIT;
    gpg_error_t err;

    field_put(&args, "do", what);
    field_put(&args, "id", id);
    field_put(&args, "mode", mode);
    field_put_int(&args, "ttl", (long)(ssh ? s->conf->default_ttl_ssh : s->conf->default_ttl));
    field_put_int(&args, "max-ttl", (long)(ssh ? s->conf->max_ttl_ssh : s->conf->max_ttl));
    if (s->level != GPG_FULL)
        field_put_int(&args, "realm", (long)s->level);
    err = buf_cstr(&args) != NULL
              ? gpg_call_store(s, NULL, TOKEN_VERB_CACHE, buf_cstr(&args), give_secret,
                               (void *)(uintptr_t)secret, result, NULL)
              : buf_err(&args);
    buf_free(&args);
    return err;
}

/* --- GET_PASSPHRASE ----------------------------------------------------------------------------------------------------------------- */

/* The next word of *LINE, unescaped; NULL for "X" and for what is not there. */
static gpg_error_t next_word(char **line, char **out)
{
    char *word = *line + strspn(*line, " \t"), *end = word + strcspn(word, " \t");

    *out = NULL;
    *line = *end != '\0' ? end + 1 : end;
    *end = '\0';
    if (word[0] == '\0' || strcmp(word, "X") == 0)
        return 0;
    *out = gpg_unescape(word, true);
    return *out != NULL ? 0 : gpg_error_from_syserror();
}

struct get_passphrase {
    bool data, check, no_ask, repeat, quality, symkey;
    char *id, *error, *prompt, *desc;
};

static void get_clear(struct get_passphrase *g)
{
    gpgrt_free(g->id);
    gpgrt_free(g->error);
    gpgrt_free(g->prompt);
    gpgrt_free(g->desc);
}

static gpg_error_t get_parse(struct gpg_session *s, char *line, struct get_passphrase *g)
{
    const char *repeat = gpg_option_value(line, "--repeat");
    gpg_error_t err;

    g->data = gpg_has_option(line, "--data");
    g->check = gpg_has_option(line, "--check");
    g->no_ask = gpg_has_option(line, "--no-ask");
    g->quality = gpg_has_option(line, "--qualitybar");
    g->symkey = gpg_has_option(line, "--newsymkey");
    g->repeat = repeat != NULL && (repeat[0] == '\0' || repeat[0] == ' ' || atoi(repeat) > 0);
    line = gpg_skip_options(line);
    if ((err = next_word(&line, &g->id)) != 0 || (err = next_word(&line, &g->error)) != 0 ||
        (err = next_word(&line, &g->prompt)) != 0 || (err = next_word(&line, &g->desc)) != 0)
        return err;
    if (g->id != NULL && strlen(g->id) > MAX_CACHE_ID)
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "invalid length of cacheID");
    return 0;
}

static gpg_error_t ask_person(struct gpg_session *s, const struct get_passphrase *g,
                              struct buf *secret)
{
    char *keyinfo = g->id != NULL ? gpgrt_bsprintf("u/%s", g->id) : NULL;
    const struct gpg_question q = {.desc = g->desc,
                                   .error = g->error,
                                   .label = g->prompt != NULL ? g->prompt
                                            : g->desc != NULL && strstr(g->desc, "PIN") != NULL
                                                ? "PIN:"
                                                : "Passphrase:",
                                   .keyinfo = keyinfo};
    const struct gpg_new n = {.check = g->check || g->symkey,
                              .quality = g->quality,
                              .symkey = g->symkey,
                              .empty = g->symkey ? GPG_EMPTY_REFUSED : GPG_EMPTY_CONFIRMED};
    struct wait w;
    gpg_error_t err = wait_begin(s->a->waits, &w, s->origin.fd, ASK_S);

    if (err == 0) {
        err = g->repeat && s->ask.mode != ASK_LOOPBACK ? gpg_ask_new(s, &w, &q, &n, secret)
                                                       : gpg_ask_secret(s, &w, &q, secret);
        wait_end(&w);
    }
    gpgrt_free(keyinfo);
    return err;
}

static gpg_error_t give(struct gpg_session *s, const struct buf *secret, bool data)
{
    char *hex;
    gpg_error_t err;

    if (data)
        return gpg_send(s, buf_rd(secret), true);
    hex = hex_encode(secret->data, secret->len);
    if (hex == NULL)
        return gpg_error_from_syserror();
    assuan_begin_confidential(s->ctx);
    err = assuan_set_okay_line(s->ctx, hex);
    explicit_bzero(hex, strlen(hex));
    gpgrt_free(hex);
    return err;
}

static gpg_error_t cmd_get_passphrase(struct gpg_session *s, char *line)
{
    struct get_passphrase g = {0};
    struct buf secret = BUF_INIT_SECURE;
    gpg_error_t err = get_parse(s, line, &g);
    bool cached = false;

    if (err != 0)
        goto out;
    if (g.desc == NULL && !g.no_ask) {
        err = gpg_fail(s, GPG_ERR_ASS_PARAMETER, "no description given");
        goto out;
    }
    /* What was told the person's own programs is nothing for a remote one. */
    if (g.id != NULL && s->level == GPG_FULL)
        cached = cache(s, "get", g.id, "user", false, NULL, &secret) == 0;
    if (!cached && g.no_ask) {
        err = gpg_fail(s, GPG_ERR_NO_DATA, NULL);
        goto out;
    }
    if (!cached)
        err = ask_person(s, &g, &secret);
    if (err == 0 && !cached && g.id != NULL)
        (void)cache(s, "put", g.id, "user", false, &secret, NULL);
    err = err == 0 ? give(s, &secret, g.data) : gpg_map_error(s, err, false);
out:
    get_clear(&g);
    buf_free(&secret);
    return err;
}

/* --- the others ---------------------------------------------------------------------------------------------------------------------- */

static void forget_outside(struct gpg_session *s, char kind, const char *id)
{
    char *keyinfo = gpgrt_bsprintf("%c/%s", kind, id);
    struct wait w;

    if (keyinfo != NULL && wait_begin(s->a->waits, &w, s->origin.fd, 10) == 0) {
        gpg_forget_outside(s, &w, keyinfo);
        wait_end(&w);
    }
    gpgrt_free(keyinfo);
}

static gpg_error_t cmd_clear_passphrase(struct gpg_session *s, char *line)
{
    const char *mode = gpg_option_value(line, "--mode");
    bool normal = mode != NULL && strncmp(mode, "normal", 6) == 0,
         ssh = mode != NULL && strncmp(mode, "ssh", 3) == 0;
    gpg_error_t err;

    line = gpg_skip_options(line);
    line[strcspn(line, " \t")] = '\0';
    if (line[0] == '\0' || strlen(line) > MAX_CACHE_ID)
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "invalid length of cacheID");
    err = cache(s, "clear", line, ssh ? "ssh" : normal ? "normal" : "user", ssh, NULL, NULL);
    forget_outside(s, ssh ? 's' : normal ? 'n' : 'u', line);
    return gpg_err_code(err) == GPG_ERR_NO_DATA ? 0 : gpg_map_error(s, err, false);
}

/* PRESET_PASSPHRASE [--inquire] ID TTL [HEX] */
static gpg_error_t cmd_preset_passphrase(struct gpg_session *s, char *line)
{
    bool inquire = gpg_has_option(line, "--inquire");
    struct buf secret = BUF_INIT_SECURE;
    char *id, *ttl, *hex;
    gpg_error_t err = 0;

    if (!s->conf->allow_preset)
        return gpg_fail(s, GPG_ERR_NOT_SUPPORTED, "no --allow-preset-passphrase");
    id = gpg_skip_options(line);
    ttl = id + strcspn(id, " \t");
    if (*ttl != '\0')
        *ttl++ = '\0';
    ttl += strspn(ttl, " \t");
    hex = ttl + strcspn(ttl, " \t");
    if (*hex != '\0')
        *hex++ = '\0';
    hex += strspn(hex, " \t");
    hex[strcspn(hex, " \t")] = '\0';
    if (id[0] == '\0' || strlen(id) > MAX_CACHE_ID || ttl[0] == '\0')
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "missing passphrase timeout");
    if (strcmp(ttl, "-1") != 0)
        return gpg_fail(s, GPG_ERR_NOT_IMPLEMENTED, NULL);
    if (inquire && hex[0] != '\0')
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "both --inquire and passphrase specified");
    if (inquire)
        err = gpg_inquire(s, "PASSPHRASE", MAX_PRESET, true, true, &secret);
    else if (hex[0] != '\0')
        err = hex_decode(hex, &secret);
    else
        err = gpg_fail(s, GPG_ERR_ASS_PARAMETER, "passphrase is required");
    explicit_bzero(hex, strlen(hex));
    if (err == 0 && secret.len > 0 && secret.data[secret.len - 1] == '\0')
        secret.len--;
    if (err == 0)
        err = gpg_map_error(s, cache(s, "put", id, "any", false, &secret, NULL), false);
    buf_free(&secret);
    return err;
}

static gpg_error_t cmd_get_confirmation(struct gpg_session *s, char *line)
{
    struct wait w;
    char *desc = NULL;
    gpg_error_t err;

    line[strcspn(line, " \t")] = '\0';
    if (line[0] == '\0')
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "no description given");
    if (strcmp(line, "X") != 0) {
        desc = gpg_unescape(line, true);
        if (desc == NULL)
            return gpg_error_from_syserror();
    }
    err = wait_begin(s->a->waits, &w, s->origin.fd, ASK_S);
    if (err == 0) {
        err = gpg_confirm(s, &w, &(struct prompt_text){.desc = desc});
        wait_end(&w);
    }
    gpgrt_free(desc);
    return gpg_map_error(s, err, false);
}

const struct gpg_command gpg_passphrase_commands[] = {
    {"GET_PASSPHRASE", cmd_get_passphrase, true,
     "GET_PASSPHRASE [--data] [--check] [--no-ask] [--repeat[=N]] [--qualitybar] [--newsymkey] "
     "<cache_id> "
     "[<error_message> <prompt> <description>]\n\nA passphrase of the person's."},
    {"CLEAR_PASSPHRASE", cmd_clear_passphrase, false,
     "CLEAR_PASSPHRASE [--mode=normal|ssh] <cache_id>\n\nForgets a passphrase."},
    {"PRESET_PASSPHRASE", cmd_preset_passphrase, false,
     "PRESET_PASSPHRASE [--inquire] <string_or_keygrip> <timeout> [<hexstring>]\n\nPuts a "
     "passphrase into "
     "the cache."},
    {"GET_CONFIRMATION", cmd_get_confirmation, false,
     "GET_CONFIRMATION <description>\n\nYes or no."},
    {0},
};
