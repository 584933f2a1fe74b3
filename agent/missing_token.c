#include "agent/missing_token.h"

#include "agent/hotplug.h"

#include <unistd.h>

gpg_error_t missing_token_wait(struct agent *a, const struct origin *from,
                               const struct prompt_text *text, unsigned seconds,
                               gpg_error_t (*come)(void *arg), void *arg)
{
    struct wait w;
    gpg_error_t err = wait_begin(a->waits, &w, from->fd, seconds);
    int fd = -1;

    if (err != 0)
        return err;
    w.ignore_lock = true;
    err = hotplug_watch(a->hotplug, &fd);
    while (err == 0) {
        uint64_t n;

        err = come(arg);
        if (gpg_err_code(err) != GPG_ERR_NO_SECKEY)
            break;
        err = prompt_until(a->prompt, &w, from->who, text, fd);
        if (err == 0 && read(fd, &n, sizeof n) < 0)
            gpgrt_log_debug("hotplug event descriptor: %s\n",
                            gpg_strerror(gpg_error_from_syserror()));
    }
    if (fd >= 0)
        hotplug_unwatch(a->hotplug, fd);
    wait_end(&w);
    return err;
}
