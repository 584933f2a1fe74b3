"""Security keys that come and go: listed, and the agent locks when one that served is pulled. Runs in the guest of tests/vm/run."""
import time

from harness import SecurityKey, wait_until
from usb_bench import FIDO, GNUK, YUBIKEY, Device, Figures, write
from usb_case import Case, kernel


class Plugged(Case):
    def begin(self, **kw):
        self.policy = "Match all\n Touch always\n"
        super().begin()
        self.key = SecurityKey(self.bench)
        began = time.time()
        self.stick = Device(self.bench, FIDO, fido=self.key, **kw)
        self.hidraw = self.stick.hidraw()
        wait_until(self.names, "the security key is listed")
        Figures.add("plugged to security key listed", time.time() - began)
        self.file = self.key.make(self.bench.home / ".ssh" / "id_sk")
        self.bench.run("ssh-add", "-q", self.file)
        self.blob = self.blobs()[-1]

    def names(self):
        """Those that are there."""
        return [t["name"] for t in self.agent.status()["tokens"] if t["name"].startswith("fido-hidraw") and
                t["state"] not in ("pulled", "lost")]

    def use(self):
        self.key.do("auto on")
        self.assertTrue(self.sign(self.blob))
        self.key.do("auto off")

    def test_pulled_while_idle(self):
        self.begin()
        self.use()
        self.pulled(self.stick, "a security key")
        self.assertFalse(self.names())

    def test_pulled_while_it_blinks(self):
        self.begin()
        self.use()
        answer = self.start_sign(self.blob)
        self.key.wait_blink()
        self.pulled(self.stick, "a security key that blinks")
        self.assertEqual(answer.recv(), b"\x05")

    def test_one_that_never_served_is_pulled(self):
        self.begin()
        self.stick.unplug()
        wait_until(lambda: not self.names(), "not listed any more")
        self.assertEqual(self.agent.records("lock"), [])

    def test_its_driver_is_taken_away_and_comes_back(self):
        """Then the device is pulled, all the same."""
        self.begin()
        self.use()
        interface = f"{self.stick.sys.name}:1.0"
        write("/sys/bus/usb/drivers/usbhid/unbind", interface)
        wait_until(lambda: not self.names(), "not listed any more")
        write("/sys/bus/usb/drivers/usbhid/bind", interface)
        wait_until(self.names, "listed again")
        self.assertEqual(self.agent.records("lock"), [])
        self.use()
        self.pulled(self.stick, "a security key")

    def test_without_a_usb_device(self):
        self.begin(uhid=True)
        self.use()
        mark = kernel.mark()
        self.stick.unplug()
        wait_until(lambda: any(f.get("SUBSYSTEM") == "hidraw" and f["ACTION"] == "remove" for _, f in kernel.events[mark:]), "it goes")
        wait_until(lambda: not self.names(), "not listed any more")


class Composite(Case):
    def test_one_stick_is_one_token(self):
        self.begin()
        self.card("yubikey5")
        Device(self.bench, YUBIKEY, serial="1", card=0, fido=SecurityKey(self.bench)).hidraw()
        self.listed()
        self.assertEqual(len(self.agent.status()["tokens"]), 1)

    def test_two_sticks_are_two(self):
        self.begin()
        self.card("gnuk")
        sticks = [Device(self.bench, GNUK, port=1, card=0), Device(self.bench, FIDO, port=2, fido=SecurityKey(self.bench))]
        sticks[1].hidraw()
        self.listed()
        self.assertEqual(len(self.agent.status()["tokens"]), 2)
