"""The Ledger's OpenPGP application: a card in a reader of its own, whose PINs are confirmed on its screen."""
import json
import socket
import unittest

from harness import Agent, Bench, Card, Pcscd, ScriptedPinentry, Sshd, wait_until
from harness.bench import BUILD, TOP

KEYS = ("--key", "sig=ed25519", "--key", "dec=cv25519", "--key", "aut=ed25519")
READER = "Ledger Nano S Plus [Nano S Plus] (0001)"
IN_TIME = 20


class Case(unittest.TestCase):
    def begin(self, screen=True, policy="Match all\n Touch none\n", keys=KEYS, **kw):
        b = self.bench = Bench()
        self.addCleanup(b.close)
        b.policy(policy)
        self.pinentry = ScriptedPinentry(b, **kw)
        self.pcscd = Pcscd(b, (READER,))
        self.card = Card(self.pcscd, "ledger", *keys)
        if screen:
            b.env["LD_PRELOAD"] = str(BUILD / "testpinpad.so")
            b.env["ASAN_OPTIONS"] = b.env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        self.agent = Agent(b)
        b.env.pop("LD_PRELOAD", None)
        self.agent.wait_token("ledger")

    def server(self):
        server = Sshd(self.bench)
        server.authorize(self.bench.run("ssh-add", "-L").stdout)
        return server

    def asks(self):
        wait_until(lambda: self.card.state()["touch_waiting"], "it asks on its screen")


class Screen(Case):
    def test_login(self):
        """No PIN goes through the host: the person confirms on the device, within the login."""
        self.begin()
        server = self.server()
        login = self.bench.start(*server.args(), "echo in", stdout=-1, text=True)
        self.card.touch()
        self.assertEqual(login.communicate(timeout=IN_TIME)[0], "in\n")
        r = self.agent.last()
        self.assertEqual((r["pin"], r["result"]), ("device", "ok"))
        self.assertEqual(self.pinentry.dialogs(), [])
        # Left unverified: the next one is asked for anew.
        self.assertEqual(self.card.state()["verified"], [False, False, False])
        login = self.bench.start(*server.args(), "echo in", stdout=-1, text=True)
        self.card.touch()
        self.assertEqual(login.communicate(timeout=IN_TIME)[0], "in\n")
        self.assertEqual(self.card.state()["verifies"], 2)

    def test_left_verified(self):
        self.begin(policy="Match all\n Touch none\n AfterUse leave\n")
        server = self.server()
        self.card.do("touch-mode auto")
        for pin in ("device", "cached"):
            self.assertEqual(server.login().stdout, "in\n")
            self.assertEqual(self.agent.last()["pin"], pin)
        self.assertEqual(self.card.state()["verifies"], 1)

    def test_not_confirmed(self):
        """Asked once; nothing asks again by itself."""
        self.begin()
        self.card.do("touch-timeout 300")
        server = self.server()
        self.assertNotEqual(server.login(check=False).returncode, 0)
        self.assertEqual(self.card.state()["verifies"], 1)
        self.assertEqual(self.card.state()["tries"], [3, 0, 3])
        self.assertIn("refused on the", self.agent.records()[-1]["reason"])

    def test_slow(self):
        """Each answer takes its time."""
        self.begin()
        self.card.do("touch-mode auto")
        self.card.do("delay 300")
        server = self.server()
        self.assertEqual(server.login().stdout, "in\n")

    def test_application_closed_while_it_asks(self):
        self.begin()
        server = self.server()
        login = self.bench.start(*server.args(), "echo in", stdout=-1, text=True)
        self.asks()
        self.card.do("pull")
        self.assertNotEqual(login.wait(IN_TIME), 0)


class Host(Case):
    def test_reader_without_keys(self):
        """Where the reader cannot say that the device asks by itself, a PIN serves as for any card; RSA in short commands."""
        self.begin(screen=False, keys=("--key", "aut=rsa4096"))
        self.pinentry.always()
        server = self.server()
        self.assertEqual(server.login().stdout, "in\n")
        self.assertEqual(self.agent.last()["pin"], "typed")


def tlv(data):
    """[(tag, value or list)] of what a card answers."""
    out = []
    while data:
        n = 2 if data[0] & 0x1F == 0x1F else 1
        tag, data = data[:n].hex(), data[n:]
        n, skip = data[0], 1
        if n > 0x80:
            skip += n & 0x7F
            n = int.from_bytes(data[1:skip], "big")
        value, data = data[skip:skip + n], data[skip + n:]
        out.append((tag, tlv(value) if tag == "73" else value.hex()))
    return out


class Capture(unittest.TestCase):
    """The emulator against what the vendor's said. What differs: the serial number, and what it says it can (C0)."""

    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        self.addCleanup(listener.close)
        b.start(BUILD / "testcard", "--profile", "ledger", "--port", listener.getsockname()[1], "--control", b.top / "card.ctl")
        listener.settimeout(IN_TIME)
        self.reader, _ = listener.accept()
        self.reader.settimeout(IN_TIME)
        self.addCleanup(self.reader.close)
        self.say(b"\1")  # power on

    def say(self, message):
        self.reader.sendall(len(message).to_bytes(2, "big") + message)

    def apdu(self, command):
        self.say(command)
        f = self.reader.makefile("rb")
        return f.read(int.from_bytes(f.read(2), "big"))

    def comparable(self, tag, value):
        if tag == "4f":
            return value[:20] + value[28:]
        if tag == "73":
            return [(t, v) for t, v in value if t != "c0"]
        return value

    def test_as_captured(self):
        lines = json.loads((TOP / "tests" / "vectors" / "wallets" / "ledger-openpgp.json").read_text())[2:]  # of the card's own
        for q, a in zip(lines[::2], lines[1::2]):
            with self.subTest(q["apdu"]):
                answer = self.apdu(bytes.fromhex(q["apdu"]))
                data, want = answer[:-2], bytes.fromhex(a["data"])
                self.assertEqual(answer[-2:].hex(), a["sw"])
                if q["apdu"] == "00ca006e00":
                    data, want = ([(t, self.comparable(t, v)) for t, v in tlv(x)] for x in (data, want))
                elif q["apdu"] == "00ca004f00":
                    data, want = (self.comparable("4f", x.hex()) for x in (data, want))
                self.assertEqual(data, want)


if __name__ == "__main__":
    unittest.main()
