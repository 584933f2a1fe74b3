#include "devices/held_pin.h"

#include <time.h>

int64_t card_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void held_pin_forget(struct held_pin *h)
{
    buf_free(&h->pin);
    *h = (struct held_pin){.pin = BUF_INIT_SECURE};
}

void held_pin_take(struct held_pin *h, struct buf *pin)
{
    held_pin_forget(h);
    h->pin = *pin;
    h->used_ms = card_now_ms();
    *pin = BUF_INIT_SECURE;
}

void held_pin_note_good(struct held_pin *h)
{
    h->used_ms = card_now_ms();
    if (!h->good)
        h->typed_ms = h->used_ms;
    h->good = true;
}

bool held_pin_serves(const struct held_pin *h, long pin_age)
{
    if (!h->good || pin_age == 0)
        return false;
    return pin_age < 0 || card_now_ms() - h->typed_ms <= (int64_t)pin_age * 1000;
}
