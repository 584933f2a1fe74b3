"""Keys of a Ledger (in software, tests/wallets/ledger): real ssh, ssh-keygen and git on the other side."""
import base64
import getpass
import unittest

from harness import Agent, AgentClient, Bench, HostKey, Ledger, ScriptedPinentry, Sshd, Trezor, wait_until
from harness.agentclient import userauth
from harness.walletcase import ED, LINES, P256, WalletCase

SIGN, OPEN = ("PGP Agent", "Sign?"), ("Open app", "SSH/PGP Agent")
IN_TIME = 20
UID = "Ann <ann@example.org>"


class Case(WalletCase):
    def begin(self, identities=(P256,), policy="", options=(), prepare=(), known=True):
        """KNOWN: the public keys stand in a .pub file, as one exports them once; else they are to be read."""
        b = self.bench
        self.ledger = Ledger(b, *options)
        for line in prepare:
            self.ledger.do(line)
        b.policy(policy)
        path = b.home / "ids.pub"
        path.write_text("".join(LINES[i] + "\n" for i in identities))
        path.chmod(0o600)
        names = [str(path)] if known else identities
        self.pinentry = ScriptedPinentry(b, f"Emulator ledger {self.ledger.address}\n" + "".join(f"Identity {n}\n" for n in names))
        self.agent = Agent(b)

    def ready(self):
        self.agent.wait_token("ledger")

    def sign(self, pub, check=True):
        """With a person who agrees to all."""
        self.ledger.do("person yes")
        p = super().sign(pub, check)
        self.ledger.do("person waits")
        return p


class Ssh(Case):
    def login(self, name, hostkey):
        server = Sshd(self.bench, hostkey)
        server.authorize(LINES[name])
        return server

    def test_login(self):
        self.begin()
        self.ready()
        self.assertEqual(self.listed(), [LINES[P256]])
        for hostkey in ("ed25519", "rsa"):
            with self.subTest(hostkey):
                login = self.bench.start(*self.login(P256, hostkey).args(), "echo in", stdout=-1, text=True)
                self.ledger.wait_screen("Connect SSH user", getpass.getuser()[:20])
                wait_until(lambda: any("confirm there" in n for n in self.notices()), "the person is told")
                self.ledger.do("yes")
                self.assertEqual(login.communicate(timeout=IN_TIME)[0], "in\n")
                r = self.agent.last()
                self.assertEqual((r["use"], r["presence"], r["pin"]), ("ssh-auth", "touch", "none"))

    def test_files_and_commits(self):
        self.begin()
        self.ready()
        b, pub = self.bench, self.pub(LINES[P256])
        p = self.start_sign(pub)
        self.ledger.wait_screen(*SIGN)
        self.ledger.do("yes")
        self.assertEqual(p.wait(IN_TIME), 0)
        self.sign(pub)
        self.assertEqual(self.agent.last()["use"], "sshsig:file")
        b.run("git", "init", "-q", "repo")
        git = ("git", "-C", "repo", "-c", "gpg.format=ssh", "-c", f"user.signingkey={pub}")
        self.ledger.do("person yes")
        b.run(*git, "commit", "-q", "--allow-empty", "-S", "-m", "from a wallet")
        (b.home / "allowed").write_text(f"ann@example.org {LINES[P256]}\n")
        b.run(*git, "-c", f"gpg.ssh.allowedSignersFile={b.home}/allowed", "verify-commit", "HEAD")
        self.assertEqual(self.agent.last()["use"], "sshsig:git")

    def test_what_ed25519_cannot(self):
        """Refused before the device is asked, with what would work."""
        self.begin((ED,))
        self.ready()
        before = self.ledger.state()["prompts"]
        self.assertNotEqual(self.sign(self.pub(LINES[ED]), check=False).returncode, 0)
        self.assertIn("nist256p1", self.refused("nothing but logins with Ed25519")["reason"])
        key = base64.b64decode(LINES[ED].split()[1])
        c = AgentClient(self.agent.ssh)
        self.assertIsNone(c.sign(key, userauth(b"\1" * 32, "u" * 113, key)))
        self.assertIn("nist256p1", self.refused("at most 255 octets")["reason"])
        self.assertEqual(self.ledger.state()["prompts"], before)
        self.ledger.do("person yes")
        self.assertIsNotNone(c.sign(key, userauth(b"\1" * 32, "u" * 112, key)))
        c.close()

    def test_ed25519_login(self):
        """It fits as long as the host's key is short."""
        self.begin((ED,))
        self.ready()
        self.ledger.do("person yes")
        server = self.login(ED, "ed25519")
        self.assertEqual(self.bench.run(*server.args(), "-o", "KexAlgorithms=curve25519-sha256", "echo in").stdout, "in\n")

    def test_person_says_no(self):
        self.begin()
        self.ready()
        p = self.start_sign(self.pub(LINES[P256]))
        self.ledger.wait_screen(*SIGN)
        self.ledger.do("no")
        self.assertNotEqual(p.wait(IN_TIME), 0)
        self.refused("refused on the")
        self.sign(self.pub(LINES[P256]))

    def test_late_answer_after_cancel(self):
        """The question stays on its screen when the client hangs up; the answer to it is nobody's, and what comes next waits."""
        self.begin()
        self.ready()
        pub = self.pub(LINES[P256])
        for answer in ("yes", "no"):
            with self.subTest(answer):
                first = self.start_sign(pub)
                self.ledger.wait_screen(*SIGN)
                asked, told, records = self.ledger.state()["prompts"], len(self.notices()), len(self.agent.records())
                self.bench.end(first)
                wait_until(lambda: len(self.agent.records()) > records, "it is given up")
                second = self.start_sign(pub)
                wait_until(lambda: len(self.notices()) > told, "the person is told again")
                self.ledger.do(answer)
                wait_until(lambda: self.ledger.state()["prompts"] == asked + 1, "it asks anew")
                self.ledger.do("yes")
                self.assertEqual(second.wait(IN_TIME), 0)
                (self.bench.home / "data.sig").unlink()
        self.assertEqual(self.ledger.state()["intruders"], 0)

    def test_denied_by_policy(self):
        self.begin(policy="Match use sshsig:*\n    Allow no\n")
        self.ready()
        self.assertNotEqual(self.sign(self.pub(LINES[P256]), check=False).returncode, 0)
        self.assertEqual(self.ledger.state()["prompts"], 0)

    def test_another_seed(self):
        self.begin()
        self.ready()
        self.ledger.do("passphrase another")
        self.assertNotEqual(self.sign(self.pub(LINES[P256]), check=False).returncode, 0)
        self.refused("another")

    def test_same_key_on_a_trezor(self):
        """Either will do: the identity makes the key, not the device."""
        self.begin()
        self.ready()
        self.ledger.pull()
        trezor = Trezor(self.bench)
        trezor.do("buttons yes")
        self.agent.stop()
        self.bench.settings(f"Emulator trezor {trezor.address}\nIdentity {self.bench.home / 'ids.pub'}\n")
        self.agent = Agent(self.bench)
        self.agent.wait_token("trezor")
        self.assertEqual(self.listed(), [LINES[P256]])
        (self.bench.home / "sig").write_text(self.bench.run("ssh-keygen", "-Y", "sign", "-n", "file", "-f", self.pub(LINES[P256]),
                                                            input="text").stdout)


class Gpg(Case):
    """A gpg:// identity whose keys were read from a Trezor of the same seed."""

    def gpg(self, *args, check=True, **kw):
        return self.bench.run("gpg", "--no-autostart", "--batch", "--status-fd=2", *args, check=check, **kw)

    def begin_gpg(self, curve):
        b = self.bench
        b.gnupg.mkdir(mode=0o700)
        b.policy("")
        trezor, self.ledger = Trezor(b), Ledger(b)
        trezor.do("buttons yes")
        self.pinentry = ScriptedPinentry(b, f"Emulator trezor {trezor.address}\nEmulator ledger {self.ledger.address}\n"
                                         f'Identity "gpg://{UID}" {curve}\nGpgSocket {b.gnupg}/S.gpg-agent\n')
        self.agent = Agent(b)
        self.agent.wait_token("trezor")
        self.fpr = next(k["openpgp_fingerprint"] for k in self.agent.keys() if "sign" in k["uses"])
        self.gpg("--import", input=self.agent.latchkey("keys", "--openpgp", UID).stdout)
        self.gpg("--import-ownertrust", input=f"{self.fpr}:6:\n")
        self.agent.stop()
        trezor.stop()
        self.agent = Agent(b)
        self.ready()
        (b.home / "text").write_text("for the wallet's eyes\n")

    def detach(self, digest, **kw):
        b = self.bench
        p = self.gpg("--digest-algo", digest, "--detach-sign", "-u", self.fpr, "-o", b.home / f"{digest}.sig", b.home / "text", **kw)
        if p.returncode == 0:
            self.assertIn("GOODSIG", self.gpg("--verify", b.home / f"{digest}.sig", b.home / "text").stderr)
        return p

    def test_p256(self):
        self.begin_gpg("nist256p1")
        self.ledger.do("person yes")
        for digest in ("SHA256", "SHA512", "SHA384"):
            self.detach(digest)
            self.assertEqual((self.agent.last()["use"], self.agent.last()["presence"]), ("openpgp-sign", "touch"))
        b = self.bench
        self.gpg("--trust-model=always", "--encrypt", "-r", self.fpr, "-o", b.home / "box", b.home / "text")
        self.assertEqual(self.gpg("--decrypt", b.home / "box").stdout, "for the wallet's eyes\n")
        self.assertEqual(self.agent.last()["use"], "decrypt")
        b.run("git", "init", "-q", "repo")
        git = ("git", "-C", "repo", "-c", f"user.signingkey={self.fpr}")
        b.run(*git, "commit", "-q", "--allow-empty", "-S", "-m", "from a wallet")
        self.assertIn("Good signature", b.run(*git, "verify-commit", "HEAD").stderr)

    def test_ed25519(self):
        self.begin_gpg("ed25519")
        self.ledger.do("person yes")
        self.detach("SHA256")
        before = self.ledger.state()["prompts"]
        self.assertNotEqual(self.detach("SHA512", check=False).returncode, 0)
        self.assertIn("SHA-256", self.refused("digests of 256 bits only")["reason"])
        self.gpg("--trust-model=always", "--encrypt", "-r", self.fpr, "-o", self.bench.home / "box", self.bench.home / "text")
        self.assertNotEqual(self.gpg("--decrypt", self.bench.home / "box", check=False).returncode, 0)
        self.assertIn("nist256p1", self.refused("Curve25519")["reason"])
        self.assertEqual(self.ledger.state()["prompts"], before)


class InTheWay(Case):
    def test_dashboard(self):
        """It offers to open the application, and comes back on the bus as another device."""
        self.begin(prepare=["dashboard"])
        self.ready()
        p = self.start_sign(self.pub(LINES[P256]))
        self.ledger.wait_screen(*OPEN)
        self.ledger.do("yes")
        self.ledger.wait_screen(*SIGN)
        self.ledger.do("yes")
        self.assertEqual(p.wait(IN_TIME), 0)

    def test_dashboard_refused(self):
        self.begin(prepare=["dashboard"])
        self.ready()
        p = self.start_sign(self.pub(LINES[P256]))
        self.ledger.wait_screen(*OPEN)
        self.ledger.do("no")
        self.assertNotEqual(p.wait(IN_TIME), 0)
        self.refused("refused on the")

    def test_not_installed(self):
        self.begin(prepare=["dashboard", "installed no"])
        self.ready()
        self.assertNotEqual(self.sign(self.pub(LINES[P256]), check=False).returncode, 0)
        self.refused("install it")

    def test_locked(self):
        """The person unlocks it, and what was wanted goes on."""
        self.begin(prepare=["lock"])
        self.ready()
        p = self.start_sign(self.pub(LINES[P256]))
        wait_until(lambda: any("confirm there" in n for n in self.notices()), "the person is told")
        self.ledger.do("unlock")
        self.ledger.wait_screen(*SIGN)
        self.ledger.do("yes")
        self.assertEqual(p.wait(IN_TIME), 0)

    def test_another_application(self):
        self.begin()
        self.ready()
        self.ledger.do("app Bitcoin")
        self.assertNotEqual(self.sign(self.pub(LINES[P256]), check=False).returncode, 0)
        self.refused("Bitcoin is open on the Ledger")
        self.ledger.do("app SSH/PGP Agent")
        self.sign(self.pub(LINES[P256]))

    def test_hints_in_status(self):
        """They go when the person has done it."""
        for prepare, done, words in (("lock", "unlock", "unlock it with its PIN"), ("dashboard", "app SSH/PGP Agent", "open SSH/PGP Agent"),
                                     ("app OpenPGP", "app SSH/PGP Agent", "OpenPGP is open on it")):
            with self.subTest(words):
                self.bench = Bench()
                self.addCleanup(self.bench.close)
                self.begin(prepare=[prepare])
                wait_until(lambda: words in self.agent.latchkey("status").stdout, "status tells why")
                self.ledger.do(done)
                wait_until(lambda: words not in self.agent.latchkey("status").stdout, "status tells no more", 40)
                self.ready()

    def test_old_application(self):
        self.begin(options=("--version", "0.0.7"))
        self.ready()
        key = base64.b64decode(LINES[P256].split()[1])
        c = AgentClient(self.agent.ssh)
        self.ledger.do("person yes")
        self.assertIsNotNone(c.sign(key, userauth(b"\1" * 32, "user", key, alg="ecdsa-sha2-nistp256")))
        host = HostKey(self.bench, "host")
        self.assertIsNone(c.sign(key, userauth(b"\1" * 32, "user", key, alg="ecdsa-sha2-nistp256", host_blob=host.blob)))
        c.close()
        self.refused("0.0.7 is too old")

    def test_unplugged_while_it_asks(self):
        self.begin()
        self.ready()
        p = self.start_sign(self.pub(LINES[P256]))
        self.ledger.wait_screen(*SIGN)
        self.ledger.pull()
        self.assertNotEqual(p.wait(IN_TIME), 0)
        self.refused("unplugged")
        self.ledger.start()
        self.ready()
        self.sign(self.pub(LINES[P256]))

    def test_plugged_in_for_it(self):
        self.begin()
        self.ready()
        self.ledger.pull()
        self.agent.stop()
        self.agent = Agent(self.bench)
        self.assertEqual(self.listed(), [LINES[P256]])
        p = self.start_sign(self.pub(LINES[P256]))
        wait_until(lambda: any("Plug in" in n for n in self.notices()), "the person is asked")
        self.ledger.start()
        self.ledger.wait_screen(*SIGN)
        self.ledger.do("yes")
        self.assertEqual(p.wait(IN_TIME), 0)


if __name__ == "__main__":
    unittest.main()
