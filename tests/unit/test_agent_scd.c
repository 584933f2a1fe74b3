/* Cards over gpg-agent's protocol: the SCD commands, LEARN, READKEY --card, KEYTOCARD, against cards without card processes. */
#include "tests/unit/fakes_cards.h"

#include "proto/token_protocol.h"

#include <assuan.h>
#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- a client --------------------------------------------------------------------------------------------------------------------- */

struct client {
    pthread_t thread;
    struct activity act;
    int fd, theirs;
    bool extra;
    size_t n;
    char got[65536];
};

static void *serve(void *arg)
{
    struct client *c = arg;

    if (c->extra)
        gpg_session_serve_extra(&cards.agent, c->theirs, &c->act);
    else
        gpg_session_serve(&cards.agent, c->theirs, &c->act);
    close(c->theirs);
    return NULL;
}

/* Reads until an answer is complete or the session wants to know something. */
static char *hear(struct client *c)
{
    size_t n = 0, line = 0;

    for (;;) {
        ck_assert_uint_lt(n, sizeof c->got - 1);
        ck_assert_int_eq((int)read(c->fd, c->got + n, 1), 1);
        if (c->got[n++] != '\n')
            continue;
        c->got[n] = '\0';
        if (strncmp(c->got + line, "OK", 2) == 0 || strncmp(c->got + line, "ERR ", 4) == 0 ||
            strncmp(c->got + line, "INQUIRE ", 8) == 0) {
            c->n = n;
            return c->got;
        }
        line = n;
    }
}

static void tell(struct client *c, const char *line)
{
    size_t n = strlen(line);

    ck_assert_int_eq((int)write(c->fd, line, n), (int)n);
    ck_assert_int_eq((int)write(c->fd, "\n", 1), 1);
}

static const char *say(struct client *c, const char *line)
{
    tell(c, line);
    return hear(c);
}

static struct client *client_new(bool extra)
{
    struct client *c = calloc(1, sizeof *c);
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    c->fd = fds[0];
    c->theirs = fds[1];
    c->extra = extra;
    activity_init(&c->act);
    ck_assert_int_eq(pthread_create(&c->thread, NULL, serve, c), 0);
    hear(c);
    return c;
}

static void client_end(struct client *c)
{
    close(c->fd);
    pthread_join(c->thread, NULL);
    free(c);
}

static struct client *one;

/* Signatures have NULs in them. */
static bool heard(const struct client *c, const char *part)
{
    return memmem(c->got, c->n, part, strlen(part)) != NULL;
}

static void setup(void)
{
    assuan_set_gpg_err_source(GPG_ERR_SOURCE_DEFAULT);
    cards_new();
    one = client_new(false);
}

static void teardown(void)
{
    client_end(one);
    cards_free();
}

#define says(line, answer)   ck_assert_str_eq(say(one, line), answer)
#define contains(line, part) ck_assert((say(one, line), heard(one, part)))
#define SCD_ERR(code)        ((unsigned)GPG_ERR_SOURCE_SCD << 24 | (unsigned)(code))
#define AGENT_ERR(code)      ((unsigned)GPG_ERR_SOURCE_GPGAGENT << 24 | (unsigned)(code))

static void fails_on(struct client *c, const char *line, unsigned err)
{
    char want[32];

    snprintf(want, sizeof want, "ERR %u ", err);
    say(c, line);
    ck_assert_msg(strncmp(c->got, want, strlen(want)) == 0, "%s: %s", line, c->got);
}
#define fails(line, err) fails_on(one, line, err)

/* --- which card ------------------------------------------------------------------------------------------------------------------- */

START_TEST(serialno)
{
    says("SCD SERIALNO", "S SERIALNO " AID_A "\nOK\n");
    says("scd serialno openpgp", "S SERIALNO " AID_A "\nOK\n");
    says("SCD SERIALNO --all", "S SERIALNO " AID_A "\nOK\n");
    fails("SCD SERIALNO --demand=" AID_B, SCD_ERR(GPG_ERR_ENODEV));
    fails("SCD SERIALNO --demand", SCD_ERR(GPG_ERR_ASS_PARAMETER));
    fails("SCD SERIALNO piv", SCD_ERR(GPG_ERR_CONFLICT));
    says("SCD RESTART", "OK\n");
    fails("SCD SERIALNO piv", SCD_ERR(GPG_ERR_NOT_SUPPORTED));
    says("SCD SERIALNO undefined", "S SERIALNO FF7F00\nOK\n");
    fails("SCD GETATTR DISP-NAME", SCD_ERR(GPG_ERR_UNSUPPORTED_OPERATION));
    says("SCD GETATTR SERIALNO", "S SERIALNO FF7F00\nOK\n");
    says("SCD SERIALNO", "S SERIALNO " AID_A "\nOK\n");
    says("SCD GETATTR SERIALNO", "S SERIALNO " AID_A "\nOK\n");
    fails("SCD NOSUCH", SCD_ERR(GPG_ERR_ASS_UNKNOWN_CMD));
    fails("SCD", SCD_ERR(GPG_ERR_ASS_UNKNOWN_CMD));
    ck_assert_uint_eq(cards.requests + cards.asks, 0);
}
END_TEST

START_TEST(no_card)
{
    cards.cards[0].there = false;
    says("SCD GETINFO status", "D r\nOK\n");
    fails("SCD SERIALNO", SCD_ERR(GPG_ERR_ENODEV));
    fails("LEARN --sendinfo", SCD_ERR(GPG_ERR_ENODEV));
    fails("READKEY --card -- $SIGNKEYID", SCD_ERR(GPG_ERR_ENODEV));
    says("SCD GETINFO card_list", "OK\n");
    says("SCD KEYINFO --list=encr", "OK\n");
    /* one that is being read is waited for */
    cards.cards[0].starting = true;
    says("SCD SERIALNO", "S SERIALNO " AID_A "\nOK\n");
    says("SCD GETINFO status", "D u\nOK\n");
    /* taken away: the selection is void until the next SERIALNO */
    cards.cards[0].there = false;
    cards.cards[1].there = true;
    fails("SCD GETATTR DISP-NAME", SCD_ERR(GPG_ERR_CARD_REMOVED));
    fails("LEARN", SCD_ERR(GPG_ERR_CARD_REMOVED));
    fails("SCD SERIALNO undefined", SCD_ERR(GPG_ERR_ENODEV));
    says("SCD SERIALNO", "S SERIALNO " AID_B "\nOK\n");
    /* another agent has the hardware */
    cards.agent.owns_hardware = false;
    fails("SCD SERIALNO", SCD_ERR(GPG_ERR_ENODEV));
    ck_assert_ptr_nonnull(strstr(one->got, "another agent"));
}
END_TEST

START_TEST(disabled)
{
    cards.conf.disable_scdaemon = true;
    fails("SCD SERIALNO", AGENT_ERR(GPG_ERR_NOT_SUPPORTED));
    fails("SCD GETINFO version", AGENT_ERR(GPG_ERR_NOT_SUPPORTED));
    fails("LEARN --sendinfo", AGENT_ERR(GPG_ERR_NOT_SUPPORTED));
    fails("READKEY --card -- OPENPGP.1", AGENT_ERR(GPG_ERR_NOT_SUPPORTED));
}
END_TEST

START_TEST(selections_are_apart)
{
    struct client *two = client_new(false);

    cards.cards[1].there = true;
    says("SCD SERIALNO --demand=" AID_B, "S SERIALNO " AID_B "\nOK\n");
    ck_assert_str_eq(say(two, "SCD SERIALNO"), "S SERIALNO " AID_A "\nOK\n");
    ck_assert_str_eq(say(two, "SCD SERIALNO undefined"), "S SERIALNO FF7F00\nOK\n");
    says("SCD GETATTR $DISPSERIALNO", "S $DISPSERIALNO 0005+00000B0B\nOK\n");
    says("SCD SWITCHCARD", "S SERIALNO " AID_B "\nOK\n");
    says("SCD SWITCHCARD " AID_A, "S SERIALNO " AID_A "\nOK\n");
    fails("SCD SWITCHCARD 00", SCD_ERR(GPG_ERR_NOT_FOUND));
    says("SCD SWITCHAPP -- openpgp", "S SERIALNO " AID_A " openpgp\nOK\n");
    fails("SCD SWITCHAPP piv", SCD_ERR(GPG_ERR_NOT_FOUND));
    says("SCD SWITCHCARD " AID_B, "S SERIALNO " AID_B "\nOK\n");
    ck_assert_str_eq(say(two, "SCD RESET"), "OK\n");
    says("RESET", "OK\n");
    says("SCD GETINFO active_apps", "S SERIALNO " AID_B " openpgp\nOK\n");
    says("SCD GETINFO all_active_apps",
         "S SERIALNO " AID_A " openpgp\nS SERIALNO " AID_B " openpgp\nOK\n");
    says("SCD RESET", "OK\n");
    says("SCD GETINFO active_apps", "OK\n");
    client_end(two);
}
END_TEST

static unsigned asked_before;

static void *unlock_later(void *arg)
{
    struct client *two = arg;
    const struct timespec moment = {.tv_nsec = 1000000};

    while (cards_lock_asked == asked_before) /* until the other one is at it */
        nanosleep(&moment, NULL);
    ck_assert_str_eq(say(two, "SCD UNLOCK"), "OK\n");
    return NULL;
}

START_TEST(lock)
{
    struct client *two = client_new(false), *three;
    pthread_t thread;

    fails("SCD UNLOCK", SCD_ERR(GPG_ERR_NOT_LOCKED));
    ck_assert_str_eq(say(two, "SCD LOCK"), "OK\n");
    ck_assert_str_eq(say(two, "SCD LOCK"), "OK\n");
    fails("SCD LOCK", SCD_ERR(GPG_ERR_LOCKED));
    fails("SCD UNLOCK", SCD_ERR(GPG_ERR_LOCKED));
    fails("SCD SERIALNO", SCD_ERR(GPG_ERR_LOCKED));
    fails("SCD GETATTR KEY-FPR", SCD_ERR(GPG_ERR_LOCKED));
    fails("LEARN", SCD_ERR(GPG_ERR_LOCKED));
    says("SCD GETINFO app_list", "D openpgp:%0A\nOK\n");
    ck_assert_str_eq(say(two, "SCD SERIALNO"), "S SERIALNO " AID_A "\nOK\n");
    ck_assert_str_eq(say(two, "SCD RESET --keep-lock"), "OK\n");
    fails("SCD SERIALNO", SCD_ERR(GPG_ERR_LOCKED));
    asked_before = cards_lock_asked;
    ck_assert_int_eq(pthread_create(&thread, NULL, unlock_later, two), 0);
    says("SCD LOCK --wait", "OK\n");
    pthread_join(thread, NULL);
    ck_assert_str_eq(say(one, "SCD RESET"), "OK\n");
    /* whoever leaves leaves no lock behind */
    ck_assert_str_eq(say(two, "SCD LOCK"), "OK\n");
    client_end(two);
    three = client_new(false);
    ck_assert_str_eq(say(three, "SCD LOCK --wait"), "OK\n");
    client_end(three);
}
END_TEST

START_TEST(info)
{
    contains("SCD GETINFO version", "D 2.4.99");
    says("SCD GETINFO reader_list", "D Reader%0A\nOK\n");
    says("SCD GETINFO card_list", "S SERIALNO " AID_A "\nOK\n");
    fails("SCD GETINFO deny_admin", SCD_ERR(GPG_ERR_GENERAL));
    fails("SCD GETINFO socket_name", SCD_ERR(GPG_ERR_NO_DATA));
    says("SCD GETINFO connections", "D 1\nOK\n");
    says("SCD GETINFO cmd_has_option SERIALNO all", "OK\n");
    fails("SCD GETINFO cmd_has_option SERIALNO x", SCD_ERR(GPG_ERR_FALSE));
    fails("SCD GETINFO cmd_has_option", SCD_ERR(GPG_ERR_MISSING_VALUE));
    fails("SCD GETINFO nonsense", SCD_ERR(GPG_ERR_ASS_PARAMETER));
    contains("SCD DEVINFO", "S DEVICE generic " AID_A " openpgp\n");
    fails("SCD DISCONNECT", SCD_ERR(GPG_ERR_UNSUPPORTED_OPERATION));
    says("SCD KILLSCD", "OK\n");
    ck_assert_uint_eq(cards.forgotten, 1);
    contains("SCD HELP", "# PKDECRYPT\n");
}
END_TEST

START_TEST(restricted)
{
    struct client *far = client_new(true);
    static const char *const forbidden[] = {"SCD LEARN --force",
                                            "SCD GETATTR DISP-NAME",
                                            "SCD PKSIGN OPENPGP.1",
                                            "SCD APDU 00CA006E00",
                                            "SCD GETINFO card_list",
                                            "SCD KEYINFO --list",
                                            "SCD LOCK",
                                            "SCD NOSUCH",
                                            "LEARN --sendinfo",
                                            "KEYTOCARD x"};

    ck_assert_str_eq(say(far, "SCD SERIALNO"), "S SERIALNO " AID_A "\nOK\n");
    ck_assert_ptr_nonnull(strstr(say(far, "SCD GETINFO version"), "D 2.4.99"));
    ck_assert_ptr_nonnull(strstr(say(far, "SCD KEYINFO --list=encr"), " OPENPGP.2 e\nOK\n"));
    for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++)
        fails_on(far, forbidden[i], AGENT_ERR(GPG_ERR_FORBIDDEN));
    ck_assert_uint_eq(cards.requests, 0);
    client_end(far);
}
END_TEST

/* --- what is on it ---------------------------------------------------------------------------------------------------------------- */

static const char *grip_of(int i)
{
    static char text[3][41];

    for (size_t n = 0; n < 20; n++)
        snprintf(text[i] + 2 * n, 3, "%02X", cards.ids[i].key->grip[n]);
    return text[i];
}

START_TEST(learn)
{
    char want[1200];

    snprintf(want, sizeof want,
             "S READER Reader 00\nS SERIALNO " AID_A
             "\nS APPTYPE openpgp\nS DISP-NAME Doe<<Jane\nS CHV-STATUS +0+127+127+127+3+0+3\n"
             "S KEY-FPR 1 1111111111111111111111111111111111111111\n"
             "S KEY-FPR 2 2222222222222222222222222222222222222222\n"
             "S KEY-FPR 3 3333333333333333333333333333333333333333\nS KDF \x81%%01%%00\n"
             "S KEYPAIRINFO %s OPENPGP.1 sc 1700000000 ed25519\n"
             "S KEYPAIRINFO %s OPENPGP.2 e 1700000000 cv25519\n"
             "S KEYPAIRINFO %s OPENPGP.3 sa 1700000000 nistp256\nOK\n",
             grip_of(0), grip_of(1), grip_of(2));
    says("SCD LEARN --force", want);
    ck_assert_uint_eq(cards.relearned, 0);
    says("SCD LEARN", "INQUIRE KNOWNCARDP " AID_A "\n");
    contains("END", "S APPTYPE openpgp\n");
    says("SCD LEARN", "INQUIRE KNOWNCARDP " AID_A "\n");
    contains("CAN", "ERR ");
    contains("SCD LEARN --keypairinfo", "S KEYPAIRINFO ");
    ck_assert_ptr_null(strstr(one->got, "APPTYPE"));
    /* another program made other keys: what is known is read anew */
    memset(cards.ids[1].openpgp_fpr, 1, 20);
    contains("SCD LEARN --force", "S APPTYPE openpgp\n");
    ck_assert_uint_eq(cards.relearned, 1);
    /* a card process that says what no card says */
    cards.lines = "ATTR name=X text=a%0AOK\n";
    fails("SCD LEARN --force", SCD_ERR(GPG_ERR_BAD_DATA));
    cards.lines = "ATTR name=x%20y text=a\n";
    fails("SCD GETATTR EXTCAP", SCD_ERR(GPG_ERR_BAD_DATA));
    cards.lines = "ATTR name=X text=%zz\n";
    contains("SCD GETATTR EXTCAP", "ERR ");
}
END_TEST

START_TEST(learn_makes_stubs)
{
    char want[600];

    contains("LEARN --sendinfo", "S PROGRESS learncard k 0 0\n");
    snprintf(want, sizeof want,
             "S KEYPAIRINFO %s OPENPGP.1\nS KEYPAIRINFO %s OPENPGP.2\nS KEYPAIRINFO %s "
             "OPENPGP.3\nOK\n",
             grip_of(0), grip_of(1), grip_of(2));
    ck_assert_ptr_nonnull(strstr(one->got, want));
    ck_assert_uint_eq(cards.stubs, 3);
    snprintf(want, sizeof want, "%s serial=" AID_A " ref=OPENPGP.3 label=0005%%2000000A0A",
             grip_of(2));
    ck_assert_str_eq(cards.stub, want);
    says("LEARN", "OK\n");
    ck_assert_uint_eq(cards.stubs, 6);
    ck_assert_uint_eq(cards.requests, 0);
    /* private keys stay unless they are to go, which the policy has a word in */
    cards.stored_private = true;
    contains("LEARN --sendinfo", "OK\n");
    ck_assert_uint_eq(cards.stubs, 6);
    ck_assert_uint_eq(cards.requests, 0);
    contains("LEARN --sendinfo --force", "OK\n");
    ck_assert_uint_eq(cards.requests, 3);
    ck_assert_str_eq(cards.use, "delete");
    ck_assert_str_eq(cards.word, TOKEN_VERB_STUB);
    ck_assert_int_eq(cards.on, -1);
    cards.request_error = gpg_error(GPG_ERR_FORBIDDEN);
    fails("LEARN --force", AGENT_ERR(GPG_ERR_FORBIDDEN));
}
END_TEST

START_TEST(readkey)
{
    char line[200];

    contains("READKEY --card -- OPENPGP.1", "D (10:public-key(3:ecc(5:curve7:Ed25519)");
    ck_assert_uint_eq(cards.stubs, 1);
    says("READKEY --card --no-data -- $ENCRKEYID", "OK\n");
    ck_assert_uint_eq(cards.stubs, 2);
    contains("SCD READKEY OPENPGP.2", "D (10:public-key(3:ecc(5:curve10:Curve25519)");
    snprintf(line, sizeof line, "SCD READKEY --info %s", grip_of(2));
    contains(line, " OPENPGP.3 sa 1700000000 nistp256\nD (10:public-key");
    contains("SCD READKEY --info-only OPENPGP.3", " OPENPGP.3 sa 1700000000 nistp256\nOK\n");
    contains("SCD READKEY --advanced $AUTHKEYID", "D (public-key ");
    fails("SCD READKEY OPENPGP.4", SCD_ERR(GPG_ERR_INV_ID));
    fails("SCD READKEY 0000000000000000000000000000000000000000", SCD_ERR(GPG_ERR_NO_SECKEY));
    cards.cards[1].there = true;
    contains("SCD SERIALNO --demand=" AID_B, "OK\n");
    fails("READKEY --card -- $SIGNKEYID", SCD_ERR(GPG_ERR_NO_OBJ));
    fails("SCD READKEY OPENPGP.1", SCD_ERR(GPG_ERR_NO_OBJ));
    contains(line, " OPENPGP.3 sa "); /* by its keygrip, on whatever card it is */
    snprintf(line, sizeof line, "SCD KEYINFO %s", grip_of(1));
    contains(line, " T " AID_A " OPENPGP.2 e\nOK\n");
    fails("SCD KEYINFO 0000000000000000000000000000000000000000", SCD_ERR(GPG_ERR_NOT_FOUND));
    contains("SCD KEYINFO --list --data", " T " AID_A " OPENPGP.1 sc%0A");
    snprintf(line, sizeof line, "S KEYINFO %s T " AID_A " OPENPGP.3 sa\nOK\n", grip_of(2));
    says("SCD KEYINFO --list=auth", line);
}
END_TEST

START_TEST(attributes)
{
    says("SCD GETATTR APPTYPE", "S APPTYPE openpgp\nOK\n");
    says("SCD GETATTR $AUTHKEYID", "S $AUTHKEYID OPENPGP.3\nOK\n");
    cards.lines = "ATTR name=KEY-ATTR text=1%2022%20Ed25519\nATTR name=KEY-ATTR text=2%2018%20x\n";
    says("SCD GETATTR KEY-ATTR", "S KEY-ATTR 1 22 Ed25519\nS KEY-ATTR 2 18 x\nOK\n");
    ck_assert_str_eq(cards.ask, "GETATTR name=KEY-ATTR");
    ck_assert_uint_eq(cards.requests, 0);
    fails("SCD GETATTR x", SCD_ERR(GPG_ERR_INV_NAME));
    cards.ask_error = gpg_error(GPG_ERR_INV_NAME);
    fails("SCD GETATTR NO-SUCH", SCD_ERR(GPG_ERR_INV_NAME));
    /* what only a PIN opens is the broker's */
    cards.ask_error = 0;
    contains("SCD GETATTR PRIVATE-DO-4", "OK\n");
    ck_assert_str_eq(cards.use, "card-admin");
    ck_assert_str_eq(cards.use_text, "read the private data object 4 on Card A");

    says("SCD SETATTR DISP-NAME Doe<<Jane", "OK\n");
    ck_assert_str_eq(cards.word, TOKEN_VERB_SETATTR);
    ck_assert_str_eq(cards.args, "name=DISP-NAME");
    ck_assert_str_eq(cards.use_text, "change the cardholder's name on Card A");
    ck_assert_str_eq(cards.what, "New:     Doe<<Jane\n");
    ck_assert(rd_is(buf_rd(&cards.value), "Doe<<Jane"));
    ck_assert_uint_eq(cards.relearned, 0);
    says("SCD SETATTR KEY-ATTR --force+1+22+ed25519", "OK\n");
    ck_assert(rd_is(buf_rd(&cards.value), "--force 1 22 ed25519"));
    ck_assert_uint_eq(cards.relearned, 1);
    says("SCD SETATTR KDF \x81\x01%00%25\xf9+%2B%", "OK\n");
    ck_assert(rd_eq(buf_rd(&cards.value), rd_of("\x81\x01\0%\xf9 +%", 8)));
    says("SCD SETATTR --inquire LOGIN-DATA", "INQUIRE VALUE\n");
    tell(one, "D me");
    says("END", "OK\n");
    ck_assert(rd_is(buf_rd(&cards.value), "me"));
    cards.request_error = gpg_err_make(GPG_ERR_SOURCE_PINENTRY, GPG_ERR_CANCELED);
    fails("SCD SETATTR DISP-SEX 1", 83886179u);
    cards.request_error = gpg_error(GPG_ERR_BAD_PIN);
    says("SCD SETATTR DISP-SEX 1", "ERR 100663383 Bad PIN <SCD> - because\n");
    fails("SCD SETATTR sex 1", SCD_ERR(GPG_ERR_INV_NAME));
    cards.request_error = 0;
    says("SCD WRITECERT OPENPGP.3", "INQUIRE CERTDATA\n");
    tell(one, "D cert");
    says("END", "OK\n");
    ck_assert(rd_is(buf_rd(&cards.value), "cert"));
    ck_assert_str_eq(cards.args, "ref=3");
    cards.result_len = 4;
    memcpy(cards.result, "cert", 4);
    says("SCD READCERT OPENPGP.3", "D cert\nOK\n");
    ck_assert_str_eq(cards.ask, "READCERT ref=3");
    says("SCD RANDOM 4", "D cert\nOK\n");
    fails("SCD RANDOM", SCD_ERR(GPG_ERR_ASS_PARAMETER));
    fails("SCD RANDOM 99999999", SCD_ERR(GPG_ERR_INV_VALUE));
}
END_TEST

/* --- what its keys do ------------------------------------------------------------------------------------------------------------- */

#define HASH32 "E29EBEBD0F5215D206510F3EFEDC2BCF370DA7E39E1E0F7B0922F1C2EF1C677E"
#define INFO32 "3031300D060960864801650304020105000420"

static size_t data_octets(const struct client *c)
{
    size_t n = 0, start = 0;

    for (size_t i = 0; i < c->n; i++) {
        if (c->got[i] == '\n') {
            start = i + 1;
        } else if (i >= start + 2 && memcmp(c->got + start, "D ", 2) == 0) {
            n++;
            i += c->got[i] == '%' ? 2 : 0;
        }
    }
    return n;
}

START_TEST(signing)
{
    char line[200];

    fails("SCD PKSIGN OPENPGP.1", SCD_ERR(GPG_ERR_MISSING_VALUE));
    fails("SCD SETDATA", SCD_ERR(GPG_ERR_ASS_PARAMETER));
    fails("SCD SETDATA 0", SCD_ERR(GPG_ERR_ASS_PARAMETER));
    fails("SCD SETDATA 0x", SCD_ERR(GPG_ERR_ASS_PARAMETER));
    says("SCD SETDATA " INFO32, "OK\n");
    says("SCD SETDATA --append " HASH32, "OK\n");
    snprintf(line, sizeof line, "SCD PKSIGN --hash=sha256 %s", grip_of(0));
    contains(line, "OK\n");
    ck_assert_str_eq(cards.use, "openpgp-sign");
    ck_assert_str_eq(cards.args, "hash=8");
    ck_assert_uint_eq(cards.value.len, 32);
    tell(one, "SCD PKSIGN --hash=sha256 OPENPGP.1");
    hear(one);
    ck_assert(heard(one, "OK\n"));
    /* the authentication key by PKAUTH: nobody knows what it is */
    contains("SCD PKAUTH OPENPGP.3", "OK\n");
    ck_assert_str_eq(cards.use, "raw");
    ck_assert_str_eq(cards.slot, "aut");
    ck_assert_uint_eq(data_octets(one), 64);
    fails("SCD PKAUTH OPENPGP.1", SCD_ERR(GPG_ERR_INV_ID));
    fails("SCD PKSIGN OPENPGP.2", SCD_ERR(GPG_ERR_INV_ID));
    fails("SCD PKSIGN --hash=nonsense OPENPGP.1", SCD_ERR(GPG_ERR_ASS_PARAMETER));
    fails("SCD PKSIGN OPENPGP.9", SCD_ERR(GPG_ERR_INV_ID));
    fails("SCD PKSIGN " AID_B, SCD_ERR(GPG_ERR_WRONG_CARD));
    contains("SCD PKSIGN " AID_A "/ABCD", "OK\n");
    ck_assert_str_eq(cards.slot, "sig");
    /* a bare hash goes by --hash; an ECDSA key takes what has a hash's length */
    says("SCD SETDATA " HASH32, "OK\n");
    contains("SCD PKSIGN --hash=sha256 OPENPGP.1", "OK\n");
    ck_assert_str_eq(cards.args, "hash=8");
    contains("SCD PKAUTH OPENPGP.3", "OK\n");
    ck_assert_str_eq(cards.args, "hash=8");
    says("SCD SETDATA 001122", "OK\n");
    fails("SCD PKAUTH OPENPGP.3", SCD_ERR(GPG_ERR_INV_VALUE));
    contains("SCD PKSIGN OPENPGP.1", "OK\n");
    ck_assert_str_eq(cards.args, "hash=0");
    cards.request_error = gpg_error(GPG_ERR_FORBIDDEN);
    fails("SCD PKSIGN OPENPGP.1", AGENT_ERR(GPG_ERR_FORBIDDEN));
    /* another's lock, another's data */
    says("SCD RESET", "OK\n");
    fails("SCD PKSIGN OPENPGP.1", SCD_ERR(GPG_ERR_MISSING_VALUE));
}
END_TEST

START_TEST(too_much_data)
{
    char line[1000] = "SCD SETDATA --append ";
    size_t head = strlen(line);

    memset(line + head, 'A', 900);
    for (int i = 0; i < 9; i++)
        says(line, "OK\n");
    fails(line, SCD_ERR(GPG_ERR_TOO_LARGE));
}
END_TEST

START_TEST(decryption)
{
    says("SCD SETDATA 40" HASH32, "OK\n");
    memset(cards.result, 'x', 33);
    cards.result_len = 32;
    says("SCD PKDECRYPT OPENPGP.2", "S PADDING 0\nD @xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\nOK\n");
    ck_assert_str_eq(cards.use, "decrypt");
    ck_assert(memcmp(cards.value.data, "(7:enc-val(4:ecdh(1:e33:@", 25) == 0);
    cards.result_len = 33;
    says("SCD PKDECRYPT $ENCRKEYID", "S PADDING 0\nD xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\nOK\n");
    fails("SCD PKDECRYPT OPENPGP.1", SCD_ERR(GPG_ERR_INV_ID));
    cards.request_error = gpg_error(GPG_ERR_BAD_PIN);
    fails("SCD PKDECRYPT OPENPGP.2", SCD_ERR(GPG_ERR_BAD_PIN));
}
END_TEST

/* --- what changes it -------------------------------------------------------------------------------------------------------------- */

START_TEST(pins)
{
    static const struct {
        const char *line, *text, *args;
    } all[] = {{"SCD PASSWD  1", "change the PIN of Card A", "ref=1"},
               {"SCD PASSWD 3", "change the admin PIN of Card A", "ref=3"},
               {"SCD PASSWD 2", "set a new PIN by the reset code of Card A", "ref=2"},
               {"SCD PASSWD --reset 1", "unblock the PIN of Card A", "ref=1 reset=1"},
               {"SCD PASSWD --reset OPENPGP.2", "set the reset code of Card A", "ref=2 reset=1"}};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        says(all[i].line, "OK\n");
        ck_assert_str_eq(cards.use, "card-admin");
        ck_assert_str_eq(cards.word, TOKEN_VERB_CHANGEPIN);
        ck_assert_str_eq(cards.use_text, all[i].text);
        ck_assert_str_eq(cards.args, all[i].args);
    }
    fails("SCD PASSWD --reset 3", SCD_ERR(GPG_ERR_INV_ID));
    fails("SCD PASSWD 4", SCD_ERR(GPG_ERR_INV_ID));
    fails("SCD PASSWD", SCD_ERR(GPG_ERR_ASS_PARAMETER));
    fails("SCD PASSWD --nullpin 1", SCD_ERR(GPG_ERR_UNSUPPORTED_OPERATION));
    says("SCD PASSWD --clear 1", "OK\n");
    ck_assert_uint_eq(cards.forgotten, 1);

    says("SCD CHECKPIN " AID_A, "OK\n");
    ck_assert_str_eq(cards.word, "VERIFY");
    ck_assert_str_eq(cards.args, "ref=82");
    ck_assert_str_eq(cards.use_text, "check the PIN of Card A");
    fails("SCD CHECKPIN " AID_B, SCD_ERR(GPG_ERR_WRONG_CARD));
    fails("SCD CHECKPIN x", SCD_ERR(GPG_ERR_INV_ID));
    cards.lines = "ATTR name=CHV-STATUS text=+0+127+127+127+3+0+3\n";
    says("SCD CHECKPIN " AID_A "[CHV3]", "OK\n");
    ck_assert_str_eq(cards.args, "ref=83");
    cards.lines = "ATTR name=CHV-STATUS text=+0+127+127+127+3+0+2\n";
    fails("SCD CHECKPIN " AID_A "[CHV3]", SCD_ERR(GPG_ERR_GENERAL));
    cards.lines = "ATTR name=CHV-STATUS text=+0+127+127+127+3+0+0\n";
    fails("SCD CHECKPIN " AID_A "[CHV3]", SCD_ERR(GPG_ERR_PIN_BLOCKED));
}
END_TEST

/* A generated key is told as scdaemon told it of these (ref: traces of stock gpg 2.2.40). */
START_TEST(genkey)
{
    const char *sig = "(public-key(ecc(curve Ed25519)(flags eddsa)(q "
                      "#40583028919251E04B433EF0C23A6519DFFE56372CBB2B6AACFEFBE432598DBCF7#)))",
               *dec = "(public-key(ecc(curve Curve25519)(flags djb-tweak)(q "
                      "#40D9B1F380420CB1571802BA5325E3B407709D00C6EE0BD4EBD0CC0BA51ECFD130#)))";

    ck_assert_int_eq((int)gcry_sexp_new(&cards.made, sig, strlen(sig), 0), 0);
    fails("SCD GENKEY --timestamp=20261123T221723 1", SCD_ERR(GPG_ERR_EEXIST));
    says("SCD GENKEY --timestamp=20261123T221723 --force 1",
         "S KEY-CREATED-AT 1795472243\n"
         "S KEY-DATA q 40583028919251E04B433EF0C23A6519DFFE56372CBB2B6AACFEFBE432598DBCF7\n"
         "S KEY-DATA curve 092B06010401DA470F01\n"
         "S KEY-FPR A420CCB671F4109BA7F4601395FA5CE75EF8B4EC\nOK\n");
    ck_assert_str_eq(cards.use, "generate");
    ck_assert_str_eq(cards.slot, "sig");
    ck_assert_str_eq(cards.args, "created=1795472243 force=1");
    ck_assert_str_eq(cards.use_text, "make a new signature key on Card A");
    ck_assert_str_eq(cards.what,
                     "Lost:    the signature key 1111111111111111111111111111111111111111\n");
    ck_assert_uint_eq(cards.relearned, 1);
    gcry_sexp_release(cards.made);
    ck_assert_int_eq((int)gcry_sexp_new(&cards.made, dec, strlen(dec), 0), 0);
    cards.cards[1].there = true;
    contains("SCD SERIALNO --demand=" AID_B, "OK\n");
    says("SCD GENKEY --timestamp=20261123T221723 OPENPGP.2",
         "S KEY-CREATED-AT 1795472243\n"
         "S KEY-DATA q 40D9B1F380420CB1571802BA5325E3B407709D00C6EE0BD4EBD0CC0BA51ECFD130\n"
         "S KEY-DATA curve 0A2B060104019755010501\nS KEY-DATA kdf/kek 03010807\n"
         "S KEY-FPR F111CCC16CC23F429CA3B1DA6B7CA1E80943FEA7\nOK\n");
    ck_assert_str_eq(cards.args, "created=1795472243");
    ck_assert_str_eq(cards.what, "");
    ck_assert_int_eq(cards.on, 1);
    contains("SCD GENKEY --algo=cv25519 --timestamp=20261123T221723 --force OPENPGP.2",
             "S KEY-FPR ");
    ck_assert(rd_is(buf_rd(&cards.value), "--force 2 18 cv25519"));
    fails("SCD GENKEY --timestamp=x 1", AGENT_ERR(GPG_ERR_INV_TIME));
    fails("SCD GENKEY", SCD_ERR(GPG_ERR_ASS_PARAMETER));
    fails("SCD GENKEY 9", SCD_ERR(GPG_ERR_INV_ID));
}
END_TEST

static void unwrapped(const char *want)
{
    uint8_t plain[256] = {0};
    gcry_cipher_hd_t h;

    ck_assert_uint_eq(cards.wrapkey.len, 16);
    ck_assert_uint_lt(cards.wrapped.len, sizeof plain);
    ck_assert_int_eq((int)gcry_cipher_open(&h, GCRY_CIPHER_AES128, GCRY_CIPHER_MODE_AESWRAP, 0), 0);
    ck_assert_int_eq((int)gcry_cipher_setkey(h, cards.wrapkey.data, 16), 0);
    ck_assert_int_eq((int)gcry_cipher_decrypt(h, plain, cards.wrapped.len - 8, cards.wrapped.data,
                                              cards.wrapped.len),
                     0);
    gcry_cipher_close(h);
    ck_assert_str_eq((char *)plain, want);
}

#define SECRET "(11:private-key(3:ecc(5:curve7:Ed25519)(1:d3:abc))(10:created-at10:1795472243))"

START_TEST(writekey)
{
    cards.cards[1].there = true;
    contains("SCD SERIALNO --demand=" AID_B, "OK\n");
    says("SCD WRITEKEY OPENPGP.1", "INQUIRE KEYDATA\n");
    tell(one, "D " SECRET);
    says("END", "OK\n");
    unwrapped(SECRET);
    ck_assert_str_eq(cards.use, "import");
    ck_assert_str_eq(cards.args, "created=1795472243");
    ck_assert_str_eq(cards.use_text, "store a signature key on Card B");
    ck_assert_uint_eq(cards.relearned, 1);
    says("SCD WRITEKEY --force OPENPGP.1", "INQUIRE KEYDATA\n");
    tell(one, "D rubbish");
    contains("END", "ERR ");
    says("SCD WRITEKEY 3", "INQUIRE KEYDATA\n");
    contains("CAN", "ERR ");
    fails("SCD WRITEKEY", SCD_ERR(GPG_ERR_ASS_PARAMETER));
    fails("SCD WRITEKEY x", SCD_ERR(GPG_ERR_INV_ID));
    contains("SCD SERIALNO", "OK\n");
    says("SCD WRITEKEY 1", "INQUIRE KEYDATA\n");
    tell(one, "D " SECRET);
    fails("END", SCD_ERR(GPG_ERR_EEXIST));
}
END_TEST

#define GRIP "1FA6A9D4D80A63E2C3C09C8BB1E8E88AAAA74CFD"

START_TEST(keytocard)
{
    buf_put(&cards.export, SECRET "\0\0\0\0\0\0\0", (sizeof SECRET + 6) / 8 * 8);
    fails("KEYTOCARD " GRIP " " AID_A " OPENPGP.1 20261123T221723", AGENT_ERR(GPG_ERR_NO_SECKEY));
    cards.stored_private = true;
    fails("KEYTOCARD " GRIP " " AID_A " OPENPGP.1 20261123T221723", SCD_ERR(GPG_ERR_EEXIST));
    ck_assert_uint_eq(cards.requests, 0);
    says("KEYTOCARD --force " GRIP " " AID_A " OPENPGP.1 20261123T221723", "OK\n");
    ck_assert_uint_eq(cards.requests, 2);
    ck_assert_str_eq(cards.use, "import");
    ck_assert_str_eq(cards.word, TOKEN_VERB_WRITEKEY);
    ck_assert_str_eq(cards.args, "created=1795472243 force=1");
    unwrapped(SECRET);
    fails("KEYTOCARD " GRIP " " AID_B " OPENPGP.2 20261123T221723 03010807",
          SCD_ERR(GPG_ERR_ENODEV));
    cards.cards[1].there = true;
    says("KEYTOCARD " GRIP " " AID_B " OPENPGP.2 20261123T221723 03010807", "OK\n");
    ck_assert_str_eq(cards.args, "created=1795472243 ecdh=03010807");
    ck_assert_int_eq(cards.on, 1);
    contains("SCD SERIALNO --demand=" AID_B, "OK\n");
    says("KEYTOCARD " GRIP " - OPENPGP.3 20261123T221723", "OK\n");
    ck_assert_int_eq(cards.on, 1);
    ck_assert_str_eq(cards.slot, "aut");
    fails("KEYTOCARD " GRIP, AGENT_ERR(GPG_ERR_MISSING_VALUE));
    fails("KEYTOCARD xx - OPENPGP.3 20261123T221723", AGENT_ERR(GPG_ERR_ASS_PARAMETER));
    fails("KEYTOCARD " GRIP " - OPENPGP.7 20261123T221723", AGENT_ERR(GPG_ERR_INV_ID));
    fails("KEYTOCARD " GRIP " - OPENPGP.3 nonsense", AGENT_ERR(GPG_ERR_INV_TIME));
    fails("KEYTOCARD " GRIP " - OPENPGP.3 20261123T221723 xyz", AGENT_ERR(GPG_ERR_INV_ARG));
    fails("KEYTOCARD " GRIP " zz OPENPGP.3 20261123T221723", AGENT_ERR(GPG_ERR_INV_ARG));
    cards.request_error = gpg_error(GPG_ERR_NOT_CONFIRMED);
    fails("KEYTOCARD " GRIP " - OPENPGP.3 20261123T221723", 83886194u);
}
END_TEST

/* --- raw commands ----------------------------------------------------------------------------------------------------------------- */

START_TEST(apdu)
{
    static const char *const others[] = {"0020008106313233343536",
                                         "00DA005B024A4A",
                                         "002A9E9A00",
                                         "0088000000",
                                         "00E60000",
                                         "00440000",
                                         "0047800002B60000",
                                         "00A40000023F00",
                                         "10CA006E00",
                                         "00",
                                         "00A4040006D276",
                                         "00D6000001AA",
                                         "0024008101",
                                         "002C028106"};

    cards.result_len = 2;
    memcpy(cards.result, "\x90", 2);
    contains("SCD APDU 00CA006E00", "D \x90");
    ck_assert_str_eq(cards.ask, "APDU select=D27600012401 hex=00CA006E00");
    contains("SCD APDU 00:CA 00 6E 00", "D \x90");
    contains("SCD APDU --more --exlen 00A4040005A000000308", "OK\n");
    ck_assert_str_eq(cards.ask, "APDU hex=00A4040005A000000308");
    contains("SCD APDU 00CB3FFF055C035FC10200", "OK\n");
    ck_assert_str_eq(cards.ask, "APDU select=A000000308 hex=00CB3FFF055C035FC10200");
    contains("SCD SERIALNO", "OK\n");
    contains("SCD APDU 00CA006E00", "OK\n");
    ck_assert_str_eq(cards.ask, "APDU select=D27600012401 hex=00CA006E00");
    cards.lines = "ATTR name=CARD-ATR text=3B00\n";
    cards.result_len = 0;
    says("SCD APDU --atr", "S CARD-ATR 3B00\nOK\n");
    ck_assert_str_eq(cards.ask, "APDU hex= atr=1");
    cards.asks = 0;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        char line[100];

        snprintf(line, sizeof line, "SCD APDU %s", others[i]);
        fails(line, AGENT_ERR(GPG_ERR_FORBIDDEN));
        ck_assert_ptr_nonnull(strstr(one->got, "SCD") != NULL ? one->got
                                                              : strstr(one->got, "reset"));
    }
    says("SCD APDU", "OK\n");
    fails("SCD APDU 0", SCD_ERR(GPG_ERR_ASS_PARAMETER));
    ck_assert_uint_eq(cards.asks + cards.requests, 0);
}
END_TEST

#define SELECT "SCD APDU 00A4040006D27600012401"
#define WRONG  "4040404040404040404040404040404040404040404040404040404040404040"

static void use_up(const char *ref)
{
    char line[120];

    snprintf(line, sizeof line, "SCD APDU 002000%s20" WRONG, ref);
    says(line, "D i\x82\nOK\n");
    says(line, "D i\x82\nOK\n");
    says(line, "D i\x83\nOK\n");
    says(line, "D i\x83\nOK\n");
}

static void begin_reset(const char *select)
{
    says("SCD LOCK --wait", "OK\n");
    says("SCD RESET --keep-lock", "OK\n");
    says(select, "S SERIALNO FF7F00\nOK\n");
    tell(one, SELECT);
    ck_assert_mem_eq(hear(one), "D \x90\0\nOK\n", 8);
}

START_TEST(factory_reset)
{
    cards.cards[1].there = true;
    contains("SCD SERIALNO --demand=" AID_A, "OK\n");
    begin_reset("SCD SERIALNO undefined");
    use_up("81");
    use_up("83");
    ck_assert_uint_eq(cards.asks + cards.requests, 0);
    ck_assert_mem_eq(say(one, "SCD APDU 00e60000"), "D \x90\0\nOK\n", 8);
    ck_assert_uint_eq(cards.requests, 1);
    ck_assert_str_eq(cards.use, "card-admin");
    ck_assert_str_eq(cards.word, TOKEN_VERB_RESET);
    ck_assert_str_eq(cards.use_text, "reset Card A to its factory state");
    ck_assert(cards.confirm);
    ck_assert_ptr_nonnull(
        strstr(cards.what, "the decryption key 2222222222222222222222222222222222222222"));
    ck_assert_mem_eq(say(one, "SCD APDU 00440000"), "D \x90\0\nOK\n", 8);
    says("SCD RESET --keep-lock", "OK\n");
    says("SCD SERIALNO", "S SERIALNO " AID_A "\nOK\n");
    says("SCD UNLOCK", "OK\n");
    ck_assert_uint_eq(cards.requests, 1);
    ck_assert_uint_eq(cards.asks, 0);
    /* of the card that was selected, and of no other */
    contains("SCD SERIALNO --demand=" AID_B, "OK\n");
    begin_reset("SCD SERIALNO undefined");
    use_up("81");
    use_up("83");
    contains("SCD APDU 00e60000", "OK\n");
    ck_assert_int_eq(cards.on, 1);
    contains("SCD RESET", "OK\n");
    contains("SCD SERIALNO --demand=" AID_B, "OK\n");
    contains("SCD LOCK", "OK\n");
    cards.cards[1].there = false;
    fails("SCD SERIALNO undefined", SCD_ERR(GPG_ERR_ENODEV));
}
END_TEST

START_TEST(no_factory_reset)
{
    /* the person says no */
    begin_reset("SCD SERIALNO undefined");
    use_up("81");
    use_up("83");
    cards.request_error = gpg_err_make(GPG_ERR_SOURCE_PINENTRY, GPG_ERR_NOT_CONFIRMED);
    fails("SCD APDU 00e60000", 83886194u);
    fails("SCD APDU 00440000", AGENT_ERR(GPG_ERR_FORBIDDEN));
    cards.request_error = 0;
    cards.requests = 0;
    /* nothing used up, or only one of them */
    begin_reset("SCD SERIALNO undefined");
    fails("SCD APDU 00e60000", AGENT_ERR(GPG_ERR_FORBIDDEN));
    begin_reset("SCD SERIALNO undefined");
    use_up("81");
    fails("SCD APDU 00e60000", AGENT_ERR(GPG_ERR_FORBIDDEN));
    /* something else in between */
    begin_reset("SCD SERIALNO undefined");
    use_up("81");
    use_up("83");
    contains("SCD APDU 00CA006E00", "OK\n");
    fails("SCD APDU 00e60000", AGENT_ERR(GPG_ERR_FORBIDDEN));
    /* a PIN that might be one */
    begin_reset("SCD SERIALNO undefined");
    fails("SCD APDU 0020008106313233343536", AGENT_ERR(GPG_ERR_FORBIDDEN));
    /* with an application selected, or unlocked */
    contains("SCD SERIALNO", "OK\n");
    contains(SELECT, "OK\n");
    fails("SCD APDU 0020008120" WRONG, AGENT_ERR(GPG_ERR_FORBIDDEN));
    contains("SCD RESET", "OK\n");
    contains("SCD SERIALNO undefined", "OK\n");
    contains(SELECT, "OK\n");
    fails("SCD APDU 0020008120" WRONG, AGENT_ERR(GPG_ERR_FORBIDDEN));
    ck_assert_uint_eq(cards.requests, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("scd");
    TCase *tc = tcase_create("scd");
    SRunner *r;
    int failed;

    gcry_check_version(NULL);
    gcry_control(GCRYCTL_INIT_SECMEM, 65536, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, serialno);
    tcase_add_test(tc, no_card);
    tcase_add_test(tc, disabled);
    tcase_add_test(tc, selections_are_apart);
    tcase_add_test(tc, lock);
    tcase_add_test(tc, info);
    tcase_add_test(tc, restricted);
    tcase_add_test(tc, learn);
    tcase_add_test(tc, learn_makes_stubs);
    tcase_add_test(tc, readkey);
    tcase_add_test(tc, attributes);
    tcase_add_test(tc, signing);
    tcase_add_test(tc, too_much_data);
    tcase_add_test(tc, decryption);
    tcase_add_test(tc, pins);
    tcase_add_test(tc, genkey);
    tcase_add_test(tc, writekey);
    tcase_add_test(tc, keytocard);
    tcase_add_test(tc, apdu);
    tcase_add_test(tc, factory_reset);
    tcase_add_test(tc, no_factory_reset);
    suite_add_tcase(s, tc);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
