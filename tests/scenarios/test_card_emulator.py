"""The emulator against software that is not ours: scdaemon, gpg and gpg-agent. What they do not take is no card."""
import subprocess
import unittest

from harness import Bench, Card, Pcscd, ScriptedPinentry, Sshd, wait_until

ALL_PIN = "12345678"  # for both PINs, so that the person needs no memory
# Each product with algorithms that it really has, all kinds among them.
PRODUCTS = {
    "yubikey5": ("ed25519", "cv25519", "nistp256"),
    "yubikey4": ("rsa2048", "rsa2048", "rsa2048"),
    "gnuk": ("ed25519", "cv25519", "ed25519"),
    "nitrokey-pro": ("brainpoolP256r1", "brainpoolP256r1", "nistp384"),
    "nitrokey3": ("nistp384", "nistp384", "nistp384"),
    "smartpgp": ("rsa3072", "nistp521", "nistp521"),
    "ledger": ("nistp256", "nistp256", "ed25519"),
    "generic": ("nistp521", "brainpoolP512r1", "ed25519"),
}


def keys(algos):
    return [a for slot, algo in zip(("sig", "dec", "aut"), algos) for a in ("--key", f"{slot}={algo}")]


class StockGpg(unittest.TestCase):
    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        self.pinentry = ScriptedPinentry(b)
        self.pinentry.always(ALL_PIN)
        self.pcscd = Pcscd(b)
        gnupg = b.gnupg
        gnupg.mkdir(mode=0o700)
        (gnupg / "scdaemon.conf").write_text("disable-ccid\n")
        (gnupg / "gpg-agent.conf").write_text(f"enable-ssh-support\npinentry-program {self.pinentry.program}\n")
        b.cleanups.append(self.end_gnupg)

    def end_gnupg(self):
        self.bench.run("gpgconf", "--kill", "all", check=False)

    def connect(self, *commands):
        return self.bench.run("gpg-connect-agent", *commands, "/bye").stdout

    def send(self, apdu):
        """The status word, by scdaemon."""
        answer = self.connect("/hex", f"SCD APDU {apdu}")
        return "".join(line[8:56].replace(" ", "") for line in answer.splitlines() if line.startswith("D["))[-4:]

    def card(self, profile, *options, algos=None):
        card = Card(self.pcscd, profile, *keys(algos or PRODUCTS[profile]), *options, name=profile)
        self.status = ""

        def learned():
            self.status = self.bench.run("gpg", "--card-status", check=False).stdout
            return "12345678" in self.status

        wait_until(learned, f"scdaemon reads the {profile} card")
        return card

    def generate(self):
        """All three keys anew, on the card, as `gpg --card-edit` asks for it."""
        answers = {"cardedit.genkeys.backup_enc": "n", "cardedit.genkeys.replace_keys": "y", "keygen.valid": "0",
                   "keygen.name": "Ann Author", "keygen.email": "ann@example.org", "keygen.comment": "",
                   "keygen.userid.cmd": "O", "cardedit.genkeys.size": ""}
        commands = ["admin", "generate", "quit"]
        p = self.bench.start("gpg", "--no-tty", "--expert", "--command-fd", "0", "--status-fd", "1", "--card-edit", stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seen = []
        for line in p.stdout:
            seen.append(line)
            word = line.split()
            if word[:2] and word[0] == "[GNUPG:]" and word[1] in ("GET_LINE", "GET_BOOL", "GET_HIDDEN"):
                answer = commands.pop(0) if word[2] == "cardedit.prompt" else answers[word[2]]
                p.stdin.write(answer + "\n")
                p.stdin.flush()
        p.stdin.close()
        p.stdout.close()
        self.assertEqual(p.wait(), 0, "".join(seen))
        self.assertTrue([s for s in seen if "KEY_CREATED" in s], "".join(seen))

    def use(self):
        """Signs, decrypts and logs in with what the card holds."""
        b = self.bench
        (b.home / "text").write_text("hello\n")
        b.run("gpg", "--batch", "--yes", "--detach-sign", "text")
        self.assertIn("GOODSIG", b.run("gpg", "--status-fd", "1", "--verify", "text.sig", "text").stdout)
        b.run("gpg", "--batch", "--yes", "--trust-model", "always", "-r", "ann@example.org", "--encrypt", "text")
        self.assertEqual(b.run("gpg", "--batch", "--decrypt", "text.gpg").stdout, "hello\n")
        b.env["SSH_AUTH_SOCK"] = b.run("gpgconf", "--list-dirs", "agent-ssh-socket").stdout.strip()
        server = Sshd(b)
        server.authorize(*b.run("ssh-add", "-L").stdout.splitlines())
        self.assertEqual(server.login().stdout, "in\n")

    def try_product(self, profile):
        card = self.card(profile, "--pin", ALL_PIN)
        for name in PRODUCTS[profile]:
            self.assertIn(name, self.status)
        self.generate()
        self.use()
        state = card.state()
        self.assertGreater(state["counter"], 0)
        self.assertEqual(state["tries"], [3, 0, 3], "no PIN was ever wrong")

    def test_wrong_pin_counts_down(self):
        card = self.card("gnuk")
        self.connect("SCD APDU 00A4040006D27600012401", "SCD APDU 0020008106363534333231")
        self.assertEqual(card.state()["tries"][0], 2)
        self.connect("SCD APDU 0020008106313233343536")
        self.assertEqual(card.state()["tries"][0], 3)
        self.assertTrue(card.state()["verified"][0])
        self.connect("SCD APDU 0020FF81")
        self.assertFalse(card.state()["verified"][0])

    def test_factory_reset(self):
        card = self.card("yubikey5", "--pin", "654321", "--admin-pin", ALL_PIN)
        self.assertEqual(self.send("00E60000"), "6982")
        self.assertEqual(self.send("00200083083132333435363738"), "9000")
        self.assertEqual(self.send("00E60000"), "9000")
        self.assertEqual(self.send("00CA006E00"), "6285")
        self.assertEqual(self.send("00440000"), "9000")
        self.assertEqual(card.state()["tries"], [3, 0, 3])
        self.assertEqual(self.send("0047810002B60000"), "6A88", "the keys are gone")
        self.assertEqual(self.send("0020008106313233343536"), "9000")
        self.assertTrue(card.state()["verified"][0], "the PIN is the default one again")


for _profile in PRODUCTS:
    setattr(StockGpg, f"test_{_profile}", lambda self, p=_profile: self.try_product(p))


class Strictness(unittest.TestCase):
    def test_a_product_has_only_its_own_algorithms(self):
        bench = Bench()
        self.addCleanup(bench.close)
        for profile, key in (("nitrokey-pro", "sig=ed25519"), ("gnuk", "aut=nistp384"), ("generic", "dec=ed25519"),
                             ("generic", "sig=cv25519")):
            p = bench.run("testcard", "--profile", profile, "--port", "1", "--control", "x", "--key", key, check=False)
            self.assertEqual(p.returncode, 2)
            self.assertIn(key, p.stderr)
        p = bench.run("testcard", "--profile", "nokey", "--port", "1", "--control", "x", check=False)
        self.assertEqual(p.returncode, 2)
        self.assertIn("yubikey5", p.stderr)
