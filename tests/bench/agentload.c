/* Load on an ssh-agent socket: how many operations a second, and how long each takes.
 *
 *   agentload SOCKET list|sign|connect [-c CONNECTIONS] [-t SECONDS] [-n OPERATIONS] [-k TYPE]
 *   agentload SOCKET idle -c CONNECTIONS      opens that many and asks for a list on one more
 *
 * sign uses the first listed key of TYPE (ssh-ed25519 ..) over an SSHSIG structure of namespace
 * "bench". Ends after SECONDS or, on each connection, OPERATIONS, whichever comes first. Prints one line:
 * "OPS/s P50us P99us OPERATIONS". */
#include "proto/buf.h"
#include "proto/ssh_agent.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct load {
    const char *path;
    const char *mode;
    const char *type;
    double seconds;
    pthread_t thread;
    uint32_t *us; /* one sample an operation */
    size_t n, cap;
    bool failed;
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int dial(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || strlen(path) >= sizeof sa.sun_path)
        return -1;
    memcpy(sa.sun_path, path, strlen(path) + 1);
    if (connect(fd, (struct sockaddr *)&sa, sizeof sa) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool read_all(int fd, uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t got = read(fd, p, n);

        if (got <= 0)
            return false;
        p += got;
        n -= (size_t)got;
    }
    return true;
}

/* Sends the frame REQ and reads one answer into REPLY; the type it has must be WANT. */
static bool transact(int fd, const struct buf *req, uint8_t want, struct buf *reply)
{
    uint8_t head[4];
    struct rd r = rd_of(head, sizeof head);
    uint32_t len;
    uint8_t *body;
    bool ok;

    if (write(fd, req->data, req->len) != (ssize_t)req->len || !read_all(fd, head, sizeof head) ||
        rd_u32(&r, &len) != 0 || len == 0 || len > SSH_AGENT_MAX_MESSAGE)
        return false;
    body = malloc(len);
    if (body == NULL)
        return false;
    ok = read_all(fd, body, len) && body[0] == want;
    buf_reset(reply);
    if (ok)
        buf_put(reply, body + 1, len - 1);
    free(body);
    return ok;
}

static bool list_request(int fd, struct buf *reply)
{
    struct buf req = BUF_INIT;
    bool ok;

    ssh_agent_put_simple(&req, SSH_AGENTC_REQUEST_IDENTITIES);
    ok = transact(fd, &req, SSH_AGENT_IDENTITIES_ANSWER, reply);
    buf_free(&req);
    return ok;
}

/* The sign request for the first key of the wanted type. */
static bool make_sign_request(int fd, const char *type, struct buf *req)
{
    struct buf list = BUF_INIT, data = BUF_INIT;
    struct rd r, blob = {0}, comment, name, walk;
    uint8_t hash[64] = {7};
    uint32_t n = 0;
    bool found = false;

    if (!list_request(fd, &list))
        goto out;
    r = buf_rd(&list);
    if (rd_u32(&r, &n) != 0)
        goto out;
    while (n-- > 0 && !found && rd_string(&r, &blob) == 0 && rd_string(&r, &comment) == 0) {
        walk = blob;
        found = rd_string(&walk, &name) == 0 && rd_is(name, type);
    }
    if (!found)
        goto out;
    buf_put(&data, "SSHSIG", 6);
    buf_put_cstring(&data, "bench");
    buf_put_cstring(&data, "");
    buf_put_cstring(&data, "sha512");
    buf_put_string(&data, hash, sizeof hash);
    buf_put_u32(req, 0);
    buf_put_u8(req, SSH_AGENTC_SIGN_REQUEST);
    buf_put_string(req, blob.p, blob.n);
    buf_put_string(req, data.data, data.len);
    /* for RSA only, as ssh sends it: gpg-agent refuses flags elsewhere */
    buf_put_u32(req, strcmp(type, "ssh-rsa") == 0 ? SSH_AGENT_RSA_SHA2_512 : 0);
    buf_set_u32(req, 0, (uint32_t)req->len - 4);
out:
    buf_free(&list);
    buf_free(&data);
    return found && buf_err(req) == 0;
}

static bool one(const struct load *l, int *fd, const struct buf *sign, struct buf *reply)
{
    if (strcmp(l->mode, "sign") == 0)
        return transact(*fd, sign, SSH_AGENT_SIGN_RESPONSE, reply);
    if (strcmp(l->mode, "list") == 0)
        return list_request(*fd, reply);
    close(*fd);
    *fd = dial(l->path);
    return *fd >= 0 && list_request(*fd, reply);
}

static void *run(void *arg)
{
    struct load *l = arg;
    struct buf sign = BUF_INIT, reply = BUF_INIT;
    int fd = dial(l->path);
    double end;

    l->failed = fd < 0 || (strcmp(l->mode, "sign") == 0 && !make_sign_request(fd, l->type, &sign));
    end = now() + l->seconds;
    while (!l->failed && l->n < l->cap) {
        double start = now();

        if (start >= end)
            break;
        if (!one(l, &fd, &sign, &reply))
            l->failed = true;
        else
            l->us[l->n++] = (uint32_t)((now() - start) * 1e6);
    }
    if (fd >= 0)
        close(fd);
    buf_free(&sign);
    buf_free(&reply);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static int idle(const char *path, int connections)
{
    struct rlimit lim = {.rlim_cur = (rlim_t)connections + 64,
                         .rlim_max = (rlim_t)connections + 64};
    struct buf reply = BUF_INIT;
    double start;
    int fd, opened = 0;
    bool ok;

    (void)setrlimit(RLIMIT_NOFILE, &lim);
    while (opened < connections && dial(path) >= 0)
        opened++;
    alarm(10);       /* an agent that does not serve any more must not hang the benchmark */
    fd = dial(path); /* until the crowd has been let in */
    if (fd >= 0)
        (void)list_request(fd, &reply);
    buf_reset(&reply);
    start = now();
    fd = dial(path);
    ok = fd >= 0 && list_request(fd, &reply);
    printf("%d idle, list %s in %.0f us\n", opened, ok ? "answered" : "NOT answered",
           (now() - start) * 1e6);
    buf_free(&reply);
    return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
    const char *path = argc > 2 ? argv[1] : NULL, *mode = argc > 2 ? argv[2] : NULL,
               *type = "ssh-ed25519";
    int connections = 1, opt;
    double seconds = 2, started, took;
    size_t operations = 1000000;
    struct load *loads;
    uint32_t *all;
    size_t total = 0, at = 0;

    optind = 3;
    while (mode != NULL && (opt = getopt(argc, argv, "c:t:n:k:")) != -1) {
        if (opt == 'c')
            connections = atoi(optarg);
        else if (opt == 't')
            seconds = atof(optarg);
        else if (opt == 'n')
            operations = (size_t)atol(optarg);
        else if (opt == 'k')
            type = optarg;
        else
            mode = NULL;
    }
    if (mode == NULL || connections < 1 || operations < 1) {
        fprintf(stderr, "usage: agentload SOCKET list|sign|connect|idle [-c CONNECTIONS] [-t "
                        "SECONDS] [-n OPERATIONS] [-k TYPE]\n");
        return 2;
    }
    if (strcmp(mode, "idle") == 0)
        return idle(path, connections);
    loads = calloc((size_t)connections, sizeof *loads);
    if (loads == NULL)
        return 1;
    started = now();
    for (int i = 0; i < connections; i++) {
        loads[i] = (struct load){
            .path = path, .mode = mode, .type = type, .seconds = seconds, .cap = operations};
        loads[i].us = malloc(loads[i].cap * sizeof *loads[i].us);
        if (loads[i].us == NULL || pthread_create(&loads[i].thread, NULL, run, &loads[i]) != 0)
            return 1;
    }
    for (int i = 0; i < connections; i++) {
        pthread_join(loads[i].thread, NULL);
        if (loads[i].failed) {
            printf("failed\n");
            return 1;
        }
        total += loads[i].n;
    }
    took = now() - started;
    all = malloc((total + 1) * sizeof *all);
    if (all == NULL || total == 0)
        return 1;
    for (int i = 0; i < connections; i++) {
        memcpy(all + at, loads[i].us, loads[i].n * sizeof *all);
        at += loads[i].n;
        free(loads[i].us);
    }
    qsort(all, total, sizeof *all, by_value);
    printf("%.0f/s p50=%uus p99=%uus n=%zu\n", (double)total / took, all[total / 2],
           all[total * 99 / 100], total);
    free(all);
    free(loads);
    return 0;
}
