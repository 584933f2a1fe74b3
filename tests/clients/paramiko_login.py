#!/usr/bin/python3
"""paramiko's agent client: paramiko_login.py PORT USER HOSTKEY [rsa-sha2-256|rsa-sha2-512] logs in by what the agent in
SSH_AUTH_SOCK holds. Prints a line "key TYPE" for each identity and what `echo in` said at the other end."""
import sys
import warnings

warnings.filterwarnings("ignore")
import paramiko  # noqa: E402


def main(port, user, hostkey, algorithm=None):
    others = {"rsa-sha2-256", "rsa-sha2-512"} - {algorithm} if algorithm else ()
    transport = paramiko.Transport(("127.0.0.1", int(port)), disabled_algorithms={"pubkeys": list(others)})
    transport.start_client(timeout=60)
    if transport.get_remote_server_key().get_base64() != open(hostkey).read().split()[1]:
        sys.exit("another host")
    keys = paramiko.Agent().get_keys()
    for key in keys:
        print("key", key.get_name())
    for key in keys:
        try:
            if not transport.auth_publickey(user, key):
                break
        except paramiko.SSHException as e:
            print(key.get_name(), e, file=sys.stderr)
            if not transport.is_active():
                sys.exit("the connection is gone")
    else:
        sys.exit("no key was accepted")
    session = transport.open_session()
    session.exec_command("echo in")
    print(session.makefile().read().decode(), end="")
    transport.close()


main(*sys.argv[1:])
