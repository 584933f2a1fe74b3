"""ssh-add -s and -e: PKCS#11 tokens (SoftHSM2), and a module of our own that crashes and hangs on demand."""
import base64
import os
import shutil
import signal
import struct
import unittest

from harness import Agent, AgentClient, AskPass, Bench, HostKey, ScriptedPinentry, SoftHsm, Sshd, wait_until
from harness.agentclient import s, sshsig, userauth
from harness.bench import BUILD
from harness.softhsm import FAKE, processes


class Case(unittest.TestCase):
    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        self.pinentry = ScriptedPinentry(b)
        self.askpass = AskPass(b)

    def begin(self, policy="", *args):
        self.bench.policy(policy)
        self.agent = Agent(self.bench, *args)

    def add(self, *args, check=True):
        return self.bench.run("ssh-add", *args, check=check)

    def listed(self):
        out = self.bench.run("ssh-add", "-L", check=False).stdout
        return [line for line in out.splitlines() if line.count(" ") >= 2 and not line.startswith("The agent")]

    def public(self, part):
        """The file of the one listed key that has PART in its line."""
        found = [line for line in self.listed() if part in line]
        self.assertEqual(len(found), 1, self.listed())
        path = self.bench.home / ".ssh" / "token.pub"
        path.write_text(found[0] + "\n")
        return path

    def sign(self, part, check=True):
        return self.bench.run("ssh-keygen", "-Y", "sign", "-n", "test", "-f", self.public(part), input="text", check=check)

    def ended(self, module):
        wait_until(lambda: module not in processes(self.agent), "the provider's process ends")


class Soft(Case):
    def setUp(self):
        super().setUp()
        self.hsm = SoftHsm(self.bench)
        self.module = self.hsm.module
        self.hsm.key("EC:prime256v1", "02", "curve")


class Login(Soft):
    def test_every_kind_of_key(self):
        self.hsm.key("rsa:2048", "01", "numbers")
        self.hsm.key("EC:secp384r1", "03")
        self.hsm.key("EC:secp521r1", "04", "large")
        self.hsm.key("EC:edwards25519", "05", "edwards")
        self.begin()
        self.assertIn("Card added", self.add("-s", self.module).stderr)
        lines = self.listed()
        self.assertEqual(sorted(line.split(" ", 2)[2] for line in lines),
                         sorted(["numbers", "curve", self.module, "large", "edwards"]))
        server = Sshd(self.bench, "host", known_as="host.example")
        for line in lines:
            with self.subTest(line.split(" ", 2)[2]):
                server.authorize(line)
                self.assertEqual(server.login().stdout, "in\n")
                record = self.agent.last()
                self.assertEqual(record["use"], "ssh-auth")
                self.assertEqual(record["pin"], "cached")
                self.assertTrue(record["token"].startswith("pkcs11-"))
        # 512 is what ssh prefers; SHA-1 this sshd does not take any more
        server.authorize([line for line in lines if line.startswith("ssh-rsa")][0])
        self.assertEqual(server.login("echo in", "-o", "PubkeyAcceptedAlgorithms=rsa-sha2-256").stdout, "in\n")
        self.assertEqual(self.pinentry.opened(), [])

    def test_sha1_and_tries_by_ssh_add(self):
        self.hsm.key("rsa:2048", "01", "numbers")
        self.begin()
        self.add("-s", self.module)
        self.bench.run("ssh-add", "-T", self.public("numbers"))  # SHA-1 in 9.2
        self.bench.run("ssh-add", "-T", self.public("curve"))
        self.assertEqual(self.agent.last()["use"], "key-test")
        # .. but no other program gets such data signed
        c = AgentClient(self.agent.ssh)
        self.assertIsNone(c.sign(c.list()[0][0], b"x" * 1024))

    def test_removed(self):
        self.begin()
        self.add("-s", self.module)
        self.assertIn(self.module, processes(self.agent))
        self.assertNotEqual(self.add("-s", self.module, check=False).returncode, 0)  # as ssh-agent: once only
        self.assertEqual(len(self.listed()), 1)
        self.add("-e", self.module)
        self.assertEqual(self.listed(), [])
        self.ended(self.module)
        self.assertNotEqual(self.add("-e", self.module, check=False).returncode, 0)
        self.add("-s", self.module)
        self.sign("curve")
        self.add("-D")
        self.assertEqual(self.listed(), [])
        self.ended(self.module)
        self.add("-s", self.module)
        self.add("-d", self.public("curve"))
        self.ended(self.module)

    def test_life(self):
        self.begin()
        self.add("-t", "1", "-s", self.module)
        wait_until(lambda: not self.listed(), "the keys' life ends")
        self.ended(self.module)
        self.assertIsNone(self.agent.token("pkcs11-"))

    def test_agent_ends(self):
        self.begin()
        self.add("-s", self.module)
        pid = processes(self.agent)[self.module]
        self.agent.stop()
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the process ends with the agent")

    def test_agent_is_killed(self):
        self.begin()
        self.add("-s", self.module)
        pid = processes(self.agent)[self.module]
        self.bench.end(self.agent.process, signal.SIGKILL)
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the process ends with the agent")


class Constraints(Soft):
    def test_confirmed(self):
        self.begin()
        self.add("-c", "-s", self.module)
        self.pinentry.answer("confirm ok")
        self.sign("curve")
        self.assertIn("curve", self.pinentry.dialogs()[0]["desc"])
        self.pinentry.answer("confirm no")
        self.assertNotEqual(self.sign("curve", check=False).returncode, 0)

    def test_destinations(self):
        self.begin()
        good, bad = Sshd(self.bench, "good", known_as="good.example"), Sshd(self.bench, "bad", known_as="bad.example")
        self.add("-h", "good.example", "-H", self.bench.home / ".ssh" / "known_hosts", "-s", self.module)
        for server in (good, bad):
            server.authorize(self.public("curve").read_text())
        self.assertEqual(good.login().stdout, "in\n")
        self.assertNotEqual(bad.login(check=False).returncode, 0)
        self.assertNotEqual(self.sign("curve", check=False).returncode, 0)

    def test_policy(self):
        self.begin("Match use import token pkcs11 key numbers\n Access deny\n"
                   "Match token pkcs11 use sshsig\n Confirm yes\n")
        self.hsm.key("rsa:1024", "01", "numbers")
        self.add("-s", self.module)
        self.assertEqual([line.split(" ", 2)[2] for line in self.listed()], ["curve"])
        self.pinentry.answer("confirm no")
        self.assertNotEqual(self.sign("curve", check=False).returncode, 0)
        self.assertEqual(self.agent.last()["reason"], "the person said no")

    def test_policy_denies(self):
        self.begin("Match use import token pkcs11\n Access deny\n")
        self.assertNotEqual(self.add("-s", self.module, check=False).returncode, 0)
        self.assertEqual(self.agent.last()["verdict"], "refused")
        self.ended(self.module)

    def test_passphrase_lock(self):
        self.begin()
        self.add("-s", self.module)
        public = self.public("curve")
        self.askpass.answer("secret")
        self.add("-x")
        self.assertEqual(self.listed(), [])
        self.assertNotEqual(self.add("-s", self.module, check=False).returncode, 0)
        self.assertNotEqual(self.add("-e", self.module, check=False).returncode, 0)
        self.add("-X")
        # The lock wiped the PIN.
        self.pinentry.answer("pin 1234")
        self.bench.run("ssh-keygen", "-Y", "sign", "-n", "test", "-f", public, input="text")
        self.assertIn(self.hsm.label, self.pinentry.dialogs()[0]["desc"])
        self.assertEqual(self.agent.last()["pin"], "typed")
        self.sign("curve")
        self.assertEqual(self.agent.last()["pin"], "cached")


class Pins(Soft):
    def test_wrong(self):
        self.begin()
        self.askpass.answer("4321")
        p = self.add("-s", self.module, check=False)
        self.assertNotEqual(p.returncode, 0)
        self.assertEqual(self.listed(), [])
        self.assertEqual(self.agent.last()["reason"], "wrong PIN")
        self.assertIn("wrong PIN", self.agent.log.read_text())
        self.ended(self.module)
        self.askpass.answer("1234")
        self.add("-s", self.module)
        self.sign("curve")

    def test_none_given(self):
        self.begin()
        self.askpass.answer("")
        self.add("-s", self.module)
        self.pinentry.answer("pin 9999")
        self.pinentry.answer("pin 1234")
        self.sign("curve")
        self.assertIn("Wrong PIN", self.pinentry.dialogs()[1]["error"])
        self.sign("curve")
        self.assertEqual(len(self.pinentry.dialogs()), 2)

    def test_asked_by_policy(self):
        self.begin("Match token pkcs11\n Pin always\n")
        self.add("-s", self.module)
        self.pinentry.answer("pin 1234")
        self.sign("curve")
        self.pinentry.answer("any cancel")
        self.assertNotEqual(self.sign("curve", check=False).returncode, 0)

    def test_locked_agent(self):
        self.begin()
        self.add("-s", self.module)
        public = self.public("curve")
        self.agent.latchkey("lock")
        # A token that a client added does not open the lock by itself.
        p = self.bench.run("ssh-keygen", "-Y", "sign", "-n", "test", "-f", public, input="text", check=False)
        self.assertNotEqual(p.returncode, 0)
        self.pinentry.answer("confirm ok")
        self.agent.latchkey("unlock")
        self.pinentry.answer("pin 1234")
        self.sign("curve")
        # Once its PIN was typed for it, it does.
        self.agent.latchkey("lock")
        self.pinentry.answer("pin 1234")
        self.sign("curve")
        self.assertEqual(self.agent.lock_state(), "open")


class AllowList(Soft):
    def refused(self, path):
        self.assertNotEqual(self.add("-s", path, check=False).returncode, 0)
        wait_until(lambda: not processes(self.agent), "nothing stays")

    def test_default(self):
        copy = self.bench.home / "libsofthsm2.so"
        shutil.copy(self.module, copy)
        self.begin()
        self.refused(copy)
        self.assertIn("allowed by -P", self.agent.log.read_text())
        self.refused(f"{os.path.dirname(self.module)}/../../../..{copy}")
        self.refused("/usr/lib/no-such-module.so")
        self.refused("libsofthsm2.so")
        # A link to what is allowed is allowed, and is the same provider.
        link = self.bench.home / "link.so"
        link.symlink_to(self.module)
        self.add("-s", link)
        self.assertEqual(list(processes(self.agent)), [self.module])
        self.assertNotEqual(self.add("-s", self.module, check=False).returncode, 0)
        self.add("-e", f"{os.path.dirname(self.module)}/./{os.path.basename(self.module)}")
        self.ended(self.module)

    def test_link_out_of_it(self):
        allowed = self.bench.home / "allowed"
        allowed.mkdir()
        copy = self.bench.home / "libsofthsm2.so"
        shutil.copy(self.module, copy)
        (allowed / "link.so").symlink_to(copy)
        shutil.copy(self.module, allowed / "real.so")
        self.begin("", "-P", f"{allowed}/*")
        self.refused(allowed / "link.so")
        self.refused(allowed / ".." / "libsofthsm2.so")
        self.refused(self.module)
        self.add("-s", allowed / "real.so")
        self.assertEqual(len(self.listed()), 1)

    def test_not_a_module(self):
        self.begin("", "-P", "/*")
        self.refused(shutil.which("true"))
        self.refused("/etc/passwd")
        self.assertIn("not a PKCS#11 module", self.agent.log.read_text())


class Wire(Soft):
    """What ssh-add cannot send, or would not."""

    def ask(self, c, kind, tail=b"", pin="1234"):
        return c.ask(bytes([kind]) + s(self.module) + s(pin) + tail)[0] == 6

    def client(self):
        c = AgentClient(self.agent.ssh)
        self.addCleanup(c.close)
        return c

    def certs(self, only, *blobs):
        return b"\xff" + s("associated-certs-v00@openssh.com") + bytes([only]) + s(b"".join(s(blob) for blob in blobs))

    def test_bound_connections(self):
        self.begin()
        key = HostKey(self.bench, "far")
        bound, failed, free = self.client(), self.client(), self.client()
        self.assertTrue(bound.bind(self.bench, key, os.urandom(32)))
        self.assertFalse(failed.bind(self.bench, key, os.urandom(32), signature=b"nonsense"))
        for c in (bound, failed):
            self.assertFalse(self.ask(c, 20))
            self.assertFalse(self.ask(c, 26))
        self.assertEqual(processes(self.agent), {})
        self.assertTrue(self.ask(free, 20))
        # As with ssh-agent a bound connection may take it away; who sits behind a forwarding hop may not.
        forwarded = self.client()
        self.assertTrue(forwarded.bind(self.bench, key, os.urandom(32), forwarding=True))
        self.assertFalse(self.ask(forwarded, 21))
        self.assertTrue(self.ask(bound, 21))

    def test_bound_connections_allowed(self):
        self.begin("", "-O", "allow-remote-pkcs11")
        c = self.client()
        self.assertTrue(c.bind(self.bench, HostKey(self.bench, "far"), os.urandom(32)))
        self.assertTrue(self.ask(c, 20))

    def make_cert(self, public):
        ca = self.bench.home / ".ssh" / "ca"
        if not ca.exists():
            self.bench.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ca)
        self.bench.run("ssh-keygen", "-q", "-s", ca, "-I", "token", "-n", self.user(), "-V", "+1h", public)
        cert = public.with_name(public.stem + "-cert.pub")
        return cert, base64.b64decode(cert.read_text().split()[1])

    def user(self):
        import getpass
        return getpass.getuser()

    def test_certificates(self):
        self.begin()
        self.add("-s", self.module)
        public = self.public("curve")
        cert, blob = self.make_cert(public)
        plain = base64.b64decode(public.read_text().split()[1])
        self.bench.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.bench.home / ".ssh" / "other")
        other = self.make_cert(self.bench.home / ".ssh" / "other.pub")[1]
        self.add("-e", self.module)
        c = self.client()

        self.assertTrue(self.ask(c, 26, self.certs(0, other, blob)))
        self.assertEqual(c.list(), [(blob, "curve"), (plain, "curve")])
        # A login by the certificate alone: the server knows the CA and nothing else.
        server = Sshd(self.bench, "host", known_as="host.example")
        server.authorize("cert-authority " + (self.bench.home / ".ssh" / "ca.pub").read_text())
        self.assertEqual(server.login("echo in", "-o", f"CertificateFile={cert}").stdout, "in\n")
        self.assertEqual(server.login().stdout, "in\n")
        self.add("-e", self.module)
        self.assertEqual(c.list(), [])

        # Only the certificates; with a life.
        self.assertTrue(self.ask(c, 26, self.certs(1, blob) + b"\x01" + struct.pack(">I", 3600)))
        self.assertEqual(c.list(), [(blob, "curve")])
        self.assertIsNotNone(c.sign(blob, sshsig("x")))
        self.assertIsNone(c.sign(plain, sshsig("x")))
        self.assertEqual(server.login().stdout, "in\n")
        self.add("-e", self.module)

        # No certificate that fits: nothing to serve.
        self.assertFalse(self.ask(c, 26, self.certs(1, other)))
        self.ended(self.module)
        # A plain key is none; half a message is none.
        self.assertFalse(self.ask(c, 26, self.certs(0, plain)))
        self.assertFalse(self.ask(c, 26, self.certs(0, blob)[:-1]))
        self.assertFalse(self.ask(c, 26, self.certs(0, blob) * 2))
        self.assertFalse(self.ask(c, 26, b"\x03" + struct.pack(">I", 1)))
        self.assertEqual(c.list(), [])

    def test_certificates_in_files(self):
        """A module's keys are a token's: ~/.ssh/*-cert.pub goes with them, and ends with them."""
        self.begin()
        self.add("-s", self.module)
        public = self.public("curve")
        plain = base64.b64decode(public.read_text().split()[1])
        cert, blob = self.make_cert(public)
        self.assertEqual(cert.parent, self.bench.home / ".ssh")
        c = self.client()
        wait_until(lambda: (blob, "curve") in c.list(), "the certificate beside its key")
        blobs = [b for b, _ in c.list()]
        self.assertEqual(blobs[blobs.index(plain) + 1], blob)
        server = Sshd(self.bench, "host", known_as="host.example")
        server.authorize("cert-authority " + (self.bench.home / ".ssh" / "ca.pub").read_text())
        self.assertEqual(server.login("echo in").stdout, "in\n")
        self.add("-e", self.module)
        self.assertEqual(c.list(), [])
        self.add("-s", self.module, "-t", "2")
        self.assertIn(blob, [b for b, _ in c.list()])
        wait_until(lambda: c.list() == [], "both gone at the end of their life")

    def test_userauth_by_plain_and_by_certificate(self):
        self.begin()
        self.add("-s", self.module)
        public = self.public("curve")
        blob = self.make_cert(public)[1]
        plain = base64.b64decode(public.read_text().split()[1])
        self.add("-e", self.module)
        c = self.client()
        self.assertTrue(self.ask(c, 26, self.certs(0, blob)))
        alg = "ecdsa-sha2-nistp256"
        sid = os.urandom(32)
        self.assertIsNotNone(c.sign(blob, userauth(sid, "x", blob, alg=alg + "-cert-v01@openssh.com")))
        self.assertIsNotNone(c.sign(plain, userauth(sid, "x", plain, alg=alg)))

    def test_a_file_key_is_left_alone(self):
        """Twins: the key that ssh-add brought stays, and takes the place of a provider's."""
        pem = self.bench.home / ".ssh" / "twin"
        self.bench.run("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-m", "PKCS8", "-C", "file", "-f", pem)
        self.hsm.tool("--delete-object", "--type", "privkey", "--id", "02")
        self.hsm.tool("--delete-object", "--type", "pubkey", "--id", "02")
        self.bench.run("softhsm2-util", "--import", pem, "--token", self.hsm.label, "--label", "twin", "--id", "07", "--pin",
                       "1234")
        self.begin()
        self.add("-q", pem)
        self.assertNotEqual(self.add("-s", self.module, check=False).returncode, 0)
        self.ended(self.module)
        self.add("-D")
        self.add("-s", self.module)
        self.add("-q", pem)
        self.ended(self.module)
        self.assertEqual(len(self.listed()), 1)
        self.sign("nistp256")


class Wild(Case):
    """A module that crashes and hangs, as modules do."""

    def setUp(self):
        super().setUp()
        b = self.bench
        self.mode_file = b.top / "mode"
        self.mode("")
        keys = b.top / "keys"
        keys.mkdir()
        b.env["FAKE_PKCS11_MODE"] = str(self.mode_file)
        b.env["FAKE_PKCS11_KEYS"] = str(keys)
        self.module = str(FAKE.resolve())

    def mode(self, word):
        self.mode_file.write_text(word + "\n")

    def begin(self, policy=""):
        # Its slots say that they are hardware, for which the built-in policy wants a person to be there.
        super().begin(policy + "Match token pkcs11\n Touch none\n", "-P", f"{BUILD}/*")
        self.soft = self.bench.home / ".ssh" / "soft"
        self.bench.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "soft", "-f", self.soft)
        self.add("-q", self.soft)

    def test_hardware_wants_a_person(self):
        Case.begin(self, "", "-P", f"{BUILD}/*")
        self.add("-s", self.module)
        self.pinentry.answer("confirm ok")
        self.sign("key 1")
        self.assertEqual(self.agent.last()["presence"], "dialog")
        self.pinentry.answer("confirm no")
        self.assertNotEqual(self.sign("key 3", check=False).returncode, 0)
        self.add("-e", self.module)
        self.assertEqual(len(self.pinentry.dialogs()), 2)

    def start_signing(self, part):
        public = self.public(part)
        text = self.bench.top / "text"
        text.write_text("text")
        return self.bench.start("ssh-keygen", "-Y", "sign", "-n", "test", "-f", public, text, stderr=-3)

    def test_crash_while_signing(self):
        self.begin()
        self.add("-s", self.module)
        first = processes(self.agent)[self.module]
        self.sign("key 1")
        self.mode("crash-sign")
        self.assertNotEqual(self.sign("key 1", check=False).returncode, 0)
        self.assertEqual(self.agent.last()["reason"], "the token's process ended")
        self.assertEqual(len(self.listed()), 5)
        self.assertEqual(self.agent.token("pkcs11-F0001")["state"], "lost")
        self.sign("soft")
        # Started anew at its next use; its PIN went with it.
        self.mode("")
        self.pinentry.answer("pin 1234")
        wait_until(lambda: self.sign("key 1", check=False).returncode == 0, "it is started anew")
        self.assertEqual(self.agent.last()["pin"], "typed")
        self.assertEqual(self.agent.last()["token"], "pkcs11-F0001")
        self.assertEqual(len(self.pinentry.dialogs()), 1)
        self.assertNotEqual(processes(self.agent)[self.module], first)
        self.sign("key 3")
        self.assertEqual(self.agent.last()["pin"], "cached")

    def test_added_again_after_a_crash(self):
        self.begin()
        self.add("-c", "-s", self.module)
        os.kill(processes(self.agent)[self.module], signal.SIGKILL)
        wait_until(lambda: self.agent.token("pkcs11-F0001")["state"] == "lost", "the crash is noticed")
        self.add("-s", self.module)
        self.assertEqual(len(self.listed()), 5)
        self.sign("key 1")
        self.assertEqual(self.pinentry.opened(), [])
        os.kill(processes(self.agent)[self.module], signal.SIGKILL)
        wait_until(lambda: self.agent.token("pkcs11-F0001")["state"] == "lost", "the crash is noticed")
        self.add("-d", self.public("key 1"))
        self.assertEqual(len(self.listed()), 4)
        self.add("-e", self.module)
        self.assertEqual(len(self.listed()), 1)
        self.assertIsNone(self.agent.token("pkcs11-"))

    def test_hang_while_signing(self):
        self.begin()
        self.add("-s", self.module)
        self.mode("hang-sign")
        p = self.start_signing("key 1")
        wait_until(lambda: self.agent.token("pkcs11-F0001").get("busy", 1), "the module is asked")
        # Everybody else is served.
        self.assertEqual(len(self.listed()), 5)
        self.sign("soft")
        self.assertIsNone(p.poll())
        self.add("-e", self.module)
        self.ended(self.module)
        self.assertNotEqual(p.wait(20), 0)

    def test_crash_and_hang_while_loading(self):
        self.begin("Match use import\n Timeout 1s\n")
        self.mode("crash-load")
        self.assertNotEqual(self.add("-s", self.module, check=False).returncode, 0)
        self.mode("hang-load")
        self.assertNotEqual(self.add("-s", self.module, check=False).returncode, 0)
        self.ended(self.module)
        self.sign("soft")
        self.mode("")
        self.add("-s", self.module)
        self.sign("key 1")

    def test_asked_for_while_hanging(self):
        """ssh-add's person loses patience: what was begun ends with it."""
        self.begin()
        self.mode("hang-load")
        p = self.bench.start("ssh-add", "-s", self.module, stderr=-3)
        wait_until(lambda: self.module in processes(self.agent), "the module is loaded")
        self.bench.end(p, signal.SIGTERM)
        self.ended(self.module)


if __name__ == "__main__":
    unittest.main()
