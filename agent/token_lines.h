/* What tokens and watchers say in lines: TOKEN, KEY (proto/token_protocol.h) and the lines of
 * watch-pcsc. A token process is not trusted: whatever it says is checked here before it means
 * anything. LINE is what follows the keyword. */
#ifndef LATCHKEY_AGENT_TOKEN_LINES_H
#define LATCHKEY_AGENT_TOKEN_LINES_H

#include "agent/keyring.h"

/* Fills OUT (which must be zero) except for key_lines. GPG_ERR_BAD_DATA without kind or name, or
 * with a name that could not be written into policy and commands: letters, digits, "-", "_", ".". */
gpg_error_t token_line_parse(const char *line, struct token_info *out);
void token_info_clear(struct token_info *i); /* contents only */

/* One key of a token: the identity that it makes by itself. ID has no holder yet; HOLDER lacks the
 * token. INFO gives the comment its name. */
struct key_line {
    struct identity id;
    struct holder holder;
};
gpg_error_t key_line_parse(const char *line, const struct token_info *info, struct key_line *out);
void key_line_clear(struct key_line *k);
/* Only what the line says of the slot, as the answer to ADDKEY: H (zero) without token; its id is H's to free. */
gpg_error_t key_line_holder(const char *line, struct holder *h);

/* The slot's name for people and for TOKEN/SLOT: "sig", "auth", "dec"; ID itself elsewhere. */
const char *slot_name(const char *id);

enum watch_event { WATCH_SERVICE, WATCH_READER, WATCH_GONE };
struct watch_line {
    enum watch_event event;
    bool up, present, contactless;
    char *reader; /* owned; NULL for WATCH_SERVICE */
    long events;  /* insertions and removals counted by the reader; -1 not told */
    int bus, dev; /* -1 not told */
};
/* LINE: the whole line, without line end. GPG_ERR_UNKNOWN_COMMAND for keywords to be ignored. */
gpg_error_t watch_line_parse(const char *line, struct watch_line *out);
void watch_line_clear(struct watch_line *w);

#endif
