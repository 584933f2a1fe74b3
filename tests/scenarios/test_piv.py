"""PIV cards in a real pcscd: logins, signatures, PINs, touches, other programs, and OpenPGP on the same card."""
import base64
import glob
import socket
import unittest

from harness import Agent, AgentClient, Bench, Card, Gpg, Pcscd, ScriptedPinentry, Sshd, wait_until
from harness.agentclient import s, sshsig
from harness.assuan import Assuan, AssuanError

FREE = "Match all\n Touch none\n"
AUTH = ("--piv-key", "9A=nistp256")


class Case(unittest.TestCase):
    POLICY = FREE
    READERS = ("Yubico YubiKey",)

    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        self.pinentry = ScriptedPinentry(b)
        b.policy(self.POLICY)
        self.pcscd = Pcscd(b, self.READERS)

    def begin(self, profile="yubikey5", *options, name="card", reader=0):
        card = Card(self.pcscd, profile, *options, name=name, reader=reader)
        if not hasattr(self, "agent"):
            self.agent = Agent(self.bench)
        return card

    def slot(self, slot):
        """The key in that slot, once it is known."""
        def find():
            for k in self.agent.keys():
                if any(t["slot"] == slot for t in k["tokens"]):
                    return k
            return None
        return wait_until(find, slot)

    def blob(self, slot):
        return base64.b64decode(self.slot(slot)["ssh"].split()[1])

    def sign(self, slot="piv-9a", flags=4):
        c = AgentClient(self.agent.ssh)
        try:
            return c.sign(self.blob(slot), sshsig("file"), flags=flags)
        finally:
            c.close()

    def sign_later(self, slot="piv-9a"):
        c = AgentClient(self.agent.ssh)
        c.send(b"\x0d" + s(self.blob(slot)) + s(sshsig("file")) + b"\0\0\0\4")
        self.addCleanup(c.close)
        return c


class Products(Case):
    CARDS = (("yubikey5", "nistp256", ()), ("yubikey5", "rsa2048", ()), ("yubikey4", "rsa2048", ("gzip",)), ("yubikey57", "ed25519", ("nocert",)),
             ("yubikey57", "rsa4096", ()), ("piv", "nistp384", ("gzip",)), ("pivapplet", "nistp256", ()))

    def test_every_profile_and_algorithm_logs_in(self):
        self.pinentry.always()
        server = Sshd(self.bench)
        for profile, algo, more in self.CARDS:
            with self.subTest(f"{profile} {algo}"):
                card = self.begin(profile, "--piv-key", ",".join((f"9A={algo}", *more)), name=f"{profile}{algo}")
                self.slot("piv-9a")
                server.authorize(*self.agent.latchkey("keys", "--ssh").stdout.splitlines())
                for _ in range(2):
                    self.assertEqual(server.login().stdout, "in\n")
                self.assertEqual(card.state()["piv"]["tries"][0], 3)
                self.assertFalse(card.state()["piv"]["verified"], "the card is not left verified")
                card.pull()
                wait_until(lambda: not [t for t in self.agent.status()["tokens"] if t["state"] == "ready" and t["name"] != "software"], "gone")
                card.process.kill()
                card.process.wait()
                self.agent.stop()
                del self.agent

    def test_signatures_that_ssh_keygen_verifies(self):
        self.pinentry.always()
        self.begin("yubikey57", "--piv-key", "9A=rsa3072", "--piv-key", "9C=nistp384", "--piv-key", "9E=ed25519", "--piv-key", "82=nistp256")
        for slot in ("piv-9a", "piv-9c", "piv-9e", "piv-82"):
            with self.subTest(slot):
                text = self.slot(slot)["ssh"]
                pub, data = self.bench.home / "k.pub", self.bench.home / "data"
                pub.write_text(text + "\n")
                data.write_text("what is signed")
                self.bench.run("ssh-keygen", "-q", "-Y", "sign", "-f", pub, "-n", "file", data)
                (self.bench.home / "allowed").write_text(f"me {text}\n")
                self.bench.run("ssh-keygen", "-Y", "verify", "-f", self.bench.home / "allowed", "-I", "me", "-n", "file", "-s",
                               f"{data}.sig", input="what is signed")
                (self.bench.home / "data.sig").unlink()

    def test_what_is_listed(self):
        self.begin("yubikey57", "--piv-key", "9A=nistp256,pin=never", "--piv-key", "9C=nistp256,touch=on", "--piv-key", "9D=cv25519",
                   "--piv-key", "9E=nistp256", "--piv-key", "95=rsa2048,touch=cached", "--piv-key", "83=rsa1024", "--piv-key", "84=nistp256,nokey")
        self.slot("piv-95")
        traits = {t["slot"]: (t["pin"], t["touch"]) for k in self.agent.keys() for t in k["tokens"] if t["name"] != "software"}
        self.assertEqual(traits, {"piv-9a": ("none", "never"), "piv-9c": ("always", "always"), "piv-9d": ("once", "never"),
                                  "piv-9e": ("none", "never"), "piv-95": ("once", "cached")}, "no 1024 bits, no certificate without a key")
        ssh = self.agent.latchkey("keys", "--ssh").stdout
        self.assertEqual(len(ssh.splitlines()), 4, "9D is for decryption")
        self.assertEqual(self.agent.token("yubikey")["applications"], ["openpgp", "piv"])

    def test_what_is_known_of_touches(self):
        """Metadata, an attestation, or nobody's word."""
        for profile, more, touch in (("yubikey5", "", "always"), ("yubikey4", "", "always"), ("yubikey4", ",imported", "unknown"), ("piv", "", "unknown"),
                                     ("pivapplet", "", "unknown")):
            with self.subTest(profile + more):
                policy = ",touch=on" if profile.startswith("yubikey") else ""
                card = self.begin(profile, "--piv-key", f"9A=nistp256{policy}{more}", name=f"t{profile}{len(more)}")
                self.assertEqual(self.slot("piv-9a")["tokens"][0]["touch"], touch)
                card.pull()
                wait_until(lambda: not [t for t in self.agent.status()["tokens"] if t["state"] == "ready"], "gone")
                card.process.kill()
                card.process.wait()

    def test_apdu_counts(self):
        """A signature: by AfterUse drop three commands, by leave one."""
        self.pinentry.always()
        card = self.begin("yubikey5", *AUTH, "--piv-key", "9C=rsa2048", "--piv-key", "9E=nistp256")
        for _ in range(2):
            self.assertIsNotNone(self.sign())
        for slot in ("piv-9a", "piv-9c"):
            self.assertEqual(card.count(lambda: self.assertIsNotNone(self.sign(slot)))["total"], 3, card.log())
        self.bench.policy("Match all\n Touch none\n AfterUse leave\n")
        self.agent.stop()
        self.agent = Agent(self.bench)
        self.assertIsNotNone(self.sign())
        self.assertEqual(card.count(lambda: self.assertIsNotNone(self.sign()))["total"], 1, card.log())
        self.assertTrue(card.state()["piv"]["verified"])
        self.agent.latchkey("lock")
        wait_until(lambda: not card.state()["piv"]["verified"], "locking logs the card out")


class Pins(Case):
    def test_wrong_twice_then_right(self):
        card = self.begin("piv", *AUTH)
        self.slot("piv-9a")
        for answer in ("pin 111111", "pin 222222", "confirm ok", "pin 123456"):
            self.pinentry.answer(answer)
        self.assertIsNotNone(self.sign())
        dialogs = self.pinentry.dialogs()
        self.assertEqual([d["kind"] for d in dialogs], ["pin", "pin", "confirm", "pin"], "the last try has a warning of its own")
        self.assertIn("PIV PIN for ", dialogs[0]["desc"])
        self.assertIn("3 tries left", dialogs[0]["desc"])
        self.assertIn("Wrong PIV PIN, 2 tries left", dialogs[1]["error"])
        self.assertIn("One try is left", dialogs[2]["desc"])
        self.assertEqual(card.state()["verifies"], 3)

    def test_blocked(self):
        card = self.begin("yubikey5", *AUTH)
        self.slot("piv-9a")
        for answer in ("pin 111111", "pin 222222", "confirm ok", "pin 333333"):
            self.pinentry.answer(answer)
        self.assertIsNone(self.sign())
        self.assertEqual(card.state()["piv"]["tries"], [0, 3])
        self.assertIn("blocked", self.agent.last()["reason"])
        asked = len(self.pinentry.dialogs())
        self.assertIsNone(self.sign())
        self.assertEqual(len(self.pinentry.dialogs()), asked, "nobody is asked for a PIN that is blocked")

    def test_lengths_that_cannot_be_cost_nothing(self):
        card = self.begin("yubikey5", *AUTH)
        self.slot("piv-9a")
        for answer in ("pin 123", "pin 123456789", "pin 123456"):
            self.pinentry.answer(answer)
        self.assertIsNotNone(self.sign())
        self.assertEqual(card.state()["verifies"], 1)

    def test_pin_for_each_use(self):
        """9C wants VERIFY right before each signature, whether the card tells of it or not; the policy says who types."""
        for profile in ("yubikey5", "piv"):
            with self.subTest(profile):
                card = self.begin(profile, "--piv-key", "9C=nistp256", name=f"c{profile}")
                self.slot("piv-9c")
                asked = len(self.pinentry.dialogs())
                self.pinentry.answer("pin 123456")
                for _ in range(3):
                    self.assertIsNotNone(self.sign("piv-9c"))
                self.assertEqual(len(self.pinentry.dialogs()), asked + 1, "Pin session: typed once")
                self.assertEqual(card.state()["verifies"], 3)
                card.pull()
                wait_until(lambda: self.agent.lock_state() == "locked", "locked")
                card.process.kill()
                card.process.wait()
                self.agent.stop()
                del self.agent

    def test_slot_that_wants_each_pin_and_did_not_tell(self):
        self.bench.policy("Match all\n Touch none\n AfterUse leave\n")
        card = self.begin("yubikey4", "--piv-key", "9A=nistp256,pin=always,imported")
        self.slot("piv-9a")
        self.pinentry.answer("pin 123456")
        for _ in range(3):
            self.assertIsNotNone(self.sign())
        self.assertEqual(card.state()["piv"]["tries"][0], 3)

    def test_global_pin(self):
        card = self.begin("piv", *AUTH, "--piv-global-pin")
        self.slot("piv-9a")
        self.pinentry.answer("pin 123456")
        self.assertIsNotNone(self.sign())
        self.assertTrue([c for c in card.log() if c.startswith("00200000")], "it went to the global PIN's reference")

    def test_slot_without_pin_asks_for_none(self):
        card = self.begin("yubikey5", "--piv-key", "9E=nistp256")
        self.assertIsNotNone(self.sign("piv-9e"))
        self.assertEqual((card.state()["verifies"], self.pinentry.dialogs()), (0, []))


class Touch(Case):
    def test_touch_given_and_not_given(self):
        self.bench.policy("Match all\n Touch always\n")
        card = self.begin("yubikey5", "--piv-key", "9A=nistp256,touch=on")
        self.pinentry.always()
        c = self.sign_later()
        card.touch()
        self.assertEqual(c.recv()[0], 14)
        self.assertEqual(self.agent.last()["presence"], "touch")
        card.do("touch-timeout 300")
        self.assertIsNone(self.sign())
        self.assertIn("not touched", self.agent.last()["reason"])
        self.assertEqual(card.state()["piv"]["tries"][0], 3)

    def test_unknown_touch_is_no_touch(self):
        """Where nobody can tell whether the card enforces one, a dialog stands in, and a touch that it does wait for is noticed."""
        self.bench.policy("Match all\n Touch always\n StandIn confirm\n")
        card = self.begin("yubikey4", "--piv-key", "9A=nistp256,touch=on,imported")
        self.slot("piv-9a")
        for answer in ("confirm ok", "pin 123456"):
            self.pinentry.answer(answer)
        c = self.sign_later()
        wait_until(lambda: any(t["waiting_for_touch"] for t in self.agent.status()["tokens"]), "the person is told")
        card.touch()
        self.assertEqual(c.recv()[0], 14)
        self.assertEqual(self.agent.last()["presence"], "dialog")
        self.agent.stop()
        self.bench.policy("Match all\n Touch always\n StandIn deny\n")
        self.agent = Agent(self.bench)
        self.assertIsNone(self.sign())
        self.assertIn("StandIn deny", self.agent.last()["reason"])

    def test_pull_while_a_touch_is_awaited(self):
        card = self.begin("yubikey5", "--piv-key", "9A=nistp256,touch=on")
        self.pinentry.always()
        c = self.sign_later()
        wait_until(lambda: card.state()["touch_waiting"], "the card waits")
        card.pull()
        self.assertEqual(c.recv()[0], 5)
        wait_until(lambda: self.agent.lock_state() == "locked", "locked")


class Interference(Case):
    """What other programs, and the card's other application, do in between."""
    BOTH = ("--key", "aut=ed25519", "--key", "sig=ed25519", "--key", "dec=cv25519", *AUTH)

    def other_program(self, *apdus):
        code = """
import ctypes, sys
p = ctypes.CDLL("libpcsclite.so.1")
ctx, card, proto = ctypes.c_long(), ctypes.c_long(), ctypes.c_ulong()
assert p.SCardEstablishContext(2, None, None, ctypes.byref(ctx)) == 0
assert p.SCardConnect(ctx, sys.argv[1].encode(), ctypes.c_ulong(2), ctypes.c_ulong(3), ctypes.byref(card), ctypes.byref(proto)) == 0
assert p.SCardBeginTransaction(card) == 0
class IO(ctypes.Structure): _fields_ = [("a", ctypes.c_ulong), ("b", ctypes.c_ulong)]
for hex in sys.argv[2:]:
    cmd = bytes.fromhex(hex)
    out, n = ctypes.create_string_buffer(300), ctypes.c_ulong(300)
    assert p.SCardTransmit(card, ctypes.byref(IO(2, 16)), cmd, ctypes.c_ulong(len(cmd)), None, out, ctypes.byref(n)) == 0
p.SCardEndTransaction(card, ctypes.c_ulong(0 if len(sys.argv) > 2 else 1))
p.SCardDisconnect(card, ctypes.c_ulong(0))
"""
        self.bench.run("python3", "-c", code, self.agent.token("yubikey")["reader"], *apdus)

    def test_other_application_and_reset(self):
        for after in ("drop", "leave"):
            with self.subTest(after):
                self.bench.policy(f"Match all\n Touch none\n AfterUse {after}\n")
                card = self.begin("yubikey5", *self.BOTH, name=after)
                self.pinentry.always()
                self.assertIsNotNone(self.sign())
                asked = len(self.pinentry.dialogs())
                for apdus in (("00A4040006D27600012401",), (), ("00A4040005A000000308",), ("00A4040008A000000527471117",)):
                    card.do("reset-counts")
                    self.other_program(*apdus)
                    self.assertIsNotNone(self.sign(), f"after {apdus or 'a reset'}")
                    self.assertEqual(card.state()["piv"]["tries"][0], 3)
                    self.assertEqual(card.state()["wrong_applet_pins"], 0, "no other application saw the PIN")
                self.assertEqual(len(self.pinentry.dialogs()), asked, "nobody is asked again")
                card.pull()
                wait_until(lambda: self.agent.lock_state() == "locked", "locked")
                card.process.kill()
                card.process.wait()
                self.agent.stop()
                del self.agent

    def test_both_applications_in_turn(self):
        card = self.begin("yubikey5", *self.BOTH)
        self.pinentry.always()
        self.assertIsNotNone(self.sign("piv-9a"))
        self.assertIsNotNone(self.sign("aut"))
        asked = len(self.pinentry.dialogs())
        self.assertEqual(asked, 2, "each application has a PIN of its own")
        card.do("reset-counts")
        for _ in range(20):
            self.assertIsNotNone(self.sign("piv-9a"))
            self.assertIsNotNone(self.sign("aut"))
        self.assertEqual(len(self.pinentry.dialogs()), asked)
        self.assertEqual(card.state()["wrong_applet_pins"], 0)
        self.assertEqual((card.state()["piv"]["tries"][0], card.state()["tries"][0]), (3, 3))

    def test_locked_and_unlocked_by_its_pin(self):
        self.begin("yubikey5", *AUTH, "--piv-key", "9E=nistp256")
        self.pinentry.always()
        self.assertIsNotNone(self.sign())
        self.agent.latchkey("lock")
        asked = len(self.pinentry.dialogs())
        self.agent.latchkey("unlock")
        self.assertEqual(self.agent.lock_state(), "open")
        self.assertEqual([d["kind"] for d in self.pinentry.dialogs()[asked:]], ["pin"], "9E, which asks for nothing, proves nothing here")

    def test_opensc_uses_the_card_in_between(self):
        """Its PKCS#11 module sees the key by the certificate that we made, and signs with it; each keeps its own counsel."""
        card = self.begin("yubikey5")
        wait_until(lambda: self.agent.token("yubikey") and "piv" in self.agent.token("yubikey")["applications"], "PIV")
        self.pinentry.always()
        self.agent.latchkey("token", "piv", "generate", "--name", "Somebody", "9a")
        self.assertIsNotNone(self.sign())
        asked = len(self.pinentry.dialogs())
        module = next(iter(glob.glob("/usr/lib/*/opensc-pkcs11.so") + glob.glob("/usr/lib/opensc-pkcs11.so")))
        tool = ("pkcs11-tool", "--module", module, "--login", "--pin", "123456")
        for _ in range(2):
            out = self.bench.run(*tool, "--list-objects").stdout
            self.assertIn("EC_POINT", out)
            (self.bench.home / "hash").write_bytes(b"\x11" * 32)
            self.bench.run(*tool, "--sign", "--mechanism", "ECDSA", "--id", "01", "-i", self.bench.home / "hash", "-o", self.bench.home / "sig")
            self.assertEqual((self.bench.home / "sig").stat().st_size, 64)
            self.assertIsNotNone(self.sign())
        self.assertEqual(len(self.pinentry.dialogs()), asked, "nobody is asked again")
        self.assertEqual(card.state()["piv"]["tries"][0], 3)

    def test_certificate_without_its_key(self):
        self.begin("piv", "--piv-key", "9A=nistp256,nokey")
        self.pinentry.always()
        self.assertIsNone(self.sign())
        self.assertIn("does not hold", self.agent.last()["reason"])

    def test_imposter(self):
        """It has the public halves of the keys, and takes any PIN: what it signs is not given to anybody."""
        self.begin("piv", *AUTH, "--imposter")
        self.pinentry.always()
        self.assertIsNone(self.sign())
        self.assertIn("does not fit", self.agent.last()["reason"])

    def test_unplugged_and_back(self):
        card = self.begin("yubikey5", *AUTH)
        self.pinentry.always()
        self.assertIsNotNone(self.sign())
        card.pull()
        wait_until(lambda: self.agent.lock_state() == "locked", "locked")
        card.insert()
        asked = len(self.pinentry.dialogs())
        self.assertIsNotNone(self.sign(), "its PIN, typed anew, opens the lock")
        self.assertEqual(len(self.pinentry.dialogs()), asked + 1)
        self.assertEqual(self.agent.lock_state(), "open")


class PlainCard(Case):
    """A card of an agency's, in somebody's reader."""
    READERS = ("Virtual Reader",)

    def test_what_it_is_called(self):
        self.bench.policy("Match token piv\n Access deny\nMatch all\n Touch none\n")
        self.begin("piv", *AUTH)
        self.pinentry.always()
        self.slot("piv-9a")
        token = self.agent.token("piv-")
        self.assertEqual((token["kind"], token["applications"], token["tries"][0]), ("piv", ["piv"], 3))
        self.assertIsNone(self.sign())
        self.assertIn("Access deny", self.agent.last()["reason"])


class OnProduct(Case):
    def test_match_token_piv_holds_for_piv_slots_of_a_product(self):
        self.bench.policy("Match token piv\n Access deny\nMatch all\n Touch none\n")
        self.begin("yubikey5", "--key", "aut=ed25519", *AUTH)
        self.pinentry.always()
        self.assertIsNone(self.sign("piv-9a"))
        self.assertIsNotNone(self.sign("aut"))


class Memory(Case):
    """A card that proved its card authentication key has to go on doing so."""
    KEYS = (*AUTH, "--piv-key", "9E=nistp256", "--seed", "7")

    def swap(self, card, profile, *options, name):
        card.pull()
        wait_until(lambda: not [t for t in self.agent.status()["tokens"] if t["state"] == "ready" and t["name"] != "software"], "gone")
        card.process.kill()
        card.process.wait()
        self.agent.stop()
        del self.agent
        return self.begin(profile, *options, name=name)

    def refused(self):
        return wait_until(lambda: [t for t in self.agent.status()["tokens"] if "not the card" in t["state"]], "it is refused")

    def test_copy_of_a_card_gets_no_pin(self):
        self.pinentry.always()
        card = self.begin("yubikey5", *self.KEYS)
        self.assertIsNotNone(self.sign())
        copy = self.swap(card, "yubikey5", *self.KEYS, "--imposter", name="copy")
        name = self.refused()[0]["state"].split("token forget ")[1]
        self.assertEqual(copy.state()["verifies"], 0)
        self.assertEqual([k for k in self.agent.keys()], [])
        self.assertIn("not the card", self.agent.log.read_text())
        back = self.swap(copy, "yubikey5", *self.KEYS, name="back")
        self.assertIsNotNone(self.sign(), "the real one is served")
        other = self.swap(back, "yubikey5", *AUTH, name="other")
        self.refused()
        self.agent.latchkey("token", "forget", name)
        other.pull()
        wait_until(lambda: not [t for t in self.agent.status()["tokens"] if "not the card" in t["state"]], "gone")
        other.insert()
        self.assertIsNotNone(self.sign(), "its owner said that it is another one")

    def test_key_that_was_not_read_yet_signs(self):
        """ssh may know it from a file, and ask for it before anybody has listed it."""
        self.pinentry.always()
        self.begin("yubikey5", "--key", "aut=ed25519", *AUTH, "--seed", "3")
        blob = self.blob("piv-9a")
        self.agent.stop()
        for f in (self.bench.home / ".local/state/latchkey/tokens").iterdir():
            f.unlink()
        self.agent = Agent(self.bench)
        self.agent.wait_token("yubikey")
        c = AgentClient(self.agent.ssh)
        self.assertIsNotNone(c.sign(blob, sshsig("file")))
        c.close()

    def test_keys_that_come_late_are_waited_for_the_next_time(self):
        self.pinentry.always()
        card = self.begin("yubikey5", "--key", "aut=ed25519", *AUTH)
        self.slot("piv-9a")
        self.agent.stop()
        self.agent = Agent(self.bench)
        c = AgentClient(self.agent.ssh)
        self.assertEqual(len(c.list()), 2, "the first list of all has both keys")
        c.close()


class Manage(Case):
    """latchkey token piv"""

    def piv(self, *args, status=0):
        p = self.agent.latchkey("token", "piv", *args, check=False)
        self.assertEqual(p.returncode, status, f"{args}: {p.stdout}{p.stderr}")
        return p.stdout if status == 0 else p.stderr

    def answers(self, *answers):
        for a in answers:
            self.pinentry.answer(a)

    def ready(self):
        return wait_until(lambda: [t for t in self.agent.status()["tokens"] if t["state"] == "ready" and "piv" in t["applications"]], "PIV")

    def test_a_new_key_from_empty_card_to_login(self):
        card = self.begin("yubikey57", "--key", "aut=ed25519")
        self.ready()
        for algo, slot, ssh in (("nistp256", "9a", "ecdsa-sha2-nistp256"), ("rsa2048", "82", "ssh-rsa"), ("ed25519", "9e", "ssh-ed25519")):
            with self.subTest(algo):
                self.answers("pin 123456") if slot == "9a" else None
                line = self.piv("generate", "--algorithm", algo, "--name", "Somebody", slot)
                self.assertTrue(line.startswith(f"{ssh} "), line)
                self.assertEqual(self.slot(f"piv-{slot}")["ssh"], " ".join(line.split()[:2]))
        server = Sshd(self.bench)
        server.authorize(self.slot("piv-9a")["ssh"])
        self.assertEqual(server.login().stdout, "in\n")
        uses = [r["use"] for r in self.agent.records() if r["verdict"] == "allowed"]
        self.assertEqual(uses[:2], ["generate", "card-admin"])
        self.assertFalse(card.state()["piv"]["managed"] or card.state()["piv"]["verified"])
        text = self.piv("status")
        for words in ("firmware   5.7.1", "PIN        3 tries left, still the default one", "piv-9a  nistp256", "PIN once, touch never, generated, certificate",
                      "identity   proved"):
            self.assertIn(words, text)

    def test_certificate_that_openssl_verifies(self):
        card = self.begin("yubikey57")
        self.ready()
        self.pinentry.always()
        for algo in ("nistp384", "rsa3072", "ed25519"):
            with self.subTest(algo):
                self.piv("generate", "-a", algo, "--force", "--name", "Jörg", "9c")
                der = bytes.fromhex(card.ask("object 5FC10A"))
                at = der.index(b"\x30\x82") if b"\x30\x82" in der[:8] else der.index(b"\x30")
                length = int.from_bytes(der[at + 2:at + 4], "big") + 4 if der[at + 1] == 0x82 else der[at + 2] + 3
                pem = self.bench.home / "c.der"
                pem.write_bytes(der[at:at + length])
                self.bench.run("openssl", "x509", "-inform", "DER", "-in", pem, "-out", self.bench.home / "c.pem")
                self.bench.run("openssl", "verify", "-check_ss_sig", "-CAfile", self.bench.home / "c.pem", self.bench.home / "c.pem")

    def test_a_key_that_is_there_is_not_lost_by_chance(self):
        card = self.begin("yubikey5", *AUTH)
        before = self.slot("piv-9a")["fingerprint"]
        self.piv("generate", "9a", status=1) if self.answers("confirm ok") is None else None
        self.assertEqual(self.slot("piv-9a")["fingerprint"], before)
        asked = len(self.pinentry.dialogs())
        self.answers("confirm no")
        self.assertIn("said no", self.piv("generate", "--force", "9a", status=1))
        self.assertIn(f"Lost:    the key piv-9a, {before}", self.pinentry.dialogs()[asked]["desc"])
        self.assertEqual(self.slot("piv-9a")["fingerprint"], before)
        self.answers("confirm ok", "pin 123456")
        self.piv("generate", "--force", "9a")
        self.assertNotEqual(self.slot("piv-9a")["fingerprint"], before)
        self.assertEqual(card.state()["piv"]["tries"][0], 3)

    def test_policies_of_a_new_key(self):
        card = self.begin("yubikey5")
        self.ready()
        card.do("touch-mode auto")
        self.pinentry.always()
        self.piv("generate", "--pin-policy", "always", "--touch-policy", "cached", "85")
        held = self.slot("piv-85")["tokens"][0]
        self.assertEqual((held["pin"], held["touch"]), ("always", "cached"))
        self.assertIn("never, once or always", self.piv("generate", "--pin-policy", "sometimes", "86", status=2))
        self.assertIn("latchkey token piv generate", self.piv("generate", "77", status=2))

    def test_pin_puk_and_unblock(self):
        card = self.begin("yubikey5", *AUTH)
        self.ready()
        self.answers("pin 123456", "pin 654321", "pin 654321")
        self.piv("change-pin")
        self.answers("pin 654321")
        self.assertIsNotNone(self.sign())
        self.answers("pin 12345678", "pin 87654321", "pin 87654321")
        self.piv("change-puk")
        self.agent.latchkey("lock")
        for answer in ("pin 000000", "pin 000001", "confirm ok", "pin 000002"):
            self.pinentry.answer(answer)
        self.assertIsNone(self.sign())
        self.assertEqual(card.state()["piv"]["tries"], [0, 3])
        self.agent.stop()
        self.agent = Agent(self.bench)
        self.ready()
        self.answers("pin 11111111", "pin 222222", "pin 222222", "pin 87654321", "pin 222222", "pin 222222")
        self.piv("unblock")
        self.assertEqual(card.state()["piv"]["tries"], [3, 3])
        self.assertIn("Wrong PUK, 2 tries left", [d["error"] for d in self.pinentry.dialogs() if d.get("error")][-1])
        self.answers("pin 222222")
        self.assertIsNotNone(self.sign())

    def test_management_key_that_was_changed(self):
        for profile in ("yubikey5", "yubikey4"):
            with self.subTest(profile):
                card = self.begin(profile, name=profile)
                self.ready()
                card.do("management-key 0F1E2D3C4B5A69788796A5B4C3D2E1F00112233445566778")
                asked = len(self.pinentry.dialogs())
                self.answers("pin 0101010101010101010101010101010101010101010101FF", "pin 0F1E2D3C4B5A69788796A5B4C3D2E1F00112233445566778")
                self.piv("generate", "--no-certificate", "9a")
                dialogs = self.pinentry.dialogs()[asked:]
                self.assertIn("Management key", dialogs[0]["desc"])
                self.assertIn("Wrong management key", dialogs[1]["error"])
                card.pull()
                wait_until(lambda: not [t for t in self.agent.status()["tokens"] if t["state"] == "ready"], "gone")
                card.process.kill()
                card.process.wait()
                self.agent.stop()
                del self.agent

    def test_import(self):
        card = self.begin("yubikey57")
        self.ready()
        self.pinentry.always()
        for kind, more, slot in (("EC", ("-pkeyopt", "ec_paramgen_curve:P-256"), "9a"), ("RSA", ("-pkeyopt", "rsa_keygen_bits:2048"), "83"),
                                 ("ED25519", (), "84")):
            with self.subTest(kind):
                key = self.bench.home / f"{kind}.pem"
                self.bench.run("openssl", "genpkey", "-algorithm", kind, *more, "-out", key)
                self.piv("import", slot, key)
                self.assertIsNotNone(self.sign(f"piv-{slot}"))
        self.assertIn("84", " ".join(card.state()["piv"]["slots"]))
        (self.bench.home / "x").write_text("no key")
        self.assertIn("no private key", self.piv("import", "85", self.bench.home / "x", status=1))

    def test_import_of_a_protected_file(self):
        self.begin("yubikey57")
        self.ready()
        key = self.bench.home / "k.pem"
        self.bench.run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-aes256", "-pass", "pass:quite secret",
                       "-out", key)
        self.answers("pin quite secret", "pin 123456")
        self.piv("import", "9a", key)
        self.assertIn("Passphrase of the key file", self.pinentry.dialogs()[0]["desc"])
        self.assertIsNotNone(self.sign())

    def test_delete(self):
        for profile, gone in (("yubikey57", True), ("yubikey5", False)):
            with self.subTest(profile):
                card = self.begin(profile, *AUTH, "--piv-key", "9C=nistp256", name=profile)
                fpr = self.slot("piv-9a")["fingerprint"]
                asked = len(self.pinentry.dialogs())
                self.answers("confirm ok")
                said = self.piv("delete", "9a")
                self.assertIn(fpr, self.pinentry.dialogs()[asked]["desc"])
                self.assertEqual("9A" in card.state()["piv"]["slots"], not gone, said)
                self.assertEqual("stays in this token" in said, not gone)
                self.assertIn("9C", card.state()["piv"]["slots"])
                card.pull()
                wait_until(lambda: not [t for t in self.agent.status()["tokens"] if t["state"] == "ready"], "gone")
                card.process.kill()
                card.process.wait()
                self.agent.stop()
                del self.agent

    def test_reset(self):
        card = self.begin("yubikey5", "--key", "aut=ed25519", *AUTH, "--piv-key", "9E=nistp256", "--piv-pin", "777777")
        self.slot("piv-9e")
        self.answers("confirm no")
        self.piv("reset", status=1)
        self.assertEqual(card.state()["piv"]["tries"], [3, 3])
        asked = len(self.pinentry.dialogs())
        self.answers("confirm ok")
        self.piv("reset")
        told = self.pinentry.dialogs()[asked]["desc"]
        self.assertEqual((told.count("Lost:"), "piv-9a" in told, "piv-9e" in told), (3, True, True))
        self.assertEqual((card.state()["piv"]["slots"], card.state()["piv"]["tries"]), (["F9"], [3, 3]))
        self.assertEqual(len(self.agent.keys()), 1, "OpenPGP's key is as it was")

    def test_plain_card_cannot_be_reset(self):
        card = self.begin("piv", *AUTH)
        self.slot("piv-9a")
        self.answers("confirm ok")
        self.assertIn("cannot do that", self.piv("reset", status=1))
        self.assertEqual(card.state()["piv"]["tries"], [3, 3])

    def test_policy_decides(self):
        self.bench.policy("Match use generate\n Access deny\nMatch all\n Touch none\n")
        card = self.begin("yubikey5")
        self.ready()
        self.assertIn("Access deny", self.piv("generate", "9a", status=1))
        self.assertEqual(card.state()["piv"]["slots"], ["F9"])


class WithGpg(unittest.TestCase):
    """gpg knows keys by their grips, and scdaemon's clients by their places."""

    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        b.policy("Match all\n Touch none\n Access allow\n")
        self.pcscd = Pcscd(b, ("Yubico YubiKey",))
        self.gpg = Gpg(b, cards=True)

    def connection(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self.gpg.home / "S.gpg-agent"))
        return Assuan(sock)

    def start(self, *options):
        card = Card(self.pcscd, "yubikey5", "--key", "sig=ed25519", *options)
        a = self.connection() if (self.gpg.home / "S.gpg-agent").exists() else None
        if a is None:
            self.gpg.connect("GETINFO version")
            a = self.connection()
        self.addCleanup(a.close)
        def keys():
            a.ask("SCD KEYINFO --list")
            found = {line.split()[4]: line.split()[1] for line in a.status if line.startswith("KEYINFO ")}
            return found if [k for k in found if k.startswith("PIV.")] else None
        return card, a, wait_until(keys, "PIV's keys")

    def test_openpgp_key_in_a_piv_slot(self):
        card, _, keys = self.start("--piv-key", "82=rsa2048")
        (self.bench.home / "params").write_text(f"Key-Type: RSA\nKey-Grip: {keys['PIV.82']}\nKey-Usage: sign,encrypt\nName-Email: piv@x.test\n"
                                                "%no-protection\n%commit\n")
        self.gpg.pinentry.pin("123456")
        self.gpg("--batch", "--gen-key", self.bench.home / "params", timeout=60)
        out, box = self.bench.top / "sig", self.bench.top / "box"
        self.gpg("--yes", "--detach-sign", "-u", "piv@x.test", "-o", out, "/etc/hostname", timeout=30)
        self.assertIn("GOODSIG", self.gpg("--verify", out, "/etc/hostname").stderr)
        self.gpg("--yes", "--trust-model=always", "--encrypt", "-r", "piv@x.test", "-o", box, "/etc/hostname")
        self.assertEqual(self.gpg("--decrypt", box).stdout, open("/etc/hostname").read())
        self.assertEqual(card.state()["piv"]["tries"][0], 3)
        self.assertEqual(self.gpg.pinentry.wrong(), [])

    def test_places_and_grips(self):
        card, a, keys = self.start("--piv-key", "9A=nistp256", "--piv-key", "9C=rsa2048", "--piv-key", "9D=nistp256")
        self.assertEqual({k for k in keys}, {"OPENPGP.1", "PIV.9A", "PIV.9C", "PIV.9D"})
        a.ask("SCD KEYINFO --list=encr")
        self.assertEqual([line.split()[4] for line in a.status if line.startswith("KEYINFO")], ["PIV.9D"])
        self.assertEqual(a.ask("SCD READKEY PIV.9A"), a.ask(f"READKEY {keys['PIV.9A']}"))
        a.ask("SCD READKEY --info-only PIV.9C")
        self.assertIn(f"KEYPAIRINFO {keys['PIV.9C']} PIV.9C sa - rsa2048", a.status)
        a.ask("SCD LEARN --force")
        self.assertFalse([line for line in a.status if "PIV." in line], "OpenPGP's application is the selected one")
        for command in ("SCD PKSIGN --hash=sha256 PIV.9A", f"SCD PKSIGN --hash=sha256 {keys['PIV.9C']}", "SCD PKAUTH PIV.9A"):
            with self.subTest(command):
                if card.state()["verifies"] == 0:
                    self.gpg.pinentry.pin("123456")
                a.ask("SCD SETDATA " + "11" * 32)
                self.assertEqual(len(a.ask(command)), 256 if "9C" in command or keys["PIV.9C"] in command else 64)
        with self.assertRaises(AssuanError):
            a.ask("SCD PKSIGN --hash=sha256 PIV.9D")
        with self.assertRaises(AssuanError):
            a.ask("SCD GENKEY PIV.9A")
        with self.assertRaises(AssuanError):
            a.ask("SCD READCERT PIV.9A")

    def test_key_agreement(self):
        card, a, keys = self.start("--piv-key", "9D=nistp256")
        sexp = a.ask(f"READKEY {keys['PIV.9D']}")
        q = sexp[sexp.index(b"1:q65:") + 6:][:65]
        spki = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + q
        (self.bench.home / "q.der").write_bytes(spki)
        own, mine = self.bench.home / "own.pem", self.bench.home / "own.der"
        self.bench.run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", own)
        self.bench.run("openssl", "pkey", "-in", own, "-pubout", "-outform", "DER", "-out", mine)
        self.bench.run("openssl", "pkey", "-pubin", "-inform", "DER", "-in", self.bench.home / "q.der", "-out", self.bench.home / "q.pem")
        self.bench.run("openssl", "pkeyutl", "-derive", "-inkey", own, "-peerkey", self.bench.home / "q.pem", "-out", self.bench.home / "x")
        self.gpg.pinentry.pin("123456")
        a.ask(f"SETKEY {keys['PIV.9D']}")
        point = mine.read_bytes()[-65:]
        got = a.ask("PKDECRYPT", CIPHERTEXT=b"(7:enc-val(4:ecdh(1:s1:x)(1:e65:" + point + b")))")
        self.assertIn((self.bench.home / "x").read_bytes(), got)

    def test_bare_hash_is_raw(self):
        """The built-in policy lets nobody have an ssh key sign what nobody knows."""
        self.bench.policy("Match token piv\n Touch none\n")
        _, a, keys = self.start("--piv-key", "9A=nistp256")
        a.ask("SCD SETDATA " + "11" * 32)
        with self.assertRaises(AssuanError):
            a.ask("SCD PKSIGN --hash=sha256 PIV.9A")
