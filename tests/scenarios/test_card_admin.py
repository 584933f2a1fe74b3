"""What manages OpenPGP cards: latchkey-token's verbs, each product in its own way, with stock scdaemon as the judge."""
import base64
import ctypes
import hashlib
import os
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


# --- keys ---------------------------------------------------------------------------------------------------------------------------

def number(n):
    """As an s-expression has it: with a zero octet before a first bit that is set."""
    return n.to_bytes(n.bit_length() // 8 + 1, "big")


def atom(b):
    return b"%d:%b" % (len(b), b)


def pair(name, value):
    return b"(%b%b)" % (atom(name), atom(value))


class Maker:
    """Private keys, made by openssl, as gpg's key store gives them to a card: canonical, wrapped."""

    def __init__(self, bench):
        self.bench = bench

    def openssl(self, *args, **kw):
        return subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True, cwd=self.bench.home, **kw).stdout

    def text(self, *args):
        """The numbers that openssl prints of a key, by their names."""
        self.openssl("genpkey", *args, "-out", "made.pem")
        out = self.openssl("pkey", "-in", "made.pem", "-noout", "-text").decode()
        found = {}
        for name, block in re.findall(r"^(\w+):\n((?:    [0-9a-f:]+\n)+)", out, re.M):
            found[name] = int(re.sub(r"[^0-9a-f]", "", block), 16)
        return found

    def rsa(self, bits):
        k = self.text("-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}")
        p, q = sorted((k["prime1"], k["prime2"]))
        return (b"3:rsa" + pair(b"n", number(k["modulus"])) + pair(b"e", b"\1\0\1") + pair(b"d", number(k["privateExponent"])) +
                pair(b"p", number(p)) + pair(b"q", number(q)) + pair(b"u", number(pow(p, -1, q))))

    def curve(self, name, group):
        k = self.text("-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{group}")
        q = k["pub"].to_bytes((k["pub"].bit_length() + 7) // 8, "big")  # begins with 04: no zeros are lost
        return b"3:ecc" + pair(b"curve", name) + pair(b"q", q) + pair(b"d", number(k["priv"]))

    def native(self, name, flag, algorithm):
        self.openssl("genpkey", "-algorithm", algorithm, "-out", "made.pem")
        d = self.openssl("pkey", "-in", "made.pem", "-outform", "DER")[-32:]
        q = self.openssl("pkey", "-in", "made.pem", "-pubout", "-outform", "DER")[-32:]
        if algorithm == "X25519":
            d = bytearray(d)
            d[0] &= 248
            d[31] = d[31] & 127 | 64
            d = bytes(reversed(d))
        return (b"3:ecc" + pair(b"curve", name) + b"(5:flags" + atom(flag) + b")" + pair(b"q", b"@" + q) + pair(b"d", number(int.from_bytes(d, "big"))))

    def make(self, algo, created):
        if algo.startswith("rsa"):
            body = self.rsa(int(algo[3:]))
        elif algo == "ed25519":
            body = self.native(b"Ed25519", b"eddsa", "ED25519")
        elif algo == "cv25519":
            body = self.native(b"Curve25519", b"djb-tweak", "X25519")
        elif algo.startswith("nistp"):
            body = self.curve(b"NIST P-" + algo[5:].encode(), "P-" + algo[5:])
        else:
            body = self.curve(algo.encode(), algo)
        return b"(11:private-key(" + body + b")(10:created-at10:%010d))" % created

    def wrap(self, text):
        """(key, wrapped): RFC 3394."""
        crypto, key = ctypes.CDLL("libcrypto.so.3"), os.urandom(16)
        schedule, text = ctypes.create_string_buffer(512), text + b"\0" * (-len(text) % 8)
        out = ctypes.create_string_buffer(len(text) + 8)
        assert crypto.AES_set_encrypt_key(key, 128, schedule) == 0
        assert crypto.AES_wrap_key(schedule, None, out, text, len(text)) == len(text) + 8
        return key, out.raw


def q_of(sexp, name=b"q"):
    """A parameter of a canonical key expression."""
    m = re.search(rb"\(1:%b(\d+):" % name, sexp)
    return sexp[m.end():m.end() + int(m[1])]


OIDS = {"nistp256": "2a8648ce3d030107", "nistp384": "2b81040022", "nistp521": "2b81040023", "brainpoolP256r1": "2b2403030208010107",
        "brainpoolP384r1": "2b240303020801010b", "brainpoolP512r1": "2b240303020801010d", "ed25519": "2b06010401da470f01",
        "cv25519": "2b060104019755010501"}


def fingerprint(algo, slot, sexp, created, kdf=None):
    """RFC 4880 12.2, 5.5.2; RFC 6637 9."""
    def mpi(b):
        n = int.from_bytes(b, "big")
        return n.bit_length().to_bytes(2, "big") + n.to_bytes((n.bit_length() + 7) // 8, "big")

    if algo.startswith("rsa"):
        body = b"\1" + mpi(q_of(sexp, b"n")) + mpi(q_of(sexp, b"e"))
    else:
        oid = bytes.fromhex(OIDS[algo])
        number = 18 if slot == "dec" else 22 if algo == "ed25519" else 19
        body = bytes([number, len(oid)]) + oid + mpi(q_of(sexp))
        if slot == "dec":
            size = 256 if algo == "cv25519" else int(re.search(r"\d{3}", algo)[0])
            body += kdf or (b"\3\1\x08\x07" if size <= 256 else b"\3\1\x09\x09" if size <= 384 else b"\3\1\x0a\x09")
    body = b"\4" + created.to_bytes(4, "big") + body
    return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()


class Keys(CardTest):
    def stored(self, slot):
        return base64.b64decode(self.keys()[slot]["pub"])

    def set_kind(self, slot, algo):
        number = 1 if algo.startswith("rsa") else 18 if slot == "dec" else 22 if algo == "ed25519" else 19
        self.set("KEY-ATTR", b"--force %d %d %b" % (SLOTS.index(slot) + 1, number, algo.encode()))

    def generate(self, profile):
        t = self.begin(profile)
        made = {}
        for i, (slot, algo) in enumerate(zip(SLOTS, KEYS[profile])):
            if not algo.startswith("rsa2048"):
                self.set_kind(slot, algo)
            created = 1700000000 + i
            made[slot] = self.ok(f"GENERATE key={slot} created={created} pin-age=-1")
            key = self.keys()[slot]
            self.assertEqual(base64.b64decode(key["pub"]), made[slot])
            self.assertEqual(key["fpr"], fingerprint(algo, slot, made[slot], created))
            self.assertEqual(key["created"], str(created))
            self.fails(EEXIST, f"GENERATE key={slot} created={created} pin-age=-1")
        self.assertEqual([q["ref"] for q in t.asked], [b"83"])
        self.ok("GENERATE key=aut created=1800000000 force=1 pin-age=0")
        self.assertNotEqual(self.stored("aut"), made["aut"])
        self.not_left_open()
        learned, pub = self.stock("LEARN --force", "READKEY OPENPGP.1")
        self.assertEqual(pub[2], made["sig"])
        self.assertEqual(oldest(self.learn()), oldest(learned[1]))

    def write(self, slot, algo, created=1700000000, options=""):
        maker = Maker(self.bench)
        text = maker.make(algo, created)
        key, wrapped = maker.wrap(text)
        self.ok(f"WRITEKEY key={slot} created={created} pin-age=-1 {options}", more={"WRAPKEY": key, "WRAPPED": wrapped})
        return text

    def import_all(self, profile):
        t = self.begin(profile)
        for slot, algo in zip(SLOTS, KEYS[profile]):
            text = self.write(slot, algo)
            parameter = b"n" if algo.startswith("rsa") else b"q"
            self.assertEqual(q_of(self.stored(slot), parameter), q_of(text, parameter), f"{slot} {algo}")
            self.assertEqual(self.keys()[slot]["fpr"], fingerprint(algo, slot, text, 1700000000))
        maker = Maker(self.bench)
        key, wrapped = maker.wrap(maker.make(KEYS[profile][0], 1))
        self.fails(EEXIST, "WRITEKEY key=sig created=1 pin-age=-1", more={"WRAPKEY": key, "WRAPPED": wrapped})
        self.ok("WRITEKEY key=sig created=1 force=1 pin-age=-1", more={"WRAPKEY": key, "WRAPPED": wrapped})
        self.assertEqual([q["ref"] for q in t.asked], [b"83"])
        self.not_left_open()
        if profile not in ("yubikey4", "gnuk"):
            self.assertIn(b"OPENPGP.3 2", self.attribute("KEY-STATUS"), "imported")

    def test_import_of_all_sizes(self):
        self.begin("generic")
        for slot, algo in (("sig", "rsa3072"), ("dec", "cv25519"), ("sig", "brainpoolP256r1"), ("dec", "nistp256"), ("aut", "ed25519"),
                           ("aut", "brainpoolP384r1"), ("dec", "rsa4096")):
            text = self.write(slot, algo, options="force=1")
            parameter = b"n" if algo.startswith("rsa") else b"q"
            self.assertEqual(q_of(self.stored(slot), parameter), q_of(text, parameter), f"{slot} {algo}")

    def test_kdf_parameters_of_the_importers_choice(self):
        self.begin("generic")
        text = self.write("dec", "cv25519", options="ecdh=03010A09")
        self.assertEqual(self.keys()["dec"]["fpr"], fingerprint("cv25519", "dec", text, 1700000000, bytes.fromhex("03010A09")))

    def test_what_does_not_fit(self):
        self.begin("nitrokey-pro")
        maker = Maker(self.bench)
        for slot, algo, error in (("dec", "ed25519", WRONG_KEY_USAGE), ("sig", "cv25519", WRONG_KEY_USAGE),
                                  ("sig", "ed25519", UNSUPPORTED_ALGORITHM)):
            key, wrapped = maker.wrap(maker.make(algo, 1))
            self.fails(error, f"WRITEKEY key={slot} created=1 pin-age=-1", more={"WRAPKEY": key, "WRAPPED": wrapped})
        self.fails(10, "WRITEKEY key=sig created=1 pin-age=-1", more={"WRAPKEY": bytes(16), "WRAPPED": wrapped})
        self.fails(INV_ID, "WRITEKEY key=att created=1 pin-age=-1", more={"WRAPKEY": key, "WRAPPED": wrapped})
        self.assertEqual(self.keys(), {})

    def test_firmware_that_makes_weak_keys(self):
        t = self.begin("yubikey4", "--firmware", "4.3.4")
        self.fails(WEAK_KEY, "GENERATE key=sig created=1700000000 pin-age=-1")
        self.assertEqual(self.keys(), {})

    def test_a_card_that_goes_away_while_it_makes_a_key(self):
        self.begin("generic")
        self.ok("VERIFY ref=83 pin-age=-1")
        self.card.do("drop-on DA")
        done, _, _ = self.token.ask(b"GENERATE key=sig created=1700000000 pin-age=-1")
        self.assertFalse(done)

    def test_signing_after_all(self):
        """The admin PIN is not mixed up with the other one; the state is what it was."""
        t = self.begin("generic", "--key", "sig=ed25519")
        self.ok("SIGN key=sig hash=0 pin-age=-1", b"text")
        self.ok("GENERATE key=aut created=1700000000 pin-age=-1")
        self.ok("SIGN key=sig hash=0 pin-age=-1", b"text")
        self.assertEqual([q["ref"] for q in t.asked], [b"81", b"83"])
        self.assertEqual(self.tries(), [3, 0, 3])


for _profile in PROFILES:
    setattr(Keys, f"test_generate_{_profile.replace('-', '_')}", lambda self, p=_profile: self.generate(p))
    setattr(Keys, f"test_import_{_profile.replace('-', '_')}", lambda self, p=_profile: self.import_all(p))


class Others(CardTest):
    def reset(self, profile, *options):
        t = self.begin(profile, "--key", f"sig={KEYS[profile][0]}", "--pin", "999999", "--admin-pin", "999999999", *options)
        self.assertEqual(list(self.keys()), ["sig"])
        self.ok("RESET")
        self.assertEqual(t.asked, [])
        self.assertEqual(self.keys(), {})
        self.assertEqual(self.tries(), [3, 0, 3])
        self.set("DISP-NAME", b"again")
        self.assertEqual(self.attribute("DISP-NAME"), [b"again"])

    def test_no_reset_where_the_card_knows_none(self):
        t = self.begin("nitrokey3", "--key", "sig=ed25519")
        self.fails(UNSUPPORTED_OPERATION, "RESET")
        self.assertEqual(self.tries(), [3, 0, 3], "it is not blocked for nothing")
        self.assertEqual(list(self.keys()), ["sig"])

    def test_a_card_that_somebody_left_terminated(self):
        self.begin("generic", "--key", "sig=ed25519")
        self.stock("APDU 00A4040006D27600012401", "APDU 00200083083132333435363738", "APDU 00E60000")
        self.assertFalse(self.token.ask(b"LEARN")[0])
        self.ok("RESET")
        self.assertEqual(self.keys(), {})
        self.assertEqual(self.tries(), [3, 0, 3])

    def test_apdu(self):
        t = self.begin("generic", "--key", "sig=ed25519")
        self.ok("SIGN key=sig hash=0 pin-age=-1", b"text")
        aid = bytes.fromhex("D27600012401030400001234567800009000")
        self.assertEqual(self.ok("APDU select=D27600012401 hex=00CA004F00"), aid)
        self.assertFalse(any(self.card.state()["verified"]), "a client meets no PIN of ours")
        self.assertGreater(len(self.ok("APDU select=D27600012401 hex=00CA006E000000")), 200)
        self.assertEqual(self.ok("APDU hex=00A4040005A000000308")[-2:], b"\x90\0")
        self.assertEqual(self.ok("APDU select=A000000308 hex=00CA004F00"), b"\x6d\0")
        self.ok("SIGN key=sig hash=0 pin-age=-1", b"text")
        self.assertEqual(self.card.state()["wrong_applet_pins"], 0)
        self.assertEqual([q["ref"] for q in t.asked], [b"81"])
        before = self.card.state()["total"]
        for apdu in ("0020008106313233343536", "00240081", "002C0281", "00DA005B", "002A9E9A", "00880000", "00470000", "00E60000", "00440000",
                     "002241A4", "80CA004F", "10CA004F", "00A40000023F00", "0084000008", "00DB3FFF", "01CA004F", "00F20000"):
            self.fails(FORBIDDEN, f"APDU select=D27600012401 hex={apdu}")
        for apdu in ("00", "00CA004F05AA", "00CA004F0000", "zz"):
            self.assertFalse(t.ask(f"APDU select=D27600012401 hex={apdu}".encode())[0])
        self.assertEqual(self.card.state()["total"], before, "none of these reached the card")
        self.ok("APDU atr=1 hex=")
        self.assertEqual(t.attributes, [("CARD-ATR", b"3BDA11FF81B1FE551F030031F573C001E0009000B5")])

    def test_random(self):
        self.begin("generic")
        for n in (1, 32, 33, 1000):
            self.assertEqual(len(self.ok(f"RANDOM n={n}")), n)
        self.assertNotEqual(self.ok("RANDOM n=32"), self.ok("RANDOM n=32"))
        self.fails(INV_VALUE, "RANDOM n=0")

    def test_nonsense_from_the_card(self):
        t = self.begin("generic", "--key", "sig=ed25519")
        t.ask(b"LEARN")
        self.card.do("garbage on")
        for command in ("GETATTR name=LEARN", "SETATTR name=DISP-NAME pin-age=-1", "CHANGEPIN ref=1", "GENERATE key=sig created=1 force=1 pin-age=-1",
                        "READCERT ref=3", "RANDOM n=8", "APDU select=D27600012401 hex=00CA006E00", "RESET"):
            t.ask(command.encode(), b"x")
            self.assertIsNone(t.process.poll(), command)
        self.card.do("garbage off")
        self.assertEqual(list(self.keys()), ["sig"])

    def test_forget(self):
        t = self.begin("generic")
        self.set("DISP-LANG", b"de")
        self.set("DISP-LANG", b"en")
        self.assertEqual(len(t.asked), 1)
        t.ask(b"FORGET")
        self.set("DISP-LANG", b"de")
        self.assertEqual(len(t.asked), 2)
        self.set("DISP-LANG", b"en", "pin-age=0")
        self.assertEqual(len(t.asked), 3)


for _profile in ("yubikey5", "yubikey4", "gnuk", "nitrokey-pro", "smartpgp", "generic"):
    setattr(Others, f"test_reset_{_profile.replace('-', '_')}", lambda self, p=_profile: self.reset(p))
setattr(Others, "test_reset_with_kdf", lambda self: self.reset("generic", "--kdf"))
