"""The programs as a person meets them: help, manuals, completions, exit codes, what is installed."""
import json
import os
import re
import subprocess
import unittest

from harness import Agent, AgentClient, Bench, Person, ScriptedPinentry, wait_until
from harness.bench import BUILD, TOP

COMMANDS = ["status", "keys", "lock", "unlock", "reload", "log", "policy", "policy check", "policy show", "policy explain",
            "token", "token list", "token identity", "token identity list", "token identity add", "token identity remove",
            "token identity read", "token forget", "token piv", "token piv status", "token piv generate", "token piv certificate",
            "token piv import", "token piv delete", "token piv change-pin", "token piv change-puk", "token piv unblock", "token piv reset",
            "token enroll-presence", "token presence", "token fido info", "token fido keys", "token fido delete",
            "token fido generate", "token fido set-pin"]
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]*)")


def plain(manual):
    """The text of a manual, without macros that break words."""
    text = (TOP / "contrib" / "man" / manual).read_text()
    return re.sub(r"\\&", "", re.sub(r"\b(Fl|Op|Oo|Oc|Cm|Ar|Ic) ", "", re.sub(r"Fl -", "Fl --", re.sub(r"\| -", "| --", text))))


class Words(unittest.TestCase):
    """What needs no agent."""

    def setUp(self):
        self.bench = Bench()
        self.addCleanup(self.bench.close)

    def latchkey(self, *args, status=0, **kw):
        p = self.bench.run(BUILD / "latchkey", *args, check=False, **kw)
        self.assertEqual(p.returncode, status, f"{args}: {p.stdout}{p.stderr}")
        return p

    def options(self, command):
        return set(OPTION.findall(self.latchkey(*command.split(), "--help").stdout)) | {"--help"}

    def test_help_everywhere(self):
        for command in COMMANDS:
            with self.subTest(command):
                text = self.latchkey(*command.split(), "--help").stdout
                self.assertTrue(text.startswith(f"usage: latchkey {command}"), text)
                self.assertEqual(text, self.latchkey(*command.split(), "-h").stdout)
                self.assertEqual(text, self.latchkey("help", *command.split()).stdout)
        overview = self.latchkey("--help").stdout
        self.assertEqual(set(re.findall(r"^  (\w+) ", overview, re.M)), {c for c in COMMANDS if " " not in c} | {"help"})

    def test_manual_has_every_option_and_no_other(self):
        manual = plain("latchkey.1")
        said = {"--version"}
        for command in COMMANDS:
            for option in self.options(command):
                self.assertIn(option, manual, command)
                said.add(option)
        self.assertEqual(set(OPTION.findall(manual)) - said, set())
        agent = self.bench.run(BUILD / "latchkey-agent", "--help").stdout
        for option in OPTION.findall(agent):
            self.assertIn(option, plain("latchkey-agent.1"))

    def test_manuals_have_every_setting_and_criterion(self):
        settings = re.findall(r'^    \{"(\w+)", FORM_', (TOP / "policy" / "settings.c").read_text(), re.M)
        self.assertGreater(len(settings), 10)
        for name in settings:
            self.assertRegex((TOP / "contrib/man/latchkey.conf.5").read_text(), rf"(?m)^\.It Cm {name}\b")
        policy = (TOP / "contrib/man/latchkey-policy.5").read_text()
        criteria = re.findall(r'^    \[CRIT_\w+\] = \{"([\w-]+)"', (TOP / "policy" / "criteria_parse.c").read_text(), re.M)
        self.assertGreater(len(criteria), 10)
        for name in criteria:
            self.assertRegex(policy, rf"(?m)^\.It .*\bCm {name}\b")
        values = re.findall(r'^    \[SET_\w+\] = \{"(\w+)"', (TOP / "policy" / "values.c").read_text(), re.M)
        self.assertGreater(len(values), 8)
        for name in values:
            self.assertRegex(policy, rf"(?m)^\.It Cm {name}\b")

    def complete(self, *words):
        """What bash offers for the last of WORDS."""
        script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
                  '$(complete -p "$1" | sed "s/.*-F \\([^ ]*\\) .*/\\1/"); printf "%s\\n" "${COMPREPLY[@]}"')
        return set(self.bench.run("bash", "-c", script, "bash", TOP / "contrib/completions/latchkey.bash", *words).stdout.split())

    def test_completions(self):
        self.assertLessEqual({c for c in COMMANDS if " " not in c} | {"help"}, self.complete("latchkey", ""))
        self.assertEqual(self.complete("latchkey", "policy", ""), {"check", "show", "explain", "--help"})
        self.assertEqual(self.complete("latchkey", "st"), {"status"})
        zsh = (TOP / "contrib/completions/_latchkey").read_text()
        fish = (TOP / "contrib/completions/latchkey.fish").read_text()
        for command in COMMANDS:
            options = self.options(command)
            if command not in ("policy", "token", "token piv", "token identity"):
                self.assertEqual(self.complete("latchkey", *command.split(), "--"), options, command)
            for option in options:
                self.assertIn(option, zsh)
                self.assertIn(f"-l {option[2:]}", fish)
        self.assertIn("sshsig:git", self.complete("latchkey", "policy", "explain", "--use", ""))
        self.assertIn("--foreground", self.complete("latchkey-agent", "--fo"))
        (self.bench.home / "policy.conf").touch()
        self.assertEqual(self.complete("latchkey", "policy", "check", "pol"), {"policy.conf"})

    def test_mistakes_and_exit_codes(self):
        for args, status, said in (
                ((), 2, "usage: latchkey COMMAND"), (("stats",), 2, 'did you mean "status"?'), (("status", "x"), 2, "takes options only"),
                (("keys", "--jsn"), 2, 'did you mean "--json"?'), (("keys", "--json", "--ssh"), 2, "only one of"),
                (("keys", "--openpgp"), 2, "a value is missing"), (("log", "-n", "x"), 2, "a number of lines"),
                (("policy",), 2, "usage: latchkey policy"), (("policy", "foo"), 2, "there is no command"), (("help", "x"), 2, "there is no"),
                (("status",), 3, "no agent is running"), (("keys",), 3, "no agent is running"), (("lock",), 3, "no agent is running"),
                (("policy", "explain", "--last"), 3, "no agent is running"), (("log",), 1, "there is no audit log yet"),
                (("policy", "check", "/nonexistent"), 1, "No such file"), (("policy", "show"), 0, "this is what one would load")):
            with self.subTest(args):
                self.assertIn(said, self.latchkey(*args, status=status).stderr)
        with open("/dev/full", "w") as full:
            p = subprocess.run([BUILD / "latchkey", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, env=self.bench.env)
        self.assertEqual(p.returncode, 1)
        self.assertIn("No space left", p.stderr)

    def test_installed_programs_find_each_other(self):
        dest = self.bench.top / "dest"
        make = ["make", "-s", "-o", "all", "-C", TOP, f"BUILD={BUILD}", f"DESTDIR={dest}", "PREFIX=/usr"]
        env = dict(self.bench.env, MAKEFLAGS="", PATH=os.environ["PATH"])
        self.bench.run(*make, "install", env=env)
        for name in ("usr/bin/latchkey", "usr/bin/latchkey-agent", "usr/bin/latchkey-gpg", "usr/libexec/latchkey/latchkey-token",
                     "usr/share/man/man1/latchkey.1", "usr/share/man/man5/latchkey-policy.5",
                     "usr/share/bash-completion/completions/latchkey-agent", "usr/share/zsh/site-functions/_latchkey",
                     "usr/share/fish/vendor_completions.d/latchkey-gpg.fish", "usr/lib/systemd/user/latchkey-agent.socket",
                     "etc/latchkey/policy.d"):
            self.assertTrue((dest / name).exists(), name)
        self.assertIn("ExecStart=/usr/bin/latchkey-agent --foreground",
                      (dest / "usr/lib/systemd/user/latchkey-agent.service").read_text())
        path = f"{dest}/usr/bin:/usr/bin:/bin"
        script = 'eval "$(latchkey-agent -s)" >/dev/null; ssh-add -q -; ssh-add -l; latchkey keys; latchkey-agent -k >/dev/null'
        self.bench.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "installed", "-f", self.bench.home / "id")
        p = self.bench.run("sh", "-c", script, env=dict(self.bench.env, PATH=path), input=(self.bench.home / "id").read_text())
        self.assertIn("installed (ED25519)", p.stdout)
        self.assertIn("ssh: sign auth", p.stdout)
        self.bench.run(*make, "uninstall", env=env)
        left = [p for p in dest.rglob("*") if not p.is_dir()]
        self.assertEqual(left, [])


class Live(unittest.TestCase):
    """What an agent without hardware shows."""

    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        self.pinentry = ScriptedPinentry(b)
        self.agent = Agent(b)

    def add(self, name):
        path = self.bench.home / name
        self.bench.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path)
        self.bench.run("ssh-add", "-q", path)

    def test_status_tells_what_to_do_next(self):
        text = self.agent.latchkey("status").stdout
        self.assertIn("no key is there: insert a token, or add a software key with ssh-add", text)
        self.assertNotIn("export SSH_AUTH_SOCK", text)
        self.add("one")
        self.assertNotIn("next", self.agent.latchkey("status").stdout)
        for value in ("", "/another/agent"):
            text = self.agent.latchkey("status", env=dict(self.bench.env, SSH_AUTH_SOCK=value)).stdout
            self.assertIn(f"export SSH_AUTH_SOCK={self.agent.ssh}", text)
        self.agent.latchkey("lock")
        locked = self.agent.latchkey("status", check=False)
        self.assertEqual(locked.returncode, 1)
        self.assertIn("latchkey unlock", locked.stdout)
        self.pinentry.answer("confirm ok")
        self.agent.latchkey("unlock")
        c = AgentClient(self.agent.ssh)
        self.assertEqual(c.ask(b"\x16\0\0\0\1x"), b"\6")
        self.assertIn("ssh-add -X", self.agent.latchkey("status", check=False).stdout)

    def test_keys_of_a_name(self):
        self.add("one")
        self.add("two")
        two = next(k for k in self.agent.keys() if k["comment"] == "two")
        for word in ("two", two["fingerprint"], two["keygrip"], two["keygrip"].lower(), "software/" + two["tokens"][0]["slot"]):
            self.assertEqual([k["comment"] for k in json.loads(self.agent.latchkey("keys", "--json", word).stdout)], ["two"], word)
        self.assertEqual(len(self.agent.latchkey("keys", "--ssh", "software").stdout.splitlines()), 2)
        self.assertEqual(len(self.agent.latchkey("keys", "--fingerprint", "one", "two").stdout.splitlines()), 2)
        p = self.agent.latchkey("keys", "two", "three", check=False)
        self.assertEqual((p.returncode, p.stdout), (1, ""))
        self.assertIn("three: no such token or key", p.stderr)

    def test_colours_are_for_terminals(self):
        self.add("one")
        for args in (("status",), ("keys",), ("log",)):
            self.assertNotIn("\033", self.agent.latchkey(*args).stdout)
            for more, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
                self.bench.env.pop("NO_COLOR", None)
                self.bench.env.update(more)
                person = Person(self.bench, BUILD / "latchkey", *args)
                self.assertEqual(person.finish(), 0)
                self.assertEqual("\033[" in person.seen, coloured, (args, more))

    def test_json_is_whole(self):
        self.add("one")
        self.agent.latchkey("reload")
        status = self.agent.status()
        self.assertEqual(status["sockets"], {"ssh": str(self.agent.ssh)})
        self.assertEqual(status["pid"], self.agent.process.pid)
        header = (TOP / "proto" / "ctl_protocol.h").read_text()
        for document in (status, status["lock"], status["policy"], status["tokens"][0], self.agent.keys()[0]):
            for field in document:
                self.assertIn(f'"{field}"', header, "the protocol page has every field")
        for line in self.agent.latchkey("log", "--json").stdout.splitlines():
            self.assertIn("event", json.loads(line))
        self.bench.run("ssh-add", "-q", "-D")
        wait_until(lambda: self.agent.keys() == [], "no keys")
        p = self.agent.latchkey("keys", check=False)
        self.assertEqual((p.returncode, p.stdout), (1, ""))
        self.assertIn("no keys: insert a token", p.stderr)
