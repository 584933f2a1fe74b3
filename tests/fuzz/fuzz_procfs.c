/* What /proc says is chosen by the process that it is about. */
#include "agent/procfs.h"
#include "tests/fuzz/fuzz_util.h"

#include <gpg-error.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proc_strings s;
    struct proc_stat st;
    char *text = malloc(size + 1), *host, *port;

    fuzz_init();
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    (void)proc_stat_parse(text, &st);
    gpgrt_free(proc_unit_parse(text));
    if (proc_strings_parse((const char *)data, size, &s) == 0) {
        (void)proc_strings_get(&s, "DISPLAY");
        proc_ssh_destination(&s, &host, &port);
        gpgrt_free(host);
        gpgrt_free(port);
        proc_strings_free(&s);
    }
    free(text);
    return 0;
}
