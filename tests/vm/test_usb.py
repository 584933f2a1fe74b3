"""Tokens on a real kernel: plugged, used, pulled. Runs in the guest of tests/vm/run."""
import fcntl
import os
import shutil
import time
import unittest

from harness import Agent, AgentClient, Bench, ScriptedPinentry, SecurityKey, Sshd, wait_until
from harness.agentclient import s, sshsig
from harness.bench import BUILD
from usb_bench import FIDO, GNUK, TOP, YUBIKEY, Card, Device, Figures, Kernel, Service, seconds, write

FREE = "Match all\n Touch none\n"
KEYS = ("--key", "sig=ed25519", "--key", "dec=cv25519", "--key", "aut=ed25519")
SIGN = "2A"  # PERFORM SECURITY OPERATION
USBDEVFS_RESET = 0x5514
AT_THE_MACHINE, SOMEBODY_ELSE = 4711, 4712  # uids
kernel = Kernel()


class Case(unittest.TestCase):
    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        self.pinentry = ScriptedPinentry(b)
        self.pinentry.always()
        self.policy = FREE

    def begin(self):
        self.bench.policy(self.policy)
        self.pcscd = Service(self.bench)
        self.agent = Agent(self.bench)

    def card(self, profile="gnuk", *options, n=0, serial="00000001"):
        return Card(self.pcscd, profile, *KEYS, "--serial", serial, *options, reader=n, name=f"card{n}")

    def blobs(self):
        c = AgentClient(self.agent.ssh)
        try:
            return [blob for blob, _ in c.list()]
        finally:
            c.close()

    def listed(self, n=1):
        return wait_until(lambda: len(b := self.blobs()) == n and b, f"{n} keys are listed", 30)

    def sign(self, blob):
        c = AgentClient(self.agent.ssh)
        try:
            return c.sign(blob, sshsig("file")) is not None
        finally:
            c.close()

    def start_sign(self, blob):
        """A signature that takes its time: .recv() gives the answer."""
        c = AgentClient(self.agent.ssh)
        self.addCleanup(c.close)
        c.send(b"\x0d" + s(blob) + s(sshsig("file")) + bytes(4))
        return c

    def locked(self):
        return self.agent.lock_state() == "locked"

    def lock_record(self, n=1):
        """The Nth record of a lock."""
        return wait_until(lambda: len(r := self.agent.records("lock")) >= n and r[n - 1], "the agent locks")

    def pulled(self, device, what, n=1):
        """Unplugs; the agent locks, and how soon."""
        mark = kernel.mark()
        began = time.time()
        device.unplug()
        removed = kernel.wait(mark, "remove")
        record = self.lock_record(n)
        Figures.add(f"kernel's remove event to locked, {what}", seconds(record) - removed)
        Figures.add(f"unplugged to locked, {what}", seconds(record) - began)
        self.assertEqual(record["reason"], "pulled")
        self.assertTrue(self.locked())


class OneCard(Case):
    def begin(self, profile="gnuk", *options, touch=False):
        """TOUCH: the card wants one for each signature."""
        super().begin()
        self.the_card = self.card(profile, *options)
        began = time.time()
        self.stick = Device(self.bench, GNUK, card=0)
        self.blob = self.listed()[0]
        Figures.add("plugged to key listed", time.time() - began)
        began = time.time()
        if touch:
            self.the_card.do("touch-mode auto")
        self.assertTrue(self.sign(self.blob))
        self.the_card.do("touch-mode manual")
        Figures.add("first signature after plug (with PIN dialog)", time.time() - began)

    def test_login_signature_commit(self):
        self.begin()
        b = self.bench
        server = Sshd(b)
        server.authorize(b.run("ssh-add", "-L").stdout)
        self.assertEqual(server.login().stdout, "in\n")
        (b.home / "key.pub").write_text(b.run("ssh-add", "-L").stdout)
        sig = b.run("ssh-keygen", "-Y", "sign", "-n", "file", "-f", b.home / "key.pub", input="text").stdout
        (b.home / "sig").write_text(sig)
        b.run("ssh-keygen", "-Y", "check-novalidate", "-n", "file", "-s", b.home / "sig", input="text")
        fpr = wait_until(lambda: next((k["openpgp_fingerprint"] for k in self.agent.keys() if "sign" in k["uses"] and
                                       k["family"] == "gpg"), None), "the signature key is read")
        repo = b.home / "repo"
        b.run("git", "init", "-q", "-b", "main", repo)
        for name, value in (("gpg.program", BUILD / "latchkey-gpg"), ("user.signingkey", fpr)):
            b.run("git", "config", name, value, cwd=repo)
        b.run("git", "commit", "-q", "-S", "--allow-empty", "-m", "text", cwd=repo)
        b.gnupg.mkdir(mode=0o700)
        b.run("gpg", "--batch", "-q", "--import", input=self.agent.latchkey("keys", "--openpgp", "Ann <ann@example.org>").stdout)
        self.assertIn("Good signature", b.run("git", "verify-commit", "HEAD", cwd=repo).stderr)

    def test_unplug_idle_and_plug_again(self):
        self.begin()
        for n in range(1, 4):
            self.pulled(self.stick, "idle", n)
            self.assertFalse(self.sign(self.blob))
            began = time.time()
            self.stick.plug(port=n)  # each time another one
            self.listed()
            Figures.add("plugged to key listed", time.time() - began)
            began = time.time()
            self.assertTrue(self.sign(self.blob), "a proof by the token opens again")
            Figures.add("first signature after plug (with PIN dialog)", time.time() - began)
            self.assertEqual(self.agent.lock_state(), "open")


    def test_unplug_while_a_touch_is_awaited(self):
        """The card tells the reader every second that it needs time; libccid hears it."""
        self.policy = "Match all\n Touch always\n"
        self.begin("yubikey5", "--uif", "aut=1", touch=True)
        answer = self.start_sign(self.blob)
        wait_until(lambda: self.the_card.state()["touch_waiting"], "the card waits for a touch")
        self.pulled(self.stick, "mid-touch")
        self.assertEqual(answer.recv(), b"\x05", "the client is told at once")

    def test_unplug_mid_transmit(self):
        self.begin()
        self.the_card.do("delay 3000")
        before = self.the_card.state()["total"]
        answer = self.start_sign(self.blob)
        wait_until(lambda: self.the_card.state()["total"] > before, "a command is under way")
        self.pulled(self.stick, "mid-transmit")
        self.assertEqual(answer.recv(), b"\x05")
        self.the_card.do("delay 0")
        self.stick.plug()
        self.listed()
        self.assertTrue(self.sign(self.blob))

    def test_unplug_and_plug_in_one_moment(self):
        self.begin()
        self.pulled(self.stick, "re-plugged at once")
        self.stick.plug()
        wait_until(lambda: self.sign(self.blob), "signs again", 30)
        self.assertEqual(len(self.agent.records("lock")), 1)
        self.assertEqual(self.agent.lock_state(), "open")

    def test_port_power_cycle(self):
        self.begin()
        port = wait_until(lambda: next(iter(self.stick.sys.resolve().parent.glob(f"*:1.0/usb1-port{self.stick.port + 1}")), None), "port")
        mark = kernel.mark()
        write(port / "disable", "1")
        kernel.wait(mark, "remove")
        self.lock_record()
        write(port / "disable", "0")
        wait_until(lambda: self.sign(self.blob), "signs again", 30)

    def test_a_reset_by_another_program_is_repaired(self):
        """USBDEVFS_RESET: the device stays. pcscd finds the card without power and tells that it was out of the reader, which
        nobody can tell from the truth: the agent may lock, but has to come back by itself."""
        self.begin()
        with open(self.stick.node(), "wb") as f:
            fcntl.ioctl(f, USBDEVFS_RESET)
        wait_until(lambda: self.sign(self.blob), "signs again", 30)
        self.assertEqual(self.the_card.state()["tries"][0], 3)

    def test_an_unrelated_device_is_unplugged(self):
        self.begin()
        key = SecurityKey(self.bench)
        other = Device(self.bench, FIDO, port=3, serial="other", fido=key)
        other.hidraw()
        before = self.the_card.state()["verifies"]
        mark = kernel.mark()
        other.unplug()
        kernel.wait(mark, "remove")
        self.assertTrue(self.sign(self.blob))
        self.assertEqual(self.agent.records("lock"), [])
        self.assertEqual(len(self.pinentry.dialogs()), 1, "the PIN is remembered")
        self.assertGreaterEqual(self.the_card.state()["verifies"], before)

    def test_pcscd_starts_anew(self):
        self.begin()
        self.pcscd.kill()
        self.pcscd.start()
        wait_until(lambda: self.sign(self.blob), "signs again", 30)
        self.assertEqual(self.agent.records("lock"), [])

    def test_the_device_is_taken_from_all_drivers(self):
        """As for a virtual machine: the kernel takes its configuration away, the device stays. No unplug."""
        self.begin()
        write("/sys/bus/usb/drivers/usb/unbind", self.stick.sys.name)
        wait_until(lambda: not self.blobs(), "not listed any more", 30)
        write("/sys/bus/usb/drivers/usb/bind", self.stick.sys.name)
        wait_until(lambda: self.sign(self.blob), "signs again", 30)
        self.assertEqual(self.agent.records("lock"), [])

    def test_the_card_comes_out_of_the_reader(self):
        self.begin()
        began = time.time()
        self.the_card.pull()
        Figures.add("card out of the reader to locked", seconds(self.lock_record()) - began)
        self.assertTrue(self.locked())
        self.the_card.insert()
        self.listed()
        self.assertTrue(self.sign(self.blob))


class Twins(Case):
    def test_two_of_a_kind(self):
        """The same product, the same USB serial number: their places tell them apart."""
        self.begin()
        cards = [self.card(n=n, serial=f"0000000{n + 1}") for n in range(2)]
        sticks = [Device(self.bench, GNUK, port=n, card=n) for n in range(2)]
        self.listed(2)
        for blob in self.blobs():
            self.assertTrue(self.sign(blob))
        names = [t["name"] for t in self.agent.status()["tokens"] if t["keys"]]
        self.assertEqual(sorted(names), ["gnuk-00000001", "gnuk-00000002"])
        self.pulled(sticks[1], "one of two")
        self.assertEqual(self.agent.records("lock")[0]["what"], "gnuk-00000002")
        [rest] = self.listed(1)
        self.assertTrue(self.sign(rest), "the other one is at hand")
        self.assertEqual(self.agent.lock_state(), "open")
        self.assertEqual([c.state()["tries"][0] for c in cards], [3, 3])


class Keys(Case):
    """Security keys by their kernel driver."""

    def begin(self, *options, uhid=False, kind=FIDO, card=None, policy="Match all\n Touch always\n"):
        self.policy = policy
        super().begin()
        self.key = SecurityKey(self.bench, *options)
        self.stick = Device(self.bench, kind, fido=self.key, uhid=uhid, card=card)
        self.hidraw = self.stick.hidraw()
        self.file = self.key.make(self.bench.home / ".ssh" / "id_sk")
        self.bench.run("ssh-add", "-q", self.file)
        self.file.rename(self.file.with_suffix(".away"))

    def ssh_sign(self, check=True):
        return self.bench.run("ssh-keygen", "-Y", "sign", "-n", "file", "-f", self.file.with_suffix(".pub"), input="text", check=check)

    def touch(self):
        self.key.wait_blink()
        self.key.do("touch")

    def login(self):
        server = Sshd(self.bench)
        server.authorize(self.file.with_suffix(".pub").read_text())
        p = self.bench.start(*server.args(), "echo in", stdout=-1)
        self.touch()
        self.assertEqual(p.communicate(timeout=60)[0], b"in\n")
        self.assertEqual(self.agent.last()["presence"], "touch")

    def test_login_and_signature(self):
        self.begin()
        self.login()
        self.key.do("auto on")
        (self.bench.home / "sig").write_text(self.ssh_sign().stdout)
        self.bench.run("ssh-keygen", "-Y", "check-novalidate", "-n", "file", "-s", self.bench.home / "sig", input="text")

    def test_without_a_usb_device(self):
        """uhid, as Bluetooth's keys have it: no USB parent."""
        self.begin(uhid=True)
        self.login()

    def test_the_driver_is_taken_away_and_comes_back(self):
        self.begin()
        self.key.do("auto on")
        self.ssh_sign()
        interface = f"{self.stick.sys.name}:1.0"
        write("/sys/bus/usb/drivers/usbhid/unbind", interface)
        wait_until(lambda: not self.hidraw.exists(), "the node goes")
        self.assertNotEqual(self.ssh_sign(check=False).returncode, 0)
        write("/sys/bus/usb/drivers/usbhid/bind", interface)
        self.stick.hidraw()
        wait_until(lambda: self.ssh_sign(check=False).returncode == 0, "signs again")
        self.assertEqual(self.agent.records("lock"), [])

    def test_unplug_while_it_blinks(self):
        self.begin()
        p = self.bench.start("ssh-keygen", "-Y", "sign", "-n", "file", "-f", self.file.with_suffix(".pub"), "/etc/hostname")
        self.key.wait_blink()
        self.stick.unplug()
        self.assertNotEqual(p.wait(20), 0)


class Rules(unittest.TestCase):
    """contrib/udev: who sits at the machine may open the tokens, nobody else, and nothing else."""

    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        shutil.copy(TOP / "contrib/udev/70-latchkey.rules", "/etc/udev/rules.d/")
        b.run("udevadm", "control", "--reload")
        # What systemd-logind writes of a session (sd-login's seat files), which udev's uaccess reads.
        os.makedirs("/run/systemd/seats", exist_ok=True)
        write("/run/systemd/seats/seat0", f"IS_SEAT0=1\nACTIVE=c1\nACTIVE_UID={AT_THE_MACHINE}\n")

    def plug(self, kind, **kw):
        device = Device(self.bench, kind, fido=SecurityKey(self.bench), **kw)
        self.addCleanup(device.unplug)
        raw = device.hidraw()
        self.bench.run("udevadm", "settle")
        return device, raw

    def opens(self, uid, path):
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
                os.open(path, os.O_RDWR)
                os._exit(0)
            finally:
                os._exit(1)
        return os.waitpid(pid, 0)[1] == 0

    def judge(self, path, wanted):
        self.assertEqual((self.opens(AT_THE_MACHINE, path), self.opens(SOMEBODY_ELSE, path)), (wanted, False), path)

    def test_by_kind(self):
        for kind, page, raw, usb in ((FIDO, None, True, False), (("2c97:4011", "Ledger", "Nano X"), "ffa0", True, False),
                                     (("534c:0001", "SatoshiLabs", "TREZOR"), "ff00", True, False),
                                     (("1209:53c1", "SatoshiLabs", "TREZOR"), "ff00", False, True),
                                     (("046d:c31c", "Somebody", "Keyboard"), "ff00", False, False)):
            with self.subTest(kind):
                device, node = self.plug(kind, page=page)
                self.judge(node, raw)
                self.judge(device.node(), usb)
                self.doCleanups()
                self.setUp()

    def test_without_a_usb_device(self):
        _, node = self.plug(FIDO, uhid=True)
        self.judge(node, True)


class Composite(Case):
    def test_a_reader_and_a_security_key_on_one_stick(self):
        self.begin()
        card = self.card("yubikey5")
        key = SecurityKey(self.bench)
        stick = Device(self.bench, YUBIKEY, card=0, fido=key)
        [blob] = self.listed()
        file = key.make(self.bench.home / ".ssh" / "id_sk")
        stick.hidraw()
        self.bench.run("ssh-add", "-q", file)
        key.do("auto on")
        sk_blob = next(b for b in self.listed(2) if b != blob)
        self.assertTrue(self.sign(blob))
        self.assertTrue(self.sign(sk_blob))
        # A browser would do that: the driver of one interface goes, the stick stays.
        interface = f"{stick.sys.name}:1.1"
        write("/sys/bus/usb/drivers/usbhid/unbind", interface)
        write("/sys/bus/usb/drivers/usbhid/bind", interface)
        self.assertTrue(self.sign(blob))
        self.assertEqual(self.agent.records("lock"), [])
        self.assertEqual(card.state()["tries"][0], 3)
        self.pulled(stick, "composite")
        self.assertFalse(self.sign(sk_blob))
        self.assertEqual(len(self.agent.records("lock")), 1, "one stick, one pull")


if __name__ == "__main__":
    unittest.main()
