"""Broken policies, wrong modes, garbage on every socket: clear errors, no crash, others undisturbed."""
import os
import random
import socket
import unittest

from harness import Agent, AgentClient, Bench, ScriptedPinentry, wait_until
from harness.agentclient import sshsig
from harness.bench import BUILD


class Case(unittest.TestCase):
    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        self.pinentry = ScriptedPinentry(b)

    def begin(self, policy=""):
        b = self.bench
        b.policy(policy)
        self.agent = Agent(b)
        self.key = b.home / "id"
        b.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)

    def add(self, **kw):
        return self.bench.run("ssh-add", "-q", self.key, **kw)

    def signs(self):
        c = AgentClient(self.agent.ssh)
        keys = c.list()
        ok = bool(keys) and c.sign(keys[0][0], sshsig("x")) is not None
        c.close()
        return ok


class Policies(Case):
    def test_broken_at_start_serves_nothing_and_says_why(self):
        self.begin("Host a\n  Tuoch always\n")
        self.assertNotEqual(self.add(check=False).returncode, 0)
        p = self.agent.latchkey("status", check=False)
        self.assertEqual(p.returncode, 1)
        self.assertIn("policy.conf:2:3: unknown keyword \"Tuoch\"; did you mean \"Touch\"?", p.stderr)
        self.assertIn("^", p.stderr)
        self.bench.policy("Match all\n Touch none\n")
        wait_until(lambda: self.agent.status()["policy"]["ok"], "the mended policy is loaded")
        self.add()
        self.assertTrue(self.signs())

    def test_broken_one_never_replaces_a_good_one(self):
        self.begin("Match all\n Touch none\n")
        self.add()
        before = self.agent.status()["policy"]["hash"]
        self.bench.policy("Match\n Touch sometimes\n Pin never\n")
        wait_until(lambda: self.agent.status()["policy"]["problem"], "the problem is seen")
        status = self.agent.status()["policy"]
        self.assertEqual(status["hash"], before)
        self.assertEqual(status["problem"].count("policy.conf:"), 3, "all problems in one pass")
        self.assertTrue(self.signs())
        self.assertEqual(self.agent.records("policy")[-1]["result"], "rejected")

    def test_loosened_by_a_program_is_not_loaded(self):
        self.begin("Match use sshsig\n Access deny\n")
        self.add()
        self.assertFalse(self.signs())
        self.pinentry.answer("confirm no")
        self.bench.policy("Match use sshsig\n Access allow\n")
        wait_until(lambda: self.pinentry.dialogs(), "the person is asked")
        self.assertIn("DEMANDS LESS", self.pinentry.dialogs()[0]["desc"])
        self.assertIn("-     Access deny", self.pinentry.dialogs()[0]["desc"])
        wait_until(lambda: self.agent.status()["policy"]["problem"], "declined")
        self.assertFalse(self.signs())
        self.pinentry.answer("confirm ok")
        self.agent.latchkey("reload")
        wait_until(self.signs, "agreed to")
        self.assertEqual([r["result"] for r in self.agent.records("policy")], ["loaded", "declined", "loaded"])

    def test_administrators_floor(self):
        etc = self.bench.top / "etc" / "latchkey"
        etc.mkdir(mode=0o755)
        (etc / "policy.conf").write_text("Match use sshsig\n Confirm yes\n")
        self.begin("Match all\n Touch none\n Confirm no\n")
        self.add()
        self.pinentry.answer("confirm no")
        self.assertFalse(self.signs())
        self.assertTrue(self.agent.last()["rule"].endswith("etc/latchkey/policy.conf:2"))

    def test_file_that_others_can_write(self):
        self.begin()
        path = self.bench.policy("Match all\n Touch none\n")
        path.chmod(0o666)
        wait_until(lambda: "can be written by others" in (self.agent.status()["policy"]["problem"] or ""), "refused")
        p = self.agent.latchkey("policy", "check", path, check=False)
        self.assertEqual(p.returncode, 1)
        self.assertIn("chmod go-w", p.stderr)
        path.chmod(0o600)
        self.assertEqual(self.agent.latchkey("policy", "check", path).returncode, 0)

    def test_bad_settings_stop_the_start(self):
        self.bench.settings("LockOnUnplug sometimes\nPinentri /x\n")
        p = self.bench.run(BUILD / "latchkey-agent", "--foreground", check=False)
        self.assertEqual(p.returncode, 1)
        self.assertIn("latchkey.conf:1:14", p.stderr)
        self.assertIn("did you mean \"Pinentry\"", p.stderr)


class Sockets(Case):
    def raw(self, path, data):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(10)
        s.connect(str(path))
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            s.close()

    def test_garbage_everywhere(self):
        self.begin()
        self.add()
        rng = random.Random(7)
        bad = [b"", b"\0", b"\0\0\0\0", b"\xff" * 64, b"\0\0\0\x05\x0b", b"\0\4\0\1\x0d", b"\0\0\0\x01\x0b" * 1000,
               b"\0\0\0\x05\x0d\xff\xff\xff\xff", b"\0\0\0\x01\x1b", b"\0\0\0\x02\x11x"]
        bad += [rng.randbytes(rng.randrange(1, 3000)) for _ in range(60)]
        bad += [len(r).to_bytes(4, "big") + r for r in (bytes([t]) + rng.randbytes(40) for t in range(0, 32))]
        for data in bad:
            self.raw(self.agent.ssh, data)
            self.raw(self.agent.ctl, data)
        for line in (b"SIGN\n", b"CERTIFICATE uid=%00\n", b"POLICY\n", b"POLICY EXPLAIN key=nobody\n", b"OPTION ttyname\n",
                     b"SIGN key=" + b"A" * 2000 + b"\n", b"NOSUCH\n"):
            self.raw(self.agent.ctl, line)
        self.assertIsNone(self.agent.process.poll())
        self.assertTrue(self.signs())
        self.agent.stop()

    def test_largest_frame_and_a_slow_one(self):
        self.begin()
        self.add()
        c = AgentClient(self.agent.ssh)
        body = b"\x0d" + b"\0" * (256 * 1024 - 1)
        self.assertEqual(c.ask(body)[0], 5)
        self.assertEqual(len(c.list()), 1, "the connection goes on")
        slow = socket.socket(socket.AF_UNIX)
        slow.connect(str(self.agent.ssh))
        slow.send(b"\0\0")
        self.assertTrue(self.signs(), "a client that says half a length delays nobody")
        slow.send(b"\0\x01\x0b")
        self.assertTrue(slow.recv(5))
        slow.close()

    def test_two_thousand_idle_connections(self):
        self.begin()
        self.add()
        p = self.bench.run(BUILD / "bench" / "agentload", self.agent.ssh, "idle", "-c", "2000", check=False)
        self.assertIn("list answered", p.stdout)
        self.assertTrue(self.signs())

    def test_mutated_keys(self):
        self.begin()
        self.bench.run("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", self.bench.home / "rsa")
        # the message that ssh-add sends, caught by a socket of ours
        path = self.bench.top / "catch"
        l = socket.socket(socket.AF_UNIX)
        l.bind(str(path))
        l.listen()
        p = self.bench.start("ssh-add", "-q", self.bench.home / "rsa", env=dict(self.bench.env, SSH_AUTH_SOCK=str(path)))
        s, _ = l.accept()
        message = s.recv(65536)
        while len(message) < 4 + int.from_bytes(message[:4], "big"):
            message += s.recv(65536)
        s.close()
        p.wait()
        body = message[4:]
        c = AgentClient(self.agent.ssh)
        rng = random.Random(3)
        for _ in range(60):
            i = rng.randrange(11, len(body) - 30)
            mutated = body[:i] + bytes([body[i] ^ (1 << rng.randrange(8))]) + body[i + 1:]
            self.assertEqual(c.ask(mutated)[0], 5, f"octet {i} changed")
        self.assertEqual(c.list(), [])
        self.assertEqual(c.ask(body)[0], 6)
        self.assertIsNotNone(c.sign(c.list()[0][0], sshsig("x"), 4))
