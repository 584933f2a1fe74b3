/* What killed agents left behind goes, and nothing else. */
#include "agent/instance.h"
#include "agent/stale.h"
#include "tests/unit/openpgp_util.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static char *home, *agents, *tmp;

static void setup(void)
{
    char *ssh;

    home = scratch_new();
    ssh = gpgrt_bsprintf("%s/.ssh", home);
    agents = gpgrt_bsprintf("%s/.ssh/agent", home);
    tmp = gpgrt_bsprintf("%s/tmp", home);
    ck_assert_int_eq(mkdir(ssh, 0700), 0);
    ck_assert_int_eq(mkdir(agents, 0700), 0);
    ck_assert_int_eq(mkdir(tmp, 0700), 0);
    gpgrt_free(ssh);
}

static void teardown(void)
{
    gpgrt_free(agents);
    gpgrt_free(tmp);
    scratch_free(home);
}

static void make_old(const char *path)
{
    const struct timeval long_ago[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};

    ck_assert_int_eq(lutimes(path, long_ago), 0);
}

/* Returns the path; a listening one keeps its descriptor open. */
static char *make_socket(const char *dir, const char *name, bool listening, bool old)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    char *path = gpgrt_bsprintf("%s/%s", dir, name);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    ck_assert_uint_lt(strlen(path), sizeof sa.sun_path);
    memcpy(sa.sun_path, path, strlen(path) + 1);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&sa, sizeof sa), 0);
    if (listening)
        ck_assert_int_eq(listen(fd, 1), 0);
    else
        close(fd);
    if (old)
        make_old(path);
    return path;
}

static bool there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

START_TEST(ssh_agents)
{
    char host[256] = "", letters[11], name[64];
    char *dead, *young, *live, *strange, *file;
    FILE *f;

    ck_assert_int_eq(gethostname(host, sizeof host - 1), 0);
    stale_host_letters(host, letters);
    snprintf(name, sizeof name, "s.%s.agent.dead", letters);
    dead = make_socket(agents, name, false, true);
    snprintf(name, sizeof name, "s.%s.agent.young", letters);
    young = make_socket(agents, name, false, false);
    snprintf(name, sizeof name, "s.%s.sshd.live", letters);
    live = make_socket(agents, name, true, true);
    strange = make_socket(agents, "s.otherhostx.agent.dead", false, true);
    file = gpgrt_bsprintf("%s/s.%s.agent.file", agents, letters);
    f = fopen(file, "w");
    fclose(f);
    make_old(file);
    ck_assert_uint_eq(stale_sockets_remove(home, tmp, false), 1);
    ck_assert(!there(dead) && there(young) && there(live) && there(strange) && there(file));
    ck_assert_uint_eq(stale_sockets_remove(home, NULL, true), 1);
    ck_assert(there(young) && there(live) && !there(strange) && there(file));
    gpgrt_free(dead);
    gpgrt_free(young);
    gpgrt_free(live);
    gpgrt_free(strange);
    gpgrt_free(file);
}
END_TEST

START_TEST(own_directories)
{
    char *gone = gpgrt_bsprintf("%s/" INSTANCE_DIR "abcdef", tmp),
         *used = gpgrt_bsprintf("%s/" INSTANCE_DIR "ghijkl", tmp),
         *other = gpgrt_bsprintf("%s/somebody.abcdef", tmp),
         *link_to = gpgrt_bsprintf("%s/" INSTANCE_DIR "link", tmp);
    char *dirs[] = {gone, used, other}, *sockets[3];

    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(mkdir(dirs[i], 0700), 0);
        sockets[i] = make_socket(dirs[i], "agent.1", i == 1, true);
        make_old(dirs[i]);
    }
    ck_assert_int_eq(symlink(other, link_to), 0);
    make_old(link_to);
    ck_assert_uint_eq(stale_sockets_remove(NULL, tmp, true), 1);
    ck_assert(!there(gone) && there(sockets[1]) && there(sockets[2]) && there(link_to));
    for (int i = 0; i < 3; i++) {
        gpgrt_free(dirs[i]);
        gpgrt_free(sockets[i]);
    }
    gpgrt_free(link_to);
}
END_TEST

START_TEST(host_letters)
{
    char letters[11];

    stale_host_letters("laptop", letters);
    ck_assert_str_eq(letters, "adNUkfuZu2");
    ck_assert_uint_eq(stale_sockets_remove("/nonexistent", "/nonexistent", true), 0);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, ssh_agents);
    tcase_add_test(tc, own_directories);
    tcase_add_test(tc, host_letters);
}

int main(void)
{
    return run_suite("agent/stale", add);
}
