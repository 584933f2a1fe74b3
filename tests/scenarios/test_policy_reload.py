"""A policy that changes while the agent runs: by editors, links, folders, administrators and programs with bad intent."""
import os
import unittest

from harness import Agent, AgentClient, Bench, Person, ScriptedPinentry, wait_until
from harness.agentclient import sshsig

DENY = "Match use sshsig\n Access deny\n"
ALLOW = "Match use sshsig\n Access allow\n"


class Case(unittest.TestCase):
    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        self.pinentry = ScriptedPinentry(b)
        self.file = b.config / "policy.conf"

    def begin(self, policy=None):
        b = self.bench
        if policy is not None:
            b.policy(policy)
        self.agent = Agent(b)
        key = b.home / "id"
        b.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
        b.run("ssh-add", "-q", key)

    def signs(self):
        c = AgentClient(self.agent.ssh)
        ok = c.sign(c.list()[0][0], sshsig("x")) is not None
        c.close()
        return ok

    def results(self):
        return [r["result"] for r in self.agent.records("policy")]

    def asked(self, n=1):
        """The text of the Nth dialog, once it is there."""
        return self.pinentry.wait_open(n)[n - 1]["desc"]

    def declined(self, change):
        """CHANGE is asked about, and without agreement nothing gets easier."""
        self.assertFalse(self.signs())
        n = len(self.pinentry.opened())
        self.pinentry.answer("confirm no")
        change()
        desc = self.asked(n + 1)
        self.assertIn("DEMANDS LESS", desc)
        wait_until(lambda: self.results()[-1] == "declined", "declined")
        self.assertFalse(self.signs())
        return desc


class Changes(Case):
    def test_every_way_to_put_another_file_in_place(self):
        self.begin(DENY)
        b = self.bench

        def in_place():
            with open(self.file, "w") as f:
                f.write(ALLOW)

        def renamed_over():
            b.policy(ALLOW + " Touch none\n")

        def removed():
            self.file.unlink()

        def linked():
            other = b.home / "lax"
            other.write_text(ALLOW + "\n")
            other.chmod(0o600)
            self.file.symlink_to(other)

        def folder_swapped():
            away = b.config.with_name("away")
            b.config.rename(away)
            b.config.mkdir(mode=0o700)
            (b.config / "latchkey.conf").write_text((away / "latchkey.conf").read_text())
            b.policy(ALLOW + "\n\n")

        for change in (in_place, renamed_over, removed, linked, folder_swapped):
            with self.subTest(change.__name__):
                self.declined(change)

    def test_through_links(self):
        # dotfiles: the file, or its folder, is elsewhere
        b = self.bench
        store = b.home / "dotfiles" / "latchkey"
        store.parent.mkdir(mode=0o700)
        b.config.rename(store)
        b.config.symlink_to(store)
        real = b.home / "dotfiles" / "real.conf"
        real.write_text(DENY)
        real.chmod(0o600)
        (store / "policy.conf").symlink_to("../real.conf")
        self.begin()
        self.declined(lambda: real.write_text(ALLOW))

        def folder_link_leads_elsewhere():
            other = b.home / "other"
            other.mkdir(mode=0o700)
            (other / "policy.conf").write_text(ALLOW + "# \n")
            (other / "policy.conf").chmod(0o600)
            (other / "latchkey.conf").write_text((store / "latchkey.conf").read_text())
            tmp = b.config.with_name("tmp")
            tmp.symlink_to(other)
            tmp.rename(b.config)

        self.declined(folder_link_leads_elsewhere)

    def test_included_files_and_keys(self):
        b = self.bench
        key = b.home / "some.pub"
        b.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", b.home / "some")
        (b.config / "more").write_text(f"Match use sshsig !key {key}\n Access deny\n")
        self.begin("Include mo*\n")
        mine = (b.home / "id.pub").read_text()
        self.assertIn("the file holds another key now", self.declined(lambda: key.write_text(mine)))
        self.declined(lambda: (b.config / "more").write_text(ALLOW))
        # a file that did not exist when the pattern was read
        self.pinentry.answer("confirm no")
        n = len(self.pinentry.opened())
        (b.config / "most").write_text("Touch always\n")
        self.asked(n + 1)

    def test_only_once_for_what_was_declined(self):
        self.begin(DENY)
        self.declined(lambda: self.bench.policy(ALLOW))
        self.file.chmod(0o640)
        self.file.chmod(0o600)
        self.pinentry.answer("confirm ok")
        self.agent.latchkey("reload")
        self.assertTrue(self.signs())
        self.assertEqual(len(self.pinentry.opened()), 2)
        self.assertEqual(self.results(), ["loaded", "declined", "loaded"])

    def test_stricter_is_said_to_be_so(self):
        self.begin(ALLOW)
        self.pinentry.answer("confirm ok")
        self.bench.policy("Match use raw\n Pin always\n" + ALLOW)
        desc = self.asked()
        self.assertIn("demands nothing less", desc)
        self.assertIn("+ Match use raw", desc)
        wait_until(lambda: self.results() == ["loaded", "loaded"], "agreed to")

    def test_a_busy_folder_hides_no_change(self):
        self.begin(DENY)
        p = self.bench.start("sh", "-c", f"while :; do : > {self.bench.config}/x; rm {self.bench.config}/x; done")
        self.pinentry.answer("confirm no")
        self.bench.policy(ALLOW)
        self.asked()
        self.bench.end(p)

    def test_no_confirmation_when_the_person_does_not_want_any(self):
        self.bench.settings(f"Pinentry {self.pinentry.program}\nReloadConfirm no\n")
        self.begin(DENY)
        self.bench.policy(ALLOW)
        wait_until(self.signs, "loaded")
        self.assertEqual(self.pinentry.opened(), [])


class Deceptions(Case):
    def test_many_lines_do_not_hide_one(self):
        self.begin(DENY)
        desc = self.declined(lambda: self.bench.policy("Match use raw\n Pin always\n" * 100 + ALLOW))
        self.assertIn("more lines that are not shown here", desc)

    def test_control_characters_do_not_reach_the_dialog(self):
        self.begin(DENY)
        desc = self.declined(lambda: self.bench.policy("Host \x1b[2Ja \u202e b\n Pin always\n" + ALLOW))
        self.assertNotIn("\x1b", desc)
        self.assertNotIn("\u202e", desc)

    def test_a_change_says_whose_block_it_is_in(self):
        self.begin("Match use raw\n Pin always\n" + DENY)
        desc = self.declined(lambda: self.bench.policy("Match use raw\n Pin always\n" + ALLOW))
        self.assertIn("  Match use sshsig\n-     Access deny\n+     Access allow\n", desc)


class Administrator(Case):
    def setUp(self):
        super().setUp()
        self.etc = self.bench.top / "etc" / "latchkey"
        self.etc.mkdir(mode=0o755)

    def test_the_floor_waits_for_nobody(self):
        self.begin("Match all\n Touch none\n")
        self.assertTrue(self.signs())
        (self.etc / "policy.d").mkdir(mode=0o755)
        (self.etc / "policy.d" / "1.conf").write_text(DENY)
        wait_until(lambda: not self.signs(), "the floor is in force")
        self.assertEqual(self.pinentry.opened(), [], "nobody was asked")
        self.assertTrue(self.agent.last()["rule"].endswith("policy.d/1.conf:2"))

    def test_nor_for_a_broken_or_declined_file_of_the_person(self):
        self.begin("Match all\n Touch none\n")
        self.bench.policy("Tuoch\n")
        wait_until(lambda: self.results()[-1] == "rejected", "the person's file is broken")
        (self.etc / "policy.conf").write_text(DENY)
        wait_until(lambda: not self.signs(), "the floor is in force")
        self.pinentry.answer("confirm no")
        self.bench.policy("Match all\n Touch none\n Pin session\n")
        wait_until(lambda: self.results()[-1] == "declined", "declined")
        (self.etc / "policy.conf").write_text(ALLOW)
        wait_until(self.signs, "the floor is lower again")
        self.assertEqual(len(self.pinentry.opened()), 1)


class Reload(Case):
    def test_without_a_display_on_the_terminal_of_who_asks(self):
        self.bench.settings("Pinentry /usr/bin/pinentry-tty\n")
        del self.bench.env["DISPLAY"]
        self.begin(DENY)
        self.bench.policy(ALLOW)
        wait_until(lambda: self.results()[-1] == "declined", "nobody can be asked")
        p = self.agent.latchkey("reload", check=False)
        self.assertEqual(p.returncode, 1)
        self.assertIn("nobody agreed", p.stderr)
        person = Person(self.bench, "latchkey", "reload", answers=[(r"\[uk\]\?", "u")])
        self.assertEqual(person.finish(), 0, person.seen)
        self.assertTrue(self.signs())

    def test_not_on_a_terminal_of_the_programs_own_choice(self):
        """Who edits the file must not be the one who agrees to it."""
        self.begin(DENY)
        self.declined(lambda: self.bench.policy(ALLOW))
        self.bench.env["PINENTRY_USER_DATA"] = "mine"
        p = self.bench.start("latchkey", "reload", env=dict(self.bench.env, DISPLAY=":66"))
        self.pinentry.wait_open(2)
        self.bench.end(p)
        self.assertEqual(self.pinentry.opened()[1]["display"], ":99")
        wait_until(lambda: self.agent.status()["policy"]["problem"], "withdrawn")
        self.assertFalse(self.signs())

    def test_what_is_wrong_is_told(self):
        self.begin(ALLOW)
        self.bench.policy("Match use sshsig\n Tuoch always\n")
        p = self.agent.latchkey("reload", check=False)
        self.assertEqual(p.returncode, 1)
        self.assertIn("policy.conf:2:2: unknown keyword \"Tuoch\"", p.stderr)
        self.assertTrue(self.signs())


if __name__ == "__main__":
    unittest.main()
