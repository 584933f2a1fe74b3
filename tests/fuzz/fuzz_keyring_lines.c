/* TOKEN and KEY lines: a token process parses what a device says, so its own words may be anything. */
#include "agent/token_lines.h"
#include "tests/fuzz/fuzz_util.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct token_info info = {0}, told = {.name = (char[]){"openpgp-1"}};
    struct key_line key;
    char *text = malloc(size + 1);

    fuzz_init();
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (token_line_parse(text, &info) == 0) {
        if (info.name == NULL || info.kind == NULL || strpbrk(info.name, "/ %\n") != NULL)
            abort();
        token_info_clear(&info);
    }
    if (key_line_parse(text, &told, &key) == 0) {
        if (key.id.key == NULL || key.holder.id == NULL || key.id.comment == NULL)
            abort();
        key_line_clear(&key);
    }
    free(text);
    return 0;
}
