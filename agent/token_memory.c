#include "agent/token_memory.h"

#include "agent/paths.h"
#include "agent/replace_file.h"
#include "proto/token_protocol.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CARD_KEY_SLOT "piv-9e"
#define CARD_KEY      "card_key"
#define LATE_KEYS     "late_keys"

char *token_memory_path(const char *name)
{
    char *file, *path;

    if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL)
        return NULL;
    file = gpgrt_bsprintf("tokens/%s", name);
    path = file != NULL ? path_state(file) : NULL;
    gpgrt_free(file);
    return path;
}

/* NULL: nothing is remembered. */
static json_t *load(const char *name)
{
    char *path = token_memory_path(name);
    json_error_t error = {0};
    json_t *j = path != NULL ? json_load_file(path, 0, &error) : NULL;

    if (j == NULL && path != NULL && access(path, F_OK) == 0)
        gpgrt_log_error("%s: line %d: %s\n", path, error.line, error.text);
    gpgrt_free(path);
    return j;
}

static void store(const char *name, const json_t *j)
{
    char *dir = path_state("tokens"), *path = token_memory_path(name);
    char *text = json_dumps(j, JSON_INDENT(2));
    gpg_error_t err = dir != NULL && path != NULL && text != NULL ? path_make_private_dir(dir)
                                                                  : gpg_error_from_syserror();

    if (err == 0)
        err = replace_file(path, false, rd_of(text, strlen(text)));
    if (err != 0)
        gpgrt_log_error("what is known of %s cannot be kept: %s\n", name, gpg_strerror(err));
    gpgrt_free(dir);
    gpgrt_free(path);
    free(text);
}

/* The public key in slot 9E, base64, if the card proved that it holds it. New string or NULL. */
static char *proved_key(const struct token_info *info)
{
    char *id = NULL, *pub = NULL;
    long proved = 0;

    for (size_t i = 0; info->key_lines[i] != NULL; i++) {
        gpgrt_free(id);
        if (field_get(info->key_lines[i], "id", &id) != 0)
            id = NULL;
        if (id == NULL || strcmp(id, CARD_KEY_SLOT) != 0)
            continue;
        if (field_get_int(info->key_lines[i], "proved", 0, &proved) != 0 || proved != 1 ||
            field_get(info->key_lines[i], "pub", &pub) != 0)
            pub = NULL;
        break;
    }
    gpgrt_free(id);
    return pub;
}

static bool has_late_keys(const struct token_info *info)
{
    for (size_t i = 0; info->key_lines[i] != NULL; i++) {
        char *id = NULL;
        bool late = field_get(info->key_lines[i], "id", &id) == 0 && id != NULL &&
                    strncmp(id, "piv-", 4) == 0;

        gpgrt_free(id);
        if (late)
            return true;
    }
    return false;
}

bool token_memory_wants_all(const char *name)
{
    json_t *j = load(name);
    bool wants =
        json_is_true(json_object_get(j, LATE_KEYS)) || json_is_string(json_object_get(j, CARD_KEY));

    json_decref(j);
    return wants;
}

gpg_error_t token_memory_check(const struct token_info *info)
{
    json_t *j = load(info->name);
    const char *before = json_string_value(json_object_get(j, CARD_KEY));
    char *now = before != NULL ? proved_key(info) : NULL;
    bool same = before == NULL || (now != NULL && strcmp(before, now) == 0);

    gpgrt_free(now);
    json_decref(j);
    return same ? 0 : gpg_error(GPG_ERR_WRONG_CARD);
}

void token_memory_note(const struct token_info *info)
{
    json_t *before = load(info->name), *now = json_object();
    char *key = proved_key(info);

    if (key != NULL)
        json_object_set_new(now, CARD_KEY, json_string(key));
    if (has_late_keys(info))
        json_object_set_new(now, LATE_KEYS, json_true());
    /* Of most tokens nothing needs to be known. */
    if (before == NULL ? json_object_size(now) > 0 : !json_equal(before, now))
        store(info->name, now);
    gpgrt_free(key);
    json_decref(before);
    json_decref(now);
}
