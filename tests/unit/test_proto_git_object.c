/* Git objects as the real git writes them, and text that lies about what it is. */
#include "proto/git_object.h"
#include "tests/unit/openpgp_util.h"

#define ID     "1234567890123456789012345678901234567890"
#define ID2    "abcdefabcdefabcdefabcdefabcdefabcdefabcd"
#define ID256  ID "123456789012345678901234"
#define WHO    "A U Thor <a@example.org> 1700000000 +0100"
#define HEAD   "tree " ID "\nauthor " WHO "\ncommitter C O Mitter <c@example.org> 1700000001 -0930\n"
#define COMMIT HEAD "\nsubject\n"
#define TAG    "object " ID "\ntype commit\ntag v1\ntagger " WHO "\n\nmessage\n"

static struct git_object o;

static void parse(const char *text)
{
    git_object_clear(&o);
    ck_ok(git_object_parse(rd_str(text), &o));
}

static void teardown(void)
{
    git_object_clear(&o);
}

START_TEST(commit)
{
    parse(COMMIT);
    ck_assert_int_eq(o.kind, GIT_COMMIT);
    ck_assert_str_eq(o.subject, "subject");
    ck_assert_str_eq(o.author, "A U Thor <a@example.org>");
    ck_assert_str_eq(o.committer, "C O Mitter <c@example.org>");
    ck_assert_str_eq(o.tree, ID);
    ck_assert_uint_eq(o.nparents, 0);
    ck_assert_ptr_null(o.parent);
    ck_assert_ptr_null(o.tag);
    ck_assert_ptr_null(o.tag_type);
}
END_TEST

START_TEST(tag)
{
    parse(TAG);
    ck_assert_int_eq(o.kind, GIT_TAG);
    ck_assert_str_eq(o.subject, "message");
    ck_assert_str_eq(o.tag, "v1");
    ck_assert_str_eq(o.tag_type, "commit");
    ck_assert_str_eq(o.tree, ID);
    ck_assert_str_eq(o.author, "A U Thor <a@example.org>");
    ck_assert_ptr_null(o.committer);
    parse("object " ID "\ntype tag\ntag v1\n\nold, without tagger\n");
    ck_assert_str_eq(o.tag_type, "tag");
    ck_assert_str_eq(o.subject, "old, without tagger");
    ck_assert_ptr_null(o.author);
}
END_TEST

/* Objects that git may write, and what is shown of them. */
static const struct {
    const char *text, *subject;
    size_t nparents;
} good[] = {
    {"tree " ID256 "\nparent " ID256 "\nauthor " WHO "\ncommitter " WHO "\n\nsha256\n", "sha256",
     1},
    {"tree " ID "\nparent " ID "\nparent " ID2 "\nparent " ID "\nauthor " WHO "\ncommitter " WHO
     "\n\noctopus\n",
     "octopus", 3},
    {HEAD "\n", "", 0},
    {HEAD "\n\n  \n\t\n  after blank lines \r\nsecond\n", "after blank lines", 0},
    {HEAD "\nno line end", "no line end", 0},
    {HEAD "HG:extra rebase_source:1\nchange-id zzz\n\nextra headers\n", "extra headers", 0},
    {HEAD "mergetag object " ID "\n type commit\n tag v1\n tagger " WHO
          "\n \n text\n encoding x\n\nmerge\n",
     "merge", 0},
    {HEAD
     "gpgsig-sha256 -----BEGIN PGP SIGNATURE-----\n \n abc\n -----END PGP SIGNATURE-----\n\nboth\n",
     "both", 0},
    {HEAD "encoding ISO-8859-1\n\nGr\xfc\xdf"
          "e \x85\n",
     "Gr\xc3\xbc\xc3\x9f"
     "e ?",
     0},
    {HEAD "encoding UTF-8\n\nGr\xc3\xbc\xc3\x9f"
          "e\n",
     "Gr\xc3\xbc\xc3\x9f"
     "e",
     0},
    /* What reads as "Fix" here would be other words in git log. */
    {HEAD "encoding IBM037\n\nFix\n", "[IBM037] Fix", 0},
    {HEAD "encoding \xe2\x80\xaeKOI8\n\nx\n", "[?KOI8] x", 0},
    {HEAD "\nnot UTF-8: \xfc\n", "not UTF-8: ?", 0},
    {"tree " ID "\nauthor <> 0 +0000\ncommitter  <a b> 1 +0000\n\nno names\n", "no names", 0},
};

START_TEST(accepted)
{
    parse(good[_i].text);
    ck_assert_int_eq(o.kind, GIT_COMMIT);
    ck_assert_str_eq(o.subject, good[_i].subject);
    ck_assert_uint_eq(o.nparents, good[_i].nparents);
    ck_assert(o.nparents == 0 ? o.parent == NULL : o.parent != NULL);
}
END_TEST

/* Names are in the object's encoding, too. */
START_TEST(encoded_author)
{
    parse("tree " ID "\nauthor J\xfcrg <j@x> 1 +0000\ncommitter " WHO "\nencoding latin1\n\nx\n");
    ck_assert_str_eq(o.author, "J\xc3\xbcrg <j@x>");
}
END_TEST

static const char *const bad[] = {
    "",
    "hello\n",
    "tree " ID "\n",
    "tree " ID "\n\n",
    HEAD, /* no blank line */
    " " COMMIT,
    "tree " ID "1\nauthor " WHO "\ncommitter " WHO "\n\nx\n",
    "tree 123456789012345678901234567890123456789G\nauthor " WHO "\ncommitter " WHO "\n\nx\n",
    "tree ABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCD\nauthor " WHO "\ncommitter " WHO "\n\nx\n",
    "tree " ID "\nparent " ID256 "\nauthor " WHO "\ncommitter " WHO "\n\nx\n", /* two hashes */
    "tree " ID "\nparent x\nauthor " WHO "\ncommitter " WHO "\n\nx\n",
    "tree " ID "\ncommitter " WHO "\nauthor " WHO "\n\nx\n",
    "tree " ID "\nauthor " WHO "\n\nx\n",
    "tree " ID "\nauthor A U Thor 1 +0000\ncommitter " WHO "\n\nx\n",
    "tree " ID "\nauthor A <a@b> now\ncommitter " WHO "\n\nx\n",
    "tree " ID "\nauthor A <a@b> 1 0000\ncommitter " WHO "\n\nx\n",
    "tree " ID "\nauthor A <a@b> 1 +000\ncommitter " WHO "\n\nx\n",
    "tree " ID "\nauthor A <a@b>\ncommitter " WHO "\n\nx\n",
    "tree " ID "\nauthor A <a@b> 1 +0000 \ncommitter " WHO "\n\nx\n",
    /* a second value of what is shown: git and we could take different ones */
    HEAD "author Somebody Else <e@x> 1 +0000\n\nx\n",
    HEAD "tree " ID2 "\n\nx\n",
    HEAD "parent " ID2 "\n\nx\n",
    HEAD "encoding UTF-8\nencoding IBM037\n\nx\n",
    HEAD " continues nothing\n\nx\n",
    HEAD "noblank\n\nx\n",
    HEAD "b\x01d name\n\nx\n",
    "object " ID "\ntype commit\ntag v1\ntagger nobody\n\nx\n",
    "object " ID "\ntype commit\ntag v1\ntagger " WHO "\n",
    "object " ID "\ntype secret\ntag v1\ntagger " WHO "\n\nx\n",
    "object " ID "\ntype COMMIT\ntag v1\ntagger " WHO "\n\nx\n",
    "object " ID "\ntype commit\ntag \ntagger " WHO "\n\nx\n",
    "object " ID "\ntype commit\ntagger " WHO "\n\nx\n",
    "object " ID "\ntag v1\ntype commit\ntagger " WHO "\n\nx\n",
    "object " ID "\ntype commit\ntag v1\ntagger " WHO "\ntag v2\n\nx\n",
};

START_TEST(refused)
{
    git_object_clear(&o);
    o.kind = GIT_TAG;
    ck_code(git_object_parse(rd_str(bad[_i]), &o), GPG_ERR_BAD_DATA);
    ck_assert_int_eq(o.kind, GIT_OTHER);
    ck_assert_ptr_null(o.subject);
    ck_assert_ptr_null(o.tree);
}
END_TEST

START_TEST(nul)
{
    static const char in_message[] = HEAD "\nshown\0hidden\n",
                      in_name[] = "tree " ID "\nauthor A\0B <a> 1 +0000\n"
                                  "committer " WHO "\n\nx\n";

    ck_code(git_object_parse(rd_of(in_message, sizeof in_message - 1), &o), GPG_ERR_BAD_DATA);
    ck_code(git_object_parse(rd_of(in_name, sizeof in_name - 1), &o), GPG_ERR_BAD_DATA);
    ck_code(git_object_parse(rd_of(NULL, 0), &o), GPG_ERR_BAD_DATA);
}
END_TEST

/* No prefix of an object up to its blank line is one; none is read past its end (the sanitizers watch). */
START_TEST(truncated)
{
    const char *texts[] = {COMMIT, TAG};

    for (int t = 0; t < 2; t++) {
        size_t head = (size_t)(strstr(texts[t], "\n\n") - texts[t]) + 2;

        for (size_t n = 0; n < head; n++) {
            char *copy = malloc(n > 0 ? n : 1);

            memcpy(copy, texts[t], n);
            /* a tag without its tagger is one, but here its line is broken off */
            ck_assert_msg(git_object_parse(rd_of(copy, n), &o) != 0, "%d: %zu", t, n);
            free(copy);
        }
    }
}
END_TEST

/* --- by the real git ------------------------------------------------------------------------------------------------------- */

static void from_git(const char *dir, const char *name)
{
    struct buf b = BUF_INIT;

    read_file(dir, name, &b);
    git_object_clear(&o);
    ck_assert_msg(git_object_parse(buf_rd(&b), &o) == 0, "%s: %s", name, buf_cstr(&b));
    buf_free(&b);
}

START_TEST(written_by_git)
{
    static const char script[] =
        "export GIT_AUTHOR_NAME=T GIT_AUTHOR_EMAIL=t@x GIT_COMMITTER_NAME=T "
        "GIT_COMMITTER_EMAIL=t@x\n"
        "git init -q --object-format=%s -b main r && cd r &&\n"
        "git commit -q --allow-empty -m one && git cat-file commit HEAD > ../root &&\n"
        "git commit -q --allow-empty --allow-empty-message -m '' &&\n"
        "git cat-file commit HEAD > ../empty && git checkout -q -b side HEAD^ &&\n"
        "git commit -q --allow-empty -m two && printf 'the tag\n\n-----BEGIN PGP SIGNATURE-----\n"
        "\niQ==\n-----END PGP SIGNATURE-----\n' | git tag -a -F - v1 && git checkout -q main &&\n"
        "git -c gpg.program=true merge -q --no-ff -m merged v1 &&\n"
        "git cat-file commit HEAD > ../merge && git cat-file tag v1 > ../tag &&\n"
        "git tag -a -m 'of a tag' v2 v1 && git cat-file tag v2 > ../tag2 &&\n"
        "git tag -a -m 'of a tree' v3 HEAD^{tree} && git cat-file tag v3 > ../tag3 &&\n"
        "printf 'Gr\\374n\n' | git -c i18n.commitEncoding=ISO-8859-1 commit -q --allow-empty -F - "
        "&&\n"
        "git cat-file commit HEAD > ../latin1 && cat ../merge\n";
    static const char *const formats[] = {"sha1", "sha256"};
    char *dir = scratch_new(), *out;

    ck_assert_msg(shell(dir, &out, script, formats[_i]) == 0, "%s", out);
    ck_contains(out, "mergetag object ");
    gpgrt_free(out);
    from_git(dir, "root");
    ck_assert_str_eq(o.subject, "one");
    ck_assert_uint_eq(strlen(o.tree), _i == 0 ? 40 : 64);
    from_git(dir, "empty");
    ck_assert_str_eq(o.subject, "");
    ck_assert_uint_eq(o.nparents, 1);
    from_git(dir, "merge");
    ck_assert_str_eq(o.subject, "merged");
    ck_assert_uint_eq(o.nparents, 2);
    from_git(dir, "latin1");
    ck_assert_str_eq(o.subject, "Gr\xc3\xbcn");
    from_git(dir, "tag");
    ck_assert_int_eq(o.kind, GIT_TAG);
    ck_assert_str_eq(o.tag, "v1");
    ck_assert_str_eq(o.subject, "the tag");
    from_git(dir, "tag2");
    ck_assert_str_eq(o.tag_type, "tag");
    from_git(dir, "tag3");
    ck_assert_str_eq(o.tag_type, "tree");
    scratch_free(dir);
}
END_TEST

/* --- text -------------------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *in, *out;
    size_t max;
} texts[] = {
    {"plain", "plain", 80},
    {"", "", 80},
    {"one\ntwo\ttab\x1b[31m\x7f", "one?two?tab?[31m?", 80},
    {"abcdef", "abc...", 3},
    {"abc", "abc", 3},
    {"\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4", "\xc3\xa4\xc3\xa4...", 2}, /* characters, not octets */
    {"\xc3", "?", 80},
    {"\xc0\xaf\xe0\x80\xaf", "?????", 80}, /* overlong */
    {"\xed\xa0\x80", "???", 80},           /* surrogate */
    {"\xf4\x90\x80\x80", "????", 80},      /* past U+10FFFF */
    {"\xff\xfe", "??", 80},
    {"\xc2\x9b"
     "31m",
     "?31m", 80}, /* C1: CSI */
    {"a\xe2\x80\xae"
     "b",
     "a?b", 80}, /* U+202E right-to-left override */
    {"a\xe2\x81\xa6"
     "b\xe2\x81\xa9",
     "a?b?", 80}, /* isolates */
    {"a\xe2\x80\x8b"
     "b",
     "a?b", 80}, /* zero width space */
    {"a\xe2\x80\x8d"
     "b",
     "a?b", 80}, /* zero width joiner */
    {"\xef\xbb\xbf"
     "b",
     "?b", 80}, /* byte order mark */
    {"a\xc2\xad"
     "b",
     "a?b", 80}, /* soft hyphen */
    {"a\xd8\x9c"
     "b",
     "a?b", 80}, /* Arabic letter mark */
    {"a\xe2\x80\xa8"
     "b",
     "a?b", 80}, /* line separator */
    {"a\xe3\x85\xa4"
     "b",
     "a?b", 80}, /* Hangul filler */
    {"a\xe2\xa0\x80"
     "b",
     "a?b", 80}, /* blank of Braille */
    {"a\xf3\xa0\x81\x81"
     "b",
     "a?b", 80}, /* tag characters */
    {"\xf0\x9f\x94\x91 key", "\xf0\x9f\x94\x91 key", 80},
};

START_TEST(cleaned)
{
    char *got = text_clean(texts[_i].in, strlen(texts[_i].in), texts[_i].max);

    ck_assert_str_eq(got, texts[_i].out);
    gpgrt_free(got);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_checked_fixture(tc, NULL, teardown);
    tcase_add_test(tc, commit);
    tcase_add_test(tc, tag);
    tcase_add_loop_test(tc, accepted, 0, sizeof good / sizeof good[0]);
    tcase_add_test(tc, encoded_author);
    tcase_add_loop_test(tc, refused, 0, sizeof bad / sizeof bad[0]);
    tcase_add_test(tc, nul);
    tcase_add_test(tc, truncated);
    tcase_add_loop_test(tc, written_by_git, 0, 2);
    tcase_add_loop_test(tc, cleaned, 0, sizeof texts / sizeof texts[0]);
}

int main(void)
{
    return run_suite("git_object", add);
}
