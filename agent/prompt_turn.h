/* The inside of the prompter, shared by prompt.c and prompt_notice.c. */
#ifndef LATCHKEY_AGENT_PROMPT_TURN_H
#define LATCHKEY_AGENT_PROMPT_TURN_H

#include "agent/prompt.h"

#include <pthread.h>
#include <sys/queue.h>

/* Somebody who wants to show a dialog; on the stack of the thread that does. */
struct turn {
    TAILQ_ENTRY(turn) link; /* prompt::line */
    struct wait *w;
};

struct prompt {
    pthread_mutex_t mutex;
    TAILQ_HEAD(turns, turn) line; /* the first one's dialog stands */
    char *program, *touch_file;
    struct waits *notices; /* notices wait for nothing but being taken down */
    unsigned nnotices;     /* windows that show one now; atomic */
};

/* The program's absolute path, new string; NULL if it is not there. */
char *prompt_find_program(const struct prompt *p);

#endif
