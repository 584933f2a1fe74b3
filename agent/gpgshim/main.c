/* latchkey-gpg: `git config gpg.program latchkey-gpg`. Makes detached signatures through the agent; everything else is the
 * real gpg's. */
#include "agent/gpgshim/files.h"
#include "agent/gpgshim/options.h"
#include "agent/gpgshim/realgpg.h"
#include "agent/gpgshim/sign.h"

#include <gcrypt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: latchkey-gpg [GPG-OPTIONS] [FILE]\n"
    "\n"
    "Detached signatures (-b, --detach-sign; with -a, -u KEY, -o FILE, --status-fd N, --textmode)\n"
    "are made by latchkey-agent, with the key on the token, as its policy says.\n"
    "KEY is an OpenPGP fingerprint or key id, a keygrip or TOKEN/SLOT (latchkey keys shows them).\n"
    "Every other call, and gpg --version, is handed to the real gpg unchanged.\n"
    "\n"
    "  git config --global gpg.program latchkey-gpg\n"
    "  git config --global user.signingkey FINGERPRINT\n"
    "\n"
    "LATCHKEY_GPG             the real gpg (else the first one on PATH)\n"
    "LATCHKEY_GPG_FALLBACK=1  have it sign with keys that no token has\n";

int main(int argc, char **argv)
{
    const char *wish = getenv("LATCHKEY_GPG_FALLBACK");
    struct buf object = BUF_INIT;
    struct shim_options o;
    enum shim_result result;
    int fd, status;

    gcry_check_version(NULL);
    gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    if (shim_options_parse(argc, argv, &o) != 0) {
        fprintf(stderr, "latchkey-gpg: %s\n", gpg_strerror(gpg_error(GPG_ERR_ENOMEM)));
        return SHIM_FAILED;
    }
    if (o.help) {
        fputs(usage, stdout);
        shim_options_clear(&o);
        return fflush(stdout) == 0 ? 0 : SHIM_FAILED;
    }
    if (!o.native) {
        shim_options_clear(&o);
        return realgpg_exec(argv, -1, rd_of(NULL, 0));
    }
    /* an agent that goes, or a reader of the status, is an error to tell, not our end */
    (void)signal(SIGPIPE, SIG_IGN);
    result = shim_sign(&o, wish != NULL && strcmp(wish, "1") == 0, &object);
    fd = input_fd(&o);
    shim_options_clear(&o);
    status = (int)result;
    if (result == SHIM_FALL_BACK) {
        (void)signal(SIGPIPE, SIG_DFL);
        status = realgpg_exec(argv, fd, buf_rd(&object));
    }
    buf_free(&object);
    return status;
}
