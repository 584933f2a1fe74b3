/* The client's side of an Assuan conversation over a connected socket whose waiting can be ended:
 * before every line the caller's own function decides how long to wait for it. */
#ifndef LATCHKEY_AGENT_ASSUAN_CLIENT_H
#define LATCHKEY_AGENT_ASSUAN_CLIENT_H

#include "proto/buf.h"
#include "proto/held_lines.h"

/* Waits until FD is readable or hung up (0), at most MAX_MS (-1: no bound of the conversation's
 * own); an error ends the conversation. */
typedef gpg_error_t assuan_wait_fn(void *arg, int fd, int max_ms);

struct conversation {
    struct held_lines *held; /* first: held_lines_install */
    assuan_context_t ctx;    /* NULL: not open; points here */
    int fd;                  /* owned by ctx */
    assuan_wait_fn *wait;
    void *arg;
};

/* Takes over FD, also on failure (C stays where it is until it is closed), and reads the server's greeting. The context, through whose
 * buffers secrets pass, is in secure memory. */
gpg_error_t conversation_open(struct conversation *c, int fd, assuan_wait_fn *wait, void *arg);
/* Drops the connection without a word. */
void conversation_close(struct conversation *c);

struct conversation_handlers {
    /* Any of them may be NULL: data and status are then ignored, inquiries cancelled. An error of
     * data or status ends the conversation; one of inquire sends CAN. LINE: what follows INQUIRE or
     * S, NUL-ended. */
    gpg_error_t (*data)(void *arg, struct rd part);
    gpg_error_t (*inquire)(void *arg, struct conversation *c, const char *line);
    gpg_error_t (*status)(void *arg, const char *line);
    void *arg;
};
/* Sends LINE (at most 1000 octets, no line ends) and handles what comes until OK or ERR. Returns 0
 * when one of them came: *ANSWER is 0 or the server's error. Anything else means that the
 * conversation is broken and can only be closed. */
gpg_error_t conversation_transact(struct conversation *c, const char *line,
                                  const struct conversation_handlers *h, gpg_error_t *answer);
/* For inquire handlers: sends one answer's data. SECRET keeps it out of protocol logs. */
gpg_error_t conversation_answer(struct conversation *c, struct rd data, bool secret);

/* Appends S so that it fits a line of CMD S: %, control characters and line ends escaped, cut at a
 * character's boundary with "..." when it would be too long. */
void assuan_put_escaped(struct buf *line, const char *s);
/* Appends S with its %XX replaced, and with PLUS its '+' by blanks; what is no escape stays as it is. */
void assuan_put_unescaped(struct buf *b, const char *s, bool plus);

#endif
