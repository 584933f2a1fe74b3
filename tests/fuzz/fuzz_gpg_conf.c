/* gpg-agent.conf. */
#include "agent/gpg_options.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gpg_options o;
    struct rd notes;
    unsigned lines = 0, notes_count = 0;
    char *text = gpgrt_malloc(size + 1);

    fuzz_init();
    REQUIRE(text != NULL && gpg_options_init(&o) == 0);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    gpg_options_parse_file("fuzz", text, &o);
    for (const char *p = text; *p != '\0'; p++)
        lines += *p == '\n' || p[1] == '\0';
    notes = buf_rd(&o.notes);
    for (size_t i = 0; i < notes.n; i++)
        notes_count += notes.p[i] == '\n';
    /* a line each, for each line at most, and none of them chooses what the agent does */
    REQUIRE(notes_count <= lines && o.problems <= notes_count && o.mode == GPG_PROBE);
    REQUIRE(o.home_arg == NULL && o.conf_arg == NULL && !o.no_options && o.conf->home == NULL);
    gpg_options_clear(&o);
    gpgrt_free(text);
    return 0;
}
