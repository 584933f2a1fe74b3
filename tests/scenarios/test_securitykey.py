"""Keys of security keys, added by ssh-add: with middleware as ssh-keygen and ssh-add use it, and by libfido2 on authenticators
in software. Real ssh, sshd, ssh-keygen, ssh-add on the other side."""
import base64
import os
import unittest

from harness import Agent, AgentClient, Bench, HostKey, Middleware, ScriptedPinentry, SecurityKey, Sshd, wait_until
from harness.agentclient import s, sshsig, userauth
from harness.bench import BUILD
from harness.securitykey import PRESENCE, TYPES, VERIFY, key_file

BLOB = 1  # of "type blob comment"


class Case(unittest.TestCase):
    agent_args = ("-P", f"{BUILD}/*")

    def setUp(self):
        self.bench = Bench()
        self.pinentry = None
        self.addCleanup(self.bench.close)

    def begin(self, policy="", emulators=(), agent_args=None):
        b = self.bench
        b.policy(policy)
        if self.pinentry is None:
            self.pinentry = ScriptedPinentry(b, "".join(f"Emulator fido {e.path}\n" for e in emulators))
        self.agent = Agent(b, *(self.agent_args if agent_args is None else agent_args))

    def sign(self, key, check=True, **kw):
        """ssh-keygen -Y sign, and that the signature holds."""
        b = self.bench
        p = b.run("ssh-keygen", "-Y", "sign", "-n", "file", "-f", key.with_suffix(".pub"), input="text", check=check, **kw)
        if p.returncode == 0:
            (b.home / "sig").write_text(p.stdout)
            b.run("ssh-keygen", "-Y", "check-novalidate", "-n", "file", "-s", b.home / "sig", input="text")
        return p

    def start_sign(self, key):
        (self.bench.home / "data").write_text("text")
        return self.bench.start("ssh-keygen", "-Y", "sign", "-n", "file", "-f", key.with_suffix(".pub"), self.bench.home / "data",
                                cwd=self.bench.home)

    def blob(self, key):
        return base64.b64decode(key.with_suffix(".pub").read_text().split()[BLOB])

    def notices(self):
        return [d["desc"] for d in self.pinentry.opened() if d["kind"] == "message"]

    def listed(self):
        p = self.bench.run("ssh-add", "-L", check=False)
        return [line.split()[:2] for line in p.stdout.splitlines()] if p.returncode == 0 else []


class ByMiddleware(Case):
    def setUp(self):
        super().setUp()
        self.mw = Middleware(self.bench)

    def keygen(self, algo, *options, name=None, application=None):
        path = self.bench.home / ".ssh" / (name or f"id_{algo}_sk")
        args = [x for o in options for x in ("-O", o)] + (["-O", f"application={application}"] if application else [])
        self.bench.run("ssh-keygen", "-q", "-t", f"{algo}-sk", "-N", "", "-C", f"sk {algo}", "-f", path, *args)
        return path

    def test_login_signature_and_certificate(self):
        self.begin()
        b = self.bench
        server = Sshd(b, "host")
        ca = b.home / ".ssh" / "ca"
        b.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ca)
        for algo in ("ed25519", "ecdsa"):
            with self.subTest(algo):
                key = self.keygen(algo)
                b.run("ssh-add", "-q", key)
                key.rename(key.with_suffix(".away"))  # the agent alone can do it
                server.authorize(key.with_suffix(".pub").read_text())
                self.assertEqual(server.login().stdout, "in\n")
                r = self.agent.last()
                self.assertEqual((r["use"], r["presence"], r["pin"]), ("ssh-auth", "touch", "none"))
                self.assertEqual(r["token"], "fido-testsk.so")
                self.assertEqual(r["security_key"]["flags"], PRESENCE)
                self.assertGreater(r["security_key"]["counter"], 0)
                self.assertEqual(r["destination"]["proof"], "hostbound")
                self.assertEqual(self.mw.calls()[-1], ("ssh:", PRESENCE, False))
                self.sign(key)
                key.with_suffix(".away").rename(key)
                b.run("ssh-keygen", "-q", "-s", ca, "-I", algo, "-n", server.user, key.with_suffix(".pub"))
                b.run("ssh-add", "-q", key)
                self.assertIn(f"{algo.upper()}-SK-CERT", b.run("ssh-add", "-l").stdout)
                key.rename(key.with_suffix(".away"))
                server.authorize("cert-authority " + ca.with_suffix(".pub").read_text())
                self.assertEqual(server.login("echo in", "-o", f"CertificateFile={key}-cert.pub").stdout, "in\n")
                self.assertEqual(server.login().stdout, "in\n")  # the agent's own list

    def test_resident_keys_by_ssh_add(self):
        """ssh-add -K talks to the token itself, and brings what it found."""
        self.begin()
        self.mw.set("resident", "ssh:kept")
        self.mw.set("pin", "1234")
        askpass = self.bench.top / "askpass"
        askpass.write_text("#!/bin/sh\necho 1234\n")
        askpass.chmod(0o755)
        self.bench.env.update(SSH_ASKPASS=str(askpass), SSH_ASKPASS_REQUIRE="force")
        self.bench.run("ssh-add", "-K")
        self.assertEqual([t for t, _ in self.listed()], [TYPES["ed25519"].decode()])
        pub = self.bench.home / ".ssh" / "kept.pub"
        pub.write_text(self.bench.run("ssh-add", "-L").stdout)
        self.sign(pub.with_suffix(""))
        self.assertEqual(self.mw.calls(), [("ssh:kept", PRESENCE | 0x20, False)])

    def test_listed_last_and_removed(self):
        self.begin()
        b = self.bench
        soft = b.home / ".ssh" / "soft"
        b.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", soft)
        one, two = self.keygen("ed25519"), self.keygen("ecdsa")
        b.run("ssh-add", "-q", one)
        b.run("ssh-add", "-q", two)
        b.run("ssh-add", "-q", soft)
        self.assertEqual([t for t, _ in self.listed()], ["ssh-ed25519", TYPES["ed25519"].decode(), TYPES["ecdsa"].decode()])
        b.run("ssh-add", "-q", "-d", two)
        self.assertEqual(len(self.listed()), 2)
        b.run("ssh-add", "-q", "-t", "1", two)
        self.sign(two)
        wait_until(lambda: len(self.listed()) == 2, "the key's life ends")
        b.run("ssh-add", "-q", "-c", two)
        self.pinentry.answer("confirm no")
        self.assertNotEqual(self.sign(two, check=False).returncode, 0)
        self.pinentry.answer("confirm ok")
        self.sign(two)
        c = AgentClient(self.agent.ssh)
        self.assertEqual(c.ask(b"\x16\0\0\0\x06secret")[0], 6)
        self.assertEqual(c.list(), [])
        self.assertIsNone(c.sign(self.blob(one), sshsig("file")))
        self.assertEqual(c.ask(b"\x17\0\0\0\x06secret")[0], 6)
        self.assertIsNotNone(c.sign(self.blob(one), sshsig("file")))
        b.run("ssh-add", "-q", "-D")
        self.assertEqual(self.listed(), [])
        self.assertIsNone(c.sign(self.blob(one), sshsig("file")))

    def test_destination_constraints(self):
        self.begin()
        good, bad = Sshd(self.bench, "good", known_as="good.example"), Sshd(self.bench, "bad", known_as="bad.example")
        key = self.keygen("ed25519")
        for server in (good, bad):
            server.authorize(key.with_suffix(".pub").read_text())
        self.bench.run("ssh-add", "-q", "-h", "good.example", "-H", self.bench.home / ".ssh" / "known_hosts", key)
        key.unlink()
        self.assertEqual(good.login().stdout, "in\n")
        self.assertNotEqual(bad.login(check=False).returncode, 0)

    def test_no_touch_required(self):
        self.begin("Match use sshsig:file\n Touch always\nMatch all\n Touch none\n")
        key = self.keygen("ed25519", "no-touch-required")
        server = Sshd(self.bench, "host")
        server.authorize("no-touch-required " + key.with_suffix(".pub").read_text())
        self.bench.run("ssh-add", "-q", key)
        key.rename(key.with_suffix(".away"))
        self.assertEqual(server.login().stdout, "in\n")
        self.assertEqual(self.mw.calls(), [("ssh:", 0, False)])
        self.assertEqual(self.agent.last()["presence"], "none")
        # The token does not enforce what this use demands: a dialog stands in.
        self.pinentry.answer("confirm ok")
        self.sign(key)
        self.assertEqual(self.agent.last()["presence"], "dialog")
        server.authorize(key.with_suffix(".pub").read_text())
        self.assertNotEqual(server.login(check=False).returncode, 0)

    def test_verify_required(self):
        self.begin()
        key = self.keygen("ecdsa", "verify-required")
        self.mw.set("pin", "1234")
        server = Sshd(self.bench, "host")
        server.authorize("verify-required " + key.with_suffix(".pub").read_text())
        self.bench.run("ssh-add", "-q", key)
        key.rename(key.with_suffix(".away"))
        self.pinentry.answer("pin 9999")
        self.pinentry.answer("pin 1234")
        self.assertEqual(server.login().stdout, "in\n")
        flags = PRESENCE | VERIFY
        self.assertEqual(self.mw.calls(), [("ssh:", flags, False), ("ssh:", flags, True), ("ssh:", flags, True)])
        first, second = self.pinentry.dialogs()
        self.assertIn("PIN for the security key (testsk.so)", first["desc"])
        self.assertIn("sk ecdsa", first["desc"])
        self.assertNotIn("error", first)
        self.assertIn("Wrong PIN", second["error"])
        r = self.agent.last()
        self.assertEqual((r["presence"], r["pin"], r["security_key"]["flags"]), ("touch", "typed", flags))
        # No PIN is kept, and one that was refused is not sent again.
        self.pinentry.answer("pin 9999")
        self.pinentry.answer("pin 9999")
        self.assertNotEqual(self.sign(key, check=False).returncode, 0)
        self.assertEqual(len(self.mw.calls()), 5)
        self.assertEqual(self.agent.last()["reason"], "wrong PIN")
        self.pinentry.answer("pin cancel")
        self.assertNotEqual(self.sign(key, check=False).returncode, 0)

    def test_pin_always_asks_for_verification(self):
        self.begin("Match use sshsig:file\n Pin always\n")
        key = self.keygen("ed25519")
        self.mw.set("pin", "1234")
        self.bench.run("ssh-add", "-q", key)
        self.pinentry.answer("pin 1234")
        self.sign(key)
        self.assertEqual(self.mw.calls()[-1], ("ssh:", PRESENCE | VERIFY, True))
        self.assertEqual(self.agent.last()["pin"], "typed")

    def test_touch_is_waited_for_and_called_off(self):
        self.begin()
        one, two = self.keygen("ed25519"), self.keygen("ecdsa")
        soft = self.bench.home / ".ssh" / "soft"
        self.bench.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", soft)
        for key in (one, two, soft):
            self.bench.run("ssh-add", "-q", key)
        self.mw.set("hold")
        p = self.start_sign(one)
        wait_until(lambda: self.notices(), "the person is told")
        self.assertIn("Touch the security key (testsk.so)", self.notices()[0])
        # Nobody else waits.
        self.sign(soft)
        self.assertEqual(len(self.listed()), 3)
        self.bench.run("ssh-add", "-q", "-d", two)
        self.bench.run("ssh-add", "-q", two)
        # The next one for the same library does, and is served in its turn.
        q = self.start_sign(two)
        self.bench.end(p)
        wait_until(lambda: self.agent.last().get("reason") == "the client hung up", "the request ends")
        wait_until(lambda: len(self.notices()) >= 2, "the next one is told")
        self.mw.set("touch")
        self.assertEqual(q.wait(20), 0)

    def test_failures(self):
        self.begin()
        key = self.keygen("ed25519")
        self.bench.run("ssh-add", "-q", key)
        for name, text, reason in (("error", "-4", "no security key that holds the key is plugged in"),
                                   ("error", "-1", "it failed"), ("crash", "", "its middleware died"),
                                   ("lie", "", "it did not sign what it was asked to")):
            with self.subTest(name + text):
                self.mw.set(name, text)
                c = AgentClient(self.agent.ssh)
                self.assertIsNone(c.sign(self.blob(key), sshsig("file")))
                r = self.agent.last()
                self.assertNotEqual(r["result"], "ok")
                self.assertIn(reason, r["reason"])
                self.mw.unset(name)
                self.sign(key)  # the key is still there

    def test_libraries_that_are_none(self):
        self.begin()
        key = self.keygen("ed25519")
        self.mw.set("version", "00090000")
        self.assertNotEqual(self.bench.run("ssh-add", "-q", key, check=False).returncode, 0)
        self.assertIn("speaks version 0x00090000", self.agent.log.read_text())
        self.mw.unset("version")
        wait_until(lambda: self.bench.run("ssh-add", "-q", key, check=False).returncode == 0, "the right version is taken")
        bad = BUILD / "unit"
        for path in (f"{BUILD}/latchkey-token", f"{BUILD}/no-such.so", "testsk.so", "", f"{bad}"):
            with self.subTest(path):
                self.assertNotEqual(self.bench.run("ssh-add", "-q", "-S", path, key, check=False).returncode, 0)


class Providers(Case):
    def setUp(self):
        super().setUp()
        self.mw = Middleware(self.bench)
        self.key = self.bench.home / ".ssh" / "id"
        self.bench.run("ssh-keygen", "-q", "-t", "ed25519-sk", "-N", "", "-f", self.key)

    def test_only_from_the_list(self):
        self.begin(agent_args=())
        self.assertNotEqual(self.bench.run("ssh-add", "-q", self.key, check=False).returncode, 0)
        self.assertIn("not among", self.agent.log.read_text())
        # A link in an allowed folder does not help.
        self.agent.stop()
        folder = self.bench.top / "allowed"
        folder.mkdir()
        (folder / "testsk.so").symlink_to(Middleware.library)
        self.begin(agent_args=("-P", f"{folder}/*"))
        p = self.bench.run("ssh-add", "-q", "-S", folder / "testsk.so", self.key, check=False)
        self.assertNotEqual(p.returncode, 0)
        self.assertEqual(self.mw.calls(), [])

    def add_message(self, provider):
        host = HostKey(self.bench, "point")
        return (b"\x19" + s(TYPES["ed25519"]) + s(host.blob[-32:]) + s("ssh:") + bytes([PRESENCE]) + s(b"handle") + s("") +
                s("comment") + b"\xff" + s("sk-provider@openssh.com") + s(provider))

    def test_not_for_remote_clients(self):
        self.begin()
        host = HostKey(self.bench, "h")
        c = AgentClient(self.agent.ssh)
        self.assertEqual(c.ask(self.add_message(str(Middleware.library)))[0], 6)
        self.assertFalse(c.bind(self.bench, host, b"x" * 32, signature=b"no signature"))  # trying is enough
        self.assertEqual(c.ask(self.add_message(str(Middleware.library)))[0], 5)
        self.assertEqual(c.ask(self.add_message("internal"))[0], 6)
        self.agent.stop()
        self.begin(agent_args=("-P", f"{BUILD}/*", "-O", "allow-remote-pkcs11"))
        c = AgentClient(self.agent.ssh)
        self.assertTrue(c.bind(self.bench, host, b"x" * 32))
        self.assertEqual(c.ask(self.add_message(str(Middleware.library)))[0], 6)

    def test_only_for_security_keys(self):
        self.begin()
        host = HostKey(self.bench, "h")
        c = AgentClient(self.agent.ssh)
        soft = b"\x19" + s("ssh-ed25519") + s(host.blob[-32:]) + s(b"\0" * 32 + host.blob[-32:]) + s("c")
        self.assertEqual(c.ask(soft + b"\xff" + s("sk-provider@openssh.com") + s("internal"))[0], 5)
        self.assertEqual(c.ask(self.add_message("internal"))[0], 6)
        self.assertEqual(c.ask(self.add_message("INTERNAL"))[0], 6)
        self.assertEqual(len(c.list()), 2)


class ByLibfido2(Case):
    def setUp(self):
        super().setUp()
        self.n = 0

    def make(self, device, algo="ed25519", **kw):
        self.n += 1
        return device.make(self.bench.home / ".ssh" / f"id{self.n}", algo, **kw)

    def add(self, *keys):
        for key in keys:
            self.bench.run("ssh-add", "-q", key)

    def touch_when_it_blinks(self, device, p):
        device.wait_blink()
        device.do("touch")
        self.assertEqual(p.wait(20), 0)

    def test_login_and_signature(self):
        fido = SecurityKey(self.bench)
        self.begin(emulators=[fido])
        server = Sshd(self.bench, "host")
        for algo in ("ed25519", "ecdsa"):
            with self.subTest(algo):
                key = self.make(fido, algo, comment=f"my {algo}")
                self.add(key)
                server.authorize(key.with_suffix(".pub").read_text())
                before = fido.state()
                told = len(self.notices())
                p = self.bench.start(*server.args(), "true")
                wait_until(lambda: len(self.notices()) > told, "the person is told")
                self.touch_when_it_blinks(fido, p)
                after = fido.state()
                self.assertEqual((after["silent"] - before["silent"], after["asserted"] - before["asserted"]), (1, 1))
                r = self.agent.last()
                self.assertEqual((r["presence"], r["pin"], r["token"]), ("touch", "none", "fido"))
                fido.do("auto on")
                self.sign(key)
                self.assertEqual(self.agent.last()["security_key"]["flags"], PRESENCE)
                self.assertGreater(self.agent.last()["security_key"]["counter"], r["security_key"]["counter"])
                fido.do("auto off")
        self.assertIn("Touch the security key to log in over ssh", self.notices()[0])

    def test_called_off_and_given_late(self):
        fido = SecurityKey(self.bench)
        self.begin(emulators=[fido])
        key = self.make(fido)
        self.add(key)
        p = self.start_sign(key)
        fido.wait_blink()
        self.bench.end(p)
        fido.wait_blink(False)
        self.assertEqual(fido.state()["cancelled"], 1)
        wait_until(lambda: self.agent.last().get("reason") == "the client hung up", "the request ends")
        # The device gives up sooner than the person: it is asked again.
        fido.do("patience 200")
        p = self.start_sign(key)
        wait_until(lambda: fido.state()["gave_up"] > 0, "the device gives up")  # the dark moment in between may pass unseen
        fido.do("patience 30000")
        self.touch_when_it_blinks(fido, p)

    def test_nobody_touches(self):
        fido = SecurityKey(self.bench)
        self.begin("Match use import\n Touch none\nMatch all\n Touch always\n Timeout 1s\n", emulators=[fido])
        key = self.make(fido)
        self.add(key)
        self.assertNotEqual(self.sign(key, check=False).returncode, 0)
        self.assertEqual(self.agent.last()["reason"], "not touched in time")
        fido.wait_blink(False)

    def test_no_touch_required(self):
        fido = SecurityKey(self.bench)
        self.begin("Match all\n Touch none\n", emulators=[fido])
        server = Sshd(self.bench, "host")
        key = self.make(fido, flags=0)
        self.add(key)
        server.authorize("no-touch-required " + key.with_suffix(".pub").read_text())
        self.assertEqual(server.login().stdout, "in\n")
        self.assertEqual((self.agent.last()["presence"], self.agent.last()["security_key"]["flags"]), ("none", 0))
        self.assertEqual((fido.state()["asserted"], self.notices()), (0, []))
        server.authorize(key.with_suffix(".pub").read_text())
        self.assertNotEqual(server.login(check=False).returncode, 0)

    def test_two_requests_are_two_touches(self):
        fido = SecurityKey(self.bench)
        self.begin(emulators=[fido])
        key = self.make(fido)
        self.add(key)
        p = self.start_sign(key)
        fido.wait_blink()
        c = AgentClient(self.agent.ssh)
        c.send(b"\x0d" + s(self.blob(key)) + s(sshsig("other")) + b"\0\0\0\0")
        self.assertEqual(len(self.listed()), 1)
        fido.do("touch")
        self.assertEqual(p.wait(20), 0)
        fido.wait_blink()
        fido.do("touch")
        self.assertEqual(c.recv()[0], 14)
        self.assertEqual(fido.state()["asserted"], 2)

    def test_only_the_one_that_holds_it_blinks(self):
        one, two = SecurityKey(self.bench, name="one"), SecurityKey(self.bench, name="two")
        self.begin(emulators=[one, two])
        mine, other = self.make(two), self.make(one)
        self.add(mine, other)
        p = self.start_sign(mine)
        two.wait_blink()
        self.assertFalse(one.state()["waiting"])
        # The other key is on the other device, which waits for nobody.
        one.do("auto on")
        self.sign(other)
        two.do("touch")
        self.assertEqual(p.wait(20), 0)
        self.assertEqual((one.state()["asserted"], two.state()["asserted"]), (1, 1))

    def test_not_there(self):
        one, two = SecurityKey(self.bench, name="one"), SecurityKey(self.bench, name="two")
        self.begin(emulators=[one, two])
        key = self.make(two)
        self.add(key)
        p = self.start_sign(key)
        two.wait_blink()
        two.pull()
        self.assertNotEqual(p.wait(20), 0)
        wait_until(lambda: "no security key that holds the key" in self.agent.last().get("reason", ""), "the record")
        self.assertNotEqual(self.sign(key, check=False).returncode, 0)
        self.assertFalse(one.state()["waiting"])
        self.assertEqual(one.state()["asserted"], 0)
        one.pull()
        self.assertNotEqual(self.sign(key, check=False).returncode, 0)
        self.assertIn("plugged in", self.agent.last()["reason"])
        self.assertEqual(len(self.listed()), 1)

    def test_pin(self):
        fido = SecurityKey(self.bench, "--pin", "12345")
        self.begin(emulators=[fido])
        key = self.make(fido, flags=PRESENCE | VERIFY)
        server = Sshd(self.bench, "host")
        server.authorize("verify-required " + key.with_suffix(".pub").read_text())
        self.add(key)
        fido.do("auto on")
        self.pinentry.answer("pin 00000")
        self.pinentry.answer("pin 12345")
        self.assertEqual(server.login().stdout, "in\n")
        first, second = self.pinentry.dialogs()
        self.assertIn("8 tries left", first["desc"])
        self.assertIn("Wrong PIN, 7 tries left", second["error"])
        self.assertEqual((fido.state()["pins"], fido.state()["tries"]), (2, 8))
        self.assertEqual((self.agent.last()["pin"], self.agent.last()["security_key"]["flags"]), ("typed", 5))
        # The same wrong PIN again is not sent again.
        self.pinentry.answer("pin 00000")
        self.pinentry.answer("pin 00000")
        self.assertNotEqual(self.sign(key, check=False).returncode, 0)
        self.assertEqual((fido.state()["pins"], fido.state()["tries"]), (3, 7))

    def test_last_try_and_blocked(self):
        fido = SecurityKey(self.bench, "--pin", "12345")
        self.begin(emulators=[fido])
        key = self.make(fido, "ecdsa", flags=PRESENCE | VERIFY)
        self.add(key)
        fido.do("auto on")
        fido.do("tries 1")
        self.pinentry.answer("confirm no")
        self.assertNotEqual(self.sign(key, check=False).returncode, 0)
        self.assertIn("One try is left", self.pinentry.dialogs()[-1]["desc"])
        self.assertEqual(fido.state()["pins"], 0)
        self.pinentry.answer("confirm ok")
        self.pinentry.answer("pin 12345")
        self.sign(key)
        # Three wrong ones in a row: not before it was out of its socket (CTAP2 5.5.8).
        for pin in ("00001", "00002", "00003"):
            self.pinentry.answer(f"pin {pin}")
        self.assertNotEqual(self.sign(key, check=False).returncode, 0)
        self.assertIn("the PIN is blocked", self.agent.last()["reason"])
        self.assertEqual(fido.state()["tries"], 5)
        fido.do("tries 0")
        self.assertNotEqual(self.sign(key, check=False).returncode, 0)
        self.assertEqual(len(self.pinentry.dialogs()), 6)

    def test_no_pin_set(self):
        fido = SecurityKey(self.bench)
        self.begin("Match use sshsig:file\n Pin always\n", emulators=[fido])
        key = self.make(fido)
        self.add(key)
        self.assertNotEqual(self.sign(key, check=False).returncode, 0)
        self.assertIn("set one first", self.agent.last()["reason"])

    def test_whose_pin_it_is_a_touch_tells(self):
        one, two = (SecurityKey(self.bench, "--pin", pin, name=name) for name, pin in (("one", "11111"), ("two", "22222")))
        self.begin(emulators=[one, two])
        key = self.make(two, flags=PRESENCE | VERIFY)
        self.add(key)
        self.pinentry.answer("pin 22222")
        p = self.start_sign(key)
        one.wait_blink()
        two.wait_blink()
        two.do("touch")
        one.wait_blink(False)
        wait_until(lambda: two.state()["chosen"] == 1, "the device is chosen")
        two.wait_blink()
        two.do("touch")
        self.assertEqual(p.wait(20), 0)
        self.assertEqual((one.state()["pins"], two.state()["pins"]), (0, 1))

    def test_a_finger_that_the_device_knows(self):
        fido = SecurityKey(self.bench, "--uv", "--pin", "12345")
        self.begin(emulators=[fido])
        key = self.make(fido, flags=PRESENCE | VERIFY)
        self.add(key)
        self.touch_when_it_blinks(fido, self.start_sign(key))
        self.assertEqual((self.agent.last()["pin"], self.agent.last()["security_key"]["flags"]), ("device", 5))
        self.assertEqual(self.pinentry.dialogs(), [])
        # When it does not know it, the PIN serves.
        fido.do("finger bad")
        fido.do("auto on")
        self.pinentry.answer("pin 12345")
        self.sign(key)
        self.assertEqual(self.agent.last()["pin"], "typed")

    def test_u2f(self):
        fido, other = SecurityKey(self.bench, "--u2f", name="old"), SecurityKey(self.bench, "--u2f", name="other")
        self.begin(emulators=[fido, other])
        key = self.make(fido, "ecdsa")
        self.add(key)
        p = self.start_sign(key)
        wait_until(lambda: self.notices(), "the person is told")
        fido.do("touch")
        self.assertEqual(p.wait(20), 0)
        self.assertEqual((fido.state()["asserted"], other.state()["asserted"]), (1, 0))
        p = self.start_sign(key)
        wait_until(lambda: len(self.notices()) == 2, "the person is told")
        self.bench.end(p)
        wait_until(lambda: self.agent.last().get("reason") == "the client hung up", "the request ends")
        fido.do("auto on")
        self.sign(key)

    def test_one_that_lies(self):
        fido = SecurityKey(self.bench)
        self.begin(emulators=[fido])
        key = self.make(fido)
        self.add(key)
        fido.do("auto on")
        fido.do("lie on")
        self.assertNotEqual(self.sign(key, check=False).returncode, 0)
        self.assertIn("without the touch", self.agent.log.read_text())
        fido.do("lie off")
        self.sign(key)

    def test_web_applications(self):
        fido = SecurityKey(self.bench)
        policy = "Match use raw\n Access allow\n Touch none\n"
        self.begin(policy, emulators=[fido])
        fido.do("auto on")
        web, ssh = self.make(fido, application="example.org"), self.make(fido, application="ssh:work")
        self.add(web, ssh)
        c = AgentClient(self.agent.ssh)
        self.assertIsNone(c.sign(self.blob(web), b"a login to a web site"))
        self.assertIn("web application", self.agent.last()["reason"])
        self.assertIsNotNone(c.sign(self.blob(ssh), b"no form at all"))
        self.assertIsNotNone(c.sign(self.blob(web), sshsig("git")))
        alg = TYPES["ed25519"].decode()
        self.assertIsNotNone(c.sign(self.blob(web), userauth(os.urandom(32), "root", self.blob(web), alg=alg)))
        self.agent.stop()
        self.begin(policy, emulators=[fido], agent_args=("-O", "no-restrict-websafe"))
        self.add(web)
        self.assertIsNotNone(AgentClient(self.agent.ssh).sign(self.blob(web), b"a login to a web site"))
        self.assertNotEqual(self.bench.run(BUILD / "latchkey-agent", "-O", "nonsense", "true", check=False).returncode, 0)

    def test_a_lock_is_left_by_a_touch_of_a_key_seen_before(self):
        fido = SecurityKey(self.bench)
        self.begin(emulators=[fido])
        known, fresh = self.make(fido), self.make(fido)
        self.add(known, fresh)
        fido.do("auto on")
        self.sign(known)
        self.agent.latchkey("lock")
        self.assertEqual(self.agent.lock_state(), "locked")
        self.assertNotEqual(self.sign(fresh, check=False).returncode, 0)
        self.assertNotEqual(self.bench.run("ssh-add", "-q", fresh, check=False).returncode, 0)
        self.assertEqual(self.agent.lock_state(), "locked")
        self.sign(known)
        self.assertEqual(self.agent.lock_state(), "open")

    def test_bad_keys(self):
        fido = SecurityKey(self.bench)
        self.begin(emulators=[fido])
        host = HostKey(self.bench, "point")
        path = self.bench.home / ".ssh" / "bad"
        key_file(path, "ed25519", b"", host.blob[-32:])
        self.assertNotEqual(self.bench.run("ssh-add", "-q", path, check=False).returncode, 0)
        key_file(path, "ed25519", b"x" * 64, host.blob[-32:])
        self.add(path)
        self.assertNotEqual(self.sign(path, check=False).returncode, 0)
        self.assertIn("no security key that holds the key", self.agent.last()["reason"])
