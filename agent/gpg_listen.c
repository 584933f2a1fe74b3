#include "agent/gpg_listen.h"

#include "agent/gpg_sockets.h"

#include <assuan.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* --- paths ------------------------------------------------------------------------------------------------------------------- */

/* DIR/NAME, or where a redirection there leads. */
static gpg_error_t place(const char *dir, const char *name, char **out)
{
    char *path = gpgrt_bsprintf("%s/%s", dir, name);
    gpg_error_t err = path != NULL ? gpg_socket_redirect(&path) : gpg_error_from_syserror();

    if (err != 0) {
        fprintf(stderr, "gpg-agent: %s: a redirection that leads nowhere: %s\n",
                path != NULL ? path : name, gpg_strerror(err));
        gpgrt_free(path);
        return err;
    }
    gpgrt_free(*out);
    *out = path;
    return 0;
}

/* A name that the configuration gave: "none" (there is none), a path, or a name in DIR. */
static gpg_error_t configured(const char *dir, const char *fallback, char **out)
{
    char *given = *out;
    gpg_error_t err = 0;

    if (given != NULL && strcmp(given, "none") == 0) {
        gpgrt_free(given);
        *out = NULL;
        return 0;
    }
    if (given != NULL && given[0] == '/')
        return gpg_socket_redirect(out);
    *out = NULL;
    err = place(dir, given != NULL ? given : fallback, out);
    gpgrt_free(given);
    return err;
}

gpg_error_t gpg_listen_paths(struct gpg_options *o, bool make)
{
    struct gpg_config *c = o->conf;
    char *dir = NULL;
    gpg_error_t err = gpg_socket_dir(NULL, c->home, o->standard_home, make, &dir);

    if (err != 0)
        return err;
    if ((err = place(dir, "S.gpg-agent", &c->socket)) != 0 ||
        (err = configured(dir, "S.gpg-agent.extra", &c->extra_socket)) != 0 ||
        (err = configured(dir, "S.gpg-agent.browser", &c->browser_socket)) != 0)
        goto out;
    err = place(dir, "S.gpg-agent.ssh", &c->ssh_socket);
out:
    gpgrt_free(dir);
    return err;
}

/* --- is there one already? ----------------------------------------------------------------------------------------------------- */

struct answer {
    char text[24];
    size_t n;
};

static gpg_error_t take(void *arg, const void *data, size_t n)
{
    struct answer *a = arg;

    if (n > sizeof a->text - 1 - a->n)
        n = sizeof a->text - 1 - a->n;
    memcpy(a->text + a->n, data, n);
    a->n += n;
    return 0;
}

bool gpg_agent_answers(const char *path, long *pid)
{
    struct answer a = {.n = 0};
    assuan_context_t ctx = NULL;
    bool answers;

    *pid = 0;
    if (assuan_new(&ctx) != 0)
        return false;
    answers = assuan_socket_connect(ctx, path, ASSUAN_INVALID_PID, 0) == 0;
    if (answers && assuan_transact(ctx, "GETINFO pid", take, &a, NULL, NULL, NULL, NULL) == 0)
        *pid = strtol(a.text, NULL, 10);
    assuan_release(ctx);
    return answers;
}

/* --- listening -------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t make_dir(const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0)
        return S_ISDIR(st.st_mode) ? 0 : gpg_error(GPG_ERR_ENOTDIR);
    return mkdir(path, 0700) == 0 ? 0 : gpg_error_from_syserror();
}

/* And the folder for the keys, where others put some, too. */
static gpg_error_t make_home(const char *home)
{
    char *keys = gpgrt_bsprintf("%s/private-keys-v1.d", home);
    gpg_error_t err = keys != NULL ? make_dir(home) : gpg_error_from_syserror();

    if (err == 0)
        err = make_dir(keys);
    gpgrt_free(keys);
    return err;
}

gpg_error_t gpg_listen(struct server *s, struct gpg_options *o, bool ssh)
{
    const struct gpg_config *c = o->conf;
    gpg_error_t err = make_home(c->home);
    const char *path = c->home;

    if (err == 0)
        err = gpg_listen_paths(o, true);
    if (err == 0) {
        const struct {
            enum server_role role;
            const char *path;
        } sockets[] = {{SERVER_GPG, c->socket},
                       {SERVER_GPG_EXTRA, c->extra_socket},
                       {SERVER_GPG_BROWSER, c->browser_socket},
                       {SERVER_SSH, ssh ? c->ssh_socket : NULL}};

        for (size_t i = 0; i < sizeof sockets / sizeof sockets[0] && err == 0; i++) {
            path = sockets[i].path;
            if (path != NULL)
                err = server_listen(s, sockets[i].role, path);
        }
    }
    if (err != 0 && gpg_err_code(err) != GPG_ERR_EADDRINUSE)
        fprintf(stderr, "gpg-agent: %s: %s\n", path != NULL ? path : "?",
                gpg_err_code(err) == GPG_ERR_ENAMETOOLONG
                    ? "longer than the path of a socket can be: use a shorter home directory, or "
                      "make its socket directory with gpgconf --create-socketdir"
                    : gpg_strerror(err));
    return err;
}
