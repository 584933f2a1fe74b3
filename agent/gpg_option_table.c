#include "agent/gpg_option_table.h"

#include <stdio.h>
#include <string.h>

/* gpgrt's flags in --dump-option-table, which gpgconf reads. */
enum {
    F_NONE = 0,
    F_INT = 1,
    F_STR = 2,
    F_ULONG = 4,
    F_OPT = 8,
    F_OCT = 16,
    F_CMD = 128,
    F_CONF = 256,
    F_HEAD = 512
};

#define C(field) offsetof(struct gpg_config, field), false
#define O(field) offsetof(struct gpg_options, field), true
#define NO       0, false

const struct gpg_option gpg_option_table[] = {
    {"gpgconf-list", 501, F_CMD, COMMAND, NO, 0, GPG_LIST, "@"},
    {"gpgconf-test", 502, F_CMD, COMMAND, NO, 0, GPG_TEST, "@"},
    {"use-standard-socket-p", 503, F_CMD, COMMAND, NO, 0, GPG_SOCKET_P, "@"},
    {"daemon", 518, F_NONE, COMMAND, NO, 0, GPG_DAEMON, "run in daemon mode (background)"},
    {"server", 517, F_NONE, COMMAND, NO, 0, GPG_SERVER, "run in server mode (foreground)"},
    {"supervised", 519, F_NONE, COMMAND, NO, 0, GPG_SUPERVISED, "run in supervised mode"},
    {"no-detach", 513, F_NONE, FLAG, O(no_detach), true, 0, "do not detach from the console"},
    {"sh", 's', F_NONE, FLAG, O(sh), true, 0, "sh-style command output"},
    {"csh", 'c', F_NONE, FLAG, O(csh), true, 0, "csh-style command output"},
    {"steal-socket", 546, F_NONE, FLAG, O(steal_socket), true, 0, "@"},
    {"display", 526, F_STR, TEXT, O(display), 0, 0, "@"},
    {"ttyname", 527, F_STR, TEXT, O(ttyname), 0, 0, "@"},
    {"ttytype", 528, F_STR, TEXT, O(ttytype), 0, 0, "@"},
    {"lc-ctype", 529, F_STR, TEXT, O(lc_ctype), 0, 0, "@"},
    {"lc-messages", 530, F_STR, TEXT, O(lc_messages), 0, 0, "@"},
    {"xauthority", 531, F_STR, TEXT, O(xauthority), 0, 0, "@"},
    {"homedir", 512, F_STR, TEXT, O(home_arg), 0, 0, "@"},
    {"options", 504, F_STR | F_CONF, TEXT, O(conf_arg), 0, 0, "|FILE|read options from FILE"},
    {"no-options", 511, F_CONF, FLAG, O(no_options), true, 0, "@"},
    {"Monitor", 1, F_HEAD, HEADING, NO, 0, 0, "Options controlling the diagnostic output"},
    {"verbose", 'v', F_NONE, FLAG, O(verbose), true, 0, "verbose"},
    {"quiet", 'q', F_NONE, FLAG, O(quiet), true, 0, "be somewhat more quiet"},
    {"debug", 505, F_STR, IGNORED_TEXT, NO, 0, 0, "@"},
    {"debug-all", 506, F_NONE, IGNORED, NO, 0, 0, "@"},
    {"debug-level", 507, F_STR, IGNORED_TEXT, NO, 0, 0, "@"},
    {"debug-wait", 508, F_INT, IGNORED_TEXT, NO, 0, 0, "@"},
    {"debug-quick-random", 509, F_NONE, IGNORED, NO, 0, 0, "@"},
    {"debug-pinentry", 510, F_NONE, IGNORED, NO, 0, 0, "@"},
    {"log-file", 516, F_STR, PATH, O(log_file), 0, 0, "|FILE|write server mode logs to FILE"},
    {"Configuration", 1, F_HEAD, HEADING, NO, 0, 0, "Options controlling the configuration"},
    {"disable-scdaemon", 567, F_NONE, FLAG, C(disable_scdaemon), true, 0,
     "do not use the SCdaemon"},
    {"scdaemon-program", 532, F_STR, IGNORED_TEXT, NO, 0, 0,
     "|PGM|use PGM as the SCdaemon program"},
    {"disable-check-own-socket", 568, F_NONE, FLAG, O(check_own_socket), false, 0, "@"},
    {"extra-socket", 549, F_STR, PATH, C(extra_socket), 0, 0,
     "|NAME|accept some commands via NAME"},
    {"browser-socket", 550, F_STR, PATH, C(browser_socket), 0, 0, "@"},
    {"keep-tty", 562, F_NONE, FLAG, C(keep_tty), true, 0, "ignore requests to change the TTY"},
    {"keep-display", 563, F_NONE, FLAG, C(keep_display), true, 0,
     "ignore requests to change the X display"},
    {"enable-ssh-support", 564, F_NONE, FLAG, C(ssh_support), true, 0, "enable ssh support"},
    {"ssh-fingerprint-digest", 565, F_STR, TEXT, C(ssh_digest), 0, 0,
     "|ALGO|use ALGO to show ssh fingerprints"},
    {"enable-putty-support", 566, F_NONE, IGNORED, NO, 0, 0, "@"},
    {"disable-extended-key-format", 544, F_NONE, IGNORED, NO, 0, 0, "@"},
    {"enable-extended-key-format", 545, F_NONE, IGNORED, NO, 0, 0, "@"},
    {"listen-backlog", 572, F_INT, IGNORED_TEXT, NO, 0, 0, "@"},
    {"auto-expand-secmem", 571, F_ULONG | F_OPT | F_OCT, IGNORED_OPTIONAL, NO, 0, 0, "@"},
    {"faked-system-time", 551, F_STR, IGNORED_TEXT, NO, 0, 0, "@"},
    {"Security", 1, F_HEAD, HEADING, NO, 0, 0, "Options controlling the security"},
    {"default-cache-ttl", 533, F_ULONG, UNSIGNED, C(default_ttl), 0, 0,
     "|N|expire cached PINs after N seconds"},
    {"default-cache-ttl-ssh", 534, F_ULONG, UNSIGNED, C(default_ttl_ssh), 0, 0,
     "|N|expire SSH keys after N seconds"},
    {"max-cache-ttl", 535, F_ULONG, UNSIGNED, C(max_ttl), 0, 0,
     "|N|set maximum PIN cache lifetime to N seconds"},
    {"max-cache-ttl-ssh", 536, F_ULONG, UNSIGNED, C(max_ttl_ssh), 0, 0,
     "|N|set maximum SSH key lifetime to N seconds"},
    {"ignore-cache-for-signing", 552, F_NONE, FLAG, C(ignore_cache_for_signing), true, 0,
     "do not use the PIN cache when signing"},
    {"no-allow-external-cache", 560, F_NONE, FLAG, C(allow_external_cache), false, 0,
     "disallow the use of an external password cache"},
    {"no-allow-mark-trusted", 554, F_NONE, FLAG, C(allow_mark_trusted), false, 0,
     "disallow clients to mark keys as \"trusted\""},
    {"allow-mark-trusted", 553, F_NONE, FLAG, C(allow_mark_trusted), true, 0, "@"},
    {"no-user-trustlist", 555, F_NONE, FLAG, C(no_user_trustlist), true, 0, "@"},
    {"sys-trustlist-name", 556, F_STR, PATH, C(sys_trustlist), 0, 0, "@"},
    {"allow-preset-passphrase", 557, F_NONE, FLAG, C(allow_preset), true, 0,
     "allow presetting passphrase"},
    {"s2k-count", 569, F_ULONG, UNSIGNED, C(s2k_count), 0, 0, "@"},
    {"s2k-calibration", 570, F_ULONG, IGNORED_TEXT, NO, 0, 0, "@"},
    {"Passphrase policy", 1, F_HEAD, HEADING, NO, 0, 0, "Options enforcing a passphrase policy"},
    {"enforce-passphrase-constraints", 537, F_NONE, FLAG, C(enforce_constraints), true, 0,
     "do not allow bypassing the passphrase policy"},
    {"min-passphrase-len", 538, F_ULONG, UNSIGNED, C(min_passphrase_len), 0, 0,
     "|N|set minimal required length for new passphrases to N"},
    {"min-passphrase-nonalpha", 539, F_ULONG, UNSIGNED, C(min_passphrase_nonalpha), 0, 0,
     "|N|require at least N non-alpha characters for a new passphrase"},
    {"check-passphrase-pattern", 540, F_STR, PATH, C(check_pattern), 0, 0,
     "|FILE|check new passphrases against pattern in FILE"},
    {"check-sym-passphrase-pattern", 541, F_STR, PATH, C(check_sym_pattern), 0, 0, "@"},
    {"max-passphrase-days", 542, F_ULONG, UNSIGNED, C(max_passphrase_days), 0, 0,
     "|N|expire the passphrase after N days"},
    {"enable-passphrase-history", 543, F_NONE, IGNORED, NO, 0, 0,
     "do not allow the reuse of old passphrases"},
    {"Pinentry", 1, F_HEAD, HEADING, NO, 0, 0, "Options controlling the PIN-Entry"},
    {"batch", 520, F_NONE, FLAG, C(batch), true, 0, "never use the PIN-entry"},
    {"no-allow-loopback-pinentry", 559, F_NONE, FLAG, C(allow_loopback), false, 0,
     "disallow caller to override the pinentry"},
    {"allow-loopback-pinentry", 558, F_NONE, FLAG, C(allow_loopback), true, 0, "@"},
    {"grab", 514, F_NONE, FLAG, C(grab), true, 0, "let PIN-Entry grab keyboard and mouse"},
    {"no-grab", 515, F_NONE, FLAG, C(grab), false, 0, "@"},
    {"pinentry-program", 521, F_STR, PATH, C(pinentry_program), 0, 0,
     "|PGM|use PGM as the PIN-Entry program"},
    {"pinentry-touch-file", 522, F_STR, PATH, C(touch_file), 0, 0, "@"},
    {"pinentry-invisible-char", 523, F_STR, TEXT, C(invisible_char), 0, 0, "@"},
    {"pinentry-timeout", 524, F_ULONG, UNSIGNED, C(pinentry_timeout), 0, 0,
     "|N|set the Pinentry timeout to N seconds"},
    {"pinentry-formatted-passphrase", 525, F_NONE, FLAG, C(formatted_passphrase), true, 0, "@"},
    {"allow-emacs-pinentry", 561, F_NONE, FLAG, C(allow_emacs_pinentry), true, 0,
     "allow passphrase to be prompted through Emacs"},
    {"write-env-file", 573, F_STR | F_OPT, IGNORED_OPTIONAL, NO, 0, 0, "@"},
    {"use-standard-socket", 547, F_NONE, IGNORED, NO, 0, 0, "@"},
    {"no-use-standard-socket", 548, F_NONE, IGNORED, NO, 0, 0, "@"},
    /* 2.4's */
    {"tpm2daemon-program", 0, F_STR, IGNORED_TEXT, NO, 0, 0, NULL},
    {"inactivity-timeout", 0, F_INT, IGNORED_TEXT, NO, 0, 0, NULL},
    {"enable-win32-openssh-support", 0, F_NONE, IGNORED, NO, 0, 0, NULL},
    {"help", (short)0x8000, F_NONE, COMMAND, NO, 0, GPG_HELP, "@"},
    {"version", (short)0x8001, F_NONE, COMMAND, NO, 0, GPG_VERSION, "@"},
    {"warranty", (short)0x8002, F_NONE, COMMAND, NO, 0, GPG_VERSION, "@"},
    {"dump-option-table", (short)0x8004, F_NONE, COMMAND, NO, 0, GPG_DUMP_TABLE, "@"},
    {"dump-options", (short)0x8003, F_NONE, COMMAND, NO, 0, GPG_DUMP, "@"},
};
const size_t gpg_option_count = sizeof gpg_option_table / sizeof gpg_option_table[0];

/* --- what gpgconf and people read -------------------------------------------------------------------------------------- */

/* gpg-agent's defaults, which gpgconf shows; whatever the file says, gpgconf reads that itself. */
void gpg_options_print_list(void)
{
    fputs("debug-level:16:\"none:\n"
          "default-cache-ttl:16:600:\n"
          "default-cache-ttl-ssh:16:1800:\n"
          "max-cache-ttl:16:7200:\n"
          "max-cache-ttl-ssh:16:7200:\n"
          "enforce-passphrase-constraints:0:\n"
          "min-passphrase-len:16:8:\n"
          "min-passphrase-nonalpha:16:1:\n"
          "max-passphrase-days:16:0:\n"
          "ssh-fingerprint-digest:16:\"md5:\n",
          stdout);
}

void gpg_options_print_table(void)
{
    for (size_t i = 0; i < gpg_option_count; i++) {
        const struct gpg_option *r = &gpg_option_table[i];

        if (r->help != NULL)
            printf("%s:%u:%u:%s:\n", r->name, (unsigned)(unsigned short)r->number,
                   (unsigned)r->flags, r->help);
    }
}

void gpg_options_print_names(void)
{
    for (size_t i = 0; i < gpg_option_count; i++)
        if (gpg_option_table[i].kind != HEADING && gpg_option_table[i].help != NULL)
            printf("--%s\n", gpg_option_table[i].name);
}

/* "|ARG|what it does": the argument's name, and the text behind it. */
static const char *split_help(const char *help, int *narg, const char **arg)
{
    *arg = "";
    *narg = 0;
    if (help[0] != '|')
        return help;
    *arg = help + 1;
    *narg = (int)strcspn(*arg, "|");
    return *arg + *narg + 1;
}

void gpg_options_usage(void)
{
    puts("Syntax: gpg-agent [options] [command [args]]\n"
         "Secret key management for GnuPG, by latchkey-agent(1)");
    for (size_t i = 0; i < gpg_option_count; i++) {
        const struct gpg_option *r = &gpg_option_table[i];
        const char *arg, *help;
        char text[64];
        int narg;

        if (r->kind == HEADING)
            printf("\n%s:\n", r->help);
        if (r->kind == HEADING || r->help == NULL || r->help[0] == '@')
            continue;
        help = split_help(r->help, &narg, &arg);
        snprintf(text, sizeof text, "%s%s%.*s", r->name, narg > 0 ? " " : "", narg, arg);
        if (r->number > ' ' && r->number < 127)
            printf(" -%c, --%-34s %s\n", (char)r->number, text, help);
        else
            printf("     --%-34s %s\n", text, help);
    }
}
