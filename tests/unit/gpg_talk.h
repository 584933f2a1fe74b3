/* A client's side of a gpg conversation, with the session in a thread of its own. */
#ifndef LATCHKEY_TESTS_GPG_TALK_H
#define LATCHKEY_TESTS_GPG_TALK_H

#include "agent/activity.h"
#include "agent/server.h"
#include "tests/unit/fakes_gpg.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct talk {
    pthread_t thread;
    int fds[2];
    struct activity activity;
    void (*serve)(struct agent *a, int fd, struct activity *act);
    char said[8192]; /* all that came for the last command, lines ended by LF */
};

static inline void *talk_serve(void *arg)
{
    struct talk *t = arg;

    t->serve(&gpg_world.agent, t->fds[1], &t->activity);
    shutdown(t->fds[1], SHUT_RDWR);
    return NULL;
}

static inline void talk_put(struct talk *t, const char *line)
{
    ck_assert_int_eq(write(t->fds[0], line, strlen(line)), (ssize_t)strlen(line));
    ck_assert_int_eq(write(t->fds[0], "\n", 1), 1);
}

/* Not by stdio: the thread sanitizer knows from read() alone that what the session did came before. */
static inline void talk_read_line(struct talk *t, char *line, size_t room)
{
    size_t n = 0;

    do {
        ck_assert_uint_lt(n + 1, room);
        ck_assert_int_eq(read(t->fds[0], line + n, 1), 1);
    } while (line[n++] != '\n');
    line[n] = '\0';
}

/* Reads until OK, ERR or an inquiry; that line. */
static inline const char *talk_read(struct talk *t)
{
    size_t at = strlen(t->said);

    for (;;) {
        char *line = t->said + at;

        talk_read_line(t, line, sizeof t->said - at);
        at += strlen(line);
        if (strncmp(line, "OK", 2) == 0 || strncmp(line, "ERR ", 4) == 0 ||
            strncmp(line, "INQUIRE ", 8) == 0) {
            line[strcspn(line, "\n")] = '\0';
            return line;
        }
    }
}

static inline const char *talk_say(struct talk *t, const char *line)
{
    t->said[0] = '\0';
    talk_put(t, line);
    return talk_read(t);
}

/* Answers an inquiry; what comes next. */
static inline const char *talk_answer(struct talk *t, const char *data)
{
    char line[1024];

    strcat(t->said, "\n");
    if (data[0] != '\0') {
        snprintf(line, sizeof line, "D %s", data);
        talk_put(t, line);
    }
    talk_put(t, "END");
    return talk_read(t);
}

static inline void talk_begin(struct talk *t,
                              void (*serve)(struct agent *a, int fd, struct activity *act))
{
    *t = (struct talk){.serve = serve};
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, t->fds), 0);
    ck_assert_int_eq(pthread_create(&t->thread, NULL, talk_serve, t), 0);
    (void)talk_read(t);
}

static inline void talk_end(struct talk *t)
{
    shutdown(t->fds[0], SHUT_RDWR);
    pthread_join(t->thread, NULL);
    close(t->fds[0]);
    close(t->fds[1]);
}

#define said_ok(line) ck_assert_str_eq(talk_say(&talk, line), "OK")
/* ERR CODE of SOURCE. */
static inline bool is_err(const char *line, gpg_err_source_t source, gpg_err_code_t code)
{
    unsigned long n = 0;

    return sscanf(line, "ERR %lu", &n) == 1 && n == gpg_err_make(source, code);
}

#endif
