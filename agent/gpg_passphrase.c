/* Passphrases that are no key's, and the cache: GET_PASSPHRASE, CLEAR_PASSPHRASE, PRESET_PASSPHRASE, GET_CONFIRMATION. */
#include "agent/gpg_dialog.h"
#include "proto/token_protocol.h"

#include <stdlib.h>
#include <string.h>

#define MAX_CACHE_ID 50u
#define MAX_PRESET   480u
#define MAX_SECRET   1024u
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

/* An entry of the cache and how long it lives, in seconds; -1: no limit. */
struct entry {
    const char *id, *mode;
    long ttl, max_ttl;
    long realm;
};

/* As the configuration has it for passphrases of MODE. */
static struct entry entry_of(const struct gpg_session *s, const char *id, const char *mode)
{
    const struct gpg_config *c = s->conf;
    bool ssh = strcmp(mode, "ssh") == 0;

    return (struct entry){.id = id,
                          .mode = mode,
                          .ttl = (long)(ssh ? c->default_ttl_ssh : c->default_ttl),
                          .max_ttl = (long)(ssh ? c->max_ttl_ssh : c->max_ttl),
                          .realm = (long)s->level};
}

static gpg_error_t cache(struct gpg_session *s, const char *what, const struct entry *e,
                         const struct buf *secret, struct buf *result)
{
    struct buf args = BUF_INIT;
    gpg_error_t err;

    field_put(&args, "do", what);
    field_put(&args, "id", e->id);
    field_put(&args, "mode", e->mode);
    field_put_int(&args, "ttl", e->ttl);
    field_put_int(&args, "max-ttl", e->max_ttl);
    if (e->realm != 0)
        field_put_int(&args, "realm", e->realm);
    err = buf_cstr(&args) != NULL
              ? gpg_call_store(s, NULL, TOKEN_VERB_CACHE, buf_cstr(&args), give_secret,
                               (void *)(uintptr_t)secret, result, NULL)
              : buf_err(&args);
    buf_free(&args);
    return err;
}

/* --- GET_PASSPHRASE ----------------------------------------------------------------------------------------------------------------- */

static char *next_word(char **line)
{
    char *word = *line + strspn(*line, " \t"), *end = word + strcspn(word, " \t");

    *line = *end != '\0' ? end + 1 : end;
    *end = '\0';
    return word;
}

/* A text without its escapes; NULL for "X". */
static gpg_error_t take_text(const char *word, char **out)
{
    *out = word[0] != '\0' && strcmp(word, "X") != 0 ? gpg_unescape(word, true) : NULL;
    return *out != NULL || word[0] == '\0' || strcmp(word, "X") == 0 ? 0
                                                                     : gpg_error_from_syserror();
}

struct get_passphrase {
    bool data, check, no_ask, repeat, quality, symkey;
    const char *id; /* NULL: nothing is cached */
    char *error, *prompt, *desc;
};

static void get_clear(struct get_passphrase *g)
{
    gpgrt_free(g->error);
    gpgrt_free(g->prompt);
    gpgrt_free(g->desc);
}

static gpg_error_t get_parse(struct gpg_session *s, char *line, struct get_passphrase *g)
{
    const char *repeat = gpg_option_value(line, "--repeat"), *error, *prompt, *desc;
    gpg_error_t err;

    g->data = gpg_has_option(line, "--data");
    g->check = gpg_has_option(line, "--check");
    g->no_ask = gpg_has_option(line, "--no-ask");
    g->quality = gpg_has_option(line, "--qualitybar");
    g->symkey = gpg_has_option(line, "--newsymkey");
    g->repeat = repeat != NULL && (repeat[0] == '\0' || repeat[0] == ' ' || atoi(repeat) > 0);
    line = gpg_skip_options(line);
    g->id = next_word(&line);
    error = next_word(&line);
    prompt = next_word(&line);
    desc = next_word(&line);
    if (g->id[0] == '\0' || strlen(g->id) > MAX_CACHE_ID)
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "invalid length of cacheID");
    if (desc[0] == '\0')
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "no description given");
    if (strcmp(g->id, "X") == 0)
        g->id = NULL;
    if ((err = take_text(error, &g->error)) != 0 || (err = take_text(prompt, &g->prompt)) != 0)
        return err;
    return take_text(desc, &g->desc);
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
    struct entry e = {0};
    bool cached = false;

    if (err != 0)
        goto out;
    if (g.id != NULL)
        e = entry_of(s, g.id, "user");
    /* What was told the person's own programs is nothing for a remote one. */
    if (g.id != NULL && s->level == GPG_FULL)
        cached = cache(s, "get", &e, NULL, &secret) == 0;
    if (!cached && g.no_ask) {
        err = gpg_fail(s, GPG_ERR_NO_DATA, NULL);
        goto out;
    }
    if (!cached)
        err = ask_person(s, &g, &secret);
    if (err == 0 && !cached && g.id != NULL)
        (void)cache(s, "put", &e, &secret, NULL);
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
    struct entry e = {0};
    gpg_error_t err;

    line = gpg_skip_options(line);
    line[strcspn(line, " \t")] = '\0';
    if (line[0] == '\0' || strlen(line) > MAX_CACHE_ID)
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "invalid length of cacheID");
    e = entry_of(s, line, ssh ? "ssh" : normal ? "normal" : "user");
    err = cache(s, "clear", &e, NULL, NULL);
    forget_outside(s, ssh ? 's' : normal ? 'n' : 'u', line);
    return gpg_err_code(err) == GPG_ERR_NO_DATA ? 0 : gpg_map_error(s, err, false);
}

/* PRESET_PASSPHRASE [--inquire] [--restricted] ID TTL [HEX]. It lives until max-cache-ttl. */
static gpg_error_t cmd_preset_passphrase(struct gpg_session *s, char *line)
{
    bool inquire = gpg_has_option(line, "--inquire"),
         restricted = gpg_has_option(line, "--restricted");
    struct buf secret = BUF_INIT_SECURE;
    char *id, *ttl, *hex;
    struct entry e = {0};
    gpg_error_t err = 0;

    if (!s->conf->allow_preset)
        return gpg_fail(s, GPG_ERR_NOT_SUPPORTED, "no --allow-preset-passphrase");
    line = gpg_skip_options(line);
    id = next_word(&line);
    ttl = next_word(&line);
    hex = next_word(&line);
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
    if (err == 0) {
        e = entry_of(s, id, "any");
        e.ttl = -1;
        if (restricted)
            e.realm = GPG_EXTRA;
        err = gpg_map_error(s, cache(s, "put", &e, &secret, NULL), false);
    }
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

/* --- secrets of the client's own ----------------------------------------------------------------------------------------------------- */

/* Beside the person's passphrases: "data ID". Kept as long as the client says. */
static gpg_error_t data_entry(struct gpg_session *s, const char *key, long ttl, char **id,
                              struct entry *e)
{
    if (key[0] == '\0' || strlen(key) > MAX_CACHE_ID)
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "invalid length of the key");
    *id = gpgrt_bsprintf("data %s", key);
    if (*id == NULL)
        return gpg_error_from_syserror();
    *e = entry_of(s, *id, "user");
    e->ttl = ttl;
    e->max_ttl = -1;
    return 0;
}

/* PUT_SECRET [--clear] KEY TTL [ESCAPED_VALUE] */
static gpg_error_t cmd_put_secret(struct gpg_session *s, char *line)
{
    bool clear = gpg_has_option(line, "--clear");
    struct buf secret = BUF_INIT_SECURE;
    char *key, *ttl, *value, *id = NULL, *end = NULL;
    struct entry e = {0};
    gpg_error_t err;
    long seconds;

    line = gpg_skip_options(line);
    key = next_word(&line);
    ttl = next_word(&line);
    value = next_word(&line);
    seconds = strtol(ttl, &end, 10);
    if (!clear && (end == ttl || *end != '\0' || seconds < -1))
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "invalid or missing TTL");
    err = data_entry(s, key, seconds, &id, &e);
    if (err == 0 && !clear && value[0] != '\0') {
        gpg_put_unescaped(&secret, value, true);
        err = buf_err(&secret);
    } else if (err == 0 && !clear) {
        err = gpg_inquire(s, "SECRET", MAX_SECRET, true, true, &secret);
    }
    explicit_bzero(value, strlen(value));
    if (err == 0)
        err = gpg_map_error(s, cache(s, clear ? "clear" : "put", &e, &secret, NULL), false);
    if (clear && gpg_err_code(err) == GPG_ERR_NO_DATA)
        err = 0;
    gpgrt_free(id);
    buf_free(&secret);
    return err;
}

static gpg_error_t cmd_get_secret(struct gpg_session *s, char *line)
{
    struct buf secret = BUF_INIT_SECURE;
    char *id = NULL;
    struct entry e = {0};
    gpg_error_t err;

    line = gpg_skip_options(line);
    err = data_entry(s, next_word(&line), 0, &id, &e);
    if (err == 0)
        err = gpg_map_error(s, cache(s, "get", &e, NULL, &secret), false);
    if (err == 0)
        err = gpg_send(s, buf_rd(&secret), true);
    gpgrt_free(id);
    buf_free(&secret);
    return err;
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
    {"PUT_SECRET", cmd_put_secret, false,
     "PUT_SECRET [--clear] <key> <ttl> [<percent_escaped_value>]\n\nKeeps a secret for "
     "GET_SECRET."},
    {"GET_SECRET", cmd_get_secret, false, "GET_SECRET <key>\n\nA secret of PUT_SECRET."},
    {0},
};
