/* Git commit and tag objects, as git hands them to gpg.program for signing (the object without its signature). */
#ifndef LATCHKEY_PROTO_GIT_OBJECT_H
#define LATCHKEY_PROTO_GIT_OBJECT_H

#include "proto/buf.h"

enum git_object_kind { GIT_OTHER, GIT_COMMIT, GIT_TAG };

struct git_object {
    enum git_object_kind kind;
    char *subject; /* first line of the message, valid UTF-8, control characters replaced by '?' */
    char *author;  /* "Name <mail>" of author or tagger, likewise cleaned */
    char *committer; /* commits only */
    char *tree;      /* commit: tree id, tag: object id (hex, 40 or 64 digits) */
    char *tag;       /* tag name */
    char *tag_type;  /* what the tag points at: "commit".. */
    size_t nparents;
    char *parent; /* first parent or NULL */
};

/* Fully recognises a commit (tree, parent*, author, committer, then optional headers as git writes them, blank line,
 * message) or a tag (object, type, tag, tagger, blank line, message). Anything else: GPG_ERR_BAD_DATA and kind
 * GIT_OTHER. Strings are owned; a text in an encoding other than UTF-8 and ISO-8859-1 has its name in front:
 * "[KOI8-R] ...". */
gpg_error_t git_object_parse(struct rd data, struct git_object *out);
void git_object_clear(struct git_object *o);

/* TEXT of N octets as one printable line for dialogs and logs: invalid UTF-8, control, bidirectional-override and
 * zero-width characters become '?', cut at MAX characters with "...". New string (gpgrt_free). */
char *text_clean(const char *text, size_t n, size_t max);

#endif
