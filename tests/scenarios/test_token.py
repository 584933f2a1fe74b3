"""latchkey-token by itself, over its protocol: decryption, which no front program asks for yet, and the watcher."""
import base64
import re
import subprocess
import unittest

from harness import Bench, Card, Pcscd, Token, wait_until

SPKI = {"cv25519": "302a300506032b656e032100", "nistp256": "3059301306072a8648ce3d020106082a8648ce3d030107034200"}


class Decryption(unittest.TestCase):
    def setUp(self):
        self.bench = Bench()
        self.addCleanup(self.bench.close)
        self.pcscd = Pcscd(self.bench)

    def begin(self, algo, profile="generic"):
        card = Card(self.pcscd, profile, "--key", f"dec={algo}")
        reader = "Virtual Reader 00 00"
        wait_until(lambda: card.state()["total"] >= 0, "the card")
        token = Token(self.bench, reader)
        self.addCleanup(token.close)
        key = {}

        def learned():
            ok, status, _ = token.ask(b"LEARN")
            for line in status:
                if line.startswith("KEY "):
                    key.update(f.split("=", 1) for f in line.split()[1:])
            return ok

        self.assertTrue(learned())
        self.assertEqual(key["id"], "dec")
        return card, token, base64.b64decode(key["pub"])

    def openssl(self, *args, **kw):
        return subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True, cwd=self.bench.home, **kw).stdout

    def test_ecdh(self):
        for algo, gen, points in (("cv25519", ("-algorithm", "X25519"), 32),
                                  ("nistp256", ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"), 65)):
            with self.subTest(algo):
                if algo != "cv25519":
                    self.setUp()
                card, token, pub = self.begin(algo)
                q = re.search(rb"1:q(\d+):", pub)
                point = pub[q.end():q.end() + int(q[1])][-points:]
                (self.bench.home / "peer.der").write_bytes(bytes.fromhex(SPKI[algo]) + point)
                self.openssl("genpkey", *gen, "-out", "eph.pem")
                mine = self.openssl("pkey", "-in", "eph.pem", "-pubout", "-outform", "DER")[-points:]
                want = self.openssl("pkeyutl", "-derive", "-inkey", "eph.pem", "-peerkey", "peer.der", "-peerform", "DER")
                e = b"@" + mine if algo == "cv25519" else mine
                ok, status, got = token.ask(b"DECRYPT key=dec pin-age=-1 drop=1",
                                            b"(7:enc-val(4:ecdh(1:e%d:%b)))" % (len(e), e))
                self.assertTrue(ok)
                self.assertEqual(got[-len(want):] if len(got) <= 33 else got[1:33], want)
                self.assertIn("SHOWN pin=typed", status)
                self.assertFalse(any(card.state()["verified"]))

    def test_rsa(self):
        card, token, pub = self.begin("rsa2048", "gnuk")
        m = re.search(rb"1:n(\d+):", pub)
        n = int.from_bytes(pub[m.end():m.end() + int(m[1])], "big")
        k = 256
        text = b"session key"
        padded = b"\0\2" + b"\x11" * (k - 3 - len(text)) + b"\0" + text
        a = pow(int.from_bytes(padded, "big"), 65537, n).to_bytes(k, "big")
        ok, _, got = token.ask(b"DECRYPT key=dec pin-age=-1", b"(7:enc-val(3:rsa(1:a256:" + a + b")))")
        self.assertTrue(ok)
        self.assertEqual(got, text)
        self.assertFalse(token.ask(b"DECRYPT key=dec pin-age=-1", b"(7:enc-val(3:rsa)")[0])
        self.assertFalse(token.ask(b"DECRYPT key=aut pin-age=-1", b"x")[0])
        self.assertEqual(card.state()["tries"][0], 3)
