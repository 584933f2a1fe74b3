"""Stock gpg and OpenPGP cards: status, card-edit, keys made on the card and moved to it, signatures and decryption without stubs."""
import re
import unittest

from harness import Bench, Card, Pcscd, wait_until
from harness.gpg import Gpg

FREE = "Match all\n Touch none\n Confirm no\n"
KEYS = ("--key", "sig=ed25519", "--key", "dec=cv25519", "--key", "aut=ed25519")
ANSWERS = ["--command-fd=0", "--no-tty", "--pinentry-mode=ask", "--expert"]


class Case(unittest.TestCase):
    READERS = ("Virtual Reader",)

    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        b.policy(FREE)
        self.pcscd = Pcscd(b, self.READERS)
        self.gpg = Gpg(b)
        conf = self.gpg.home / "gpg-agent.conf"
        conf.write_text(conf.read_text().replace("disable-scdaemon\n", ""))

    def card(self, profile="generic", *options, keys=KEYS, **kw):
        card = Card(self.pcscd, profile, *keys, *options, **kw)
        wait_until(lambda: self.gpg("--card-status", check=False).returncode == 0, "gpg sees the card")
        return card

    def edit(self, *lines, check=True):
        """gpg --card-edit, told LINES."""
        return self.gpg(*ANSWERS, "--card-edit", input="\n".join(lines + ("quit",)) + "\n", check=check, timeout=60)

    def pin(self, text, n=1):
        for _ in range(n):
            self.gpg.pinentry.pin(text)

    def status(self):
        out = self.gpg("--with-colons", "--card-status").stdout
        fields = [line.split(":") for line in out.splitlines()]
        st = {f[0]: f[1:] for f in fields}
        st["keyattr"] = [f[1:] for f in fields if f[0] == "keyattr"]
        return st


class Status(Case):
    def test_what_the_card_tells(self):
        for profile in ("generic", "gnuk", "yubikey5", "yubikey4", "nitrokey3", "smartpgp", "nitrokey-pro"):
            with self.subTest(profile):
                keys = ("--key", "sig=rsa2048", "--key", "dec=rsa2048", "--key", "aut=rsa2048")
                card = self.card(profile, keys=keys, name=profile)
                st = self.status()
                self.assertTrue(st["Reader"][2].startswith("D27600012401"), st)
                self.assertEqual(st["pinretry"][:3], ["3", "0", "3"])
                self.assertEqual([a[:3] for a in st["keyattr"]], [[n, "1", "2048"] for n in "123"])
                self.assertEqual(len([f for f in st["fpr"] if f]), 3)
                self.assertEqual(len([g for g in st["grp"] if g]), 3)
                card.pull()
                wait_until(lambda: self.gpg("--card-status", check=False).returncode != 0, "the card is gone")

    def test_without_a_card(self):
        r = self.gpg("--card-status", check=False)
        self.assertNotEqual(r.returncode, 0)
        self.assertIn("CARDCTRL 4", r.stderr)


class Edit(Case):
    def test_person_and_language(self):
        self.card()
        self.gpg.pinentry.answer(name="always", pin="12345678")
        self.edit("admin", "name", "Doe", "Jane", "lang", "de", "sex", "f", "url", "http://x.test/k", "login", "jane")
        st = self.status()
        self.assertEqual(st["name"][:2], ["Jane", "Doe"])
        self.assertEqual(st["lang"][0], "de")
        self.assertEqual(st["sex"][0], "f")
        self.assertEqual(st["url"][0].replace("\\x3a", ":"), "http://x.test/k")
        self.assertEqual(st["login"][0], "jane")

    def test_forced_signature_pin(self):
        self.card()
        before = self.status()["forcepin"][0]
        self.gpg.pinentry.answer(name="always", pin="12345678")
        self.edit("admin", "forcesig")
        self.assertNotEqual(self.status()["forcepin"][0], before)

    def test_pins(self):
        self.card()
        p = self.gpg.pinentry
        p.pin("123456")
        p.new("654321")
        r = self.gpg(*ANSWERS, "--change-pin", input="1\nq\n", check=False)
        self.assertIn("SC_OP_SUCCESS", r.stderr)
        p.pin("12345678")
        p.new("admin-4711")
        self.edit("admin", "passwd", "3", "q")
        self.assertEqual(p.waiting(), [])
        p.pin("654321")
        self.edit("verify")
        self.assertEqual(self.status()["pinretry"][0], "3")

    def test_key_attributes_and_generation(self):
        self.card(keys=())
        self.gpg.pinentry.answer(name="always", pin="12345678")
        for slot, algo in (("1", "ed25519"), ("2", "cv25519"), ("3", "ed25519")):
            out = self.gpg.connect(f"SCD SETATTR KEY-ATTR --force+{slot}+{'18' if slot == '2' else '22'}+{algo}")
            self.assertIn("OK", out[-1], out)
        self.assertEqual([a[1:3] for a in self.status()["keyattr"]], [["22", "Ed25519"], ["18", "Curve25519"], ["22", "Ed25519"]])

    def test_factory_reset(self):
        self.card()
        self.gpg.pinentry.answer(name="always")
        self.assertTrue([f for f in self.status()["fpr"] if f])
        self.edit("admin", "factory-reset", "y", "yes", check=False)
        self.assertEqual([f for f in self.status()["fpr"] if f], [])


class Keys(Case):
    def test_made_on_the_card(self):
        self.card(keys=())
        g, p = self.gpg, self.gpg.pinentry
        for slot, algo, name in (("1", "22", "ed25519"), ("2", "18", "cv25519"), ("3", "22", "ed25519")):
            p.pin("12345678")
            self.assertIn("OK", g.connect(f"SCD SETATTR KEY-ATTR --force+{slot}+{algo}+{name}")[-1])
            self.gpg.kill()
        # gpg asks for the user's PIN first, then to have keys made, then to sign with the first one
        for pin in ("123456", "12345678"):
            p.pin(pin)
        p.answer(name="always", pin="123456")
        r = self.edit("admin", "generate", "n", "0", "y", "Card Key", "card@x.test", "", "O", check=False)
        self.assertIn("KEY_CREATED", r.stderr, r.stderr)
        (self.bench.top / "m").write_text("hello")
        g("--yes", "-o", self.bench.top / "m.sig", "-b", self.bench.top / "m")
        self.assertIn("GOODSIG", g("--verify", self.bench.top / "m.sig", self.bench.top / "m").stderr)
        g("--yes", "--trust-model=always", "-r", "card@x.test", "-o", self.bench.top / "m.gpg", "-e", self.bench.top / "m")
        self.assertEqual(g("-d", self.bench.top / "m.gpg").stdout, "hello")

    def test_moved_to_the_card_and_used_without_stub(self):
        for algo, sub in (("rsa2048", "rsa2048"), ("ed25519", "cv25519"), ("nistp256", "nistp256")):
            with self.subTest(algo):
                self.card(keys=(), name="c-" + algo)
                g, p = self.gpg, self.gpg.pinentry
                loop = ("--batch", "--pinentry-mode=loopback", "--passphrase=abc")
                g(*loop, "--quick-gen-key", f"{algo} <{algo}@x.test>", algo, "sign", "never")
                fpr = next(line.split(":")[9] for line in g("--with-colons", "-k", f"{algo}@x.test").stdout.splitlines()
                           if line.startswith("fpr"))
                g(*loop, "--quick-add-key", fpr, sub, "encr", "never")
                p.pin("abc")
                p.pin("12345678")
                p.pin("abc")
                p.pin("12345678")
                g(*ANSWERS, "--edit-key", f"{algo}@x.test", input="keytocard\ny\n1\nkey 1\nkeytocard\n2\nsave\n", timeout=60)
                st = self.status()
                self.assertEqual(len([f for f in st["fpr"][:2] if f]), 2, g.log()[-2000:])
                for f in (g.home / "private-keys-v1.d").iterdir():
                    if b"shadowed" in f.read_bytes():
                        f.unlink()  # no stub is needed
                p.answer(name="always", pin="123456")
                (self.bench.top / "m").write_text("hello")
                g("--yes", "-u", f"{algo}@x.test", "-o", self.bench.top / "m.sig", "-b", self.bench.top / "m")
                self.assertIn("GOODSIG", g("--verify", self.bench.top / "m.sig", self.bench.top / "m").stderr)
                g("--yes", "--trust-model=always", "-r", f"{algo}@x.test", "-o", self.bench.top / "m.gpg", "-e", self.bench.top / "m")
                self.assertEqual(g("-d", self.bench.top / "m.gpg").stdout, "hello")
                (p.dir / "answers" / "always").unlink()


if __name__ == "__main__":
    unittest.main()
