/* The inside of policy_holder.c and policy_watch.c. */
#ifndef LATCHKEY_AGENT_POLICY_HOLDER_H
#define LATCHKEY_AGENT_POLICY_HOLDER_H

#include "agent/policy_watch.h"

#include <pthread.h>

struct policy_holder {
    pthread_mutex_t mutex; /* current, problem, quit, reload */
    char *admin_file, *admin_dir, *user_file, *home;
    uid_t uid;
    struct policy_set *current;
    char *problem;
    pthread_mutex_t load_mutex; /* held while files are judged, dialog included; declined */
    char *declined;             /* hash of the person's part that the person did not agree to */
    /* the watching thread */
    struct agent *a;
    pthread_t thread;
    bool running;
    int inotify_fd, wake_fd;
    int last_wd; /* of the newest watch */
    bool quit, reload;
};

/* Who wants the files read again. */
struct reload {
    bool asked; /* told to look, so a policy that was declined is asked about again */
    const struct requester *who; /* where the dialog goes when none can be shown where the agent was
                                    started; NULL: nowhere */
    int client_fd;               /* whose hang-up ends the dialog; -1: nobody's */
};
/* Reads the files and brings into force what may be. */
void policy_load_again(struct policy_holder *h, const struct reload *r);
void policy_record(struct policy_holder *h, const struct policy_set *p, const char *result,
                   const char *problem);
/* Has the watching thread look again at what there is to watch. */
void policy_watch_wake(struct policy_holder *h);

#endif
