/* The commands that make, move, change and delete gpg's keys, and those about passphrases, over a key store that does as it is told. */
#include "agent/gpg_session.h"

#include "proto/token_protocol.h"
#include "tests/unit/gpg_talk.h"

#include <stdlib.h>
#include <sys/stat.h>

#define GRIP    "AC7B9C2F97AF87D7A49A0DC870BBC790E92D2CDA"
#define W       (&gpg_world)
#define AGENT   GPG_ERR_SOURCE_GPGAGENT
#define PIN     GPG_ERR_SOURCE_PINENTRY
#define ED      "(10:public-key(3:ecc(5:curve7:Ed25519)(5:flags5:eddsa)(1:q33:@" SIXTEEN SIXTEEN ")))"
#define SIXTEEN "ABCDEFGHIJKLMNOP"

static struct talk talk;
static char home[] = "/tmp/lkgpgXXXXXX", folder[32];

static void setup(void)
{
    snprintf(folder, sizeof folder, "%s", home);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    gpg_world_new(folder);
    talk_begin(&talk, gpg_session_serve);
}

static void teardown(void)
{
    char *cmd = gpgrt_bsprintf("rm -r %s", folder);

    talk_end(&talk);
    gpg_world_free();
    ck_assert_int_eq(system(cmd), 0);
    gpgrt_free(cmd);
}

static void script(const char *a, const char *b, const char *c)
{
    W->inquiries[0] = a;
    W->inquiries[1] = b;
    W->inquiries[2] = c;
    W->inquiries[3] = NULL;
}

static void type(const char *secret)
{
    gpg_world_reply((struct reply){.secret = secret, .repeated = true});
}

static void answer(gpg_err_code_t code)
{
    gpg_world_reply((struct reply){.err = code != 0 ? gpg_err_make(PIN, code) : 0});
}

static bool has_field(const char *name, const char *value)
{
    char *got = NULL;
    bool is;

    ck_assert_uint_eq(field_get(W->args, name, &got), 0);
    is = got == NULL ? value == NULL : value != NULL && strcmp(got, value) == 0;
    gpgrt_free(got);
    return is;
}

/* --- GENKEY ----------------------------------------------------------------------------------------------------------------------- */

START_TEST(genkey)
{
    script("PARAM", "PASSPHRASE why=new try=1 tries=1", NULL);
    W->result = ED;
    W->lines = "SHOWN pin=typed\nNONCE cache=00112233445566778899AABB\n";
    W->progress = "what=primegen char=+ cur=0 total=0";
    type("Tr0ub4dor&3x");
    ck_assert_str_eq(talk_say(&talk, "GENKEY --timestamp=20261123T212803 --preset "
                                     "--passwd-nonce=AABB 7DDE7A50461C25CDD92D00CE"),
                     "INQUIRE KEYPARAM");
    ck_assert_ptr_nonnull(strstr(talk.said, "S INQUIRE_MAXLEN 1024\n"));
    ck_assert_str_eq(talk_answer(&talk, "(genkey(ecc(curve 7:Ed25519)(flags eddsa comp)))"), "OK");
    ck_assert_ptr_nonnull(strstr(talk.said, "\nS PROGRESS primegen + 0 0\n"));
    ck_assert_ptr_nonnull(strstr(talk.said, "\nS CACHE_NONCE 00112233445566778899AABB\n"));
    ck_assert_ptr_nonnull(strstr(talk.said, "\nS KEYGRIP "));
    ck_assert_ptr_nonnull(strstr(talk.said, "\nD (10:public-key(3:ecc"));
    ck_assert_str_eq(W->use, "generate");
    ck_assert_str_eq(W->word, "GENERATE");
    ck_assert(W->patient);
    ck_assert(has_field("created", "1795469283"));
    ck_assert(has_field("preset", "1") && has_field("preset-ttl", "900"));
    ck_assert(has_field("passwd-nonce", "AABB"));
    ck_assert(has_field("nonce", "7DDE7A50461C25CDD92D00CE"));
    ck_assert(has_field("cache", "0") && has_field("protect", NULL));
    ck_assert_str_eq(W->answers[0], "(genkey(ecc(curve 7:Ed25519)(flags eddsa comp)))");
    ck_assert_str_eq(W->answers[1], "Tr0ub4dor&3x");
    ck_assert_str_eq(W->shown[0].desc, "Please enter the passphrase to\nprotect your new key");
    ck_assert(W->shown[0].repeat && W->shown[0].rules && W->shown[0].keyinfo[0] == '\0');
}
END_TEST

START_TEST(genkey_with_a_given_passphrase)
{
    script("PARAM", "PASSPHRASE why=new", NULL);
    W->result = ED;
    ck_assert_str_eq(talk_say(&talk, "GENKEY --inq-passwd"), "INQUIRE KEYPARAM");
    ck_assert_str_eq(talk_answer(&talk, "(genkey(rsa(nbits 4:2048)))"), "INQUIRE NEWPASSWD");
    ck_assert_str_eq(talk_answer(&talk, "abc"), "OK");
    ck_assert_str_eq(W->answers[1], "abc");
    ck_assert_uint_eq(W->asked, 0);
    script("PARAM", NULL, NULL);
    (void)talk_say(&talk, "GENKEY --inq-passwd");
    (void)talk_answer(&talk, "(genkey(rsa(nbits 4:2048)))");
    ck_assert_str_eq(talk_answer(&talk, ""), "OK");
    ck_assert(has_field("protect", "0"));
    (void)talk_say(&talk, "GENKEY --no-protection");
    ck_assert_str_eq(talk_answer(&talk, "(genkey(rsa(nbits 4:2048)))"), "OK");
    ck_assert(has_field("protect", "0"));
}
END_TEST

START_TEST(genkey_refused)
{
    ck_assert(is_err(talk_say(&talk, "GENKEY --timestamp=yesterday"), AGENT, GPG_ERR_INV_TIME));
    ck_assert_uint_eq(W->requests, 0);
    W->refusal = gpg_error(GPG_ERR_FORBIDDEN);
    (void)talk_say(&talk, "GENKEY");
    ck_assert(is_err(talk_answer(&talk, "(genkey(foo))"), AGENT, GPG_ERR_FORBIDDEN));
    W->refusal = 0;
    script("PARAM", "PASSPHRASE why=new", NULL);
    answer(GPG_ERR_CANCELED);
    (void)talk_say(&talk, "GENKEY");
    ck_assert(is_err(talk_answer(&talk, "(genkey(foo))"), PIN, GPG_ERR_CANCELED));
    script("NOTHING that=we.know", NULL, NULL);
    (void)talk_say(&talk, "GENKEY");
    ck_assert(is_err(talk_answer(&talk, "(genkey(foo))"), AGENT, GPG_ERR_ASS_UNKNOWN_INQUIRE));
}
END_TEST

/* --- PASSWD ------------------------------------------------------------------------------------------------------------------------ */

START_TEST(passwd)
{
    W->stored = "STORED key=" GRIP " state=protected\n";
    W->lines = "NONCE cache=AA11 passwd=BB22\n";
    script("PASSPHRASE key=" GRIP " why=old try=1 tries=3",
           "PASSPHRASE key=" GRIP " why=old try=2 tries=3 error=bad",
           "PASSPHRASE key=" GRIP " why=new");
    type("wrong");
    type("right");
    type("Tr0ub4dor&3x");
    said_ok("SETKEYDESC Change+it:%0A%22Ann+%3Cann@x.test%3E%22");
    said_ok("PASSWD   --cache-nonce=A --passwd-nonce=B " GRIP);
    ck_assert_str_eq(talk.said, "S CACHE_NONCE AA11\nS PASSWD_NONCE BB22\nOK");
    ck_assert_str_eq(W->use, "import");
    ck_assert_str_eq(W->key, GRIP);
    ck_assert_str_eq(W->what, "Name:    Ann <ann@x.test>\n");
    ck_assert(has_field("cache-nonce", "A") && has_field("passwd-nonce", "B"));
    ck_assert(has_field("verify", NULL) && has_field("cache", "0"));
    ck_assert_str_eq(W->shown[0].desc, "Change it:\n\"Ann <ann@x.test>\"");
    ck_assert_str_eq(W->shown[0].keyinfo, "");
    ck_assert_str_eq(W->shown[0].label, "Passphrase:");
    ck_assert_str_eq(W->shown[1].error, "Bad Passphrase (try 2 of 3)");
    ck_assert_str_eq(W->shown[2].desc, "Please enter the new passphrase");
    ck_assert(!W->shown[0].repeat && W->shown[2].repeat);
    ck_assert_str_eq(W->answers[0], "wrong");
    ck_assert_str_eq(W->answers[2], "Tr0ub4dor&3x");
    snprintf(W->cached, sizeof W->cached, "BB22 it");
    said_ok("RESET"); /* the nonces are over */
    ck_assert_str_eq(W->cached, "");
    /* the description was for that one only */
    script(NULL, NULL, NULL);
    said_ok("PASSWD --verify " GRIP);
    ck_assert(has_field("verify", "1"));
    ck_assert_str_eq(W->what, "");
}
END_TEST

START_TEST(passwd_of_what_is_not_here)
{
    ck_assert(is_err(talk_say(&talk, "PASSWD " GRIP), AGENT, GPG_ERR_NO_SECKEY));
    ck_assert(is_err(talk_say(&talk, "PASSWD xyz"), AGENT, GPG_ERR_ASS_PARAMETER));
    W->stored = "STORED key=" GRIP " state=shadowed serial=D276 ref=OPENPGP.1\n";
    ck_assert(is_err(talk_say(&talk, "PASSWD " GRIP), AGENT, GPG_ERR_NOT_IMPLEMENTED));
    ck_assert_uint_eq(W->requests, 0);
}
END_TEST

/* --- out and in --------------------------------------------------------------------------------------------------------------------- */

START_TEST(keywrap_import_export)
{
    ck_assert(is_err(talk_say(&talk, "EXPORT_KEY " GRIP), AGENT, GPG_ERR_MISSING_KEY));
    ck_assert(is_err(talk_say(&talk, "IMPORT_KEY"), AGENT, GPG_ERR_MISSING_KEY));
    ck_assert(is_err(talk_say(&talk, "KEYWRAP_KEY"), AGENT, GPG_ERR_ASS_PARAMETER));
    said_ok("KEYWRAP_KEY --import");
    ck_assert(strncmp(talk.said, "D ", 2) == 0);
    script("WRAPKEY", "WRAPPED", "PASSPHRASE key=" GRIP " why=import try=1 tries=3");
    W->lines = "KEY id=" GRIP " pub=x\nNONCE cache=CC33\n";
    type("p");
    ck_assert_str_eq(
        talk_say(&talk, "IMPORT_KEY --timestamp=20261123T212819 --unattended --force N0"),
        "INQUIRE KEYDATA");
    ck_assert_str_eq(talk_answer(&talk, "0123456789abcdef01234567"), "OK");
    ck_assert_ptr_nonnull(strstr(talk.said, "S CACHE_NONCE CC33"));
    ck_assert_str_eq(W->use, "import");
    ck_assert(has_field("unattended", "1") && has_field("force", "1") && has_field("nonce", "N0"));
    ck_assert(has_field("created", "1795469299"));
    ck_assert_str_eq(W->answers[1], "0123456789abcdef01234567");
    ck_assert_str_eq(W->answers[2], "p");
    (void)talk_say(&talk, "IMPORT_KEY");
    ck_assert(is_err(talk_answer(&talk, "short"), AGENT, GPG_ERR_INV_LENGTH));
    script(NULL, NULL, NULL);
    W->store_error = gpg_error(GPG_ERR_EEXIST);
    (void)talk_say(&talk, "IMPORT_KEY");
    ck_assert(is_err(talk_answer(&talk, "0123456789abcdef01234567"), AGENT, GPG_ERR_EEXIST));
    W->store_error = 0;
    said_ok("KEYWRAP_KEY --clear --import");
    ck_assert(is_err(talk_say(&talk, "IMPORT_KEY"), AGENT, GPG_ERR_MISSING_KEY));

    said_ok("KEYWRAP_KEY --export");
    W->stored = "STORED key=" GRIP " state=clear\n";
    W->result = "wrapped";
    W->lines = "NONCE cache=DD44\n";
    script("WRAPKEY", "PASSPHRASE key=" GRIP " why=export", NULL);
    type("Tr0ub4dor&3x");
    said_ok("SETKEYDESC About+%22Ann%22");
    said_ok("EXPORT_KEY --openpgp --cache-nonce=N1 " GRIP);
    ck_assert_str_eq(talk.said, "S CACHE_NONCE DD44\nD wrapped\nOK");
    ck_assert_str_eq(W->use, "export:clear");
    ck_assert(has_field("form", "openpgp") && has_field("nonce", "N1"));
    ck_assert_ptr_nonnull(strstr(W->shown[1].desc, "not protected with a passphrase"));
    ck_assert_ptr_nonnull(strstr(W->shown[1].desc, "\n\nAbout \"Ann\""));
    script("WRAPPED", NULL, NULL); /* there is none to give */
    ck_assert(is_err(talk_say(&talk, "EXPORT_KEY " GRIP), AGENT, GPG_ERR_ASS_UNKNOWN_INQUIRE));
    ck_assert(has_field("form", "plain"));
    ck_assert(is_err(talk_say(&talk, "EXPORT_KEY --mode1003 " GRIP), AGENT, GPG_ERR_NOT_SUPPORTED));
    W->stored = "STORED key=" GRIP " state=shadowed serial=D276 ref=OPENPGP.1\n";
    ck_assert(is_err(talk_say(&talk, "EXPORT_KEY " GRIP), AGENT, GPG_ERR_UNUSABLE_SECKEY));
}
END_TEST

/* --- DELETE_KEY -------------------------------------------------------------------------------------------------------------------- */

START_TEST(delete_key)
{
    W->stored = "STORED key=" GRIP " state=protected comment=my%20key\n";
    answer(GPG_ERR_NOT_CONFIRMED);
    ck_assert(is_err(talk_say(&talk, "DELETE_KEY " GRIP), PIN, GPG_ERR_NOT_CONFIRMED));
    ck_assert_uint_eq(W->requests, 0);
    ck_assert_str_eq(W->shown[0].desc,
                     "Do you really want to delete the key identified by keygrip\n  " GRIP
                     "\n  (my key)\n?");
    ck_assert_str_eq(W->shown[0].ok, "Delete key");
    answer(0);
    said_ok("SETKEYDESC Really+delete?");
    said_ok("DELETE_KEY " GRIP);
    ck_assert_str_eq(W->shown[1].desc, "Really delete?");
    ck_assert_str_eq(W->use, "delete");
    ck_assert_int_eq(W->verb, TOKEN_DELKEY);
    ck_assert_str_eq(W->key, GRIP);
    said_ok("DELETE_KEY --force " GRIP);
    ck_assert_uint_eq(W->asked, 2);
    ck_assert(is_err(talk_say(&talk, "DELETE_KEY --stub-only " GRIP), AGENT, GPG_ERR_FORBIDDEN));
    W->conf->allow_loopback = false; /* and so no silent deletion */
    answer(GPG_ERR_CANCELED);
    ck_assert(is_err(talk_say(&talk, "DELETE_KEY --force " GRIP), PIN, GPG_ERR_CANCELED));
    W->stored = "STORED key=" GRIP " state=shadowed serial=D276 ref=OPENPGP.1\n";
    said_ok("DELETE_KEY --stub-only " GRIP);
    W->stored = NULL;
    ck_assert(is_err(talk_say(&talk, "DELETE_KEY " GRIP), AGENT, GPG_ERR_NO_SECKEY));
    ck_assert_uint_eq(W->requests, 3);
}
END_TEST

START_TEST(delete_key_of_ssh)
{
    W->stored = "STORED key=" GRIP " state=protected ssh=1\n";
    answer(0);
    answer(GPG_ERR_NOT_CONFIRMED);
    ck_assert(is_err(talk_say(&talk, "DELETE_KEY " GRIP), PIN, GPG_ERR_NOT_CONFIRMED));
    ck_assert_ptr_nonnull(strstr(W->shown[1].desc, "SSH"));
    ck_assert_uint_eq(W->requests, 0);
    said_ok("OPTION pinentry-mode=loopback");
    ck_assert(is_err(talk_say(&talk, "DELETE_KEY " GRIP), AGENT, GPG_ERR_NO_PIN_ENTRY));
}
END_TEST

/* --- passphrases that are no key's --------------------------------------------------------------------------------------------- */

START_TEST(get_passphrase)
{
    type("100% of it");
    said_ok("OPTION allow-pinentry-notify");
    ck_assert_str_eq(talk_say(&talk, "GET_PASSPHRASE --data my+id Wrong+one%21 Code: Type%0Ait"),
                     "INQUIRE PINENTRY_LAUNCHED 1 fake 1.0 - - - - 0/0 0");
    ck_assert_str_eq(talk_answer(&talk, ""), "OK");
    ck_assert_ptr_nonnull(strstr(talk.said, "\nD 100%25 of it\n"));
    ck_assert_str_eq(W->cached,
                     "my+id 100% of it"); /* the id is the line's, after an inquiry, too */
    ck_assert_str_eq(W->shown[0].error, "Wrong one!");
    ck_assert_str_eq(W->shown[0].label, "Code:");
    ck_assert_str_eq(W->shown[0].desc, "Type\nit");
    ck_assert_str_eq(W->shown[0].keyinfo, "u/my+id");
    ck_assert_str_eq(talk_say(&talk, "GET_PASSPHRASE --no-ask my+id X X X"),
                     "OK 31303025206F66206974");
    said_ok("CLEAR_PASSPHRASE my+id");
    ck_assert(
        is_err(talk_say(&talk, "GET_PASSPHRASE --no-ask my+id X X X"), AGENT, GPG_ERR_NO_DATA));
    ck_assert(is_err(talk_say(&talk, "GET_PASSPHRASE my+id"), AGENT, GPG_ERR_ASS_PARAMETER));
    ck_assert(is_err(talk_say(&talk, "GET_PASSPHRASE"), AGENT, GPG_ERR_ASS_PARAMETER));
    /* the client calls the dialog off */
    (void)talk_say(&talk, "GET_PASSPHRASE my+id X X X");
    strcat(talk.said, "\n");
    talk_put(&talk, "CAN");
    ck_assert(strncmp(talk_read(&talk), "ERR ", 4) == 0);
}
END_TEST

START_TEST(get_new_passphrase)
{
    static const char ask[] = "GET_PASSPHRASE --data --repeat=1 --check --newsymkey -- X X X Enter";

    type("");
    type("abc");
    answer(GPG_ERR_NOT_CONFIRMED);
    type("abcdefgh");
    answer(0);
    ck_assert_str_eq(talk_say(&talk, ask), "OK");
    ck_assert_str_eq(talk.said, "D abcdefgh\nOK");
    ck_assert_ptr_nonnull(strstr(W->shown[1].error, "not allowed"));
    ck_assert_ptr_nonnull(strstr(W->shown[2].desc, "at least 8 characters"));
    ck_assert_str_eq(W->shown[3].error, "");
    ck_assert_ptr_nonnull(strstr(W->shown[4].desc, "at least 1 digit"));
    ck_assert_str_eq(W->cached, "");
    /* one that asks but once: the second must be the same */
    gpg_world_reply((struct reply){.secret = "g00d enough", .check = "short"});
    gpg_world_reply((struct reply){.secret = "another"});
    gpg_world_reply((struct reply){.secret = "g00d enough"});
    gpg_world_reply((struct reply){.secret = "g00d enough"});
    ck_assert_str_eq(talk_say(&talk, ask), "OK");
    ck_assert_uint_eq(W->asked, 9);
    ck_assert_str_eq(W->shown[6].desc, "Please re-enter this passphrase");
    ck_assert_str_eq(W->shown[7].error, "does not match - try again");
    ck_assert(strncmp(W->checked, "999|A passphrase should", 23) ==
              0); /* no quality bar was asked for */
    /* old and not new: as it is */
    gpg_world_reply((struct reply){.secret = "a"});
    ck_assert_str_eq(talk_say(&talk, "GET_PASSPHRASE --data --repeat=0 -- X X X Enter"), "OK");
    ck_assert(!W->shown[9].repeat);
    said_ok("OPTION pinentry-mode=loopback");
    ck_assert_str_eq(talk_say(&talk, ask), "INQUIRE PASSPHRASE");
    ck_assert_str_eq(talk_answer(&talk, "a"), "OK");
    ck_assert_uint_eq(W->asked, 10);
}
END_TEST

START_TEST(preset_and_secrets)
{
    said_ok("PRESET_PASSPHRASE " GRIP " -1 616263");
    ck_assert_str_eq(W->cached, GRIP " abc");
    ck_assert_str_eq(talk_say(&talk, "PRESET_PASSPHRASE --inquire other+id -1"),
                     "INQUIRE PASSPHRASE");
    ck_assert_str_eq(talk_answer(&talk, "def"), "OK");
    ck_assert_str_eq(W->cached, "other+id def");
    ck_assert(is_err(talk_say(&talk, "PRESET_PASSPHRASE x 5 00"), AGENT, GPG_ERR_NOT_IMPLEMENTED));
    ck_assert(is_err(talk_say(&talk, "PRESET_PASSPHRASE x"), AGENT, GPG_ERR_ASS_PARAMETER));
    ck_assert(is_err(talk_say(&talk, "PRESET_PASSPHRASE x -1"), AGENT, GPG_ERR_ASS_PARAMETER));
    W->conf->allow_preset = false;
    ck_assert(is_err(talk_say(&talk, "PRESET_PASSPHRASE x -1 00"), AGENT, GPG_ERR_NOT_SUPPORTED));
    said_ok("PUT_SECRET mine 60 a%20b");
    ck_assert_str_eq(W->cached, "data mine a b");
    ck_assert_str_eq(talk_say(&talk, "GET_SECRET mine"), "OK");
    ck_assert_str_eq(talk.said, "D a b\nOK");
    said_ok("PUT_SECRET --clear mine");
    ck_assert(is_err(talk_say(&talk, "GET_SECRET mine"), AGENT, GPG_ERR_NO_DATA));
    ck_assert(is_err(talk_say(&talk, "PUT_SECRET mine"), AGENT, GPG_ERR_ASS_PARAMETER));
}
END_TEST

START_TEST(confirmation_and_modes)
{
    answer(0);
    answer(GPG_ERR_NOT_CONFIRMED);
    answer(GPG_ERR_TIMEOUT);
    answer(GPG_ERR_ENOTTY);
    gpg_world_reply((struct reply){.err = gpg_err_make(PIN, GPG_ERR_FULLY_CANCELED)});
    gpg_world_reply((struct reply){.err = gpg_err_make(PIN, GPG_ERR_FULLY_CANCELED)});
    said_ok("GET_CONFIRMATION Really%3F+Now");
    ck_assert_str_eq(W->shown[0].desc, "Really? Now");
    ck_assert(W->shown[0].styled);
    ck_assert(is_err(talk_say(&talk, "GET_CONFIRMATION X"), PIN, GPG_ERR_NOT_CONFIRMED));
    ck_assert(is_err(talk_say(&talk, "GET_CONFIRMATION X"), PIN, GPG_ERR_TIMEOUT));
    ck_assert(is_err(talk_say(&talk, "GET_CONFIRMATION X"), PIN, GPG_ERR_ENOTTY));
    ck_assert(is_err(talk_say(&talk, "GET_CONFIRMATION X"), PIN, GPG_ERR_CANCELED));
    said_ok("OPTION agent-awareness=2.1.0");
    ck_assert(is_err(talk_say(&talk, "GET_CONFIRMATION X"), PIN, GPG_ERR_FULLY_CANCELED));
    ck_assert(is_err(talk_say(&talk, "GET_CONFIRMATION X"), AGENT, GPG_ERR_NO_PIN_ENTRY));
    ck_assert(is_err(talk_say(&talk, "GET_CONFIRMATION"), AGENT, GPG_ERR_ASS_PARAMETER));
    said_ok("OPTION pinentry-mode=cancel");
    ck_assert(is_err(talk_say(&talk, "GET_CONFIRMATION X"), AGENT, GPG_ERR_CANCELED));
    ck_assert(is_err(talk_say(&talk, "GET_PASSPHRASE X X X X"), AGENT, GPG_ERR_CANCELED));
    said_ok("OPTION pinentry-mode=error");
    ck_assert(is_err(talk_say(&talk, "GET_PASSPHRASE X X X X"), AGENT, GPG_ERR_NO_PIN_ENTRY));
    said_ok("OPTION pinentry-mode=ask");
    W->conf->batch = true;
    ck_assert(is_err(talk_say(&talk, "GET_PASSPHRASE X X X X"), AGENT, GPG_ERR_NO_PIN_ENTRY));
    ck_assert_uint_eq(W->asked, 7);
}
END_TEST

/* --- a key's passphrase -------------------------------------------------------------------------------------------------------------- */

START_TEST(descriptions)
{
    W->stored = "STORED key=" GRIP " state=protected label=The%20%22label%22%25\n";
    script("PASSPHRASE key=" GRIP " why=old", NULL, NULL);
    for (int i = 0; i < 4; i++)
        type("x");
    said_ok("SETKEYDESC 100%25+%C+and+%c%0A%%+%zz%4");
    said_ok("PASSWD --verify " GRIP);
    ck_assert_str_eq(W->shown[0].desc, "100% (The \"label\"%) and The \"label\"%\n% %zz%4");
    said_ok("SETKEYDESC plain");
    said_ok("PASSWD --verify " GRIP);
    ck_assert_str_eq(W->shown[1].desc, "plain\n(The \"label\"%)");
    W->stored = "STORED key=" GRIP " state=protected\n";
    said_ok("SETKEYDESC a%Cb%Fc");
    said_ok("PASSWD --verify " GRIP);
    ck_assert_str_eq(W->shown[2].desc, "abc");
    said_ok("PASSWD --verify " GRIP);
    ck_assert(W->shown[3].desc[0] != '\0');
}
END_TEST

START_TEST(restricted_connections)
{
    static const char *const forbidden[] = {"GENKEY",
                                            "PASSWD " GRIP,
                                            "IMPORT_KEY",
                                            "EXPORT_KEY " GRIP,
                                            "DELETE_KEY " GRIP,
                                            "KEYWRAP_KEY --import",
                                            "KEYTOTPM " GRIP,
                                            "PRESET_PASSPHRASE x -1 00",
                                            "CLEAR_PASSPHRASE x",
                                            "GET_CONFIRMATION x",
                                            "PUT_SECRET x 1 y",
                                            "GET_SECRET x",
                                            "LISTTRUSTED",
                                            "MARKTRUSTED x"};
    struct talk extra;

    snprintf(W->cached, sizeof W->cached, "id mine");
    type("theirs");
    talk_begin(&extra, gpg_session_serve_extra);
    for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++)
        ck_assert_msg(is_err(talk_say(&extra, forbidden[i]), AGENT, GPG_ERR_FORBIDDEN), "%s",
                      forbidden[i]);
    ck_assert(is_err(talk_say(&extra, "ISTRUSTED 00112233445566778899AABBCCDDEEFF"), AGENT,
                     GPG_ERR_NOT_TRUSTED));
    /* nothing that the person told others is for it */
    ck_assert_str_eq(talk_say(&extra, "GET_PASSPHRASE --data id X X X"), "OK");
    ck_assert_str_eq(extra.said, "D theirs\nOK");
    talk_end(&extra);
}
END_TEST

START_TEST(keys_are_not_kept_in_tpms)
{
    ck_assert(is_err(talk_say(&talk, "KEYTOTPM " GRIP), AGENT, GPG_ERR_NOT_SUPPORTED));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("agent/gpg_secret");
    TCase *c = tcase_create("commands");
    SRunner *r;
    int failed;

    gcry_check_version(NULL);
    gcry_control(GCRYCTL_INIT_SECMEM, 65536, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    assuan_set_gpg_err_source(GPG_ERR_SOURCE_DEFAULT);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, genkey);
    tcase_add_test(c, genkey_with_a_given_passphrase);
    tcase_add_test(c, genkey_refused);
    tcase_add_test(c, passwd);
    tcase_add_test(c, passwd_of_what_is_not_here);
    tcase_add_test(c, keywrap_import_export);
    tcase_add_test(c, delete_key);
    tcase_add_test(c, delete_key_of_ssh);
    tcase_add_test(c, get_passphrase);
    tcase_add_test(c, get_new_passphrase);
    tcase_add_test(c, preset_and_secrets);
    tcase_add_test(c, confirmation_and_modes);
    tcase_add_test(c, descriptions);
    tcase_add_test(c, restricted_connections);
    tcase_add_test(c, keys_are_not_kept_in_tpms);
    suite_add_tcase(s, c);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
