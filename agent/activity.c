#include "agent/activity.h"

#include "agent/wait.h"

#include <stdatomic.h>

void activity_init(struct activity *act)
{
    act->state = monotonic_ms();
    act->held = 0;
}

bool activity_begin(struct activity *act)
{
    int64_t idle = act->state;

    return idle != ACTIVITY_ENDED &&
           atomic_compare_exchange_strong(&act->state, &idle, ACTIVITY_BUSY);
}

void activity_end(struct activity *act)
{
    int64_t busy = ACTIVITY_BUSY;

    atomic_compare_exchange_strong(&act->state, &busy, monotonic_ms());
}
