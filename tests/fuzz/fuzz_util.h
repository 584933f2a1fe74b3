/* Shared by the fuzz targets of proto/. */
#ifndef LATCHKEY_TESTS_FUZZ_UTIL_H
#define LATCHKEY_TESTS_FUZZ_UTIL_H

#include <gcrypt.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void fuzz_init(void)
{
    static int done;

    if (done)
        return;
    done = 1;
    (void)gcry_check_version(NULL);
    gcry_control(GCRYCTL_INIT_SECMEM, 1048576, 0);
    gcry_control(GCRYCTL_AUTO_EXPAND_SECMEM, 524288, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
}

/* What must hold whatever the input. */
#define REQUIRE(x)   \
    do {             \
        if (!(x))    \
            abort(); \
    } while (0)

#endif
