"""latchkey-agent started as gpg starts gpg-agent, with the real gpg, gpgconf, gpg-connect-agent."""
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import unittest

from harness import Agent, Bench, run, wait_until
from harness.assuan import Assuan, AssuanError
from harness.bench import BUILD, TOP
from harness.gpg import _runs

VECTORS = TOP / "tests/vectors/gpg-agent"
STOCK = "/usr/bin/gpg-agent"
SOCKETS = ("S.gpg-agent", "S.gpg-agent.extra", "S.gpg-agent.browser", "S.gpg-agent.ssh")
FORBIDDEN, NOT_SUPPORTED = 67109115, 60


class PipeAgent(Assuan):
    """gpg-agent --server: a process at the other end of two pipes."""

    def __init__(self, bench, *args):
        ours, theirs = socket.socketpair()
        self.process = bench.start(*args, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL)
        theirs.close()
        super().__init__(ours)


class Start(unittest.TestCase):
    def setUp(self):
        self.bench = Bench()
        self.addCleanup(self.bench.close)
        self.program = self.bench.top / "gpg-agent"
        self.program.symlink_to(BUILD / "latchkey-agent")
        self.home = self.bench.gnupg
        self.home.mkdir(mode=0o700)
        self.bench.cleanups.append(lambda: self.connect("KILLAGENT"))

    def conf(self, text):
        (self.home / "gpg-agent.conf").write_text(text)

    def agent(self, *args, check=True, **kw):
        return self.bench.run(self.program, *args, check=check, **kw)

    def generate(self, agent):
        """gpg needs the agent, and starts AGENT if there is none."""
        return self.bench.run("gpg", "--agent-program", agent, "--batch", "--passphrase", "", "--quick-gen-key", "Ann", "ed25519")

    def connect(self, *commands, check=False):
        """The agent's answers; it is not started for that."""
        return self.bench.run("gpg-connect-agent", "--no-autostart", *commands, "/bye", check=check).stdout.splitlines()

    def ask(self, what):
        """What GETINFO tells; None: no agent, or it tells nothing."""
        lines = self.connect(f"GETINFO {what}")
        return lines[0][2:] if lines and lines[0].startswith("D ") else None

    def pid(self):
        pid = self.ask("pid")
        return int(pid) if pid else None

    def started(self):
        """The agent's process number, once it serves."""
        return wait_until(self.pid, "the agent serves")

    def ends(self, pid):
        wait_until(lambda: not _runs(pid), "the agent ends")

    def socket_path(self, name="S.gpg-agent"):
        return self.bench.run("gpgconf", "--list-dirs", "agent-socket").stdout.strip().replace("S.gpg-agent", name)

    def open(self, name="S.gpg-agent"):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.socket_path(name))
        client = Assuan(sock)
        self.addCleanup(client.close)
        return client

    def sockets(self):
        return [n for n in SOCKETS if os.path.exists(self.socket_path(n))]


class Autostart(Start):
    def check_started(self):
        pid = self.started()
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            program, *args = f.read().decode().split("\0")[:-1]
        self.assertEqual(os.path.basename(program), "latchkey-agent")
        self.assertEqual(args, ["--homedir", str(self.home), "--use-standard-socket", "--daemon"])
        with open(f"/proc/{pid}/stat") as f:
            session = int(f.read().rpartition(")")[2].split()[3])
        self.assertNotEqual(session, os.getsid(0))
        return pid

    def test_by_gpg(self):
        """gpg waits for the first process, and goes on when that has gone to the background: its own pipes are not kept open."""
        shown = self.generate(BUILD / "latchkey-agent")
        self.assertNotIn("older than us", shown.stderr)
        pid = self.check_started()
        for name in SOCKETS:
            self.assertEqual(os.stat(self.socket_path(name)).st_mode & 0o777, 0o700)
        # the next one takes it as it is
        self.bench.run("gpg", "--agent-program", "/nowhere", "--clearsign", input="text\n")
        self.assertEqual(self.pid(), pid)
        self.bench.run("gpgconf", "--kill", "gpg-agent")
        self.ends(pid)
        self.assertEqual(self.sockets(), [])
        # and is started anew
        self.bench.run("gpg", "--agent-program", BUILD / "latchkey-agent", "--clearsign", input="text\n")
        self.assertNotEqual(self.check_started(), pid)

    def test_by_configuration(self):
        (self.home / "gpg.conf").write_text(f"agent-program {BUILD}/latchkey-agent\n")
        self.bench.run("gpg", "--batch", "--passphrase", "", "--quick-gen-key", "Ann", "ed25519")
        self.check_started()

    def test_with_an_option(self):
        """agent-program PATH|OPTION, as GnuPG's own tests have it."""
        self.generate(f"{BUILD}/latchkey-agent|--debug-quick-random")
        self.started()

    def test_by_connect_agent(self):
        self.bench.run("gpg-connect-agent", "--agent-program", BUILD / "latchkey-agent", "/bye")
        self.check_started()

    def test_many_at_once(self):
        """One of several that start together serves, the others find it."""
        started = [self.bench.start(self.program, "--daemon", stderr=subprocess.PIPE, text=True) for _ in range(6)]
        results = [p.communicate(timeout=60)[1] for p in started]
        self.assertEqual(sorted(p.returncode for p in started), [0, 2, 2, 2, 2, 2], results)
        self.started()
        self.assertEqual(len(self.sockets()), 4)

    def test_broken_configuration(self):
        """What is wrong in the file is told in the log, and the agent starts."""
        log = self.home / "agent.log"
        self.conf(f"log-file {log}\nfrobnicate 7\nmax-cache-ttl many\n")
        self.generate(BUILD / "latchkey-agent")
        self.started()
        self.assertIn(f"{self.home}/gpg-agent.conf:2: frobnicate: not an option", log.read_text())
        self.assertIn(f"{self.home}/gpg-agent.conf:3: max-cache-ttl: \"many\" is not a number", log.read_text())

    def test_long_path(self):
        """A home whose sockets' paths would be too long: said, by name and with what to do."""
        if os.path.isdir(f"/run/user/{os.getuid()}"):
            self.skipTest("optional: /run/user is there, so that the sockets' paths are short")
        home = self.bench.home / ("long-" * 20)
        home.mkdir(mode=0o700)
        env = dict(self.bench.env, GNUPGHOME=str(home))
        p = self.agent("--daemon", env=env, check=False)
        self.assertNotEqual(p.returncode, 0)
        self.assertIn(f"{home}/S.gpg-agent: longer than the path of a socket can be", p.stderr)
        self.assertIn("gpgconf --create-socketdir", p.stderr)
        (home / "gpg-agent.conf").write_text(f"log-file {self.bench.top}/log\n")
        p = self.bench.run("gpg-connect-agent", "--agent-program", BUILD / "latchkey-agent", "/bye", env=env, check=False)
        self.assertIn("longer than the path of a socket can be", (self.bench.top / "log").read_text())

    def test_no_home(self):
        p = self.agent("--homedir", self.bench.top / "none", "--daemon", check=False)
        self.assertNotEqual(p.returncode, 0)
        self.assertIn(f"{self.bench.top}/none", p.stderr)
        self.assertFalse((self.bench.top / "none").exists())


class Commands(Start):
    def test_tells(self):
        version = self.agent("--version").stdout.splitlines()[0]
        self.assertRegex(version, r"^gpg-agent \(GnuPG\) 2\.\d+\.\d+\S* \(latchkey \S+\)$")
        self.assertEqual(self.agent("--dump-option-table").stdout, (VECTORS / "dump-option-table-2.2.40.txt").read_text())
        self.assertEqual(self.agent("--gpgconf-list").stdout, (VECTORS / "gpgconf-list-2.2.40.txt").read_text())
        names = self.agent("--dump-options").stdout.split()
        self.assertIn("--pinentry-program", names)
        usage = self.agent("--help").stdout
        for name in ("--supervised", "--pinentry-program PGM"):
            self.assertIn(name, usage)
        self.assertEqual(self.agent("--use-standard-socket-p").returncode, 0)
        # latchkey-agent's own are its own
        self.assertRegex(self.bench.run(BUILD / "latchkey-agent", "--version").stdout, "^latchkey-agent ")
        self.assertIn("ssh-agent", self.bench.run(BUILD / "latchkey-agent", "--help").stdout)

    def test_wrong(self):
        for args in (("--bogus",), ("--default-cache-ttl",), ("--default-cache-ttl", "x"), ("--options", "/nowhere")):
            p = self.agent(*args, "--daemon", check=False)
            self.assertEqual(p.returncode, 2, args)
            self.assertTrue(p.stderr.strip())
        self.assertEqual(self.sockets(), [])

    def test_probe(self):
        p = self.agent(check=False)
        self.assertEqual((p.returncode, p.stdout), (2, ""))
        self.assertIn("no gpg-agent running", p.stderr)
        self.agent("--daemon")
        pid = self.started()
        p = self.agent()
        self.assertIn("gpg-agent running and available", p.stderr)
        p = self.agent("--daemon", check=False)
        self.assertEqual(p.returncode, 2)
        self.assertIn("a gpg-agent is already running - not starting a new one", p.stderr)
        self.assertEqual(self.pid(), pid)
        if os.path.exists(STOCK):  # it thinks so, too
            self.assertEqual(self.bench.run(STOCK).returncode, 0)
            self.assertEqual(self.bench.run(STOCK, "--daemon", check=False).returncode, 2)
        os.kill(pid, signal.SIGKILL)
        self.ends(pid)
        self.assertEqual(self.agent(check=False).returncode, 2)
        self.assertEqual(len(self.sockets()), 4)  # they are stale, and are replaced
        self.agent("--daemon")
        self.assertNotEqual(self.started(), pid)

    def test_steal_socket(self):
        self.agent("--daemon")
        pid = self.started()
        self.agent("--steal-socket", "--daemon")
        self.ends(pid)  # it sees that its socket is another's
        self.assertNotEqual(self.started(), pid)

    def test_getinfo(self):
        self.agent("--daemon")
        self.assertEqual(self.started(), self.pid())
        self.assertRegex(self.ask("version"), r"^2\.\d+\.\d+")
        self.assertEqual(self.ask("socket_name"), self.socket_path())
        self.assertEqual(self.ask("ssh_socket_name"), self.bench.run("gpgconf", "--list-dirs", "agent-ssh-socket").stdout.strip())

    def test_ssh_variables(self):
        path = self.socket_path("S.gpg-agent.ssh")
        self.assertEqual(self.agent("--daemon").stdout, "")
        self.connect("KILLAGENT")
        wait_until(lambda: not self.sockets(), "the agent ends")
        self.conf("enable-ssh-support\n")
        for args, shell, want in (((), "/bin/sh", f"SSH_AUTH_SOCK={path}; export SSH_AUTH_SOCK;\n"),
                                  ((), "/bin/tcsh", f"setenv SSH_AUTH_SOCK {path};\n"),
                                  (("-s",), "/bin/csh", f"SSH_AUTH_SOCK={path}; export SSH_AUTH_SOCK;\n"),
                                  (("--csh",), "/bin/sh", f"setenv SSH_AUTH_SOCK {path};\n")):
            self.assertEqual(self.agent(*args, "--daemon", env=dict(self.bench.env, SHELL=shell)).stdout, want)
            self.assertEqual(self.bench.run("ssh-add", "-l", env=dict(self.bench.env, SSH_AUTH_SOCK=path), check=False).returncode, 1)
            self.connect("KILLAGENT")
            wait_until(lambda: not self.sockets(), "the agent ends")

    def test_command(self):
        """--daemon COMMAND: its environment, its exit status, its umask; the agent ends with it."""
        self.conf("enable-ssh-support\n")
        p = self.agent("--daemon", "sh", "-c", "echo $SSH_AUTH_SOCK; echo $gnupg_SSH_AUTH_SOCK_by $$; umask; ssh-add -l; "
                       "gpg-connect-agent --no-autostart 'GETINFO pid' /bye; exit 7", check=False, umask=0o022)
        self.assertEqual(p.returncode, 7, p)
        lines = p.stdout.splitlines()
        self.assertEqual(lines[0], self.socket_path("S.gpg-agent.ssh"))
        self.assertEqual(*lines[1].split())
        self.assertEqual(lines[2], "0022")
        self.assertEqual(lines[3], "The agent has no identities.")
        self.ends(int(lines[4].split()[1]))
        wait_until(lambda: not self.sockets(), "the sockets are gone")
        self.assertEqual(self.agent("--daemon", "/no/such/program", check=False).returncode, 1)

    def test_server(self):
        """gpg-agent --server on a pipe, beside one that has the sockets; ended by its client, by KILLAGENT, by signals."""
        self.agent("--daemon")
        pid = self.started()
        pipe = PipeAgent(self.bench, self.program, "--server")
        self.assertEqual(int(pipe.ask("GETINFO pid")), pipe.process.pid)
        self.assertRegex(pipe.ask("GETINFO version"), rb"^2\.")
        with self.assertRaises(AssuanError):  # it has none
            pipe.ask("GETINFO socket_name")
        pipe.ask("OPTION ttyname=/dev/null")
        pipe.ask("HAVEKEY --list")
        pipe.close()
        self.assertEqual(pipe.process.wait(20), 0)
        pipe = PipeAgent(self.bench, self.program, "--server")
        pipe.ask("KILLAGENT")
        self.assertEqual(pipe.process.wait(20), 0)
        for sig in (signal.SIGTERM, signal.SIGINT):
            pipe = PipeAgent(self.bench, self.program, "--server")
            pipe.process.send_signal(sig)
            self.assertEqual(pipe.process.wait(20), 0)
        self.assertEqual(self.pid(), pid)

    def test_reload(self):
        """RELOADAGENT, SIGHUP and gpgconf --reload read the file anew; the log goes where it says now."""
        self.conf("no-allow-loopback-pinentry\n")
        self.agent("--daemon")
        pid = self.started()

        def loopback():
            return self.connect("OPTION pinentry-mode=loopback")[0].startswith("OK")
        self.assertFalse(loopback())
        one, other = self.bench.top / "one", self.bench.top / "other"
        self.conf(f"log-file {one}\nnew-in-2.9\n")
        self.bench.run("gpgconf", "--reload", "gpg-agent")
        self.assertTrue(loopback())
        self.assertIn("gpg-agent.conf:2: new-in-2.9", one.read_text())
        self.conf(f"log-file {other}\nno-allow-loopback-pinentry\n")
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: not loopback(), "SIGHUP is acted on")
        other.rename(self.bench.top / "old")
        self.connect("RELOADAGENT")
        self.assertTrue(other.exists())
        # a file that is gone: the defaults; the sockets stay
        (self.home / "gpg-agent.conf").unlink()
        self.connect("RELOADAGENT")
        self.assertTrue(loopback())
        self.assertEqual(self.pid(), pid)
        self.assertEqual(self.ask("socket_name"), self.socket_path())

    def test_relative_home(self):
        self.agent("--homedir", "g", "--daemon")
        self.connect("RELOADAGENT")
        self.assertEqual(self.ask("socket_name"), self.socket_path())
        self.assertIn("OK", self.connect("KEYINFO --list")[-1])

    def test_gpgconf(self):
        self.agent("--daemon")
        pid = self.started()
        self.assertEqual(self.bench.run("gpgconf", "--launch", "gpg-agent").returncode, 0)
        self.assertEqual(self.pid(), pid)
        self.bench.run("gpgconf", "--kill", "scdaemon")
        self.assertEqual(self.pid(), pid)
        self.bench.run("gpgconf", "--kill", "gpg-agent")
        self.ends(pid)
        self.assertEqual(self.sockets(), [])

    def test_restricted(self):
        """On the extra and the browser socket: forbidden is what both versions of gpg-agent forbid, allowed what both allow."""
        self.generate(self.program)
        grip = next(self.home.glob("private-keys-v1.d/*.key")).stem
        for name in SOCKETS[1:3]:
            tested = 0
            client = self.open(name)
            for line in (VECTORS / "restricted.txt").read_text().splitlines():
                if line.startswith("#"):
                    continue
                old, new, command = line.split(" ", 2)
                try:
                    client.ask(command.replace("GRIP", grip))
                    got = "OK"
                except AssuanError as e:
                    got = str(e).split()[1]
                with self.subTest(socket=name, command=command):
                    if old == new == str(FORBIDDEN) or got == str(FORBIDDEN):
                        self.assertIn(got, (old, new))
                    elif old == new == "OK":
                        self.assertEqual(got, "OK")
                    tested += 1
            self.assertGreater(tested, 50)
            self.assertIsNotNone(self.pid())


class Sockets(Start):
    def test_redirect(self):
        """A redirection in the socket's place is followed by gpg and by the agent, and stays."""
        real, extra = self.bench.top / "real.sock", self.bench.top / "extra.sock"
        text = "%Assuan%\nsocket=${LK_REAL}/real.sock\n"
        place = self.socket_path()
        with open(place, "w") as f:
            f.write(text)
        with open(self.socket_path("S.gpg-agent.extra"), "w") as f:
            f.write(f"%Assuan%\nsocket={extra}\n")
        self.bench.env["LK_REAL"] = str(self.bench.top)
        self.generate(BUILD / "latchkey-agent")
        pid = self.started()
        self.assertTrue(real.is_socket() and extra.is_socket())
        self.assertEqual(self.ask("socket_name"), str(real))
        self.connect("RELOADAGENT")
        self.assertEqual(self.ask("socket_name"), str(real))
        self.connect("KILLAGENT")
        self.ends(pid)
        self.assertFalse(real.exists() or extra.exists())
        with open(place) as f:
            self.assertEqual(f.read(), text)
        with open(place, "w") as f:
            f.write("nothing of the kind\n")
        p = self.agent("--daemon", check=False)
        self.assertNotEqual(p.returncode, 0)
        self.assertIn(f"{place}: neither a socket nor a redirection", p.stderr)

    def test_configured(self):
        extra = self.bench.top / "e"
        self.conf(f"extra-socket {extra}\nbrowser-socket none\n")
        self.agent("--daemon")
        self.started()
        self.assertTrue(extra.is_socket())
        self.assertEqual(self.sockets(), ["S.gpg-agent", "S.gpg-agent.ssh"])

    def test_home_vanishes(self):
        self.agent("--daemon")
        pid = self.started()
        self.home.rename(self.bench.top / "moved")
        self.ends(pid)
        (self.bench.top / "moved").rename(self.home)
        self.agent("--daemon")
        pid = self.started()
        shutil.rmtree(self.home)
        self.ends(pid)

    def test_socket_vanishes(self):
        self.agent("--daemon")
        pid = self.started()
        os.unlink(self.socket_path())
        self.ends(pid)
        self.assertEqual(self.sockets(), [])
        # and stays for those who want it so
        self.agent("--disable-check-own-socket", "--daemon")
        pid = self.started()
        ssh = socket.socket(socket.AF_UNIX)
        ssh.connect(self.socket_path("S.gpg-agent.ssh"))
        os.unlink(self.socket_path())
        ssh.sendall(b"\0\0\0\x01\x0b")
        self.assertEqual(ssh.recv(5)[4:], b"\x0c")
        ssh.close()
        os.kill(pid, signal.SIGINT)
        self.ends(pid)

    def test_sigterm(self):
        """SIGTERM: nobody new, and the end when those who are there have gone; said three times, or SIGINT: at once."""
        def again(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            return not _runs(pid)
        for first, then in ((signal.SIGTERM, "leave"), (signal.SIGTERM, "again"), (signal.SIGINT, None)):
            self.agent("--daemon")
            pid = self.started()
            client = self.open()
            os.kill(pid, first)
            wait_until(lambda: not self.sockets(), "the sockets are gone")
            if then:
                self.assertEqual(int(client.ask("GETINFO pid")), pid)
            if then == "leave":
                client.close()
            if then == "again":
                wait_until(lambda pid=pid: again(pid), "the agent ends")
            self.ends(pid)

    def supervise(self, names, *fds, pid="$$", count=None):
        """gpg-agent --supervised with the listening sockets FDS from 3 on."""
        def child():
            moved = [os.dup(fd) for fd in fds]
            high = [os.dup2(fd, 100 + i) for i, fd in enumerate(moved)]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i)
            os.closerange(3 + len(fds), 256)
        env = dict(self.bench.env)
        script = f"export LISTEN_PID={pid}; exec {self.program} --supervised --log-file {self.bench.top}/log"
        if names is not None:
            env["LISTEN_FDNAMES"] = names
        if count != "":
            env["LISTEN_FDS"] = str(count or len(fds))
        p = subprocess.Popen(["sh", "-c", script], env=env, preexec_fn=child, close_fds=False, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                             text=True)
        self.bench.processes.append(p)
        return p

    def listen(self, name):
        s = socket.socket(socket.AF_UNIX)
        s.bind(self.socket_path(name))
        s.listen()
        self.addCleanup(s.close)
        return s

    def test_supervised(self):
        listeners = {n: self.listen(f"S.gpg-agent{s}") for n, s in (("ssh", ".ssh"), ("browser", ".browser"), ("odd", ""), ("extra", ".extra"))}
        second = self.listen("second")
        fds = [s.fileno() for s in listeners.values()] + [second.fileno()]
        p = self.supervise(":".join(listeners) + ":std", *fds)
        self.assertEqual(self.started(), p.pid)  # no fork
        self.assertEqual(self.ask("socket_name"), self.socket_path())
        self.assertEqual(self.ask("ssh_socket_name"), self.socket_path("S.gpg-agent.ssh"))
        for name in SOCKETS[1:3]:
            self.open(name).ask("GETINFO restricted")
        with self.assertRaises(AssuanError):
            self.open().ask("GETINFO restricted")
        env = dict(self.bench.env, SSH_AUTH_SOCK=self.socket_path("S.gpg-agent.ssh"))
        self.assertEqual(self.bench.run("ssh-add", "-l", env=env, check=False).returncode, 1)
        self.assertIn('a second socket named "std" is not used', (self.bench.top / "log").read_text())
        self.connect("RELOADAGENT")
        self.assertEqual(self.ask("socket_name"), self.socket_path())
        self.connect("KILLAGENT")
        self.assertEqual(p.wait(20), 0)
        self.assertEqual(len(self.sockets()), 4)
        # the next one, from the same sockets: another process' number is no hindrance, nor are names and count that are missing
        for names, count in (("std:ssh", None), (None, 1), (None, "")):
            p = self.supervise(names, listeners["odd"].fileno(), listeners["ssh"].fileno(), pid="1", count=count)
            self.assertEqual(self.started(), p.pid)
            self.assertEqual(self.ask("ssh_socket_name"), self.socket_path("S.gpg-agent.ssh") if names else None)
            self.connect("KILLAGENT")
            self.assertEqual(p.wait(20), 0)

    def test_supervised_wrongly(self):
        s = self.listen("S.gpg-agent")
        p = self.supervise("std:ssh", s.fileno())
        self.assertNotEqual(p.wait(20), 0)
        self.assertIn("LISTEN_FDNAMES has 2 names and LISTEN_FDS says 1", p.stderr.read())
        p.stderr.close()
        p = self.supervise("ssh", s.fileno())
        self.assertNotEqual(p.wait(20), 0)
        self.assertIn("no socket was handed over", p.stderr.read())
        p.stderr.close()


KEEPER = r"""
set -e
mount -t tmpfs none /run
mkdir -p /run/user
mkdir -m 700 /run/user/$(id -u)
[ -z "$2" ] || mount --bind "$1" "$2"
echo ready
exec cat
"""


class Apart(Start):
    """In a mount namespace: a /run/user of its own, and this agent where gpgconf looks for gpg-agent."""

    def setUp(self):
        super().setUp()
        self.bench.cleanups.clear()
        self.keeper = self.bench.start("unshare", "-Urm", "sh", "-c", KEEPER, "keeper", BUILD / "latchkey-agent",
                                       STOCK if os.path.exists(STOCK) else "", stdin=-1, stdout=-1)
        if self.keeper.stdout.readline().strip() != b"ready":
            raise AssertionError("no private namespaces here: unshare -Urm failed")
        self.bench.run = self.inside
        self.bench.cleanups.append(self.end)

    def inside(self, *args, **kw):
        kw.setdefault("env", self.bench.env)
        kw.setdefault("cwd", self.bench.home)
        return run("nsenter", "-t", self.keeper.pid, "-U", "-m", "--preserve-credentials", "--wd=" + str(kw["cwd"]), *args, **kw)

    def end(self):
        """All agents in there."""
        for home in (None, *self.bench.home.glob("g*"), self.bench.home / ".gnupg"):
            env = {k: v for k, v in self.bench.env.items() if k != "GNUPGHOME"}
            if home:
                env["GNUPGHOME"] = str(home)
            self.inside("gpgconf", "--kill", "gpg-agent", env=env, check=False)
        self.keeper.stdin.close()
        self.keeper.wait(20)
        self.keeper.stdout.close()

    def dirs(self, env):
        out = self.inside("gpgconf", "--list-dirs", env=env).stdout
        return dict(line.split(":", 1) for line in out.splitlines())

    def test_places(self):
        """The sockets are where gpgconf says for every kind of home, and the directories for them are made as gpg makes them."""
        base = {k: v for k, v in self.bench.env.items() if k != "GNUPGHOME"}
        odd = self.bench.home / "g ö%41"
        for home in (None, self.home, odd, str(self.home) + "/", f"{self.bench.home}/../h/g2", "relative"):
            env = dict(base, GNUPGHOME=str(home)) if home else base
            if home:
                (self.bench.home / home).mkdir(mode=0o700, exist_ok=True)
            with self.subTest(home=home):
                self.inside(self.program, "--daemon", env=env)
                dirs = self.dirs(env)
                got = [self.inside("gpg-connect-agent", "--no-autostart", f"GETINFO {what}", "/bye", env=env).stdout.splitlines()[0]
                       for what in ("socket_name", "ssh_socket_name")]
                want = [dirs[k].replace("%25", "%").replace("%3a", ":") for k in ("agent-socket", "agent-ssh-socket")]
                self.assertEqual(got, ["D " + w.replace("%", "%25") for w in want])
                self.assertTrue(want[0].startswith("/run/user/"), want)
                self.assertEqual(os.path.basename(os.path.dirname(want[0]))[:2], "d." if home else "gn")
                names = self.inside("ls", "-A", os.path.dirname(want[0])).stdout.split()
                self.assertLessEqual(set(SOCKETS), set(names))
                modes = self.inside("stat", "-c", "%a", os.path.dirname(want[0]), "/run/user/0/gnupg").stdout.split()
                self.assertEqual(modes, ["700", "700"])
                self.inside("gpgconf", "--kill", "gpg-agent", env=env)
        # a directory that others could enter is not used, by neither
        self.inside("chmod", "750", "/run/user/0/gnupg")
        self.inside(self.program, "--daemon")
        self.assertEqual(self.ask("socket_name"), f"{self.home}/S.gpg-agent")
        self.assertEqual(self.dirs(self.bench.env)["agent-socket"], f"{self.home}/S.gpg-agent")

    def test_long_path(self):
        """With /run/user there, a home with a long path is no problem."""
        home = self.bench.home / ("g" * 150)
        home.mkdir(mode=0o700)
        self.bench.env["GNUPGHOME"] = str(home)
        self.bench.run("gpg-connect-agent", "--agent-program", BUILD / "latchkey-agent", "/bye")
        self.started()

    def test_standard_home_is_made(self):
        del self.bench.env["GNUPGHOME"]
        self.inside(self.program, "--daemon")
        self.assertEqual((self.bench.home / ".gnupg").stat().st_mode & 0o777, 0o700)
        self.assertEqual(self.ask("socket_name"), "/run/user/0/gnupg/S.gpg-agent")

    def test_gpgconf_options(self):
        """gpgconf asks this agent for its options, checks and changes its file; graphical configurators go by that."""
        if not os.path.exists(STOCK):
            self.skipTest("optional: no gpg-agent in /usr/bin")
        self.assertIn("latchkey", self.inside(STOCK, "--version").stdout)
        options = {line.split(":")[0]: line.split(":") for line in self.inside("gpgconf", "--list-options", "gpg-agent").stdout.splitlines()}
        self.assertEqual(options["default-cache-ttl"][7], "600")
        self.assertEqual(options["ssh-fingerprint-digest"][7], '"md5')
        for name in ("pinentry-timeout", "enable-ssh-support", "grab", "log-file"):
            self.assertIn(name, options)
        self.assertEqual(self.inside("gpgconf", "--check-options", "gpg-agent").stdout.split(":")[3:5], ["1", "1"])
        self.assertRegex(self.inside("gpgconf", "--check-programs").stdout, r"(?m)^gpg-agent:[^:]*:[^:]*gpg-agent:1:1:")
        self.inside(self.program, "--daemon")
        self.inside("gpgconf", "--runtime", "--change-options", "gpg-agent", input="default-cache-ttl:0:77\ngrab:0:1\n")
        conf = (self.home / "gpg-agent.conf").read_text()
        self.assertRegex(conf, r"(?m)^default-cache-ttl 77$")
        self.assertRegex(conf, r"(?m)^grab$")
        options = {line.split(":")[0]: line.split(":") for line in self.inside("gpgconf", "--list-options", "gpg-agent").stdout.splitlines()}
        self.assertEqual(options["default-cache-ttl"][9], "77")
        # an option that is not known is no error, a value that is none is one
        self.conf("frobnicate\n")
        self.assertIn(":1:1:", self.inside("gpgconf", "--check-options", "gpg-agent").stdout)
        self.conf("max-cache-ttl 1\nmax-cache-ttl x\n")
        self.assertIn(":1:0:", self.inside("gpgconf", "--check-options", "gpg-agent").stdout)


class Service(Start):
    """latchkey's own service, and gpg's sockets."""

    def service(self, *args):
        agent = Agent(self.bench, *args)
        self.addCleanup(agent.stop)
        return agent

    def test_auto(self):
        agent = self.service()
        self.assertEqual(self.started(), agent.process.pid)
        self.assertEqual(self.sockets(), list(SOCKETS[:3]))
        self.generate("/nowhere")
        self.bench.run("ssh-add", "-l", check=False)
        agent.process.send_signal(signal.SIGHUP)
        shutil.rmtree(self.home)  # it goes on for ssh
        self.assertEqual(self.bench.run("ssh-add", "-l", check=False).returncode, 1)

    def test_no(self):
        self.bench.settings("GpgSocket no\n")
        self.service()
        self.assertEqual(self.sockets(), [])

    def test_no_home(self):
        """Who does not use gpg has no home directory of it."""
        self.home.rmdir()
        self.service()
        self.assertFalse(self.home.exists())

    def test_path(self):
        path = self.bench.top / "own.sock"
        self.bench.settings(f"GpgSocket {path}\n")
        agent = self.service()
        self.assertEqual(self.sockets(), [])
        answer = self.bench.run("gpg-connect-agent", "-S", path, "GETINFO pid", "GETINFO socket_name", "RELOADAGENT", "GETINFO socket_name",
                                "/bye").stdout.splitlines()
        self.assertEqual(answer, [f"D {agent.process.pid}", "OK", f"D {path}", "OK", "OK", f"D {path}", "OK"])

    def test_occupied(self):
        """Another agent is left alone, and named."""
        self.agent("--daemon")
        pid = self.started()
        agent = self.service()
        self.assertEqual(self.pid(), pid)
        told = f"another agent serves gpg at {self.socket_path()}; for this one to do so: gpgconf --kill gpg-agent"
        wait_until(lambda: told in agent.log.read_text(), "the other one is named")

    def test_nothing_is_started(self):
        """A socket behind which a service manager waits for a first connection gets none."""
        waiting = socket.socket(socket.AF_UNIX)
        self.addCleanup(waiting.close)
        waiting.bind(self.socket_path())
        waiting.listen()
        waiting.setblocking(False)
        agent = self.service()
        wait_until(lambda: "another agent serves gpg" in agent.log.read_text(), "the other one is named")
        with self.assertRaises(BlockingIOError):
            waiting.accept()

    def test_as_ssh_agent(self):
        """Started as ssh-agent it takes gpg's sockets only when it is told to."""
        p = self.bench.run(BUILD / "latchkey-agent", "sh", "-c", f"ls {self.home}; ssh-add -l", check=False)
        self.assertEqual((p.stdout, p.returncode), ("The agent has no identities.\n", 1))
        self.bench.settings("GpgSocket auto\n")
        p = self.bench.run(BUILD / "latchkey-agent", "gpg-connect-agent", "--no-autostart", "GETINFO socket_name", "/bye")
        self.assertEqual(p.stdout, f"D {self.socket_path()}\nOK\n")
        wait_until(lambda: not self.sockets(), "the sockets are gone")

    def test_handed_over(self):
        """All sockets from systemd, in one service."""
        if not shutil.which("systemd-socket-activate"):
            self.skipTest("optional: no systemd-socket-activate")
        own = {n: self.bench.top / n for n in ("ssh", "ctl")}
        paths = dict(zip(("std", "extra", "browser"), map(self.socket_path, SOCKETS)), **own)
        listen = [a for p in paths.values() for a in ("-l", p)]
        keep = [a for n in self.bench.env for a in ("-E", n)]
        p = self.bench.start("systemd-socket-activate", *keep, *listen, f"--fdname={':'.join(paths)}", BUILD / "latchkey-agent", "--foreground",
                             stderr=subprocess.DEVNULL)
        wait_until(lambda: all(os.path.exists(path) for path in paths.values()), "it listens")
        self.assertEqual(self.started(), p.pid)
        self.assertEqual(self.ask("socket_name"), paths["std"])
        for name in SOCKETS[1:3]:
            self.open(name).ask("GETINFO restricted")
        env = dict(self.bench.env, SSH_AUTH_SOCK=str(own["ssh"]))
        self.assertEqual(self.bench.run("ssh-add", "-l", env=env, check=False).returncode, 1)
        control = socket.socket(socket.AF_UNIX)
        control.connect(str(own["ctl"]))
        Assuan(control).close()


UNIT_NAMES = ("latchkey-gpg", "latchkey-gpg-extra", "latchkey-gpg-browser", "latchkey-gpg-ssh")


class Units(unittest.TestCase):
    def test_units_are_debians_with_our_service(self):
        """The same sockets as Debian's units of gpg-agent, to the letter of paths and names."""
        for name in UNIT_NAMES:
            ours = (TOP / "contrib/systemd" / f"{name}.socket").read_text()
            suffix = name[len("latchkey-gpg"):]
            self.assertIn("Service=latchkey-agent.service\n", ours)
            self.assertIn(f"ListenStream=%t/gnupg/S.gpg-agent{suffix.replace('-', '.')}\n", ours)
            self.assertIn(f"FileDescriptorName={suffix[1:] or 'std'}\n", ours)
            stock = f"/usr/lib/systemd/user/gpg-agent{suffix}.socket"
            if os.path.exists(stock):
                with open(stock) as f:
                    for key in ("ListenStream", "FileDescriptorName", "SocketMode", "DirectoryMode"):
                        line = next((x for x in f if x.startswith(key)), None)
                        f.seek(0)
                        if line is not None:
                            self.assertIn(line, ours)

    def test_installed(self):
        bench = Bench()
        self.addCleanup(bench.close)
        units = bench.top / "d" / "u"
        args = ("make", "-s", "-C", TOP, f"BUILD={BUILD}", f"DESTDIR={bench.top}/d", "PREFIX=/p", "SYSTEMDUSERDIR=/u")
        bench.run(*args, "install", timeout=600)
        for name in (*UNIT_NAMES, "latchkey-agent", "latchkey-ctl"):
            self.assertTrue((units / f"{name}.socket").exists())
        bench.run(*args, "uninstall")
        self.assertEqual(list(units.iterdir()), [])


if __name__ == "__main__":
    unittest.main()
