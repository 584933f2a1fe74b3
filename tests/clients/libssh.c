/* libssh's agent client: logs in by what the agent in SSH_AUTH_SOCK holds.
 *   libssh PORT USER HOSTKEY
 * Prints "version X.Y.Z", a line "key COMMENT" for each identity that it took from the agent (libssh's
 * interface gives no list, its log does), and what `echo in` said at the other end. */
#include <libssh/callbacks.h>
#include <libssh/libssh.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_log(int priority, const char *function, const char *text, void *arg)
{
    static const char mark[] = "Trying identity ";
    const char *p = strstr(text, mark);

    (void)priority;
    (void)function;
    (void)arg;
    if (p != NULL)
        printf("key %s\n", p + strlen(mark));
}

static int fail(const char *what, ssh_session s)
{
    fprintf(stderr, "libssh: %s: %s\n", what, s != NULL ? ssh_get_error(s) : "failed");
    return 1;
}

/* The server must be the one that is meant. */
static int check_host(ssh_session s, const char *path)
{
    ssh_key want = NULL, got = NULL;
    int bad = 1;

    if (ssh_pki_import_pubkey_file(path, &want) == SSH_OK &&
        ssh_get_server_publickey(s, &got) == SSH_OK)
        bad = ssh_key_cmp(want, got, SSH_KEY_CMP_PUBLIC);
    ssh_key_free(want);
    ssh_key_free(got);
    return bad;
}

static int run_command(ssh_session s)
{
    ssh_channel c = ssh_channel_new(s);
    char text[256];
    int n, bad = 1;

    if (c == NULL || ssh_channel_open_session(c) != SSH_OK ||
        ssh_channel_request_exec(c, "echo in") != SSH_OK)
        goto out;
    while ((n = ssh_channel_read(c, text, sizeof text, 0)) > 0)
        fwrite(text, 1, (size_t)n, stdout);
    bad = n < 0;
out:
    ssh_channel_free(c);
    return bad;
}

int main(int argc, char **argv)
{
    ssh_session s = ssh_new();
    int no = 0, status = 1;

    if (argc != 4 || s == NULL)
        return 2;
    printf("version %s\n", ssh_version(0));
    ssh_set_log_level(SSH_LOG_FUNCTIONS);
    ssh_set_log_callback(on_log);
    if (ssh_options_set(s, SSH_OPTIONS_HOST, "127.0.0.1") != 0 ||
        ssh_options_set(s, SSH_OPTIONS_PORT_STR, argv[1]) != 0 ||
        ssh_options_set(s, SSH_OPTIONS_USER, argv[2]) != 0 ||
        ssh_options_set(s, SSH_OPTIONS_KNOWNHOSTS, "/dev/null") != 0 ||
        ssh_options_set(s, SSH_OPTIONS_PROCESS_CONFIG, &no) != 0)
        status = fail("options", s);
    else if (ssh_connect(s) != SSH_OK)
        status = fail("connect", s);
    else if (check_host(s, argv[3]) != 0)
        status = fail("host key", NULL);
    else if (ssh_userauth_none(s, NULL) == SSH_AUTH_ERROR)
        status = fail("authentication", s);
    else if (ssh_userauth_agent(s, NULL) != SSH_AUTH_SUCCESS)
        status = fail("authentication", s);
    else if (run_command(s) != 0)
        status = fail("command", s);
    else
        status = 0;
    ssh_disconnect(s);
    ssh_free(s);
    return status;
}
