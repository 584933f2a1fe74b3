"""FIDO tokens that latchkey manages: new keys, resident ones, the PIN, and a touch that stands in for another token's. Real
ssh-keygen, ssh-add, ssh and sshd, a real pcscd; the authenticators are in software."""
import base64
import json
import os
import signal
import unittest
from pathlib import Path

from harness import Agent, AgentClient, Bench, Card, Pcscd, ScriptedPinentry, SecurityKey, Sshd, wait_until
from harness.agentclient import s, sshsig
from harness.bench import BUILD
from harness.securitykey import key_file

STANDIN = "Match use card-admin\n StandIn confirm\nMatch all\n Touch cached 10m max 2\n StandIn fido\n"


class Case(unittest.TestCase):
    def setUp(self):
        self.bench = Bench()
        self.addCleanup(self.bench.close)

    def begin(self, policy="", emulators=()):
        self.bench.policy(policy)
        more = "".join(f"Emulator fido {e.path}\n" for e in emulators)
        if hasattr(self, "pinentry"):
            self.bench.settings(f"Pinentry {self.pinentry.program}\n{more}")
        else:
            self.pinentry = ScriptedPinentry(self.bench, more)
        self.agent = Agent(self.bench)

    def restart(self):
        self.agent.stop()
        self.agent = Agent(self.bench)

    def start(self, *args):
        """latchkey in the background: it waits for a touch."""
        return self.bench.start(BUILD / "latchkey", *args)

    def touch(self, device, p, expect=0):
        device.wait_blink()
        device.do("touch")
        self.assertEqual(p.wait(20), expect, self.agent.log.read_text()[-3000:])

    def notices(self):
        return [d["desc"] for d in self.pinentry.opened() if d["kind"] == "message"]

    def listed(self):
        p = self.bench.run("ssh-add", "-L", check=False)
        return [line.split()[:2] for line in p.stdout.splitlines()] if p.returncode == 0 else []

    def sign(self, path, check=True):
        b = self.bench
        p = b.run("ssh-keygen", "-Y", "sign", "-n", "file", "-f", path, input="text", check=check)
        if p.returncode == 0:
            (b.home / "sig").write_text(p.stdout)
            b.run("ssh-keygen", "-Y", "check-novalidate", "-n", "file", "-s", b.home / "sig", input="text")
        return p


class StandIn(Case):
    """A card without a button, and a FIDO token beside it."""

    def setUp(self):
        super().setUp()
        self.fido = SecurityKey(self.bench)
        self.pcscd = Pcscd(self.bench)
        self.begin(STANDIN, [self.fido])
        self.card = Card(self.pcscd, "gnuk", "--key", "aut=ed25519")
        self.pinentry.always()
        self.agent.wait_token("gnuk")

    def enroll(self, device=None, name="fido"):
        p = self.start("token", "enroll-presence", "--name", name)
        self.touch(device or self.fido, p)

    def blob(self):
        c = AgentClient(self.agent.ssh)
        blob = c.list()[0][0]
        c.close()
        return blob

    def ask(self, data=b""):
        """A signature by the card, not waited for."""
        c = AgentClient(self.agent.ssh)
        self.addCleanup(c.close)
        c.send(b"\x0d" + s(self.blob()) + s(sshsig("file", data) if data else sshsig("file")) + b"\0\0\0\0")
        return c

    def refused(self, c, reason):
        self.assertEqual(c.recv()[0], 5)
        self.assertIn(reason, self.agent.last()["reason"])
        self.assertEqual(self.agent.last()["verdict"], "refused")

    def test_a_touch_serves(self):
        self.refused(self.ask(), "none is enrolled")
        self.enroll()
        self.assertEqual(self.fido.state()["made"], 1)
        self.assertEqual(self.agent.last()["presence"], "touch")
        state = self.bench.home / ".local" / "state" / "latchkey" / "presence"
        self.assertEqual(state.stat().st_mode & 0o777, 0o600)
        self.assertIn("fido  SHA256:", self.agent.latchkey("token", "presence").stdout)
        c = self.ask()
        self.fido.wait_blink()
        wait_until(lambda: [n for n in self.notices() if "Touch your FIDO key to" in n], "the person is told")
        self.fido.do("touch")
        self.assertEqual(c.recv()[0], 14)
        r = self.agent.last()
        self.assertEqual((r["presence"], r["presence_token"]["name"], r["presence_token"]["flags"]), ("touch", "fido", 1))
        # .. and for as long as the policy lets a touch serve, for the same thing.
        self.assertEqual(self.ask().recv()[0], 14)
        self.assertEqual(self.agent.last()["presence"], "cached")
        c = self.ask()
        self.fido.wait_blink()
        self.fido.do("touch")
        self.assertEqual(c.recv()[0], 14)
        self.assertGreater(self.agent.last()["presence_token"]["counter"], r["presence_token"]["counter"])
        # It is remembered, and forgotten when told so.
        self.restart()
        self.agent.wait_token("gnuk")
        c = self.ask()
        self.fido.wait_blink()
        self.fido.do("touch")
        self.assertEqual(c.recv()[0], 14)
        self.assertNotEqual(self.agent.latchkey("token", "enroll-presence", check=False).returncode, 0)  # the name is taken
        self.agent.latchkey("token", "presence", "--forget", "fido")
        self.assertNotEqual(self.agent.latchkey("token", "presence", check=False).returncode, 0)
        wait_until(lambda: self.ask().recv()[0] == 5, "what was cached is used up")
        self.assertIn("none is enrolled", self.agent.last()["reason"])

    def test_ssh_login(self):
        self.enroll()
        server = Sshd(self.bench)
        server.authorize(*self.agent.latchkey("keys", "--ssh").stdout.splitlines())
        p = self.bench.start(*server.args(), "true")
        self.touch(self.fido, p)
        self.assertEqual((self.agent.last()["use"], self.agent.last()["presence"]), ("ssh-auth", "touch"))

    def test_what_shows_no_touch(self):
        self.enroll()
        self.enroll(name="second")
        self.fido.do("auto on")
        for knob, reason in (("lie", "shows no touch"), ("replay", "shows no touch"), ("confuse", "shows no touch")):
            with self.subTest(knob):
                for _ in range(2):
                    self.assertEqual(self.ask().recv()[0], 14)  # an assertion to be replayed, and all that it is good for
                self.fido.do(f"{knob} on")
                counts = self.card.count(lambda: self.refused(self.ask(), reason))
                self.assertEqual(counts["total"], 0, "nothing is asked of the card")
                self.fido.do(f"{knob} off")

    def test_hang_up_ends_it(self):
        self.enroll()
        c = self.ask()
        self.fido.wait_blink()
        c.close()
        self.fido.wait_blink(False)
        wait_until(lambda: self.agent.last()["reason"] == "the client hung up", "the request ends")
        self.assertEqual(self.fido.state()["cancelled"], 1)

    def test_unlock(self):
        self.enroll()
        for touched in (False, True):
            self.agent.latchkey("lock")
            p = self.start("unlock")
            self.fido.wait_blink()
            wait_until(lambda: any("Touch your FIDO key to unlock" in n for n in self.notices()), "the person is told")
            if not touched:
                self.bench.end(p)
                self.fido.wait_blink(False)
                self.assertEqual(self.agent.lock_state(), "locked")
                continue
            self.fido.do("touch")
            self.assertEqual(p.wait(20), 0)
            self.assertEqual(self.agent.lock_state(), "open")
            self.assertEqual(self.agent.records("unlock")[-1]["how"], "touch fido")
        self.agent.latchkey("lock")
        self.fido.do("auto on")
        self.fido.do("replay on")
        self.assertIn("shows no touch", self.agent.latchkey("unlock", check=False).stderr)
        self.fido.pull()
        self.assertIn("plugged in", self.agent.latchkey("unlock", check=False).stderr)
        self.assertEqual(self.agent.lock_state(), "locked")
        self.assertEqual(self.pinentry.dialogs()[-1]["kind"], "confirm")  # that was when it was enrolled: none since
        self.assertEqual(len(self.pinentry.dialogs()), 1)

    def test_none_plugged_in(self):
        self.enroll()
        self.fido.pull()
        self.refused(self.ask(), "none of the FIDO tokens enrolled for presence is plugged in")

    def test_the_enrolled_ones_blink(self):
        self.agent.stop()
        two, stranger = SecurityKey(self.bench, name="two"), SecurityKey(self.bench, name="stranger")
        self.begin(STANDIN, [self.fido, two, stranger])
        self.pinentry.always()
        self.agent.wait_token("gnuk")
        for device, name in ((self.fido, "one"), (two, "two")):
            p = self.start("token", "enroll-presence", "--name", name)
            for d in (self.fido, two, stranger):
                d.wait_blink()
            device.do("touch")  # chooses it
            wait_until(lambda: not stranger.state()["waiting"], "it is chosen")
            self.touch(device, p)
        c = self.ask()
        self.fido.wait_blink()
        two.wait_blink()
        self.assertFalse(stranger.state()["waiting"])
        two.do("touch")
        self.assertEqual(c.recv()[0], 14)
        self.fido.wait_blink(False)
        self.assertEqual(self.agent.last()["presence_token"]["name"], "two")

    def test_not_without_consent(self):
        self.pinentry.answer("confirm no")
        p = self.agent.latchkey("token", "enroll-presence", check=False)
        self.assertNotEqual(p.returncode, 0)
        self.assertEqual(self.fido.state()["made"], 0)

    def test_a_file_that_others_can_write(self):
        self.enroll()
        self.agent.stop()
        state = self.bench.home / ".local" / "state" / "latchkey" / "presence"
        state.chmod(0o666)
        self.agent = Agent(self.bench)
        self.agent.wait_token("gnuk")
        self.refused(self.ask(), "none is enrolled")
        self.assertIn("others can write it", self.agent.log.read_text())


class BehindAReader(Case):
    """NFC, implants, CCID: the same by APDUs."""

    def setUp(self):
        super().setUp()
        self.pcscd = Pcscd(self.bench)
        self.begin()
        self.n = 0

    def make(self, device, algo="ed25519", **kw):
        self.n += 1
        path = device.make(self.bench.home / ".ssh" / f"id{self.n}", algo, **kw)
        self.bench.run("ssh-add", "-q", path)
        return path

    def in_field(self):
        wait_until(lambda: self.agent.latchkey("token", "fido", "info", check=False).returncode == 0, "the card is in the field")

    def count(self, device, f):
        before = device.state()
        f()
        after = device.state()
        return after["apdus"] - before["apdus"] - (after["selects"] - before["selects"])

    def test_login(self):
        for options in ((), ("--no-u2f",)):
            fido = SecurityKey(self.bench, *options, name=f"nfc{len(options)}", reader=(self.pcscd, 0))
            server = Sshd(self.bench, f"host{len(options)}")
            for algo in ("ed25519", "ecdsa"):
                with self.subTest(algo + str(options)):
                    key = self.make(fido, algo)
                    server.authorize(key.with_suffix(".pub").read_text())
                    self.in_field()
                    self.assertEqual(server.login().stdout, "in\n")
                    r = self.agent.last()
                    self.assertEqual((r["presence"], r["security_key"]["flags"]), ("touch", 1))
                    # Without what each opening by stock libfido2 costs.
                    self.assertLessEqual(self.count(fido, lambda: server.login()), 3)
                    self.assertEqual(fido.state()["asserted"], fido.state()["silent"])
            fido.pull()
            self.assertNotEqual(self.sign(key, check=False).returncode, 0)

    def test_a_button(self):
        fido = SecurityKey(self.bench, "--button", reader=(self.pcscd, 0))
        key = self.make(fido)
        self.in_field()
        (self.bench.home / "data").write_text("text")

        def start():
            return self.bench.start("ssh-keygen", "-Y", "sign", "-n", "file", "-f", key.with_suffix(".pub"), self.bench.home / "data",
                                    cwd=self.bench.home)
        p = start()
        wait_until(lambda: self.notices(), "the person is told")
        fido.do("touch")
        self.assertEqual(p.wait(20), 0)
        p = start()
        wait_until(lambda: len(self.notices()) == 2, "the person is told")
        self.bench.end(p)
        wait_until(lambda: fido.state()["cancelled"] == 1, "it is called off")

    def test_pin_and_resident_keys(self):
        fido = SecurityKey(self.bench, "--pin", "12345", reader=(self.pcscd, 0))
        self.pinentry.always("12345")
        path = self.bench.home / ".ssh" / "made"
        self.in_field()
        self.agent.latchkey("token", "fido", "generate", "--file", path, "--resident", "--verify-required")
        self.assertIn("verify-required", self.agent.latchkey("token", "fido", "keys").stdout)
        path.unlink()
        self.sign(path.with_suffix(".pub"))
        self.assertEqual((self.agent.last()["pin"], self.agent.last()["security_key"]["flags"]), ("typed", 5))

    def test_u2f(self):
        fido = SecurityKey(self.bench, "--u2f", reader=(self.pcscd, 0))
        key = self.make(fido, "ecdsa")
        self.in_field()
        self.sign(key)

    def test_a_card_that_is_none_is_asked_once(self):
        card = Card(self.pcscd, "gnuk", "--key", "aut=ed25519")
        self.agent.wait_token("gnuk")
        self.agent.keys()  # whatever else is to be read of it
        for apdus in (1, 0):
            p = []
            counts = card.count(lambda: p.append(self.agent.latchkey("token", "fido", "info", check=False)))
            self.assertEqual((p[0].returncode, p[0].stdout, counts["total"]), (1, "", apdus))


class OneCardWithThreeApplications(Case):
    TURNS = 100

    def test_in_turn(self):
        """OpenPGP, PIV, FIDO: each takes the card from the other two, and none asks for a PIN again that it was told."""
        pcscd = Pcscd(self.bench)
        self.begin("Match all\n Touch none\n AfterUse leave\n")
        card = Card(pcscd, "yubikey5", "--key", "aut=ed25519", "--piv-key", "9A=nistp256", "--fido")
        self.pinentry.always()
        self.agent.wait_token("yubikey")
        _, handle, public = card.ask("fido make ecdsa ssh: 1").split()
        path = self.bench.home / ".ssh" / "sk"
        key_file(path, "ecdsa", bytes.fromhex(handle), bytes.fromhex(public))
        self.bench.run("ssh-add", "-q", path)
        slots = {t["slot"]: base64.b64decode(k["ssh"].split()[1]) for k in self.agent.keys() for t in k["tokens"] if k["ssh"]}
        blobs = [slots["aut"], slots["piv-9a"], base64.b64decode(path.with_suffix(".pub").read_text().split()[1])]
        c = AgentClient(self.agent.ssh)
        for i in range(self.TURNS):
            for name, blob in zip(("OpenPGP", "PIV", "FIDO"), blobs):
                self.assertIsNotNone(c.sign(blob, sshsig("file"), flags=4), f"{name}, turn {i}: {self.agent.last()}")
            if i == 0:
                asked = len(self.pinentry.dialogs())
                self.assertEqual(asked, 2)  # what the first turn takes
        self.assertEqual(len(self.pinentry.dialogs()), asked)
        self.assertEqual(json.loads(card.ask("fido state"))["asserted"], self.TURNS)
        self.assertEqual(card.state()["tries"][0], 3)


class Manage(Case):
    def keygen_reads(self, path, kind):
        """ssh-keygen takes the file for one of its own."""
        b = self.bench
        self.assertEqual(b.run("ssh-keygen", "-y", "-f", path).stdout.split()[:2], path.with_suffix(".pub").read_text().split()[:2])
        self.assertIn(f"({kind})", b.run("ssh-keygen", "-l", "-f", path).stdout)
        b.run("ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", path)
        b.run("ssh-keygen", "-q", "-p", "-P", "secret", "-N", "", "-f", path)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def fido_process(self):
        """The agent's own child."""
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                if path.read_text().rsplit(")", 1)[1].split()[1] == str(self.agent.process.pid) and \
                        b"latchkey-token\0fido\0" in (path.parent / "cmdline").read_bytes():
                    return int(path.parent.name)
            except OSError:
                continue
        raise AssertionError("no process for FIDO tokens")

    def generate(self, device, name, *options, pins=()):
        path = self.bench.home / ".ssh" / name
        for pin in pins:
            self.pinentry.answer(f"pin {pin}")
        p = self.start("token", "fido", "generate", "--file", path, *options)
        self.touch(device, p)
        return path

    def test_new_keys(self):
        fido = SecurityKey(self.bench)
        self.begin(emulators=[fido])
        for algo, kind in (("ed25519", "ED25519-SK"), ("ecdsa", "ECDSA-SK")):
            with self.subTest(algo):
                path = self.generate(fido, algo, "--type", algo, "--comment", "mine")
                self.keygen_reads(path, kind)
                self.assertTrue(path.with_suffix(".pub").read_text().endswith(" mine\n"))
                self.assertEqual((self.agent.last()["use"], self.agent.last()["presence"]), ("generate", "touch"))
                self.bench.run("ssh-add", "-q", path)
                fido.do("auto on")
                self.sign(path)
                fido.do("auto off")
        p = self.agent.latchkey("token", "fido", "generate", "--file", path, check=False)
        self.assertIn("is there already", p.stderr)
        p = self.agent.latchkey("token", "fido", "generate", "--file", "x", "--application", "https://e.org", check=False)
        self.assertEqual(p.returncode, 2)

    def test_u2f(self):
        fido = SecurityKey(self.bench, "--u2f")
        self.begin(emulators=[fido])
        self.assertNotEqual(self.agent.latchkey("token", "fido", "generate", "--file", "x", check=False).returncode, 0)
        fido.do("auto on")
        path = self.bench.home / ".ssh" / "u2f"
        self.agent.latchkey("token", "fido", "generate", "--file", path, "--type", "ecdsa")
        self.keygen_reads(path, "ECDSA-SK")
        self.bench.run("ssh-add", "-q", path)
        self.sign(path)
        self.pinentry.answer("confirm ok")
        self.assertNotEqual(self.agent.latchkey("token", "fido", "keys", check=False).returncode, 0)

    def test_resident_keys(self):
        fido = SecurityKey(self.bench, "--pin", "12345")
        self.begin(emulators=[fido])
        server = Sshd(self.bench)
        plain = self.generate(fido, "plain", "--resident", "--application", "ssh:work", pins=["12345"])
        strict = self.generate(fido, "strict", "--resident", "--verify-required", "--type", "ecdsa", "--user", "me", pins=["12345"])
        for path in (plain, strict):
            self.bench.run("ssh-keygen", "-y", "-f", path)
        # A second one of that application and user would end the first.
        self.pinentry.answer("pin 12345")
        p = self.agent.latchkey("token", "fido", "generate", "--file", "again", "--resident", "--application", "ssh:work", check=False)
        self.assertIn("--force", p.stderr)
        self.assertEqual((fido.state()["made"], fido.state()["kept"]), (2, 2))
        plain.unlink(), strict.unlink()
        self.assertEqual(self.listed(), [])
        self.pinentry.answer("confirm ok")
        self.pinentry.answer("pin 00000")
        self.pinentry.answer("pin 12345")
        out = self.agent.latchkey("token", "fido", "keys").stdout
        self.assertIn("Wrong PIN, 7 tries left", self.pinentry.dialogs()[-1]["error"])
        self.assertEqual(len(out.splitlines()), 2)
        self.assertRegex(out, r"SHA256:\S+  ssh:work\n")
        self.assertRegex(out, r"SHA256:\S+  ssh:  user me  verify-required\n")
        pubs = {tuple(p.with_suffix(".pub").read_text().split()[:2]) for p in (plain, strict)}
        self.assertEqual({tuple(k) for k in self.listed()}, pubs)
        # Remembered over a restart, without a PIN.
        self.restart()
        wait_until(lambda: {tuple(k) for k in self.listed()} == pubs, "they are offered again")
        # .. and over the death of the process that has them.
        os.kill(self.fido_process(), signal.SIGKILL)
        wait_until(lambda: self.listed() == [], "they are gone with it")
        wait_until(lambda: {tuple(k) for k in self.listed()} == pubs, "they are offered again")
        server.authorize(plain.with_suffix(".pub").read_text())
        p = self.bench.start(*server.args(), "true")
        self.touch(fido, p)
        self.assertEqual(self.agent.last()["pin"], "none")
        server.authorize("verify-required " + strict.with_suffix(".pub").read_text())
        self.pinentry.answer("pin 12345")
        p = self.bench.start(*server.args(), "true")
        self.touch(fido, p)
        self.assertEqual((self.agent.last()["pin"], self.agent.last()["security_key"]["flags"]), ("typed", 5))
        # Deleting names what is lost.
        fingerprint = self.bench.run("ssh-keygen", "-l", "-f", plain.with_suffix(".pub")).stdout.split()[1]
        self.assertNotEqual(self.agent.latchkey("token", "fido", "delete", "SHA256:no", check=False).returncode, 0)
        self.pinentry.answer("confirm no")
        self.assertNotEqual(self.agent.latchkey("token", "fido", "delete", fingerprint, check=False).returncode, 0)
        self.assertIn(f"Lost:    the key {fingerprint} for ssh:work", self.pinentry.dialogs()[-1]["desc"])
        self.assertEqual(fido.state()["kept"], 2)
        self.pinentry.answer("confirm ok")
        self.pinentry.answer("pin 12345")
        self.agent.latchkey("token", "fido", "delete", fingerprint)
        self.assertEqual(fido.state()["kept"], 1)
        self.assertEqual(len(self.listed()), 1)
        self.restart()
        wait_until(lambda: len(self.listed()) == 1, "the other one is offered")

    def test_the_pin(self):
        fido = SecurityKey(self.bench)
        self.begin("Match use card-admin\n Touch always\n", emulators=[fido])

        def change(*answers, expect=0):
            for a in ("confirm ok", *answers):
                self.pinentry.answer(a)
            p = self.agent.latchkey("token", "fido", "set-pin", check=False)
            self.assertEqual(p.returncode, expect, p.stderr)
            return p

        self.assertIn("PIN       none", self.agent.latchkey("token", "fido", "info").stdout)
        change("pin 4711", "pin 4711")
        self.assertTrue(fido.state()["pin"])
        self.assertIn("PIN       set, 8 tries left", self.agent.latchkey("token", "fido", "info").stdout)
        change("pin 4711", "pin 48000", "pin 48000")
        change("pin 4711", "pin 480001", "pin 480001", "pin cancel", expect=1)  # the old one is no longer it
        self.assertEqual(fido.state()["tries"], 7)
        change("pin cancel", expect=1)
        fido.do("tries 0")
        self.assertIn("blocked", change(expect=1).stderr)

    def test_nobody_there(self):
        self.begin(emulators=[])
        self.bench.settings(f"Pinentry {self.pinentry.program}\nEmulator fido {self.bench.top}/none\n")
        self.restart()
        p = self.agent.latchkey("token", "fido", "info", check=False)
        self.assertEqual((p.returncode, p.stderr), (1, "latchkey: no FIDO token is plugged in\n"))
        p = self.agent.latchkey("token", "fido", "generate", "--file", "x", check=False)
        self.assertIn("no FIDO token is plugged in", p.stderr)
        self.assertNotEqual(self.agent.latchkey("token", "fido", "delete", check=False).returncode, 0)
        self.assertEqual(json.loads(self.agent.latchkey("token", "presence", "--json", check=False).stdout), [])

    def test_hang_up(self):
        fido = SecurityKey(self.bench)
        self.begin(emulators=[fido])
        p = self.start("token", "fido", "generate", "--file", self.bench.home / "x")
        fido.wait_blink()
        self.bench.end(p)
        fido.wait_blink(False)
        self.assertEqual((fido.state()["made"], fido.state()["cancelled"]), (0, 1))


if __name__ == "__main__":
    unittest.main()
