"""What is asked to be signed, told apart: by those who really ask. A CA, sudo's PAM module, an sshd without its host key."""
import base64
import getpass
import os
import shutil
import sys
import unittest

from harness import Agent, AgentClient, Bench, ScriptedPinentry, Sshd
from harness.agentclient import s, take

# pam_ssh_agent_auth as sudo would call it, without sudo and without touching the machine's PAM configuration.
PAM = """
import ctypes, os, sys
confdir, user = sys.argv[1].encode(), sys.argv[2].encode()
pam = ctypes.CDLL("libpam.so.0")
class Conv(ctypes.Structure):
    _fields_ = [("conv", ctypes.c_void_p), ("data", ctypes.c_void_p)]
TYPE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
refuse = TYPE(lambda n, m, r, d: 19)
conv = Conv(ctypes.cast(refuse, ctypes.c_void_p), None)
h = ctypes.c_void_p()
assert pam.pam_start_confdir(b"latchkey-test", user, ctypes.byref(conv), confdir, ctypes.byref(h)) == 0
assert pam.pam_set_item(h, 8, user) == 0
status = pam.pam_authenticate(h, 0)
pam.pam_end(h, status)
print("let in" if status == 0 else "kept out")
"""


class Case(unittest.TestCase):
    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        self.pinentry = ScriptedPinentry(b)

    def begin(self, policy, *types):
        b = self.bench
        b.policy(policy)
        self.agent = Agent(b)
        self.keys = {}
        for t in types or ("ed25519",):
            path = b.home / ".ssh" / t
            b.run("ssh-keygen", "-q", "-t", t, "-N", "", "-C", t, "-f", path)
            b.run("ssh-add", "-q", path)
            path.unlink()
            self.keys[t] = path.with_name(t + ".pub")

    def uses(self):
        return [(r["use"], r["verdict"]) for r in self.agent.records() if r["use"] != "import"]


class CertificateAuthority(Case):
    def certify(self, t, *more, check=True):
        b = self.bench
        subject = b.home / "subject"
        if not subject.exists():
            b.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", subject)
        return b.run("ssh-keygen", "-q", "-U", "-s", self.keys[t], "-I", "the id", *more, f"{subject}.pub", check=check)

    def test_every_kind_of_ca(self):
        self.begin("Match use ssh-ca\n Access allow\nMatch !use import\n Access deny\nMatch all\n Touch none\n", "ed25519", "rsa",
                   "ecdsa")
        for t in self.keys:
            with self.subTest(t):
                self.certify(t, "-n", "ann,bob", "-V", "+1d")
                cert = self.bench.home / "subject-cert.pub"
                text = self.bench.run("ssh-keygen", "-L", "-f", cert).stdout
                self.assertIn("user certificate", text)
                self.assertIn(self.agent.last()["key"]["fingerprint"], text)
                self.assertEqual(self.agent.last()["use"], "ssh-ca")
                self.assertEqual(self.agent.last()["object"]["key_id"], "the id")
                self.assertEqual(self.agent.last()["object"]["principals"], "ann, bob")
        self.assertEqual(len(self.uses()), 3)

    def test_dialog_says_for_whom(self):
        self.begin("Match use ssh-ca\n Confirm yes\nMatch all\n Touch none\n")
        self.pinentry.answer("confirm no")
        self.assertNotEqual(self.certify("ed25519", "-h", "-n", "web1.example", check=False).returncode, 0)
        desc = self.pinentry.dialogs()[0]["desc"]
        for part in ("sign a host certificate as a CA", "web1.example", "the id", "policy.conf:2"):
            self.assertIn(part, desc)
        self.pinentry.answer("confirm no")
        self.certify("ed25519", check=False)
        self.assertIn("any user", self.pinentry.dialogs()[1]["desc"])

    def test_a_key_id_forges_no_line_of_the_dialog(self):
        self.begin("Match use ssh-ca\n Confirm yes\nMatch all\n Touch none\n")
        self.pinentry.answer("confirm no")
        subject = self.bench.home / "subject"
        self.bench.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", subject)
        self.bench.run("ssh-keygen", "-q", "-U", "-s", self.keys["ed25519"], "-I", "x\nFor:     nobody", f"{subject}.pub",
                       check=False)
        lines = self.pinentry.dialogs()[0]["desc"].splitlines()
        self.assertEqual([line for line in lines if line.startswith("For:")], ["For:     any user"])


class Sudo(Case):
    def ask(self):
        """Asks as the module does; by the module itself where it runs at all, which is for root."""
        return self.by_module() if os.geteuid() == 0 else self.by_hand()

    def by_module(self):
        b = self.bench
        conf = b.top / "pam.d"
        if not conf.exists():
            conf.mkdir()
            # the program that tells authorized keys is cat, whose argument is the user's name
            (conf / "latchkey-test").write_text("auth required pam_ssh_agent_auth.so authorized_keys_command=/bin/cat\n")
        shutil.copy(next(iter(self.keys.values())), b.home / getpass.getuser())
        return b.run(sys.executable, "-c", PAM, conf, getpass.getuser(), check=False).stdout

    def by_hand(self):
        _, blob = next(iter(self.keys.values())).read_text().split()[:2]
        blob = base64.b64decode(blob)
        user, words = getpass.getuser(), [s(w) for w in (sys.executable, "-c", "x\ny")]
        request = b"\0\0\0\x65" + s(os.urandom(40)) + s(user) + s(user) + s("latchkey-test") + s(os.getcwd())
        request += s(len(words).to_bytes(4, "big") + b"".join(words)) + s("host") + (1700000000).to_bytes(8, "big")
        kind, _ = take(blob)
        c = AgentClient(self.agent.ssh)
        signed = c.sign(blob, s(request) + b"\x36" + s(user) + s("pam_ssh_agent_auth") + s("publickey") + b"\1" + s(kind) + s(blob))
        c.close()
        return "let in\n" if signed else "kept out\n"

    def test_pam_ssh_agent_auth(self):
        self.begin("Match use sudo\n Confirm yes\n", "ed25519", "rsa", "ecdsa")
        for t in list(self.keys):
            with self.subTest(t):
                self.pinentry.answer("confirm ok")
                self.assertEqual(self.ask(), "let in\n")
                r = self.agent.last()
                self.assertEqual((r["use"], r["key"]["comment"]), ("sudo", t))
                self.assertEqual(r["object"]["service"], "latchkey-test")
                self.assertEqual(r["object"]["user"], getpass.getuser())
                self.assertIn("python3", r["object"]["command"])
                self.keys.pop(t)
        desc = self.pinentry.dialogs()[0]["desc"]
        for part in ("pam_ssh_agent_auth", "latchkey-test", "policy.conf:2"):
            self.assertIn(part, desc)
        self.assertEqual(len([line for line in desc.splitlines() if line.startswith("Command:")]), 1)

    def test_a_rule_for_logins_is_none_for_sudo(self):
        self.begin("Match use ssh-auth\n Access allow\nMatch !use import\n Access deny\n")
        self.assertEqual(self.ask(), "kept out\n")


class KeyTests(Case):
    def test_ssh_add_tries_a_key(self):
        self.begin("", "ed25519", "rsa")
        for key in self.keys.values():
            self.bench.run("ssh-add", "-T", key, env=dict(self.bench.env, SSH_AUTH_SOCK=str(self.agent.ssh)))
        self.assertEqual(self.uses(), [("key-test", "allowed")] * 2)
        c = AgentClient(self.agent.ssh)
        self.assertIsNone(c.sign(c.list()[0][0], os.urandom(1024)), "anybody else's request is raw")
        self.assertEqual(self.agent.last()["use"], "raw")


class HostKeys(Case):
    """An sshd whose host keys are the agent's."""
    KEX = "host-key"  # the hash of a key exchange has no form: an sshd is believed about it

    def serve(self, policy, *types):
        self.begin(policy, *types)
        self.server = Sshd(self.bench, "served", agent=self.agent.ssh, keys=list(self.keys.values()))
        user = self.bench.home / "user"
        self.bench.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", user)
        self.server.authorize((self.bench.home / "user.pub").read_text())

    def login(self, *more, **kw):
        return self.server.login("echo in", "-o", f"IdentityFile={self.bench.home}/user", "-o", "IdentityAgent=none", *more, **kw)

    def test_key_exchange(self):
        for t in ("ed25519", "rsa", "ecdsa"):
            with self.subTest(t):
                self.setUp()
                self.serve("", t)
                self.assertEqual(self.login().stdout, "in\n")
                self.assertEqual(self.uses(), [(self.KEX, "allowed")])

    def test_denied_by_its_use(self):
        self.serve(f"Match use {self.KEX}\n Access deny\n", "ed25519")
        self.assertNotEqual(self.login(check=False).returncode, 0)
        self.assertEqual(self.uses()[0], (self.KEX, "refused"))

    def test_proof_of_further_keys(self):
        self.serve("", "ed25519", "rsa")
        known = self.bench.home / ".ssh" / "known_hosts"
        before = known.read_text().count("\n")
        self.login("-o", "UpdateHostKeys=yes")
        self.assertEqual(self.uses(), [(self.KEX, "allowed"), ("host-key", "allowed")])
        self.assertEqual(self.agent.last()["key"]["comment"], "rsa")
        self.assertEqual(known.read_text().count("\n"), before + 1, "ssh believed the proof")

    def test_a_hash_is_no_key_exchange_because_of_its_length(self):
        self.begin("Match all\n Touch none\n")
        c = AgentClient(self.agent.ssh)
        blob = c.list()[0][0]
        for n in (20, 32, 48, 64):
            self.assertIsNone(c.sign(blob, os.urandom(n)))
            self.assertEqual(self.agent.last()["use"], "raw")
        self.assertIsNotNone(c.sign(blob, s("hostkeys-prove-00@openssh.com") + s(os.urandom(32)) + s(blob)))
        self.assertEqual(self.agent.last()["use"], "host-key")
        self.assertIsNone(c.sign(blob, s("hostkeys-prove-00@openssh.com") + s(os.urandom(32)) + s(blob[:-1] + b"x")))
        self.assertEqual(self.agent.last()["use"], "raw")
