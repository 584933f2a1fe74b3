"""The emulator against software that is not ours: scdaemon and gpg."""
import unittest

from harness import Bench, Card, Pcscd, wait_until


class StockGpg(unittest.TestCase):
    def setUp(self):
        self.bench = Bench()
        self.addCleanup(self.bench.close)
        self.pcscd = Pcscd(self.bench)
        gnupg = self.bench.home / ".gnupg"
        gnupg.mkdir(mode=0o700)
        (gnupg / "scdaemon.conf").write_text("disable-ccid\n")
        self.bench.cleanups.append(lambda: self.bench.run("gpgconf", "--kill", "all", check=False))

    def connect(self, *commands):
        return self.bench.run("gpg-connect-agent", *commands, "/bye").stdout

    def test_card_status_of_each_profile(self):
        for profile in ("gnuk", "nitrokey-pro", "nitrokey3", "smartpgp", "generic"):
            with self.subTest(profile):
                card = Card(self.pcscd, profile, "--key", "sig=ed25519", "--key", "dec=cv25519", "--key", "aut=nistp256",
                            name=profile)
                status = ""

                def learned():
                    nonlocal status
                    status = self.bench.run("gpg", "--card-status", check=False).stdout
                    return "12345678" in status

                wait_until(learned, f"scdaemon reads the {profile} card")
                for name in ("ed25519", "cv25519", "nistp256"):
                    self.assertIn(name, status)
                card.process.kill()
                card.process.wait()
                self.bench.run("gpgconf", "--kill", "all", check=False)

    def test_wrong_pin_counts_down(self):
        card = Card(self.pcscd, "gnuk", "--key", "sig=ed25519")
        wait_until(lambda: "SERIALNO" in self.connect("SCD SERIALNO openpgp"), "scdaemon finds the card")
        self.connect("SCD APDU 00A4040006D27600012401", "SCD APDU 0020008106363534333231")
        self.assertEqual(card.state()["tries"][0], 2)
        self.connect("SCD APDU 0020008106313233343536")
        self.assertEqual(card.state()["tries"][0], 3)
        self.assertTrue(card.state()["verified"][0])
        self.connect("SCD APDU 0020FF81")
        self.assertFalse(card.state()["verified"][0])
