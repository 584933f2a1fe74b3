"""The lock's table: what each state lists and signs, and how it is left."""
import unittest

from harness import Agent, AgentClient, Bench, Card, Pcscd, ScriptedPinentry, wait_until
from harness.agentclient import sshsig
from harness.bench import BUILD

FREE = "Match all\n Touch none\n"


class Case(unittest.TestCase):
    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        self.pinentry = ScriptedPinentry(b)
        b.policy(FREE)

    def begin(self, *options, profile="gnuk", policy=FREE):
        b = self.bench
        b.policy(policy)
        self.pcscd = Pcscd(b)
        self.card = Card(self.pcscd, profile, "--key", "sig=ed25519", "--key", "aut=ed25519", *options)
        self.agent = Agent(b)
        self.agent.wait_token(profile.rstrip("0123456789"))
        self.card_blob = self.blobs()[0]
        b.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "soft", "-f", b.home / "id")
        b.run("ssh-add", "-q", b.home / "id")
        self.soft_blob = next(blob for blob in self.blobs() if blob != self.card_blob)

    def blobs(self):
        c = AgentClient(self.agent.ssh)
        blobs = [blob for blob, _ in c.list()]
        c.close()
        return blobs

    def sign(self, blob):
        c = AgentClient(self.agent.ssh)
        try:
            return c.sign(blob, sshsig("file")) is not None
        finally:
            c.close()

    def dialogs(self):
        return [d["kind"] for d in self.pinentry.dialogs()]


class Locked(Case):
    def test_lists_and_signs_nothing_without_a_fresh_proof(self):
        self.begin()
        self.pinentry.answer("pin 123456")
        self.assertTrue(self.sign(self.card_blob))
        self.assertTrue(self.sign(self.card_blob), "the PIN is remembered")
        self.assertEqual(self.dialogs(), ["pin"])
        self.agent.latchkey("lock")
        self.assertEqual(len(self.blobs()), 2, "public data stay to be seen")
        self.assertFalse(self.sign(self.soft_blob), "software keys cannot prove anything")
        self.assertIn("locked since", self.agent.last()["reason"])
        p = self.bench.run("ssh-add", self.bench.home / "id", check=False)
        self.assertNotEqual(p.returncode, 0, "nor is a key taken")
        self.pinentry.answer("pin cancel")
        self.assertFalse(self.sign(self.card_blob))
        self.assertEqual(self.agent.lock_state(), "locked")
        self.assertEqual(self.dialogs(), ["pin", "pin"], "the PIN from before the lock is gone")
        self.pinentry.answer("pin 111111")
        self.pinentry.answer("pin cancel")
        self.assertFalse(self.sign(self.card_blob))
        self.assertEqual(self.agent.lock_state(), "locked")
        self.pinentry.answer("pin 123456")
        self.assertTrue(self.sign(self.card_blob))
        self.assertEqual(self.agent.lock_state(), "open")
        self.assertEqual(self.agent.records("unlock")[-1]["how"].split()[0], "pin")
        self.assertTrue(self.sign(self.soft_blob))

    def test_a_token_that_was_never_verified_opens_nothing(self):
        """Anybody's card, put in after the lock, is no proof of anybody's presence."""
        self.begin()
        self.pinentry.always()
        self.agent.latchkey("lock")
        self.assertFalse(self.sign(self.card_blob))
        self.assertEqual(self.dialogs(), [])
        self.assertEqual(self.card.state()["verifies"], 0)

    def test_a_touch_given_now_opens(self):
        self.begin("--uif", "aut=1", profile="yubikey5", policy="Match token software\n Touch none\nMatch all\n Touch always\n")
        self.pinentry.always()
        self.card.do("touch-mode auto")
        self.assertTrue(self.sign(self.card_blob))
        self.agent.latchkey("lock")
        wait_until(lambda: not any(self.card.state()["verified"]), "logged out")
        self.card.do("touch-timeout 300")
        self.card.do("touch-mode manual")
        self.assertFalse(self.sign(self.card_blob))
        self.assertEqual(self.agent.lock_state(), "locked", "a PIN without the touch that the policy wants")
        self.card.do("touch-mode auto")
        self.assertTrue(self.sign(self.card_blob))
        self.assertEqual(self.agent.lock_state(), "open")


class Unlock(Case):
    def test_by_pin_with_the_program_named_and_the_last_try_warned_of(self):
        self.begin()
        self.pinentry.answer("pin 123456")
        self.assertTrue(self.sign(self.card_blob))
        self.agent.latchkey("lock")
        for answer in ("pin 111111", "pin 222222", "confirm no"):
            self.pinentry.answer(answer)
        self.assertEqual(self.agent.latchkey("unlock", check=False).returncode, 1)
        shown = self.pinentry.dialogs()[1:]
        self.assertEqual([d["kind"] for d in shown], ["pin", "pin", "confirm"])
        for d in shown:
            self.assertIn(f"{BUILD}/latchkey (pid", d["desc"])
        self.assertIn("3 tries left", shown[0]["desc"])
        self.assertIn("Wrong PIN, 2 tries left", shown[1]["error"])
        self.assertIn("A wrong PIN now blocks it", shown[2]["desc"])
        self.assertEqual(self.card.state()["tries"][0], 1, "the last one was not taken")
        self.assertEqual(self.agent.lock_state(), "locked")
        self.assertIn("event", self.agent.records("unlock")[-1])
        self.pinentry.answer("confirm ok")
        self.pinentry.answer("pin 123456")
        self.agent.latchkey("unlock")
        self.assertEqual(self.agent.lock_state(), "open")
        self.assertTrue(self.sign(self.card_blob), "with the PIN just typed or another one")

    def test_a_lock_while_the_dialog_stands_is_not_opened_by_it(self):
        self.begin()
        self.agent.latchkey("lock")
        p = self.bench.start(BUILD / "latchkey", "unlock")
        self.pinentry.wait_open(1)
        self.agent.latchkey("lock")
        self.pinentry.answer("confirm ok")
        self.assertEqual(p.wait(20), 1)
        self.assertEqual(self.agent.lock_state(), "locked")


class Passphrase(Case):
    def ask(self, letter, word):
        c = AgentClient(self.agent.ssh)
        ok = c.ask(letter + len(word).to_bytes(4, "big") + word)[0] == 6
        c.close()
        return ok

    def test_empties_every_list_and_refuses_all(self):
        self.begin()
        self.pinentry.always()
        self.assertTrue(self.sign(self.card_blob))
        n = len(self.dialogs())
        self.assertTrue(self.ask(b"\x16", b"secret"))
        self.assertEqual(self.blobs(), [])
        self.assertEqual(self.agent.keys(), [])
        self.assertIn("ssh-add -X", self.agent.latchkey("keys", check=False).stderr)
        for blob in (self.card_blob, self.soft_blob):
            self.assertFalse(self.sign(blob))
        self.bench.env.update(GIT_COMMITTER_DATE="1700000000 +0000")
        p = self.bench.run(BUILD / "latchkey-gpg", "--status-fd=2", "-bsau", "", input="x", check=False)
        self.assertNotEqual(p.returncode, 0)
        self.assertEqual(len(self.dialogs()), n, "and asks for nothing")
        p = self.agent.latchkey("unlock", check=False)
        self.assertEqual(p.returncode, 1)
        self.assertIn("ssh-add -X", p.stderr)
        self.assertFalse(self.ask(b"\x17", b"wrong"))
        self.assertTrue(self.ask(b"\x17", b"secret"))
        self.assertEqual(len(self.blobs()), 2)
        self.assertTrue(self.sign(self.card_blob))
        self.assertEqual(self.dialogs()[n:], ["pin"], "the PIN went with the lock")

    def test_both_locks_at_once(self):
        self.begin()
        self.pinentry.always()
        self.assertTrue(self.sign(self.card_blob))
        self.agent.latchkey("lock")
        self.assertTrue(self.ask(b"\x16", b"secret"))
        self.agent.latchkey("unlock")
        self.assertEqual(self.blobs(), [], "the token opens its own lock only")
        self.assertFalse(self.sign(self.card_blob))
        self.agent.latchkey("lock")
        self.assertTrue(self.ask(b"\x17", b"secret"))
        self.assertEqual(self.agent.lock_state(), "locked", "and the passphrase its own")
        self.assertFalse(self.sign(self.soft_blob))
        self.assertTrue(self.sign(self.card_blob))
        self.assertTrue(self.sign(self.soft_blob))


class Pins(Case):
    def test_session_duration_always(self):
        self.begin(policy="Match use sshsig:always\n Pin always\nMatch use sshsig:short\n Pin 1s\n"
                          "Match use sshsig:long\n Pin 1d\n" + FREE)
        self.pinentry.always()
        c = AgentClient(self.agent.ssh)

        def sign(ns):
            self.assertIsNotNone(c.sign(self.card_blob, sshsig(ns)))
            return len(self.dialogs())

        self.assertEqual(sign("session"), 1)
        self.assertEqual(sign("session"), 1)
        self.assertEqual(sign("long"), 1)
        self.assertEqual(sign("always"), 2)
        self.assertEqual(sign("always"), 3)
        self.assertEqual(sign("long"), 3)
        wait_until(lambda: sign("short") == 4, "the PIN is too old")
        self.assertEqual(sign("long"), 4)


class Families(Case):
    def test_a_bare_hash_is_raw_for_every_kind_of_key(self):
        b = self.bench
        self.agent = Agent(b)
        for t in ("rsa", "ecdsa", "ed25519"):
            b.run("ssh-keygen", "-q", "-t", t, "-N", "", "-f", b.home / t)
            b.run("ssh-add", "-q", b.home / t)
        for blob in self.blobs():
            for n in (20, 28, 32, 48, 64):
                c = AgentClient(self.agent.ssh)
                self.assertIsNone(c.sign(blob, bytes(n)))
                self.assertEqual(self.agent.last()["use"], "raw")
                c.close()

    def test_the_cards_gpg_keys_are_none_of_ssh(self):
        self.begin()
        self.pinentry.always()
        import base64
        sig = next(k for k in self.agent.keys() if k["family"] == "gpg")
        blob = base64.b64decode(sig["ssh"].split()[1])
        self.assertNotIn(blob, self.blobs())
        self.assertFalse(self.sign(blob))
        self.assertIn("protocol families", self.agent.last()["reason"])


if __name__ == "__main__":
    unittest.main()
