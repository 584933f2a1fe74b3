/* Endpoint 0: the descriptors, and the requests that every device answers (USB 2.0, 9.4). */
#include "tests/vm/usb.h"

#include <string.h>

enum {
    GET_STATUS = 0,
    CLEAR_FEATURE = 1,
    SET_FEATURE = 3,
    GET_DESCRIPTOR = 6,
    GET_CONFIGURATION = 8,
    SET_CONFIGURATION = 9,
    GET_INTERFACE = 10,
    SET_INTERFACE = 11
};
enum { DEVICE = 1, CONFIGURATION = 2, STRING = 3, INTERFACE = 4, ENDPOINT = 5 };
enum { MANUFACTURER = 1, PRODUCT = 2, SERIAL = 3 };
enum { TYPE_MASK = 0x60, TYPE_STANDARD = 0, RECIPIENT_MASK = 0x1f, TO_INTERFACE = 1 };

void put_le16(struct buf *b, uint16_t v)
{
    buf_put_u8(b, (uint8_t)v);
    buf_put_u8(b, (uint8_t)(v >> 8));
}

void put_le32(struct buf *b, uint32_t v)
{
    put_le16(b, (uint16_t)v);
    put_le16(b, (uint16_t)(v >> 16));
}

static void put_octets(struct buf *b, const uint8_t *p, size_t n)
{
    buf_put(b, p, n);
}

void usb_put_interface(struct buf *b, uint8_t number, uint8_t endpoints, uint8_t class,
                       uint8_t subclass, uint8_t protocol)
{
    const uint8_t d[] = {9, INTERFACE, number, 0, endpoints, class, subclass, protocol, 0};

    put_octets(b, d, sizeof d);
}

void usb_put_endpoint(struct buf *b, uint8_t address, uint8_t attributes, uint8_t interval)
{
    const uint8_t d[] = {7, ENDPOINT, address, attributes, PACKET, 0, interval};

    put_octets(b, d, sizeof d);
}

static void put_device(const struct device *d, struct buf *b)
{
    const uint8_t head[] = {18, DEVICE, 0x00, 0x02, 0, 0, 0, PACKET};
    const uint8_t tail[] = {0x43, 0x05, MANUFACTURER, PRODUCT, d->serial != NULL ? SERIAL : 0, 1};

    put_octets(b, head, sizeof head);
    put_le16(b, d->vendor);
    put_le16(b, d->product);
    put_octets(b, tail, sizeof tail);
}

static void put_configuration(const struct device *d, struct buf *b)
{
    struct buf all = BUF_INIT;
    const uint8_t tail[] = {(uint8_t)d->nfunctions, 1, 0, 0x80, 15};

    for (size_t i = 0; i < d->nfunctions; i++)
        d->functions[i]->ops->describe(d->functions[i], &all);
    buf_put_u8(b, 9);
    buf_put_u8(b, CONFIGURATION);
    put_le16(b, (uint16_t)(9 + all.len));
    put_octets(b, tail, sizeof tail);
    buf_put_rd(b, buf_rd(&all));
    buf_free(&all);
}

static bool put_string(const struct device *d, unsigned index, struct buf *b)
{
    static const uint8_t english[] = {4, STRING, 0x09, 0x04};
    const char *s = index == MANUFACTURER ? d->manufacturer
                    : index == PRODUCT    ? d->name
                    : index == SERIAL     ? d->serial
                                          : NULL;
    size_t n = s != NULL ? strlen(s) : 0;

    if (index == 0) {
        put_octets(b, english, sizeof english);
        return true;
    }
    if (s == NULL || n > 126)
        return false;
    buf_put_u8(b, (uint8_t)(2 + 2 * n));
    buf_put_u8(b, STRING);
    for (; *s != '\0'; s++)
        put_le16(b, (uint8_t)*s);
    return true;
}

static bool standard(struct device *d, const struct setup *s, struct buf *answer)
{
    switch (s->request) {
    case GET_DESCRIPTOR:
        if (s->value >> 8 == DEVICE)
            put_device(d, answer);
        else if (s->value >> 8 == CONFIGURATION)
            put_configuration(d, answer);
        else
            return s->value >> 8 == STRING && put_string(d, s->value & 0xff, answer);
        return true;
    case SET_CONFIGURATION:
        d->configuration = (uint8_t)s->value;
        usb_flush(d);
        for (size_t i = 0; i < d->nfunctions; i++)
            d->functions[i]->ops->configured(d->functions[i]);
        return true;
    case GET_CONFIGURATION:
        buf_put_u8(answer, d->configuration);
        return true;
    case GET_STATUS:
        put_le16(answer, 0);
        return true;
    case GET_INTERFACE:
        buf_put_u8(answer, 0);
        return true;
    case SET_INTERFACE:
    case CLEAR_FEATURE:
    case SET_FEATURE:
        return true;
    default:
        return false;
    }
}

bool usb_control(struct device *d, const struct setup *s, struct rd data, struct buf *answer)
{
    bool of_interface = (s->type & RECIPIENT_MASK) == TO_INTERFACE;
    size_t n = s->index & 0xff;

    /* HID asks for its own descriptors by the standard request, with the interface for recipient. */
    if (of_interface && ((s->type & TYPE_MASK) != TYPE_STANDARD || s->request == GET_DESCRIPTOR))
        return n < d->nfunctions && d->functions[n]->ops->control(d->functions[n], s, data, answer);
    return (s->type & TYPE_MASK) == TYPE_STANDARD && standard(d, s, answer);
}
