/* Reports as a Ledger sends them, any number, the last one cut short. A message that comes out is cut into the same again. */
#include "devices/ledger_frames.h"
#include "tests/fuzz/fuzz_util.h"

static void there_and_back(struct rd message)
{
    struct ledger_frames again = {0};
    struct buf reports = BUF_INIT;
    struct rd r, report;
    bool done = false;

    ledger_frames_put(message, &reports);
    REQUIRE(buf_err(&reports) == 0 && reports.len % LEDGER_REPORT == 0);
    r = buf_rd(&reports);
    while (rd_bytes(&r, LEDGER_REPORT, &report) == 0)
        REQUIRE(!done && ledger_frames_take(&again, report, &done) == 0);
    REQUIRE(done && rd_eq(buf_rd(&again.message), message));
    buf_free(&again.message);
    buf_free(&reports);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_of(data, size), report;
    struct ledger_frames f = {0};
    bool done;

    while (r.n > 0 && rd_bytes(&r, r.n < LEDGER_REPORT ? r.n : LEDGER_REPORT, &report) == 0) {
        gpg_error_t err = ledger_frames_take(&f, report, &done);

        REQUIRE(err == 0 || (!done && !f.begun));
        REQUIRE(f.message.len <= LEDGER_ANSWER_MAX);
        if (done) {
            REQUIRE(f.message.len == f.want && f.want >= 2 && !f.begun);
            there_and_back(buf_rd(&f.message));
        }
    }
    buf_free(&f.message);
    return 0;
}
