"""A Ledger in software: its dashboard, its SSH/PGP Agent, and the person who presses its buttons."""
import json
import socket

from .bench import BUILD, wait_until


class Ledger:
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
        wait_until(self.control.exists, f"{self.name} starts")
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        wait_until(self._connect, f"{self.name}'s control socket")
        self.file = self.sock.makefile("rw")
        self.port = int(self.ask("port"))

    def _connect(self):
        try:
            self.sock.connect(str(self.control))
            return True
        except OSError:
            return False

    def pull(self):
        """It can be plugged in again, at the same place: start()."""
        self.file.close()
        self.sock.close()
        self.bench.end(self.process)
        self.frames.unlink()
        self.control.unlink()

    def ask(self, line):
        self.file.write(line + "\n")
        self.file.flush()
        return self.file.readline().strip()

    def do(self, line):
        answer = self.ask(line)
        if answer != "OK":
            raise AssertionError(f"{self.name}: {line}: {answer}")

    def state(self):
        return json.loads(self.ask("state"))

    def wait_screen(self, *lines):
        """Until it asks the person just that."""
        def asks():
            state = self.state()
            return state["asks"] and state["screen"] == list(lines)
        return wait_until(asks, f"{self.name} asks {lines}")

    def wait_idle(self):
        return wait_until(lambda: not self.state()["asks"], f"{self.name} asks nothing")
