#include "agent/cli/certificate.h"

#include "agent/cli/cli.h"
#include "proto/openpgp.h"
#include "proto/token_protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int write_out(const char *path, int fd, const struct buf *text)
{
    size_t done = 0;

    while (done < text->len) {
        ssize_t n = write(fd, text->data + done, text->len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return cli_fail(path != NULL ? path : "standard output", strerror(errno));
        done += (size_t)n;
    }
    if (path != NULL && fsync(fd) != 0 && errno != EINVAL && errno != EROFS)
        return cli_fail(path, strerror(errno));
    return EXIT_OK;
}

static int fetch(struct ctl_client *c, const char *uid, const char *key, struct buf *text)
{
    struct buf line = BUF_INIT, fields = BUF_INIT, packet = BUF_INIT;
    int status = EXIT_NEGATIVE;

    if (key != NULL)
        field_put(&fields, "key", key);
    field_put(&fields, "uid", uid);
    buf_printf(&line, "CERTIFICATE %s", buf_cstr(&fields) != NULL ? buf_cstr(&fields) : "");
    if (buf_cstr(&line) == NULL || buf_err(&fields) != 0) {
        cli_fail("keys --openpgp", "out of memory");
    } else if (cli_call(c, buf_cstr(&line), "keys --openpgp", &packet) == 0) {
        openpgp_armor(text, "PUBLIC KEY BLOCK", buf_rd(&packet));
        status = buf_err(text) == 0 ? EXIT_OK : cli_fail("keys --openpgp", "out of memory");
    }
    buf_free(&line);
    buf_free(&fields);
    buf_free(&packet);
    return status;
}

int certificate_make(const char *uid, const char *key, const char *path)
{
    struct ctl_client *c = cli_connect();
    struct buf text = BUF_INIT;
    int fd = STDOUT_FILENO, status = EXIT_NO_AGENT;

    if (c == NULL)
        goto out;
    /* Before the token is asked: three touches for a file that cannot be written would be rude. */
    if (path != NULL)
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) {
        status = cli_fail(path, strerror(errno));
        goto out;
    }
    status = fetch(c, uid, key, &text);
    if (status == EXIT_OK)
        status = write_out(path, fd, &text);
    if (path != NULL) {
        if (close(fd) != 0 && status == EXIT_OK)
            status = cli_fail(path, strerror(errno));
        if (status != EXIT_OK)
            (void)unlink(path);
    }
out:
    buf_free(&text);
    ctl_close(c);
    return status;
}
