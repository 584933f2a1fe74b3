/* Parsed rules: what parse.c makes of the files and evaluate.c judges by. Inside policy/ only. */
#ifndef LATCHKEY_POLICY_RULES_H
#define LATCHKEY_POLICY_RULES_H

#include "policy/policy.h"

/* --- one line of a file ------------------------------------------------------------------------------------------- */

struct word {
    char *text;      /* unquoted */
    unsigned column; /* from 1 */
};
struct line {
    const char *file;
    unsigned number;
    char *raw; /* as it stands, for the caret */
    struct word *words;
    size_t n;
};

/* Where problems go: all of a file in one pass. */
struct reporter {
    struct policy_errors *errors;
    bool out_of_memory;
};
void report(struct reporter *r, const struct line *l, unsigned column, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* A problem of a whole file. */
void report_file(struct reporter *r, const char *file, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Calls EACH for every line of TEXT that is not empty or a comment. Quotes as in ssh_config(5); the keyword may be
 * followed by '='. Quoting errors are reported. */
void lex(const char *file, const char *text, size_t len, struct reporter *r,
         void (*each)(void *arg, struct line *l), void *arg);
/* The nearest of the NULL-ended NAMES to S, NULL if none is near. */
const char *nearest(const char *s, const char *const *names);

/* --- lists of patterns ---------------------------------------------------------------------------------------------- */

#define LIST_ITEM_MAX 511
struct list_item {
    char text[LIST_ITEM_MAX + 1];
    bool negated;
};
/* The next item of the comma-separated *LIST, which moves on; false at the end. */
bool list_next(const char **list, struct list_item *out);

/* --- key lists ------------------------------------------------------------------------------------------------------ */

enum key_item_kind { ITEM_SHA256, ITEM_HEX40, ITEM_HEX16, ITEM_FILE, ITEM_SLOT, ITEM_COMMENT };
struct key_list {
    struct key_item {
        enum key_item_kind kind;
        bool negated;
        char *text; /* ITEM_FILE: the base64 blob that the file holds */
    } * items;
    size_t n;
};
/* How public-key files that rules name are found. */
struct key_sources {
    const char *home; /* for "~/" */
    uid_t uid;        /* the person: as in policy_paths */
    /* Called for each file, with its key; may be NULL. */
    void (*used)(void *arg, const char *path, const char *blob);
    void *arg;
};
/* Appends the comma-separated items of WORD of line L; gives how many are not negated. */
size_t key_list_add(struct key_list *k, const struct word *word, const struct line *l,
                    const struct key_sources *sources, struct reporter *r);
bool key_list_match(const struct key_list *k, const struct policy_facts *f);
/* False when out of memory; TO is to be freed all the same. */
bool key_list_copy(const struct key_list *from, struct key_list *to);
bool key_list_same(const struct key_list *a, const struct key_list *b);
void key_list_free(struct key_list *k);
/* Is anything known of the key? */
bool key_known(const struct policy_facts *f);

/* "kind-serial" or "kind" against PATTERN; leading zeros of the serial do not count. */
bool token_matches(const char *pattern, const struct policy_token *t);

/* --- criteria ------------------------------------------------------------------------------------------------------- */

enum criterion_kind {
    CRIT_ALL,
    CRIT_HOST,
    CRIT_PROOF,
    CRIT_UNBOUND,
    CRIT_USER,
    CRIT_VIA,
    CRIT_FORWARDED,
    CRIT_USE,
    CRIT_KEY,
    CRIT_TOKEN,
    CRIT_CLIENT,
    CRIT_PARENT,
    CRIT_UNIT,
    CRIT_HOURS,
};
struct criterion {
    enum criterion_kind kind;
    bool negated;
    char *list;           /* comma-separated patterns */
    unsigned proofs;      /* CRIT_PROOF: bits by enum policy_proof */
    struct key_list keys; /* CRIT_KEY */
    unsigned from, to;    /* CRIT_HOURS: minutes of the day */
    unsigned days;        /* CRIT_HOURS: bits from Sunday */
};
/* Parses the words of a Host or Match line from word FIRST on. */
void criteria_parse(const struct line *l, bool host_line, const struct key_sources *sources,
                    struct criterion **out, size_t *n, struct reporter *r);
/* Puts copies of OUTER in front of *LIST; false when out of memory. */
bool criteria_prepend(const struct criterion *outer, size_t nouter, struct criterion **list,
                      size_t *n);
/* Do the public-key files that both lists name, which have the same words, hold the same keys? */
bool criteria_same(const struct criterion *a, size_t na, const struct criterion *b, size_t nb);
void criteria_free(struct criterion *c, size_t n);
/* Does C hold (negation counted in)? TRI_UNKNOWN: the fact is not known, so neither it nor its negation does. */
enum policy_tri criterion_holds(const struct criterion *c, const struct policy_facts *f);
/* In which words to say that it does not: "host is github.com"; new string. */
char *criterion_fact(const struct criterion *c, const struct policy_facts *f);
const char *criterion_name(enum criterion_kind kind);
const char *proof_name(enum policy_proof proof);

/* --- settings --------------------------------------------------------------------------------------------------------- */

struct value {
    enum policy_setting setting;
    unsigned line;
    char *text; /* the line's words, for people */
    /* whichever the setting has */
    unsigned
        choice; /* Access (1 deny), Touch, StandIn, AfterUse, Confirm, Forwarded, Notify (1 yes) */
    unsigned secs, max; /* Touch cached, Timeout, Rate (max per secs) */
    long pin;
    struct key_list keys;
};
/* Parses a setting's line; false when the keyword is none (nothing reported then). */
bool value_parse(const struct line *l, const struct key_sources *sources, struct value *out,
                 struct reporter *r, bool *ok);
void value_clear(struct value *v);
const char *setting_name(enum policy_setting s);
extern const char *const setting_keywords[]; /* NULL-ended */

/* --- rules ------------------------------------------------------------------------------------------------------------- */

struct block {
    const char *file; /* owned by the rules */
    unsigned line;
    char *head; /* "Host *.prod", "Match use raw"; "" for settings before any block; of a block in a
                   file that is included inside another block, both: "Match host *.prod use raw" */
    char *match; /* the head's criteria as Match takes them */
    struct criterion *criteria;
    size_t ncriteria;
    struct value *values;
    size_t nvalues;
    bool
        names_unbound; /* names unbound (or proof none), not negated: the one way to be judged by less */
};

struct rules {
    struct block *blocks;
    size_t n;
    char **names; /* file names that blocks refer to, NULL-ended */
};
void rules_free(struct rules *r);

/* What one side, the administrator or the person, says. Immutable, shared by sets. */
struct part {
    struct rules rules;
    char **files;
    uint8_t hash[32];
    int refs;
};

struct policy_set {
    struct part *admin, *person;
    bool has_admin;
    char hash[65], person_hash[65];
    char **files; /* both parts' */
    char **hosts;
    int refs;
};

/* Parses TEXT into RULES (appends). INCLUDE is called for Include lines, and calls parse_text; NULL:
 * not allowed. */
struct parser {
    struct rules *rules;
    struct key_sources sources;
    struct reporter *reporter;
    void (*include)(void *arg, const struct line *l);
    void *arg;
    size_t outer; /* the block that an Include stands in, by index; NO_BLOCK: none */
};
#define NO_BLOCK ((size_t)-1)
void parse_text(struct parser *p, const char *name, const char *text, size_t len);

/* --- judging --------------------------------------------------------------------------------------------------------- */

/* How a block stands to a request. */
enum block_match { BLOCK_NO, BLOCK_COULD, BLOCK_HOLDS };
/* Could be any host: an ssh authentication whose destination is unproven or has no name. */
bool facts_unnamed(const struct policy_facts *f);
enum block_match block_matches(const struct block *b, const struct policy_facts *f,
                               const struct criterion **failed);

/* What one file demands, setting by setting; SET tells which it mentions at all. */
struct demand {
    const struct value *value; /* the deciding one */
    const struct block *block;
    bool set;
    /* the value itself: met of several when the host could be any */
    unsigned choice, secs, max;
    long pin;
};
struct demands {
    struct demand by[SET_COUNT];
    /* all that apply */
    struct policy_rate rates[POLICY_MAX_RATES];
    size_t nrates;
    bool keys_ok;
};
void rules_judge(const struct rules *r, const struct policy_facts *f, struct demands *d);
/* Is A stricter than B? (Of two `cached` both parts are met by demand_meet.) */
bool demand_stricter(enum policy_setting s, const struct demand *a, const struct demand *b);
void demand_meet(enum policy_setting s, struct demand *a, const struct demand *b);

extern const char policy_tail[];

#endif
