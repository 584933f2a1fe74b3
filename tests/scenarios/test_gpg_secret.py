"""gpg's secret keys made, moved and changed by stock gpg with latchkey-agent behind it, and the dialogs of all that."""
import filecmp
import re
import shutil
import subprocess
import unittest

from harness import Bench, Gpg, Skip, wait_until
from harness.bench import BUILD

GOOD = "Tr0ub4dor&3x"
BAD_PASSPHRASE, NO_PINENTRY, AGENT_CANCELED = 67108875, 67108949, 67108963
CANCELED, FULLY_CANCELED, TIMEOUT = 83886179, 83886278, 83886142


class GpgCase(unittest.TestCase):
    def setUp(self):
        self.bench = Bench()
        self.addCleanup(self.bench.close)

    def make(self, **kw):
        self.g = Gpg(self.bench, **kw)
        self.p = self.g.pinentry
        return self.g

    def tearDown(self):
        for name in ("g", "other"):
            g = getattr(self, name, None)
            if g is not None:
                self.assertEqual(g.pinentry.wrong(), [], "what gpg-agent would not tell a pinentry")
                self.assertEqual(g.pinentry.waiting(), [], "answers that nobody asked for")

    def new_key(self, algo="ed25519", usage="cert,sign", uid="Ann <ann@x.test>", passphrase=GOOD, g=None):
        g = g or self.g
        if passphrase:
            g.pinentry.new(passphrase)
            g("--batch", "--quick-gen-key", uid, algo, usage, "0")
        else:
            g("--batch", "--pinentry-mode", "loopback", "--passphrase", "", "--quick-gen-key", uid, algo, usage, "0")
        return g.fprs()[-1]

    def add_key(self, fpr, algo, usage="encr", passphrase=GOOD):
        if passphrase:
            self.p.pin(passphrase)
        options = () if passphrase else ("--pinentry-mode", "loopback", "--passphrase", "")
        self.g("--batch", *options, "--quick-add-key", fpr, algo, usage, "0")

    def sign(self, *args, check=True, g=None):
        return (g or self.g)(*args, "-bsa", input="what is signed", check=check)

    def failure(self, result):
        """The agent's error that gpg tells of."""
        m = re.search(r"\[GNUPG:\] (?:FAILURE|ERROR) \S+ (\d+)", result.stderr)
        return int(m[1]) if m else None

    def forget(self):
        self.g.connect("RELOADAGENT", "/bye")

    def decrypts(self, fpr, g=None):
        g = g or self.g
        secret = g("--batch", "--trust-model", "always", "-r", fpr, "-ea", input="hidden text").stdout
        self.assertEqual(g("-d", input=secret).stdout, "hidden text")


class Making(GpgCase):
    ALGOS = (("rsa3072", "rsa3072"), ("ed25519", "cv25519"), ("nistp256", "nistp256"), ("nistp384", "nistp384"),
             ("nistp521", "nistp521"), ("brainpoolP256r1", "brainpoolP256r1"), ("brainpoolP384r1", "brainpoolP384r1"))

    def test_every_kind_of_key(self):
        self.make()
        for sign, encrypt in self.ALGOS:
            with self.subTest(sign):
                fpr = self.new_key(sign, uid=f"{sign} <{sign}@x.test>")
                self.add_key(fpr, encrypt)
                self.forget()
                self.p.pin(GOOD)
                r = self.g("-u", fpr, "--clearsign", input="text\n")
                self.assertIn("[GNUPG:] GOODSIG", self.g("--verify", input=r.stdout).stderr)
                self.decrypts(fpr)
        # for the new key, for the one that certifies the second, for use
        self.assertEqual(len(self.p.dialogs()), 3 * len(self.ALGOS))
        self.assertEqual(len(self.g.keys()), 2 * len(self.ALGOS))

    def test_much_data(self):
        self.make()
        fpr = self.new_key(passphrase="")
        self.add_key(fpr, "cv25519", passphrase="")
        big, out, back = (self.bench.top / name for name in ("big", "out", "back"))
        with open(big, "wb") as f:
            f.truncate(100 << 20)
        self.g("-b", "-o", out, big, timeout=60)
        self.assertIn("[GNUPG:] GOODSIG", self.g("--verify", out, big, timeout=60).stderr)
        out.unlink()
        self.g("--batch", "--trust-model", "always", "-r", fpr, "-s", "-e", "-o", out, big, timeout=60)
        self.assertIn("[GNUPG:] GOODSIG", self.g("-d", "-o", back, out, timeout=60).stderr)
        self.assertTrue(filecmp.cmp(big, back, shallow=False))

    def test_git(self):
        self.make()
        fpr = self.new_key()
        repo = self.bench.top / "repo"
        git = lambda *args: self.bench.run("git", "-c", "gpg.program=gpg", "-c", f"user.signingkey={fpr}", "-c", "user.name=Ann",
                                           "-c", "user.email=ann@x.test", *args, env=self.g.env)
        git("init", "-q", repo)
        self.forget()
        self.p.pin(GOOD)
        git("-C", repo, "commit", "-q", "--allow-empty", "-S", "-m", "signed")
        git("-C", repo, "tag", "-s", "-m", "signed", "v1")
        self.assertIn("GOODSIG", git("-C", repo, "verify-commit", "--raw", "HEAD").stderr)
        self.assertIn("GOODSIG", git("-C", repo, "verify-tag", "--raw", "v1").stderr)

    def test_batch_with_a_given_passphrase(self):
        self.make()
        param = ("Key-Type: EDDSA\nKey-Curve: ed25519\nSubkey-Type: ECDH\nSubkey-Curve: cv25519\nName-Real: Bea\n"
                 f"Passphrase: {GOOD}\nExpire-Date: 0\n%commit\n")
        self.g("--batch", "--gen-key", input=param)
        self.assertEqual(self.p.opened(), [])
        for grip in self.g.keys():
            self.assertIn(b"protected-private-key", self.g.file(grip).read_bytes())
        self.forget()
        self.assertEqual(self.g("--batch", "--pinentry-mode", "loopback", "--passphrase", GOOD, "-bsa", input="x").returncode, 0)

    def test_without_protection(self):
        self.make()
        fpr = self.new_key(passphrase=None)
        param = "Key-Type: EDDSA\nKey-Curve: ed25519\nName-Real: Carl\nExpire-Date: 0\n%no-protection\n%commit\n"
        self.g("--batch", "--gen-key", input=param)
        for grip in self.g.keys():
            self.assertNotIn(b"protected", self.g.file(grip).read_bytes())
        self.sign("-u", fpr)
        self.assertEqual(self.p.opened(), [])

    def test_an_empty_passphrase_is_asked_about(self):
        self.make()
        self.p.new("")
        self.p.no()
        self.p.new("")
        self.p.yes()
        self.g("--batch", "--quick-gen-key", "Ann <ann@x.test>", "ed25519", "cert,sign", "0")
        dialogs = self.p.dialogs()
        self.assertEqual([d["kind"] for d in dialogs], ["pin", "confirm", "pin", "confirm"])
        self.assertEqual((dialogs[1]["ok"], dialogs[1]["cancel"]), ("Yes, protection is not needed", "Enter new passphrase"))
        self.assertNotIn(b"protected", self.g.file(self.g.keys()[0]).read_bytes())

    def test_a_weak_passphrase_is_warned_of(self):
        self.make()
        self.p.new("abc")
        self.p.no()
        self.p.new("abcdefghij")
        self.p.yes()
        self.g("--batch", "--quick-gen-key", "Ann <ann@x.test>", "ed25519", "cert,sign", "0")
        first, second = [d for d in self.p.dialogs() if d["kind"] == "confirm"]
        self.assertIn("at least 8 characters", first["desc"])
        self.assertNotIn("at least 8 characters", second["desc"])
        self.assertIn("at least 1 digit", second["desc"])
        self.assertEqual((first["ok"], first["cancel"]), ("Take this one anyway", "Enter new passphrase"))
        self.forget()
        self.p.pin("abcdefghij")
        self.sign()

    def test_enforced_constraints(self):
        self.make(conf="enforce-passphrase-constraints\nmin-passphrase-len 12\nmin-passphrase-nonalpha 2\npinentry-formatted-passphrase")
        self.p.new("short1", ask=["QUALITY short1", "CHECKPIN short1", "CHECKPIN long+enough+for+2+of+them", "CHECKPIN "])
        self.p.new("")
        self.p.new("long enough for 2 of them", ask=["QUALITY long+enough+for+2+of+them"])
        self.g("--batch", "--quick-gen-key", "Ann <ann@x.test>", "ed25519", "cert,sign", "0")
        first, second, third = self.p.dialogs()  # and no confirmation
        quality, complaint, none, empty = first["inquired"]
        self.assertLess(int(quality), 0)
        self.assertIn("at least 12 characters", complaint)
        self.assertEqual(none, "")
        self.assertNotEqual(empty, "")
        self.assertIn("insecure passphrase", second["error"])
        self.assertIn("not allowed", third["error"])
        self.assertEqual(third["inquired"], ["100"])
        for option in ("constraints-enforce", "formatted-passphrase"):
            self.assertIn(option, first["options"])

    def test_patterns(self):
        pattern = self.bench.top / "patterns"
        pattern.write_text("secret99word\n/correct horse/\n")
        if not shutil.which("gpg-check-pattern", path="/usr/lib/gnupg:/usr/libexec"):
            raise Skip("gpg-check-pattern is not installed")
        self.make(conf=f"enforce-passphrase-constraints\ncheck-passphrase-pattern {pattern}")
        self.p.new("my Correct horse 4 all")
        self.p.new(GOOD)
        self.g("--batch", "--quick-gen-key", "Ann <ann@x.test>", "ed25519", "cert,sign", "0")
        self.assertIn("known term", self.p.dialogs()[1]["error"])

    def test_the_pinentry_may_suggest(self):
        self.make()
        self.p.answer(ask=["GENPIN"], suggested=True, status=["PIN_REPEATED"])
        self.g("--batch", "--quick-gen-key", "Ann <ann@x.test>", "ed25519", "cert,sign", "0")
        (suggestion,) = self.p.dialogs()[0]["inquired"]
        self.assertRegex(suggestion, "^[a-z1-9]{30}$")
        self.forget()
        self.p.pin(suggestion)
        self.sign()

    def test_an_old_pinentry_is_asked_twice(self):
        self.make()
        self.p.old()
        self.p.pin(GOOD)
        self.p.pin("something else")
        self.p.pin(GOOD)
        self.p.pin(GOOD)
        self.g("--batch", "--quick-gen-key", "Ann <ann@x.test>", "ed25519", "cert,sign", "0")
        dialogs = self.p.dialogs()
        self.assertEqual(dialogs[1]["desc"], "Please re-enter this passphrase")
        self.assertIn("does not match", dialogs[2]["error"])
        self.assertEqual(len(dialogs), 4)

    def test_cancelled(self):
        self.make()
        self.p.cancel()
        r = self.g("--batch", "--quick-gen-key", "Ann <ann@x.test>", "ed25519", "cert,sign", "0", check=False)
        self.assertEqual(self.failure(r), CANCELED)
        self.assertEqual(self.g.keys(), [])
        self.assertEqual(list((self.g.home / "private-keys-v1.d").glob("*")), [])

    def test_denied_by_policy(self):
        self.make(policy="Match use generate\n Access deny\n")
        r = self.g("--batch", "--passphrase", "", "--quick-gen-key", "Ann <ann@x.test>", "ed25519", "cert,sign", "0", check=False)
        self.assertNotEqual(r.returncode, 0)
        self.assertEqual(self.failure(r), 67109115)
        self.assertEqual(self.p.opened(), [])


class Using(GpgCase):
    def setUp(self):
        super().setUp()
        self.make()
        self.fpr = self.new_key()
        self.forget()
        self.seen = len(self.p.dialogs())

    def dialogs(self):
        return self.p.dialogs()[self.seen:]

    def test_the_passphrase_is_asked_for_once(self):
        self.p.pin(GOOD)
        self.sign()
        self.sign()
        (d,) = self.dialogs()
        grip = self.g.keys()[0]
        self.assertEqual(d["keyinfo"], f"n/{grip}")
        self.assertTrue(d["desc"].startswith('Please enter the passphrase to unlock the OpenPGP secret key:\n"Ann <ann@x.test>"\n'), d)
        self.assertEqual(d["prompt"], "Passphrase:")
        self.assertTrue([o for o in d["options"] if o.startswith("owner=")])
        self.g.connect(f"CLEAR_PASSPHRASE --mode=normal {grip}", "/bye")
        self.p.cancel()
        self.assertEqual(self.failure(self.sign(check=False)), CANCELED)

    def test_wrong_ones(self):
        for word in ("wrong", "wronger"):
            self.p.pin(word)
        self.p.pin(GOOD)
        self.sign()
        self.assertEqual([d.get("error") for d in self.dialogs()],
                         [None, "Bad Passphrase (try 2 of 3)", "Bad Passphrase (try 3 of 3)"])
        self.forget()
        for word in ("wrong", "wronger", "wrongest"):
            self.p.pin(word)
        self.assertEqual(self.failure(self.sign(check=False)), BAD_PASSPHRASE)

    def test_what_a_pinentry_says_reaches_gpg(self):
        for put, code in ((self.p.cancel, CANCELED), (self.p.close_window, FULLY_CANCELED),
                          (lambda: self.p.answer(error=TIMEOUT), TIMEOUT), (lambda: self.p.answer(error=83886166), 83886166),
                          (lambda: self.p.answer(error=83886080 + 277), CANCELED)):
            put()
            r = self.sign(check=False)
            self.assertEqual((r.returncode, self.failure(r)), (2, code))

    def test_no_pinentry(self):
        self.g.configure("pinentry-program /nonexistent/pinentry")
        self.forget()
        self.assertEqual(self.failure(self.sign(check=False)), NO_PINENTRY)

    def test_modes(self):
        for mode, code in (("cancel", AGENT_CANCELED), ("error", NO_PINENTRY)):
            self.assertEqual(self.failure(self.sign("--pinentry-mode", mode, check=False)), code)
        self.assertEqual(self.failure(self.sign("--batch", "--pinentry-mode", "loopback", "--passphrase", "bad", check=False)),
                         BAD_PASSPHRASE)
        self.sign("--batch", "--pinentry-mode", "loopback", "--passphrase", GOOD)
        self.assertEqual(self.dialogs(), [])

    def test_loopback_may_be_forbidden(self):
        self.g.configure("no-allow-loopback-pinentry")
        self.forget()
        self.assertEqual(self.g.connect("OPTION pinentry-mode=loopback", "/bye"), ["ERR 67108924 Not supported <GPG Agent>"])
        self.p.cancel()  # gpg goes on without
        r = self.sign("--batch", "--pinentry-mode", "loopback", "--passphrase", GOOD, check=False)
        self.assertIn("ERROR set_pinentry_mode 67108924", r.stderr)
        self.assertEqual(self.failure(r), 67108924)

    def test_preset(self):
        grip = self.g.keys()[0]
        tool = shutil.which("gpg-preset-passphrase", path="/usr/lib/gnupg:/usr/libexec:/usr/bin")
        if tool is None:
            raise Skip("gpg-preset-passphrase is not installed")
        r = self.bench.run(tool, "--preset", grip, env=self.g.env, input=GOOD + "\n", check=False)
        self.assertNotEqual(r.returncode, 0)
        self.g.configure("allow-preset-passphrase")
        self.forget()
        self.bench.run(tool, "--preset", grip, env=self.g.env, input=GOOD + "\n")
        self.sign()
        self.assertEqual(self.dialogs(), [])
        self.bench.run(tool, "--forget", grip, env=self.g.env)
        self.assertEqual(self.failure(self.sign("--pinentry-mode", "error", check=False)), NO_PINENTRY)


class Locked(GpgCase):
    def latchkey(self, *args, check=True):
        return self.bench.run(BUILD / "latchkey", *args, env=self.g.env, check=check)

    def test_a_passphrase_does_not_open_a_locked_agent(self):
        self.make()
        self.new_key()
        self.forget()
        self.p.pin(GOOD)
        self.assertEqual(self.sign().returncode, 0)
        self.latchkey("lock")
        batch = ("--batch", "--pinentry-mode", "loopback", "--passphrase", GOOD)
        for r in (self.sign(check=False), self.sign(*batch, check=False),
                  self.g(*batch, "--quick-gen-key", "Bob <bob@x.test>", "ed25519", "sign", "0", check=False)):
            self.assertNotEqual(r.returncode, 0)
            self.assertIn("Locked", r.stderr)
        self.assertIn("locked", self.latchkey("status", check=False).stdout)
        self.assertEqual(len(self.g.fprs()), 1)


class Symmetric(GpgCase):
    def test_caching(self):
        self.make()
        self.p.new(GOOD)
        secret = self.g("-ca", input="hidden").stdout
        self.assertEqual(self.g("-d", input=secret).stdout, "hidden")
        self.assertEqual(len(self.p.dialogs()), 1)
        self.assertRegex(self.p.dialogs()[0]["keyinfo"], "^u/S[0-9A-F]{16}$")
        self.assertEqual(self.p.dialogs()[0]["desc"], "Enter passphrase\n")
        self.forget()
        self.p.pin(GOOD)
        self.assertEqual(self.g("-d", input=secret).stdout, "hidden")
        self.g("-d", input=secret)
        self.forget()
        self.p.pin("not this")
        self.assertNotEqual(self.g("-d", input=secret, check=False).returncode, 0)
        self.p.pin(GOOD)  # gpg had the wrong one forgotten
        self.g("-d", input=secret)

    def test_an_empty_one_is_refused(self):
        self.make()
        self.p.new("")
        self.p.new(GOOD)
        self.g("-ca", input="hidden")
        self.assertIn("An empty passphrase is not allowed", self.p.dialogs()[1]["error"])

    def test_in_batch(self):
        self.make()
        options = ("--batch", "--pinentry-mode", "loopback", "--passphrase", "x")
        secret = self.g(*options, "-ca", input="hidden").stdout
        self.assertEqual(self.g(*options, "-d", input=secret).stdout, "hidden")
        self.assertEqual(self.p.opened(), [])


class Changing(GpgCase):
    def test_passwd(self):
        self.make()
        fpr = self.new_key()
        self.add_key(fpr, "cv25519")
        self.p.pin("wrong")
        self.p.pin(GOOD)
        self.p.new("N3w pass phrase")
        self.g("--passwd", fpr)
        n = len(self.p.dialogs())
        self.assertEqual([d["keyinfo"] for d in self.p.dialogs()[-3:]], ["--clear"] * 3)
        self.forget()
        self.p.pin("N3w pass phrase")
        self.sign()
        self.decrypts(fpr)  # by the same passphrase, unasked
        self.assertEqual(len(self.p.dialogs()), n + 1)

    def test_protection_taken_away_and_back(self):
        self.make()
        fpr = self.new_key()
        self.p.pin(GOOD)
        self.p.new("")
        self.p.yes()
        self.g("--passwd", fpr)
        self.assertNotIn(b"protected", self.g.file(self.g.keys()[0]).read_bytes())
        self.forget()
        self.sign()
        self.p.new(GOOD)
        self.g("--passwd", fpr)
        self.assertIn(b"protected-private-key", self.g.file(self.g.keys()[0]).read_bytes())
        self.forget()
        self.p.pin(GOOD)
        self.sign()

    def test_cancelled_half_way(self):
        self.make()
        fpr = self.new_key()
        before = self.g.file(self.g.keys()[0]).read_bytes()
        self.p.pin(GOOD)
        self.p.cancel()
        self.assertNotIn("SUCCESS", self.g("--passwd", fpr, check=False).stderr)
        self.assertEqual(self.g.file(self.g.keys()[0]).read_bytes(), before)


class Moving(GpgCase):
    def begin(self, passphrase=GOOD):
        self.make()
        self.fpr = self.new_key(passphrase=passphrase)
        self.add_key(self.fpr, "cv25519", passphrase=passphrase)

    def export(self, *args, passphrase=GOOD):
        if passphrase:  # typed once for both, which is confirmation enough
            self.p.pin(passphrase)
        return self.g("--armor", *args, "--export-secret-keys", self.fpr).stdout

    def second_home(self, agent=None):
        self.other = Gpg(self.bench, home="other", **({"agent": agent} if agent else {}))
        return self.other

    def check_works(self, g, passphrase=GOOD):
        g.connect("RELOADAGENT", "/bye")
        if passphrase:
            g.pinentry.pin(passphrase)
        self.sign(g=g)
        self.decrypts(self.fpr, g=g)

    def test_out_and_in(self):
        self.begin()
        secret = self.export()
        d = self.p.dialogs()[-1]
        self.assertEqual((d["kind"], d["keyinfo"]), ("pin", "--clear"))
        self.assertIn("export the OpenPGP secret key", d["desc"])
        other = self.second_home()
        other.pinentry.pin("wrong")
        other.pinentry.pin(GOOD)
        r = other("--import", input=secret)
        self.assertIn("IMPORT_RES 1 0 1 0 0 0 0 0 0 1 1 0 0", r.stderr)
        self.check_works(other)
        self.assertIn(" 0 0 1 0 0 0 0 1 0 1 0", other("--import", input=secret).stderr)  # unchanged

    def test_out_of_here_into_stock_and_back(self):
        self.begin()
        secret = self.export()
        stock = self.second_home(agent="/usr/bin/gpg-agent")
        stock.pinentry.pin(GOOD)
        stock("--import", input=secret)
        self.check_works(stock)
        stock.connect("RELOADAGENT", "/bye")
        stock.pinentry.pin(GOOD)
        back = stock("--armor", "--export-secret-keys", self.fpr).stdout
        self.g("--batch", "--yes", "--delete-secret-keys", self.fpr)
        self.assertEqual(self.g.keys(), [])
        self.p.pin(GOOD)
        self.g("--import", input=back)
        self.check_works(self.g)

    def test_in_batch(self):
        self.begin()
        secret = self.export()
        other = self.second_home()
        r = other("--batch", "--import", input=secret)
        self.assertIn("IMPORT_RES 1 0 1 0 0 0 0 0 0 1 1 0 0", r.stderr)
        self.assertEqual(other.pinentry.opened(), [])
        for grip in other.keys():
            self.assertIn(b"openpgp-native", other.file(grip).read_bytes())
        other.pinentry.pin(GOOD)
        other.pinentry.pin(GOOD)
        self.sign(g=other)
        self.decrypts(self.fpr, g=other)
        for n, grip in enumerate(other.keys()):
            self.assertNotIn(b"openpgp-native", other.file(grip).read_bytes())
        del other.pinentry  # the second question depends on what is cached by then
        self.other = None

    def test_without_protection(self):
        self.begin(passphrase=None)
        secret = self.export(passphrase=None)
        other = self.second_home()
        other("--import", input=secret)
        self.check_works(other, passphrase=None)
        self.assertEqual(other.pinentry.opened(), [])

    def test_loopback(self):
        self.begin()
        options = ("--batch", "--pinentry-mode", "loopback", "--passphrase", GOOD)
        for _ in range(2):
            self.p.yes()  # a client does not confirm for the person
        n = len(self.p.dialogs())
        secret = self.g("--armor", *options, "--export-secret-keys", self.fpr).stdout
        self.assertIn("export a gpg key", self.p.dialogs()[n]["desc"])
        other = self.second_home()
        other(*options, "--import", input=secret)
        self.check_works(other)

    def test_denied_by_the_person_or_the_policy(self):
        self.begin()
        self.p.cancel()
        self.p.cancel()  # gpg goes on with the other key
        r = self.g("--armor", "--export-secret-keys", self.fpr, check=False)
        self.assertEqual(r.stdout, "")
        self.bench.policy("Match use export\n Access deny\n")
        self.g.kill()
        r = self.g("--armor", "--export-secret-keys", self.fpr, check=False)
        self.assertEqual(r.stdout, "")
        self.assertIn("Forbidden", r.stderr)

    def test_unknown_and_missing(self):
        self.begin()
        none = "0" * 40
        self.assertEqual(self.g.connect(f"EXPORT_KEY {none}", "IMPORT_KEY", "KEYWRAP_KEY", "KEYWRAP_KEY --clear --export",
                                        f"PASSWD {none}", f"DELETE_KEY {none}", f"KEYTOTPM {none}", "EXPORT_KEY --mode1003 xx", "/bye"), [
            "ERR 67109045 Missing key <GPG Agent> - did you run KEYWRAP_KEY ?",
            "ERR 67109045 Missing key <GPG Agent> - did you run KEYWRAP_KEY ?",
            "ERR 67109144 IPC parameter error <GPG Agent> - unknown value for MODE",
            "OK",
            "ERR 67108881 No secret key <GPG Agent>",
            "ERR 67108881 No secret key <GPG Agent>",
            "ERR 67108924 Not supported <GPG Agent> - keys are not kept in TPMs",
            "ERR 67109045 Missing key <GPG Agent> - did you run KEYWRAP_KEY ?",
        ])


class Deleting(GpgCase):
    def test_after_a_dialog_for_each(self):
        self.make()
        fpr = self.new_key()
        self.add_key(fpr, "cv25519")
        self.p.no()
        self.p.no()  # gpg goes on with the other key
        r = self.g("--command-fd", "0", "--no-tty", "--delete-secret-keys", fpr, input="y\ny\n", check=False)
        self.assertEqual(len(self.g.keys()), 2, r.stderr)
        d = self.p.dialogs()[-2]
        self.assertEqual((d["kind"], d["ok"], d["cancel"]), ("confirm", "Delete key", "No"))
        self.assertTrue(d["desc"].startswith("Do you really want to permanently delete the OpenPGP secret key:"), d["desc"])
        self.p.yes()
        self.p.yes()
        self.g("--command-fd", "0", "--no-tty", "--delete-secret-keys", fpr, input="y\ny\n")
        self.assertEqual(self.g.keys(), [])
        self.assertEqual(list((self.g.home / "private-keys-v1.d").glob("*.key")), [])

    def test_in_batch(self):
        self.make()
        fpr = self.new_key(passphrase=None)
        self.g("--batch", "--yes", "--delete-secret-and-public-key", fpr)
        self.assertEqual(self.g("-k").stdout, "")
        self.assertEqual(self.p.opened(), [])

    def test_a_key_of_ssh_is_warned_of(self):
        self.make(conf="enable-ssh-support")
        self.new_key("ed25519", passphrase=None)
        grip = self.g.keys()[0]
        with open(self.g.home / "sshcontrol", "a") as f:
            f.write(f"{grip} 0\n")
        self.p.yes()
        self.p.no()
        self.assertEqual(self.g.connect(f"DELETE_KEY {grip}", "/bye"), ["ERR 83886194 Not confirmed <Pinentry>"])
        self.assertIn("listed for use with SSH", self.p.dialogs()[1]["desc"])
        self.assertIn(grip, self.p.dialogs()[0]["desc"])
        self.assertTrue(self.g.file(grip).exists())
        self.assertEqual(self.g.connect(f"DELETE_KEY --stub-only {grip}", "/bye"), ["ERR 67109115 Forbidden <GPG Agent> - this is no stub"])


class Asking(GpgCase):
    """What other programs ask of the agent."""

    def test_get_passphrase(self):
        self.make(conf="allow-preset-passphrase")
        self.p.pin("100% of it")
        self.p.yes()
        self.p.no()
        out = self.g.connect(
            "GET_PASSPHRASE --data my:id Wrong+one%21 Code: Please+type%0Ait", "GET_PASSPHRASE --no-ask my:id X X X",
            "GET_PASSPHRASE --data --no-ask my:id X X X", "CLEAR_PASSPHRASE my:id", "GET_PASSPHRASE --no-ask my:id X X X",
            "GET_PASSPHRASE my:id", "GET_PASSPHRASE " + "x" * 51 + " X X X", "PRESET_PASSPHRASE p+1 -1 616263",
            "GET_PASSPHRASE --no-ask p+1 X X X", "PRESET_PASSPHRASE p+1 100 616263", "GET_CONFIRMATION Really%3F", "GET_CONFIRMATION X",
            "GET_CONFIRMATION", "/bye")
        self.assertEqual(out, [
            "D 100%25 of it", "OK", "OK 31303025206F66206974", "D 100%25 of it", "OK", "OK", "ERR 67108922 No data <GPG Agent>",
            "ERR 67109144 IPC parameter error <GPG Agent> - no description given",
            "ERR 67109144 IPC parameter error <GPG Agent> - invalid length of cacheID", "OK",
            "OK 616263",
            "ERR 67108933 Not implemented <GPG Agent>", "OK", "ERR 83886194 Not confirmed <Pinentry>",
            "ERR 67109144 IPC parameter error <GPG Agent> - no description given"])
        first, second, third = self.p.dialogs()
        self.assertEqual((first["error"], first["prompt"], first["desc"], first["keyinfo"]),
                         ("Wrong one!", "Code:", "Please type\nit", "u/my:id"))
        self.assertEqual(second["desc"], "Really?")
        self.assertNotIn("desc", third)

    def test_preset_by_inquiry_and_secrets(self):
        self.make(conf="allow-preset-passphrase")
        self.new_key()
        self.forget()
        grip = self.g.keys()[0]
        out = self.g.connect(f"/let p {GOOD}", "/definq PASSPHRASE p", f"PRESET_PASSPHRASE --inquire {grip} -1", "PUT_SECRET mine 100 a%20b+c",
                             "GET_SECRET mine", "PUT_SECRET --clear mine", "GET_SECRET mine", "PUT_SECRET other x y",
                             "/let s more", "/definq SECRET s", "PUT_SECRET other -1", "GET_SECRET other", "/bye")
        self.assertEqual([line for line in out if not line.startswith(("S ", "INQUIRE"))], [
            "OK", "OK", "D a b c", "OK", "OK", "ERR 67108922 No data <GPG Agent>",
            "ERR 67109144 IPC parameter error <GPG Agent> - invalid or missing TTL", "OK", "D more", "OK"])
        self.sign()

    def test_client_that_calls_off(self):
        self.make()
        self.new_key()
        self.forget()
        g = subprocess.Popen(["gpg", "-bsa"], env=self.g.env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        g.stdin.write(b"text")
        g.stdin.close()
        n = len(self.p.opened())
        self.p.wait_open(n + 1)
        g.kill()
        g.wait()
        # the dialog is withdrawn and the next one comes
        self.p.pin(GOOD)
        self.sign()
        self.assertEqual(len(self.p.opened()), n + 2)

    def test_unlike_pinentries_of_its_own(self):
        """The policy's dialogs go where gpg's go, and a client that wants none gets none."""
        self.make()
        self.new_key(passphrase=None)
        self.g.kill()
        self.bench.policy("Match use openpgp-sign\n Confirm yes\n")
        self.assertEqual(self.failure(self.sign("--pinentry-mode", "error", check=False)), NO_PINENTRY)
        self.p.yes()
        r = self.sign()
        self.assertIn("PINENTRY_LAUNCHED", r.stderr)
        d = self.p.dialogs()[-1]
        self.assertIn("sign with OpenPGP", d["desc"])
        self.assertIn("Ann <ann@x.test>", d["desc"])


class Trusting(GpgCase):
    FPR = "AABBCCDDEEFF00112233445566778899AABBCCDD"
    COLONS = "AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD"

    def test_marks(self):
        self.make()
        self.p.no()
        other = "00" * 20
        mark = f"MARKTRUSTED {self.FPR} S /CN=Root/O=Example CA/C=DE"
        self.p.yes()
        self.p.yes()
        out = self.g.connect(f"ISTRUSTED {self.FPR}", f"MARKTRUSTED {other} S CN=Other", mark, mark, f"ISTRUSTED {self.FPR}",
                             f"ISTRUSTED {other}", f"MARKTRUSTED {other} S CN=Other", "LISTTRUSTED", "ISTRUSTED xx", f"MARKTRUSTED {self.FPR} X y", "/bye")
        self.assertEqual(out, [
            "ERR 67108962 Not trusted <GPG Agent>", "ERR 83886194 Not confirmed <Pinentry>", "OK", "OK", "S TRUSTLISTFLAG relax", "OK",
            "S TRUSTLISTFLAG relax", "ERR 67108962 Not trusted <GPG Agent>", "ERR 67108962 Not trusted <GPG Agent>", f"D {self.FPR} S%0A", "OK",
            "ERR 67109144 IPC parameter error <GPG Agent> - invalid fingerprint",
            "ERR 67109144 IPC parameter error <GPG Agent> - invalid flag - must be P or S"]
            if out[9].endswith("%0A") else [
            "ERR 67108962 Not trusted <GPG Agent>", "ERR 83886194 Not confirmed <Pinentry>", "OK", "OK", "S TRUSTLISTFLAG relax", "OK",
            "S TRUSTLISTFLAG relax", "ERR 67108962 Not trusted <GPG Agent>", "ERR 67108962 Not trusted <GPG Agent>", f"D {self.FPR} S", "OK",
            "ERR 67109144 IPC parameter error <GPG Agent> - invalid fingerprint",
            "ERR 67109144 IPC parameter error <GPG Agent> - invalid flag - must be P or S"])
        refused, first, second = self.p.dialogs()
        self.assertEqual((first["desc"], first["ok"], first["notok"]),
                         ('Do you ultimately trust\n  "CN=Root\n   O=Example CA\n   C=DE"\nto correctly certify user certificates?', "Yes", "No"))
        self.assertIn(self.COLONS, second["desc"])
        self.assertEqual((second["ok"], second["notok"]), ("Correct", "Wrong"))
        text = (self.g.home / "trustlist.txt").read_text()
        self.assertIn(f"\n# CN=Root\n# O=Example CA\n# C=DE\n{self.COLONS} S relax\n", text)
        self.assertIn(f"\n!{':'.join(['00'] * 20)} S relax\n", text)
        self.assertEqual([p.name for p in self.g.home.glob("trustlist*")], ["trustlist.txt"])

    def test_stock_reads_what_is_written(self):
        self.make()
        self.p.yes()
        self.p.yes()
        self.g.connect(f"MARKTRUSTED {self.FPR} S CN=Root", "/bye")
        self.other = stock = Gpg(self.bench, home="other", agent="/usr/bin/gpg-agent")
        shutil.copy(self.g.home / "trustlist.txt", stock.home)
        ask = (f"ISTRUSTED {self.FPR}", "LISTTRUSTED", "/bye")
        self.assertEqual(stock.connect(*ask), self.g.connect(*ask))

    def test_files(self):
        self.make(conf="no-allow-mark-trusted")
        system = self.bench.top / "systrust"
        user = self.g.home / "trustlist.txt"
        a, b, c = ("%02X" % i * 20 for i in (1, 2, 3))
        system.write_text(f"{a} S qual de-vs\n")
        self.g.configure(f"no-allow-mark-trusted\nsys-trustlist-name {system}")
        listed = lambda: [line[2:42] for line in self.g.connect("LISTTRUSTED", "/bye") if line.startswith("D ")]
        self.assertEqual(listed(), [a])
        self.assertIn("S TRUSTLISTFLAG qual", self.g.connect(f"ISTRUSTED {a}", "/bye"))
        user.write_text(f"# mine\n{b} *\n  include-default\r\n!{c} P\n")
        self.assertEqual(listed(), [b, a])
        self.assertEqual(self.g.connect(f"MARKTRUSTED {c} S x", f"MARKTRUSTED {'04' * 20} S x", "/bye"),
                         ["ERR 67108924 Not supported <GPG Agent>"] * 2)
        for bad in ("hello\n", f"{b} X\n", f"{b} S relax=1\n", f"{b} S", "x" * 300 + "\n"):
            user.write_text(f"{c} S\n" + bad)
            self.assertEqual(listed(), [], bad)
            self.assertNotEqual(self.g.connect(f"ISTRUSTED {c}", "/bye"), ["OK"])
        self.assertIn("trustlist.txt:2", self.g.log())
        self.g.configure(f"no-user-trustlist\nsys-trustlist-name {system}")
        self.g.connect("RELOADAGENT", "/bye")
        self.assertEqual(listed(), [a])

    def test_gpgsm(self):
        if shutil.which("gpgsm") is None:
            raise Skip("gpgsm is not installed")
        self.make()
        self.bench.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "30",
                       "-subj", "/C=DE/O=Example/CN=Root of tests", "-addext", "basicConstraints=critical,CA:TRUE",
                       "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        gpgsm = lambda *a, **kw: self.bench.run("gpgsm", "--disable-crl-checks", *a, env=self.g.env, **kw)
        gpgsm("--import", "ca.pem")
        self.p.yes()
        self.p.yes()
        r = gpgsm("--with-validation", "-k", check=False)
        self.assertIn("Root of tests", r.stdout)
        self.assertIn("certificate is good", r.stdout + r.stderr)
        self.assertIn("CN=Root of tests", self.p.dialogs()[0]["desc"])
        r = gpgsm("--with-validation", "-k", check=False)  # nobody is asked again
        self.assertIn("certificate is good", r.stdout + r.stderr)
        self.assertEqual(len(self.p.dialogs()), 2)


class Sessions(GpgCase):
    def test_what_is_restricted(self):
        self.make()
        self.new_key(passphrase=None)
        grip = self.g.keys()[0]
        out = self.bench.run("gpg-connect-agent", "-S", self.g.home / "S.gpg-agent.extra", env=self.g.env, input="".join(
            line + "\n" for line in (f"PASSWD {grip}", f"DELETE_KEY {grip}", "GENKEY", "KEYWRAP_KEY --export", f"EXPORT_KEY {grip}", "IMPORT_KEY",
                                     "PRESET_PASSPHRASE x -1 00", "GET_CONFIRMATION x", "LISTTRUSTED", "MARKTRUSTED x S y", "PUT_SECRET a 1 b",
                                     "GET_SECRET a", "ISTRUSTED " + "00" * 20, "/bye"))).stdout.splitlines()
        self.assertEqual(out, ["ERR 67109115 Forbidden <GPG Agent>"] * 12 + ["ERR 67108962 Not trusted <GPG Agent>"])
