/* What is held back and what is sent, seen from the other end of a pipe. */
#include "proto/held_lines.h"
#include "tests/unit/proto_util.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static int ends[2];
static struct held_lines held;

static void open_pipe(void)
{
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    ck_assert_int_eq(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    held = (struct held_lines){0};
}

static void close_pipe(void)
{
    close(ends[0]);
    close(ends[1]);
}

static void put(const char *text)
{
    ck_assert_int_eq(held_write(&held, ends[1], text, strlen(text)), (ssize_t)strlen(text));
}

/* All that has arrived is WANT. */
static void arrived(const char *want)
{
    char got[2 * HELD_MAX];
    ssize_t n = read(ends[0], got, sizeof got - 1);

    if (n < 0) {
        ck_assert_int_eq(errno, EAGAIN);
        n = 0;
    }
    got[n] = '\0';
    ck_assert_str_eq(got, want);
}

START_TEST(a_line_goes_with_its_end)
{
    put("OK");
    arrived("");
    put("\n");
    arrived("OK\n");
    put("INQUIRE PIN\n");
    arrived("INQUIRE PIN\n");
    put("S TOUCH wait\n");
    arrived("S TOUCH wait\n");
}
END_TEST

START_TEST(what_another_line_follows_waits_for_it)
{
    put("S SHOWN touch=1\n");
    put("D (7:sig-val)\n");
    arrived("");
    put("OK");
    put("\n");
    arrived("S SHOWN touch=1\nD (7:sig-val)\nOK\n");
    put("D 123456");
    put("\n");
    arrived("");
    put("CAN\n");
    arrived("D 123456\nCAN\n");
}
END_TEST

START_TEST(nothing_sent_is_kept)
{
    static const uint8_t none[sizeof held.data];

    put("D 123456\n");
    put("END\n");
    ck_assert_uint_eq(held.n, 0);
    ck_assert_mem_eq(held.data, none, sizeof none);
}
END_TEST

START_TEST(much_data_goes_in_between)
{
    char line[1000], big[HELD_MAX + 100], want[sizeof big + 100];
    size_t sent = 0;

    memset(line, 'x', sizeof line);
    memcpy(line, "D ", 2);
    line[sizeof line - 1] = '\n';
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(held_write(&held, ends[1], line, sizeof line), sizeof line);
    put("OK\n");
    for (ssize_t n; (n = read(ends[0], big, sizeof big)) > 0;)
        sent += (size_t)n;
    ck_assert_uint_eq(sent, 10 * sizeof line + 3);
    /* More than fits, behind what waits: in order. */
    memset(big, 'y', sizeof big);
    put("D x");
    ck_assert_int_eq(held_write(&held, ends[1], big, sizeof big), sizeof big);
    ck_assert_int_eq(read(ends[0], want, sizeof want), 3 + sizeof big);
    ck_assert_mem_eq(want, "D xyyy", 6);
}
END_TEST

START_TEST(a_peer_that_is_gone_is_told)
{
    (void)signal(SIGPIPE, SIG_IGN);
    close(ends[0]);
    ends[0] = -1;
    put("D x\n"); /* nobody has looked yet */
    ck_assert_int_eq(held_write(&held, ends[1], "OK\n", 3), -1);
    ck_assert_int_eq(errno, EPIPE);
}
END_TEST

static void tests(TCase *tc)
{
    tcase_add_checked_fixture(tc, open_pipe, close_pipe);
    tcase_add_test(tc, a_line_goes_with_its_end);
    tcase_add_test(tc, what_another_line_follows_waits_for_it);
    tcase_add_test(tc, nothing_sent_is_kept);
    tcase_add_test(tc, much_data_goes_in_between);
    tcase_add_test(tc, a_peer_that_is_gone_is_told);
}

int main(void)
{
    return run_suite("held_lines", tests);
}
