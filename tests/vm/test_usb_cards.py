"""Cards in CCID tokens, over pcscd and libccid: plugged, used, pulled. Runs in the guest of tests/vm/run."""
import fcntl
import time

from harness import SecurityKey, Sshd, wait_until
from harness.bench import BUILD
from usb_bench import FIDO, GNUK, Device, Figures, seconds, write
from usb_case import Case, kernel

USBDEVFS_RESET = 0x5514


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


    def test_touch_after_a_while(self):
        """The card tells the reader every second that it needs time; libccid hears it."""
        self.policy = "Match all\n Touch always\n"
        self.verbosity = "0x0007"
        self.begin("yubikey5", "--uif", "aut=1", touch=True)
        extended = self.pcscd.said().count("Time extension requested")
        answer = self.start_sign(self.blob)
        wait_until(lambda: self.pcscd.said().count("Time extension requested") >= extended + 3, "three extensions")
        self.the_card.do("touch")
        self.assertEqual(answer.recv()[0], 14)
        self.assertEqual(self.agent.last()["presence"], "touch")

    def test_unplug_while_a_touch_is_awaited(self):
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
        # Sooner, pcscd 1.9 takes the reader for a duplicate of the one that it still clears away.
        wait_until(lambda: "RFUnloadReader() Unloading" in self.pcscd.said(), "pcscd lets go", 30)
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
