/* A whole conversation on gpg's socket, with fakes for what is below the session. Whatever comes, what goes back are lines of Assuan,
 * and each command gets one answer at most. A first octet of 1 or 2: on the extra or the browser socket, where no private key is made,
 * moved or changed. */
#include "agent/gpg_session.h"

#include "tests/fuzz/converse.h"
#include "tests/fuzz/fuzz_util.h"
#include "tests/unit/fakes_gpg.h"

#include <string.h>

#define GRIP "AC7B9C2F97AF87D7A49A0DC870BBC790E92D2CDA"

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

    fuzz_init();
    assuan_set_gpg_err_source(GPG_ERR_SOURCE_DEFAULT);
    begin();
    converse(&gpg_world.agent, serve, said, &got);
    converse_check_assuan(buf_rd(&got), said, "INQUIRE ");
    REQUIRE(serve == gpg_session_serve || strcmp(gpg_world.use, "") == 0 ||
            strcmp(gpg_world.use, "openpgp-sign") == 0 || strcmp(gpg_world.use, "decrypt") == 0);
    buf_free(&got);
    gpg_world_free();
    return 0;
}
