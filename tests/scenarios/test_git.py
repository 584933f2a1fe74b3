"""git through latchkey-gpg and a card."""
import json
import os
import shutil
import unittest

from harness import Agent, Bench, Card, Pcscd, Person, ScriptedPinentry, wait_until
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
        (self.bench.gnupg).mkdir(mode=0o700)
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
        spaced = " ".join(self.fpr[i:i + 4] for i in range(0, 40, 4))
        sig = next(k for k in self.agent.keys() if k["openpgp_fingerprint"] == self.fpr)
        for name in (self.fpr[-16:], "0x" + self.fpr[-16:], self.fpr + "!", self.fpr[-8:], spaced, self.fpr.lower(),
                     sig["keygrip"], sig["fingerprint"], self.token["name"] + "/sig", self.token["name"] + "/sign",
                     "Ann Author <ann@example.org>", ""):
            self.commit(f"by {name}", f"--gpg-sign={name}")
            self.assertIn("Good signature", self.verify())
        uses = {r["use"]: r for r in self.agent.records()}
        self.assertEqual(uses["git-tag"]["object"]["tag"], "v1")
        commit = [r for r in self.agent.records() if r["use"] == "git-commit"][0]
        self.assertEqual(commit["object"]["subject"], "first commit")
        self.assertEqual(commit["object"]["author"], "Ann Author <ann@example.org>")

    def test_algorithms(self):
        """Signature and certificate of each algorithm that the card has, judged by gpg and, where it knows the curve, sqv."""
        for algo in ("rsa2048", "rsa4096", "nistp256", "nistp384", "nistp521", "brainpoolP256r1", "ed25519"):
            with self.subTest(algo):
                self.setUp()
                dec = "cv25519" if algo == "ed25519" else "rsa2048" if algo.startswith("rsa") else algo
                self.begin("Match all\n Touch none\n", f"sig={algo}", f"dec={dec}", f"aut={algo.replace('4096', '2048')}",
                           profile="generic")
                self.pinentry.always()
                self.commit("text")
                self.trust()
                self.assertIn("Good signature", self.verify())
                checked = self.bench.run("gpg", "--batch", "--check-sigs")
                self.assertEqual(checked.stdout.count("sig!"), 3, checked.stdout)
                self.assertIn("3 good signatures", checked.stderr)
                listed = self.bench.run("gpg", "--batch", "-k", "--with-colons", "--with-subkey-fingerprint").stdout
                fprs = [line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:")]
                self.assertEqual(sorted(fprs), sorted(k["openpgp_fingerprint"] for k in self.agent.keys()))
                self.assertEqual([line.split(":")[11] for line in listed.splitlines() if line[:3] in ("pub", "sub")],
                                 ["scESCA", "e", "a"] if fprs.index(self.fingerprint("decrypt")) == 1 else ["scESCA", "a", "e"])
                self.bench.run("gpg", "--batch", "-e", "-r", "ann@example.org", "-o", self.repo / "secret", self.repo / "file")
                if algo.startswith("brainpool"):
                    none = self.agent.latchkey("keys", "--ssh", check=False)
                    self.assertEqual((none.returncode, none.stdout), (1, ""))
                    self.assertIn("none of the keys is one to log in with", none.stderr)
                    self.bench.close()
                    continue
                login = self.bench.run("gpg", "--batch", "--export-ssh-key", "ann@example.org").stdout.split()[1]
                self.assertIn(login, self.agent.latchkey("keys", "--ssh").stdout)
                if shutil.which("sqv"):
                    self.bench.run(BUILD / "latchkey-gpg", "-b", self.repo / "file")
                    (self.repo / "cert").write_text(self.bench.run("gpg", "--batch", "--armor", "--export").stdout)
                    self.bench.run("sqv", "--keyring", self.repo / "cert", self.repo / "file.sig", self.repo / "file")
                self.bench.close()

    def fingerprint(self, use):
        return next(k["openpgp_fingerprint"] for k in self.agent.keys() if use in k["uses"])

    def test_certificate_tells_its_parts_apart(self):
        self.begin("Match all\n Touch always\n")
        self.pinentry.always()
        self.agent.latchkey("keys", "--openpgp", "Ann <a@b>")
        shown = [d["desc"] for d in self.pinentry.dialogs() if d["kind"] == "confirm"]
        self.assertEqual(len(shown), 3)
        self.assertTrue(all("User id: Ann <a@b>" in d for d in shown))
        self.assertNotIn("Subkey:", shown[0])
        for use, text in (("decrypt", "for decryption"), ("auth", "for logins")):
            self.assertEqual(len([d for d in shown if f"{text}, {self.fingerprint(use)}" in d]), 1, shown)
        records = [r["object"] for r in self.agent.records()]
        self.assertEqual([r["certificate"] for r in records], ["Ann <a@b>"] * 3)
        self.assertEqual({r.get("subkey") for r in records}, {None, self.fingerprint("decrypt"), self.fingerprint("auth")})

    def test_merge_rebase_and_log(self):
        self.begin("Match all\n Touch none\n")
        self.pinentry.always()
        self.commit("one")
        self.trust()
        self.git("checkout", "-q", "-b", "side")
        self.git("commit", "-q", "--allow-empty", "-m", "unsigned")
        self.git("commit", "-q", "--allow-empty", "-m", "unsigned, too")
        self.git("rebase", "-q", "-S", "--force-rebase", "--keep-empty", "main")
        self.git("checkout", "-q", "main")
        self.git("commit", "-q", "--allow-empty", "-S", "-m", "other")
        self.git("merge", "-q", "-S", "-m", "merged", "side")
        self.assertEqual(self.git("log", "--format=%G? %s").stdout.splitlines().count("G merged"), 1)
        self.assertEqual({line[0] for line in self.git("log", "--format=%G?").stdout.split()}, {"G"})
        self.assertEqual(self.git("log", "--show-signature").stdout.count("Good signature"), 5)

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

    # What cannot be signed with, and what the person is told.

    def refused(self, key):
        p = self.bench.run(BUILD / "latchkey-gpg", "--status-fd", "1", "-bsau", key, input="data", check=False)
        self.assertEqual(p.returncode, 2)
        self.assertIn("[GNUPG:] FAILURE sign ", p.stdout)
        return p.stderr

    def test_names_that_need_no_dialog(self):
        self.begin("Match all\n Touch none\n")
        for name in ("Ann Author", "nobody", "ABCDEF", "sig"):
            self.assertIn(f'"{name}" names no key', self.refused(name))
        for name in (self.fingerprint("decrypt"), self.fingerprint("auth")[-16:], self.token["name"] + "/auth"):
            self.assertIn(f"{name} is there, but it is no OpenPGP signature key", self.refused(name))
        self.assertEqual(self.pinentry.opened(), [], "nobody was asked for a token that would not help")

    def test_no_dialog_can_ask_for_the_token(self):
        self.begin("Match all\n Touch none\n")
        del self.bench.env["DISPLAY"]
        p = self.bench.run("setsid", "-w", BUILD / "latchkey-gpg", "-bsau", "0123456789ABCDEF", input="data", check=False)
        self.assertIn('skipped "0123456789ABCDEF": No secret key', p.stderr)
        self.assertIn("no dialog can ask for it", p.stderr)

    def test_token_dialog_is_cancelled(self):
        self.begin("Match all\n Touch none\n")
        self.bench.settings("Pinentry /usr/bin/pinentry-tty\n")
        self.agent.stop()
        self.agent = Agent(self.bench)
        del self.bench.env["DISPLAY"]
        person = Person(self.bench, "git", "-C", self.repo, "-c", "user.signingkey=0123456789ABCDEF", "commit", "-q", "-S",
                        "--allow-empty", "-m", "never", answers=[("any key", "")])
        self.assertEqual(person.finish(), 128)
        self.assertIn("Please insert the token that holds the signature key", person.seen)
        self.assertIn("signing failed: Operation cancelled", person.seen)

    def test_policy_that_came_while_the_token_was_waited_for(self):
        self.begin("Match all\n Touch none\n")
        self.bench.settings(f"Pinentry {self.pinentry.program}\nLockOnUnplug token\nReloadConfirm no\n")
        self.agent.stop()
        self.agent = Agent(self.bench)
        self.card.pull()
        wait_until(lambda: not [t for t in self.agent.status()["tokens"] if t["keys"] and t["name"] != "software"], "pulled")
        p = self.bench.start(BUILD / "latchkey-gpg", "-bau", self.fpr, "-o", self.repo / "sig", "/dev/null")
        self.pinentry.wait_open(1)
        before = self.agent.status()["policy"]["hash"]
        self.bench.policy("Match use openpgp-sign\n Access deny\n")
        wait_until(lambda: self.agent.status()["policy"]["hash"] != before, "the new policy is in force")
        self.card.insert()
        self.assertEqual(p.wait(20), 2)
        self.assertFalse((self.repo / "sig").exists())
        self.assertEqual(self.agent.last()["verdict"], "refused")

    def test_denial_reaches_the_terminal(self):
        self.begin("Match use git-commit\n Access deny\nMatch all\n Touch none\n")
        person = Person(self.bench, "git", "-C", self.repo, "commit", "-q", "-S", "--allow-empty", "-m", "never")
        self.assertEqual(person.finish(), 128)
        self.assertIn("policy.conf:2: Access deny", person.seen)
        self.assertIn("latchkey policy explain --last", person.seen)
        self.assertIn("git-commit", self.agent.latchkey("policy", "explain", "--last").stdout)

    def test_agent_is_started(self):
        self.begin("Match all\n Touch none\n")
        self.agent.stop()
        self.pinentry.always()
        self.commit("starts the agent")
        self.end_started_agent()

    def end_started_agent(self):
        pid = json.loads(self.bench.run(BUILD / "latchkey", "status", "--json").stdout)["pid"]
        os.kill(pid, 15)
        wait_until(lambda: not (self.bench.runtime / "latchkey" / "ctl").exists(), "it ends")

    def test_agent_is_started_from_a_place_with_blanks(self):
        self.begin("Match all\n Touch none\n")
        self.agent.stop()
        self.pinentry.always()
        place = self.bench.top / "a place"
        for name, where in (("latchkey-gpg", "bin"), ("latchkey-agent", "bin"), ("latchkey-token", "libexec/latchkey")):
            (place / where).mkdir(parents=True, exist_ok=True)
            shutil.copy(BUILD / name, place / where)
        self.git("config", "gpg.program", place / "bin" / "latchkey-gpg")
        self.commit("starts the agent")
        self.end_started_agent()
        self.assertEqual(self.agent.last()["requester"]["exe"], str(place / "bin" / "latchkey-gpg"))

    def test_agent_that_does_not_start_says_why(self):
        self.begin("Match all\n Touch none\n")
        self.agent.stop()
        self.bench.settings("Pinentr /usr/bin/pinentry\n")
        error = self.refused(self.fpr)
        self.assertIn('unknown setting "Pinentr"; did you mean "Pinentry"?', error)
        self.assertNotIn("\n[GNUPG:]", error)

    def test_large_data(self):
        self.begin("Match all\n Touch none\n")
        self.pinentry.always()
        data = self.bench.home / "data"
        with open(data, "wb") as f:
            f.truncate(64 << 20)
        self.bench.run(BUILD / "latchkey-gpg", "-b", data)
        self.trust()
        self.bench.run("gpg", "--batch", "--verify", f"{data}.sig", data)
        with open(data, "ab") as f:
            f.truncate((64 << 20) + 1)
        p = self.bench.run(BUILD / "latchkey-gpg", "-b", "--yes", data, check=False)
        self.assertEqual(p.returncode, 2)
        self.assertIn("is larger than 64 MiB", p.stderr)
        self.bench.run(BUILD / "latchkey-gpg", "-bo", self.bench.home / "empty.sig", "/dev/null")
        self.bench.run("gpg", "--batch", "--verify", self.bench.home / "empty.sig", "/dev/null")

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
