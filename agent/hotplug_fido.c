/* FIDO tokens on hidraw: which are there, and that one that served was pulled. The process for FIDO tokens looks for them itself at
 * each request; what is known here is what `status` shows and what locks. */
#include "agent/hotplug_slots.h"

#include <string.h>

static void node_free(struct fido_node *n)
{
    gpgrt_free(n->path);
    gpgrt_free(n->name);
    gpgrt_free(n);
}

static struct fido_node *find_node(struct hotplug *h, const char *path)
{
    struct fido_node *n;

    TAILQ_FOREACH(n, &h->fidos, link)
    if (strcmp(n->path, path) == 0)
        return n;
    return NULL;
}

/* "fido-hidraw3" */
static char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return gpgrt_bsprintf("fido-%s", slash != NULL ? slash + 1 : path);
}

void fido_node_added(struct hotplug *h, const char *path, int bus, int dev)
{
    struct fido_node *n;

    if (find_node(h, path) != NULL)
        fido_node_removed(h, path);
    n = gpgrt_calloc(1, sizeof *n);
    if (n == NULL)
        return;
    n->path = gpgrt_strdup(path);
    n->name = name_of(path);
    n->bus = bus;
    n->dev = dev;
    if (n->path == NULL || n->name == NULL) {
        node_free(n);
        return;
    }
    gpgrt_log_info("%s: a FIDO token is plugged in\n", n->name);
    pthread_mutex_lock(&h->mutex);
    TAILQ_INSERT_TAIL(&h->fidos, n, link);
    hotplug_changed(h);
    pthread_mutex_unlock(&h->mutex);
}

/* The node goes before its usb_device does, or because another driver took the interface: lost, until the kernel tells more. */
void fido_node_removed(struct hotplug *h, const char *path)
{
    struct fido_node *n;

    pthread_mutex_lock(&h->mutex);
    n = find_node(h, path);
    if (n != NULL) {
        TAILQ_REMOVE(&h->fidos, n, link);
        if (n->used)
            past_remember(h, n->name, false, n->bus, n->dev);
        hotplug_changed(h);
    }
    pthread_mutex_unlock(&h->mutex);
    if (n == NULL)
        return;
    gpgrt_log_info("%s: gone\n", n->name);
    node_free(n);
}

void fido_usb_removed(struct hotplug *h, int bus, int dev)
{
    struct fido_node *n, *next;

    for (n = TAILQ_FIRST(&h->fidos); n != NULL; n = next) {
        next = TAILQ_NEXT(n, link);
        if (n->bus == bus && n->dev == dev)
            fido_node_removed(h, n->path);
    }
}

void fido_nodes_free(struct hotplug *h)
{
    struct fido_node *n;

    while ((n = TAILQ_FIRST(&h->fidos)) != NULL) {
        TAILQ_REMOVE(&h->fidos, n, link);
        node_free(n);
    }
}

void hotplug_note_device(struct hotplug *h, const char *path)
{
    struct fido_node *n;

    pthread_mutex_lock(&h->mutex);
    n = find_node(h, path);
    if (n != NULL)
        n->used = true;
    pthread_mutex_unlock(&h->mutex);
}
