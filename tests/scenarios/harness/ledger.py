"""A Ledger in software: its dashboard, its SSH/PGP Agent, and the person who presses its buttons."""
from .bench import BUILD, wait_until
from .device import Device


class Ledger(Device):
    """The agent finds it by `Emulator ledger tcp:127.0.0.1:PORT`."""

    def __init__(self, bench, *options, name="ledger"):
        self.bench = bench
        self.name = name
        self.frames = bench.top / f"{name}.hid"
        self.control = bench.top / f"{name}.ctl"
        self.options = options
        self.port = 0
        self.start()

    @property
    def address(self):
        return f"tcp:127.0.0.1:{self.port}"

    def start(self):
        self.process = self.bench.start(BUILD / "testledger", "--tcp", str(self.port), "--frames", self.frames, "--control",
                                        self.control, *self.options)
        self.dial()
        self.port = int(self.ask("port"))

    def pull(self):
        """It can be plugged in again, at the same place: start()."""
        self.end()
        self.frames.unlink()

    def wait_screen(self, *lines):
        """Until it asks the person just that."""
        def asks():
            state = self.state()
            return state["asks"] and state["screen"] == list(lines)
        return wait_until(asks, f"{self.name} asks {lines}")

    def wait_idle(self):
        return wait_until(lambda: not self.state()["asks"], f"{self.name} asks nothing")
