#include "agent/fido_node.h"

#define USAGE_PAGE_FIDO 0xf1d0u
#define LONG_ITEM       0xfeu
#define TAG_MASK        0xfcu /* tag and type of a short item; the rest is its size */
#define USAGE_PAGE      0x04u

bool fido_descriptor(struct rd r)
{
    static const size_t sizes[] = {0, 1, 2, 4};

    while (r.n > 0) {
        struct rd data, skipped;
        uint32_t value = 0;
        uint8_t prefix, n, tag;

        if (rd_u8(&r, &prefix) != 0)
            return false;
        if (prefix == LONG_ITEM) {
            if (rd_u8(&r, &n) != 0 || rd_u8(&r, &tag) != 0 || rd_bytes(&r, n, &skipped) != 0)
                return false;
            continue;
        }
        if (rd_bytes(&r, sizes[prefix & 3], &data) != 0)
            return false;
        for (size_t i = data.n; i > 0; i--) /* little-endian */
            value = value << 8 | data.p[i - 1];
        if ((prefix & TAG_MASK) == USAGE_PAGE && value == USAGE_PAGE_FIDO)
            return true;
    }
    return false;
}
