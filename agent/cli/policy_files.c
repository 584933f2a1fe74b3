#include "agent/cli/policy_files.h"

#include "agent/cli/cli.h"
#include "agent/paths.h"

#include <string.h>
#include <unistd.h>

gpg_error_t policy_files_load(const char *file, struct policy_set **out)
{
    char *home = path_home(), *admin = path_sysconfig("policy.conf"),
         *dir = path_sysconfig("policy.d"), *user = path_config("policy.conf");
    struct policy_paths paths = {.admin_file = file == NULL ? admin : NULL,
                                 .admin_dir = file == NULL ? dir : NULL,
                                 .user_file = file == NULL ? user : file,
                                 .home = home,
                                 .uid = getuid()};
    struct policy_errors errors = {0};
    gpg_error_t err = policy_load(&paths, out, &errors);

    for (size_t i = 0; i < errors.n; i++)
        cli_put_text(stderr, errors.text[i], strlen(errors.text[i]));
    if (err != 0 && errors.n == 0)
        cli_fail(file != NULL ? file : "policy", gpg_strerror(err));
    policy_errors_free(&errors);
    gpgrt_free(home);
    gpgrt_free(admin);
    gpgrt_free(dir);
    gpgrt_free(user);
    return err;
}
