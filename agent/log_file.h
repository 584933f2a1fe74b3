/* The log: standard error, or a file that can be opened anew, or be another one, while all threads go on writing to it. */
#ifndef LATCHKEY_AGENT_LOG_FILE_H
#define LATCHKEY_AGENT_LOG_FILE_H

#include <gpg-error.h>

/* FILE NULL: standard error, which is where the log stays when FILE cannot be opened, too. PREFIX must live on. */
gpg_error_t log_file_start(const char *prefix, const char *file);
/* Opens FILE and goes on there (NULL: the same file anew, as it is called after it was moved away). A log on standard error stays
 * there. */
gpg_error_t log_file_reopen(const char *file);
/* Standard error is a terminal's that the agent leaves: from now on it goes to the log's file, which is where token processes
 * write, too, or nowhere. */
void log_file_detach(void);

#endif
