"""Hardware wallets in software, with their screens and buttons."""
import sys

from .bench import TOP, wait_until
from .device import Device


class Trezor(Device):
    """One on UDP. The agent finds it by `Emulator trezor udp:127.0.0.1:PORT`."""
    mnemonic = " ".join(["all"] * 12)

    def __init__(self, bench, *options, name="trezor"):
        self.bench = bench
        self.name = name
        self.control = bench.top / f"{name}.ctl"
        self.options = options
        self.port = 0
        self.start()

    def start(self):
        self.process = self.bench.start(sys.executable, TOP / "tests" / "wallets" / "trezor.py", self.control, "--port", self.port,
                                        *self.options)
        self.dial()
        self.port = self.state()["port"]

    @property
    def address(self):
        return f"udp:127.0.0.1:{self.port}"

    stop = Device.end

    def wait_for(self, what):
        """Until it waits for WHAT: button, pin, passphrase, or (None) nothing. Gives what its screen says."""
        return wait_until(lambda: (s := self.state())["waiting"] == what and (s["screen"] or True), f"{self.name} waits for {what}")

    def positions(self, pin):
        """Where the digits of PIN are on the grid that it shows now."""
        matrix = self.state()["matrix"]
        return "".join(str(matrix.index(c) + 1) for c in pin)
