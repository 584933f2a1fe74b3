"""The emulator that the other tests trust, against what the vendor's emulator said (tests/vectors/wallets): every exchange that was
captured, octet by octet but for what is random there (device id, session id) or of no use here (xpub, texts of failures)."""
import json
import sys
import unittest

from harness.bench import TOP

sys.path.insert(0, str(TOP / "tests" / "wallets"))
import trezor  # noqa: E402
from seed import CURVES, Curve, Key, bip39, identity_path  # noqa: E402

VECTORS = TOP / "tests" / "vectors" / "wallets"
OUT, IN = "host->dev", "dev->host"


def load(name):
    return json.loads((VECTORS / f"{name}.json").read_text())


def fields_of(uri):
    """The identities of the vectors, by hand."""
    proto, _, rest = uri.partition("://")
    out = {"proto": proto, "user": "", "host": rest, "port": "", "path": "", "index": 0}
    if proto == "ssh":
        out["user"], _, rest = rest.rpartition("@")
        rest, slash, path = rest.partition("/")
        out["path"] = slash + path
        out["host"], _, out["port"] = rest.partition(":")
    return out


class Replay(unittest.TestCase):
    def device(self, mnemonic="all " * 11 + "all", **state):
        self.answers = []
        d = trezor.Device("one", mnemonic, lambda kind, body: self.answers.append((kind, body)))
        d.buttons = "yes"
        for name, value in state.items():
            setattr(d, name, value)
        return d

    def same(self, kind, got, wanted):
        a, b = trezor.parse(got), trezor.parse(wanted)
        if kind == trezor.FEATURES:
            for number in (1, 2, 3, 4, 7, 8, 12, 30):
                self.assertEqual(a.get(number), b.get(number), f"Features {number}")
            # without a PIN, or with it typed, an old firmware does not always say so
            self.assertEqual(a.get(16, [1]), b.get(16, [1]), "unlocked")
            self.assertEqual(35 in a, 35 in b)
        elif kind == trezor.PUBLIC_KEY:
            a, b = trezor.parse(a[1][0]), trezor.parse(b[1][0])
            for number in (1, 3, 4, 6):
                self.assertEqual(a.get(number), b.get(number), f"node {number}")
        elif kind == trezor.FAILURE:
            self.assertEqual(a[1], b[1])
        elif kind == trezor.SIGNED_IDENTITY:
            self.assertEqual((a[2], a[3]), (b[2], b[3]))
        elif kind != trezor.SUCCESS:
            self.assertEqual(got, wanted)

    def replay(self, d, exchange, pin=None):
        """The host's part goes in as packets; the device's must come out."""
        reader = trezor.Reader()
        for at, m in enumerate(exchange):
            body = bytes.fromhex(m["body"])
            if m["dir"] == OUT:
                if at + 1 < len(exchange) and exchange[at + 1]["dir"] == OUT:
                    d.buttons = "ask"  # the next message, not a button, ends this one
                message = None
                for packet in m["packets"]:
                    message = reader.take(bytes.fromhex(packet))
                self.assertEqual(message, (m["type"], body))
                self.assertEqual([p.hex() for p in trezor.packets(*message)], m["packets"])
                if m["type"] == trezor.PIN_ACK and trezor.parse(body)[1][0] != b"1111":
                    # The captured positions are of another scramble; the right ones here are those of this one.
                    message = (m["type"], trezor.field(1, "".join(str(d.matrix.index(c) + 1) for c in pin)))
                if m["type"] == trezor.INITIALIZE and body:
                    message = (m["type"], trezor.field(1, d.session))
                d.message(*message)
            else:
                self.assertTrue(self.answers, f"no answer of type {m['type']}")
                kind, got = self.answers.pop(0)
                self.assertEqual(kind, m["type"])
                self.same(kind, got, body)
        d.buttons = "yes"
        self.assertEqual(self.answers, [])

    def test_one(self):
        v = load("trezor-one")
        d = self.device(v["mnemonic"])
        self.assertEqual(bip39(v["mnemonic"]).hex(), v["seed"])
        for e in v["exchanges"]:
            with self.subTest(e["name"]):
                d.buttons = "no" if e["name"].endswith("presses No") else "yes"
                self.replay(d, e["exchange"])
        self.assertGreater(len(v["exchanges"]), 40)

    def test_pin_and_passphrase(self):
        pin = "1234"
        d = self.device(pin=pin, unlocked=True, passphrase=True)
        for e in load("trezor-one-pin-passphrase"):
            with self.subTest(e["name"]):
                if "wipe" in e["name"]:
                    d.unlocked = True
                if "new session" in e["name"] and e["exchange"][0]["type"] != trezor.INITIALIZE:
                    d.sessions[d.session] = None
                self.replay(d, e["exchange"], pin)

    def test_firmware_tests(self):
        v = load("trezor-firmware-tests")
        d = self.device(v["mnemonic"])
        d.message(trezor.INITIALIZE, b"")
        self.answers.clear()
        for e in v["vectors"]:
            with self.subTest(e["identity"]["proto"], curve=e["curve"]):
                self.replay(d, e["exchange"])

    def test_derivation(self):
        v = load("trezor-one")
        for e in v["summary"]:
            with self.subTest(e["uri"], curve=e.get("curve")):
                who = fields_of(e["uri"])
                kinds = [(False, "path", "private_key", "public_key33")] if who["proto"] == "ssh" else \
                    [(False, "sign_path", "sign_private", "sign_pub33"), (True, "ecdh_path", "ecdh_private", "ecdh_pub33")]
                for ecdh, path, private, public in kinds:
                    self.assertEqual(identity_path(who, ecdh), [int(n, 16) for n in e[path]])
                    k = Key(bip39(v["mnemonic"]), identity_path(who, ecdh), e["ecdh_curve" if ecdh else "curve"])
                    self.assertEqual((k.secret.hex(), k.public.hex()), (e[private], e[public]))

    def test_curves(self):
        for name, c in CURVES.items():
            if isinstance(c, Curve):
                self.assertTrue(c.on(c.g), name)
                self.assertIsNone(c.mul(c.n, c.g), name)
