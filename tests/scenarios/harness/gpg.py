"""Stock gpg with latchkey-agent in gpg-agent's place: a home of its own, the agent started as gpg starts it."""
import re
import shutil

from .bench import BUILD, Skip, wait_until
from .gpgpinentry import GpgPinentry


class Gpg:
    """gpg("--list-keys") runs gpg in this home; conf: lines of gpg-agent.conf."""

    def __init__(self, bench, conf="", agent=BUILD / "latchkey-agent", policy=None, home="gnupg", cards=False, prefix=""):
        self.bin = prefix + "/bin/" if prefix else ""
        if shutil.which(self.bin + "gpg") is None:
            raise Skip(f"{self.bin}gpg is not installed")
        self.bench = bench
        self.agent = agent
        self.cards = cards
        self.home = bench.home / home
        self.home.mkdir(mode=0o700)
        self.env = dict(bench.env, GNUPGHOME=str(self.home))
        self.pinentry = GpgPinentry(bench, "pin-" + home)
        (self.home / "gpg.conf").write_text(f"agent-program {agent}\nno-greeting\n")
        (self.home / "gpgsm.conf").write_text(f"agent-program {agent}\ndisable-dirmngr\n")
        self.configure(conf)
        if policy is not None:
            bench.policy(policy)
        bench.cleanups.append(self.kill)

    def configure(self, conf):
        (self.home / "gpg-agent.conf").write_text(
            f"pinentry-program {self.pinentry.program}\n{'' if self.cards else 'disable-scdaemon'}\n"
            f"log-file {self.home}/agent.log\n{conf}\n")

    def __call__(self, *args, check=True, timeout=20, **kw):
        return self.bench.run(self.bin + "gpg", "--status-fd=2", "--no-auto-check-trustdb", *args, env=self.env, check=check, timeout=timeout, **kw)

    def connect(self, *lines, check=False):
        """Says LINES to the agent; what it answers, by line."""
        out = self.bench.run(self.bin + "gpg-connect-agent", "--agent-program", self.agent, env=self.env, check=check,
                             input="".join(line + "\n" for line in lines)).stdout
        return out.splitlines()

    def edit(self, *lines, command="--card-edit", check=True):
        """Says LINES to a dialogue of gpg's, its card editor unless told otherwise."""
        args = command if isinstance(command, (list, tuple)) else [command]
        return self("--no-tty", "--command-fd=0", *args, input="".join(line + "\n" for line in lines), check=check)

    def start(self, *args):
        """The same without waiting for its end."""
        return self.bench.start(self.bin + "gpg", "--status-fd=2", "--no-auto-check-trustdb", "--no-tty", *args, env=self.env)

    def kill(self):
        pid = self.pid()
        self.bench.run(self.bin + "gpgconf", "--kill", "gpg-agent", env=self.env, check=False)
        if pid:
            wait_until(lambda: not (self.pid() or _runs(pid)), "the agent has ended")

    def pid(self):
        if not (self.home / "S.gpg-agent").exists():
            return None
        out = self.bench.run(self.bin + "gpg-connect-agent", "--no-autostart", "GETINFO pid", "/bye", env=self.env, check=False).stdout
        m = re.search(r"^D (\d+)$", out, re.M)
        return int(m[1]) if m else None

    def keys(self):
        """grip, usage and algorithm of each secret key as gpg lists them."""
        out = self("--with-colons", "--with-keygrip", "-K").stdout
        return re.findall(r"^grp:+([0-9A-F]{40}):", out, re.M)

    def fprs(self):
        return re.findall(r"^fpr:+([0-9A-F]{40}):", self("--with-colons", "-K").stdout, re.M)

    def file(self, grip):
        return self.home / "private-keys-v1.d" / f"{grip}.key"

    def log(self):
        path = self.home / "agent.log"
        return path.read_text(errors="replace") if path.exists() else ""


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
