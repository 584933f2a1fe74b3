"""Cards through stock gpg: what `gpg --card-edit` does, keys moved to cards, keys used on them."""
import hashlib
import os
import re
import socket
import unittest

from harness import Bench, Card, Gpg, Pcscd, wait_until
from harness.agentclient import userauth
from harness.assuan import Assuan, AssuanError

FREE = "Match all\n Touch none\n Access allow\n"
PIN, ADMIN = "123456", "12345678"
EDDSA = ("--key", "sig=ed25519", "--key", "dec=cv25519", "--key", "aut=ed25519")
PREFIX = os.environ.get("GNUPG_PREFIX", "")  # of another GnuPG than the one on PATH


class Case(unittest.TestCase):
    POLICY = FREE
    READERS = ("Virtual Reader",)

    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        b.policy(self.POLICY)
        self.pcscd = Pcscd(b, self.READERS)
        self.gpg = Gpg(b, cards=True, prefix=PREFIX)
        self.pin = self.gpg.pinentry

    def tearDown(self):
        self.assertEqual(self.pin.wrong(), [])
        self.assertEqual(self.pin.waiting(), [], "PINs that nobody asked for")

    def card(self, profile="gnuk", *options, **kw):
        return Card(self.pcscd, profile, *options, **kw)

    def ready(self):
        return wait_until(lambda: (r := self.gpg("--card-status", check=False)).returncode == 0 and r.stdout, "the card is there")

    def attributes(self, serial=None):
        """What the card says, by name."""
        lines = self.gpg.connect("SCD SERIALNO" + (f" --demand={serial}" if serial else ""), "SCD LEARN --force")
        found = {}
        for line in lines:
            m = re.match(r"S ([A-Z0-9-]+) ?(.*)", line)
            if m:
                found.setdefault(m[1], []).append(m[2])
        return found

    def generate(self, *extra):
        """Three keys made on the card by gpg."""
        self.gpg.edit("admin", "generate", *extra, "n", "0", "Card User", "card@x.test", "", "quit")

    def sign(self, key="card@x.test"):
        out = self.bench.top / "sig"
        self.gpg("--yes", "--armor", "--detach-sign", "-u", key, "-o", out, "/etc/hostname", timeout=30)
        self.assertIn("GOODSIG", self.gpg("--verify", out, "/etc/hostname").stderr)

    def crypt(self, key="card@x.test"):
        box = self.bench.top / "box"
        self.gpg("--yes", "--trust-model=always", "--encrypt", "-r", key, "-o", box, "/etc/hostname")
        self.assertEqual(self.gpg("--decrypt", box).stdout, open("/etc/hostname").read())


class Status(Case):
    def test_a_blank_card_and_none(self):
        began = self.gpg("--card-status", check=False)
        self.assertNotEqual(began.returncode, 0)
        self.assertIn("No such device", began.stderr)
        card = self.card()
        out = self.ready()
        self.assertIn("D276000124010", out)
        self.assertRegex(out, r"PIN retry counter : 3 [03] 3")
        self.assertRegex(out, r"Signature key .*: \[none\]")
        self.assertFalse(any(card.state()["verified"]))
        card.pull()
        wait_until(lambda: "No such device" in self.gpg("--card-status", check=False).stderr, "it is gone")

    def test_keys_are_told_and_stubs_made(self):
        self.card("gnuk", *EDDSA)
        out = self.ready()
        self.assertEqual(len(re.findall(r"key[ .]*: [0-9A-F]{4} [0-9A-F]{4}", out)), 3)
        learnt = self.attributes()
        grips = [line.split()[0] for line in learnt["KEYPAIRINFO"]]
        self.assertEqual(len(grips), 3)
        for i, grip in enumerate(grips):
            self.assertIn(f"OPENPGP.{i + 1}", self.gpg.file(grip).read_text())
            self.assertIn(f"{learnt['SERIALNO'][0]} OPENPGP.{i + 1}", "".join(self.gpg.connect(f"KEYINFO {grip}")))


class Edit(Case):
    def test_the_cardholder(self):
        card = self.card("gnuk", *EDDSA)
        self.ready()
        self.pin.pin(ADMIN)
        self.gpg.edit("admin", "name", "Doe", "Jane", "quit")
        self.assertIn("cardholder's name", self.pin.dialogs()[-1]["desc"])
        self.assertIn("Admin PIN", self.pin.dialogs()[-1]["prompt"])
        for lines in (("lang", "de"), ("sex", "f"), ("login", "jdoe"), ("url", "https://x.test/k")):
            self.gpg.edit("admin", *lines, "quit")
        told = self.attributes()
        self.assertEqual((told["DISP-NAME"], told["DISP-LANG"], told["DISP-SEX"], told["LOGIN-DATA"], told["PUBKEY-URL"]),
                         (["Doe<<Jane"], ["de"], ["2"], ["jdoe"], ["https://x.test/k"]))
        self.assertEqual(card.state()["tries"][2], 3)
        self.assertFalse(any(card.state()["verified"]))

    def test_pins(self):
        card = self.card("gnuk", *EDDSA)
        self.ready()
        self.pin.pin(PIN)
        self.gpg.edit("verify", "quit")
        self.pin.pin(PIN)
        self.pin.new("654321")
        self.gpg.edit("passwd", "quit")
        self.pin.pin("111111")
        self.pin.cancel()
        self.gpg.edit("verify", "quit")
        self.assertEqual(card.state()["tries"][0], 2)
        self.assertIn("Wrong PIN, 2 tries left", self.pin.dialogs()[-1]["error"])
        self.pin.pin(ADMIN)
        self.pin.new("12345678abc")
        self.gpg.edit("admin", "passwd", "3", "q", "quit")
        self.assertEqual(card.state()["tries"][2], 3)

    def test_unblocking(self):
        card = self.card("gnuk", *EDDSA)
        self.ready()
        for _ in range(2):
            self.pin.pin("000000")
        self.pin.yes()
        self.pin.pin("000000")
        self.gpg.edit("verify", "quit")
        self.assertEqual(card.state()["tries"][0], 0)
        self.assertIn("One try is left", self.pin.dialogs()[2]["desc"])
        self.pin.pin(ADMIN)
        self.pin.new("222222")
        self.gpg.edit("admin", "passwd", "2", "q", "quit")
        self.assertEqual(card.state()["tries"][0], 3)
        self.pin.pin("222222")
        self.gpg.edit("verify", "quit")
        self.assertEqual(card.state()["tries"][0], 3)

    def test_a_pin_for_each_signature(self):
        self.card("gnuk", *EDDSA)
        self.ready()
        before = self.attributes()["CHV-STATUS"][0]
        self.pin.pin(ADMIN)
        self.gpg.edit("admin", "forcesig", "quit")
        self.assertNotEqual(self.attributes()["CHV-STATUS"][0][:2], before[:2])

    def test_a_persons_no_and_a_wrong_admin_pin(self):
        card = self.card("gnuk", *EDDSA)
        self.ready()
        self.pin.cancel()
        out = self.gpg.edit("admin", "login", "jdoe", "quit", check=False)
        self.assertIn("SC_OP_FAILURE 1", out.stderr)
        self.pin.pin("00000000")
        self.pin.cancel()
        self.gpg.edit("admin", "login", "jdoe", "quit", check=False)
        self.assertEqual(card.state()["tries"][2], 2)
        self.assertNotIn("LOGIN-DATA", self.attributes())

    def test_hashed_pins(self):
        card = self.card("gnuk")
        self.ready()
        self.pin.pin(ADMIN)
        self.gpg.edit("admin", "kdf-setup", "quit")
        self.assertRegex(self.ready(), r"KDF setting .*: on")
        self.pin.pin(PIN)
        self.gpg.edit("verify", "quit")
        self.assertEqual(card.state()["tries"][0], 3)

    def test_touch(self):
        self.card("yubikey5", *EDDSA)
        self.ready()
        self.pin.pin(ADMIN)
        if " 2.2." in self.gpg("--version").stdout:  # has no command for it
            self.gpg.connect("SCD SETATTR UIF-1 %01%20")
        else:
            self.gpg.edit("admin", "uif 1 on", "quit")
        self.assertTrue(self.attributes()["UIF-1"][0].startswith("%01"))

    def test_factory_reset(self):
        card = self.card("gnuk", *EDDSA)
        self.ready()
        self.pin.no()
        out = self.gpg.edit("admin", "factory-reset", "y", "yes", "quit", check=False)
        self.assertEqual((card.state()["tries"], len(self.attributes()["KEYPAIRINFO"])), ([3, 0, 3], 3), out.stderr)
        told = self.pin.dialogs()[-1]["desc"]
        self.assertIn("to its factory state", told)
        self.assertEqual(told.count("Lost:"), 4)
        self.pin.yes()
        self.gpg.edit("admin", "factory-reset", "y", "yes", "quit")
        self.assertNotIn("KEYPAIRINFO", self.attributes())
        self.pin.pin(ADMIN)
        self.gpg.edit("admin", "login", "jdoe", "quit")
        self.assertEqual(card.state()["tries"][2], 3)

    def test_raw_commands(self):
        card = self.card("gnuk", *EDDSA)
        self.ready()
        out = self.gpg.connect("SCD SERIALNO", "SCD APDU 00CA006E00", "SCD APDU 0020008106313233343536", "SCD APDU 00E60000")
        self.assertEqual([line.split()[0] for line in out if line[:1] in ("O", "E")], ["OK", "OK", "ERR", "ERR"], out)
        self.assertIn("Forbidden", out[-1])
        self.assertEqual(card.state()["tries"], [3, 0, 3])


class Denied(Case):
    POLICY = "Match use card-admin,generate,import\n Access deny\n" + FREE

    def test_denied_by_policy(self):
        self.card("gnuk", *EDDSA)
        self.ready()
        out = self.gpg.edit("admin", "login", "jdoe", "quit", check=False)
        self.assertIn("Forbidden", out.stderr)
        self.gpg.edit("admin", "factory-reset", "y", "yes", "quit", check=False)
        self.assertEqual(len(self.attributes()["KEYPAIRINFO"]), 3)
        self.assertEqual(self.pin.dialogs(), [])


class AnotherFamily(Case):
    POLICY = ""

    def test_a_hash_of_a_login(self):
        """What gpg's protocol could only show as a hash might be a login: an ssh key signs none of them."""
        card = self.card("gnuk", "--key", "sig=nistp256", "--key", "dec=nistp256", "--key", "aut=nistp256")
        self.ready()
        grip = [line.split()[0] for line in self.attributes()["KEYPAIRINFO"] if "OPENPGP.3" in line][0]
        digest = hashlib.sha256(userauth(b"x" * 32, "root", b"")).hexdigest()
        for command in (f"SCD SETDATA {digest}", "SCD PKAUTH OPENPGP.3"), (f"SIGKEY {grip}", f"SETHASH 8 {digest}", "PKSIGN"):
            answers = self.gpg.connect(*command)
            self.assertRegex(answers[-1], r"^ERR \d+ (Forbidden|No policy match)", command)
        self.assertEqual(card.state()["verifies"], 0)
        self.assertEqual(self.pin.dialogs(), [])


class Moving(Case):
    def soft(self, uid, algo="ed25519", sub="cv25519"):
        self.gpg("--batch", "--passphrase", "", "--quick-generate-key", uid, algo, "sign,cert", "0")
        fpr = self.gpg.fprs()[0]
        self.gpg("--batch", "--passphrase", "", "--quick-add-key", fpr, sub, "encr", "0")
        return fpr

    def move(self, fpr, *lines):
        return self.gpg.edit(*lines, command=["--edit-key", fpr])


class Keys(Moving):
    def test_made_on_the_card_and_used(self):
        card = self.card("gnuk")
        self.ready()
        self.pin.pin(ADMIN)
        self.gpg.edit("admin", "key-attr", "2", "1", "2", "1", "2", "1", "quit")
        self.assertEqual(self.attributes("")["KEYPAIRINFO"] if "KEYPAIRINFO" in self.attributes() else [], [])
        self.pin.pin(PIN)
        self.generate()
        told = self.attributes()
        self.assertEqual([line.split()[1] for line in told["KEYPAIRINFO"]], ["OPENPGP.1", "OPENPGP.2", "OPENPGP.3"])
        self.sign()
        self.crypt()
        # A stub is nothing that we need; gpg -K tells of the card nevertheless.
        for line in told["KEYPAIRINFO"]:
            self.gpg.file(line.split()[0]).unlink()
        self.sign()
        self.crypt()
        self.assertIn("sec>", self.gpg("-K").stdout)
        self.assertEqual(card.state()["tries"], [3, 0, 3])

    def test_moved_to_the_card(self):
        card = self.card("gnuk")
        self.ready()
        fpr = self.soft("Mover <mover@x.test>")
        grips = self.gpg.keys()
        self.pin.yes()
        self.pin.pin(ADMIN)
        self.pin.yes()
        self.move(fpr, "keytocard", "y", "1", "key 1", "keytocard", "2", "save")
        for i, grip in enumerate(grips):
            self.assertIn("shadowed", self.gpg.file(grip).read_text())
            self.assertIn(f"OPENPGP.{i + 1}", self.gpg.file(grip).read_text())
        self.pin.pin(PIN)
        self.sign("mover@x.test")
        self.crypt("mover@x.test")
        self.assertEqual(card.state()["tries"], [3, 0, 3])
        self.assertIn(fpr, "".join(self.attributes()["KEY-FPR"]))

    def test_a_card_that_is_not_there(self):
        card = self.card("gnuk")
        self.ready()
        key = self.soft("Puller <puller@x.test>")
        self.pin.yes()
        self.pin.pin(ADMIN)
        self.move(key, "keytocard", "y", "1", "save")
        card.pull()
        wait_until(lambda: "No such device" in self.gpg("--card-status", check=False).stderr, "it is gone")
        self.pin.cancel()
        out = self.gpg("--yes", "--detach-sign", "-u", key, "-o", self.bench.top / "s", "/etc/hostname", check=False)
        self.assertIn("FAILURE sign 83886179", out.stderr)
        self.assertIn("Please insert the card with serial number", self.pin.dialogs()[-1]["desc"])
        out = self.gpg("--yes", "--batch", "--pinentry-mode=loopback", "--passphrase=x", "--detach-sign", "-u", key, "-o",
                       self.bench.top / "s", "/etc/hostname", check=False)
        self.assertIn("Card not present", out.stderr)
        # It comes while the dialog stands: the dialog goes and the signature is made.
        shown = len(self.pin.opened())
        signing = self.gpg.start("--yes", "--detach-sign", "-u", key, "-o", self.bench.top / "s", "/etc/hostname")
        self.pin.wait_open(shown + 1)
        card.insert()
        self.assertIn("PIN for", self.pin.wait_open(shown + 2)[-1]["desc"])
        self.pin.pin(PIN)
        self.assertEqual(signing.wait(timeout=30), 0)

    def test_the_clients_pin(self):
        card = self.card("gnuk")
        self.ready()
        fpr = self.soft("Looper <looper@x.test>")
        self.pin.yes()
        self.pin.pin(ADMIN)
        self.move(fpr, "keytocard", "y", "1", "save")
        loop = ("--batch", "--yes", "--pinentry-mode=loopback", "--detach-sign", "-o", self.bench.top / "s")
        out = self.gpg("--passphrase=000000", *loop, "/etc/hostname", check=False)
        self.assertIn("Bad PIN", out.stderr)
        self.assertEqual(card.state()["tries"][0], 2)
        self.gpg("--passphrase=" + PIN, *loop, "/etc/hostname")
        self.assertEqual(card.state()["tries"][0], 3)


class Counted(Moving):
    """What a signature by gpg costs the card, once the PIN is verified."""

    APDUS = 3

    def test_apdus(self):
        card = self.card("gnuk")
        self.ready()
        fpr = self.soft("Counter <counter@x.test>")
        self.pin.yes()
        self.pin.pin(ADMIN)
        self.pin.yes()
        self.move(fpr, "keytocard", "y", "1", "key 1", "keytocard", "2", "save")
        self.pin.pin(PIN)
        self.sign("counter@x.test")
        for _ in range(2):
            self.assertEqual(card.count(lambda: self.sign("counter@x.test"))["total"], self.APDUS, card.log())


class CountedLeft(Counted):
    """The same for a card that may stay verified."""

    POLICY = FREE + " AfterUse leave\n"
    APDUS = 1


class TwoCards(Case):
    READERS = ("Reader One", "Reader Two")

    def test_apart(self):
        self.card("gnuk", "--serial", "00000A0A", *EDDSA, name="a", reader=0)
        self.ready()
        self.card("gnuk", "--serial", "00000B0B", *EDDSA, name="b", reader=1)
        wait_until(lambda: len(self.serials()) == 2, "both cards are there")
        a, b = self.serials()
        one, two = self.connection(), self.connection()
        one.ask(f"SCD SERIALNO --demand={b}")
        self.assertEqual(one.status, [f"SERIALNO {b}"])
        two.ask("SCD SERIALNO")
        self.assertEqual(two.status, [f"SERIALNO {a}"])
        two.ask("SCD SERIALNO undefined")
        two.ask("SCD RESET")
        one.ask("SCD GETATTR SERIALNO")
        self.assertEqual(one.status, [f"SERIALNO {b}"])
        self.pin.pin(ADMIN)
        one.ask("SCD SETATTR LOGIN-DATA second")
        self.assertEqual(self.attributes(b)["LOGIN-DATA"], ["second"])
        self.assertNotIn("LOGIN-DATA", self.attributes(a))
        two.ask("SCD LOCK")
        with self.assertRaises(AssuanError):
            one.ask("SCD LEARN --force")
        two.close()
        one.ask("SCD LOCK --wait")
        one.close()

    def serials(self):
        return [line.split()[2] for line in self.gpg.connect("SCD GETINFO card_list") if line.startswith("S SERIALNO")]

    def connection(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self.gpg.home / "S.gpg-agent"))
        return Assuan(sock)
