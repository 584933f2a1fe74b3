"""ssh logins with a software key, under policies; forwarding; those who try to get by with less."""
import os
import unittest

from harness import Agent, AgentClient, Bench, HostKey, ScriptedPinentry, Sshd, wait_until
from harness.agentclient import s, sshsig, userauth


class Case(unittest.TestCase):
    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        self.pinentry = ScriptedPinentry(b)

    def begin(self, policy="", *add):
        b = self.bench
        b.policy(policy)
        self.agent = Agent(b)
        self.key = b.home / ".ssh" / "id"
        b.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "soft", "-f", self.key)
        self.public = self.key.with_suffix(".pub").read_text()
        b.run("ssh-add", "-q", *add, self.key)

    def server(self, name, **kw):
        server = Sshd(self.bench, name, known_as=name + ".example", **kw)
        server.authorize(self.public)
        return server

    def denied(self, server, *more):
        p = server.login("true", *more, check=False)
        self.assertNotEqual(p.returncode, 0, p.stdout)
        self.assertNotIn("in", p.stdout)


class Login(Case):
    def test_allowed_denied_by_host(self):
        self.begin("Host deny.example\n Access deny\n")
        yes, no = self.server("allow"), self.server("deny")
        self.assertEqual(yes.login().stdout, "in\n")
        self.assertEqual(self.agent.last()["destination"]["names"], ["allow.example"])
        self.assertEqual(self.agent.last()["destination"]["proof"], "hostbound")
        self.denied(no)
        self.assertEqual(self.agent.last()["verdict"], "refused")
        self.assertTrue(self.agent.last()["rule"].endswith("policy.conf:2"))
        out = self.agent.latchkey("policy", "explain", "--last").stdout
        self.assertIn("deny  (", out)
        self.assertIn("policy.conf:2", out)

    def test_confirmed_and_cancelled(self):
        self.begin("Host ask.example\n Confirm yes\n")
        server, other = self.server("ask"), self.server("free")
        self.pinentry.answer("confirm ok")
        self.assertEqual(server.login().stdout, "in\n")
        desc = self.pinentry.dialogs()[0]["desc"]
        for part in ("/usr/bin/ssh", "ask.example", "soft", "policy.conf:2"):
            self.assertIn(part, desc)
        self.pinentry.answer("confirm no")
        self.denied(server)
        self.assertEqual(self.agent.last()["reason"], "the person said no")
        self.assertEqual(other.login().stdout, "in\n")
        self.assertEqual(len(self.pinentry.dialogs()), 2)

    def test_hashed_known_hosts(self):
        self.begin("Host secret.example\n Access deny\n")
        server = self.server("secret", hashed=True)
        self.denied(server)
        self.assertEqual(self.agent.last()["destination"]["names"], ["secret.example"])

    def test_keys_hidden_for_a_host(self):
        self.begin("Host picky.example\n Keys other*\n")
        self.denied(self.server("picky"))
        self.assertEqual(self.server("free").login().stdout, "in\n")

    def test_hang_up_withdraws_the_dialog(self):
        self.begin("Match use ssh-auth\n Confirm yes\n")
        server = self.server("ask")
        p = self.bench.start(*server.args(), "true")
        self.pinentry.wait_open(1)
        self.bench.end(p)
        wait_until(lambda: self.agent.records() and self.agent.last().get("reason") == "the client hung up", "the request ends")
        self.pinentry.always("ok")  # the dialog that was withdrawn may take a single answer with it
        self.assertEqual(server.login().stdout, "in\n")


class Proofs(Case):
    """What a real ssh proves, with and without host-bound data, and who is believed about it."""
    POLICY = "Match proof none\n Access deny\nMatch all\n Touch none\n"

    def proof(self, server, *more, ssh=None, check=True):
        args = server.args(*more)
        p = self.bench.run(ssh or args[0], *args[1:], "echo in", check=False)
        self.assertEqual(p.stdout == "in\n", check, p.stderr)
        return self.agent.last()["destination"]["proof"]

    def test_plain_data_needs_the_systems_own_ssh(self):
        import shutil
        self.begin(self.POLICY)
        server = self.server("allow")
        plain = ("-o", "PubkeyAuthentication=unbound")
        self.assertEqual(self.proof(server), "hostbound")
        self.assertEqual(self.proof(server, *plain), "bound")
        mine = self.bench.home / "ssh"
        shutil.copy(shutil.which("ssh"), mine)
        mine.chmod(0o775)
        self.assertEqual(self.proof(server, *plain, ssh=mine, check=False), "none")
        self.assertEqual(self.agent.last()["destination"]["unproven_because"], "bound by a program that is not the system's ssh")
        self.assertEqual(self.proof(server, ssh=mine), "hostbound", "what the data itself says needs nobody's word")

    def test_hashed_name_from_the_command_line(self):
        # no rule names it literally: only the asking ssh does, and the hash tells that it is right
        self.begin("Host *.example\n Access deny\nMatch all\n Touch none\n")
        server = self.server("secret", hashed=True)
        self.denied(server)
        self.assertEqual(self.agent.last()["destination"]["names"], ["secret.example"])

    def test_key_of_no_known_host(self):
        self.begin("Host prod.example\n Access deny\nMatch all\n Touch none\n")
        known, unknown = self.server("known"), self.server("unknown", known=False)
        self.assertEqual(known.login().stdout, "in\n")
        args = [a.replace("StrictHostKeyChecking=yes", "StrictHostKeyChecking=no").replace(
            "UserKnownHostsFile=", "UserKnownHostsFile=/dev/null ") for a in unknown.args()]
        p = self.bench.run(*args, "echo in", check=False)
        self.assertNotEqual(p.returncode, 0)
        self.assertEqual(self.agent.last()["destination"]["proof"], "hostbound")
        self.assertEqual(self.agent.last()["destination"]["names"], [])
        self.assertTrue(self.agent.last()["rule"].endswith("policy.conf:2"))


class Limits(Case):
    def sign(self, check=True):
        return self.bench.run("ssh-keygen", "-Y", "sign", "-n", "file", "-f", self.key.with_suffix(".pub"), input="x",
                              check=check).returncode

    def test_rate_is_refused_until_confirmed(self):
        self.begin("Match use sshsig\n Rate 2/1d\n Touch none\n")
        self.sign()
        self.sign()
        self.assertEqual(self.pinentry.opened(), [])
        self.pinentry.answer("confirm no")
        self.assertNotEqual(self.sign(check=False), 0)
        self.assertIn("more often than the policy's Rate allows", self.pinentry.dialogs()[0]["desc"])
        self.assertTrue(self.agent.last()["rule"].endswith("policy.conf:2"))
        self.pinentry.answer("confirm ok")
        self.sign()
        self.sign()
        self.assertEqual(len(self.pinentry.opened()), 2)

    def test_rate_holds_against_many_at_once(self):
        self.begin("Match use sshsig\n Rate 3/1d\n Confirm no\n Touch none\n")
        clients = [AgentClient(self.agent.ssh) for _ in range(12)]
        blob = clients[0].list()[0][0]
        for c in clients:
            c.send(b"\x0d" + s(blob) + s(sshsig("file")) + b"\0\0\0\0")
        for _ in range(9):
            self.pinentry.answer("confirm no")
        self.assertEqual(sorted(c.recv()[0] for c in clients), [5] * 9 + [14] * 3)

    def test_approval_for_a_connection(self):
        self.begin("Match use sshsig\n Confirm connection\n Touch none\n")
        c, d = AgentClient(self.agent.ssh), AgentClient(self.agent.ssh)
        blob = c.list()[0][0]
        self.pinentry.answer("confirm ok")
        for _ in range(3):
            self.assertIsNotNone(c.sign(blob, sshsig("file")))
        self.pinentry.answer("confirm no")
        self.assertIsNone(d.sign(blob, sshsig("file")), "another connection")
        self.pinentry.answer("confirm no")
        self.assertIsNone(c.sign(blob, sshsig("git")), "another use")
        self.agent.latchkey("lock")
        self.pinentry.answer("confirm ok")
        self.agent.latchkey("unlock")
        self.pinentry.answer("confirm no")
        self.assertIsNone(c.sign(blob, sshsig("file")), "after a lock")
        self.assertEqual(len(self.pinentry.dialogs()), 5)

    def test_presence_serves_its_scope_only(self):
        self.begin("Match use sshsig\n Touch cached 1h max 3\n StandIn confirm\n")
        self.pinentry.answer("confirm ok")
        for _ in range(3):
            self.sign()
        self.assertEqual(len(self.pinentry.dialogs()), 1)
        self.assertEqual(self.agent.last()["presence"], "cached")
        self.pinentry.answer("confirm no")
        self.assertNotEqual(self.sign(check=False), 0, "max")
        self.pinentry.answer("confirm ok")
        self.sign()
        self.pinentry.answer("confirm no")
        c = AgentClient(self.agent.ssh)
        self.assertIsNone(c.sign(c.list()[0][0], sshsig("file")), "another program")
        self.pinentry.answer("confirm no")
        p = self.bench.run("setsid", "-w", "ssh-keygen", "-Y", "sign", "-n", "file", "-f", self.key.with_suffix(".pub"), input="x",
                           check=False)
        self.assertNotEqual(p.returncode, 0, "another login session")
        self.agent.latchkey("lock")
        self.pinentry.answer("confirm ok")
        self.agent.latchkey("unlock")
        self.pinentry.answer("confirm no")
        self.assertNotEqual(self.sign(check=False), 0, "after a lock")


class Forwarding(Case):
    def test_two_hops_seen(self):
        self.begin("Match via first.example\n Confirm yes\nMatch all\n Touch none\n")
        first, second = self.server("first"), self.server("second")
        inner = " ".join(f"'{a}'" for a in second.args())
        self.pinentry.answer("confirm ok")
        p = first.login(f"{inner} echo far", "-A")
        self.assertEqual(p.stdout, "far\n")
        d = self.agent.last()["destination"]
        self.assertTrue(d["forwarded"])
        self.assertEqual(d["names"], ["second.example"])
        self.assertEqual(d["via"][0]["names"], ["first.example"])
        self.assertIn("via first.example", self.pinentry.dialogs()[0]["desc"])

    def test_forwarded_denied(self):
        self.begin("Match all\n Forwarded deny\n Touch none\n")
        first, second = self.server("first"), self.server("second")
        inner = " ".join(f"'{a}'" for a in second.args())
        p = first.login(f"{inner} echo far; ssh-add -l", "-A", check=False)
        self.assertNotIn("far", p.stdout)
        self.assertIn("forwarded", self.agent.last()["reason"])

    def test_forwarded_confirmed(self):
        self.begin("Match all\n Forwarded confirm\n Touch none\n")
        first, second = self.server("first"), self.server("second")
        inner = " ".join(f"'{a}'" for a in second.args())
        self.pinentry.answer("confirm no")
        p = first.login(f"{inner} echo far", "-A", check=False)
        self.assertNotIn("far", p.stdout)
        self.assertTrue(self.agent.last()["rule"].endswith("policy.conf:2"))
        self.pinentry.answer("confirm ok")
        self.assertEqual(first.login(f"{inner} echo far", "-A").stdout, "far\n")
        self.assertEqual(len(self.pinentry.dialogs()), 2, "the login from here is not asked about")

    def test_the_command_line_names_no_host_behind(self):
        """second is known by a hash only, and "ssh -A" was told another name."""
        self.begin("Host first.example\n Access allow\nHost *.example\n Access deny\nMatch all\n Touch none\n")
        first = self.server("first")
        second = self.server("second", hashed=True)
        inner = " ".join(f"'{a}'" for a in second.args())
        p = first.login(f"{inner} echo far", "-A", check=False)
        self.assertNotIn("far", p.stdout)
        d = self.agent.last()["destination"]
        self.assertEqual((d["names"], d["via"][0]["names"]), ([], ["first.example"]))

    def test_destination_constraints(self):
        self.begin("")
        good, bad = self.server("good"), self.server("bad")
        self.bench.run("ssh-add", "-q", "-D")
        self.bench.run("ssh-add", "-q", "-h", "good.example", "-H", self.bench.home / ".ssh" / "known_hosts", self.key)
        self.assertEqual(good.login().stdout, "in\n")
        self.denied(bad)
        p = self.bench.run("ssh-keygen", "-Y", "sign", "-n", "git", "-f", self.key.with_suffix(".pub"), input="x", check=False)
        self.assertNotEqual(p.returncode, 0)


class Attacks(Case):
    """Each tries to get by with less than the named host demands."""
    POLICY = "Host prod.example\n Access deny\nMatch all\n Touch none\n"

    def setUp(self):
        super().setUp()
        self.begin(self.POLICY)
        self.prod = HostKey(self.bench, "prod")
        self.mine = HostKey(self.bench, "mine")
        import base64
        with open(self.bench.home / ".ssh" / "known_hosts", "a") as f:
            for name, key in (("prod.example", self.prod), ("mine.example", self.mine)):
                f.write(f"{name} ssh-ed25519 {base64.b64encode(key.blob).decode()}\n")
        self.sid = os.urandom(32)
        self.c = AgentClient(self.agent.ssh)
        self.addCleanup(self.c.close)
        self.blob = self.c.list()[0][0]

    def test_honest_request_for_another_host(self):
        self.assertTrue(self.c.bind(self.bench, self.mine, self.sid))
        self.assertIsNotNone(self.c.sign(self.blob, userauth(self.sid, "root", self.blob, self.mine.blob)))

    def test_revoked_host(self):
        import base64
        with open(self.bench.home / ".ssh" / "known_hosts", "a") as f:
            f.write(f"@revoked other.example ssh-ed25519 {base64.b64encode(self.mine.blob).decode()}\n")
        self.assertTrue(self.c.bind(self.bench, self.mine, self.sid))
        self.assertIsNone(self.c.sign(self.blob, userauth(self.sid, "root", self.blob, self.mine.blob)))
        self.assertEqual(self.agent.last()["reason"], "known_hosts revokes the host's key")
        # neither as a hop on the way
        d = AgentClient(self.agent.ssh)
        self.addCleanup(d.close)
        self.assertTrue(d.bind(self.bench, self.mine, os.urandom(32), forwarding=True))
        self.assertIsNone(d.sign(self.blob, sshsig("git")))

    def test_no_bind_at_all(self):
        self.assertIsNone(self.c.sign(self.blob, userauth(self.sid, "root", self.blob)))
        self.assertEqual(self.agent.last()["destination"]["proof"], "none")

    def test_claims_another_host_for_a_plain_request(self):
        # whoever owns a host key can sign the session id of another server's session with it
        self.assertTrue(self.c.bind(self.bench, self.mine, self.sid))
        self.assertIsNone(self.c.sign(self.blob, userauth(self.sid, "root", self.blob)))

    def test_bind_of_a_forwarding_hop_then_plain_request(self):
        self.assertTrue(self.c.bind(self.bench, self.mine, os.urandom(32), forwarding=True))
        self.assertTrue(self.c.bind(self.bench, self.mine, self.sid))
        self.assertIsNone(self.c.sign(self.blob, userauth(self.sid, "root", self.blob)))

    def test_hostbound_data_for_another_key_than_the_bind(self):
        self.assertTrue(self.c.bind(self.bench, self.mine, self.sid))
        self.assertIsNone(self.c.sign(self.blob, userauth(self.sid, "root", self.blob, self.prod.blob)))

    def test_session_that_was_not_bound(self):
        self.assertTrue(self.c.bind(self.bench, self.mine, self.sid))
        self.assertIsNone(self.c.sign(self.blob, userauth(os.urandom(32), "root", self.blob, self.mine.blob)))

    def test_forged_bind_is_refused(self):
        self.assertFalse(self.c.bind(self.bench, self.mine, self.sid, signature=self.prod.sign(self.bench, self.sid)))
        self.assertFalse(self.c.bind(self.bench, self.mine, self.sid, signature=self.mine.sign(self.bench, b"other")))
        self.assertIsNone(self.c.sign(self.blob, userauth(self.sid, "root", self.blob)))

    def test_bind_after_authentication_bind(self):
        self.assertTrue(self.c.bind(self.bench, self.mine, self.sid))
        self.assertFalse(self.c.bind(self.bench, self.prod, os.urandom(32)))

    def test_data_of_no_known_form(self):
        for data in (b"", os.urandom(64), userauth(self.sid, "root", self.blob) + b"\0", sshsig("git") + b"x"):
            self.assertIsNone(self.c.sign(self.blob, data))
        self.assertIsNotNone(self.c.sign(self.blob, sshsig("git")))

    def test_changed_agent_through_a_forwarded_channel(self):
        self.assertTrue(self.c.bind(self.bench, self.mine, self.sid, forwarding=True))
        self.assertEqual(self.c.ask(b"\x13")[0], 5)
        self.assertEqual(self.c.ask(b"\x16\0\0\0\x01x")[0], 5)
        self.assertEqual(len(AgentClient(self.agent.ssh).list()), 1)


class AddedKeys(Case):
    def test_every_type_lifetime_confirm_and_lock(self):
        self.begin("")
        b = self.bench
        for t, bits in (("rsa", 2048), ("ecdsa", 256), ("ecdsa", 384), ("ecdsa", 521)):
            path = b.home / ".ssh" / f"{t}{bits}"
            b.run("ssh-keygen", "-q", "-t", t, "-b", str(bits), "-N", "", "-f", path)
            b.run("ssh-add", "-q", path)
            signed = b.run("ssh-keygen", "-Y", "sign", "-n", "file", "-f", f"{path}.pub", input="text").stdout
            (b.home / "sig").write_text(signed)
            b.run("ssh-keygen", "-Y", "check-novalidate", "-n", "file", "-s", b.home / "sig", input="text")
        ca = b.home / ".ssh" / "ca"
        b.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ca)
        b.run("ssh-keygen", "-q", "-s", ca, "-I", "ann", "-n", "root", self.key.with_suffix(".pub"))
        b.run("ssh-add", "-q", self.key)
        self.assertIn("ED25519-CERT", b.run("ssh-add", "-l").stdout)
        listed = b.run("ssh-add", "-l").stdout.count("\n")
        b.run("ssh-add", "-q", "-d", b.home / ".ssh" / "rsa2048")
        self.assertEqual(b.run("ssh-add", "-l").stdout.count("\n"), listed - 1)
        short = b.home / ".ssh" / "short"
        b.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "short", "-f", short)
        b.run("ssh-add", "-q", "-t", "1", short)
        wait_until(lambda: "short" not in b.run("ssh-add", "-l").stdout, "the key's life ends")
        b.run("ssh-add", "-q", "-c", short)
        self.pinentry.answer("confirm no")
        p = b.run("ssh-keygen", "-Y", "sign", "-n", "file", "-f", f"{short}.pub", input="x", check=False)
        self.assertNotEqual(p.returncode, 0)
        self.pinentry.answer("confirm ok")
        b.run("ssh-keygen", "-Y", "sign", "-n", "file", "-f", f"{short}.pub", input="x")
        b.run("ssh-add", "-D")
        self.assertEqual(b.run("ssh-add", "-l", check=False).stdout, "The agent has no identities.\n")

    def test_lock_with_a_passphrase(self):
        self.begin("")
        c = AgentClient(self.agent.ssh)
        blob = c.list()[0][0]
        self.assertEqual(c.ask(b"\x16\0\0\0\x06secret")[0], 6)
        self.assertEqual(c.list(), [])
        self.assertIsNone(c.sign(blob, sshsig("git")))
        self.assertEqual(c.ask(b"\x16\0\0\0\x06secret")[0], 5)
        self.assertEqual(c.ask(b"\x17\0\0\0\x05wrong")[0], 5)
        self.assertEqual(self.agent.lock_state(), "passphrase-locked")
        # a channel that is opened meanwhile must not pass for a local one later
        other = AgentClient(self.agent.ssh)
        host = HostKey(self.bench, "h")
        self.assertTrue(other.bind(self.bench, host, os.urandom(32), forwarding=True))
        self.assertEqual(c.ask(b"\x17\0\0\0\x06secret")[0], 6)
        self.assertEqual(len(c.list()), 1)
        self.assertIsNotNone(c.sign(blob, sshsig("git")))
        other.sign(blob, sshsig("git"))
        self.assertTrue(self.agent.last()["destination"]["forwarded"])


class SshAgentCommandLine(Case):
    def test_as_ssh_agent(self):
        b = self.bench
        from harness.bench import BUILD
        p = b.run(BUILD / "latchkey-agent", "-s")
        self.assertRegex(p.stdout, r"SSH_AUTH_SOCK=.*; export SSH_AUTH_SOCK;\nSSH_AGENT_PID=\d+; export SSH_AGENT_PID;\necho Agent pid")
        env = dict(b.env, SSH_AUTH_SOCK=p.stdout.split("=")[1].split(";")[0], SSH_AGENT_PID=p.stdout.split("PID=")[1].split(";")[0])
        self.assertEqual(b.run("ssh-add", "-l", env=env, check=False).stdout, "The agent has no identities.\n")
        taken = b.run(BUILD / "latchkey-agent", "-s", "-a", env["SSH_AUTH_SOCK"], check=False)
        self.assertNotEqual(taken.returncode, 0)
        self.assertIn("already", taken.stderr)
        self.assertIn("killed", b.run(BUILD / "latchkey-agent", "-k", env=env).stdout)
        wait_until(lambda: not os.path.exists(env["SSH_AUTH_SOCK"]), "the socket is removed")
        self.assertEqual(b.run(BUILD / "latchkey-agent", "-k", check=False).returncode, 1)

    def test_command(self):
        from harness.bench import BUILD
        p = self.bench.run(BUILD / "latchkey-agent", "sh", "-c", "ssh-add -l; echo $SSH_AUTH_SOCK; exit 7", check=False)
        self.assertEqual(p.returncode, 7)
        self.assertIn("no identities", p.stdout)
        wait_until(lambda: not os.path.exists(p.stdout.splitlines()[-1]), "the agent ends with its command")

    def test_sockets_of_the_service_manager(self):
        import socket
        from harness.bench import BUILD, die_with_parent
        paths = [self.bench.runtime / n for n in ("a", "b")]
        socks = [socket.socket(socket.AF_UNIX) for _ in paths]
        for path, sock in zip(paths, socks):
            sock.bind(str(path))
            sock.listen()

        def child():
            die_with_parent()
            spare = [os.dup2(s.fileno(), 30 + i) for i, s in enumerate(socks)]
            for i, fd in enumerate(spare):
                os.dup2(fd, 3 + i)

        import subprocess
        env = dict(self.bench.env, LISTEN_FDS="2", LISTEN_FDNAMES="ctl:ssh")
        p = subprocess.Popen(["sh", "-c", f"LISTEN_PID=$$ exec {BUILD}/latchkey-agent --foreground"], env=env, preexec_fn=child,
                             close_fds=False, stderr=subprocess.DEVNULL)
        self.bench.processes.append(p)
        listed = self.bench.run("ssh-add", "-l", env=dict(self.bench.env, SSH_AUTH_SOCK=str(paths[1])), check=False)
        self.assertIn("no identities", listed.stdout)
        self.assertEqual(self.bench.end(p), 0)
        self.assertTrue(all(path.exists() for path in paths), "they are not ours to unlink")

    def test_empty_environment(self):
        from harness.bench import BUILD
        p = self.bench.run(BUILD / "latchkey-agent", "-s", env={"LATCHKEY_RUNTIME_DIR": str(self.bench.top / "x"),
                                                             "HOME": str(self.bench.home), "TMPDIR": str(self.bench.top)})
        os.kill(int(p.stdout.split("PID=")[1].split(";")[0]), 15)
