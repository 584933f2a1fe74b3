/* SCD GETINFO, DEVINFO: what there is. */
#include "agent/hotplug.h"
#include "agent/scd.h"

#include <string.h>
#include <strings.h>
#include <unistd.h>

/* --- GETINFO ---------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t send_text(struct gpg_session *s, const char *text)
{
    return gpg_send(s, rd_of(text, strlen(text)), false);
}

static gpg_error_t send_number(struct gpg_session *s, unsigned long n)
{
    char text[24];

    snprintf(text, sizeof text, "%lu", n);
    return send_text(s, text);
}

static gpg_error_t info_version(struct gpg_session *s, char *args)
{
    (void)args;
    return send_text(s, GPG_COMPATIBLE_VERSION);
}

static gpg_error_t info_pid(struct gpg_session *s, char *args)
{
    (void)args;
    return send_number(s, (unsigned long)getpid());
}

/* There is no socket but the agent's own: who asks wants to talk to scdaemon itself. */
static gpg_error_t info_socket(struct gpg_session *s, char *args)
{
    (void)args;
    return scd_fail(s, GPG_ERR_NO_DATA, NULL);
}

static gpg_error_t info_connections(struct gpg_session *s, char *args)
{
    (void)args;
    return send_number(s, 1);
}

static gpg_error_t info_status(struct gpg_session *s, char *args)
{
    struct scd_card c = {0};
    gpg_error_t err = scd_card_open(s, &c);

    (void)args;
    scd_card_close(&c);
    return send_text(s, err == 0 ? "u" : "r");
}

static gpg_error_t info_reader_list(struct gpg_session *s, char *args)
{
    struct scd_card *cards = NULL;
    struct buf b = BUF_INIT;
    size_t n = 0;
    gpg_error_t err = scd_cards(s, &cards, &n);

    (void)args;
    for (size_t i = 0; err == 0 && i < n; i++)
        if (cards[i].info->reader != NULL)
            buf_printf(&b, "%s\n", cards[i].info->reader);
    if (err == 0)
        err = buf_err(&b);
    if (err == 0)
        err = b.len > 0 ? gpg_send(s, buf_rd(&b), false) : scd_fail(s, GPG_ERR_NO_DATA, NULL);
    scd_cards_free(cards, n);
    buf_free(&b);
    return err;
}

/* Admin commands are allowed: the policy says of each what it takes. */
static gpg_error_t info_deny_admin(struct gpg_session *s, char *args)
{
    (void)args;
    return scd_fail(s, GPG_ERR_GENERAL, NULL);
}

static gpg_error_t info_app_list(struct gpg_session *s, char *args)
{
    (void)args;
    return send_text(s, "openpgp:\n");
}

static gpg_error_t tell_cards(struct gpg_session *s, const char *after)
{
    struct scd_card *cards = NULL;
    size_t n = 0;
    gpg_error_t err = scd_cards(s, &cards, &n);

    for (size_t i = 0; err == 0 && i < n; i++)
        err = gpg_status(s, "SERIALNO", "%s%s", cards[i].info->aid, after);
    scd_cards_free(cards, n);
    return err;
}

static gpg_error_t info_card_list(struct gpg_session *s, char *args)
{
    (void)args;
    return tell_cards(s, "");
}

static gpg_error_t info_all_active_apps(struct gpg_session *s, char *args)
{
    (void)args;
    return tell_cards(s, " openpgp");
}

static gpg_error_t info_active_apps(struct gpg_session *s, char *args)
{
    struct scd_card c = {0};
    gpg_error_t err;

    (void)args;
    if (!s->scd->selected)
        return 0;
    err = scd_card_open(s, &c);
    if (err == 0)
        err = gpg_status(s, "SERIALNO", "%s%s", c.info->aid, s->scd->undefined ? "" : " openpgp");
    scd_card_close(&c);
    return err;
}

static gpg_error_t info_cmd_has_option(struct gpg_session *s, char *args)
{
    static const struct {
        const char *command, *option;
    } known[] = {{"SERIALNO", "all"}};
    char *option = scd_next_word(args);

    (void)scd_next_word(option);
    if (args[0] == '\0' || option[0] == '\0')
        return scd_fail(s, GPG_ERR_MISSING_VALUE, NULL);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].command, args) == 0 && strcmp(known[i].option, option) == 0)
            return 0;
    return scd_fail(s, GPG_ERR_FALSE, NULL);
}

static const struct {
    const char *what;
    gpg_error_t (*get)(struct gpg_session *s, char *args);
} infos[] = {{"version", info_version},
             {"pid", info_pid},
             {"socket_name", info_socket},
             {"connections", info_connections},
             {"status", info_status},
             {"reader_list", info_reader_list},
             {"deny_admin", info_deny_admin},
             {"app_list", info_app_list},
             {"card_list", info_card_list},
             {"active_apps", info_active_apps},
             {"all_active_apps", info_all_active_apps},
             {"cmd_has_option", info_cmd_has_option}};

static gpg_error_t cmd_getinfo(struct gpg_session *s, char *line)
{
    char *args = scd_next_word(line);

    for (size_t i = 0; i < sizeof infos / sizeof infos[0]; i++)
        if (strcmp(infos[i].what, line) == 0)
            return infos[i].get(s, args);
    return scd_fail(s, GPG_ERR_ASS_PARAMETER, "unknown value for WHAT");
}

/* --- DEVINFO ---------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t tell_devices(struct gpg_session *s)
{
    struct scd_card *cards = NULL;
    size_t n = 0;
    gpg_error_t err = scd_cards(s, &cards, &n);

    if (err == 0)
        err = gpg_status(s, "DEVINFO_START", "%s", "");
    for (size_t i = 0; err == 0 && i < n; i++)
        err = gpg_status(s, "DEVICE", "%s %s openpgp",
                         strcmp(cards[i].info->kind, "yubikey") == 0 ? "yubikey" : "generic",
                         cards[i].info->aid);
    if (err == 0)
        err = gpg_status(s, "DEVINFO_END", "%s", "");
    scd_cards_free(cards, n);
    return err;
}

/* DEVINFO [--watch]: with it, again at every change until the client hangs up. */
static gpg_error_t cmd_devinfo(struct gpg_session *s, char *line)
{
    struct wait w;
    int fd = -1;
    gpg_error_t err;

    if (!gpg_has_option(line, "--watch"))
        return tell_devices(s);
    err = wait_begin(s->a->waits, &w, s->origin.fd, 0);
    if (err != 0)
        return err;
    w.ignore_lock = true;
    err = hotplug_watch(s->a->hotplug, &fd);
    while (err == 0) {
        uint64_t changes;

        err = tell_devices(s);
        if (err == 0)
            err = wait_for(&w, fd, NULL);
        if (err == 0 && read(fd, &changes, sizeof changes) < 0)
            gpgrt_log_debug("hotplug event descriptor: %s\n",
                            gpg_strerror(gpg_error_from_syserror()));
    }
    if (fd >= 0)
        hotplug_unwatch(s->a->hotplug, fd);
    wait_end(&w);
    return gpg_map_error(s, err, true);
}

const struct scd_command scd_info_commands[] = {
    {"GETINFO", cmd_getinfo}, {"DEVINFO", cmd_devinfo}, {0}};
