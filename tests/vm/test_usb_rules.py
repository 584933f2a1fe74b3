"""contrib/udev: who sits at the machine may open the tokens, nobody else, and nothing else. Runs in the guest of tests/vm/run."""
import os
import shutil
import unittest

from harness import Bench, SecurityKey
from usb_bench import FIDO, TOP, Device, write

AT_THE_MACHINE, SOMEBODY_ELSE = 4711, 4712  # uids


class Rules(unittest.TestCase):
    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        shutil.copy(TOP / "contrib/udev/70-latchkey.rules", "/etc/udev/rules.d/")
        b.run("udevadm", "control", "--reload")
        # What systemd-logind writes of a session (sd-login's seat files), which udev's uaccess reads.
        os.makedirs("/run/systemd/seats", exist_ok=True)
        write("/run/systemd/seats/seat0", f"IS_SEAT0=1\nACTIVE=c1\nACTIVE_UID={AT_THE_MACHINE}\n")

    def plug(self, kind, **kw):
        device = Device(self.bench, kind, **kw)
        self.addCleanup(device.unplug)
        return device

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
        key = SecurityKey(self.bench)
        for kind, function, raw, usb in ((FIDO, {"fido": key}, True, False),
                                         (("2c97:4011", "Ledger", "Nano X"), {"hid": ("ffa0", key.path)}, True, False),
                                         (("534c:0001", "SatoshiLabs", "TREZOR"), {"hid": ("ff00", key.path)}, True, False),
                                         (("1209:53c1", "SatoshiLabs", "TREZOR"), {"vendor": key.path}, None, True),
                                         (("046d:c31c", "Somebody", "Lamp"), {"hid": ("ff00", key.path)}, False, False)):
            with self.subTest(kind):
                device = self.plug(kind, **function)
                device.configured()
                node = device.hidraw() if raw is not None else None
                self.bench.run("udevadm", "settle")
                self.judge(device.node(), usb)
                if node:
                    self.judge(node, raw)
                device.unplug()

    def test_without_a_usb_device(self):
        node = self.plug(FIDO, fido=SecurityKey(self.bench), uhid=True).hidraw()
        self.bench.run("udevadm", "settle")
        self.judge(node, True)
