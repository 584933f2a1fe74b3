/* testledger [--tcp PORT] [--frames PATH] --control PATH [--mnemonic WORDS] [--passphrase TEXT] [--app NAME] [--version X.Y.Z]
 *
 * --tcp 0 takes a free port; "port" on the control socket tells it. What else can be said there: control.c. */
#include "tests/wallets/ledger/ledger.h"

#include "tests/wallets/slip10.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gcrypt.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct device dev = {.app = APP_NAME,
                            .version = {0, 0, 11},
                            .installed = true,
                            .locked_sw = 0x5515,
                            .no_app_sw = 0x6e00};
static struct host hosts[2] = {{.hid = false, .fd = -1}, {.hid = true, .fd = -1}};
static struct host *asking; /* whose command the question on the screen is */
static int port;

static void fail(const char *what)
{
    fprintf(stderr, "testledger: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int listen_unix(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) != 0 || listen(fd, 8) != 0)
        fail(path);
    return fd;
}

static int listen_tcp(int number)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)number)};
    socklen_t n = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) != 0 || listen(fd, 8) != 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &n) != 0)
        fail("TCP port");
    port = ntohs(addr.sin_port);
    return fd;
}

static void drop(struct host *h)
{
    if (h->fd >= 0)
        close(h->fd);
    h->fd = -1;
    h->next = 0;
    h->want = 0;
    buf_reset(&h->in);
    buf_reset(&h->apdu);
}

/* It leaves the bus and comes back. */
static void replug(void)
{
    if (!dev.replug)
        return;
    dev.replug = false;
    asking = NULL;
    for (size_t i = 0; i < 2; i++)
        drop(&hosts[i]);
}

static void control(int fd, char *line)
{
    struct buf out = BUF_INIT, data = BUF_INIT;
    unsigned sw = 0;
    bool decided = false;

    if (strcmp(line, "port") == 0)
        buf_printf(&out, "%d\n", port);
    else if (!control_line(&dev, line, &out, &decided, &sw, &data))
        buf_printf(&out, "ERR\n");
    if (decided && asking != NULL && asking->fd >= 0 &&
        !wire_answer(&dev, asking, sw, buf_rd(&data)))
        drop(asking);
    replug();
    (void)send(fd, out.data, out.len, MSG_NOSIGNAL);
    buf_free(&out);
    buf_free(&data);
}

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
        size_t used = (size_t)(end - (char *)in.data) + 1;

        *end = '\0';
        control(fd, (char *)in.data);
        memmove(in.data, in.data + used, in.len - used);
        in.len -= used;
    }
    return true;
}

/* Who comes last has the device, as with Speculos. */
static void accept_host(int fd, struct host *h)
{
    int new_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

    if (new_fd < 0)
        return;
    drop(h);
    h->fd = new_fd;
}

static void loop(const int listeners[2], int ctl_fd)
{
    int person = -1;

    for (;;) {
        struct pollfd p[6];

        for (size_t i = 0; i < 2; i++) {
            p[i] = (struct pollfd){.fd = hosts[i].fd, .events = POLLIN};
            p[2 + i] = (struct pollfd){.fd = listeners[i], .events = POLLIN};
        }
        p[4] = (struct pollfd){.fd = person, .events = POLLIN};
        p[5] = (struct pollfd){.fd = person < 0 ? ctl_fd : -1, .events = POLLIN};
        if (poll(p, 6, -1) < 0 && errno != EINTR)
            return;
        for (size_t i = 0; i < 2; i++) {
            if (hosts[i].fd >= 0 && p[i].revents != 0) {
                bool asked = dev.prompt.what != ASK_NOTHING;

                if (!wire_read(&dev, &hosts[i]))
                    drop(&hosts[i]);
                if (!asked && dev.prompt.what != ASK_NOTHING)
                    asking = &hosts[i];
                replug();
            }
            if (p[2 + i].revents != 0)
                accept_host(listeners[i], &hosts[i]);
        }
        if (p[4].revents != 0 && !serve_control(person)) {
            close(person);
            person = -1;
        }
        if (p[5].revents != 0)
            person = accept4(ctl_fd, NULL, NULL, SOCK_CLOEXEC);
    }
}

int main(int argc, char **argv)
{
    const char *control_path = NULL, *passphrase = "";
    const char *mnemonic = "all all all all all all all all all all all all";
    int listeners[2] = {-1, -1};
    bool good = true;

    (void)signal(SIGPIPE, SIG_IGN);
    gcry_check_version(NULL);
    gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    for (int i = 1; i < argc && good; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (value == NULL)
            good = false;
        else if (strcmp(argv[i], "--tcp") == 0)
            listeners[0] = listen_tcp(atoi(value));
        else if (strcmp(argv[i], "--frames") == 0)
            listeners[1] = listen_unix(value);
        else if (strcmp(argv[i], "--control") == 0)
            control_path = value;
        else if (strcmp(argv[i], "--mnemonic") == 0)
            mnemonic = value;
        else if (strcmp(argv[i], "--passphrase") == 0)
            passphrase = value;
        else if (strcmp(argv[i], "--app") == 0)
            snprintf(dev.app, sizeof dev.app, "%s", value);
        else if (strcmp(argv[i], "--version") == 0)
            good =
                sscanf(value, "%u.%u.%u", &dev.version[0], &dev.version[1], &dev.version[2]) == 3;
        else
            good = false;
    }
    if (!good || control_path == NULL || !slip10_seed(mnemonic, passphrase, dev.seed)) {
        fprintf(stderr,
                "usage: testledger [--tcp PORT] [--frames PATH] --control PATH [--mnemonic WORDS] "
                "[--passphrase TEXT] [--app NAME] [--version X.Y.Z]\n");
        return 2;
    }
    loop(listeners, listen_unix(control_path));
    return 1;
}
