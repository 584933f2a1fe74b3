#!/usr/bin/python3
"""asyncssh's agent client: asyncssh_login.py PORT USER HOSTKEY [SIGNATURE-ALGORITHM] logs in by what the agent in
SSH_AUTH_SOCK holds; by the certificate in the file $CERTIFICATE alone, if that is set. Prints a line "key TYPE COMMENT" for
each identity and what `echo in` said at the other end."""
import asyncio
import os
import sys
import warnings

warnings.filterwarnings("ignore")
import asyncssh  # noqa: E402


async def main(port, user, hostkey, *algorithm):
    path = os.environ["SSH_AUTH_SOCK"]
    cert = os.environ.get("CERTIFICATE")
    options = {"signature_algs": algorithm} if algorithm else {}
    async with asyncssh.SSHAgentClient(path) as agent:
        keys = await agent.get_keys()
        for key in keys:
            print("key", key.get_algorithm(), key.get_comment())
        if cert:
            options.update(agent_path=None, client_keys=[(keys[0], asyncssh.read_certificate(cert))])
        else:
            options.update(agent_path=path)
        host = asyncssh.read_public_key(hostkey)
        async with asyncssh.connect("127.0.0.1", int(port), username=user, known_hosts=([host], [], []), config=None,
                                    **options) as connection:
            print((await connection.run("echo in", check=True)).stdout, end="")


try:
    asyncio.run(main(*sys.argv[1:]))
except (OSError, ValueError, asyncssh.Error) as e:
    sys.exit(f"{type(e).__name__}: {e}")
