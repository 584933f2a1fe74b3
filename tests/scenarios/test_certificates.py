"""Certificates for keys on a card: files that come, change, expire; logins by them to a server that trusts only the CA."""
import base64
import getpass
import os
import time
import unittest

from harness import Agent, AgentClient, Authority, Bench, Card, Pcscd, ScriptedPinentry, Sshd, wait_until
from harness.agentclient import s, sshsig, take, userauth

FREE = "Match all\n Touch none\n"


def blob_of(text):
    return base64.b64decode(text.split()[1])


def stamp(t):
    return time.strftime("%Y%m%d%H%M%S", time.localtime(t))


class Case(unittest.TestCase):
    POLICY = FREE
    ALGO = "ed25519"
    SETTINGS = ""

    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        self.pinentry = ScriptedPinentry(b, self.SETTINGS)
        self.pinentry.always()
        b.policy(self.POLICY)
        self.pcscd = Pcscd(b)
        self.ca = Authority(b)
        self.dot_ssh = b.home / ".ssh"

    def begin(self, algo="ed25519"):
        self.card = Card(self.pcscd, "gnuk", "--key", f"aut={algo}")
        self.agent = Agent(self.bench)
        self.agent.wait_token("gnuk")
        self.public = self.agent.latchkey("keys", "--ssh").stdout.strip()
        self.plain = blob_of(self.public)

    def put(self, name, text):
        """The way a careful program writes: at once."""
        tmp = self.bench.top / "new"
        tmp.write_text(text)
        tmp.chmod(0o644)
        tmp.rename(self.dot_ssh / name)
        return self.dot_ssh / name

    def listed(self):
        c = AgentClient(self.agent.ssh)
        try:
            return [blob for blob, _ in c.list()]
        finally:
            c.close()

    def wait_listed(self, *certs):
        """The plain key and behind it exactly these."""
        want = [self.plain, *map(blob_of, certs)]
        wait_until(lambda: self.listed() == want, f"{len(certs)} certificates are listed: {self.keys()['certificates']}")

    def keys(self):
        [k] = [k for k in self.agent.keys() if k["family"] == "ssh" and not k["certificate"]]
        return k

    def log(self):
        return self.agent.log.read_text()

    def sign(self, blob, data, flags=0):
        c = AgentClient(self.agent.ssh)
        try:
            return c.sign(blob, data, flags)
        finally:
            c.close()


class Login(Case):
    def server(self, name="certs", **kw):
        return Sshd(self.bench, name, known_as=name + ".example", extra=f"TrustedUserCAKeys {self.ca.public}", **kw)

    def log_in(self, algo):
        self.begin(algo)
        server = self.server()
        self.assertNotEqual(server.login(check=False).returncode, 0, "the plain key is worth nothing there")
        cert = self.ca.certify(self.public)
        path = self.put("card-cert.pub", cert)
        self.wait_listed(cert)
        # 1. listed by the agent, and nothing else at hand
        self.assertEqual(server.login().stdout, "in\n")
        d = self.agent.last()
        self.assertEqual(d["certificate"]["key_id"], "ann@work")
        self.assertEqual(d["destination"]["names"], ["certs.example"])
        self.assertEqual(d["key"]["fingerprint"], self.keys()["fingerprint"])
        # 2. as ssh_config has it: CertificateFile, and the public key as IdentityFile (9.2 sends the plain blob)
        (self.dot_ssh / "card.pub").write_text(self.public)
        p = server.login("echo in", "-o", f"CertificateFile={path}", "-o", f"IdentityFile={self.dot_ssh}/card.pub", "-o",
                         "IdentitiesOnly=yes")
        self.assertEqual(p.stdout, "in\n")
        # 3. a certificate that the agent does not list
        other = self.bench.top / "elsewhere-cert.pub"
        path.rename(other)
        self.wait_listed()
        p = server.login("echo in", "-o", f"CertificateFile={other}", "-o", f"IdentityFile={self.dot_ssh}/card.pub")
        self.assertEqual(p.stdout, "in\n")
        self.assertNotEqual(server.login(check=False).returncode, 0)
        self.assertIn("Accepted certificate ID \"ann@work\"", server.log.read_text())

    def test_ed25519(self):
        self.log_in("ed25519")

    def test_ecdsa(self):
        self.log_in("nistp256")

    def test_rsa(self):
        self.log_in("rsa2048")

    def test_wrong_principal_and_foreign_ca_are_the_servers_business(self):
        self.begin()
        server = self.server()
        self.put("a-cert.pub", self.ca.certify(self.public, principals="nobody-of-that-name"))
        wait_until(lambda: len(self.listed()) == 2, "listed")
        self.assertNotEqual(server.login(check=False).returncode, 0)
        self.put("b-cert.pub", self.ca.certify(self.public, principals=getpass.getuser(), key_id="right"))
        wait_until(lambda: len(self.listed()) == 3, "listed")
        self.assertEqual(server.login().stdout, "in\n")
        self.assertEqual(self.agent.last()["certificate"]["key_id"], "right")


class Requests(Case):
    def test_both_blobs_sign(self):
        self.begin()
        cert = self.ca.certify(self.public)
        self.put("card-cert.pub", cert)
        self.wait_listed(cert)
        sid = os.urandom(32)
        for blob in (self.plain, blob_of(cert)):
            for named in (self.plain, blob_of(cert)):
                alg = take(named)[0].decode()
                sig = self.sign(blob, userauth(sid, "root", named, alg=alg))
                self.assertEqual(take(sig)[0], b"ssh-ed25519", "the signature's type is the plain one")
                self.assertEqual("certificate" in self.agent.last(), named != self.plain)
                self.assertEqual(self.agent.last()["use"], "ssh-auth")
            self.assertIsNotNone(self.sign(blob, sshsig("file")))
        # the algorithm has to fit what is named
        self.assertIsNone(self.sign(self.plain, userauth(sid, "root", blob_of(cert), alg="ssh-ed25519")))

    def test_rsa_algorithms(self):
        self.begin("rsa2048")
        cert = blob_of(self.ca.certify(self.public))
        sid = os.urandom(32)
        for bits, flags in ((256, 2), (512, 4)):
            data = userauth(sid, "root", cert, alg=f"rsa-sha2-{bits}-cert-v01@openssh.com")
            for blob in (self.plain, cert):
                # paramiko leaves the flags out
                for f in (flags, 0):
                    self.assertEqual(take(self.sign(blob, data, f))[0], f"rsa-sha2-{bits}".encode())
        data = userauth(sid, "root", self.plain, alg="ssh-rsa")
        self.assertEqual(take(self.sign(self.plain, data))[0], b"ssh-rsa", "the old way, when it is meant")

    def test_ssh_keygen_with_a_certificate(self):
        self.begin()
        path = self.put("card-cert.pub", self.ca.certify(self.public))
        wait_until(lambda: len(self.listed()) == 2, "listed")
        text = path.read_text()
        for where in (path, self.bench.top / "x-cert.pub"):  # the second one is not listed
            where.write_text(text)
            p = self.bench.run("ssh-keygen", "-Y", "sign", "-n", "file", "-f", where, input="text")
            (self.bench.top / "sig").write_text(p.stdout)
            self.bench.run("ssh-keygen", "-Y", "check-novalidate", "-n", "file", "-s", self.bench.top / "sig", input="text")
            path.unlink(missing_ok=True)
            wait_until(lambda: len(self.listed()) == 1, "gone")

    def test_certificate_of_another_key(self):
        self.begin()
        b = self.bench
        b.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", b.top / "other")
        cert = self.ca.certify((b.top / "other.pub").read_text())
        self.put("card-cert.pub", cert)
        self.assertIsNone(self.sign(blob_of(cert), sshsig("file")))
        self.assertIsNone(self.sign(self.plain, userauth(os.urandom(32), "root", blob_of(cert), alg=take(blob_of(cert))[0].decode())))
        self.assertEqual(self.listed(), [self.plain])
        self.assertEqual(self.keys()["certificates"], [])


class Policy(Case):
    def test_it_is_the_plain_key_to_the_policy(self):
        self.begin()
        cert = self.ca.certify(self.public)
        self.put("card-cert.pub", cert)
        self.wait_listed(cert)
        self.agent.stop()
        for name in (self.keys_fpr(), f"{self.dot_ssh}/card.pub", "*auth*"):
            for hidden, rule in ((False, f"Match key {name}\n Access deny\n"), (True, f"Match all\n Keys !{name} *\n")):
                with self.subTest(rule):
                    self.bench.policy(f"{rule}Match all\n Touch none\n")
                    self.agent = Agent(self.bench)
                    self.agent.wait_token("gnuk")
                    self.assertEqual(self.listed(), [] if hidden else [self.plain, blob_of(cert)])
                    for blob in (self.plain, blob_of(cert)):
                        self.assertIsNone(self.sign(blob, sshsig("file")))
                        self.assertTrue(self.agent.last()["rule"].endswith("policy.conf:2"))
                    self.agent.stop()

    def keys_fpr(self):
        (self.dot_ssh / "card.pub").write_text(self.public)
        return self.bench.run("ssh-keygen", "-lf", self.dot_ssh / "card.pub").stdout.split()[1]

    def test_one_proof_serves_both(self):
        self.bench.policy("Match all\n Touch cached 10m\n StandIn confirm\n")
        self.begin()
        cert = self.ca.certify(self.public)
        self.put("card-cert.pub", cert)
        self.wait_listed(cert)
        self.assertIsNotNone(self.sign(self.plain, sshsig("file")))
        asked = [d["kind"] for d in self.pinentry.dialogs()].count("confirm")
        self.assertEqual(asked, 1)
        self.assertIsNotNone(self.sign(blob_of(cert), sshsig("file")))
        self.assertEqual([d["kind"] for d in self.pinentry.dialogs()].count("confirm"), 1)

    def test_the_dialog_names_it(self):
        self.bench.policy("Match all\n Touch none\n Confirm yes\n")
        self.begin()
        cert = blob_of(self.ca.certify(self.public))
        self.assertIsNotNone(self.sign(self.plain, userauth(os.urandom(32), "root", cert, alg=take(cert)[0].decode())))
        self.assertIn("ann@work", [d for d in self.pinentry.dialogs() if d["kind"] == "confirm"][-1]["desc"])

    def test_locked_by_passphrase(self):
        self.begin()
        cert = self.ca.certify(self.public)
        self.put("card-cert.pub", cert)
        self.wait_listed(cert)
        c = AgentClient(self.agent.ssh)
        self.assertEqual(c.ask(b"\x16" + s("secret"))[0], 6)
        self.assertEqual(self.listed(), [])
        self.assertIsNone(self.sign(blob_of(cert), sshsig("file")))
        self.assertEqual(c.ask(b"\x17" + s("secret"))[0], 6)
        self.assertEqual(len(self.listed()), 2)


class Dates(Case):
    def test_expires_and_begins_while_the_agent_runs(self):
        self.begin()
        now = time.time()
        short = self.ca.certify(self.public, key_id="short", when=f"{stamp(now - 60)}:{stamp(now + 5)}")
        later = self.ca.certify(self.public, key_id="later", when=f"{stamp(now + 5)}:{stamp(now + 3600)}")
        past = self.ca.certify(self.public, key_id="past", when=f"{stamp(now - 3600)}:{stamp(now - 60)}")
        self.put("a-cert.pub", short)
        self.put("b-cert.pub", later)
        self.put("c-cert.pub", past)
        wait_until(lambda: len(self.keys()["certificates"]) == 3, "read")
        if time.time() < now + 4:  # a machine under load may be late for the first half
            self.assertEqual(self.listed(), [self.plain, blob_of(short)])
            why = {c["key_id"]: c["left_out_because"] for c in self.keys()["certificates"]}
            self.assertEqual(why, {"short": None, "later": "not yet valid", "past": "expired"})
        self.wait_listed(later)
        why = {c["key_id"]: c["left_out_because"] for c in self.keys()["certificates"]}
        self.assertEqual(why, {"short": "expired", "later": None, "past": "expired"})
        text = self.agent.latchkey("keys").stdout
        self.assertRegex(text, r'certificate "past" for \S+, until 20\d\d-\d\d-\d\d \d\d:\d\d, left out: expired\n +in .*/c-cert.pub')
        self.assertRegex(text, r'certificate "later" for \S+, until [^\n]*\d\n')

    def test_for_ever(self):
        self.begin()
        cert = self.ca.certify(self.public, principals=None, when="always:forever")
        self.put("card-cert.pub", cert)
        self.wait_listed(cert)
        [c] = self.keys()["certificates"]
        self.assertEqual((c["principals"], c["valid_before"], c["listed"]), ([], None, True))
        self.assertIn("for no principal, for ever", self.agent.latchkey("keys").stdout)


class Files(Case):
    def setUp(self):
        super().setUp()
        self.more = self.bench.home / "more"

    def test_come_change_go(self):
        self.begin()
        one, two = self.ca.certify(self.public, key_id="one"), self.ca.certify(self.public, key_id="two")
        path = self.put("card-cert.pub", one)
        self.wait_listed(one)
        self.put("card-cert.pub", two)  # by rename
        self.wait_listed(two)
        path.write_text(one)  # in place
        self.wait_listed(one)
        self.put("zz-cert.pub", two)
        self.wait_listed(one, two)
        self.put("yy-cert.pub", two)
        wait_until(lambda: len(self.keys()["certificates"]) == 3, "read")
        self.wait_listed(one, two)
        [twice] = [c for c in self.keys()["certificates"] if not c["listed"]]
        self.assertEqual(twice["left_out_because"], "the same certificate is listed already")
        for name in ("card-cert.pub", "yy-cert.pub", "zz-cert.pub"):
            (self.dot_ssh / name).unlink()
        self.wait_listed()
        # what is there at the start counts from the first list on
        self.put("card-cert.pub", two)
        self.agent.stop()
        self.agent = Agent(self.bench)
        self.agent.wait_token("gnuk")
        self.assertEqual(self.listed(), [self.plain, blob_of(two)])

    def test_a_link_and_what_it_points_at(self):
        self.begin()
        one, two = self.ca.certify(self.public, key_id="one"), self.ca.certify(self.public, key_id="two")
        self.more.mkdir()
        (self.more / "real").write_text(one)
        (self.dot_ssh / "card-cert.pub").symlink_to(self.more / "real")
        self.wait_listed(one)
        (self.more / "real").write_text(two)
        self.wait_listed(two)

    def test_no_dot_ssh_yet(self):
        self.dot_ssh.rmdir()
        self.begin()
        cert = self.ca.certify(self.public)
        self.dot_ssh.mkdir(mode=0o700)
        self.put("card-cert.pub", cert)
        self.wait_listed(cert)

    def test_a_pattern_has_to_be_absolute(self):
        self.bench.settings("Certificate ~/x-cert.pub certs/*.pub\n")
        p = self.bench.run("latchkey-agent", "--foreground", check=False)
        self.assertEqual(p.returncode, 1)
        self.assertIn("latchkey.conf:1:26: an absolute path is wanted", p.stderr)

    def test_patterns(self):
        self.bench.settings(f"Pinentry {self.pinentry.program}\nCertificate ~/more/*/*.cert ~/one-cert.pub\n"
                            f"Certificate {self.bench.top}/abs/x\n")
        self.begin()
        certs = [self.ca.certify(self.public, key_id=f"c{i}") for i in range(4)]
        (self.more / "a").mkdir(parents=True)
        self.put("0-cert.pub", certs[0])
        (self.more / "a" / "x.cert").write_text(certs[1])
        (self.bench.home / "one-cert.pub").write_text(certs[2])
        (self.bench.top / "abs").mkdir()
        (self.bench.top / "abs" / "x").write_text(certs[3])
        self.wait_listed(*certs)
        (self.more / "b").mkdir()
        later = self.ca.certify(self.public, key_id="later")
        (self.more / "b" / "y.cert").write_text(later)
        self.wait_listed(certs[0], certs[1], later, *certs[2:])

    def test_what_is_left_out_and_said_once(self):
        self.begin()
        good = self.ca.certify(self.public)
        bad_sig = bytearray(blob_of(good))
        bad_sig[-1] ^= 1
        name = good.split()[0]
        rsa = Authority(self.bench, "rsa", "-b", "2048")
        cases = {
            "empty": ("", "empty"), "comment": ("# nothing\n\n", "empty"), "words": ("what is this\n", "can be read"),
            "binary": ("a\0b", "no text file"), "plain": (self.public, "plain public key"),
            "host": (self.ca.certify(self.public, "-h"), "host's certificate"),
            "forged": (f"{name} {base64.b64encode(bytes(bad_sig)).decode()}\n", "CA's signature"),
            "sha1": (rsa.certify(self.public, "-t", "ssh-rsa"), "SHA-1"),
            "cut": (good[:200] + "\n", "can be read"), "type": (good.replace(name, "ssh-rsa-cert-v01@openssh.com"), "can be read"),
            "large": (good + "#" * 70000, "64 KiB"), "huge": (good + "#" * 2000000, "too large"),
            "unknown": ("ssh-new@example " + base64.b64encode(s("ssh-new@example") + s("x")).decode(), "does not know"),
        }
        for n, (text, _) in cases.items():
            self.put(f"{n}-cert.pub", text)
        os.mkfifo(self.dot_ssh / "fifo-cert.pub")
        (self.dot_ssh / "dir-cert.pub").mkdir()
        (self.dot_ssh / "gone-cert.pub").symlink_to("nowhere")
        self.put("mode-cert.pub", good).chmod(0o666)
        self.put("zz-cert.pub", good)
        self.wait_listed(good)
        cases.update(fifo=("", "no regular file"), dir=("", "no regular file"), mode=("", "can be written by others"),
                     gone=("", "symbolic link"))
        told = {c["file"].rsplit("/", 1)[1]: c["problem"] for c in self.agent.status()["certificates_left_out"]}
        self.assertEqual(set(told), {f"{n}-cert.pub" for n in cases})
        text = self.agent.latchkey("status").stdout
        for n, (_, why) in cases.items():
            self.assertIn(why, told[f"{n}-cert.pub"])
            self.assertIn(f"{n}-cert.pub", text)
            lines = [line for line in self.log().splitlines() if f"/{n}-cert.pub is left out" in line and why in line]
            self.assertEqual(len(lines), 1, f"{n}: {lines}")
        self.agent.latchkey("reload")
        more = self.ca.certify(self.public, key_id="more")
        self.put("zzz-cert.pub", more)
        self.wait_listed(good, more)
        for n in cases:
            self.assertEqual(self.log().count(f"/{n}-cert.pub is left out"), 1)
        (self.dot_ssh / "mode-cert.pub").chmod(0o644)  # mended: first of the two now, the same as zz
        wait_until(lambda: not [c for c in self.agent.status()["certificates_left_out"] if "mode" in c["file"]], "mended")
        self.wait_listed(good, more)

    def test_more_than_is_sane(self):
        self.begin()
        good = self.ca.certify(self.public)
        for i in range(300):
            (self.dot_ssh / f"{i:03}-cert.pub").write_text("nothing")
        self.put("000-cert.pub", good)
        self.put("zzz-cert.pub", self.ca.certify(self.public, key_id="beyond"))
        self.wait_listed(good)
        wait_until(lambda: "more than 256 files" in self.log(), "said")
        self.assertEqual(len(self.listed()), 2)


class WithAddedKeys(Case):
    def test_software_keys_keep_their_own(self):
        self.begin()
        b = self.bench
        soft = self.dot_ssh / "soft"
        b.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "soft", "-f", soft)
        cert = self.ca.certify(soft.with_suffix(".pub").read_text(), key_id="soft")
        self.put("soft-cert.pub", cert)
        b.run("ssh-add", "-q", "-d", soft, check=False)
        self.assertEqual(self.listed(), [self.plain], "a file is no key")
        b.run("ssh-add", "-q", soft)  # adds key and certificate
        self.assertEqual(self.listed()[0], self.plain)
        self.assertEqual(self.listed().count(blob_of(cert)), 1)
        self.assertEqual(len(self.listed()), 3)
        self.assertIsNotNone(self.sign(blob_of(cert), sshsig("file")))
        card = self.ca.certify(self.public)
        self.put("card-cert.pub", card)
        wait_until(lambda: len(self.listed()) == 4, "the card's certificate")
        self.assertEqual(self.listed()[:2], [self.plain, blob_of(card)])
        self.assertNotEqual(b.run("ssh-add", "-d", self.dot_ssh / "card-cert.pub", check=False).returncode, 0)
        b.run("ssh-add", "-q", "-D")
        self.assertEqual(self.listed(), [self.plain, blob_of(card)])

    def test_it_goes_with_its_key(self):
        self.begin()
        cert = self.ca.certify(self.public)
        self.put("card-cert.pub", cert)
        self.wait_listed(cert)
        self.assertEqual(self.agent.token("gnuk")["keys"], 1, "a certificate is no key")
        self.card.pull()
        wait_until(lambda: self.listed() == [], "gone with its key")
