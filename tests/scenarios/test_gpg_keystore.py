"""gpg's key store shared with the stock gpg-agent: what either writes, the other reads."""
import os
import re
import shutil
import socket
import unittest

from harness import Bench, wait_until
from harness.assuan import Assuan, AssuanError, TokenProcess, fields
from harness.bench import TOP

KINDS = {
    "rsa2048": "(genkey(rsa(nbits 4:2048)))",
    "ed25519": "(genkey(ecc(curve 7:Ed25519)(flags eddsa comp)))",
    "nistp256": "(genkey(ecc(curve 10:NIST P-256)(flags nocomp)))",
    "nistp384": "(genkey(ecc(curve 10:NIST P-384)(flags nocomp)))",
    "nistp521": "(genkey(ecc(curve 10:NIST P-521)(flags nocomp)))",
    "brainpoolP256r1": "(genkey(ecc(curve 15:brainpoolP256r1)(flags nocomp)))",
    "secp256k1": "(genkey(ecc(curve 9:secp256k1)(flags nocomp)))",
    "dsa1024": "(genkey(dsa(nbits 4:1024)))",
    "cv25519": "(genkey(ecc(curve 10:Curve25519)(flags djb-tweak comp)))",
}
PASS = "Grüße 42!".encode()
HASH = "10", bytes(range(64))
VECTOR = "5A0E107478791FD86A8541FC8A4A4231353A5C77"
NATIVE = "92373D24F033B8E324731871F860C70EF702BDB6"
GPG_ERR_BAD_PASSPHRASE, GPG_ERR_EEXIST, GPG_ERR_UNUSABLE_SECKEY = 11, 35 | 32768, 54


class Stock(Assuan):
    """A connection to the stock gpg-agent of a home, passphrases by loopback."""

    def __init__(self, bench):
        bench.run("gpgconf", "--launch", "gpg-agent")
        path = bench.run("gpgconf", "--list-dirs", "agent-socket").stdout.strip()
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        super().__init__(sock)
        self.ask("OPTION pinentry-mode=loopback")

    def sign(self, grip, passphrase=PASS):
        for command in ("RESET", f"SIGKEY {grip}", f"SETHASH {HASH[0]} {HASH[1].hex().upper()}"):
            self.ask(command)
        return self.ask("PKSIGN", PASSPHRASE=passphrase)


class KeyStore(unittest.TestCase):
    def setUp(self):
        self.bench = Bench()
        self.addCleanup(self.bench.close)
        self.home = self.bench.gnupg
        self.home.mkdir(mode=0o700)
        self.folder = self.home / "private-keys-v1.d"
        (self.home / "gpg-agent.conf").write_text("allow-loopback-pinentry\nallow-preset-passphrase\n")
        self.bench.cleanups.append(lambda: self.bench.run("gpgconf", "--kill", "gpg-agent", check=False))
        self.token = TokenProcess(self.bench, "gpg", self.home)
        self.addCleanup(self.token.close)

    def stock(self):
        s = Stock(self.bench)
        self.addCleanup(s.close)
        return s

    def gpg(self, *args, passphrase="abc", **kw):
        return self.bench.run("gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase", passphrase, *args, **kw)

    def put(self, vector, grip):
        self.folder.mkdir(mode=0o700, exist_ok=True)
        path = self.folder / f"{grip}.key"
        shutil.copy(TOP / "tests/vectors/gpg-keystore" / f"{vector}.key", path)
        path.chmod(0o600)
        return path

    def keys(self):
        self.token.ask("LEARN")
        return {f["id"]: f for f in map(fields, self.token.status) if "id" in f}

    def sign(self, grip, passphrase=PASS, args=""):
        return self.token.ask(f"SIGN key={grip} use=test hash={HASH[0]} pin-age=0 {args}", DATA=HASH[1], PASSPHRASE=passphrase)

    def generate(self, kind, passphrase=PASS, args=""):
        before = set(self.keys())
        self.token.ask(f"GENERATE created=1700000000 pin-age=-1 {args}", PARAM=KINDS[kind].encode(), PASSPHRASE=passphrase)
        (grip,) = set(self.keys()) - before
        return grip

    def test_stock_agents_keys_work_here(self):
        """A home that gpg made is used, its keys sign and decrypt."""
        for algo, usage in (("rsa2048", "sign"), ("ed25519", "sign"), ("nistp256", "sign"), ("nistp521", "sign"),
                            ("brainpoolP384r1", "sign"), ("dsa2048", "sign")):
            self.gpg("--quick-gen-key", f"{algo} <{algo}@example.org>", algo, usage, "never")
        fpr = re.search(r"fpr:+([0-9A-F]{40})", self.gpg("--with-colons", "-k", "ed25519@example.org").stdout)[1]
        self.gpg("--quick-add-key", fpr, "cv25519", "encr", "never")
        grips = set(re.findall(r"grp:+([0-9A-F]{40})", self.gpg("--with-colons", "--with-keygrip", "-K").stdout))
        keys = self.keys()
        self.assertEqual(set(keys), grips)
        self.assertEqual(len(grips), 7)
        self.assertEqual([k["caps"] for k in keys.values()].count("e"), 1)
        for grip, key in keys.items():
            if key["caps"] != "e":
                self.assertTrue(self.sign(grip, b"abc").startswith(b"(7:sig-val("))
                self.assertEqual(self.token.status, ["SHOWN pin=typed"])

    def test_own_keys_work_with_the_stock_agent(self):
        """Keys of every kind, made here: the stock agent opens them, changes their passphrase, and they are opened here again."""
        stock = self.stock()
        for kind in KINDS:
            with self.subTest(kind):
                grip = self.generate(kind)
                stock.ask(f"KEYINFO {grip}")
                self.assertEqual(stock.status, [f"KEYINFO {grip} D - - - P - - -"])
                if kind != "cv25519":
                    stock.ask("RELOADAGENT")  # or it tries what opened another key
                    with self.assertRaises(AssuanError) as e:
                        stock.sign(grip, b"wrong")
                    self.assertEqual(e.exception.code, GPG_ERR_BAD_PASSPHRASE)
                    self.assertTrue(stock.sign(grip).startswith(b"(7:sig-val("))
                stock.ask(f"PASSWD {grip}", PASSPHRASE=PASS, NEW_PASSPHRASE=b"second")
                self.token.ask(f"PASSWD key={grip} pin-age=-1", PASSPHRASE=[b"second", b"third"])
                self.assertEqual([a.split()[2] for a in self.token.asked], ["why=old", "why=new"])
                stock.ask("RELOADAGENT")
                if kind != "cv25519":
                    self.assertTrue(stock.sign(grip, b"third").startswith(b"(7:sig-val("))
                stock.ask(f"PASSWD {grip}", PASSPHRASE=b"third", NEW_PASSPHRASE=b"")
                self.assertEqual(self.keys()[grip]["pin"], "none")
                if kind != "cv25519":
                    self.assertTrue(self.sign(grip).startswith(b"(7:sig-val("))
                    self.assertEqual(self.token.asked, ["DATA"])
                text = (self.folder / f"{grip}.key").read_bytes()
                self.assertTrue(text.startswith(b"Created: 20231114T221320\n"), text)

    def test_attributes_survive_both(self):
        path = self.put("v1-ocb-ed25519-gpg2.2.40", VECTOR)
        path.write_bytes(b"# my own remark\n" + path.read_bytes() + b"X-Mine: a value\n")
        self.token.ask(f"ATTR key={VECTOR} name=Label: set=1 pin-age=-1", VALUE="für die Arbeit".encode())
        self.stock().ask(f"PASSWD {VECTOR}", PASSPHRASE=PASS, NEW_PASSPHRASE=b"second")
        self.assertEqual(self.token.ask(f"ATTR key={VECTOR} name=Label: pin-age=-1"), "für die Arbeit".encode())
        self.token.ask(f"PASSWD key={VECTOR} pin-age=-1", PASSPHRASE=[b"second", PASS])
        text = path.read_bytes()
        for line in (b"# my own remark\n", "Label: für die Arbeit\n".encode(), b"X-Mine: a value\n"):
            self.assertIn(line, text)
        self.assertTrue(self.stock().sign(VECTOR).startswith(b"(7:sig-val("))

    def test_transfer(self):
        """EXPORT_KEY of the stock agent into IMPORT, and EXPORT into its IMPORT_KEY."""
        for kind in KINDS:
            with self.subTest(kind):
                grip = self.generate(kind)
                stock = self.stock()
                wrap = stock.ask("KEYWRAP_KEY --export")
                sent = stock.ask(f"EXPORT_KEY --openpgp {grip}", PASSPHRASE=PASS)
                self.token.ask(f"DELKEY key={grip}")
                self.token.ask("IMPORT pin-age=-1 created=1700000000", WRAPKEY=wrap, WRAPPED=sent, PASSPHRASE=PASS)
                self.assertIn(grip, self.keys())
                with self.assertRaises(AssuanError) as e:
                    self.token.ask("IMPORT pin-age=-1", WRAPKEY=wrap, WRAPPED=sent, PASSPHRASE=PASS)
                self.assertEqual(e.exception.code, GPG_ERR_EEXIST)
                wrap = stock.ask("KEYWRAP_KEY --import")
                sent = self.token.ask(f"EXPORT key={grip} form=openpgp pin-age=-1 cache=0", WRAPKEY=wrap, PASSPHRASE=PASS)
                os.unlink(self.folder / f"{grip}.key")
                stock.ask("IMPORT_KEY --unattended", KEYDATA=sent)
                stock.close()
                # gpg-agent keeps it as it came; it is opened here, and there again
                self.assertIn(b"openpgp-native", (self.folder / f"{grip}.key").read_bytes())
                self.token.ask(f"PASSWD key={grip} verify=1 pin-age=-1", PASSPHRASE=PASS)
                self.assertNotIn(b"openpgp-native", (self.folder / f"{grip}.key").read_bytes())
                self.stock().ask(f"PASSWD --verify {grip}", PASSPHRASE=PASS)

    def test_gpg_imports_what_was_exported_here(self):
        """A whole OpenPGP key: gpg exports it by the stock agent, imports it unattended; all its keys are usable here."""
        self.gpg("--quick-gen-key", "Ann <ann@example.org>", "rsa2048", "sign", "never")
        fpr = re.search(r"fpr:+([0-9A-F]{40})", self.gpg("--with-colons", "-k").stdout)[1]
        self.gpg("--quick-add-key", fpr, "rsa2048", "encr", "never")
        exported = self.gpg("--armor", "--export-secret-keys").stdout
        grips = set(self.keys())
        self.assertEqual(len(grips), 2)
        for path in self.folder.iterdir():
            path.unlink()
        self.assertEqual(self.keys(), {})
        self.gpg("--import", input=exported)
        self.assertEqual(set(self.keys()), grips)
        for grip in grips:
            self.sign(grip, b"abc")
        self.bench.run("gpgconf", "--kill", "gpg-agent")
        signed = self.gpg("--clearsign", input="text\n").stdout
        self.gpg("--verify", input=signed)

    def test_imported_natively(self):
        """The vector that gpg --batch --import left."""
        path = self.put("x1-openpgp-native-rsa2048-canonical", NATIVE)
        self.assertEqual(self.keys()[NATIVE]["pin"], "need")
        self.sign(NATIVE)
        self.assertTrue(path.read_bytes().startswith(b"Key: (protected-private-key"))
        self.assertTrue(self.stock().sign(NATIVE).startswith(b"(7:sig-val("))

    def test_stubs(self):
        self.put("v1-ocb-ed25519-gpg2.2.40", VECTOR)
        pub = self.token.ask(f"STORED key={VECTOR}")
        self.token.ask(f"DELKEY key={VECTOR}")
        self.token.ask(f"STUB key={VECTOR} serial=D276000124010304AFAF1AB000000000 ref=OPENPGP.1 label=AFAF%201AB00000", PUB=pub)
        self.assertEqual(self.keys(), {})
        stock = self.stock()
        stock.ask(f"KEYINFO {VECTOR}")
        self.assertEqual(stock.status, [f"KEYINFO {VECTOR} T D276000124010304AFAF1AB000000000 OPENPGP.1 - - - - -"])
        with self.assertRaises(AssuanError) as e:
            self.sign(VECTOR)
        self.assertEqual(e.exception.code, GPG_ERR_UNUSABLE_SECKEY)

    def test_ssh_keys(self):
        """sshcontrol, written here, is the stock agent's too; and the other way round."""
        (self.home / "gpg-agent.conf").write_text("enable-ssh-support\nallow-loopback-pinentry\n")
        grip = self.generate("ed25519")
        other = self.generate("nistp256")
        self.token.ask(f"SSHADD key={grip} ttl=77 confirm=1")
        stock = self.stock()
        stock.ask("KEYINFO --ssh-list")
        self.assertEqual(stock.status, [f"KEYINFO {grip} D - - - P - 77 Sc"])
        with open(self.home / "sshcontrol", "a", encoding="utf-8") as f:
            f.write(f"!{other} 0\n")
        keys = self.keys()
        self.assertIn("ssh", keys[grip])
        self.assertNotIn("ssh", keys[other])
        env = dict(self.bench.env, SSH_AUTH_SOCK=self.bench.run("gpgconf", "--list-dirs", "agent-ssh-socket").stdout.strip())
        listed = self.bench.run("ssh-add", "-L", env=env).stdout
        self.assertEqual(len(listed.splitlines()), 1)
        self.assertTrue(listed.startswith("ssh-ed25519 "))

    def test_nothing_secret_in_the_log(self):
        """A failing passphrase, a broken file: neither is told to the log more than by name."""
        path = self.put("v1-ocb-ed25519-gpg2.2.40", VECTOR)
        with self.assertRaises(AssuanError):
            self.token.ask(f"SIGN key={VECTOR} use=test hash=10 pin-age=-1", DATA=HASH[1], PASSPHRASE=[b"one", b"two", b"three"])
        self.assertEqual(len(self.token.asked), 4)
        path.write_bytes(path.read_bytes()[:200])
        self.assertEqual(self.keys(), {})
        self.token.ask(f"STORED key={VECTOR}")
        self.assertEqual(fields(self.token.status[0])["state"], "unknown")

    def test_the_end_of_the_channel_is_the_end(self):
        self.token.close()
        wait_until(lambda: self.token.process.poll() is not None, "the token's end")
        self.assertEqual(self.token.process.returncode, 0)
