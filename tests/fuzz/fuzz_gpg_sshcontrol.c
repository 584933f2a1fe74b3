/* sshcontrol: lines are good or named, never both, and a good one is as its parser promises. */
#include "devices/gpg_sshcontrol.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

static void count(void *arg, unsigned line, const char *why)
{
    REQUIRE(line > 0 && why[0] != '\0');
    ++*(size_t *)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gpg_ssh_line *list = NULL;
    size_t n = 0, bad = 0, lines = 1;

    fuzz_init();
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n';
    if (gpg_sshcontrol_parse(rd_of(data, size), &list, &n, count, &bad) != 0)
        return 0;
    REQUIRE(n + bad <= lines);
    for (size_t i = 0; i < n; i++)
        REQUIRE(strspn(list[i].grip, "0123456789ABCDEF") == GPG_GRIP && list[i].ttl >= 0);
    gpgrt_free(list);
    return 0;
}
