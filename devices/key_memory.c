#include "devices/key_memory.h"

#include <gcrypt.h>
#include <openssl/crypto.h>
#include <stdlib.h>

static _Thread_local bool for_key;

static void *allocate(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return for_key ? gcry_malloc_secure(n) : malloc(n);
}

static void release(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    if (p != NULL && gcry_is_secure(p))
        gcry_free(p);
    else
        free(p);
}

static void *resize(void *p, size_t n, const char *file, int line)
{
    if (p == NULL)
        return allocate(n, file, line);
    if (n == 0) {
        release(p, file, line);
        return NULL;
    }
    return gcry_is_secure(p) ? gcry_realloc(p, n) : realloc(p, n);
}

bool key_memory_init(void)
{
    return CRYPTO_set_mem_functions(allocate, resize, release) == 1;
}

void key_memory_begin(void)
{
    for_key = true;
}

void key_memory_end(void)
{
    for_key = false;
}
