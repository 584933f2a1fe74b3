"""git through latchkey-gpg and a card."""
import json
import os
import unittest

from harness import Agent, Bench, Card, Pcscd, ScriptedPinentry, wait_until
from harness.bench import BUILD


class Git(unittest.TestCase):
    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        self.pinentry = ScriptedPinentry(b)

    def begin(self, policy, *keys, profile="gnuk", agent=True):
        b = self.bench
        b.policy(policy)
        self.pcscd = Pcscd(b)
        self.card = Card(self.pcscd, profile, *[a for k in keys or ("sig=ed25519", "dec=cv25519", "aut=ed25519") for a in ("--key", k)])
        self.agent = Agent(b)
        self.token = wait_until(lambda: [t for t in self.agent.status()["tokens"] if t["keys"] and t["name"] != "software"], "card")[0]
        self.fpr = next(k["openpgp_fingerprint"] for k in self.agent.keys() if "sign" in k["uses"] and k["family"] == "gpg")
        self.repo = b.home / "repo"
        b.run("git", "init", "-q", "-b", "main", self.repo)
        self.git("config", "gpg.program", BUILD / "latchkey-gpg")
        self.git("config", "user.signingkey", self.fpr)

    def git(self, *args, **kw):
        return self.bench.run("git", *args, cwd=self.repo, **kw)

    def trust(self):
        certificate = self.agent.latchkey("keys", "--openpgp", "Ann Author <ann@example.org>").stdout
        (self.bench.home / ".gnupg").mkdir(mode=0o700)
        self.bench.run("gpg", "--batch", "-q", "--import", input=certificate)
        self.bench.run("gpg", "--batch", "--import-ownertrust", input=f"{self.fpr}:6:\n")

    def commit(self, text, *more, **kw):
        (self.repo / "file").write_text(text)
        self.git("add", "file")
        return self.git("commit", "-q", "-S", "-m", text, *more, **kw)

    def verify(self, what="HEAD", verb="verify-commit"):
        return self.git(verb, what).stderr

    def test_commit_tag_by_every_name_of_the_key(self):
        self.begin("Match all\n Touch none\n")
        self.pinentry.always()
        self.commit("first commit")
        self.trust()
        self.assertIn('Good signature from "Ann Author <ann@example.org>" [ultimate]', self.verify())
        self.git("tag", "-s", "v1", "-m", "a tag")
        self.assertIn("Good signature", self.verify("v1", "verify-tag"))
        for name in (self.fpr[-16:], "0x" + self.fpr[-16:], self.fpr + "!", self.fpr[-8:]):
            self.commit(f"by {name}", f"--gpg-sign={name}")
            self.assertIn("Good signature", self.verify())
        uses = {r["use"]: r for r in self.agent.records()}
        self.assertEqual(uses["git-tag"]["object"]["tag"], "v1")
        commit = [r for r in self.agent.records() if r["use"] == "git-commit"][0]
        self.assertEqual(commit["object"]["subject"], "first commit")
        self.assertEqual(commit["object"]["author"], "Ann Author <ann@example.org>")

    def test_algorithms(self):
        for algo in ("rsa2048", "rsa4096", "nistp256", "nistp384", "nistp521", "brainpoolP256r1"):
            with self.subTest(algo):
                self.setUp()
                self.begin("Match all\n Touch none\n", f"sig={algo}", profile="generic")
                self.pinentry.always()
                self.commit("text")
                self.trust()
                self.assertIn("Good signature", self.verify())
                self.bench.close()

    def test_rebase_of_20_commits_under_one_confirmation(self):
        self.begin("Match use git-commit,git-tag\n Touch cached 5m max 21\nMatch all\n Touch always\n")
        self.pinentry.always()
        for i in range(21):
            self.git("commit", "-q", "--allow-empty", "-m", f"c{i}")
        self.git("rebase", "-q", "--exec", "git commit -q --amend --no-edit --allow-empty -S", "--root", "--keep-empty")
        dialogs = [d for d in self.pinentry.dialogs() if d["kind"] == "confirm"]
        self.assertEqual(len(dialogs), 1, "one confirmation covers the whole rebase")
        self.assertIn("Use:     sign a git commit", dialogs[0]["desc"])
        self.assertEqual(len([r for r in self.agent.records() if r["use"] == "git-commit" and r["result"] == "ok"]), 21)
        self.git("commit", "-q", "--allow-empty", "-S", "-m", "one more")
        self.assertEqual(len([d for d in self.pinentry.dialogs() if d["kind"] == "confirm"]), 2, "max 21 is used up")

    def test_card_is_asked_for_and_waited_for(self):
        self.begin("Match all\n Touch none\n")
        self.bench.settings(f"Pinentry {self.pinentry.program}\nLockOnUnplug token\n")
        self.agent.stop()
        self.agent = Agent(self.bench)
        self.card.pull()
        wait_until(lambda: not [t for t in self.agent.status()["tokens"] if t["keys"] and t["name"] != "software"], "pulled")
        self.git("commit", "-q", "--allow-empty", "-m", "base")
        p = self.bench.start("git", "commit", "-q", "--allow-empty", "-S", "-m", "patient", cwd=self.repo)
        desc = wait_until(lambda: [d for d in self.pinentry.opened() if "insert" in d.get("desc", "")], "it asks for the card")[0]["desc"]
        self.assertIn(self.fpr[-8:], desc)
        self.card.insert()
        self.pinentry.answer("pin 123456")
        self.assertEqual(p.wait(20), 0)

    def test_cancelled_pin_fails_clearly(self):
        self.begin("Match all\n Touch none\n")
        self.pinentry.answer("pin cancel")
        p = self.commit("never", check=False)
        self.assertNotEqual(p.returncode, 0)
        self.assertEqual(self.git("log", check=False).returncode, 128, "no commit was made")

    def test_agent_is_started(self):
        self.begin("Match all\n Touch none\n")
        self.agent.stop()
        self.pinentry.always()
        self.commit("starts the agent")
        pid = json.loads(self.bench.run(BUILD / "latchkey", "status", "--json").stdout)["pid"]
        os.kill(pid, 15)
        wait_until(lambda: not (self.bench.runtime / "latchkey" / "ctl").exists(), "it ends")

    def test_software_ssh_format(self):
        self.begin("Match all\n Touch none\n")
        key = self.bench.home / "id"
        self.bench.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
        self.bench.run("ssh-add", "-q", key)
        self.git("config", "gpg.format", "ssh")
        self.git("config", "user.signingkey", f"{key}.pub")
        signers = self.bench.home / "signers"
        signers.write_text("ann@example.org " + key.with_suffix(".pub").read_text())
        self.git("config", "gpg.ssh.allowedSignersFile", signers)
        self.commit("by ssh")
        self.assertIn("Good \"git\" signature", self.verify())
        self.assertEqual(self.agent.last()["use"], "sshsig:git")
