/* SCD: what scdaemon would be asked, and which card a connection talks to. */
#include "agent/hotplug.h"
#include "agent/scd.h"

#include <string.h>
#include <strings.h>

static const struct scd_command *const tables[] = {
    scd_session_commands, scd_info_commands,  scd_learn_commands, scd_attr_commands,
    scd_key_commands,     scd_admin_commands, scd_apdu_commands};
#define TABLES (sizeof tables / sizeof tables[0])

/* --- a connection's state --------------------------------------------------------------------------------------------------------- */

static void forget_selection(struct scd *d)
{
    d->selected = d->undefined = false;
    gpgrt_free(d->aid);
    d->aid = NULL;
    buf_free(&d->data);
    scd_factory_end(&d->factory);
}

void gpg_scd_free(struct gpg_session *s)
{
    if (s->a->gpg != NULL)
        (void)scd_lock_give(gpg_cards_lock(s->a->gpg), s->origin.id);
    if (s->scd == NULL)
        return;
    forget_selection(s->scd);
    gpgrt_free(s->scd->serial);
    gpgrt_free(s->scd);
    s->scd = NULL;
}

static gpg_error_t select_card(struct scd *d, const struct scd_card *c)
{
    char *serial = gpgrt_strdup(c->info->aid);

    if (serial == NULL)
        return gpg_error_from_syserror();
    gpgrt_free(d->serial);
    d->serial = serial;
    d->selected = true;
    return 0;
}

/* --- SERIALNO, SWITCHCARD, SWITCHAPP ---------------------------------------------------------------------------------------------- */

/* Which of our applications APP names: OpenPGP (or none in particular), or none at all. */
static gpg_error_t want_app(struct gpg_session *s, const char *app, bool *undefined)
{
    *undefined = strcasecmp(app, "undefined") == 0;
    if (app[0] == '\0' || *undefined || strcasecmp(app, "openpgp") == 0)
        return 0;
    return scd_fail(
        s, s->scd->selected && !s->scd->undefined ? GPG_ERR_CONFLICT : GPG_ERR_NOT_SUPPORTED, NULL);
}

/* SERIALNO [--demand=SN] [--all] [APP]. No application is selected of the card that the connection has, and of no other: gpg's
 * factory reset must not go astray. */
static gpg_error_t cmd_serialno(struct gpg_session *s, char *line)
{
    const char *demand = gpg_option_value(line, "--demand");
    char *app = gpg_skip_options(line), *serial = NULL;
    struct scd_card c = {0};
    bool undefined;
    gpg_error_t err;

    (void)scd_next_word(app);
    if (scd_lock_is_others(gpg_cards_lock(s->a->gpg), s->origin.id))
        return scd_fail(s, GPG_ERR_LOCKED, NULL);
    if (demand != NULL && demand[strspn(demand, " \t")] == '\0')
        return scd_fail(s, GPG_ERR_ASS_PARAMETER, "missing value for option");
    err = want_app(s, app, &undefined);
    if (err != 0)
        return err;
    if (demand != NULL || (undefined && s->scd->serial != NULL)) {
        serial = demand != NULL ? gpgrt_bsprintf("%.*s", (int)strcspn(demand, " \t"), demand)
                                : gpgrt_strdup(s->scd->serial);
        if (serial == NULL)
            return gpg_error_from_syserror();
    } else if (app[0] == '\0') {
        gpgrt_free(s->scd->serial);
        s->scd->serial = NULL;
    }
    scd_factory_end(&s->scd->factory);
    err = scd_card_find(s, serial, &c);
    gpgrt_free(serial);
    if (err == 0)
        err = select_card(s->scd, &c);
    if (err != 0)
        goto out;
    s->scd->undefined = undefined;
    gpgrt_free(s->scd->aid);
    s->scd->aid = NULL;
    if (undefined && scd_lock_is_own(gpg_cards_lock(s->a->gpg), s->origin.id))
        scd_factory_begin(&s->scd->factory, c.info->tries[0], c.info->tries[2]);
    err = gpg_status(s, "SERIALNO", "%s", undefined ? "FF7F00" : c.info->aid);
out:
    scd_card_close(&c);
    return err;
}

/* SWITCHCARD [SN] */
static gpg_error_t cmd_switchcard(struct gpg_session *s, char *line)
{
    char *serial = gpg_skip_options(line);
    struct scd_card c = {0};
    gpg_error_t err = scd_card_open(s, &c);

    (void)scd_next_word(serial);
    if (err == 0 && serial[0] != '\0') {
        scd_card_close(&c);
        err = scd_card_find(s, serial, &c);
        if (gpg_err_code(err) == GPG_ERR_ENODEV)
            err = scd_fail(s, GPG_ERR_NOT_FOUND, NULL);
    }
    if (err == 0)
        err = select_card(s->scd, &c);
    if (err == 0)
        err = gpg_status(s, "SERIALNO", "%s", c.info->aid);
    scd_card_close(&c);
    return err;
}

/* SWITCHAPP [APP] */
static gpg_error_t cmd_switchapp(struct gpg_session *s, char *line)
{
    char *app = gpg_skip_options(line);
    struct scd_card c = {0};
    gpg_error_t err = scd_card_open(s, &c);

    (void)scd_next_word(app);
    if (err == 0 && app[0] != '\0' && strcasecmp(app, "openpgp") != 0)
        err = scd_fail(s, GPG_ERR_NOT_FOUND, NULL);
    if (err == 0)
        err = select_card(s->scd, &c);
    if (err == 0) {
        s->scd->undefined = false;
        err = gpg_status(s, "SERIALNO", "%s openpgp", c.info->aid);
    }
    scd_card_close(&c);
    return err;
}

/* --- LOCK and what ends a selection ----------------------------------------------------------------------------------------------- */

static gpg_error_t cmd_lock(struct gpg_session *s, char *line)
{
    struct scd_lock *l = gpg_cards_lock(s->a->gpg);
    struct wait w;
    gpg_error_t err;

    if (!gpg_has_option(line, "--wait")) {
        err = scd_lock_take(l, s->origin.id, NULL);
        return err != 0 ? scd_fail(s, gpg_err_code(err), NULL) : 0;
    }
    err = wait_begin(s->a->waits, &w, s->origin.fd, 0);
    if (err != 0)
        return err;
    w.ignore_lock = true;
    err = scd_lock_take(l, s->origin.id, &w);
    wait_end(&w);
    return gpg_map_error(s, err, true);
}

static gpg_error_t cmd_unlock(struct gpg_session *s, char *line)
{
    gpg_error_t err = scd_lock_give(gpg_cards_lock(s->a->gpg), s->origin.id);

    (void)line;
    return err != 0 ? scd_fail(s, gpg_err_code(err), NULL) : 0;
}

/* RESET [--keep-lock]. Who keeps the lock keeps the card that it is about. */
static gpg_error_t cmd_reset(struct gpg_session *s, char *line)
{
    forget_selection(s->scd);
    if (gpg_has_option(line, "--keep-lock"))
        return 0;
    gpgrt_free(s->scd->serial);
    s->scd->serial = NULL;
    (void)scd_lock_give(gpg_cards_lock(s->a->gpg), s->origin.id);
    return 0;
}

static gpg_error_t cmd_restart(struct gpg_session *s, char *line)
{
    (void)line;
    return cmd_reset(s, (char *)(uintptr_t) "");
}

/* Between operations nothing holds a card. */
static gpg_error_t cmd_disconnect(struct gpg_session *s, char *line)
{
    (void)line;
    return s->scd->selected ? 0 : scd_fail(s, GPG_ERR_UNSUPPORTED_OPERATION, NULL);
}

/* KILLSCD: gpgconf --kill scdaemon; people do that for cards to forget PINs. */
static gpg_error_t cmd_killscd(struct gpg_session *s, char *line)
{
    struct scd_card *cards = NULL;
    size_t n = 0;
    gpg_error_t err = scd_cards(s, &cards, &n);

    (void)line;
    for (size_t i = 0; err == 0 && i < n; i++)
        token_forget(cards[i].token);
    scd_cards_free(cards, n);
    return cmd_reset(s, (char *)(uintptr_t) "");
}

static gpg_error_t cmd_nothing(struct gpg_session *s, char *line)
{
    (void)s;
    (void)line;
    return 0;
}

static gpg_error_t cmd_help(struct gpg_session *s, char *line)
{
    gpg_error_t err = 0;

    (void)line;
    for (size_t t = 0; t < TABLES; t++)
        for (const struct scd_command *c = tables[t]; c->name != NULL && err == 0; c++) {
            char text[64];

            snprintf(text, sizeof text, "# %s", c->name);
            err = assuan_write_line(s->ctx, text);
        }
    return err;
}

const struct scd_command scd_session_commands[] = {{"SERIALNO", cmd_serialno},
                                                   {"SWITCHCARD", cmd_switchcard},
                                                   {"SWITCHAPP", cmd_switchapp},
                                                   {"LOCK", cmd_lock},
                                                   {"UNLOCK", cmd_unlock},
                                                   {"RESET", cmd_reset},
                                                   {"RESTART", cmd_restart},
                                                   {"DISCONNECT", cmd_disconnect},
                                                   {"KILLSCD", cmd_killscd},
                                                   {"OPTION", cmd_nothing},
                                                   {"NOP", cmd_nothing},
                                                   {"HELP", cmd_help},
                                                   {0}};

/* --- dispatch --------------------------------------------------------------------------------------------------------------------- */

/* What gpg-agent 2.4 lets a remote gpg have: which keys a card offers, no more. */
static bool restricted_ok(const char *name, const char *args)
{
    if (strcasecmp(name, "SERIALNO") == 0)
        return true;
    if (strcasecmp(name, "GETINFO") == 0)
        return strcmp(args, "version") == 0;
    if (strcasecmp(name, "GETATTR") == 0)
        return strcmp(args, "KEY-FPR") == 0;
    return strcasecmp(name, "KEYINFO") == 0 && strcmp(args, "--list=encr") == 0;
}

static const struct scd_command *find(const char *name)
{
    for (size_t t = 0; t < TABLES; t++)
        for (const struct scd_command *c = tables[t]; c->name != NULL; c++)
            if (strcasecmp(c->name, name) == 0)
                return c;
    return NULL;
}

/* What is asked of the client in between overwrites Assuan's line: the command gets a copy. */
static gpg_error_t cmd_scd(struct gpg_session *s, char *line)
{
    const struct scd_command *c;
    struct scd *state;
    char *copy, *args;
    gpg_error_t err = scd_state(s, &state);

    if (err != 0)
        return err;
    copy = gpgrt_strdup(line);
    if (copy == NULL)
        return gpg_error_from_syserror();
    args = scd_next_word(copy);
    c = find(copy);
    if (s->level != GPG_FULL && !restricted_ok(copy, args))
        err = gpg_fail(s, GPG_ERR_FORBIDDEN, NULL);
    else if (s->conf->disable_scdaemon)
        err = scd_allowed(s);
    else
        err = c != NULL ? c->run(s, args) : scd_fail(s, GPG_ERR_ASS_UNKNOWN_CMD, NULL);
    explicit_bzero(copy, strlen(copy));
    gpgrt_free(copy);
    return err;
}

const struct gpg_command gpg_scd_commands[] = {
    {"SCD", cmd_scd, true,
     "SCD <command>\n\nWhat scdaemon would be asked: SCD HELP lists the commands."},
    {0},
};
