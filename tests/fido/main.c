/* testfido [--socket PATH] [--vpcd PORT [--button] [--no-u2f]] --control PATH [--pin PIN] [--uv] [--u2f]
 *
 * Control lines, each answered by one line: "make ed25519|ecdsa APPLICATION [LEVEL]" -> "OK HANDLE PUBLIC" (hexadecimal);
 * "touch"; "auto on|off"; "lie on|off"; "replay on|off"; "confuse on|off"; "finger bad|good"; "patience MS"; "replug"; "tries N"; "state" -> JSON. */
#include "tests/card/vpcd.h"
#include "tests/fido/apdu.h"

#include <errno.h>
#include <gcrypt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static struct applet applet;
static struct device dev = {.tries = 8, .touch_ms = 30000};

static int listen_at(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) != 0 || listen(fd, 8) != 0) {
        fprintf(stderr, "testfido: %s: %s\n", path, strerror(errno));
        exit(1);
    }
    return fd;
}

/* --- control ------------------------------------------------------------------------------------------------------------ */

static bool serve_control(int fd)
{
    static struct buf in;
    uint8_t chunk[1024];
    ssize_t n = read(fd, chunk, sizeof chunk);
    char *end;

    if (n <= 0) {
        buf_reset(&in);
        return false;
    }
    buf_put(&in, chunk, (size_t)n);
    while (buf_cstr(&in) != NULL && (end = strchr((char *)in.data, '\n')) != NULL) {
        struct buf out = BUF_INIT;
        size_t used = (size_t)(end - (char *)in.data) + 1;

        *end = '\0';
        if (!fido_control(&dev, &applet, (char *)in.data, &out))
            buf_printf(&out, "ERR\n");
        (void)send(fd, out.data, out.len, MSG_NOSIGNAL);
        buf_free(&out);
        memmove(in.data, in.data + used, in.len - used);
        in.len -= used;
    }
    return true;
}

/* --- the loop ---------------------------------------------------------------------------------------------------------------- */

static struct client clients[MAX_CLIENTS];

static void accept_client(int fd)
{
    int new_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

    for (size_t i = 0; i < MAX_CLIENTS && new_fd >= 0; i++)
        if (clients[i].fd < 0) {
            clients[i] = (struct client){.fd = new_fd};
            return;
        }
    if (new_fd >= 0)
        close(new_fd);
}

static bool serve_client(struct client *c)
{
    ssize_t n = read(c->fd, c->frame + c->have, FRAME - c->have);

    if (n <= 0)
        return false;
    c->have += (size_t)n;
    if (c->have < FRAME)
        return true;
    c->have = 0;
    return hid_frame(&dev, c);
}

static void drop_client(struct client *c)
{
    hid_gone(&dev, c);
    close(c->fd);
    buf_free(&c->msg);
    c->fd = -1;
}

static void loop(int hid_fd, int ctl_fd, int port)
{
    int person = -1, reader = -1;

    for (;;) {
        struct pollfd p[4 + MAX_CLIENTS];
        int ms = hid_tick(&dev);

        if (port > 0 && reader < 0 && (reader = vpcd_dial(port)) < 0)
            ms = ms < 0 || ms > 50 ? 50 : ms;

        p[0] = (struct pollfd){.fd = hid_fd, .events = POLLIN};
        p[1] = (struct pollfd){.fd = person < 0 ? ctl_fd : -1, .events = POLLIN};
        p[2] = (struct pollfd){.fd = person, .events = POLLIN};
        for (size_t i = 0; i < MAX_CLIENTS; i++)
            p[3 + i] = (struct pollfd){.fd = clients[i].fd, .events = POLLIN};
        p[3 + MAX_CLIENTS] = (struct pollfd){.fd = reader, .events = POLLIN};
        if (poll(p, 4 + MAX_CLIENTS, ms) < 0 && errno != EINTR)
            return;
        if (reader >= 0 && p[3 + MAX_CLIENTS].revents != 0 && !card_serve(&dev, &applet, reader)) {
            close(reader);
            reader = -1;
        }
        for (size_t i = 0; i < MAX_CLIENTS; i++)
            if (clients[i].fd >= 0 && p[3 + i].revents != 0 && !serve_client(&clients[i]))
                drop_client(&clients[i]);
        if (p[0].revents != 0)
            accept_client(hid_fd);
        if (p[1].revents != 0)
            person = accept4(ctl_fd, NULL, NULL, SOCK_CLOEXEC);
        if (p[2].revents != 0 && !serve_control(person)) {
            close(person);
            person = -1;
        }
    }
}

int main(int argc, char **argv)
{
    const char *socket_path = NULL, *control_path = NULL;
    int ctl_fd, hid_fd = -1, port = 0;

    (void)signal(SIGPIPE, SIG_IGN);
    gcry_check_version(NULL);
    gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--socket") == 0 && i + 1 < argc)
            socket_path = argv[++i];
        else if (strcmp(argv[i], "--control") == 0 && i + 1 < argc)
            control_path = argv[++i];
        else if (strcmp(argv[i], "--pin") == 0 && i + 1 < argc)
            dev.pin = gpgrt_strdup(argv[++i]);
        else if (strcmp(argv[i], "--vpcd") == 0 && i + 1 < argc)
            port = atoi(argv[++i]);
        else if (strcmp(argv[i], "--button") == 0)
            applet.button = true;
        else if (strcmp(argv[i], "--no-u2f") == 0)
            applet.no_u2f = true;
        else if (strcmp(argv[i], "--uv") == 0)
            dev.has_uv = true;
        else if (strcmp(argv[i], "--u2f") == 0)
            dev.u2f_only = true;
        else
            return 2;
    }
    if ((socket_path == NULL && port == 0) || control_path == NULL) {
        fprintf(stderr, "usage: testfido --socket PATH | --vpcd PORT --control PATH [--pin PIN] "
                        "[--uv] [--u2f]\n");
        return 2;
    }
    for (size_t i = 0; i < MAX_CLIENTS; i++)
        clients[i].fd = -1;
    pin_init(&dev);
    if (socket_path != NULL)
        hid_fd = listen_at(socket_path);
    ctl_fd = listen_at(control_path);
    loop(hid_fd, ctl_fd, port);
    return 1;
}
