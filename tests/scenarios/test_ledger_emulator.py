"""The Ledger in software against what was captured from the vendor's own: the same question, the same answer, to the octet."""
import json
import pathlib
import socket
import unittest

from harness import Bench, Ledger

VECTORS = pathlib.Path(__file__).resolve().parents[1] / "vectors" / "wallets"


def load(name):
    return json.loads((VECTORS / name).read_text())


class Captures(unittest.TestCase):
    def setUp(self):
        self.bench = Bench()
        self.addCleanup(self.bench.close)
        self.ledger = Ledger(self.bench)

    def connect(self, family, address):
        s = socket.socket(family)
        s.settimeout(20)
        s.connect(address)
        self.addCleanup(s.close)
        return s, s.makefile("rb")

    def exchanges(self):
        for e in load("ledger-ssh.json")["exchanges"] + load("ledger-ssh-2.json"):
            yield e["name"], e["screen"], [(q["apdu"], a["data"], a["sw"]) for q, a in zip(e["exchange"][::2], e["exchange"][1::2])]

    def test_ssh_pgp_agent(self):
        """Over TCP, each capture with the screen that it was asked on."""
        s, f = self.connect(socket.AF_INET, ("127.0.0.1", self.ledger.port))
        seen = 0
        for name, screen, exchange in self.exchanges():
            with self.subTest(name):
                for n, (apdu, data, sw) in enumerate(exchange):
                    request = bytes.fromhex(apdu)
                    s.sendall(len(request).to_bytes(4, "big") + request)
                    last = n == len(exchange) - 1
                    if last and screen and screen != ["Application", "is ready"]:
                        # A long name is seen in parts there.
                        shown = screen[1].split("...")[0]
                        state = self.ledger.state()
                        self.assertTrue(state["asks"] and state["screen"][0] == screen[0] and state["screen"][1].startswith(shown))
                        self.ledger.do("no" if sw == "6985" else "yes")
                    length = int.from_bytes(f.read(4), "big")
                    answer = f.read(length + 2)
                    self.assertEqual((answer[:-2].hex(), answer[-2:].hex()), (data, sw))
                    seen += 1
        self.assertGreater(seen, 45)
        self.assertEqual(self.ledger.state()["intruders"], 0)

    def test_reports(self):
        """The HID framing that the SDK's own code made."""
        s, f = self.connect(socket.AF_UNIX, str(self.ledger.frames))
        self.ledger.do("person yes")
        for e in load("ledger-hid-framing.json"):
            with self.subTest(e["name"]):
                for report in e["host"]:
                    s.sendall(bytes.fromhex(report))
                self.assertEqual([f.read(64).hex() for _ in e["device"]], e["device"])


if __name__ == "__main__":
    unittest.main()
