#include "agent/explain_facts.h"

#include "proto/key.h"
#include "proto/token_protocol.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_KEY_FILE 65536

gpg_error_t explain_facts_parse(const char *args, struct explain_facts *e)
{
    const struct {
        const char *name;
        char **to;
    } fields[] = {{"host", &e->host},
                  {"user", &e->user},
                  {"key", &e->key},
                  {"use", &e->use},
                  {"client", &e->client}};
    long forwarded = 0, unbound = 0;
    gpg_error_t err = 0;

    for (size_t i = 0; i < sizeof fields / sizeof fields[0] && err == 0; i++)
        err = field_get(args, fields[i].name, fields[i].to);
    if (err != 0 || (err = field_get_int(args, "forwarded", 0, &forwarded)) != 0 ||
        (err = field_get_int(args, "unbound", 0, &unbound)) != 0)
        return err;
    e->f.now = time(NULL);
    e->f.use = e->use != NULL ? e->use : "ssh-auth";
    e->f.user = e->user;
    e->f.client = e->client;
    e->f.forwarded = forwarded != 0 ? TRI_YES : TRI_NO;
    e->f.via_known = forwarded == 0; /* which hops there are was not told */
    if (e->host == NULL || unbound != 0)
        return 0;
    if (strncmp(e->host, "SHA256:", 7) == 0) {
        e->dest.fpr = e->host;
    } else {
        e->names[0] = e->host;
        e->dest.names = e->names;
        e->dest.nnames = 1;
    }
    e->f.dest = &e->dest;
    e->f.proof = PROOF_HOSTBOUND;
    return 0;
}

static bool is_hex40(const char *s)
{
    size_t n = 0;

    while (isxdigit((unsigned char)s[n]))
        n++;
    return n == 40 && s[n] == '\0';
}

/* The first line of a public-key file; GPG_ERR_NOT_FOUND when it is none. */
static gpg_error_t from_file(struct explain_facts *e)
{
    char *line = NULL, *comment = NULL;
    struct key *key = NULL;
    struct stat st;
    size_t cap = 0;
    FILE *f;
    gpg_error_t err = gpg_error(GPG_ERR_NOT_FOUND);

    if (stat(e->key, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > MAX_KEY_FILE)
        return err;
    f = fopen(e->key, "re");
    if (f == NULL || getline(&line, &cap, f) < 0 || key_from_text(line, &key, &comment) != 0)
        goto out;
    e->texts[0] = hex_encode(key->grip, sizeof key->grip);
    e->texts[1] = key->fpr != NULL ? gpgrt_strdup(key->fpr) : NULL;
    e->texts[2] = key->plain != NULL ? b64_encode(key->plain, key->plain_len) : NULL;
    e->texts[3] = comment;
    comment = NULL;
    e->f.key_grip = e->texts[0];
    e->f.key_fpr = e->texts[1];
    e->f.key_b64 = e->texts[2];
    e->f.key_comment = e->texts[3];
    err = 0;
out:
    key_unref(key);
    gpgrt_free(comment);
    free(line);
    if (f != NULL)
        fclose(f);
    return err;
}

/* KIND[-SERIAL]/SLOT */
static gpg_error_t from_slot(struct explain_facts *e)
{
    char *slash, *dash;

    e->texts[0] = gpgrt_strdup(e->key);
    if (e->texts[0] == NULL)
        return gpg_error_from_syserror();
    slash = strchr(e->texts[0], '/');
    *slash = '\0';
    dash = strchr(e->texts[0], '-');
    if (dash != NULL)
        *dash = '\0';
    e->token = (struct policy_token){
        .kind = e->texts[0], .serial = dash != NULL ? dash + 1 : NULL, .slot = slash + 1};
    e->f.tokens = &e->token;
    e->f.ntokens = 1;
    return 0;
}

gpg_error_t explain_facts_guess_key(struct explain_facts *e)
{
    const char *slash;

    if (e->key == NULL || e->key[0] == '\0')
        return 0;
    if (strncmp(e->key, "SHA256:", 7) == 0) {
        e->f.key_fpr = e->key;
        return 0;
    }
    if (is_hex40(e->key)) {
        e->f.key_grip = e->key;
        e->f.key_openpgp = e->key;
        return 0;
    }
    if (from_file(e) == 0)
        return 0;
    slash = strchr(e->key, '/');
    if (slash != NULL && slash != e->key && strchr(slash + 1, '/') == NULL)
        return from_slot(e);
    e->f.key_comment = e->key;
    return 0;
}

void explain_facts_clear(struct explain_facts *e)
{
    gpgrt_free(e->host);
    gpgrt_free(e->user);
    gpgrt_free(e->key);
    gpgrt_free(e->use);
    gpgrt_free(e->client);
    for (size_t i = 0; i < sizeof e->texts / sizeof e->texts[0]; i++)
        gpgrt_free(e->texts[i]);
    *e = (struct explain_facts){0};
}
