"""What manages OpenPGP cards: latchkey-token's verbs, each product in its own way, with stock scdaemon as the judge."""
import base64
import hashlib
import re
import subprocess
import unittest

from harness import Bench, Card, Pcscd, Scdaemon, Token, wait_until

READER = "Virtual Reader 00 00"
PROFILES = ("yubikey5", "yubikey4", "gnuk", "nitrokey-pro", "nitrokey3", "smartpgp", "generic")
# One key of each, of what the product has.
KEYS = {
    "yubikey5": ("ed25519", "cv25519", "nistp256"),
    "yubikey4": ("rsa2048", "rsa2048", "rsa2048"),
    "gnuk": ("ed25519", "cv25519", "nistp256"),
    "nitrokey-pro": ("brainpoolP256r1", "brainpoolP384r1", "rsa2048"),
    "nitrokey3": ("nistp384", "nistp521", "brainpoolP512r1"),
    "smartpgp": ("rsa2048", "nistp521", "nistp384"),
    "generic": ("nistp521", "rsa2048", "ed25519"),
}
SLOTS = ("sig", "dec", "aut")
HAS_PRIVATE = ("yubikey5", "yubikey4", "nitrokey-pro", "nitrokey3", "smartpgp", "generic")
HAS_KDF = ("yubikey5", "gnuk", "nitrokey-pro", "nitrokey3", "generic")
# gpg-error.h
UNSUPPORTED_ALGORITHM, INV_ID, WEAK_KEY, NOT_FOUND, INV_VALUE, NOT_SUPPORTED, TOO_SHORT, TOO_LARGE = 84, 118, 43, 27, 55, 60, 66, 67
INV_NAME, CANCELED, UNSUPPORTED_OPERATION, WRONG_KEY_USAGE, PIN_BLOCKED, USE_CONDITIONS, INV_LENGTH = 88, 99, 124, 125, 130, 131, 139
FORBIDDEN, EEXIST = 251, 32803
ADMIN = {"83": b"12345678", "82": b"123456"}
# What 2.2.40's scdaemon does not know or has under an older name.
NEWER = {"APPVERSION", "UIF-1", "UIF-2", "UIF-3", "MANUFACTURER"}


def oldest(lines):
    """Lines of LEARN as 2.2.40 has them: KEYPAIRINFO with three fields."""
    return {(k, b" ".join(t.split(b" ")[:3]) if k == "KEYPAIRINFO" else t) for k, t in lines if k not in NEWER}


class CardTest(unittest.TestCase):
    def setUp(self):
        self.bench = Bench()
        self.addCleanup(self.bench.close)
        self.pcscd = Pcscd(self.bench)

    def begin(self, profile, *options):
        self.card = Card(self.pcscd, profile, *options)
        self.token = Token(self.bench, READER)
        self.token.pins = dict(ADMIN)
        self.addCleanup(self.token.close)
        return self.token

    def ok(self, command, *args, **kw):
        done, status, data = self.token.ask(command.encode(), *args, **kw)
        self.assertTrue(done, f"{command}: error {self.token.error}")
        return data

    def fails(self, error, command, *args, **kw):
        done, _, _ = self.token.ask(command.encode(), *args, **kw)
        self.assertFalse(done, command)
        self.assertEqual(self.token.error, error, command)

    def attribute(self, name, *pins):
        self.ok(f"GETATTR name={name} pin-age=-1")
        return [text for _, text in self.token.attributes]

    def set(self, name, value, options="pin-age=-1"):
        return self.ok(f"SETATTR name={name} {options}", value)

    def learn(self):
        self.ok("GETATTR name=LEARN pin-age=-1")
        return list(self.token.attributes)

    def keys(self):
        """The KEY lines of LEARN, by slot."""
        _, status, _ = self.token.ask(b"LEARN refresh=1")
        found = {}
        for line in status:
            if line.startswith("KEY "):
                f = dict(x.split("=", 1) for x in line.split()[1:])
                found[f["id"]] = f
        return found

    def tries(self):
        return self.card.state()["tries"]

    def stock(self, *commands, pins=None):
        """What scdaemon answers, the card being free: our token's process goes on, with no transaction open."""
        self.token.close()
        self.bench.end(self.token.process)
        scd = wait_until(lambda: self.start_stock(pins), "scdaemon finds the card")
        answers = [scd.ask(c.encode() if isinstance(c, str) else c) for c in commands]
        scd.close()
        self.token.__init__(self.bench, READER)
        self.token.pins = dict(ADMIN)
        return answers

    def start_stock(self, pins):
        scd = Scdaemon(self.bench, pins or {"": b"123456", "A": b"12345678"})
        if scd.ask(b"SERIALNO")[0] is None:
            return scd
        scd.close()
        return None

    def not_left_open(self):
        self.assertFalse(self.card.state()["verified"][2], "PW3 is never left verified")


class Attributes(CardTest):
    def compare(self, profile):
        """All that is on the card, by scdaemon and by us, octet for octet."""
        t = self.begin(profile, *[x for s, a in list(zip(SLOTS, KEYS[profile]))[:2] for x in ("--key", f"{s}={a}")])
        names = ["DISP-NAME", "DISP-LANG", "DISP-SEX", "LOGIN-DATA", "PUBKEY-URL", "KEY-FPR", "KEY-TIME", "KEY-ATTR", "CA-FPR", "CHV-STATUS",
                 "SIG-COUNTER", "SERIALNO", "AID", "EXTCAP", "$SIGNKEYID", "$ENCRKEYID", "$AUTHKEYID", "$DISPSERIALNO", "APPTYPE", "KDF",
                 "NONSENSE"]
        if profile in HAS_PRIVATE:
            names += ["PRIVATE-DO-1", "PRIVATE-DO-2"]
        for when in ("empty", "full"):
            if when == "full":
                self.fill(profile)
            learned, *stock = self.stock("LEARN --force", *("GETATTR " + n for n in names))
            for name, (error, lines, _) in zip(names, stock):
                t.ask(f"GETATTR name={name} pin-age=-1".encode())
                self.assertEqual((t.error, t.attributes), (error, lines), f"{when}: {name}")
            self.assertEqual(oldest(self.learn()), oldest(learned[1]), when)

    def fill(self, profile):
        self.set("DISP-NAME", b"D\xf6e<<J+a %ne")
        self.set("DISP-LANG", b"deen")
        self.set("DISP-SEX", b"2")
        self.set("LOGIN-DATA", b'j"doe\n\x14F=0,0')
        self.set("PUBKEY-URL", b"https://x.test/?a=1+2%203")
        self.set("CHV-STATUS-1", b"\0")
        for i in (1, 3):
            self.set(f"CA-FPR-{i}", bytes([i]) * 20)
        if profile in HAS_PRIVATE:
            self.set("PRIVATE-DO-1", bytes(range(1, 255)))
            self.set("PRIVATE-DO-2", b"two")

    def test_private_objects(self):
        t = self.begin("generic")
        self.set("PRIVATE-DO-3", b"of the user")
        self.set("PRIVATE-DO-4", b"of the admin", "pin-age=0")
        self.assertEqual(self.attribute("PRIVATE-DO-3"), [b"of+the+user"])
        self.assertEqual(self.attribute("PRIVATE-DO-4"), [b"of+the+admin"])
        self.assertEqual([q["ref"] for q in t.asked], [b"82", b"83"], "each PIN once")
        t.ask(b"FORGET")
        t.asked.clear()
        t.pins["82"] = None
        self.fails(CANCELED, "GETATTR name=PRIVATE-DO-3 pin-age=-1")
        self.assertNotIn("PRIVATE-DO-3", dict(self.learn()))
        self.not_left_open()

    def test_lengths_are_checked_before_a_pin_is_asked_for(self):
        t = self.begin("generic", "--key", "sig=ed25519")
        for error, name, value in ((TOO_LARGE, "DISP-NAME", b"x" * 40), (TOO_LARGE, "PUBKEY-URL", b"x" * 256),
                                   (INV_VALUE, "DISP-SEX", b"5"), (TOO_SHORT, "CA-FPR-1", b"x" * 19), (TOO_LARGE, "CA-FPR-1", b"x" * 21),
                                   (INV_VALUE, "CHV-STATUS-1", b"\2"), (TOO_SHORT, "UIF-1", b"\1"), (INV_NAME, "SM-KEY-ENC", b"x"),
                                   (INV_LENGTH, "DISP-LANG", b"deu"), (INV_NAME, "KEY-FPR", b"x")):
            self.fails(error, f"SETATTR name={name} pin-age=-1", value)
        self.assertEqual(t.asked, [])
        self.assertEqual(self.card.state()["ins"].get("DA"), None, "nothing was written")
        self.fails(EEXIST, "SETATTR name=KEY-ATTR pin-age=-1", b"1 1 rsa2048")
        self.fails(UNSUPPORTED_ALGORITHM, "SETATTR name=KEY-ATTR pin-age=-1", b"--force 1 22 secp256k1")
        self.fails(WRONG_KEY_USAGE, "SETATTR name=KEY-ATTR pin-age=-1", b"--force 2 22 ed25519")
        self.assertEqual(list(self.keys()), ["sig"])

    def test_touch(self):
        self.begin("generic", "--key", "sig=ed25519", "--key", "aut=ed25519")
        self.set("UIF-1", b"\1\x20")
        self.set("UIF-3", b"\2\x20")
        self.assertEqual(self.attribute("UIF-1"), [b"%01+"])
        self.assertEqual(self.attribute("UIF"), [b"%01+", b"%00+", b"%02+"])
        keys = self.keys()
        self.assertEqual((keys["sig"]["touch"], keys["aut"].get("touch-fixed")), ("always", "1"))
        self.fails(USE_CONDITIONS, "SETATTR name=UIF-3 pin-age=-1", b"\0\x20")
        self.not_left_open()

    def test_no_touch_where_there_is_no_button(self):
        self.begin("nitrokey-pro")
        self.fails(NOT_SUPPORTED, "SETATTR name=UIF-1 pin-age=-1", b"\1\x20")
        self.assertEqual(self.token.asked, [])

    def test_kinds_of_keys(self):
        t = self.begin("yubikey5", "--key", "sig=ed25519")
        offered = self.attribute("KEY-ATTR-INFO")
        self.assertIn(b"OPENPGP.2 cv25519", offered)
        self.assertIn(b"OPENPGP.1 rsa4096", offered)
        self.assertNotIn(b"OPENPGP.1 cv25519", offered)
        for slot, number, algo, told in ((1, 1, b"rsa3072", b"1 1 rsa3072 17 1"), (2, 18, b"cv25519", b"2 18 Curve25519"),
                                         (3, 19, b"NIST P-384", b"3 19 NIST P-384"), (1, 22, b"ed25519", b"1 22 Ed25519")):
            self.set("KEY-ATTR", b"--force %d %d %b" % (slot, number, algo))
            self.assertEqual(self.attribute("KEY-ATTR")[slot - 1], told)
        self.assertEqual(self.keys(), {}, "the key is lost with the attributes")
        self.assertEqual(len(t.asked), 1, "the admin PIN is held for a while")

    def test_certificates(self):
        for profile in ("yubikey5", "generic", "gnuk"):
            with self.subTest(profile):
                if profile != "yubikey5":
                    self.setUp()
                t = self.begin(profile)
                self.fails(NOT_FOUND, "READCERT ref=3")
                cert = b"\x30\x82\x03\xf8" + bytes(range(256)) * 4
                self.ok("WRITECERT ref=3 pin-age=-1", cert[:1020])
                self.assertEqual(self.ok("READCERT ref=3"), cert[:1020])
                if profile == "gnuk":
                    self.fails(NOT_SUPPORTED, "READCERT ref=1")
                else:
                    self.ok("WRITECERT ref=1 pin-age=-1", cert[:100])
                    self.assertEqual(self.ok("READCERT ref=1"), cert[:100])
                self.fails(TOO_LARGE, "WRITECERT ref=3 pin-age=-1", b"x" * 2049)
                self.assertEqual(self.ok("READCERT ref=3"), cert[:1020])
                [(error, _, data)] = self.stock("READCERT OPENPGP.3")
                self.assertEqual((error, data), (None, cert[:1020]))
                self.assertEqual([q["ref"] for q in t.asked], [])


for _profile in PROFILES:
    setattr(Attributes, f"test_as_scdaemon_{_profile.replace('-', '_')}", lambda self, p=_profile: self.compare(p))


class Pins(CardTest):
    def check(self, pw1, pw3):
        """By a VERIFY each."""
        self.token.pins = {"82": pw1, "83": pw3}
        self.token.ask(b"FORGET")
        self.ok("VERIFY ref=82 pin-age=0 drop=1")
        self.ok("VERIFY ref=83 pin-age=0 drop=1")
        self.assertEqual(self.card.state()["verified"], [False] * 3)

    def change(self, profile, *options):
        t = self.begin(profile, "--key", f"sig={KEYS[profile][0]}", *options)
        t.pins.update({"new82": b"654321", "new83": b"87654321", "newrc": b"reset-code", "rc": b"reset-code"})
        self.ok("CHANGEPIN ref=1 drop=1")
        self.ok("CHANGEPIN ref=3 drop=1")
        self.assertEqual([(q["ref"], "new" in q) for q in t.asked], [(b"82", False), (b"82", True), (b"83", False), (b"83", True)])
        self.check(b"654321", b"87654321")
        t.pins = {"83": b"87654321", "new82": b"111111", "newrc": b"reset-code"}
        self.ok("CHANGEPIN ref=1 reset=1 drop=1")
        self.ok("CHANGEPIN ref=2 reset=1 drop=1")
        self.check(b"111111", b"87654321")
        t.pins = {"rc": b"reset-code", "new82": b"222222"}
        self.ok("CHANGEPIN ref=2 drop=1")
        self.check(b"222222", b"87654321")
        self.assertEqual(self.tries(), [3, 3, 3])

    def test_wrong_ones_are_asked_for_again(self):
        for profile in ("generic", "nitrokey3", "smartpgp", "yubikey4"):
            with self.subTest(profile):
                if profile != "generic":
                    self.setUp()
                t = self.begin(profile)
                t.pins.update({"82": [b"999999", b"short", b"888888", b"123456"], "new82": b"654321"})
                self.ok("CHANGEPIN ref=1")
                olds = [q for q in t.asked if "new" not in q]
                self.assertEqual([q["tries"] for q in olds], [b"3", b"2", b"2", b"1"], "one too short to be a PIN costs none")
                self.assertEqual([q.get("error") for q in olds], [None, b"wrong", b"wrong", b"wrong"])
                self.assertEqual(olds[3]["last"], b"1", "the person is warned")
                self.assertEqual(sum("new" in q for q in t.asked), 1)
                self.assertEqual(self.tries(), [3, 0, 3])

    def test_admin_pin(self):
        for profile in ("generic", "nitrokey3", "smartpgp", "gnuk"):
            with self.subTest(profile):
                if profile != "generic":
                    self.setUp()
                t = self.begin(profile)
                t.pins["83"] = [b"wrong-one", b"1", b"wrong-two", b"12345678"]
                self.set("DISP-LANG", b"de", "pin-age=0 drop=1")
                self.assertEqual([q["tries"] for q in t.asked], [b"3", b"2", b"2", b"1"])
                self.assertEqual(t.asked[3]["last"], b"1")
                self.assertEqual(self.card.state()["verifies"], 3)
                t.pins["83"] = [b"wrong-one", b"wrong-two", b"wrong-three", b"12345678"]
                self.fails(PIN_BLOCKED, "SETATTR name=DISP-LANG pin-age=0", b"en")
                self.assertEqual(self.tries(), [3, 0, 0])
                before = self.card.state()["verifies"]
                self.fails(PIN_BLOCKED, "SETATTR name=DISP-LANG pin-age=0", b"en")
                self.fails(PIN_BLOCKED, "CHANGEPIN ref=3")
                self.fails(PIN_BLOCKED, "CHANGEPIN ref=1 reset=1")
                self.assertEqual(self.card.state()["verifies"], before)

    def test_reset_code(self):
        t = self.begin("generic")
        t.pins.update({"newrc": b"reset-code", "new82": b"111111", "rc": [b"not-the-one", b"nor-this", b"reset-code"]})
        self.fails(PIN_BLOCKED, "CHANGEPIN ref=2")
        self.assertEqual(t.asked, [])
        self.ok("CHANGEPIN ref=2 reset=1")
        t.asked.clear()
        self.ok("CHANGEPIN ref=2")
        self.assertEqual([(q["ref"], q["tries"]) for q in t.asked if "new" not in q], [(b"rc", b"3"), (b"rc", b"2"), (b"rc", b"1")])
        t.pins["newrc"] = b"short"
        self.fails(TOO_SHORT, "CHANGEPIN ref=2 reset=1")
        t.pins["new82"] = b"x" * 128
        self.fails(TOO_LARGE, "CHANGEPIN ref=1 reset=1")
        self.check(b"111111", b"12345678")
        self.fails(INV_ID, "CHANGEPIN ref=3 reset=1")

    def test_a_blocked_pin(self):
        t = self.begin("yubikey5", "--pin", "246810")
        t.pins["82"] = [b"111111", b"222222", b"333333"]
        self.fails(PIN_BLOCKED, "VERIFY ref=82 pin-age=0")
        t.pins.update({"82": b"246810", "new82": b"135791"})
        self.fails(PIN_BLOCKED, "CHANGEPIN ref=1")
        self.ok("CHANGEPIN ref=1 reset=1 drop=1")
        self.check(b"135791", b"12345678")

    def test_gnuk_changes_no_pin_without_a_key(self):
        t = self.begin("gnuk")
        t.pins["new82"] = b"654321"
        self.fails(USE_CONDITIONS, "CHANGEPIN ref=1")
        self.assertEqual(len(t.asked), 2, "it was not the PIN that was wrong")
        self.check(b"123456", b"12345678")

    def kdf(self, pw1=b"123456", pw3=b"12345678"):
        count, salts = 100000, (b"salt-pw1", b"salt--rc", b"salt-pw3")

        def derive(salt, pin):
            text = (salt + pin) * (count // len(salt + pin) + 1)
            return hashlib.sha256(text[:count]).digest()

        return (b"\x81\1\3\x82\1\x08\x83\4" + count.to_bytes(4, "big") + b"".join(bytes([0x84 + i, 8]) + s for i, s in enumerate(salts)) +
                b"\x87\x20" + derive(salts[0], pw1) + b"\x88\x20" + derive(salts[2], pw3))

    def set_kdf(self, profile):
        t = self.begin(profile, "--pin", "654321", "--admin-pin", "87654321")
        t.pins = {"82": b"654321", "83": b"87654321"}
        self.ok("VERIFY ref=82 pin-age=-1")
        self.set("KDF", self.kdf())
        self.check(b"123456", b"12345678")
        self.set("DISP-LANG", b"de")
        t.pins.update({"new83": b"admin-code", "newrc": b"reset-code", "rc": b"reset-code", "new82": b"999999"})
        self.ok("CHANGEPIN ref=3")
        t.pins["83"] = b"admin-code"
        self.ok("CHANGEPIN ref=2 reset=1")
        self.ok("CHANGEPIN ref=2")
        self.check(b"999999", b"admin-code")
        self.assertEqual(self.tries(), [3, 3, 3])
        [(error, lines, _), (checked, _, _)] = self.stock("GETATTR KDF", "CHECKPIN D2760001240103040000123456780000", pins={"": b"999999"})[:2]
        self.assertEqual(lines, [("KDF", self.attribute("KDF")[0])])
        t.pins = {"83": b"admin-code"}
        self.set("KDF", b"\x81\1\0")
        self.check(b"123456", b"12345678")

    def test_what_is_no_kdf(self):
        self.begin("generic")
        self.fails(NOT_SUPPORTED, "SETATTR name=KDF pin-age=-1", b"\x81\1\2")
        self.assertEqual(self.token.asked, [])
        self.check(b"123456", b"12345678")

    def test_a_card_that_refuses_the_kdf_keeps_usable_pins(self):
        t = self.begin("gnuk", "--key", "sig=ed25519")
        self.fails(USE_CONDITIONS, "SETATTR name=KDF pin-age=-1", self.kdf())
        self.check(b"123456", b"12345678")


for _profile in PROFILES:
    setattr(Pins, f"test_change_{_profile.replace('-', '_')}", lambda self, p=_profile: self.change(p))
for _profile in HAS_KDF:
    setattr(Pins, f"test_kdf_{_profile.replace('-', '_')}", lambda self, p=_profile: self.set_kdf(p))
setattr(Pins, "test_change_with_kdf", lambda self: self.change("generic", "--kdf"))
