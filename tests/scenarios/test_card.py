"""Cards in a real pcscd: logins, PINs, touches, interference, the lock."""
import socket
import time
import unittest

from harness import Agent, AgentClient, Bench, Card, Pcscd, Person, ScriptedPinentry, Sshd, wait_until
from harness.agentclient import s, sshsig
from harness.assuan import Assuan, AssuanError

KEYS = ("--key", "sig=ed25519", "--key", "dec=cv25519", "--key", "aut=ed25519")
FREE = "Match all\n Touch none\n"


class Case(unittest.TestCase):
    POLICY = FREE
    READERS = ("Virtual Reader",)

    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        self.pinentry = ScriptedPinentry(b)
        b.policy(self.POLICY)
        self.pcscd = Pcscd(b, self.READERS)

    def begin(self, profile="gnuk", *options, keys=KEYS, name="card", reader=0):
        card = Card(self.pcscd, profile, *keys, *options, name=name, reader=reader)
        if not hasattr(self, "agent"):
            self.agent = Agent(self.bench)
        return card

    def ready(self, name):
        return self.agent.wait_token(name)

    def auth_blob(self, skip=()):
        c = AgentClient(self.agent.ssh)
        blobs = [b for b, _ in c.list() if b not in skip]
        c.close()
        return blobs[0]

    def sign(self, blob=None):
        """A short signature by the card; the reply or None."""
        c = AgentClient(self.agent.ssh)
        try:
            return c.sign(blob or self.auth_blob(), sshsig("file"), flags=4)
        finally:
            c.close()

    def sign_later(self, blob=None):
        c = AgentClient(self.agent.ssh)
        blob = blob or self.auth_blob()
        c.send(b"\x0d" + s(blob) + s(sshsig("file")) + b"\0\0\0\4")
        self.addCleanup(c.close)
        return c


class Products(Case):
    def test_every_profile_and_algorithm_logs_in(self):
        cards = [("yubikey5", "ed25519"), ("yubikey4", "rsa2048"), ("gnuk", "nistp256"), ("nitrokey-pro", "rsa3072"),
                 ("nitrokey3", "nistp384"), ("smartpgp", "nistp521"), ("generic", "ed25519")]
        self.pinentry.always()
        for profile, algo in cards:
            with self.subTest(f"{profile} {algo}"):
                card = self.begin(profile, keys=("--key", f"aut={algo}"), name=profile)
                wait_until(lambda: [t for t in self.agent.status()["tokens"] if t["state"] == "ready" and t["keys"] == 1], profile)
                if not hasattr(self, "server"):
                    self.server = Sshd(self.bench)
                self.server.authorize(*self.agent.latchkey("keys", "--ssh").stdout.splitlines())
                self.assertEqual(self.server.login().stdout, "in\n")
                self.assertEqual(self.server.login().stdout, "in\n")
                self.assertEqual(card.state()["tries"][0], 3)
                self.assertFalse(any(card.state()["verified"]), "the card is not left verified")
                self.agent.latchkey("keys")
                card.pull()
                wait_until(lambda: not [t for t in self.agent.status()["tokens"] if t["state"] == "ready" and t["name"] != "software"],
                           "gone")
                card.process.kill()
                card.process.wait()
                self.agent.latchkey("unlock", check=False)
                self.agent.stop()
                del self.agent

    # Three keys each. The commands of the first login, the card's reading included; of a later one by AfterUse drop. A card
    # with other applications gets SELECT before each PIN, and then is dropped by a reset, which costs no command; without
    # contacts a reset is not to be relied upon.
    COUNTS = (("gnuk", "Gnuk Token", "ed25519", "cv25519", 8, 3), ("gnuk", "Virtual Reader", "ed25519", "cv25519", 8, 3),
              ("gnuk", "Gnuk Token", "rsa2048", "rsa2048", 8, 3), ("yubikey5", "Yubico YubiKey", "ed25519", "cv25519", 8, 3),
              ("yubikey4", "Yubico YubiKey", "rsa2048", "rsa2048", 8, 3), ("nitrokey-pro", "Nitrokey Pro", "rsa3072", "rsa2048", 8, 3),
              ("nitrokey3", "Nitrokey 3", "nistp256", "nistp256", 8, 3), ("generic", "Reader", "ed25519", "cv25519", 8, 3),
              ("smartpgp", "NFC Reader", "nistp256", "nistp256", 8, 4))

    def test_apdu_counts(self):
        for profile, reader, sign, decrypt, first, later in self.COUNTS:
            with self.subTest(f"{profile} {sign} {reader}"):
                self.count_with(profile, reader, sign, decrypt, first, later)

    def count_with(self, profile, reader, sign, decrypt, first, later):
        case = Case()
        self.addCleanup(case.doCleanups)
        case.READERS = (reader,)
        case.setUp()
        case.pinentry.always()
        card = case.begin(profile, keys=("--key", f"sig={sign}", "--key", f"dec={decrypt}", "--key", f"aut={sign}"))
        state = self.first_login(case, card)
        self.assertLessEqual(state["total"], first, card.log())
        self.assertFalse(any(state["verified"]))
        case.agent.keys()  # reads the other two
        for _ in range(2):
            state = card.count(lambda: self.assertIsNotNone(case.sign()))
            self.assertEqual(state["total"], later, card.log())
            self.assertFalse(any(state["verified"]))
        case.bench.policy("Match all\n Touch none\n AfterUse leave\n")
        case.agent.stop()
        case.agent = Agent(case.bench)
        state = self.first_login(case, card)
        self.assertLessEqual(state["total"], first, card.log())
        case.agent.keys()
        if profile in ("gnuk", "nitrokey-pro"):
            self.assertEqual(card.count(lambda: self.assertIsNotNone(case.sign()))["total"], 1, "the PIN's state has survived")
        else:  # to read what is in PIV's slots took it away
            self.assertIsNotNone(case.sign())
        self.assertEqual(card.count(lambda: self.assertIsNotNone(case.sign()))["total"], 1, "the PIN's state has survived")

    def first_login(self, case, card):
        """Right after the agent's start, before the card was idle long enough for its other keys to be read."""
        for _ in range(10):
            case.agent.stop()
            card.do("reset-counts")
            case.agent = Agent(case.bench)
            blob = wait_until(lambda: [t for t in case.agent.status()["tokens"] if t["keys"] == 1] and case.auth_blob(), "the key")
            self.assertIsNotNone(case.sign(blob))
            state = card.state()
            if state["ins"]["47"] == 1:
                return state
        self.fail("too slow a machine to count")

    def test_forced_pin_kdf_and_decimal_serial(self):
        self.begin("yubikey5", "--kdf", "--serial", "05417533")
        self.pinentry.always()
        t = self.ready("yubikey")
        self.assertEqual(t["name"], "yubikey-5417533")
        self.assertIsNotNone(self.sign())


    def test_token_list_and_verb(self):
        self.begin("yubikey5")
        self.ready("yubikey")
        name = self.agent.token("yubikey")["name"]
        self.assertIn(f"{name}  ", self.agent.latchkey("token", "list").stdout)
        self.assertIn("openpgp", self.agent.token("yubikey")["applications"])
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self.agent.ctl))
        a = Assuan(sock)
        a.ask(f"TOKEN token={name} verb=GETATTR name=LOGIN-DATA pin-age=0")
        for words, code in ((f"token={name}-1 verb=GETATTR name=LOGIN-DATA", 27), (f"token={name} verb=FORGET", 175), ("verb=GETATTR", 128)):
            with self.assertRaises(AssuanError) as failed:
                a.ask(f"TOKEN {words}")
            self.assertEqual(failed.exception.code, code, words)
        a.close()


class Pins(Case):
    def test_wrong_twice_then_right(self):
        card = self.begin()
        self.ready("gnuk")
        for answer in ("pin 111111", "pin 222222", "confirm ok", "pin 123456"):
            self.pinentry.answer(answer)
        self.assertIsNotNone(self.sign())
        kinds = [d["kind"] for d in self.pinentry.dialogs()]
        self.assertEqual(kinds, ["pin", "pin", "confirm", "pin"], "the last try has a warning of its own")
        self.assertIn("3 tries left", self.pinentry.dialogs()[0]["desc"])
        self.assertIn("Wrong PIN, 2 tries left", self.pinentry.dialogs()[1]["error"])
        self.assertIn("One try is left", self.pinentry.dialogs()[2]["desc"])
        self.assertEqual(card.state()["verifies"], 3)
        self.assertEqual(card.state()["tries"][0], 3)

    def test_last_try_not_taken(self):
        card = self.begin()
        self.ready("gnuk")
        for answer in ("pin 111111", "pin 222222", "confirm no"):
            self.pinentry.answer(answer)
        self.assertIsNone(self.sign())
        self.assertEqual(card.state()["tries"][0], 1)
        self.pinentry.answer("confirm no")
        self.assertIsNone(self.sign())
        self.assertEqual(card.state()["tries"][0], 1, "nothing was sent")

    def test_cancel_and_no_terminal(self):
        card = self.begin()
        self.ready("gnuk")
        self.pinentry.answer("pin cancel")
        self.assertIsNone(self.sign())
        self.assertEqual(self.agent.last()["reason"], "the person said no")
        self.assertEqual(card.state()["verifies"], 0)

    def test_real_pinentry_on_a_terminal(self):
        self.on_terminal("pinentry-tty")

    def test_real_pinentry_that_fills_the_screen(self):
        self.on_terminal("pinentry-curses")

    def on_terminal(self, pinentry):
        self.bench.settings(f"Pinentry /usr/bin/{pinentry}\n")
        del self.bench.env["DISPLAY"]
        card = self.begin()
        self.ready("gnuk")
        server = Sshd(self.bench)
        server.authorize(*self.agent.latchkey("keys", "--ssh").stdout.splitlines())
        person = Person(self.bench, *server.args(), "echo in", answers=[("PIN:", "123456")])
        self.assertEqual(person.finish(), 0, person.seen)
        self.assertIn("tries", person.seen)
        self.assertEqual(card.state()["tries"][0], 3)


class Interference(Case):
    def test_other_applet_reset_and_pcscd_restart(self):
        card = self.begin("yubikey5")
        self.pinentry.always()
        self.ready("yubikey")
        self.assertIsNotNone(self.sign())
        for apdu in ("00A4040005A000000308", None):
            card.do("reset-counts")
            self.other_program(apdu)
            self.assertIsNotNone(self.sign(), f"after {apdu or 'a reset'}")
            self.assertEqual(card.state()["tries"][0], 3)
            self.assertEqual(card.state()["wrong_applet_pins"], 0, "no other application saw the PIN")
        pins = len(self.pinentry.dialogs())
        self.pcscd.kill()
        wait_until(lambda: self.agent.token("yubikey") is None or self.agent.token("yubikey")["state"] != "ready", "pcscd is gone")
        self.assertEqual(self.agent.lock_state(), "open", "lost is not pulled")
        self.pcscd.start()
        self.ready("yubikey")
        self.assertIsNotNone(self.sign())
        self.assertEqual(len(self.pinentry.dialogs()), pins + 1, "its PIN went with the process")

    def test_tries_that_another_program_used_up(self):
        card = self.begin("gnuk")
        self.ready("gnuk")
        for _ in range(2):
            self.other_program("0020008206393939393939", "gnuk")
        self.assertEqual(card.state()["tries"][0], 1)
        time.sleep(5.5)  # what was read at the start is old news now
        self.pinentry.answer("confirm no")
        self.assertIsNone(self.sign())
        self.assertIn("One try is left", self.pinentry.dialogs()[0]["desc"])
        self.assertEqual(card.state()["tries"][0], 1)

    def other_program(self, apdu, token="yubikey"):
        """Selects an applet and leaves the card so, or resets it, as another PC/SC program."""
        code = """
import ctypes, sys
p = ctypes.CDLL("libpcsclite.so.1")
ctx, card, proto = ctypes.c_long(), ctypes.c_long(), ctypes.c_ulong()
assert p.SCardEstablishContext(2, None, None, ctypes.byref(ctx)) == 0
assert p.SCardConnect(ctx, sys.argv[1].encode(), ctypes.c_ulong(2), ctypes.c_ulong(3), ctypes.byref(card), ctypes.byref(proto)) == 0
assert p.SCardBeginTransaction(card) == 0
if len(sys.argv) > 2:
    cmd = bytes.fromhex(sys.argv[2])
    class IO(ctypes.Structure): _fields_ = [("a", ctypes.c_ulong), ("b", ctypes.c_ulong)]
    out, n = ctypes.create_string_buffer(300), ctypes.c_ulong(300)
    assert p.SCardTransmit(card, ctypes.byref(IO(2, 16)), cmd, ctypes.c_ulong(len(cmd)), None, out, ctypes.byref(n)) == 0
p.SCardEndTransaction(card, ctypes.c_ulong(0 if len(sys.argv) > 2 else 1))
p.SCardDisconnect(card, ctypes.c_ulong(0))
"""
        reader = self.agent.token(token)["reader"]
        self.bench.run("python3", "-c", code, reader, *([apdu] if apdu else []))

    def test_pull_in_the_middle_of_a_signature(self):
        card = self.begin("yubikey5", "--uif", "aut=1")
        self.pinentry.always()
        self.ready("yubikey")
        card.do("touch-mode auto")
        self.assertIsNotNone(self.sign())
        card.do("touch-mode manual")
        c = self.sign_later()
        wait_until(lambda: card.state()["touch_waiting"], "the card waits")
        card.pull()
        self.assertEqual(c.recv()[0], 5)
        wait_until(lambda: self.agent.lock_state() == "locked", "locked")
        card.insert()
        self.ready("yubikey")
        card.do("touch-mode auto")
        self.assertIsNotNone(self.sign())
        self.assertEqual(self.agent.lock_state(), "open")

    def test_card_that_answers_garbage_disturbs_nobody(self):
        card = self.begin()
        self.pinentry.always()
        self.ready("gnuk")
        self.assertIsNotNone(self.sign())
        key = self.bench.home / "k"
        self.bench.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
        self.bench.run("ssh-add", "-q", key)
        blob = self.auth_blob()
        card.do("garbage on")
        self.assertIsNone(self.sign(blob))
        self.bench.run("ssh-keygen", "-Y", "sign", "-n", "x", "-f", f"{key}.pub", input="x")
        self.assertIsNone(self.agent.process.poll())


class Touch(Case):
    POLICY = "Match use import,delete\n Touch none\nMatch token software\n Touch none\nMatch all\n Touch always\n Timeout 20s\n"
    READERS = ("First Reader", "Second Reader")

    def test_touch_given_and_not_given(self):
        card = self.begin("yubikey5", "--uif", "aut=1")
        self.pinentry.always()
        self.ready("yubikey")
        c = self.sign_later()
        card.touch()
        self.assertEqual(c.recv()[0], 14)
        self.assertEqual(self.agent.last()["presence"], "touch")
        card.do("touch-timeout 300")
        self.assertIsNone(self.sign())
        self.assertEqual(self.agent.last()["reason"], "not touched in time")

    def test_dialog_stands_in_on_a_card_without_a_button(self):
        self.begin("nitrokey-pro", keys=("--key", "aut=nistp256"))
        self.ready("openpgp")
        self.pinentry.answer("confirm ok")
        self.pinentry.answer("pin 123456")
        self.assertIsNotNone(self.sign())
        self.assertEqual(self.agent.last()["presence"], "dialog")
        self.pinentry.answer("confirm no")
        self.assertIsNone(self.sign())

    def test_waiting_card_delays_nobody_else(self):
        a = self.begin("yubikey5", "--uif", "aut=1", name="a", reader=0)
        b = self.begin("gnuk", "--seed", "5", name="b", reader=1)
        self.pinentry.always()
        self.ready("yubikey")
        self.ready("gnuk")
        key = self.bench.home / "k"
        self.bench.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
        self.bench.run("ssh-add", "-q", key)
        blobs = {k["tokens"][0]["name"]: k["ssh"] for k in self.agent.keys() if k["family"] == "ssh"}
        import base64
        blob = {n.split("-")[0]: base64.b64decode(v.split()[1]) for n, v in blobs.items()}
        c = self.sign_later(blob["yubikey"])
        wait_until(lambda: a.state()["touch_waiting"], "card a waits")
        self.assertEqual(len(AgentClient(self.agent.ssh).list()), 3)
        self.assertIsNotNone(self.sign(blob["gnuk"]))
        self.assertIsNotNone(self.sign(blob["software"]))
        self.assertTrue(a.state()["touch_waiting"], "it still waits")
        a.touch()
        self.assertEqual(c.recv()[0], 14)

    def test_client_killed_while_a_touch_is_awaited(self):
        card = self.begin("yubikey5", "--uif", "aut=1")
        self.pinentry.always()
        self.ready("yubikey")
        blob = self.auth_blob()
        c = self.sign_later(blob)
        wait_until(lambda: card.state()["touch_waiting"], "the card waits")
        n = len(self.agent.records())
        c.close()
        wait_until(lambda: len(self.agent.records()) == n + 1, "the request ends at once")
        self.assertEqual(self.agent.last()["reason"], "the client hung up")
        wait_until(lambda: self.agent.token("yubikey")["draining"], "the token is draining")
        late = self.sign_later(blob)
        card.touch()  # late: it ends the abandoned request and counts for nothing
        wait_until(lambda: not self.agent.token("yubikey")["draining"], "the abandoned request is over")
        wait_until(lambda: card.state()["touch_waiting"], "the next request wants a touch of its own")
        card.touch()
        self.assertEqual(late.recv()[0], 14)


class Tokens(Case):
    READERS = ("First Reader", "Second Reader")

    def test_two_cards_with_the_same_key_and_moving(self):
        a = self.begin("gnuk", "--seed", "7", "--serial", "00000001", name="a", reader=0)
        b = self.begin("gnuk", "--seed", "7", "--serial", "00000002", name="b", reader=1)
        self.bench.settings(f"Pinentry {self.pinentry.program}\nLockOnUnplug token\n")
        self.agent.stop()
        self.agent = Agent(self.bench)
        self.pinentry.always()
        self.ready("00000001")
        self.ready("00000002")
        keys = [k for k in self.agent.keys() if k["family"] == "ssh"]
        self.assertEqual(len(keys), 1)
        self.assertEqual(len(keys[0]["tokens"]), 2)
        self.assertIsNotNone(self.sign())
        a.pull()
        self.agent.wait_token("00000001", "pulled")
        self.assertEqual(self.agent.lock_state(), "open")
        self.assertIsNotNone(self.sign())
        b.pull()
        self.agent.wait_token("00000002", "pulled")
        a.process.kill()
        a.process.wait()
        moved = self.begin("gnuk", "--seed", "7", "--serial", "00000001", name="c", reader=1)
        b.process.kill()
        b.process.wait()
        self.ready("00000001")
        self.assertIsNotNone(self.sign())
        self.assertFalse(any(moved.state()["verified"]))

    def test_contactless_card_that_leaves_is_lost_not_pulled(self):
        card = self.begin("smartpgp", keys=("--key", "aut=nistp256"))
        self.pinentry.always()
        wait_until(lambda: [t for t in self.agent.status()["tokens"] if t["contactless"] and t["state"] == "ready"], "seen")
        self.assertIsNotNone(self.sign())
        card.pull()
        wait_until(lambda: not [t for t in self.agent.status()["tokens"] if t["contactless"] and t["state"] == "ready"], "left")
        self.assertEqual(self.agent.lock_state(), "open")

    def test_lock_and_unlock(self):
        card = self.begin()
        self.pinentry.always()
        self.ready("gnuk")
        self.assertIsNotNone(self.sign())
        self.agent.latchkey("lock")
        self.assertEqual(self.agent.latchkey("status", check=False).returncode, 1)
        self.assertFalse(any(card.state()["verified"]))
        n = len(self.pinentry.dialogs())
        self.agent.latchkey("unlock")
        self.assertEqual(self.agent.lock_state(), "open")
        self.assertEqual([d["kind"] for d in self.pinentry.dialogs()[n:]], ["pin"], "the token's own PIN unlocks")
        card.pull()
        wait_until(lambda: self.agent.lock_state() == "locked", "pulled")
        p = self.agent.latchkey("unlock", check=False)
        self.assertEqual(p.returncode, 1)
        self.assertIn("not plugged in", p.stderr)

    def test_copy_of_a_card_unlocks_nothing(self):
        """Serial number and public keys are no secret: a card that shows them and takes any PIN is not the card."""
        same = ("--seed", "7", "--serial", "00000001")
        true = self.begin("gnuk", *same, name="true")
        self.pinentry.always()
        self.ready("00000001")
        blob = self.auth_blob()
        self.assertIsNotNone(self.sign(blob))
        self.swap(true)
        false = self.begin("gnuk", *same, "--imposter", name="false")
        self.ready("00000001")
        self.assertEqual(self.auth_blob(), blob)
        p = self.agent.latchkey("unlock", check=False)
        self.assertEqual(p.returncode, 1)
        self.assertIn("does not hold the keys", p.stderr)
        self.assertGreater(false.state()["ins"].get("88", 0), 0, "it was put to the test")
        self.assertIsNone(self.sign(blob))
        self.assertEqual(self.agent.lock_state(), "locked")
        self.assertFalse(any(false.state()["verified"]))
        self.assertIn("Bad signature", self.agent.records("unlock")[-1]["result"])
        self.swap(false)
        true = self.begin("gnuk", *same, name="again")
        self.ready("00000001")
        self.agent.latchkey("unlock")
        self.assertEqual(self.agent.lock_state(), "open")
        self.assertFalse(any(true.state()["verified"]))

    def swap(self, card):
        card.pull()
        self.agent.wait_token("00000001", "pulled")
        wait_until(lambda: self.agent.lock_state() == "locked", "locked")
        card.process.kill()
        card.process.wait()

    def test_namesake_does_not_make_a_dialog_enough(self):
        card = self.begin("gnuk", "--serial", "00000001", name="true")
        self.pinentry.always()
        self.ready("00000001")
        self.assertIsNotNone(self.sign())
        self.swap(card)
        self.begin("gnuk", "--serial", "00000001", name="other")  # the same name, keys of its own
        self.ready("00000001")
        p = self.agent.latchkey("unlock", check=False)
        self.assertEqual(p.returncode, 1)
        self.assertIn("not plugged in", p.stderr)
        self.assertEqual(self.agent.lock_state(), "locked")

    def test_unlock_with_a_touch_key_and_with_the_signature_key(self):
        for keys, ins in ((("--key", "aut=ed25519", "--uif", "aut=1"), "88"), (("--key", "sig=rsa2048"), "2A")):
            with self.subTest(ins):
                card = self.begin("yubikey5", keys=keys, name=f"c{ins}")
                card.do("touch-mode auto")
                self.pinentry.always()
                self.ready("yubikey")
                if ins == "88":
                    self.assertIsNotNone(self.sign())
                else:
                    fpr = self.agent.keys()[0]["openpgp_fingerprint"]
                    self.bench.run("latchkey-gpg", "--status-fd=2", "-bsau", fpr, input="text")
                self.agent.latchkey("lock")
                n = len(self.pinentry.dialogs())
                card.do("touch-mode manual")
                p = self.bench.start("latchkey", "unlock", stdout=-1, stderr=-1, text=True)
                if ins == "88":
                    card.touch()
                self.assertEqual(p.wait(), 0, p.stderr.read())
                p.stdout.close()
                p.stderr.close()
                self.assertEqual([d["kind"] for d in self.pinentry.dialogs()[n:] if d["kind"] != "message"], ["pin"])
                self.assertEqual(self.agent.lock_state(), "open")
                card.pull()
                wait_until(lambda: self.agent.lock_state() == "locked", "locked")
                card.process.kill()
                card.process.wait()
                self.agent.stop()
                del self.agent

    def test_unlock_by_dialog_where_no_token_was_used(self):
        self.begin()
        self.ready("gnuk")
        self.agent.latchkey("lock")
        self.pinentry.answer("confirm no")
        self.assertEqual(self.agent.latchkey("unlock", check=False).returncode, 1)
        self.pinentry.answer("confirm ok")
        self.agent.latchkey("unlock")
        self.assertEqual(self.agent.lock_state(), "open")

    def test_idle_lock(self):
        self.bench.settings(f"Pinentry {self.pinentry.program}\nLockAfter 1s\n")
        self.begin()
        wait_until(lambda: self.agent.lock_state() == "locked", "idle")
        self.assertEqual(self.agent.status()["lock"]["reason"], "idle")
