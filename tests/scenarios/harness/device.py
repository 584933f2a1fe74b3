"""What the device emulators have in common: a process of its own, and a control socket that takes a line and answers one."""
import json
import socket

from .bench import wait_until


class Device:
    """A subclass starts self.process, with its socket at self.control, and calls dial()."""

    def dial(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        wait_until(self._connect, f"{self.name}'s control socket")
        self.file = self.sock.makefile("rw")

    def _connect(self):
        try:
            self.sock.connect(str(self.control))
            return True
        except OSError:
            return False

    def end(self):
        self.file.close()
        self.sock.close()
        self.bench.end(self.process)
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
