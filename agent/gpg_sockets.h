/* Where gpg looks for its agent: GnuPG's home directory and the sockets that belong to it. */
#ifndef LATCHKEY_AGENT_GPG_SOCKETS_H
#define LATCHKEY_AGENT_GPG_SOCKETS_H

#include <gpg-error.h>
#include <stdbool.h>
#include <sys/types.h>

/* PATH made absolute as gpg does: ~ and the working directory, links and dots left as they are, no slash at its end. New string, NULL: no
 * memory. */
char *gpg_absolute(const char *path);
/* DIR (NULL: $GNUPGHOME, or ~/.gnupg), absolute, without a slash at its end; *STANDARD: it is ~/.gnupg. New string. */
gpg_error_t gpg_home(const char *dir, char **home, bool *standard);
/* The directory of HOME's sockets, as gpgconf --list-dirs socketdir tells it: below RUN (such as /run/user/UID; NULL: the first
 * that is there) if that can be, else HOME itself. MAKE: makes what is missing. New string. */
gpg_error_t gpg_socket_dir(const char *run, const char *home, bool standard, bool make, char **dir);
/* "d." and the 24 characters that stand for the path HOME. New string, NULL: no memory. */
char *gpg_socket_subdir(const char *home);
/* Follows a redirection: *PATH (steals the old string) becomes what the regular file there names, if it is one
 * ("%Assuan%", "socket=.." with ${VAR}). GPG_ERR_ASS_INV_VALUE for a file that is none. */
gpg_error_t gpg_socket_redirect(char **path);

#endif
