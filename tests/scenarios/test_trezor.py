"""Keys of a Trezor (in software, tests/wallets): real ssh, ssh-keygen, git and gpg on the other side."""
import base64
import sys
import unittest

from harness import Agent, AgentClient, Bench, ScriptedPinentry, Sshd, Trezor, wait_until
from harness.agentclient import userauth
from harness.bench import TOP
from harness.walletcase import ED, LINES, P256, WalletCase

sys.path.insert(0, str(TOP / "tests" / "wallets"))
from seed import Key, bip39, identity_path  # noqa: E402

IN_TIME = 20


class Case(WalletCase):
    def begin(self, identities=(ED,), policy="", extra="", trezor=None, plugged=True, prepare=(), ready=True):
        b = self.bench
        self.trezor = trezor or (Trezor(b) if plugged else None)
        for line in prepare:
            self.trezor.do(line)
        b.policy(policy)
        emulator = f"Emulator trezor {self.trezor.address}\n" if self.trezor else ""
        self.pinentry = ScriptedPinentry(b, emulator + "".join(f"Identity {i}\n" for i in identities) + extra)
        self.agent = Agent(b)
        if self.trezor and ready:
            self.agent.wait_token("trezor")


class Ssh(Case):
    def test_login_and_signatures(self):
        self.begin((P256, ED))
        self.assertEqual(self.listed(), [LINES[P256], LINES[ED]])
        for name in (P256, ED):
            with self.subTest(name):
                server = Sshd(self.bench, name.split()[1])
                server.authorize(LINES[name])
                login = self.bench.start(*server.args(), "echo in", stdout=-1, text=True)
                self.assertEqual(self.trezor.wait_for("button"), "SSH login to: ssh://user@host")
                wait_until(lambda: any("confirm there" in n for n in self.notices()), "the person is told")
                self.trezor.do("press yes")
                self.assertEqual(login.communicate(timeout=IN_TIME)[0], "in\n")
                r = self.agent.last()
                self.assertEqual((r["use"], r["presence"], r["pin"]), ("ssh-auth", "touch", "none"))
                self.trezor.do("buttons yes")
                self.sign(self.pub(LINES[name]))
                self.assertEqual(self.agent.last()["use"], "sshsig:file")
                self.trezor.do("buttons ask")

    def test_git_commit(self):
        self.begin()
        b = self.bench
        self.trezor.do("buttons yes")
        b.run("git", "init", "-q", "repo")
        git = ("git", "-C", "repo", "-c", "gpg.format=ssh", "-c", f"user.signingkey={self.pub(LINES[ED])}")
        b.run(*git, "commit", "-q", "--allow-empty", "-S", "-m", "from a wallet")
        (b.home / "allowed").write_text(f"ann@example.org {LINES[ED]}\n")
        b.run(*git, "-c", f"gpg.ssh.allowedSignersFile={b.home}/allowed", "verify-commit", "HEAD")
        self.assertEqual(self.agent.last()["use"], "sshsig:git")

    def test_person_says_no(self):
        self.begin()
        p = self.start_sign(self.pub(LINES[ED]))
        self.trezor.wait_for("button")
        self.trezor.do("press no")
        self.assertNotEqual(p.wait(IN_TIME), 0)
        self.refused("refused on the device")
        self.trezor.do("buttons yes")
        self.sign(self.pub(LINES[ED]))

    def test_client_hangs_up(self):
        self.begin()
        p = self.start_sign(self.pub(LINES[ED]))
        self.trezor.wait_for("button")
        self.bench.end(p)
        self.trezor.wait_for(None)  # the screen is free again
        self.assertIn(20, self.trezor.state()["seen"])
        self.trezor.do("buttons yes")
        self.sign(self.pub(LINES[ED]))

    def test_late_answer_after_cancel(self):
        """A device that goes on with what was called off: its answer belongs to nobody."""
        self.begin()
        self.trezor.do("deaf on")
        p = self.start_sign(self.pub(LINES[ED]))
        self.trezor.wait_for("button")
        self.bench.end(p)
        wait_until(lambda: 20 in self.trezor.state()["seen"], "it is cancelled")
        self.trezor.do("press yes")
        self.trezor.do("deaf off")
        self.trezor.do("buttons yes")
        self.sign(self.pub(LINES[ED]))

    def test_denied_by_policy(self):
        self.begin(policy="Match use sshsig:*\n    Allow no\n")
        self.assertNotEqual(self.sign(self.pub(LINES[ED]), check=False).returncode, 0)
        self.assertNotIn(53, self.trezor.state()["seen"])

    def test_garbage_and_halves(self):
        self.begin()
        self.trezor.do("buttons yes")
        self.trezor.do("garbage 20")
        self.sign(self.pub(LINES[ED]))
        self.trezor.do("break")
        self.sign(self.pub(LINES[ED]), check=False)
        self.sign(self.pub(LINES[ED]))

    def test_failures(self):
        self.begin()
        pub = self.pub(LINES[ED])
        self.trezor.do("buttons yes")
        for code, reason in ((3, "does not take what it was sent"), (4, "refused"), (11, "no seed yet"), (15, "busy"), (99, "")):
            with self.subTest(code):
                self.trezor.do(f"fail {code}")
                self.assertNotEqual(self.sign(pub, check=False).returncode, 0)
                self.refused(reason)
        self.trezor.do("fail 14")  # another program ended our session: once more in a new one
        self.sign(pub)
        self.trezor.do("forget")
        self.sign(pub)

    def test_too_long_for_a_one(self):
        self.begin((P256,))
        key = base64.b64decode(LINES[P256].split()[1])
        c = AgentClient(self.agent.ssh)
        self.assertIsNone(c.sign(key, userauth(b"\1" * 32, "u" * 400, key, alg="ecdsa-sha2-nistp256")))
        c.close()
        r = self.refused("at most 512 octets")
        self.assertIn("newer models", r["reason"])
        self.assertNotIn(53, self.trezor.state()["seen"])

    def test_device_dies(self):
        self.begin()
        self.trezor.stop()
        p = self.start_sign(self.pub(LINES[ED]))
        wait_until(lambda: self.agent.token("trezor") is None or self.agent.token("trezor")["state"] != "ready", "it is missed")
        wait_until(lambda: any("Plug in" in d["desc"] for d in self.pinentry.opened()) or p.poll() is not None,
                   "the person is asked, or it failed")
        self.trezor.start()
        self.trezor.do("buttons yes")
        p.wait(IN_TIME)
        self.agent.wait_token("trezor")
        self.sign(self.pub(LINES[ED]))

    def test_plugged_in_for_it(self):
        """Listed while the device is away; a signature waits for it, with a dialog."""
        self.begin()
        self.trezor.stop()
        self.agent.stop()
        self.agent = Agent(self.bench)
        self.assertEqual(self.listed(), [LINES[ED]])
        p = self.start_sign(self.pub(LINES[ED]))
        wait_until(lambda: any("Plug in" in n for n in self.notices()), "the person is asked")
        self.assertIn("<ssh://user@host|ed25519>", self.notices()[-1])
        self.trezor.start()
        self.trezor.do("buttons yes")
        self.assertEqual(p.wait(IN_TIME + 30), 0)

    def test_not_plugged_in(self):
        self.begin(policy="Match all\n Timeout 2s\n")
        self.trezor.stop()
        self.agent.stop()
        self.agent = Agent(self.bench)
        self.assertNotEqual(self.sign(self.pub(LINES[ED]), check=False).returncode, 0)
        self.refused("not plugged in in time")

    def test_silent_device(self):
        self.begin(policy="Match all\n Timeout 2s\n")
        self.trezor.do("silent on")
        self.assertNotEqual(self.sign(self.pub(LINES[ED]), check=False).returncode, 0)
        self.trezor.do("silent off")
        self.trezor.do("buttons yes")
        self.agent.wait_token("trezor")
        self.sign(self.pub(LINES[ED]))


class Secrets(Case):
    def answer_pin(self, pin="1234"):
        """The person looks at the grid and types places."""
        self.trezor.wait_for("pin")
        self.pinentry.answer(f"pin {self.trezor.positions(pin)}")

    def test_pin_matrix(self):
        self.begin(prepare=["buttons yes"])
        self.trezor.do("pin 1234")
        p = self.start_sign(self.pub(LINES[ED]))
        self.answer_pin()
        self.assertEqual(p.wait(IN_TIME), 0)
        asked = self.pinentry.dialogs()[-1]["desc"]
        self.assertIn("7 8 9", asked)
        self.assertIn("1 2 3", asked)
        self.assertEqual(self.agent.last()["pin"], "typed")
        (self.bench.home / "data.sig").unlink()
        self.sign(self.pub(LINES[ED]))
        self.assertEqual(self.agent.last()["pin"], "none")

    def test_wrong_pin(self):
        self.begin(prepare=["buttons yes"])
        self.trezor.do("pin 1234")
        p = self.start_sign(self.pub(LINES[ED]))
        self.answer_pin("9999")
        wait_until(lambda: self.trezor.state()["fails"] == 1 and self.trezor.state()["waiting"] == "pin", "it is asked for again")
        self.pinentry.answer("pin 12a4")  # not sent: places are digits
        wait_until(lambda: len(self.pinentry.opened()) >= 3, "a third dialog")
        self.answer_pin()
        self.assertEqual(p.wait(IN_TIME), 0)
        errors = [d.get("error") for d in self.pinentry.dialogs()]
        self.assertIn("Wrong PIN", errors[1])
        self.assertIn("digits 1 to 9", errors[2])
        self.assertEqual(self.trezor.state()["fails"], 0)

    def test_wrong_pin_is_not_tried_again_by_itself(self):
        self.begin(prepare=["buttons yes"])
        self.trezor.do("pin 1234")
        p = self.start_sign(self.pub(LINES[ED]))
        self.answer_pin("9999")
        wait_until(lambda: self.trezor.state()["fails"] == 1 and self.trezor.state()["waiting"] == "pin", "it is asked for again")
        self.pinentry.answer("pin cancel")
        self.assertNotEqual(p.wait(IN_TIME), 0)
        self.trezor.wait_for(None)
        self.assertEqual(self.trezor.state()["fails"], 1)

    def test_policy_wants_the_pin_each_time(self):
        self.begin(policy="Match all\n Pin always\n", prepare=["buttons yes"])
        self.trezor.do("pin 1234")
        for _ in range(2):
            p = self.start_sign(self.pub(LINES[ED]))
            self.answer_pin()
            self.assertEqual(p.wait(IN_TIME), 0)
            self.assertEqual(self.agent.last()["pin"], "typed")
            (self.bench.home / "data.sig").unlink()

    def test_lock_locks_the_device(self):
        self.begin(prepare=["buttons yes"])
        self.trezor.do("pin 1234")
        p = self.start_sign(self.pub(LINES[ED]))
        self.answer_pin()
        self.assertEqual(p.wait(IN_TIME), 0)
        self.agent.latchkey("lock")
        wait_until(lambda: not self.trezor.state()["unlocked"], "the device is locked, too")

    def test_unlock(self):
        """A wallet that was used before opens the locked agent, by its button: with the PIN, and for either algorithm."""
        for name in (ED, P256):
            with self.subTest(name):
                self.bench = Bench()
                self.addCleanup(self.bench.close)
                self.begin(identities=(name,), prepare=["buttons yes"])
                self.sign(self.pub(LINES[name]))
                self.trezor.do("pin 1234")
                self.agent.latchkey("lock")
                self.assertEqual(self.agent.lock_state(), "locked")
                p = self.bench.start(self.bench.env["PATH"].split(":")[0] + "/latchkey", "unlock")
                self.answer_pin()
                self.assertEqual(p.wait(IN_TIME), 0)
                self.assertEqual(self.agent.lock_state(), "open")
                self.assertIn("7 8 9", self.pinentry.dialogs()[-1]["desc"])

    def test_unlock_with_passphrase(self):
        pub = self.with_passphrase(self.passphrase_key("secret"))
        self.pinentry.answer("pin secret")
        self.sign(pub)
        self.agent.latchkey("lock")
        wait_until(lambda: 83 in self.trezor.state()["seen"], "the device has forgotten it")
        self.pinentry.answer("pin other")
        out = self.agent.latchkey("unlock", check=False)
        self.assertEqual(out.returncode, 1)
        self.assertIn("another key for this identity", out.stderr)
        self.pinentry.answer("pin secret")
        self.agent.latchkey("unlock")
        self.assertEqual(self.agent.lock_state(), "open")

    def passphrase_key(self, passphrase):
        who = {"proto": "ssh", "user": "user", "host": "host", "port": "", "path": "", "index": 0}
        k = Key(bip39(Trezor.mnemonic, passphrase), identity_path(who, False), "ed25519").public[1:]
        blob = b"\0\0\0\x0bssh-ed25519\0\0\0 " + k
        return "ssh-ed25519 " + base64.b64encode(blob).decode() + " <ssh://user@host|ed25519>"

    def with_passphrase(self, line, extra="", options=(), prepare=("passphrase on",)):
        path = self.bench.home / "keys.pub"
        path.write_text(line + "\n")
        path.chmod(0o600)
        self.begin(identities=[path], extra=extra, trezor=Trezor(self.bench, *options), prepare=("buttons yes", *prepare))
        self.assertEqual(self.listed(), [line])
        return self.pub(line)

    def test_passphrase_on_the_host(self):
        pub = self.with_passphrase(self.passphrase_key("secret"))
        self.pinentry.answer("pin secret")
        self.sign(pub)
        self.sign(pub)  # the device remembers it
        self.assertEqual(len(self.pinentry.dialogs()), 1)
        self.assertIn("Leave it empty", self.pinentry.dialogs()[0]["desc"])

    def test_empty_passphrase(self):
        pub = self.with_passphrase(LINES[ED])
        self.pinentry.answer("pin ")
        self.sign(pub)

    def test_no_passphrase_wanted(self):
        pub = self.with_passphrase(LINES[ED], "WalletPassphrase none\n")
        self.sign(pub)
        self.assertEqual(self.pinentry.dialogs(), [])

    def test_wrong_passphrase(self):
        """Another one is another wallet: its key is refused, and the right one asked for next time."""
        pub = self.with_passphrase(self.passphrase_key("secret"))
        self.pinentry.answer("pin Secret")
        self.assertNotEqual(self.sign(pub, check=False).returncode, 0)
        self.refused("another key for this identity")
        self.pinentry.answer("pin secret")
        self.sign(pub)

    def test_passphrase_on_the_device(self):
        pub = self.with_passphrase(self.passphrase_key("secret"), options=("--model", "t"), prepare=("passphrase on secret",))
        self.sign(pub)
        self.assertEqual(self.pinentry.dialogs(), [])

    def test_bad_passphrases_are_not_sent(self):
        pub = self.with_passphrase(LINES[ED])
        for text in ("p" * 51, "Pa\u00df"):
            with self.subTest(text):
                self.pinentry.answer(f"pin {text}")
                self.assertNotEqual(self.sign(pub, check=False).returncode, 0)
                self.assertNotIn(42, self.trezor.state()["seen"])
        self.pinentry.answer("pin cancel")
        self.assertNotEqual(self.sign(pub, check=False).returncode, 0)
        self.trezor.wait_for(None)

    def test_another_seed(self):
        """The key that it tells and signs with is compared with the one that was listed."""
        self.begin(prepare=["buttons yes"])
        self.trezor.do("wrong-key on")
        self.assertNotEqual(self.sign(self.pub(LINES[ED]), check=False).returncode, 0)
        self.refused("another key for this identity")


UID = "Satoshi <s@bitcoin.org>"
OIDS = {"ed25519": "092b06010401da470f01", "curve25519": "0a2b060104019755010501", "nist256p1": "082a8648ce3d030107"}


class Gpg(Case):
    """Keys of gpg:// identities, by stock gpg through the agent's socket."""

    def begin_gpg(self, curve="ed25519", **kw):
        b = self.bench
        b.gnupg.mkdir(mode=0o700)
        self.begin(identities=(f'"gpg://{UID}" {curve}',), extra=f"GpgSocket {b.gnupg}/S.gpg-agent\n", policy="Match all\n Touch always\n", **kw)
        self.trezor.do("buttons yes")
        self.curve = curve
        keys = self.agent.keys()
        self.fpr = next(k["openpgp_fingerprint"] for k in keys if "sign" in k["uses"])
        self.gpg("--import", input=self.agent.latchkey("keys", "--openpgp", UID).stdout)
        self.gpg("--import-ownertrust", input=f"{self.fpr}:6:\n")

    def gpg(self, *args, check=True, **kw):
        return self.bench.run("gpg", "--no-autostart", "--batch", "--status-fd=2", *args, check=check, **kw)

    def fingerprint(self, ecdh):
        """As trezor-agent's: of a v4 key made at 0 (RFC 4880 12.2)."""
        import hashlib
        who = {"proto": "gpg", "user": "", "host": UID, "port": "", "path": "", "index": 0}
        name = "curve25519" if ecdh and self.curve == "ed25519" else self.curve
        k = Key(bip39(Trezor.mnemonic), identity_path(who, ecdh), name)
        if name == "nist256p1":
            point = k.curve.mul(int.from_bytes(k.secret, "big"), k.curve.g)
            q = b"\4" + point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")
        else:
            q = b"\x40" + k.public[1:]
        bits = int.from_bytes(q, "big").bit_length()
        algo = 18 if ecdh else 19 if name == "nist256p1" else 22
        body = b"\4\0\0\0\0" + bytes([algo]) + bytes.fromhex(OIDS[name]) + bits.to_bytes(2, "big") + q
        body += bytes.fromhex("03010807") if ecdh else b""
        return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()

    def test_certificate_signature_decryption(self):
        for curve in ("ed25519", "nist256p1"):
            with self.subTest(curve):
                self.setUp()
                self.begin_gpg(curve)
                listed = self.gpg("--with-colons", "-K").stdout
                fprs = [line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr")]
                self.assertEqual(fprs, [self.fingerprint(False), self.fingerprint(True)])
                b = self.bench
                (b.home / "text").write_text("for the wallet's eyes\n")
                for digest in ("SHA256", "SHA512"):
                    sig = b.home / f"{digest}.sig"
                    self.gpg("--digest-algo", digest, "--detach-sign", "-u", self.fpr, "-o", sig, b.home / "text")
                    self.assertIn("GOODSIG", self.gpg("--verify", sig, b.home / "text").stderr)
                    self.assertEqual((self.agent.last()["use"], self.agent.last()["presence"]), ("openpgp-sign", "touch"))
                self.gpg("--trust-model=always", "--encrypt", "-r", self.fpr, "-o", b.home / "box", b.home / "text")
                self.assertEqual(self.gpg("--decrypt", b.home / "box").stdout, "for the wallet's eyes\n")
                self.assertEqual(self.agent.last()["use"], "decrypt")
                self.trezor.do("buttons no")
                out = self.gpg("--detach-sign", "-u", self.fpr, "-o", b.home / "no.sig", b.home / "text", check=False)
                self.assertNotEqual(out.returncode, 0)
                self.refused("refused on the device")

    def test_git_commit(self):
        self.begin_gpg()
        b = self.bench
        for program in (b.env["PATH"].split(":")[0] + "/latchkey-gpg", "gpg"):
            with self.subTest(program):
                b.run("git", "init", "-q", "repo")
                git = ("git", "-C", "repo", "-c", f"gpg.program={program}", "-c", f"user.signingkey={self.fpr}")
                b.run(*git, "commit", "-q", "--allow-empty", "-S", "-m", "from a wallet")
                self.assertIn("Good signature", b.run(*git, "verify-commit", "HEAD").stderr)

    def test_away(self):
        """Known to gpg while it is away; a signature waits for it."""
        self.begin_gpg()
        b = self.bench
        self.trezor.stop()
        self.agent.stop()
        self.agent = Agent(b)
        self.assertIn(self.fpr, self.gpg("-K").stdout)
        (b.home / "text").write_text("text")
        p = b.start("gpg", "--no-autostart", "--batch", "--detach-sign", "-u", self.fpr, b.home / "text")
        wait_until(lambda: any("Plug in" in n for n in self.notices()), "the person is asked")
        self.trezor.start()
        self.trezor.do("buttons yes")
        self.assertEqual(p.wait(IN_TIME + 30), 0)
        self.gpg("--verify", b.home / "text.sig", b.home / "text")

    def test_families_stay_apart(self):
        """No ssh client sees a gpg:// identity's key, and gpg's hash is signed by no ssh:// one's."""
        self.begin_gpg()
        self.assertEqual(self.listed(), [])


class Identities(Case):
    def test_pub_file_of_trezor_agent(self):
        """Keys stand in the file: nothing is asked of any device for a list."""
        path = self.bench.home / "ids.pub"
        path.write_text(f"{LINES[P256]}\n{LINES[ED]}\n")
        self.begin(identities=[path], plugged=False)
        self.assertEqual(self.listed(), [LINES[P256], LINES[ED]])

    def test_identity_file_of_trezor_agent(self):
        path = self.bench.home / "ids"
        path.write_text("what I log in with: <user@host|ed25519>, and <ssh://user@host|nist256p1>\n")
        self.begin(identities=[path])
        self.assertEqual(self.listed(), [LINES[ED], LINES[P256]])

    def test_bad_identities(self):
        self.begin(identities=(ED, "ssh://j\u00f6rg@host ed25519", "ssh://user@host secp521r1"))
        self.assertEqual(self.listed(), [LINES[ED]])
        log = self.agent.log.read_text()
        self.assertIn("ASCII", log)
        self.assertIn("neither nist256p1 nor ed25519", log)

    def test_emulator_by_name(self):
        """localhost may have an address of each family; the emulator listens at one."""
        trezor = Trezor(self.bench)
        self.begin(plugged=False, extra=f"Emulator trezor udp:localhost:{trezor.port}\n")
        self.agent.wait_token("trezor")
        self.assertEqual(self.listed(), [LINES[ED]])

    def test_two_devices_with_one_seed(self):
        """Either will do."""
        self.begin()
        self.agent.stop()
        self.trezor.stop()
        other = Trezor(self.bench, name="other")
        other.do("buttons yes")
        other.do("pin 1234")  # so that it cannot be asked for its keys unasked
        self.bench.settings(f"Pinentry {self.pinentry.program}\nEmulator trezor {other.address}\nIdentity {ED}\n")
        self.agent = Agent(self.bench)
        self.agent.wait_token("trezor")
        p = self.start_sign(self.pub(LINES[ED]))
        other.wait_for("pin")
        self.pinentry.answer(f"pin {other.positions('1234')}")
        self.assertEqual(p.wait(IN_TIME), 0)

    def test_another_device_with_another_seed(self):
        """What the first one told is offered for it too, until it turns out to be wrong."""
        self.begin()
        self.agent.stop()
        self.trezor.stop()
        other = Trezor(self.bench, "--mnemonic", "legal winner thank year wave sausage worth useful legal winner thank yellow",
                       name="other")
        other.do("buttons yes")
        self.bench.settings(f"Pinentry {self.pinentry.program}\nEmulator trezor {other.address}\nIdentity {ED}\n")
        self.agent = Agent(self.bench)
        self.agent.wait_token("trezor")
        mine = [k for k in self.agent.keys() if not k["away"]]
        self.assertEqual(len(mine), 1)  # asked quietly, it told its own
        self.assertNotIn(mine[0]["ssh"], LINES[ED])
        self.sign(self.pub(mine[0]["ssh"] + " x"))
        self.assertEqual([k["ssh"] for k in self.agent.keys() if k["away"]], [" ".join(LINES[ED].split()[:2])])

    def test_unusable_devices(self):
        for prepare, options, words in ((["bootloader on"], (), "bootloader"), (["initialized off"], (), "no seed"),
                                        ([], ("--model", "thp"), "Trezor-Host Protocol")):
            with self.subTest(words):
                self.bench = Bench()
                self.addCleanup(self.bench.close)
                self.begin(trezor=Trezor(self.bench, *options), prepare=prepare, ready=False)
                wait_until(lambda: any(words in t["state"] for t in self.agent.status()["tokens"]), "status tells why")


class Commands(Case):
    def identity(self, *args, **kw):
        return self.agent.latchkey("token", "identity", *args, **kw)

    def file(self):
        path = self.bench.config / "identities"
        return path.read_text() if path.exists() else ""

    def test_add_list_remove(self):
        self.begin(identities=(), prepare=["buttons yes"])
        self.assertEqual(self.identity("list", check=False).returncode, 1)
        self.assertEqual(self.identity("add", *ED.split()).stdout, LINES[ED] + "\n")
        self.assertEqual(self.identity("add", "user@host").stdout, LINES[P256] + "\n")
        self.identity("add", *ED.split())
        self.assertEqual(self.file(), "<ssh://user@host|ed25519>\n<ssh://user@host|nist256p1>\n")
        self.assertEqual(self.listed(), [LINES[ED], LINES[P256]])
        text = self.identity("list").stdout
        self.assertIn("ssh://user@host  ed25519", text)
        self.assertIn(LINES[ED].split()[1], text)
        self.sign(self.pub(LINES[ED]))
        self.identity("remove", *P256.split())
        self.assertEqual(self.listed(), [LINES[ED]])
        out = self.identity("remove", *P256.split(), check=False)
        self.assertEqual(out.returncode, 1)
        self.assertIn("not in your file", out.stderr)
        self.identity("remove", *ED.split())
        self.assertEqual((self.file(), self.listed()), ("", []))

    def test_text_around_identities_stays(self):
        self.begin(identities=())
        path = self.bench.config / "identities"
        path.write_text("for work: <ssh://user@host|ed25519> and <ssh://x@y|ed25519>\n# notes\n")
        path.chmod(0o600)
        self.identity("remove", *ED.split())
        self.assertEqual(self.file(), "for work:  and <ssh://x@y|ed25519>\n# notes\n")

    def test_keys_that_want_the_pin_are_read_when_asked_for(self):
        self.begin(prepare=["buttons yes", "pin 1234"], extra="WalletPassphrase none\n")
        self.assertEqual(self.listed(), [])
        self.assertNotIn(11, self.trezor.state()["seen"])  # nothing appeared on its screen
        self.assertIn("not read yet", self.agent.latchkey("status").stdout)
        self.assertIn("not read yet", self.identity("list").stdout)
        p = self.bench.start(self.bench.env["PATH"].split(":")[0] + "/latchkey", "token", "identity", "read")
        self.trezor.wait_for("pin")
        self.pinentry.answer(f"pin {self.trezor.positions('1234')}")
        self.assertEqual(p.wait(IN_TIME), 0)
        self.assertEqual(self.listed(), [LINES[ED]])
        self.assertNotIn("not read yet", self.agent.latchkey("status").stdout)
        self.trezor.stop()  # from now on they are known
        self.agent.stop()
        self.agent = Agent(self.bench)
        self.assertEqual(self.listed(), [LINES[ED]])
        self.assertIn("plug in the wallet", self.agent.latchkey("keys").stdout)

    def test_mistakes(self):
        self.begin(identities=())
        for args, words in ((("add",), "ssh://user@host"), (("add", "ssh://a@b", "rsa"), "nist256p1 or ed25519"), (("add", "gpg://"), "neither"),
                            (("add", "ssh://\u00fc@b"), "ASCII"), (("add", "a", "ed25519", "c"), "c")):
            with self.subTest(args):
                out = self.identity(*args, check=False)
                self.assertEqual(out.returncode, 2)
                self.assertIn(words, out.stderr)
        self.assertEqual(self.file(), "")

    def test_without_agent(self):
        self.begin(identities=(), plugged=False)
        self.agent.stop()
        out = self.identity("add", *ED.split(), check=False)
        self.assertEqual(out.returncode, 3)
        self.assertIn("written down", out.stderr)
        self.agent = Agent(self.bench)
        self.assertIn("ed25519", self.identity("list").stdout)


if __name__ == "__main__":
    unittest.main()
