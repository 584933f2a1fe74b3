"""Hardware wallets by hidraw and libusb. Runs in the guest of tests/vm/run."""
import time

from harness import Ledger, Trezor, wait_until
from test_ledger import LINES, OPEN, P256, SIGN
from usb_bench import Device, Figures
from usb_case import Case, kernel

LEDGER = ("2c97:5011", "Ledger", "Nano S Plus")
IN_ITS_APP = "5015"
TREZOR = ("1209:53c1", "SatoshiLabs", "TREZOR")
OLD_TREZOR = ("534c:0001", "SatoshiLabs", "TREZOR")
IN_TIME = 60


class Wallet(Case):
    def begin(self):
        b = self.bench
        self.policy = "Match all\n Touch always\n"
        self.pub = b.home / ".ssh" / "wallet.pub"
        self.pub.write_text(LINES[P256] + "\n")
        (b.home / "text").write_text("text")
        settings = (b.config / "latchkey.conf")
        b.settings(settings.read_text() + f"Identity {self.pub}\n")
        super().begin()

    def plugged(self, kind, name, **function):
        began = time.time()
        self.stick = Device(self.bench, kind, **function)
        self.agent.wait_token(name)
        Figures.add(f"plugged to {name} listed", time.time() - began)

    def start_sign(self):
        return self.bench.start("ssh-keygen", "-Y", "sign", "-n", "file", "-f", self.pub, self.bench.home / "text", cwd=self.bench.home)

    def finish(self, p):
        self.assertEqual(p.wait(IN_TIME), 0)
        sig = self.bench.home / "text.sig"
        self.bench.run("ssh-keygen", "-Y", "check-novalidate", "-n", "file", "-s", sig, input="text")
        sig.unlink()


class Ledgers(Wallet):
    def begin(self, *prepare):
        super().begin()
        self.ledger = Ledger(self.bench)
        for line in prepare:
            self.ledger.do(line)
        self.plugged(LEDGER, "ledger", hid=("ffa0", self.ledger.frames), back_as=IN_ITS_APP)

    def sign(self):
        p = self.start_sign()
        self.ledger.wait_screen(*SIGN)
        self.ledger.do("yes")
        self.finish(p)

    def test_signs_and_is_pulled(self):
        self.begin()
        self.sign()
        p = self.start_sign()
        self.ledger.wait_screen(*SIGN)
        self.pulled(self.stick, "a Ledger, which might come back")
        self.assertNotEqual(p.wait(IN_TIME), 0)

    def test_comes_back_as_another_product_when_its_application_opens(self):
        """Off the bus and on again while a signature waits: not an unplug."""
        self.begin("dashboard")
        mark = kernel.mark()
        p = self.start_sign()
        self.ledger.wait_screen(*OPEN)
        self.ledger.do("yes")
        kernel.wait(mark, "remove")
        self.ledger.wait_screen(*SIGN)
        self.ledger.do("yes")
        self.finish(p)
        self.assertEqual(self.agent.records("lock"), [])


class Trezors(Wallet):
    def begin(self, kind, how, *options):
        super().begin()
        self.trezor = Trezor(self.bench, *options)
        self.trezor.do("buttons yes")
        emulator = f"udp:{self.trezor.port}"
        self.plugged(kind, "trezor", **({"vendor": emulator} if how == "vendor" else {"hid": ("ff00", emulator)}))

    def use_and_pull(self):
        self.finish(self.start_sign())
        self.trezor.do("buttons ask")
        p = self.start_sign()
        self.trezor.wait_for("button")
        self.pulled(self.stick, "a Trezor that asks")
        self.assertNotEqual(p.wait(IN_TIME), 0)

    def test_vendor_interface(self):
        self.begin(TREZOR, "vendor")
        self.use_and_pull()

    def test_hid(self):
        self.begin(OLD_TREZOR, "hid", "--model", "one")
        self.use_and_pull()

    def test_plugged_again(self):
        self.begin(TREZOR, "vendor")
        self.finish(self.start_sign())
        self.pulled(self.stick, "an idle Trezor")
        self.stick.plug(port=4)
        wait_until(lambda: self.agent.token("trezor")["state"] == "ready", "ready again")
        self.finish(self.start_sign())
