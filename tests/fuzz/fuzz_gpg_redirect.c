/* Files in a socket's place that redirect to another one. */
#include "agent/gpg_sockets.h"
#include "proto/buf.h"
#include "tests/fuzz/fuzz_util.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char name[] = "/tmp/lkfuzzXXXXXX";
    char *path = gpgrt_strdup(name);
    int fd = mkstemp(name);

    fuzz_init();
    REQUIRE(fd >= 0 && path != NULL);
    memcpy(path, name, sizeof name);
    if (write(fd, data, size) == (ssize_t)size) {
        if (gpg_socket_redirect(&path) == 0)
            REQUIRE(path[0] == '/' && strcmp(path, name) != 0 &&
                    memcmp(data, "%Assuan%\n", 9) == 0);
        else
            REQUIRE(strcmp(path, name) == 0);
    }
    gpgrt_free(path);
    close(fd);
    unlink(name);
    return 0;
}
