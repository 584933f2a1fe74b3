/* BER-TLV as cards send it. The first four octets are the tag to look for. */
#include "proto/buf.h"
#include "tests/fuzz/fuzz_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_of(data, size), val, list;
    struct buf b = BUF_INIT;
    uint32_t tag, wanted;

    if (rd_u32(&r, &wanted) != 0)
        return 0;
    list = r;
    while (rd_tlv(&r, &tag, &val) == 0) {
        struct rd back, again;
        uint32_t tag2;

        REQUIRE(val.p + val.n == r.p);
        buf_reset(&b);
        buf_put_tlv(&b, tag, val.p, val.n);
        back = buf_rd(&b);
        REQUIRE(buf_err(&b) == 0 && rd_tlv(&back, &tag2, &again) == 0);
        REQUIRE(tag2 == tag && rd_eq(again, val) && back.n == 0);
    }
    if (rd_tlv_find(list, wanted, &val) == 0)
        REQUIRE(val.p >= list.p && val.p + val.n <= list.p + list.n);
    buf_free(&b);
    return 0;
}
