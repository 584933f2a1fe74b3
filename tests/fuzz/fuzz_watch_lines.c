/* Lines of watch-pcsc: reader names come from drivers and devices. */
#include "agent/token_lines.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct watch_line w;
    char *text = malloc(size + 1);

    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (watch_line_parse(text, &w) == 0) {
        if (w.event != WATCH_SERVICE && (w.reader == NULL || w.reader[0] == '\0'))
            abort();
        if ((w.bus < 0) != (w.dev < 0))
            abort();
        watch_line_clear(&w);
    }
    free(text);
    return 0;
}
