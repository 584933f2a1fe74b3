"""Clients that mean no good, or have none: after each of them another client is served, memory is bounded, and the agent
ends cleanly."""
import os
import signal
import socket
import struct
import time
import unittest

from harness import Agent, AgentClient, Bench, HostKey, ScriptedPinentry, wait_until
from harness.agentclient import easy_keys, s, sshsig, take
from harness.bench import BUILD

FAILURE, SUCCESS, EXT_FAILURE, EXT_RESPONSE = 5, 6, 28, 29
LIFETIME, CONFIRM, MAXSIGN, EXTENSION = b"\x01", b"\x02", b"\x03", b"\xff"
RESTRICT = "restrict-destination-v00@openssh.com"
# A sanitizer's memory says nothing about ours.
SANITIZED = any(w in (BUILD / "latchkey-agent").read_bytes() for w in (b"__asan_init", b"__tsan_init"))


class Case(unittest.TestCase):
    SETTINGS = ""
    POLICY = "Match all\n Touch none\n"

    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        self.pinentry = ScriptedPinentry(b, self.SETTINGS)
        b.policy(self.POLICY)
        self.agent = Agent(b)
        self.pid = self.agent.process.pid
        self.keys = easy_keys()
        self.public, private = next(self.keys)
        self.assertEqual(self.client().ask(b"\x11" + private + s("first"))[0], SUCCESS)
        self.clients = []

    def tearDown(self):
        self.check_alive()
        self.agent.stop()
        self.assertFalse(self.agent.ssh.exists())

    def client(self):
        c = AgentClient(self.agent.ssh)
        self.addCleanup(c.close)
        return c

    def crowd(self, n, say=b""):
        """N connections that say something, by a process of its own: others must not lose theirs for it."""
        script = ("import socket, sys, time\n"
                  "path, n = sys.argv[1], int(sys.argv[2]); say = sys.stdin.buffer.read(); all = []\n"
                  "for i in range(n):\n"
                  "    c = socket.socket(socket.AF_UNIX); c.connect(path); c.setblocking(False); all.append(c)\n"
                  "    try: c.send(say)\n"
                  "    except OSError: pass\n"
                  "print('there', flush=True)\n"
                  "time.sleep(600)\n")
        p = self.bench.start("python3", "-c", script, self.agent.ssh, n, stdin=-1, stdout=-1)
        p.stdin.write(say)
        p.stdin.close()
        self.addCleanup(p.stdout.close)
        self.assertEqual(p.stdout.readline(), b"there\n")
        return p

    def status_field(self, name, pid=None):
        with open(f"/proc/{pid or self.pid}/status") as f:
            return int(next(line.split()[1] for line in f if line.startswith(name + ":")))

    def check_memory(self, mib):
        if not SANITIZED:
            self.assertLess(self.status_field("VmRSS"), mib * 1024, "KiB of memory")

    def check_alive(self, mib=48):
        """Somebody else lists and signs, and the agent has not grown."""
        self.assertIsNone(self.agent.process.poll())
        c = AgentClient(self.agent.ssh)
        self.assertIn(self.public, [blob for blob, _ in c.list()])
        self.assertIsNotNone(c.sign(self.public, sshsig("test")))
        c.close()
        self.check_memory(mib)

    def ended(self, c):
        with self.assertRaises((EOFError, ConnectionError)):
            c.recv()

    def token(self):
        """The process that holds the software keys."""
        with open(f"/proc/{self.pid}/task/{self.pid}/children"):
            pass
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if parent == self.pid and b"software" in f.read():
                        return int(pid)
            except OSError:
                pass
        return None

    def told(self, what):
        return self.agent.log.read_text().count(what)


class Frames(Case):
    def test_empty_frame_ends_the_connection_at_once(self):
        c = self.client()
        c.sock.sendall(b"\0\0\0\0")
        self.ended(c)

    def test_frame_one_octet_too_large(self):
        c = self.client()
        c.sock.sendall(struct.pack(">I", 256 * 1024 + 1))
        self.ended(c)

    def test_largest_frame_is_taken(self):
        c = self.client()
        for kind in (0, 13, 17, 25, 27, 99):
            self.assertEqual(c.ask(bytes([kind]) + b"\0" * (256 * 1024 - 1))[0], FAILURE)
        self.assertEqual(len(c.list()), 1)

    def test_every_unknown_type(self):
        c = self.client()
        known = (9, 11, 19)
        for kind in range(256):
            if kind not in known:
                self.assertEqual(c.ask(bytes([kind])), bytes([FAILURE]), kind)
        self.assertEqual(len(c.list()), 1)

    def test_trailing_octets(self):
        c = self.client()
        for body in (b"\x0bx", b"\x13x", b"\x09x", b"\x12" + s(self.public) + b"x", b"\x16" + s("pw") + b"x",
                     b"\x0d" + s(self.public) + s(sshsig("x")) + b"\0\0\0\0x"):
            self.assertEqual(c.ask(body)[0], FAILURE, body[:1])
        self.assertEqual(len(c.list()), 1)
        self.assertEqual(self.agent.lock_state(), "open")

    def test_every_prefix_of_a_key(self):
        c = self.client()
        _, private = next(self.keys)
        whole = b"\x19" + private + s("comment") + LIFETIME + struct.pack(">I", 60) + CONFIRM
        # an added key may end behind its comment or any of its constraints, and nowhere else
        ends = (len(whole) - 6, len(whole) - 1)
        for n in range(1, len(whole)):
            self.assertEqual(c.ask(whole[:n])[0], SUCCESS if n in ends else FAILURE, n)

    def test_pipelined(self):
        c = self.client()
        c.sock.sendall(s(b"\x0b") * 500 + s(b"\x63") + s(b"\x0b"))
        for _ in range(500):
            self.assertEqual(c.recv()[0], 12)
        self.assertEqual(c.recv()[0], FAILURE)
        self.assertEqual(c.recv()[0], 12)

    def test_half_close_still_gets_its_answers(self):
        c = self.client()
        c.sock.sendall(s(b"\x0d" + s(self.public) + s(sshsig("x")) + b"\0\0\0\0") + s(b"\x0b"))
        c.sock.shutdown(socket.SHUT_WR)
        self.assertEqual(c.recv()[0], 14)
        self.assertEqual(c.recv()[0], 12)
        self.ended(c)

    def test_one_octet_at_a_time(self):
        c = self.client()
        for octet in s(b"\x1b" + s("query")):
            c.sock.send(bytes([octet]))
            self.assertEqual(len(self.client().list()), 1)
        self.assertEqual(c.recv()[0], EXT_RESPONSE)

    def test_gone_in_the_middle_of_a_frame(self):
        for i in range(300):
            c = AgentClient(self.agent.ssh)
            c.sock.send(s(b"\x11" + b"\0" * 9000)[:1 + i * 29])
            c.close()

    def test_churn_leaves_nothing_behind(self):
        for _ in range(1500):
            AgentClient(self.agent.ssh).close()
        for _ in range(200):
            c = AgentClient(self.agent.ssh)
            c.list()
            c.close()
        wait_until(lambda: self.status_field("Threads") < 20, "the connections' threads end")
        self.check_memory(24)


class Stalled(Case):
    SETTINGS = "MaxMemory 4M\nMessageTimeout 2s\nMaxClients 600\n"

    def test_long_frames_that_stop(self):
        self.crowd(400, s(b"\x0d" + b"\0" * 250000)[:-1])
        self.check_alive()
        # a long message of somebody honest waits its turn, and is answered: it may have to come twice, since all of these
        # are one program's, and that is what loses connections
        data = b"SSHSIG" + s("n" * 100000) + s("") + s("sha512") + s(os.urandom(64))

        def answered():
            try:
                return AgentClient(self.agent.ssh).sign(self.public, data) is not None
            except (EOFError, OSError):
                return False

        wait_until(answered, "a long message is answered")
        self.assertEqual(self.told("MaxMemory"), 1)

    def test_secret_frames_that_stop(self):
        self.crowd(400, s(b"\x11" + b"\0" * 250000)[:-1])
        self.check_alive()
        _, private = next(self.keys)
        self.assertEqual(self.client().ask(b"\x11" + private + s("second"))[0], SUCCESS)

    def test_lists_that_nobody_reads(self):
        c = self.client()
        for _ in range(30):
            self.assertEqual(c.ask(b"\x11" + next(self.keys)[1] + s("k" * 5000))[0], SUCCESS)
        self.crowd(300, s(b"\x0b") * 100)
        self.check_alive()

    def test_first_octet_and_nothing_more(self):
        c = self.client()
        c.sock.send(b"\0")
        self.ended(c)  # after MessageTimeout
        idle = self.client()
        time.sleep(2.5)
        self.assertEqual(len(idle.list()), 1, "who has begun nothing may be idle for ever")

    def test_objects_that_stop(self):
        socks = []
        for _ in range(40):
            c = socket.socket(socket.AF_UNIX)
            c.connect(str(self.agent.ctl))
            c.setblocking(False)
            socks.append(c)
            try:
                c.send(b"SIGN\n")
                for _ in range(400):
                    c.send(b"D " + b"x" * 900 + b"\n")
            except OSError:
                pass
        self.check_alive()
        self.assertEqual(self.agent.lock_state(), "open")
        for c in socks:
            c.close()

    def test_object_larger_than_there_is_room(self):
        c = socket.socket(socket.AF_UNIX)
        c.settimeout(60)
        c.connect(str(self.agent.ctl))
        c.sendall(b"SIGN\n" + (b"D " + b"x" * 900 + b"\n") * 7000 + b"END\n")
        f = c.makefile("rb")
        answer = b""
        while not answer.startswith(b"ERR"):
            answer = f.readline()
            self.assertNotEqual(answer, b"")
            if answer.startswith(b"S ERROR_TEXT"):
                self.assertIn(b"MaxMemory", answer)
        c.sendall(b"GETINFO version\n")
        self.assertTrue(f.readline().startswith(b"D "), "the rest of the object was not taken for commands")
        c.close()


class Crowds(Case):
    SETTINGS = "MaxClients 64\n"

    def test_idle_ones_make_room(self):
        mine = self.client()
        self.crowd(400)
        self.assertEqual(len(mine.list()), 1, "one connection of another program is not what is ended")
        for _ in range(50):
            self.check_alive()
        self.assertEqual(self.bench.run("ssh-add", "-l").stdout.count("\n"), 1)
        self.assertEqual(self.told("MaxClients"), 1)
        self.assertLess(self.status_field("Threads"), 64 + 20)

    def test_stalled_ones_make_room(self):
        self.crowd(200, b"\0\0\1\0\x0d")
        self.check_alive()

    def test_busy_ones_make_room(self):
        self.bench.policy("Match use sshsig:ask\n Confirm yes\nMatch all\n Touch none\n")
        self.pinentry.answer("confirm ok")
        self.agent.latchkey("reload")
        wait_until(lambda: self.agent.status()["policy"]["problem"] is None, "the policy is loaded")
        request = s(b"\x0d" + s(self.public) + s(sshsig("ask")) + b"\0\0\0\0")
        p = self.crowd(200, request)
        self.check_alive()
        self.bench.end(p)
        wait_until(lambda: self.status_field("Threads") < 30, "all of them are gone")

    def test_many_programs_with_one_connection_each(self):
        for _ in range(70):
            self.bench.start("python3", "-c", "import socket, sys, time\ns = socket.socket(socket.AF_UNIX)\n"
                             "s.connect(sys.argv[1])\ntime.sleep(600)", self.agent.ssh, stderr=-3)
        wait_until(lambda: self.told("MaxClients") == 1, "the limit is reached", 60)
        self.check_alive()


class Descriptors(Case):
    def test_raised_here_and_not_for_children(self):
        def limit(pid):
            with open(f"/proc/{pid}/limits") as f:
                return next(line.split()[3:5] for line in f if line.startswith("Max open files"))
        soft, hard = limit(self.pid)
        self.assertEqual(soft, hard)
        self.assertEqual(limit(self.token()), limit(os.getpid()))
        p = self.bench.run(BUILD / "latchkey-agent", "sh", "-c", "ulimit -n; kill -0 $SSH_AGENT_PID; trap - TERM; kill $$",
                           check=False)
        self.assertEqual(p.stdout.strip(), limit(os.getpid())[0])
        self.assertEqual(p.returncode, -signal.SIGTERM, "the command's signals are not blocked")


class Keys(Case):
    SETTINGS = "MaxKeys 40\n"

    def test_flood_of_keys(self):
        c = self.client()
        answers = [c.ask(b"\x11" + next(self.keys)[1] + s("k"))[0] for _ in range(120)]
        self.assertEqual(answers, [SUCCESS] * 39 + [FAILURE] * 81)
        self.assertEqual(self.told("MaxKeys 40 is reached"), 1)
        self.check_alive()
        self.assertEqual(c.ask(b"\x12" + s(c.list()[-1][0]))[0], SUCCESS)
        blob, private = next(self.keys)
        self.assertEqual(c.ask(b"\x11" + private + s("k"))[0], SUCCESS, "one removed makes room for one")
        self.assertIsNotNone(c.sign(blob, sshsig("x")))

    def test_flood_of_the_same_key(self):
        c = self.client()
        private = next(self.keys)[1]
        for i in range(1000):
            self.assertEqual(c.ask(b"\x11" + private + s(f"k{i}"))[0], SUCCESS)
        self.assertEqual(len(c.list()), 2)
        if not SANITIZED:
            self.assertLess(self.status_field("VmRSS", self.token()), 24 * 1024, "old copies are wiped")

    def test_flood_of_long_comments(self):
        c = self.client()
        for _ in range(39):
            c.ask(b"\x11" + next(self.keys)[1] + s("c" * 250000))
        self.check_alive(64)
        self.assertLess(len(c.ask(b"\x0b")), 256 * 1024 + 1)

    def test_gone_in_the_middle_of_adding(self):
        for i in range(200):
            c = AgentClient(self.agent.ssh)
            c.send(b"\x11" + next(self.keys)[1] + s("vanished"))
            c.close()
        wait_until(lambda: self.status_field("Threads") < 20, "all of them are gone")
        self.check_alive()
        # what was added is listed, and can be used: none is left behind half-way
        c = self.client()
        for blob, _ in c.list():
            self.assertIsNotNone(c.sign(blob, sshsig("x")))
        self.assertEqual(c.ask(b"\x12" + s(c.list()[-1][0]))[0], SUCCESS)
        self.assertEqual(c.ask(b"\x11" + next(self.keys)[1] + s("x"))[0], SUCCESS)

    def test_gone_in_the_middle_of_removing(self):
        c = self.client()
        for _ in range(100):
            blob, private = next(self.keys)
            self.assertEqual(c.ask(b"\x11" + private + s("short-lived"))[0], SUCCESS)
            hasty = AgentClient(self.agent.ssh)
            hasty.send(b"\x12" + s(blob))
            hasty.close()
            # removed or not, but not half
            self.assertIn(c.ask(b"\x12" + s(blob))[0], (SUCCESS, FAILURE))
            self.assertNotIn(blob, [b for b, _ in c.list()])

    def test_constraints_that_make_no_sense(self):
        c = self.client()
        _, private = next(self.keys)
        life = LIFETIME + struct.pack(">I", 60)
        hop = lambda user, host, *keys: s(s(user) + s(host) + s("") + b"".join(s(k) + b"\0" for k in keys))
        dest = s(hop("", "") + hop("", "host", self.public) + s(""))
        restrict = lambda *d: EXTENSION + s(RESTRICT) + s(b"".join(d))
        bad = [life + life, CONFIRM + CONFIRM, MAXSIGN + struct.pack(">I", 5), b"\x07", LIFETIME + b"\0\0",
               EXTENSION + s("nobody@knows"), EXTENSION + s("associated-certs-v00@openssh.com") + b"\0" + s(""),
               EXTENSION + s("sk-provider@openssh.com") + s("internal"), restrict(), restrict(dest) + restrict(dest),
               restrict(*[dest] * 1025), restrict(s(hop("root", "") + hop("", "host", self.public) + s(""))),
               restrict(s(hop("", "") + hop("", "", self.public) + s(""))), restrict(s(hop("", "") + hop("", "host") + s(""))),
               restrict(dest)[:-1]]
        for i, constraints in enumerate(bad):
            for kind in (b"\x11", b"\x19"):
                self.assertEqual(c.ask(kind + private + s("x") + constraints)[0], FAILURE, i)
        self.assertEqual(len(c.list()), 1)
        self.assertEqual(c.ask(b"\x11" + private + s("x") + restrict(*[dest] * 1024)), bytes([SUCCESS]))

    def test_hidden_key_is_not_changed(self):
        mine, other = HostKey(self.bench, "mine"), HostKey(self.bench, "other")
        c = self.client()
        blob, private = next(self.keys)
        hop = lambda host, *keys: s(s("") + s(host) + s("") + b"".join(s(k) + b"\0" for k in keys))
        only = EXTENSION + s(RESTRICT) + s(s(hop("") + hop("other", other.blob) + s("")))
        self.assertEqual(c.ask(b"\x19" + private + s("x") + only)[0], SUCCESS)
        for bound in (True, False):
            hostile = self.client()
            sig = mine.sign(self.bench, b"s" * 32) if bound else b"no signature"
            self.assertEqual(hostile.bind(self.bench, mine, b"s" * 32, signature=sig), bound)
            self.assertNotIn(blob, [b for b, _ in hostile.list()])
            self.assertEqual(hostile.ask(b"\x11" + private + s("free"))[0], FAILURE, "constraints cannot be shaken off")
            self.assertEqual(hostile.ask(b"\x12" + s(blob))[0], FAILURE)
        good = self.client()
        self.assertTrue(good.bind(self.bench, other, b"t" * 32))
        self.assertIn(blob, [b for b, _ in good.list()])
        self.assertEqual(good.ask(b"\x12" + s(blob))[0], SUCCESS)


class Signing(Case):
    def test_gone_in_the_middle_of_signing(self):
        request = s(b"\x0d" + s(self.public) + s(sshsig("x")) + b"\0\0\0\0")
        for i in range(300):
            c = AgentClient(self.agent.ssh)
            c.sock.sendall(request * (1 + i % 3))
            c.close()
        wait_until(lambda: self.status_field("Threads") < 20, "all of them are gone")

    def test_gone_in_front_of_a_dialog(self):
        self.bench.policy("Match use sshsig:ask\n Confirm yes\nMatch all\n Touch none\n")
        self.pinentry.answer("confirm ok")
        self.agent.latchkey("reload")
        wait_until(lambda: len(self.pinentry.dialogs()) >= 1 or self.agent.status()["policy"]["problem"] is None, "reloaded")
        for _ in range(20):
            c = AgentClient(self.agent.ssh)
            c.send(b"\x0d" + s(self.public) + s(sshsig("ask")) + b"\0\0\0\0")
            self.check_alive()
            c.close()
        wait_until(lambda: self.status_field("Threads") < 20, "all of them are gone")

    def test_token_dies_in_the_middle(self):
        request = b"\x0d" + s(self.public) + s(sshsig("x")) + b"\0\0\0\0"
        crowd = [self.client() for _ in range(20)]
        for c in crowd:
            c.sock.sendall(s(request) * 20)
        os.kill(self.token(), signal.SIGKILL)
        for c in crowd:
            self.assertTrue(all(c.recv()[0] in (14, FAILURE) for _ in range(20)))
        c = self.client()
        wait_until(lambda: c.list() == [], "its keys are gone with it")
        _, private = next(easy_keys())
        wait_until(lambda: c.ask(b"\x11" + private + s("again"))[0] == SUCCESS, "a new one is there")

    def test_token_stops_answering(self):
        os.kill(self.token(), signal.SIGSTOP)
        c = self.client()
        c.send(b"\x0d" + s(self.public) + s(sshsig("x")) + b"\0\0\0\0")
        for _ in range(5):
            self.assertEqual(len(self.client().list()), 1, "lists go on")
        os.kill(self.token(), signal.SIGCONT)
        self.assertEqual(c.recv()[0], 14)

    def test_agent_stops_in_the_middle(self):
        request = b"\x0d" + s(self.public) + s(sshsig("x")) + b"\0\0\0\0"
        crowd = [self.client() for _ in range(30)]
        for c in crowd:
            c.sock.sendall(s(request) * 20)
        self.agent.stop()
        self.assertFalse(self.agent.ssh.exists())
        self.assertNotIn("Sanitizer", self.agent.log.read_text())
        self.tearDown = lambda: None  # nothing more to look at

    def test_agent_stops_while_all_wait(self):
        self.assertEqual(self.client().ask(b"\x16" + s("secret"))[0], SUCCESS)
        for _ in range(10):
            self.client().send(b"\x17" + s("wrong"))  # a queue of delays
        stalled = self.client()
        stalled.sock.send(b"\0\0\1\0\x11")
        self.agent.stop()
        self.assertFalse(self.agent.ssh.exists())
        self.tearDown = lambda: None


class Binds(Case):
    def bind(self, c, key, sid, sig, forwarding=0):
        return c.ask(b"\x1b" + s("session-bind@openssh.com") + s(key.blob) + s(sid) + s(sig) + bytes([forwarding]))[0]

    def test_seventeenth_bind(self):
        key = HostKey(self.bench, "host")
        c = self.client()
        for i in range(17):
            sid = bytes([i]) * 32
            self.assertEqual(self.bind(c, key, sid, key.sign(self.bench, sid), 1), SUCCESS if i < 16 else EXT_FAILURE)
        self.assertEqual(self.bind(c, key, b"\3" * 32, key.sign(self.bench, b"\3" * 32), 1), SUCCESS, "a known one")

    def test_length_of_session_ids(self):
        key = HostKey(self.bench, "host")
        for n, answer in ((0, EXT_FAILURE), (1, SUCCESS), (128, SUCCESS), (129, EXT_FAILURE)):
            sid = b"i" * n
            sig = key.sign(self.bench, sid) if n else b""
            self.assertEqual(self.bind(self.client(), key, sid, sig), answer, n)

    def test_flood_of_forged_binds(self):
        key = HostKey(self.bench, "host")
        c = self.client()
        sig = key.sign(self.bench, b"another")
        for i in range(1000):
            self.assertEqual(self.bind(c, key, struct.pack(">I", i) * 8, sig, 1), EXT_FAILURE)
        self.assertEqual(self.told("session-bind refused"), 1, "one line a connection")
        self.assertEqual(len(c.list()), 1)

    def test_long_exponent_keeps_nobody_busy(self):
        c = self.client()
        n, e = (1 << 16383) | 1, (1 << 16382) | 1
        number = lambda x: s(b"\0" + x.to_bytes(2048, "big"))
        blob = s("ssh-rsa") + number(e) + number(n)
        for _ in range(50):
            answer = c.ask(b"\x1b" + s("session-bind@openssh.com") + s(blob) + s(b"i" * 32) +
                           s(s("rsa-sha2-256") + s(b"\1" * 2048)) + b"\0")
            self.assertEqual(answer[0], EXT_FAILURE)

    def test_extensions_of_no_use(self):
        c = self.client()
        answer = c.ask(b"\x1b" + s("query"))
        self.assertEqual(answer[0], EXT_RESPONSE)
        name, rest = take(answer[1:])
        self.assertEqual(name, b"query")
        self.assertIn(b"session-bind@openssh.com", rest)
        for body in (b"\x1b", b"\x1b" + s(""), b"\x1b" + s("x" * 200000), b"\x1b" + s("query") + b"x", b"\x1b" + s(b"query\0")):
            self.assertEqual(c.ask(body), bytes([FAILURE]))
        for body in (b"", s(""), s(b"\xff" * 60000)):
            self.assertEqual(c.ask(b"\x1b" + s("session-bind@openssh.com") + body), bytes([EXT_FAILURE]))


class Locks(Case):
    def tearDown(self):
        if self.agent.lock_state() != "open":
            wait_until(lambda: self.client().ask(b"\x17" + s("secret"))[0] == SUCCESS, "unlocked", 60)
        super().tearDown()

    def test_guesses_delay_guesses_only(self):
        c = self.client()
        self.assertEqual(c.ask(b"\x16" + s("secret"))[0], SUCCESS)
        guessing = [self.client() for _ in range(12)]
        for i, g in enumerate(guessing):
            g.send(b"\x17" + s(f"guess {i}"))
        # others are answered while the guesses wait for each other: the last of them is far from its turn
        for _ in range(20):
            self.assertEqual(c.list(), [])
            self.assertEqual(self.agent.lock_state(), "passphrase-locked")
        guessing[-1].sock.setblocking(False)
        with self.assertRaises(BlockingIOError):
            guessing[-1].sock.recv(1)
        for g in guessing[2:]:
            g.close()
        self.assertEqual(c.ask(b"\x17" + s("secret"))[0], SUCCESS, "those who left the line are not waited for")
        self.assertEqual(len(c.list()), 1)

    def test_states(self):
        c = self.client()
        self.assertEqual(c.ask(b"\x17" + s("secret"))[0], FAILURE)
        self.assertEqual(c.ask(b"\x16" + s(""))[0], FAILURE)
        self.assertEqual(c.ask(b"\x16" + s("secret"))[0], SUCCESS)
        self.assertEqual(c.ask(b"\x16" + s("other"))[0], FAILURE)
        for body in (b"\x13", b"\x09", b"\x12" + s(self.public), b"\x1b" + s("query"), b"\x11" + next(self.keys)[1] + s("x"),
                     b"\x0d" + s(self.public) + s(sshsig("x")) + b"\0\0\0\0"):
            self.assertEqual(c.ask(body), bytes([FAILURE]))
        self.assertEqual(c.list(), [])
        self.assertEqual(c.ask(b"\x17" + s("secrets"))[0], FAILURE)
        self.assertEqual(c.ask(b"\x17" + s("secret"))[0], SUCCESS)
        self.assertEqual(len(c.list()), 1)
