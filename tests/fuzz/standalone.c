/* A main() without a fuzzer: runs LLVMFuzzerTestOneInput over every file in the directories (or
 * files) named. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long inputs;

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = NULL;
    size_t n = 0, got;

    if (f == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    do {
        uint8_t *more = realloc(data, n + 4096);

        if (more == NULL)
            abort();
        data = more;
        got = fread(data + n, 1, 4096, f);
        n += got;
    } while (got > 0);
    fclose(f);
    /* A copy of just the size, so that a sanitizer or valgrind sees a read past the end. */
    uint8_t *exact = malloc(n > 0 ? n : 1);

    if (exact == NULL)
        abort();
    memcpy(exact, data, n);
    free(data);
    (void)LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    inputs++;
    return 0;
}

static int run_dir(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *e;
    int ret = 0;

    if (dir == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    while (ret == 0 && (e = readdir(dir)) != NULL) {
        char *file;

        if (e->d_name[0] == '.')
            continue;
        if (asprintf(&file, "%s/%s", path, e->d_name) < 0)
            abort();
        ret = run_file(file);
        free(file);
    }
    closedir(dir);
    return ret;
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');

    for (int i = 1; i < argc; i++) {
        struct stat st;
        int ret;

        if (stat(argv[i], &st) != 0) {
            fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
            return 1;
        }
        ret = S_ISDIR(st.st_mode) ? run_dir(argv[i]) : run_file(argv[i]);
        if (ret != 0)
            return 1;
    }
    printf("%s: %lu inputs\n", slash != NULL ? slash + 1 : argv[0], inputs);
    return inputs > 0 ? 0 : 1;
}
