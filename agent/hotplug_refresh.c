/* Cards that change while they stay where they are, and how gpg is told of changes. */
#include "agent/gpg_agent.h"
#include "agent/hotplug_slots.h"
#include "agent/token_memory.h"
#include "agent/wallets.h"

void slots_count(struct hotplug *h)
{
    if (h->a->gpg != NULL)
        gpg_count_event(h->a->gpg, GPG_EVENT_CARD);
}

gpg_error_t hotplug_relearn(struct hotplug *h, struct token *t)
{
    gpg_error_t err = token_learn(t, LEARN_REFRESH);
    const struct token_info *info = err == 0 ? token_info_get(t) : NULL;

    if (info != NULL && wallets_are_of(info->kind))
        wallets_learnt(h->a->wallets, t);
    /* It was changed through us, by its owner's consent. */
    if (info != NULL && info->apps != NULL && !wallets_are_of(info->kind))
        token_memory_note(info);
    token_info_put(info);
    if (err == 0)
        err = keyring_set_token(h->a->keyring, t);
    if (err != 0) {
        gpgrt_log_error("a changed card cannot be read: %s\n", gpg_strerror(err));
        return err;
    }
    pthread_mutex_lock(&h->mutex);
    hotplug_changed(h);
    pthread_mutex_unlock(&h->mutex);
    slots_count(h);
    return 0;
}
