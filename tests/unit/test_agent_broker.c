/* The broker's straight path, step by step: each test sets a policy and a token and looks at what
 * was asked of whom. */
#include "tests/unit/fakes_broker.h"

#include "agent/ask.h"
#include "agent/operation.h"
#include "agent/policy_watch.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static gpg_err_code_t auth(bool hostbound)
{
    struct buf data = BUF_INIT;
    gpg_error_t err;

    world_userauth(&data, "root", hostbound);
    err = world_sign(&data);
    buf_free(&data);
    return gpg_err_code(err);
}

static gpg_err_code_t sshsig(const char *ns)
{
    struct buf data = BUF_INIT;
    gpg_error_t err;

    world_sshsig(&data, ns);
    err = world_sign(&data);
    buf_free(&data);
    return gpg_err_code(err);
}

static gpg_err_code_t raw(size_t n)
{
    struct buf data = BUF_INIT;
    gpg_error_t err;

    for (size_t i = 0; i < n; i++)
        buf_put_u8(&data, (uint8_t)i);
    err = world_sign(&data);
    buf_free(&data);
    return gpg_err_code(err);
}

START_TEST(allowed_by_default_tail)
{
    world_new("", "software", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 0);
    ck_assert_str_eq(world_record("verdict"), "allowed");
    ck_assert_str_eq(world_record("destination.proof"), "hostbound");
    ck_assert_str_eq(world_record("presence"), "none");
    world_free();
}
END_TEST

START_TEST(denied_before_anything_is_asked)
{
    world_new("Host host.example\n Access deny\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_ONCE);
    ck_assert_int_eq(auth(true), GPG_ERR_FORBIDDEN);
    ck_assert_uint_eq(world.confirms + world.pins + world.runs, 0);
    ck_assert_str_eq(world_record("verdict"), "refused");
    ck_assert_str_eq(world_record("rule"), "p:2");
    world_free();
}
END_TEST

/* A wallet's key is known while the wallet is away: the policy first, then the dialog, then the token. */
START_TEST(key_of_an_absent_wallet)
{
    char wallet[] = "<ssh://root@host.example|ed25519>";

    world_new("Host host.example\n Access deny\n", "trezor", TOKEN_TOUCH_ALWAYS, TOKEN_PIN_ONCE);
    world.id.wallet = wallet;
    world.id.nholders = 0;
    ck_assert_int_eq(auth(true), GPG_ERR_FORBIDDEN);
    ck_assert_uint_eq(world.awaited + world.runs, 0);
    world_free();

    world_new("", "trezor", TOKEN_TOUCH_ALWAYS, TOKEN_PIN_ONCE);
    world.id.wallet = wallet;
    world.id.nholders = 0;
    world.touched = true;
    ck_assert_int_eq(auth(true), GPG_ERR_CARD_NOT_PRESENT);
    ck_assert_uint_eq(world.awaited, 1);
    ck_assert_uint_eq(world.runs, 0);
    ck_assert_ptr_nonnull(strstr(world.last_desc, wallet));
    ck_assert_ptr_nonnull(strstr(world_record("reason"), "not plugged in in time"));
    world.comes = true;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.awaited, 2);
    ck_assert_uint_eq(world.runs, 1);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.awaited, 2);
    world_free();
}
END_TEST

/* .. which takes messages whole. */
START_TEST(whole_message_to_a_wallet)
{
    world_new("", "trezor", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    world.holder.whole = true;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_int_eq(world.job.hash, 0);
    world_free();
}
END_TEST

START_TEST(raw_data_denied)
{
    struct buf data = BUF_INIT;

    world_new("", "software", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    buf_put(&data, "anything at all", 15);
    ck_assert_int_eq(gpg_err_code(world_sign(&data)), GPG_ERR_FORBIDDEN);
    ck_assert_str_eq(world_record("use"), "raw");
    ck_assert_uint_eq(world.runs, 0);
    buf_free(&data);
    world_free();
}
END_TEST

START_TEST(standin_dialog_on_touchless_card)
{
    world_new("Match all\n Touch always\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_ONCE);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 1);
    ck_assert_uint_eq(world.pins, 1);
    ck_assert_str_eq(world_record("presence"), "dialog");
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 2);
    world.confirm = gpg_error(GPG_ERR_NOT_CONFIRMED);
    ck_assert_int_eq(auth(true), GPG_ERR_NOT_CONFIRMED);
    ck_assert_uint_eq(world.runs, 2);
    world_free();
}
END_TEST

/* A dialog that cannot be shown refuses; nothing is allowed silently. */
START_TEST(no_dialog_no_signature)
{
    world_new("Match all\n Touch always\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_ONCE);
    world.confirm = gpg_error(GPG_ERR_NO_PIN_ENTRY);
    ck_assert_int_eq(auth(true), GPG_ERR_NO_PIN_ENTRY);
    ck_assert_uint_eq(world.runs, 0);
    world_free();
}
END_TEST

START_TEST(standin_deny_and_fido_refuse)
{
    world_new("Match all\n Touch always\n StandIn deny\n", "gnuk", TOKEN_TOUCH_NEVER,
              TOKEN_PIN_ONCE);
    ck_assert_int_eq(auth(true), GPG_ERR_FORBIDDEN);
    world_free();
    world_new("Match all\n Touch always\n StandIn fido\n", "gnuk", TOKEN_TOUCH_UNKNOWN,
              TOKEN_PIN_ONCE);
    ck_assert_int_eq(auth(true), GPG_ERR_NOT_SUPPORTED);
    ck_assert_ptr_nonnull(strstr(world_record("reason"), "none is enrolled"));
    ck_assert_uint_eq(world.runs, 0);
    world_free();
}
END_TEST

static char *new_folder(void)
{
    static char dir[64];

    snprintf(dir, sizeof dir, "/tmp/latchkey-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    return dir;
}

static void remove_folder(const char *dir)
{
    char path[128];

    snprintf(path, sizeof path, "%s/latchkey/presence", dir);
    ck_assert_int_eq(unlink(path), 0);
    snprintf(path, sizeof path, "%s/latchkey", dir);
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}

/* A touch on an enrolled FIDO token is as good as one on the token itself; whatever is not that refuses. */
START_TEST(standin_fido)
{
    const char *dir = new_folder();

    world_new("Match all\n Touch cached 1h max 3\n StandIn fido\n", "gnuk", TOKEN_TOUCH_NEVER,
              TOKEN_PIN_ONCE);
    world_enroll(dir);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_str_eq(world_record("presence"), "touch");
    ck_assert_str_eq(world_record("presence_token.name"), "mine");
    ck_assert_uint_eq(world.standin.asked, 1);
    ck_assert_uint_eq(world.confirms, 0);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_str_eq(world_record("presence"), "cached");
    ck_assert_uint_eq(world.standin.asked, 1);
    ck_assert_uint_eq(world.runs, 3);
    for (int does = REPLAYS; does <= BAD_INDEX; does++) {
        world.standin.does = (unsigned)does;
        ck_assert_int_eq(auth(true), GPG_ERR_BAD_SIGNATURE);
        ck_assert_str_eq(world_record("verdict"), "refused");
        ck_assert_uint_eq(world.runs, 3); /* the card is asked nothing */
    }
    world.standin.does = SHOWS_TOUCH;
    world.standin.error = gpg_error(GPG_ERR_CARD_NOT_PRESENT);
    ck_assert_int_eq(auth(true), GPG_ERR_CARD_NOT_PRESENT);
    ck_assert_ptr_nonnull(strstr(world_record("reason"), "plugged in"));
    world.standin.error = gpg_error(GPG_ERR_TIMEOUT);
    ck_assert_int_eq(auth(true), GPG_ERR_TIMEOUT);
    ck_assert_ptr_nonnull(strstr(world_record("reason"), "in time"));
    world.standin.error = 0;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_str_eq(world_record("presence"), "touch");
    world_free();
    remove_folder(dir);
}
END_TEST

/* A token that remembers touches for 15 s never counts as `always`. */
START_TEST(cached_touch_is_not_always)
{
    world_new("Match all\n Touch always\n", "yubikey", TOKEN_TOUCH_CACHED, TOKEN_PIN_ONCE);
    world.touched = true;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 1);
    world_free();
    world_new("Match all\n Touch cached 15s\n", "yubikey", TOKEN_TOUCH_CACHED, TOKEN_PIN_ONCE);
    world.touched = true;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 0);
    world_free();
}
END_TEST

START_TEST(cached_proof_with_max)
{
    world_new("Match all\n Touch cached 5m max 3\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 1);
    ck_assert_str_eq(world_record("presence"), "cached");
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 2);
    world_free();
}
END_TEST

/* The proof is for this key, use, chain and program: any other part asks anew. */
START_TEST(cached_proof_serves_nothing_else)
{
    world_new("Match all\n Touch cached 5m\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_int_eq(sshsig("git"), 0);
    ck_assert_uint_eq(world.confirms, 2);
    ck_assert_int_eq(sshsig("file"), 0);
    ck_assert_uint_eq(world.confirms, 3);
    world.who.exe = (char *)(uintptr_t) "/tmp/evil";
    ck_assert_int_eq(sshsig("file"), 0);
    ck_assert_uint_eq(world.confirms, 4);
    world_bind(true);
    ck_assert_int_eq(sshsig("file"), 0);
    ck_assert_uint_eq(world.confirms, 5);
    world_free();
}
END_TEST

START_TEST(unproven_neither_makes_nor_uses_proofs)
{
    world_new("Match unbound\n Touch cached 5m\nMatch all\n Touch cached 5m\n", "gnuk",
              TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    ck_assert_int_eq(auth(false), 0);
    ck_assert_int_eq(auth(false), 0);
    ck_assert_uint_eq(world.confirms, 2);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 3);
    world_free();
}
END_TEST

/* The demand for a named host must hold for a request that hides which host it is for. */
START_TEST(unbound_client_gets_the_strictest)
{
    world_new("Host *.prod.example\n Access deny\nMatch all\n Touch none\n", "gnuk",
              TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_int_eq(auth(false), GPG_ERR_FORBIDDEN);
    world_free();
}
END_TEST

START_TEST(bound_needs_the_system_ssh)
{
    world_new("Match proof bound\n Access allow\nMatch all\n Access deny\n", "software",
              TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    world_bind(false);
    ck_assert_int_eq(auth(false), 0);
    ck_assert_str_eq(world_record("destination.proof"), "bound");
    world.who.root_owned_ssh = false;
    ck_assert_int_eq(auth(false), GPG_ERR_FORBIDDEN);
    ck_assert_str_eq(world_record("destination.proof"), "none");
    world_free();
}
END_TEST

START_TEST(session_of_another_bind_is_unproven)
{
    world_new("", "software", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    world_bind(false);
    world.origin.binds[0].sid[0] ^= 1;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_str_eq(world_record("destination.proof"), "none");
    world_free();
}
END_TEST

START_TEST(forwarded_denied_or_confirmed)
{
    world_new("Match all\n Forwarded deny\n", "software", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    world_bind(true);
    world_bind(false);
    ck_assert_int_eq(auth(true), GPG_ERR_FORBIDDEN);
    world_free();
    world_new("Match all\n Forwarded confirm\n Touch none\n", "software", TOKEN_TOUCH_NEVER,
              TOKEN_PIN_NONE);
    world_bind(true);
    world_bind(false);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 1);
    ck_assert_ptr_nonnull(strstr(world.last_desc, "via host.example"));
    world_free();
}
END_TEST

/* Who is refused or asked is told by which rule, not by whichever decided about touch. */
START_TEST(the_rule_that_is_named_is_the_one)
{
    world_new("Match all\n Touch none\nMatch all\n Forwarded deny\n", "software", TOKEN_TOUCH_NEVER,
              TOKEN_PIN_NONE);
    world_bind(true);
    world_bind(false);
    ck_assert_int_eq(auth(true), GPG_ERR_FORBIDDEN);
    ck_assert_str_eq(world_record("rule"), "p:4");
    world_free();
    world_new("Match all\n Touch none\nMatch all\n Forwarded confirm\n", "software",
              TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    world_bind(true);
    world_bind(false);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_str_eq(world_record("rule"), "p:4");
    world_free();
    world_new("Match all\n Touch always\nMatch all\n StandIn deny\n", "gnuk", TOKEN_TOUCH_NEVER,
              TOKEN_PIN_NONE);
    ck_assert_int_eq(auth(true), GPG_ERR_FORBIDDEN);
    ck_assert_str_eq(world_record("rule"), "p:4");
    world_free();
    world_new("Match all\n Touch none\nMatch all\n Rate 1/1h\n", "software", TOKEN_TOUCH_NEVER,
              TOKEN_PIN_NONE);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_str_eq(world_record("rule"), "p:4");
    ck_assert_ptr_nonnull(strstr(world.last_desc, "Rate"));
    world_free();
}
END_TEST

/* An approval must not be had for what could be anything. */
START_TEST(connection_approvals_name_their_host)
{
    world_new("Match use raw\n Access allow\nMatch unbound\n Touch none\nMatch all\n Confirm "
              "connection\n Touch none\n",
              "software", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    ck_assert_int_eq(auth(false), 0);
    ck_assert_int_eq(auth(false), 0);
    ck_assert_uint_eq(world.confirms, 2);
    ck_assert_int_eq(raw(32), 0);
    ck_assert_int_eq(raw(32), 0);
    ck_assert_uint_eq(world.confirms, 4);
    world.nameless = true;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 6);
    world_free();
}
END_TEST

static void lock_comes(void)
{
    world.locks++;
}

/* Nothing that was agreed to before a lock is good for anything after it. */
START_TEST(a_lock_meanwhile_voids_what_was_shown)
{
    world_new("Match all\n Confirm connection\n Touch cached 1h\n", "gnuk", TOKEN_TOUCH_NEVER,
              TOKEN_PIN_NONE);
    world.meanwhile = lock_comes;
    ck_assert_int_eq(auth(true), GPG_ERR_LOCKED);
    ck_assert_str_eq(world_record("reason"), "the agent was locked meanwhile");
    world.meanwhile = NULL;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 2); /* asked again */
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 2);
    world_free();
}
END_TEST

START_TEST(a_lock_meanwhile_is_not_opened)
{
    world_new("Match all\n Touch none\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_ONCE);
    world.locked = world.verified_before = true;
    world.meanwhile = lock_comes;
    ck_assert_int_eq(auth(true), GPG_ERR_LOCKED);
    ck_assert(!world.opened);
    world.meanwhile = NULL;
    ck_assert_int_eq(auth(true), 0);
    ck_assert(world.opened);
    world_free();
}
END_TEST

/* A signature that failed approved of nothing. */
START_TEST(approvals_come_with_success)
{
    world_new("Match all\n Confirm connection\n Touch none\n", "software", TOKEN_TOUCH_NEVER,
              TOKEN_PIN_NONE);
    world.token_error = gpg_error(GPG_ERR_CARD);
    ck_assert_int_eq(auth(true), GPG_ERR_CARD);
    world.token_error = 0;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 2);
    world_free();
}
END_TEST

START_TEST(a_failed_use_is_none)
{
    world_new("Match all\n Rate 1/1h\n Touch none\n", "software", TOKEN_TOUCH_NEVER,
              TOKEN_PIN_NONE);
    world.token_error = gpg_error(GPG_ERR_CARD);
    ck_assert_int_eq(auth(true), GPG_ERR_CARD);
    world.token_error = 0;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 0);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 1);
    world_free();
}
END_TEST

/* A host key that known_hosts revokes is refused wherever it stands in the chain. */
START_TEST(revoked_hosts_are_refused)
{
    world_new("Match all\n Access allow\n Touch none\n", "software", TOKEN_TOUCH_NEVER,
              TOKEN_PIN_NONE);
    world.revoked = true;
    ck_assert_int_eq(auth(true), GPG_ERR_CERT_REVOKED);
    world_bind(true);
    ck_assert_int_eq(sshsig("git"), GPG_ERR_CERT_REVOKED);
    ck_assert_uint_eq(world.runs, 0);
    world_free();
}
END_TEST

START_TEST(a_host_without_a_name_could_be_any)
{
    world_new("Host prod\n Access deny\nMatch all\n Touch none\n", "software", TOKEN_TOUCH_NEVER,
              TOKEN_PIN_NONE);
    ck_assert_int_eq(auth(true), 0);
    world.nameless = true;
    ck_assert_int_eq(auth(true), GPG_ERR_FORBIDDEN);
    world_free();
    world_new("Match all\n Touch cached 1h\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    world.nameless = true;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 2); /* and no proof is kept for it */
    world_free();
}
END_TEST

/* ssh-add -T */
START_TEST(tests_of_keys_are_ssh_adds_alone)
{
    world_new("Match use key-test\n Access allow\nMatch all\n Access deny\n", "software",
              TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    ck_assert_int_eq(raw(1024), GPG_ERR_FORBIDDEN);
    ck_assert_str_eq(world_record("use"), "raw");
    world.who.is_ssh_add = true;
    ck_assert_int_eq(raw(1024), 0);
    ck_assert_str_eq(world_record("use"), "key-test");
    ck_assert_int_eq(raw(1023), GPG_ERR_FORBIDDEN);
    world_bind(true);
    ck_assert_int_eq(raw(1024), GPG_ERR_FORBIDDEN);
    world_free();
}
END_TEST

/* 20, 32, 48 or 64 octets are a key exchange's hash only when an sshd says so. */
START_TEST(hashes_are_an_sshds_alone)
{
    static const size_t sizes[] = {20, 32, 48, 64};

    world_new("Match use host-key\n Access allow\nMatch all\n Access deny\n", "software",
              TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    for (size_t i = 0; i < 4; i++) {
        world.who.is_sshd = false;
        ck_assert_int_eq(raw(sizes[i]), GPG_ERR_FORBIDDEN);
        ck_assert_str_eq(world_record("use"), "raw");
        world.who.is_sshd = true;
        ck_assert_int_eq(raw(sizes[i]), 0);
        ck_assert_str_eq(world_record("use"), "host-key");
        ck_assert_int_eq(raw(sizes[i] + 1), GPG_ERR_FORBIDDEN);
    }
    world_bind(true); /* what comes through a forwarded agent is not it */
    ck_assert_int_eq(raw(32), GPG_ERR_FORBIDDEN);
    world_free();
}
END_TEST

START_TEST(confirm_yes_and_connection)
{
    world_new("Match all\n Confirm yes\n Touch none\n", "software", TOKEN_TOUCH_NEVER,
              TOKEN_PIN_NONE);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 2);
    ck_assert_ptr_nonnull(strstr(world.last_desc, "/usr/bin/ssh"));
    ck_assert_ptr_nonnull(strstr(world.last_desc, "root@host.example"));
    ck_assert_ptr_nonnull(strstr(world.last_desc, "test key"));
    world_free();
    world_new("Match all\n Confirm connection\n Touch none\n", "software", TOKEN_TOUCH_NEVER,
              TOKEN_PIN_NONE);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 1);
    world.origin.id = 2;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 2);
    world_free();
}
END_TEST

/* ssh-add -c, whatever the policy says. */
START_TEST(a_key_added_with_confirm_asks)
{
    world_new("Match all\n Confirm no\n Touch none\n", "software", TOKEN_TOUCH_NEVER,
              TOKEN_PIN_NONE);
    world.id.constraints.confirm = true;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 2);
    world_free();
}
END_TEST

START_TEST(one_dialog_serves_confirm_and_standin)
{
    world_new("Match all\n Confirm yes\n Touch always\n", "gnuk", TOKEN_TOUCH_NEVER,
              TOKEN_PIN_NONE);
    world.id.constraints.confirm = true;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 1);
    world_free();
}
END_TEST

START_TEST(rate_refused_until_confirmed)
{
    world_new("Match all\n Touch none\n Rate 2/1h\n", "software", TOKEN_TOUCH_NEVER,
              TOKEN_PIN_NONE);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 0);
    world.confirm = gpg_error(GPG_ERR_NOT_CONFIRMED);
    ck_assert_int_eq(auth(true), GPG_ERR_NOT_CONFIRMED);
    ck_assert_uint_eq(world.runs, 2);
    world.confirm = 0;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 2);
    world_free();
}
END_TEST

START_TEST(pin_dialogs_count_down_and_warn)
{
    world_new("Match all\n Touch none\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_ONCE);
    world.wrong_pins = 1;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.pins, 2);
    ck_assert_uint_eq(world.confirms, 0);
    ck_assert_ptr_nonnull(strstr(world.last_desc, "Wrong PIN, 2 tries left"));
    world.wrong_pins = 1;
    world.tries = 2;
    world.confirm = gpg_error(GPG_ERR_NOT_CONFIRMED);
    ck_assert_int_ne(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 1);
    ck_assert_ptr_nonnull(strstr(world.last_desc, "One try is left"));
    ck_assert_int_eq(world.tries, 1);
    world_free();
}
END_TEST

START_TEST(pin_dialogs_name_the_pin)
{
    world_new("Match all\n Touch none\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_ONCE);
    world.pin = (struct token_pin_request){.ref = "83", .min = 8, .max = 10};
    world.types[0] = "1234567"; /* too short to be it: the card is not bothered */
    world.types[1] = "12345678901";
    world.types[2] = "12345678";
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.pins, 3);
    ck_assert_ptr_nonnull(strstr(world.last_desc, "Admin PIN for tok-1"));
    ck_assert_ptr_nonnull(strstr(world.last_desc, "The admin PIN has 8 to 10 characters"));
    ck_assert_ptr_nonnull(strstr(world.last_desc, "3 tries left"));
    ck_assert(!world.repeated);
    world_free();

    world_new("Match all\n Touch none\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_ONCE);
    world.pin = (struct token_pin_request){.ref = "83"};
    world.tries = 1;
    world.confirm = gpg_error(GPG_ERR_NOT_CONFIRMED);
    ck_assert_int_ne(auth(true), 0);
    ck_assert_uint_eq(world.pins, 0);
    ck_assert_ptr_nonnull(strstr(world.last_desc, "One try is left for the admin PIN of tok-1. A "
                                                  "wrong admin PIN now blocks it for good"));
    world_free();

    /* a new one is typed twice, and the last try is no matter of it */
    world_new("Match all\n Touch none\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_ONCE);
    world.pin = (struct token_pin_request){.ref = "rc", .fresh = true, .min = 8};
    world.tries = 1;
    world.types[0] = "12345678";
    ck_assert_int_eq(auth(true), 0);
    ck_assert(world.repeated);
    ck_assert_uint_eq(world.confirms, 0);
    ck_assert_ptr_nonnull(strstr(world.last_desc, "New reset code for tok-1"));
    ck_assert_ptr_nonnull(strstr(world.last_desc, "at least 8 characters"));
    ck_assert_ptr_null(strstr(world.last_desc, "left"));
    world_free();

    /* nobody types for ever what cannot be it */
    world_new("Match all\n Touch none\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_ONCE);
    world.pin = (struct token_pin_request){.ref = "81", .min = 8};
    ck_assert_int_eq(auth(true), GPG_ERR_BAD_PIN);
    ck_assert_uint_eq(world.pins, 5);
    ck_assert_int_eq(world.tries, 3);
    world_free();
}
END_TEST

static unsigned inquired;

static gpg_error_t client_says(void *arg, bool fresh, size_t max, struct buf *secret)
{
    (void)arg;
    ck_assert(!fresh);
    ck_assert_uint_eq(max, 88);
    inquired++;
    buf_reset(secret);
    buf_printf(secret, "123456");
    return 0;
}

START_TEST(a_clients_pin_is_taken_once)
{
    struct ask ask = {.mode = ASK_LOOPBACK, .loopback = client_says};

    world_new("Match all\n Touch none\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_ONCE);
    world.origin.ask = &ask;
    inquired = 0;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(inquired, 1);
    ck_assert_uint_eq(world.pins, 0);
    world.wrong_pins = 3;
    inquired = 0;
    ck_assert_int_eq(auth(true), GPG_ERR_BAD_PIN);
    ck_assert_uint_eq(inquired, 1);
    ck_assert_int_eq(world.tries, 2);
    world.pin.min = 8;
    world.tries = 3;
    ck_assert_int_eq(auth(true), GPG_ERR_BAD_PIN);
    ck_assert_int_eq(world.tries, 3);
    world_free();
}
END_TEST

/* gpg's PKSIGN on a key of ssh's. A hash is no login where the key signs messages; a message may be one. */
START_TEST(gpg_signs_no_logins)
{
    struct token_request r = {
        .use = "openpgp-sign", .use_text = "sign with OpenPGP", .verb = TOKEN_SIGN};
    uint8_t message[65] = {0};

    world_new("Match all\n Touch none\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    r.tosign = (struct tosign){GCRY_MD_SHA512, rd_of(message, 64)};
    ck_assert_uint_eq(broker_request(&world.agent, &world.origin, &world.id, &r), 0);
    ck_assert_str_eq(world_record("use"), "openpgp-sign");
    token_request_clear(&r);
    r.tosign = (struct tosign){0, rd_of(message, 65)};
    ck_assert_int_eq(gpg_err_code(broker_request(&world.agent, &world.origin, &world.id, &r)),
                     GPG_ERR_FORBIDDEN);
    ck_assert_str_eq(world_record("use"), "raw");
    token_request_clear(&r);
    world.id.family = FAMILY_GPG;
    ck_assert_uint_eq(broker_request(&world.agent, &world.origin, &world.id, &r), 0);
    token_request_clear(&r);
    world_free();
}
END_TEST

START_TEST(after_use_follows_touch)
{
    world_new("Match all\n Touch none\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_ONCE);
    ck_assert_int_eq(auth(true), 0);
    ck_assert(world.job.drop);
    world_free();
    world_new("Match all\n Touch none\n", "yubikey", TOKEN_TOUCH_ALWAYS, TOKEN_PIN_ONCE);
    world.touched = true;
    ck_assert_int_eq(auth(true), 0);
    ck_assert(!world.job.drop);
    world_free();
    world_new("Match all\n Touch none\n AfterUse leave\n Pin 10m\n", "gnuk", TOKEN_TOUCH_NEVER,
              TOKEN_PIN_ONCE);
    ck_assert_int_eq(auth(true), 0);
    ck_assert(!world.job.drop);
    ck_assert_int_eq(world.job.pin_age, 600);
    world_free();
}
END_TEST

START_TEST(wrong_signature_is_not_handed_out)
{
    world_new("Match all\n Touch none\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    world.wrong_signature = true;
    ck_assert_int_eq(auth(true), GPG_ERR_BAD_SIGNATURE);
    world_free();
}
END_TEST

START_TEST(touch_that_was_not_shown_is_no_touch)
{
    world_new("Match all\n Touch always\n", "yubikey", TOKEN_TOUCH_ALWAYS, TOKEN_PIN_NONE);
    ck_assert_int_ne(auth(true), 0);
    world.touched = true;
    ck_assert_int_eq(auth(true), 0);
    ck_assert(world.job.want_touch);
    ck_assert_str_eq(world_record("presence"), "touch");
    world_free();
}
END_TEST

START_TEST(what_cannot_be_recorded_is_not_done)
{
    world_new("", "software", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    world.audit_error = gpg_error(GPG_ERR_ENOSPC);
    ck_assert_int_eq(auth(true), GPG_ERR_ENOSPC);
    world_free();
}
END_TEST

START_TEST(locked_software_refuses)
{
    world_new("", "software", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    world.locked = true;
    ck_assert_int_eq(auth(true), GPG_ERR_LOCKED);
    ck_assert_uint_eq(world.runs, 0);
    world_free();
}
END_TEST

START_TEST(locked_card_brings_its_own_proof)
{
    world_new("Match all\n Touch none\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_ONCE);
    world.locked = true;
    ck_assert_int_eq(auth(true), GPG_ERR_LOCKED); /* never verified before the lock */
    world.verified_before = true;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_int_eq(world.job.pin_age, 0);
    ck_assert(world.opened);
    world_free();
}
END_TEST

/* Nobody can tell whether what came back is the decryption: a card with a copied listing would do. */
START_TEST(a_decryption_opens_nothing)
{
    struct operation op = {.a = &world.agent,
                           .from = &world.origin,
                           .id = &world.id,
                           .verb = TOKEN_DECRYPT,
                           .use = "decrypt",
                           .use_text = "decrypt"};

    world_new("Match all\n Touch none\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_ONCE);
    world.locked = world.verified_before = true;
    op.policy = policy_current(world.agent.policy);
    ck_assert_uint_eq(broker_operate(&op), 0);
    ck_assert_uint_eq(world.pins, 1);
    ck_assert(!world.opened);
    policy_unref((struct policy_set *)(uintptr_t)op.policy);
    buf_free(&op.result);
    world_free();
}
END_TEST

START_TEST(passphrase_lock_refuses_all)
{
    world_new("Match all\n Touch none\n", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_ONCE);
    world.passphrase_locked = world.verified_before = true;
    ck_assert_int_eq(auth(true), GPG_ERR_LOCKED);
    ck_assert_uint_eq(world.runs, 0);
    world_free();
}
END_TEST

START_TEST(gpg_key_makes_no_ssh_login)
{
    world_new("", "gnuk", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    world.id.family = FAMILY_GPG;
    ck_assert_int_eq(auth(true), GPG_ERR_FORBIDDEN);
    ck_assert_uint_eq(world.runs, 0);
    world_free();
}
END_TEST

START_TEST(keys_hidden_by_policy)
{
    const struct keyring_snapshot *s = keyring_get(NULL);
    const struct identity *seen[1];
    size_t n;

    world_new("Host host.example\n Keys other*\n", "software", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    broker_list_ssh(&world.agent, &world.origin, s, seen, &n);
    ck_assert_uint_eq(n, 1);
    world_bind(false);
    broker_list_ssh(&world.agent, &world.origin, s, seen, &n);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(auth(true), GPG_ERR_FORBIDDEN);
    world_free();
}
END_TEST

/* The world's key, added by a client. */
static gpg_err_code_t add_again(void)
{
    struct ssh_agent_msg add = {.type = SSH_AGENTC_ADD_IDENTITY};

    add.u.add.key = world.id.key;
    add.u.add.comment = (char *)(uintptr_t) "again";
    add.u.add.private_part = rd_of("secret", 6);
    return gpg_err_code(broker_add_ssh(&world.agent, &world.origin, &add));
}

START_TEST(keys_are_added_whole_or_not)
{
    int fds[2];

    world_new("", "software", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    world.origin.fd = fds[0];
    ck_assert_int_eq(add_again(), 0);
    ck_assert_uint_eq(world.added, 1);
    ck_assert_int_eq(world.client_fd_seen, -1); /* no hang-up stops it half-way */
    ck_assert_str_eq(world.wiped, "");
    world.full = gpg_error(GPG_ERR_TOO_MANY);
    ck_assert_int_eq(add_again(), GPG_ERR_TOO_MANY);
    ck_assert_str_eq(world.wiped, "abc");
    world.full = 0;
    world.wiped[0] = '\0';
    world.audit_error = gpg_error(GPG_ERR_ENOSPC);
    ck_assert_int_eq(add_again(), GPG_ERR_ENOSPC);
    ck_assert_str_eq(world.wiped, "abc");
    ck_assert_uint_eq(world.added, 1);
    close(fds[0]);
    close(fds[1]);
    world_free();
}
END_TEST

/* Under constraints for another host than the connection is bound to, a key is neither replaced nor removed. */
START_TEST(hidden_keys_are_not_touched)
{
    struct dest_key other = {0};
    struct dest_constraint d = {
        .to = {.hostname = (char *)(uintptr_t) "other.example", .keys = &other, .nkeys = 1}};
    struct rd blob;

    world_new("", "software", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    blob = rd_of(world.id.key->blob, world.id.key->blob_len);
    other.key = world.id.key; /* any that is not the host's */
    world.id.added = true;
    world.id.constraints = (struct key_constraints){.dest = &d, .ndest = 1};
    ck_assert_int_eq(add_again(), 0); /* unbound: local use */
    world_bind(false);
    ck_assert_int_eq(add_again(), GPG_ERR_FORBIDDEN);
    ck_assert_uint_eq(world.added, 1);
    ck_assert_int_eq(gpg_err_code(broker_remove_ssh(&world.agent, &world.origin, blob)),
                     GPG_ERR_NOT_FOUND);
    other.key = world.host;
    ck_assert_int_eq(add_again(), 0);
    ck_assert_int_eq(gpg_err_code(broker_remove_ssh(&world.agent, &world.origin, blob)), 0);
    world_free();
    /* A bind that was tried and failed hides it too. */
    world_new("", "software", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    other.key = world.host;
    world.id.added = true;
    world.id.constraints = (struct key_constraints){.dest = &d, .ndest = 1};
    world.origin.bind_attempted = true;
    ck_assert_int_eq(add_again(), GPG_ERR_FORBIDDEN);
    world_free();
}
END_TEST

/* What it signed counts, whatever its process says of a touch. */
START_TEST(security_key_shows_what_it_signed)
{
    world_new("Match all\n Touch always\n", "fido", TOKEN_TOUCH_ALWAYS, TOKEN_PIN_NONE);
    world_security_key("ssh:", 1);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_uint_eq(world.confirms, 0);
    ck_assert_str_eq(world_record("presence"), "touch");
    ck_assert_int_eq(json_integer_value(
                         json_object_get(json_object_get(world.record, "security_key"), "counter")),
                     17);
    world.touched = true;
    world.signs.flags = world.claims.flags = 0;
    ck_assert_int_eq(auth(true), GPG_ERR_BAD_SIGNATURE);
    ck_assert_ptr_nonnull(strstr(world_record("reason"), "without the touch"));
    world.claims.flags = 1; /* a lie */
    ck_assert_int_eq(auth(true), GPG_ERR_BAD_SIGNATURE);
    world.claims = world.signs = (struct sk_assertion){.flags = 1, .counter = 18};
    world.claims.counter = 19;
    ck_assert_int_eq(auth(true), GPG_ERR_BAD_SIGNATURE);
    world_free();
}
END_TEST

START_TEST(security_key_verifies_the_person)
{
    world_new("Match use sshsig\n Pin always\nMatch all\n Touch none\n", "fido", TOKEN_TOUCH_ALWAYS,
              TOKEN_PIN_ALWAYS);
    world_security_key("ssh:", 5);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_str_eq(world_record("pin"), "typed");
    world.asks_pin = false; /* a finger */
    ck_assert_int_eq(auth(true), 0);
    ck_assert_str_eq(world_record("pin"), "device");
    world.signs.flags = world.claims.flags = 1;
    ck_assert_int_eq(auth(true), GPG_ERR_BAD_SIGNATURE);
    ck_assert_ptr_nonnull(strstr(world_record("reason"), "without verifying the person"));
    /* Where the key does not want it, the policy may. */
    world.holder.pin = TOKEN_PIN_NONE;
    ck_assert_int_eq(auth(true), 0);
    ck_assert_int_eq(sshsig("git"), GPG_ERR_BAD_SIGNATURE);
    world_free();
}
END_TEST

START_TEST(security_key_of_a_web_application)
{
    struct buf data = BUF_INIT;

    world_new("Match use raw\n Access allow\n Touch none\n", "fido", TOKEN_TOUCH_ALWAYS,
              TOKEN_PIN_NONE);
    world_security_key("example.org", 1);
    world.agent.websafe_allow = "ssh:*";
    buf_put(&data, "a challenge", 11);
    ck_assert_int_eq(gpg_err_code(world_sign(&data)), GPG_ERR_FORBIDDEN);
    ck_assert_ptr_nonnull(strstr(world_record("reason"), "web application"));
    ck_assert_uint_eq(world.runs, 0);
    ck_assert_int_eq(auth(true), 0);
    ck_assert_int_eq(sshsig("git"), 0);
    world.agent.websafe_allow = "ssh:*,example.org";
    ck_assert_int_eq(gpg_err_code(world_sign(&data)), 0);
    world.agent.websafe_allow = NULL;
    ck_assert_int_eq(gpg_err_code(world_sign(&data)), 0);
    buf_free(&data);
    world_free();
}
END_TEST

static gpg_err_code_t add_security_key(const char *provider)
{
    struct ssh_agent_msg m = {.type = SSH_AGENTC_ADD_ID_CONSTRAINED};
    gpg_error_t err;

    m.u.add.key = key_ref(world.id.key);
    m.u.add.comment = gpgrt_strdup("c");
    m.u.add.constraints.sk_provider = provider != NULL ? gpgrt_strdup(provider) : NULL;
    world.middleware[0] = '\0';
    err = broker_add_ssh(&world.agent, &world.origin, &m);
    ssh_agent_msg_free(&m);
    return gpg_err_code(err);
}

START_TEST(security_keys_are_added_by_provider)
{
    world_new("", "fido", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    world_security_key("ssh:", 1);
    ck_assert_int_eq(add_security_key("internal"), 0);
    ck_assert_str_eq(world.middleware, "internal");
    /* What it takes to use the key, the token says; nothing stands in the way of adding it. */
    ck_assert_int_eq(world.last.touch, TOKEN_TOUCH_ALWAYS);
    ck_assert_uint_eq(world.confirms, 0);
    ck_assert_int_eq(add_security_key(NULL), 0);
    ck_assert_str_eq(world.middleware, "internal");
    ck_assert_int_eq(add_security_key("/proc/self/exe"), GPG_ERR_FORBIDDEN);
    ck_assert_int_eq(add_security_key("/no/such/library"), GPG_ERR_ENOENT);
    ck_assert_str_eq(world.middleware, "");
    world.agent.provider_patterns = "/*";
    ck_assert_int_eq(add_security_key("/proc/self/exe"), 0);
    ck_assert_ptr_nonnull(strstr(world.middleware, "test_agent_broker")); /* resolved */
    world.origin.bind_attempted = true;
    ck_assert_int_eq(add_security_key("/proc/self/exe"), GPG_ERR_FORBIDDEN);
    ck_assert_int_eq(add_security_key("internal"), 0);
    world.agent.remote_providers = true;
    ck_assert_int_eq(add_security_key("/proc/self/exe"), 0);
    world_free();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("agent broker");
    TCase *t = tcase_create("path");
    SRunner *r;
    int failed;

    gcry_check_version(NULL);
    gcry_control(GCRYCTL_ENABLE_QUICK_RANDOM, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, allowed_by_default_tail);
    tcase_add_test(t, denied_before_anything_is_asked);
    tcase_add_test(t, key_of_an_absent_wallet);
    tcase_add_test(t, whole_message_to_a_wallet);
    tcase_add_test(t, raw_data_denied);
    tcase_add_test(t, standin_dialog_on_touchless_card);
    tcase_add_test(t, no_dialog_no_signature);
    tcase_add_test(t, standin_deny_and_fido_refuse);
    tcase_add_test(t, standin_fido);
    tcase_add_test(t, cached_touch_is_not_always);
    tcase_add_test(t, cached_proof_with_max);
    tcase_add_test(t, cached_proof_serves_nothing_else);
    tcase_add_test(t, unproven_neither_makes_nor_uses_proofs);
    tcase_add_test(t, unbound_client_gets_the_strictest);
    tcase_add_test(t, bound_needs_the_system_ssh);
    tcase_add_test(t, session_of_another_bind_is_unproven);
    tcase_add_test(t, forwarded_denied_or_confirmed);
    tcase_add_test(t, the_rule_that_is_named_is_the_one);
    tcase_add_test(t, connection_approvals_name_their_host);
    tcase_add_test(t, a_lock_meanwhile_voids_what_was_shown);
    tcase_add_test(t, a_lock_meanwhile_is_not_opened);
    tcase_add_test(t, approvals_come_with_success);
    tcase_add_test(t, a_failed_use_is_none);
    tcase_add_test(t, revoked_hosts_are_refused);
    tcase_add_test(t, a_host_without_a_name_could_be_any);
    tcase_add_test(t, hashes_are_an_sshds_alone);
    tcase_add_test(t, tests_of_keys_are_ssh_adds_alone);
    tcase_add_test(t, confirm_yes_and_connection);
    tcase_add_test(t, a_key_added_with_confirm_asks);
    tcase_add_test(t, one_dialog_serves_confirm_and_standin);
    tcase_add_test(t, rate_refused_until_confirmed);
    tcase_add_test(t, pin_dialogs_count_down_and_warn);
    tcase_add_test(t, pin_dialogs_name_the_pin);
    tcase_add_test(t, a_clients_pin_is_taken_once);
    tcase_add_test(t, gpg_signs_no_logins);
    tcase_add_test(t, after_use_follows_touch);
    tcase_add_test(t, wrong_signature_is_not_handed_out);
    tcase_add_test(t, touch_that_was_not_shown_is_no_touch);
    tcase_add_test(t, what_cannot_be_recorded_is_not_done);
    tcase_add_test(t, locked_software_refuses);
    tcase_add_test(t, locked_card_brings_its_own_proof);
    tcase_add_test(t, a_decryption_opens_nothing);
    tcase_add_test(t, passphrase_lock_refuses_all);
    tcase_add_test(t, gpg_key_makes_no_ssh_login);
    tcase_add_test(t, keys_hidden_by_policy);
    tcase_add_test(t, keys_are_added_whole_or_not);
    tcase_add_test(t, hidden_keys_are_not_touched);
    tcase_add_test(t, security_key_shows_what_it_signed);
    tcase_add_test(t, security_key_verifies_the_person);
    tcase_add_test(t, security_key_of_a_web_application);
    tcase_add_test(t, security_keys_are_added_by_provider);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
