/* A whole conversation on gpg's socket, with fakes for what is below the session. Whatever comes, what goes back are lines of Assuan,
 * and each command gets one answer at most. A first octet of 1 or 2: on the extra or the browser socket, where no private key is made,
 * moved or changed. */
#include "agent/gpg_session.h"

#include "tests/fuzz/converse.h"
#include "tests/fuzz/fuzz_util.h"
#include "tests/unit/fakes_gpg.h"

#include <string.h>

#define GRIP "AC7B9C2F97AF87D7A49A0DC870BBC790E92D2CDA"

static void check_line(struct rd line)
{
    static const char *const starts[] = {"OK", "ERR ", "D ", "S ", "# ", "INQUIRE "};

    REQUIRE(line.n <= ASSUAN_LINELENGTH);
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
        if (line.n >= strlen(starts[i]) && memcmp(line.p, starts[i], strlen(starts[i])) == 0)
            return;
    abort();
}

static size_t count_lines(struct rd r)
{
    size_t n = 1;

    for (; r.n > 0; r = rd_of(r.p + 1, r.n - 1))
        n += *r.p == '\n';
    return n;
}

static void begin(void)
{
    static const char *const inquiries[] = {"PARAM",
                                            "WRAPKEY",
                                            "WRAPPED",
                                            "VALUE",
                                            "PUB",
                                            "PASSPHRASE key=" GRIP " why=use try=1 tries=3",
                                            "PASSPHRASE key=" GRIP
                                            " why=old try=2 tries=3 error=bad",
                                            "PASSPHRASE why=new"};

    gpg_world_new("/nonexistent/gnupg");
    gpg_world.again = true;
    gpg_world.stored = "STORED key=" GRIP " state=protected label=L%25 comment=c ssh=2\n";
    gpg_world.result = "(10:public-key(3:ecc(5:curve7:Ed25519)(5:flags5:eddsa)(1:q33:@"
                       "ABCDEFGHIJKLMNOPABCDEFGHIJKLMNOP)))";
    gpg_world.lines = "SHOWN pin=typed\nNONCE cache=AA11 passwd=BB22\nATTR name=x text=y\n";
    gpg_world.progress = "what=primegen char=+ cur=0 total=0";
    memcpy(gpg_world.inquiries, inquiries, sizeof inquiries);
    gpg_world_reply((struct reply){.secret = "Tr0ub4dor&3x", .repeated = true, .check = "abc"});
    gpg_world_reply((struct reply){.secret = "abc", .from_cache = true});
    gpg_world_reply((struct reply){.err = gpg_err_make(GPG_ERR_SOURCE_PINENTRY, GPG_ERR_CANCELED)});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    session_fn *serve = size > 0 && data[0] == 1   ? gpg_session_serve_extra
                        : size > 0 && data[0] == 2 ? gpg_session_serve_browser
                                                   : gpg_session_serve;
    struct rd said = serve == gpg_session_serve ? rd_of(data, size) : rd_of(data + 1, size - 1);
    struct buf got = BUF_INIT;
    struct rd in;
    size_t answers = 0;

    fuzz_init();
    assuan_set_gpg_err_source(GPG_ERR_SOURCE_DEFAULT);
    begin();
    converse(&gpg_world.agent, serve, said, &got);
    for (in = buf_rd(&got); in.n > 0;) {
        const uint8_t *end = memchr(in.p, '\n', in.n);
        struct rd line = rd_of(in.p, end != NULL ? (size_t)(end - in.p) : in.n);

        check_line(line);
        answers += line.p[0] == 'O' || line.p[0] == 'E';
        if (end == NULL)
            break;
        in = rd_of(end + 1, in.n - line.n - 1);
    }
    REQUIRE(answers >= 1 && answers <= 1 + count_lines(said));
    REQUIRE(serve == gpg_session_serve || strcmp(gpg_world.use, "") == 0 ||
            strcmp(gpg_world.use, "openpgp-sign") == 0 || strcmp(gpg_world.use, "decrypt") == 0);
    buf_free(&got);
    gpg_world_free();
    return 0;
}
