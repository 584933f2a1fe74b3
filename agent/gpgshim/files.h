/* What is signed comes in, what comes out. All of it tells the person what went wrong. */
#ifndef LATCHKEY_AGENT_GPGSHIM_FILES_H
#define LATCHKEY_AGENT_GPGSHIM_FILES_H

#include "agent/gpgshim/options.h"
#include "proto/buf.h"

/* The descriptor that it comes from; -1: a file is opened by its name. */
int input_fd(const struct shim_options *o);
/* The whole of it, at most CTL_MAX_OBJECT octets. */
bool input_read(const struct shim_options *o, struct buf *out);

/* Where the signature goes: as gpg, -o FILE, else FILE.sig or FILE.asc, else standard output. */
struct output {
    char *path; /* NULL: FD is it already */
    int fd;     /* standard output, or "-&N" */
    bool overwrite;
};
/* Checks before anybody has to touch a key that the file will not be refused. */
bool output_prepare(const struct shim_options *o, struct output *out);
/* A regular file is made anew (mode 0666 less umask) or, with --yes, overwritten; a half-written new one does not stay. */
bool output_write(const struct shim_options *o, const struct output *out, struct rd data);
void output_clear(struct output *out);

#endif
