/* latchkey token piv ...: each command is one or two verbs of the token's (proto/token_protocol.h); PINs are asked for by dialogs. */
#include "agent/cli/token.h"
#include "proto/key.h"
#include "proto/token_protocol.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_KEY_FILE 65536u

/* Options, all of them; a command takes some. */
struct wanted {
    const char *token, *algorithm, *pin, *touch, *name, *days;
    bool force, no_certificate;
};

static int parse(const struct command *c, int argc, char **argv, const struct option *options,
                 struct wanted *w)
{
    int opt, status;

    *w = (struct wanted){0};
    while ((opt = cli_getopt(c, argc, argv, options, &status)) != -1) {
        switch (opt) {
        case 't':
            w->token = optarg;
            break;
        case 'a':
            w->algorithm = optarg;
            break;
        case 'p':
            w->pin = optarg;
            break;
        case 'T':
            w->touch = optarg;
            break;
        case 'n':
            w->name = optarg;
            break;
        case 'd':
            w->days = optarg;
            break;
        case 'f':
            w->force = true;
            break;
        case 'N':
            w->no_certificate = true;
            break;
        default:
            return status;
        }
    }
    return -1;
}

/* "9a", "9A" or "piv-9a" as the key's id; false: it is no slot. */
static bool slot_id(const char *word, char id[8])
{
    static const char *const names[] = {"9a", "9c", "9d", "9e"};
    char *end;
    long n;

    if (strncasecmp(word, "piv-", 4) == 0)
        word += 4;
    if (strlen(word) != 2)
        return false;
    snprintf(id, 8, "piv-%c%c", tolower((unsigned char)word[0]), tolower((unsigned char)word[1]));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], id + 4) == 0)
            return true;
    n = strtol(word, &end, 16);
    return *end == '\0' && n >= 0x82 && n <= 0x95;
}

/* Is VALUE (may be NULL) one of WORDS? */
static bool is_one_of(const char *value, const char *const *words)
{
    for (; value != NULL && *words != NULL; words++)
        if (strcmp(*words, value) == 0)
            return true;
    return value == NULL;
}

static int check_policies(const struct command *c, const struct wanted *w)
{
    static const char *const pins[] = {"never", "once", "always", NULL}, *const touches[] = {
                                                                             "never", "always",
                                                                             "cached", NULL};

    if (!is_one_of(w->pin, pins))
        return cli_mistake(c, "a PIN policy is never, once or always, not", w->pin);
    if (!is_one_of(w->touch, touches))
        return cli_mistake(c, "a touch policy is never, always or cached, not", w->touch);
    return -1;
}

static void put(struct buf *b, const char *name, const char *value)
{
    if (value != NULL)
        field_put(b, name, value);
}

/* One verb; the exit status. */
static int call(const struct command *c, const struct wanted *w, const char *verb,
                struct buf *fields, const struct rd *value, struct buf *reply,
                void (*tell)(void *arg, const char *line), void *arg)
{
    int status;
    char *token = cli_token_name(c, w->token, "piv", &status);
    gpg_error_t err;

    if (token == NULL)
        return status;
    err = cli_token_call(c, token, verb, fields, value, reply, tell, arg);
    gpgrt_free(token);
    return err == 0                                ? EXIT_OK
           : gpg_err_code(err) == GPG_ERR_NO_AGENT ? EXIT_NO_AGENT
                                                   : EXIT_NEGATIVE;
}

#define TOKEN_OPTION                          \
    {                                         \
        "token", required_argument, NULL, 't' \
    }
#define ENDS                          \
    {"help", no_argument, NULL, 'h'}, \
    {                                 \
        NULL, 0, NULL, 0              \
    }
#define TOKEN_HELP "  -t, --token TOKEN       which one, where several have PIV\n"

static const struct option only_token[] = {TOKEN_OPTION, ENDS};

/* --- status --------------------------------------------------------------------------------------- */

static void put_field(const char *line, const char *name, const char *before, const char *after)
{
    char *value = NULL;

    if (field_get(line, name, &value) == 0 && value != NULL) {
        fputs(before, stdout);
        cli_put(stdout, value);
        fputs(after, stdout);
    }
    gpgrt_free(value);
}

static void put_secret(const char *line, const char *name, const char *label)
{
    char tries[32], fallback[32];
    long left = -1, is_default = 0;

    snprintf(tries, sizeof tries, "%s-tries", name);
    snprintf(fallback, sizeof fallback, "%s-default", name);
    (void)field_get_int(line, tries, -1, &left);
    (void)field_get_int(line, fallback, 0, &is_default);
    if (left < 0 && is_default != 1)
        return;
    printf("%-11s", label);
    if (left >= 0)
        printf("%s%ld %s left%s", left <= 1 ? cli_colour(RED) : "", left,
               left == 1 ? "try" : "tries", left <= 1 ? cli_colour(PLAIN) : "");
    if (is_default == 1)
        printf("%s%sstill the default one%s", left >= 0 ? ", " : "", cli_colour(YELLOW),
               cli_colour(PLAIN));
    putchar('\n');
}

static void put_card(const char *line)
{
    long proves = 0;

    put_field(line, "version", "firmware   ", "\n");
    put_field(line, "serial", "serial     ", "\n");
    put_field(line, "guid", "GUID       ", "\n");
    put_secret(line, "pin", "PIN");
    put_secret(line, "puk", "PUK");
    put_secret(line, "management", "management");
    (void)field_get_int(line, "proves", 0, &proves);
    if (proves == 1)
        puts("identity   proved by its card authentication key (9E)");
}

static void put_slot(const char *line)
{
    char *algo = NULL;
    long certificate = 0;

    put_field(line, "id", "  ", "");
    (void)field_get_int(line, "certificate", 0, &certificate);
    if (field_get(line, "algo", &algo) == 0 && algo != NULL) {
        printf("  %-9s", algo);
        put_field(line, "fpr", " ", "");
        put_field(line, "pin", "\n          PIN ", "");
        put_field(line, "touch", ", touch ", "");
        put_field(line, "origin", ", ", "");
        printf(", %s\n", certificate == 1 ? "certificate" : "no certificate");
    } else {
        puts("  a certificate, but no key");
    }
    gpgrt_free(algo);
}

static void tell_status(void *arg, const char *line)
{
    (void)arg;
    if (strncmp(line, "PIV ", 4) == 0)
        put_card(line + 4);
    else if (strncmp(line, "PIVSLOT ", 8) == 0)
        put_slot(line + 8);
}

static int status(const struct command *c, int argc, char **argv)
{
    struct wanted w;
    int code = parse(c, argc, argv, only_token, &w);

    if (code >= 0)
        return code;
    if (optind < argc)
        return cli_mistake(c, "takes options only, but was given", argv[optind]);
    return call(c, &w, TOKEN_VERB_PIV_STATUS, NULL, NULL, NULL, tell_status, NULL);
}

static const struct command cmd_piv_status = {
    .name = "token piv status",
    .usage = "[--token TOKEN]",
    .summary = "show PIN tries, slots, policies",
    .help = TOKEN_HELP,
    .run = status,
};

/* --- PIN and PUK ---------------------------------------------------------------------------------- */

static int simple(const struct command *c, int argc, char **argv, const char *verb, const char *ref,
                  const char *done)
{
    struct buf fields = BUF_INIT;
    struct wanted w;
    int code = parse(c, argc, argv, only_token, &w);

    if (code >= 0)
        return code;
    if (optind < argc)
        return cli_mistake(c, "takes options only, but was given", argv[optind]);
    put(&fields, "ref", ref);
    code = call(c, &w, verb, &fields, NULL, NULL, NULL, NULL);
    if (code == EXIT_OK)
        puts(done);
    buf_free(&fields);
    return code;
}

static int change_pin(const struct command *c, int argc, char **argv)
{
    return simple(c, argc, argv, TOKEN_VERB_PIV_CHANGE_PIN, "pin", "the PIN is changed");
}

static int change_puk(const struct command *c, int argc, char **argv)
{
    return simple(c, argc, argv, TOKEN_VERB_PIV_CHANGE_PIN, "puk", "the PUK is changed");
}

static int unblock(const struct command *c, int argc, char **argv)
{
    return simple(c, argc, argv, TOKEN_VERB_PIV_UNBLOCK, NULL, "the new PIN is set");
}

static int reset(const struct command *c, int argc, char **argv)
{
    return simple(c, argc, argv, TOKEN_VERB_PIV_RESET, NULL,
                  "the PIV application is as it left the factory: set PIN and PUK");
}

static const struct command cmd_piv_change_pin = {
    .name = "token piv change-pin",
    .usage = "[--token TOKEN]",
    .summary = "change the PIN",
    .help = "Dialogs ask for the old and the new one.\n" TOKEN_HELP,
    .run = change_pin,
};
static const struct command cmd_piv_change_puk = {
    .name = "token piv change-puk",
    .usage = "[--token TOKEN]",
    .summary = "change the PUK",
    .help = "Dialogs ask for the old and the new one.\n" TOKEN_HELP,
    .run = change_puk,
};
static const struct command cmd_piv_unblock = {
    .name = "token piv unblock",
    .usage = "[--token TOKEN]",
    .summary = "set a new PIN by the PUK",
    .help = "Dialogs ask for the PUK and the new PIN.\n" TOKEN_HELP,
    .run = unblock,
};
static const struct command cmd_piv_reset = {
    .name = "token piv reset",
    .usage = "[--token TOKEN]",
    .summary = "end all keys: the PIV application as it left the factory",
    .help = "A dialog names the keys that are lost. The token's other applications stay as they\n"
            "are. Only tokens with Yubico's commands can do it.\n" TOKEN_HELP,
    .run = reset,
};

/* --- keys ----------------------------------------------------------------------------------------- */

static gpg_error_t start_slot(const struct command *c, char **argv, struct buf *fields, char id[8])
{
    if (argv[optind] == NULL || !slot_id(argv[optind], id)) {
        (void)cli_mistake(c, "a slot is wanted: 9a, 9c, 9d, 9e or 82 to 95, not",
                          argv[optind] != NULL ? argv[optind] : "none");
        return gpg_error(GPG_ERR_INV_ID);
    }
    put(fields, "key", id);
    return 0;
}

static int make_certificate(const struct command *c, const struct wanted *w, const char *id)
{
    struct buf fields = BUF_INIT, der = BUF_INIT;
    int code;

    put(&fields, "key", id);
    put(&fields, "name", w->name);
    put(&fields, "days", w->days);
    code = call(c, w, TOKEN_VERB_PIV_CERTIFICATE, &fields, NULL, &der, NULL, NULL);
    buf_free(&fields);
    buf_free(&der);
    return code;
}

/* The new key as authorized_keys takes it, where ssh knows its kind. */
static int put_new_key(const struct buf *canon, const char *id)
{
    gcry_sexp_t s = NULL;
    struct key *k = NULL;
    char *text = NULL;

    if (gcry_sexp_sscan(&s, NULL, (const char *)canon->data, canon->len) == 0 &&
        key_from_sexp(s, false, &k) == 0)
        text = key_to_text(k);
    if (text != NULL)
        printf("%s %s\n", text, id);
    gpgrt_free(text);
    key_unref(k);
    gcry_sexp_release(s);
    return EXIT_OK;
}

static void put_policies(struct buf *fields, const struct wanted *w)
{
    put(fields, "pin-policy", w->pin);
    put(fields, "touch-policy", w->touch);
    if (w->force)
        field_put_int(fields, "force", 1);
}

/* Of what puts a key into a slot. */
#define MAKING_OPTIONS                                                                            \
    {"pin-policy", required_argument, NULL, 'p'}, {"touch-policy", required_argument, NULL, 'T'}, \
        {"name", required_argument, NULL, 'n'}, {"days", required_argument, NULL, 'd'},           \
        {"force", no_argument, NULL, 'f'},                                                        \
    {                                                                                             \
        "no-certificate", no_argument, NULL, 'N'                                                  \
    }

static int generate(const struct command *c, int argc, char **argv)
{
    static const struct option options[] = {
        TOKEN_OPTION, {"algorithm", required_argument, NULL, 'a'}, MAKING_OPTIONS, ENDS};
    struct buf fields = BUF_INIT, canon = BUF_INIT;
    struct wanted w;
    char id[8];
    int code = parse(c, argc, argv, options, &w);

    if (code < 0)
        code = check_policies(c, &w);
    if (code >= 0)
        return code;
    if (argc - optind > 1)
        return cli_mistake(c, "one argument too many:", argv[argc - 1]);
    if (start_slot(c, argv, &fields, id) != 0)
        return EXIT_USAGE;
    put(&fields, "algo", w.algorithm);
    put_policies(&fields, &w);
    code = call(c, &w, TOKEN_VERB_PIV_GENERATE, &fields, NULL, &canon, NULL, NULL);
    /* X25519 signs nothing, so no certificate of its own either. */
    if (code == EXIT_OK && !w.no_certificate &&
        (w.algorithm == NULL || strcmp(w.algorithm, "x25519") != 0))
        code = make_certificate(c, &w, id);
    if (code == EXIT_OK)
        code = put_new_key(&canon, id);
    buf_free(&fields);
    buf_free(&canon);
    return code;
}

static const struct command cmd_piv_generate = {
    .name = "token piv generate",
    .usage = "[OPTIONS] SLOT",
    .summary = "make a new key in a slot",
    .help =
        "SLOT is 9a (login), 9c (signatures, a PIN each), 9d (decryption), 9e (no PIN), 82 to 95.\n"
        "A self-signed certificate goes with the key, so that other programs see it. Prints the\n"
        "key as a line for authorized_keys.\n"
        "  -a, --algorithm A       nistp256 (default), nistp384, rsa2048, and where the token has\n"
        "                          them rsa3072, rsa4096, ed25519, x25519\n"
        "  -p, --pin-policy P      never, once, always; default: the slot's\n"
        "  -T, --touch-policy T    never (default), always, cached (15 s)\n"
        "  -n, --name NAME         of the certificate; default: the slot's\n"
        "  -d, --days N            that it is valid; default 3650\n"
        "  -N, --no-certificate    none\n"
        "  -f, --force             also where a key is, which is lost (a dialog asks)\n" TOKEN_HELP,
    .run = generate,
};

static int certificate(const struct command *c, int argc, char **argv)
{
    static const struct option options[] = {TOKEN_OPTION,
                                            {"name", required_argument, NULL, 'n'},
                                            {"days", required_argument, NULL, 'd'},
                                            ENDS};
    struct buf fields = BUF_INIT;
    struct wanted w;
    char id[8];
    int code = parse(c, argc, argv, options, &w);

    if (code < 0)
        code = check_policies(c, &w);
    if (code >= 0)
        return code;
    if (argc - optind > 1)
        return cli_mistake(c, "one argument too many:", argv[argc - 1]);
    code = start_slot(c, argv, &fields, id) == 0 ? make_certificate(c, &w, id) : EXIT_USAGE;
    if (code == EXIT_OK)
        puts("the certificate is stored");
    buf_free(&fields);
    return code;
}

static const struct command cmd_piv_certificate = {
    .name = "token piv certificate",
    .usage = "[OPTIONS] SLOT",
    .summary = "store a self-signed certificate for a slot's key",
    .help = "So that other programs, which look for certificates, see the key.\n"
            "  -n, --name NAME         common name; default: the slot's\n"
            "  -d, --days N            that it is valid; default 3650\n" TOKEN_HELP,
    .run = certificate,
};

/* FILE, "-": standard input. False with the message out. */
static bool read_file(const char *path, struct buf *out)
{
    int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    uint8_t chunk[4096];
    ssize_t n = -1;

    while (fd >= 0 && out->len <= MAX_KEY_FILE && (n = read(fd, chunk, sizeof chunk)) > 0)
        buf_put(out, chunk, (size_t)n);
    explicit_bzero(chunk, sizeof chunk);
    if (fd < 0 || n < 0)
        (void)cli_fail(path, strerror(errno));
    else if (n > 0)
        (void)cli_fail(path, "too large for a key");
    if (fd > STDIN_FILENO)
        close(fd);
    return n == 0;
}

static int import(const struct command *c, int argc, char **argv)
{
    static const struct option options[] = {TOKEN_OPTION, MAKING_OPTIONS, ENDS};
    struct buf fields = BUF_INIT, file = BUF_INIT;
    struct rd value;
    struct wanted w;
    char id[8];
    int code = parse(c, argc, argv, options, &w);

    if (code < 0)
        code = check_policies(c, &w);
    if (code >= 0)
        return code;
    if (argc - optind != 2)
        return cli_mistake(c, "a slot and a file are wanted", NULL);
    if (start_slot(c, argv, &fields, id) != 0)
        return EXIT_USAGE;
    put_policies(&fields, &w);
    code = EXIT_NEGATIVE;
    if (read_file(argv[optind + 1], &file)) {
        value = buf_rd(&file);
        code = call(c, &w, TOKEN_VERB_PIV_IMPORT, &fields, &value, NULL, NULL, NULL);
    }
    if (file.data != NULL)
        explicit_bzero(file.data, file.cap);
    if (code == EXIT_OK && !w.no_certificate)
        code = make_certificate(c, &w, id);
    if (code == EXIT_OK)
        puts("the key is stored; the file is still there");
    buf_free(&fields);
    buf_free(&file);
    return code;
}

static const struct command cmd_piv_import = {
    .name = "token piv import",
    .usage = "[OPTIONS] SLOT FILE",
    .summary = "store a private key in a slot",
    .help =
        "FILE is PEM as openssl writes it (PKCS#8 or older); - is standard input. Of an\n"
        "OpenSSH key make one by ssh-keygen -p -m PKCS8. Policies and certificate as with\n"
        "generate.\n"
        "  -p, --pin-policy P      never, once, always\n"
        "  -T, --touch-policy T    never, always, cached\n"
        "  -n, --name NAME         of the certificate\n"
        "  -d, --days N            that it is valid\n"
        "  -N, --no-certificate    none\n"
        "  -f, --force             also where a key is, which is lost (a dialog asks)\n" TOKEN_HELP,
    .run = import,
};

static void tell_kept(void *arg, const char *line)
{
    if (strncmp(line, "PIVKEPT", 7) == 0)
        *(bool *)arg = true;
}

static int delete_key(const struct command *c, int argc, char **argv)
{
    struct buf fields = BUF_INIT;
    struct wanted w;
    bool kept = false;
    char id[8];
    int code = parse(c, argc, argv, only_token, &w);

    if (code >= 0)
        return code;
    if (argc - optind > 1)
        return cli_mistake(c, "one argument too many:", argv[argc - 1]);
    if (start_slot(c, argv, &fields, id) != 0)
        return EXIT_USAGE;
    code = call(c, &w, TOKEN_VERB_PIV_DELETE, &fields, NULL, NULL, tell_kept, &kept);
    if (code == EXIT_OK)
        puts(kept ? "the certificate is deleted. The key itself stays in this token until another "
                    "one is made in its slot, or the PIV application is reset"
                  : "deleted");
    buf_free(&fields);
    return code;
}

static const struct command cmd_piv_delete = {
    .name = "token piv delete",
    .usage = "[--token TOKEN] SLOT",
    .summary = "delete a slot's key and certificate",
    .help =
        "A dialog names the key that is lost. Before YubiKey firmware 5.7 only the certificate\n"
        "can be deleted.\n" TOKEN_HELP,
    .run = delete_key,
};

static const struct command *const subcommands[] = {&cmd_piv_status,      &cmd_piv_generate,
                                                    &cmd_piv_certificate, &cmd_piv_import,
                                                    &cmd_piv_delete,      &cmd_piv_change_pin,
                                                    &cmd_piv_change_puk,  &cmd_piv_unblock,
                                                    &cmd_piv_reset,       NULL};

const struct command cmd_token_piv = {
    .name = "token piv",
    .usage = "status | generate | certificate | import | delete | change-pin | ...",
    .summary = "manage the PIV application of a token",
    .help = "  status       PIN tries, slots, policies\n"
            "  generate     a new key, and a certificate for it\n"
            "  certificate  a self-signed certificate for a key that is there\n"
            "  import       a private key from a file\n"
            "  delete       a slot's key and certificate\n"
            "  change-pin   the PIN\n"
            "  change-puk   the PUK\n"
            "  unblock      a new PIN by the PUK\n"
            "  reset        all of PIV as it left the factory\n",
    .sub = subcommands,
};
