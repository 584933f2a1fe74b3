/* Assuan's lines, sent when they are worth a system call. libassuan writes a line and its end apart, and each write wakes the
 * peer, which can do nothing before the whole message is there. */
#ifndef LATCHKEY_PROTO_HELD_LINES_H
#define LATCHKEY_PROTO_HELD_LINES_H

#include <assuan.h>
#include <stdint.h>
#include <sys/types.h>

#define HELD_MAX 4096u /* some of Assuan's longest lines */

struct held_lines {
    size_t n;
    uint8_t data
        [HELD_MAX]; /* may pass a secret: keep it in secure memory, held_write wipes what it has sent */
};

/* As write(2) of the N octets at P to FD, but what does not end a message waits for what does: an unfinished line, and whole
 * "D .." and "S SHOWN" lines, after which another always comes. */
ssize_t held_write(struct held_lines *h, int fd, const void *p, size_t n);

/* Makes CTX write by held_write. Its pointer (assuan_set_pointer) must lead to a struct whose first member is a
 * struct held_lines *, as long as CTX lives. */
void held_lines_install(assuan_context_t ctx);

#endif
