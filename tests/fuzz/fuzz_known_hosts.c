/* known_hosts files; the key that is looked up stands in the corpus' lines. */
#include "agent/known_hosts.h"
#include "tests/fuzz/fuzz_util.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char line[] =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl x";
    static const char *const candidates[] = {"github.com", "[a]:22", NULL};
    char path[] = "/tmp/lkfuzzXXXXXX";
    const char *files[] = {path, NULL};
    struct known_hosts *k = NULL;
    struct host_names names = {0};
    struct key *key = NULL;
    int fd = mkstemp(path);

    fuzz_init();
    REQUIRE(fd >= 0 && key_from_text(line, &key, NULL) == 0);
    if (write(fd, data, size) == (ssize_t)size && known_hosts_new("/h", files, &k) == 0 &&
        known_hosts_lookup(k, key, candidates, NULL, 1700000000, &names) == 0) {
        for (size_t i = 0; i < names.n; i++)
            REQUIRE(names.names[i] != NULL && strpbrk(names.names[i], "*?,") == NULL);
        host_names_clear(&names);
    }
    known_hosts_free(k);
    key_unref(key);
    close(fd);
    unlink(path);
    return 0;
}
