#include "devices/key_memory.h"

#include <gcrypt.h>
#include <openssl/crypto.h>
#include <stdlib.h>

static _Thread_local unsigned for_key;

static void *allocate(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return for_key > 0 ? gcry_malloc_secure(n) : malloc(n);
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

/* libgcrypt copies parts of secret s-expressions into ordinary memory. What it gets here it frees by itself, as it has no
 * other handler. */
static void *allocate_gcrypt(size_t n)
{
    return for_key > 0 ? gcry_malloc_secure(n) : malloc(n);
}

bool key_memory_init(void)
{
    gcry_set_allocation_handler(allocate_gcrypt, NULL, NULL, NULL, NULL);
    return CRYPTO_set_mem_functions(allocate, resize, release) == 1;
}

void key_memory_begin(void)
{
    for_key++;
}

void key_memory_end(void)
{
    for_key--;
}
