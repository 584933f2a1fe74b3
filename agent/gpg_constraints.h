/* What a new passphrase has to be like (gpg-agent(1): min-passphrase-len and the like). */
#ifndef LATCHKEY_AGENT_GPG_CONSTRAINTS_H
#define LATCHKEY_AGENT_GPG_CONSTRAINTS_H

#include "agent/gpg_config.h"
#include "agent/prompt.h"

/* Its rules: by CONF, for a key or (SYMKEY) for something encrypted by nothing else. */
struct gpg_constraints {
    const struct gpg_config *conf;
    bool symkey;
};

/* What is wrong with WORD, in lines; NULL: nothing. New string. An empty one is good here. Runs GnuPG's gpg-check-pattern where a file of
 * patterns is configured; what cannot be checked counts as found there. */
char *gpg_complaint(const struct gpg_constraints *c, const char *word);
/* From 0 to 100, by its length; negative when there is a complaint. */
int gpg_quality(const struct gpg_constraints *c, const char *word);
/* A good one, by chance. WORD: secure. */
gpg_error_t gpg_suggest(const struct gpg_constraints *c, struct buf *word);
/* The same for a pinentry; what C points to and TEXTS must outlive RULES. */
struct gpg_rules {
    struct prompt_rules rules;
    char *hint;
};
gpg_error_t gpg_rules_init(struct gpg_rules *r, const struct gpg_constraints *c, bool quality);
void gpg_rules_clear(struct gpg_rules *r);

#endif
