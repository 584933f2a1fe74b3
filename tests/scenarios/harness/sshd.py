"""A real sshd on a loopback port, with a key of its own."""
import getpass
import os
import shutil
import socket

from .bench import wait_until


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Sshd:
    def __init__(self, bench, name="host", key_type="ed25519", known_as=None, hashed=False, known=True, agent=None, keys=(), extra=""):
        """AGENT holds the host keys whose public halves are KEYS, the first one known to clients; else sshd has one of its own.
        EXTRA goes into sshd_config."""
        self.bench = bench
        self.name = known_as or name
        self.port = free_port()
        self.user = getpass.getuser()
        self.dir = bench.top / name
        self.dir.mkdir()
        self.key = self.dir / "hostkey"
        if agent:
            shutil.copy(keys[0], self.dir / "hostkey.pub")
        else:
            bench.run("ssh-keygen", "-q", "-t", key_type, "-N", "", "-C", name, "-f", self.key)
        self.authorized = self.dir / "authorized_keys"
        self.authorized.touch()
        host_keys = "\n".join([f"HostKeyAgent {agent}", *(f"HostKey {k}" for k in keys)]) if agent else f"HostKey {self.key}"
        config = self.dir / "sshd_config"
        config.write_text(f"""
Port {self.port}
ListenAddress 127.0.0.1
{host_keys}
PidFile none
AuthorizedKeysFile {self.authorized}
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowAgentForwarding yes
LogLevel VERBOSE
SetEnv "PATH={bench.env['PATH']}" SHLVL=2
{extra}
""")
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        self.log = self.dir / "log"
        with open(self.log, "wb") as log:
            self.process = bench.start(shutil.which("sshd", path=bench.env["PATH"]), "-D", "-e", "-f", config, stdout=log,
                                       stderr=log)
        wait_until(self._answers, "sshd answers")
        # HostKeyAlias stands in known_hosts as it is: several servers on one address get names of their own
        if known:
            line = f"{self.name} " + (self.dir / "hostkey.pub").read_text()
            with open(bench.home / ".ssh" / "known_hosts", "a") as f:
                f.write(line)
            if hashed:
                bench.run("ssh-keygen", "-H", "-f", bench.home / ".ssh" / "known_hosts")

    def _answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                return s.recv(4) == b"SSH-"
        except OSError:
            return False

    def authorize(self, *lines):
        self.authorized.write_text("".join(line.strip() + "\n" for line in lines))

    def args(self, *more):
        return ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={self.bench.home}/.ssh/known_hosts",
                "-o", "StrictHostKeyChecking=yes", "-o", f"HostKeyAlias={self.name}", "-o", "IdentityFile=none", "-p",
                str(self.port), *more, f"{self.user}@127.0.0.1"]

    def login(self, command="echo in", *more, **kw):
        return self.bench.run(*self.args(*more), command, **kw)
