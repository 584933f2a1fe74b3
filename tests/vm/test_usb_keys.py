"""Security keys by their kernel driver. Runs in the guest of tests/vm/run."""
from harness import SecurityKey, Sshd, wait_until
from usb_bench import FIDO, YUBIKEY, Device, write
from usb_case import Case


class Keys(Case):
    """Security keys by their kernel driver."""

    def begin(self, *options, uhid=False):
        self.policy = "Match all\n Touch always\n"
        super().begin()
        self.key = SecurityKey(self.bench, *options)
        self.stick = Device(self.bench, FIDO, fido=self.key, uhid=uhid)
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
