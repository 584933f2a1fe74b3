/* Git objects and text made fit to be shown: whatever comes in, what comes out is one clean line. */
#include "proto/git_object.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

static void check_line(const char *s, size_t max)
{
    char *again;

    REQUIRE(s != NULL && strlen(s) <= 4 * max + 3);
    for (const char *p = s; *p != '\0'; p++)
        REQUIRE((unsigned char)*p >= ' ' && *p != 0x7f);
    /* clean text stays as it is */
    again = text_clean(s, strlen(s), strlen(s));
    REQUIRE(again != NULL && strcmp(again, s) == 0);
    gpgrt_free(again);
}

static void check_optional(const char *s)
{
    if (s != NULL)
        check_line(s, 300);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct git_object o;
    gpg_error_t err;
    char *text;

    fuzz_init();
    text = text_clean((const char *)data, size, 80);
    check_line(text, 80);
    gpgrt_free(text);

    err = git_object_parse(rd_of(data, size), &o);
    REQUIRE((err == 0) == (o.kind != GIT_OTHER));
    if (err == 0) {
        check_line(o.subject, 300);
        REQUIRE(o.tree != NULL && (strlen(o.tree) == 40 || strlen(o.tree) == 64));
        REQUIRE((o.parent != NULL) == (o.nparents > 0));
        if (o.kind == GIT_COMMIT)
            REQUIRE(o.author != NULL && o.committer != NULL && o.tag == NULL);
        else
            REQUIRE(o.tag != NULL && o.tag_type != NULL && o.nparents == 0);
    } else {
        REQUIRE(gpg_err_code(err) == GPG_ERR_BAD_DATA);
    }
    check_optional(o.author);
    check_optional(o.committer);
    check_optional(o.tag);
    git_object_clear(&o);
    return 0;
}
