"""Clients that are not OpenSSH's: libssh, paramiko, asyncssh, plink, Go's x/crypto. Each lists and logs in to a real sshd by
what the agent holds. None of them binds its session, so each asks for a host that cannot be proven."""
import os
import pathlib
import shutil
import unittest

from harness import Agent, Authority, Bench, Card, Pcscd, ScriptedPinentry, Skip, Sshd, run, wait_until
from harness.bench import BUILD, TOP

SOURCES = TOP / "tests" / "clients"
PYTHON = "/usr/bin/python3"  # Debian's own, which has Debian's modules
KINDS = {"ed25519": "ssh-ed25519", "ecdsa": "ecdsa-sha2-nistp256", "rsa": "ssh-rsa"}


class Client:
    """One program that logs in with what the agent has and runs `echo in`."""

    lists = True  # prints what it got from the agent
    sha2 = {a: [a] for a in ("rsa-sha2-256", "rsa-sha2-512")}  # those that it can sign with, and how it is told to
    certifies = ("ed25519", "nistp256", "rsa2048")  # kinds of keys with which it can use a certificate
    names_files = False  # uses no certificate that an agent lists, but one in a file
    probes = True  # asks the server whether a key will do before it has anything signed

    def __init__(self, bench):
        self.bench = bench

    def command(self, server, *algorithm):
        return [*self.program(), server.port, server.user, server.dir / "hostkey.pub", *algorithm]

    def login(self, server, *algorithm):
        p = self.bench.run(*self.command(server, *algorithm), check=False)
        p.keys = [line[4:] for line in p.stdout.splitlines() if line.startswith("key ")]
        p.is_in = p.returncode == 0 and p.stdout.splitlines()[-1:] == ["in"]
        return p

    def proof(self):
        """What is known of the destination when it asks."""
        return "none"


class Libssh(Client):
    lists = False  # its log names the identities that it tries, by their comment
    # told to use the other one, 0.10 names it in the data and still asks the agent for this one
    sha2 = {"rsa-sha2-512": []}

    def program(self):
        return [BUILD / "clients" / "libssh"]

    def proof(self):
        version = run(*self.program(), "1", "nobody", "/dev/null", check=False, env=self.bench.env).stdout.split()[1]
        # from 0.12 on it names the server in what is signed, which proves the destination without a bind
        return "none" if tuple(int(n) for n in version.split("/")[0].split(".")[:2]) < (0, 12) else "hostbound"


class Paramiko(Client):
    probes = False

    def program(self):
        return [PYTHON, SOURCES / "paramiko_login.py"]


class Asyncssh(Client):
    # 2.10 names the plain algorithm with a listed certificate, which no server takes; and the SHA-1 one for RSA
    names_files = True
    certifies = ("ed25519", "nistp256")

    def program(self):
        return [PYTHON, SOURCES / "asyncssh_login.py"]


class Plink(Client):
    lists = False
    sha2 = {"rsa-sha2-512": []}

    def command(self, server):
        host = self.bench.run("ssh-keygen", "-lf", server.dir / "hostkey.pub").stdout.split()[1]
        return ["plink", "-ssh", "-batch", "-agent", "-noshare", "-P", server.port, "-l", server.user, "-hostkey", host,
                "127.0.0.1", "echo in"]


class Go(Client):
    sha2 = {"rsa-sha2-256": []}  # the server says that it takes both, and 9.2 says so whatever its configuration

    def __init__(self, bench):
        super().__init__(bench)
        go = shutil.which("go")
        path = pathlib.Path(os.environ.get("GOPATH", "/usr/share/gocode"))
        if go is None:
            raise Skip("optional: no `go` here (Debian: golang-go golang-golang-x-crypto-dev)")
        if not (path / "src" / "golang.org" / "x" / "crypto" / "ssh").is_dir():
            raise Skip(f"optional: no golang.org/x/crypto in {path} (Debian: golang-golang-x-crypto-dev)")
        self.binary = BUILD / "clients" / "go-login"
        env = dict(bench.env, GOPATH=str(path), GO111MODULE="off", GOFLAGS="", GOPROXY="off", GOCACHE=str(bench.top / "gocache"))
        if not self.binary.exists() or self.binary.stat().st_mtime < (SOURCES / "login.go").stat().st_mtime:
            bench.run(go, "build", "-o", self.binary, SOURCES / "login.go", env=env, timeout=600)

    def program(self):
        return [self.binary]


class Software:
    """With software keys of three kinds in the agent."""

    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        self.client = self.CLIENT(b)
        self.pinentry = ScriptedPinentry(b)

    def key(self, kind):
        path = self.bench.top / kind
        if not path.exists():
            self.bench.run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", f"my {kind}", "-f", path)
        return path

    def public(self, kind):
        return self.key(kind).with_suffix(".pub").read_text()

    def begin(self, policy, kinds=tuple(KINDS)):
        self.bench.policy(policy)
        self.agent = Agent(self.bench)
        for kind in kinds:
            self.bench.run("ssh-add", "-q", self.key(kind))

    def server(self, kind, name="host", **kw):
        server = Sshd(self.bench, name, known_as=f"{name}.example", **kw)
        server.authorize(self.public(kind))
        return server

    def auths(self):
        return [r for r in self.agent.records() if r["use"] == "ssh-auth"]

    def test_login_with_each_kind_of_key(self):
        self.begin("Match all\n Touch none\n")
        server = self.server("ed25519")
        for kind in KINDS:
            with self.subTest(kind):
                server.authorize(self.public(kind))
                before = len(self.auths())
                p = self.client.login(server)
                self.assertTrue(p.is_in, p.stdout + p.stderr + self.agent.log.read_text())
                new = self.auths()[before:]
                self.assertEqual(new[-1]["key"]["comment"], f"my {kind}")
                self.assertEqual(new[-1]["destination"]["proof"], self.client.proof())
                self.assertEqual(new[-1]["destination"]["user"], server.user)
                if self.client.probes:
                    self.assertEqual(len(new), 1, "only the key that the server takes is used")
                if self.client.lists:
                    self.assertEqual([k.split()[0] for k in p.keys], list(KINDS.values()))

    def test_rsa_with_each_sha2(self):
        self.begin("Match all\n Touch none\n", kinds=("rsa",))
        for algorithm, argument in self.client.sha2.items():
            with self.subTest(algorithm):
                server = self.server("rsa", algorithm, extra=f"PubkeyAcceptedAlgorithms {algorithm}")
                p = self.client.login(server, *argument)
                self.assertTrue(p.is_in, p.stdout + p.stderr + server.log.read_text())

    def test_it_could_be_any_host(self):
        """Leaving the binding out is no way round what a host demands; `unbound` is the way to say otherwise."""
        if self.client.proof() != "none":
            return  # it proves its destination: the rules of any client
        rule = "Host prod.example\n Access deny\nMatch all\n Touch none\n"
        self.begin(rule, kinds=("ed25519",))
        server = self.server("ed25519")
        self.assertFalse(self.client.login(server).is_in)
        r = self.auths()[-1]
        self.assertEqual((r["verdict"], r["destination"]["proof"]), ("refused", "none"))
        self.assertEqual(r["destination"]["unproven_because"], "the client does not bind")
        self.assertTrue(r["rule"].endswith("policy.conf:2"), r["rule"])
        self.assertEqual(server.login("echo in").stdout, "in\n", "OpenSSH says where it goes")
        exe = r["requester"]["exe"]
        self.agent.stop()

        # trusted by name, and by name only
        for client, is_in in ((exe, True), ("/usr/bin/some-other", False)):
            self.begin(f"Match unbound client {client}\n Access allow\n Touch none\n{rule}", kinds=("ed25519",))
            self.assertEqual(self.client.login(server).is_in, is_in)
            self.agent.stop()

        # or with a question
        self.begin(f"Match unbound\n Access allow\n Confirm yes\n Touch none\n{rule}", kinds=("ed25519",))
        self.pinentry.answer("confirm no")
        self.assertFalse(self.client.login(server).is_in)
        self.assertEqual(self.auths()[-1]["reason"], "the person said no")
        self.pinentry.answer("confirm ok")
        self.assertTrue(self.client.login(server).is_in)
        self.assertIn("does not bind", self.pinentry.dialogs()[-1]["desc"])
        asked = len(self.pinentry.dialogs())
        self.assertEqual(server.login("true").returncode, 0)
        self.assertEqual(len(self.pinentry.dialogs()), asked, "OpenSSH is not unbound")


class OnCard:
    """With a key on a card, and a certificate for it that lies in ~/.ssh."""

    def test_login_by_certificate(self):
        b = Bench()
        self.addCleanup(b.close)
        client = self.CLIENT(b)
        ScriptedPinentry(b).always()
        b.policy("Match all\n Touch none\n")
        pcscd = Pcscd(b)
        ca = Authority(b)
        server = Sshd(b, "host", known_as="host.example", extra=f"TrustedUserCAKeys {ca.public}")
        for kind in client.certifies:
            with self.subTest(kind):
                card = Card(pcscd, "gnuk", "--key", f"aut={kind}", name=kind)
                agent = Agent(b)
                try:
                    self.by_certificate(b, client, agent, server, ca, kind)
                finally:
                    agent.stop()
                    card.process.kill()
                    card.process.wait()

    def by_certificate(self, b, client, agent, server, ca, kind):
        agent.wait_token("gnuk")
        public = agent.latchkey("keys", "--ssh").stdout.strip()
        path = b.home / ".ssh" / "card-cert.pub"
        path.write_text(ca.certify(public, key_id=f"with {kind}"))
        wait_until(lambda: len(b.run("ssh-add", "-L").stdout.splitlines()) == 2, "the certificate is listed")
        if client.names_files:
            b.env["CERTIFICATE"] = str(path)
        p = client.login(server)
        if client.lists:
            self.assertEqual(len(p.keys), 2)
            self.assertIn("-cert-v01@openssh.com", p.keys[1])
        self.assertTrue(p.is_in, p.stdout + p.stderr + server.log.read_text())
        self.assertEqual(agent.last()["certificate"]["key_id"], f"with {kind}")
        self.assertIn(f'Accepted certificate ID "with {kind}"', server.log.read_text())


def both(client):
    name = client.__name__
    for mixin in (Software, OnCard):
        test = type(f"{name}{mixin.__name__}", (mixin, unittest.TestCase), {"CLIENT": client, "__module__": __name__})
        globals()[test.__name__] = test


for one in (Libssh, Paramiko, Asyncssh, Plink, Go):
    both(one)
