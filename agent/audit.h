/* The signature log: JSON lines, one a record, appended with O_APPEND in one write, mode 0600; or
 * the journal. */
#ifndef LATCHKEY_AGENT_AUDIT_H
#define LATCHKEY_AGENT_AUDIT_H

#include <gpg-error.h>
#include <jansson.h>

struct audit;
/* WHERE: path, "journal", "no". Parent directories are made (0700). */
gpg_error_t audit_new(const char *where, struct audit **out);
void audit_free(struct audit *a);
/* Steals RECORD, adds "time" (ISO 8601 with ms and zone), "seq" and "pid" of the agent, writes it.
 * When it cannot be written the failure is logged and returned: an operation that cannot be
 * recorded is refused by the broker. */
gpg_error_t audit_write(struct audit *a, json_t *record);
/* The path written to, NULL if none. */
const char *audit_path(const struct audit *a);
/* The last operation's record (new reference, NULL none): for `latchkey policy explain --last`.
 * Records with "event": "operation" only. */
json_t *audit_last(struct audit *a);
/* Reopens the file (SIGHUP, log rotation). */
void audit_reopen(struct audit *a);

#endif
