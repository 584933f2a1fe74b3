#include "agent/cli/identity_file.h"

#include "agent/paths.h"
#include "agent/replace_file.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>

#define MAX_FILE (1u << 20)

char *identity_file_path(void)
{
    return path_config("identities");
}

/* A missing file is empty. */
static gpg_error_t read_all(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "re");
    char part[4096];
    size_t n;
    gpg_error_t err = 0;

    if (f == NULL)
        return errno == ENOENT ? 0 : gpg_error_from_syserror();
    while ((n = fread(part, 1, sizeof part, f)) > 0 && out->len <= MAX_FILE)
        buf_put(out, part, n);
    if (ferror(f))
        err = gpg_error(GPG_ERR_EIO);
    else if (out->len > MAX_FILE)
        err = gpg_error(GPG_ERR_TOO_LARGE);
    fclose(f);
    return err != 0 ? err : buf_err(out);
}

static gpg_error_t write_all(const char *path, struct rd text)
{
    char *copy = gpgrt_strdup(path);
    gpg_error_t err =
        copy != NULL ? path_make_private_dir(dirname(copy)) : gpg_error_from_syserror();

    gpgrt_free(copy);
    return err != 0 ? err : replace_file(path, true, text);
}

static gpg_error_t look(void *arg, const struct wallet_identity *id, const char *line,
                        const char *text, gpg_error_t bad)
{
    const struct wallet_identity *wanted = arg;

    (void)line;
    (void)text;
    return bad == 0 && wallet_identity_same(id, wanted) ? gpg_error(GPG_ERR_EEXIST) : 0;
}

static bool holds(struct rd text, const struct wallet_identity *id)
{
    return gpg_err_code(wallet_identities_read(text, look, (void *)(uintptr_t)id)) ==
           GPG_ERR_EEXIST;
}

gpg_error_t identity_file_add(const char *path, const struct wallet_identity *id, bool *added)
{
    char *text = wallet_identity_text(id);
    struct buf b = BUF_INIT;
    gpg_error_t err = text != NULL ? read_all(path, &b) : gpg_error_from_syserror();

    *added = err == 0 && !holds(buf_rd(&b), id);
    if (*added) {
        if (b.len > 0 && b.data[b.len - 1] != '\n')
            buf_put_u8(&b, '\n');
        buf_printf(&b, "%s\n", text);
        err = buf_err(&b) != 0 ? buf_err(&b) : write_all(path, buf_rd(&b));
    }
    gpgrt_free(text);
    buf_free(&b);
    return err;
}

/* LINE without "<..>" of ID. *CHANGED, and nothing but blanks left: no line at all. */
static void put_without(struct buf *out, struct rd line, const struct wallet_identity *id,
                        bool *changed)
{
    struct buf rest = BUF_INIT;
    bool here = false, empty = true;

    while (line.n > 0) {
        const uint8_t *end = line.p[0] == '<' ? memchr(line.p, '>', line.n) : NULL;
        struct rd part = rd_of(line.p, end != NULL ? (size_t)(end - line.p) + 1 : 1);

        if (end != NULL && holds(part, id)) {
            here = true;
        } else {
            part.n = 1;
            empty &= part.p[0] == ' ' || part.p[0] == '\t' || part.p[0] == '\n';
            buf_put_rd(&rest, part);
        }
        line = rd_of(line.p + part.n, line.n - part.n);
    }
    if (!here || !empty)
        buf_put_rd(out, buf_rd(&rest));
    *changed |= here;
    buf_free(&rest);
}

gpg_error_t identity_file_remove(const char *path, const struct wallet_identity *id)
{
    struct buf b = BUF_INIT, out = BUF_INIT;
    struct rd text;
    bool changed = false;
    gpg_error_t err = read_all(path, &b);

    text = buf_rd(&b);
    while (err == 0 && text.n > 0) {
        const uint8_t *end = memchr(text.p, '\n', text.n);
        size_t n = end != NULL ? (size_t)(end - text.p) + 1 : text.n;

        put_without(&out, rd_of(text.p, n), id, &changed);
        text = rd_of(text.p + n, text.n - n);
    }
    if (err == 0)
        err = buf_err(&out);
    if (err == 0)
        err = changed ? write_all(path, buf_rd(&out)) : gpg_error(GPG_ERR_NOT_FOUND);
    buf_free(&b);
    buf_free(&out);
    return err;
}
