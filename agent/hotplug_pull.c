/* What a token's leaving brings about: the lock, the person's command, and the memory of tokens that were there. */
#include "agent/child.h"
#include "agent/hotplug_slots.h"
#include "agent/lock.h"

#include <string.h>
#include <unistd.h>

#define MAX_PAST     32u
#define SAME_PULL_MS 2000 /* within that the interfaces of one stick go */

void past_forget(struct hotplug *h, const char *name)
{
    struct past *p, *next;

    for (p = TAILQ_FIRST(&h->past); p != NULL; p = next) {
        next = TAILQ_NEXT(p, link);
        if (name == NULL || strcmp(p->name, name) == 0) {
            TAILQ_REMOVE(&h->past, p, link);
            h->npast--;
            gpgrt_free(p->name);
            gpgrt_free(p);
        }
    }
}

void past_remember(struct hotplug *h, const char *name, bool pulled, int bus, int dev)
{
    struct past *p = gpgrt_calloc(1, sizeof *p), *last;

    if (p == NULL)
        return;
    *p = (struct past){.name = gpgrt_strdup(name),
                       .pulled = pulled,
                       .at_ms = monotonic_ms(),
                       .bus = bus,
                       .dev = dev};
    if (p->name == NULL) {
        gpgrt_free(p);
        return;
    }
    past_forget(h, name);
    TAILQ_INSERT_HEAD(&h->past, p, link);
    if (++h->npast > MAX_PAST) {
        last = TAILQ_LAST(&h->past, pasts);
        TAILQ_REMOVE(&h->past, last, link);
        h->npast--;
        gpgrt_free(last->name);
        gpgrt_free(last);
    }
}

void pull_command(struct hotplug *h, const char *name)
{
    const char *command = h->a->settings->on_unplug;
    char *argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", (char *)(uintptr_t)command,
                    NULL};
    static const int null_fds[] = {-1, -1, -1};
    struct child *c = NULL;
    size_t n = 0;
    char **env, *var;

    if (command == NULL)
        return;
    while (environ[n] != NULL)
        n++;
    env = gpgrt_calloc(n + 2, sizeof *env);
    var = gpgrt_bsprintf("LATCHKEY_TOKEN=%s", name);
    if (env != NULL && var != NULL) {
        const struct child_spec spec = {.path = "/bin/sh",
                                        .argv = argv,
                                        .envp = env,
                                        .fds = null_fds,
                                        .nfds = 3,
                                        .keep_stderr = true,
                                        .outlives = true};
        gpg_error_t err;

        env[0] = var; /* first: an inherited one is not looked at */
        memcpy(env + 1, environ, n * sizeof *env);
        err = child_start(&spec, NULL, NULL, &c);
        if (err != 0)
            gpgrt_log_error("OnUnplug: %s\n", gpg_strerror(err));
    }
    child_release(c);
    gpgrt_free(var);
    gpgrt_free(env);
}

void pull_locks(struct hotplug *h, const char *name)
{
    gpgrt_log_info("%s: pulled\n", name);
    if (!h->a->settings->lock_on_unplug_token)
        lock_now(h->a, LOCK_PULLED, name);
}

/* The interfaces' word may come before the kernel's: a token that was taken for lost turns out to have been pulled. One stick is
 * pulled once, however many of its interfaces there were. */
void past_removed(struct hotplug *h, int bus, int dev)
{
    struct past *p;
    char *name = NULL;
    bool acted = false, due = false;

    pthread_mutex_lock(&h->mutex);
    TAILQ_FOREACH(p, &h->past, link)
    {
        if (p->bus != bus || p->dev != dev)
            continue;
        acted |= p->pulled && monotonic_ms() - p->at_ms < SAME_PULL_MS;
        due |= !p->pulled;
        if (!p->pulled && name == NULL)
            name = gpgrt_strdup(p->name);
        p->pulled = true;
    }
    if (due)
        hotplug_changed(h);
    pthread_mutex_unlock(&h->mutex);
    if (due && !acted) {
        pull_locks(h, name != NULL ? name : "a token");
        pull_command(h, name != NULL ? name : "");
    }
    gpgrt_free(name);
}
