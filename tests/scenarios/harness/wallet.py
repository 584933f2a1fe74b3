"""Hardware wallets in software, with their screens and buttons."""
import json
import socket
import sys

from .bench import TOP, wait_until


class Trezor:
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
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        wait_until(self._connect, "the trezor's control socket")
        self.file = self.sock.makefile("rw")
        self.port = self.state()["port"]

    def _connect(self):
        try:
            self.sock.connect(str(self.control))
            return True
        except OSError:
            return False

    @property
    def address(self):
        return f"udp:127.0.0.1:{self.port}"

    def stop(self):
        self.file.close()
        self.sock.close()
        self.bench.end(self.process)
        self.control.unlink()

    def do(self, line):
        answer = self.ask(line)
        if answer != "OK":
            raise AssertionError(f"trezor: {line}: {answer}")

    def ask(self, line):
        self.file.write(line + "\n")
        self.file.flush()
        return self.file.readline().strip()

    def state(self):
        return json.loads(self.ask("state"))

    def wait_for(self, what):
        """Until it waits for WHAT: button, pin, passphrase, or (None) nothing. Gives what its screen says."""
        return wait_until(lambda: (s := self.state())["waiting"] == what and (s["screen"] or True), f"{self.name} waits for {what}")

    def positions(self, pin):
        """Where the digits of PIN are on the grid that it shows now."""
        matrix = self.state()["matrix"]
        return "".join(str(matrix.index(c) + 1) for c in pin)
