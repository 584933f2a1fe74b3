/* The inside of the token server, shared by token_server.c (verbs, channels' life) and token_channel.c (what is said on one). */
#ifndef LATCHKEY_DEVICES_TOKEN_CHANNEL_H
#define LATCHKEY_DEVICES_TOKEN_CHANNEL_H

#include "devices/driver.h"
#include "proto/held_lines.h"

#include <pthread.h>
#include <stdatomic.h>

#define MAX_CHANNELS 64u
#define MAX_PIN      1024u

struct server {
    const struct driver *d;
    void *state;
    unsigned nchannels;
    atomic_uint canceled[MAX_CHANNELS]; /* number of the last command to be called off */
    atomic_uint open_channels;
    atomic_uint failure; /* gpg_error_t that ends the process */
};

struct channel {
    struct held_lines *held; /* first: held_lines_install */
    struct server *s;
    unsigned index;
    unsigned job; /* number of the command being carried out */
    char *args;   /* its fields: what libassuan gave is gone after the first inquiry */
    assuan_context_t ctx;
    pthread_t thread;
};

/* "S KEYWORD FIELDS", in parts where it is longer than a line (proto/token_protocol.h, MORE and LAST). */
gpg_error_t channel_status(struct channel *c, const char *keyword, const char *fields);
/* INQUIRE LINE; at most MAX octets, appended to OUT. SECRET: in confidential mode. */
gpg_error_t channel_inquire(struct channel *c, const char *line, size_t max, bool secret,
                            struct buf *out);
/* How a driver reaches the broker on C; valid as long as C. */
struct driver_io channel_io(struct channel *c);
/* The SHOWN line of OP. */
gpg_error_t channel_shown(struct channel *c, const struct driver_op *op);

#endif
