"""latchkey-token by itself, over its protocol, in the place of the broker."""
import fcntl
import os
import re
import socket
import subprocess

from .bench import BUILD, die_with_parent


def unescape(data):
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]), data)


def escape(data):
    return data.replace(b"%", b"%25").replace(b"\r", b"%0D").replace(b"\n", b"%0A")


def fields(text):
    """NAME=VALUE .. as a dictionary of octet strings."""
    return {k.decode(): unescape(v) for k, v in (f.split(b"=", 1) for f in text.split(b" ") if b"=" in f)}


class Token:
    """PINS: what the person types for a reference ("82", "83", "rc"; "new82" .. for a new one): octets, a list of them, one after
    the other, or None for "cancel"."""

    def __init__(self, bench, arg, kind="pcsc"):
        ours, theirs = socket.socketpair()
        pipe = os.pipe()

        def child():
            die_with_parent()
            # Out of the way first: either may be 3 or 4 itself.
            main, cancel = (fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in (theirs.fileno(), pipe[0]))
            os.dup2(main, 3)
            os.dup2(cancel, 4)
            os.closerange(5, 256)

        self.process = subprocess.Popen([str(BUILD / "latchkey-token"), kind, arg, "--channels=1"], env=bench.env,
                                        preexec_fn=child, close_fds=False)
        bench.processes.append(self.process)
        theirs.close()
        os.close(pipe[0])
        self.cancel = pipe[1]
        ours.settimeout(120)
        self.file = ours.makefile("rwb")
        self.pins = {}
        self.asked = []  # fields of each question for a PIN
        self.attributes = []  # (name, text) of the last command's
        self.error = None
        self.line()

    def close(self):
        self.file.close()
        os.close(self.cancel)

    def line(self):
        return self.file.readline().rstrip(b"\n")

    def send(self, data):
        self.file.write(data + b"\n")
        self.file.flush()

    def type(self, question, otherwise):
        q = fields(question)
        self.asked.append(q)
        name = ("new" if "new" in q else "") + q["ref"].decode()
        pin = self.pins.get(name, otherwise)
        if isinstance(pin, list):
            pin = pin.pop(0) if pin else None
        if pin is None:
            self.send(b"CAN")
        else:
            self.send(b"D " + escape(pin))
            self.send(b"END")

    def ask(self, command, data=b"", pin=b"123456", more=None):
        """(ok, status lines, data). DATA answers all inquiries that MORE has no answer for."""
        self.send(command)
        status, got, part = [], b"", b""
        self.attributes, self.error = [], None
        while True:
            line = self.line()
            if line.startswith(b"OK") or line.startswith(b"ERR") or not line:
                self.error = int(line.split()[1]) & 0xffff if line.startswith(b"ERR") else None
                return line.startswith(b"OK"), status, got
            if line.startswith(b"S PART "):
                part += line[7:]
            elif line.startswith(b"S "):
                keyword, _, text = line[2:].partition(b" ")
                text, part = part + text, b""
                status.append((keyword + b" " + text).decode().rstrip())
                if keyword == b"ATTR":
                    f = fields(text)
                    self.attributes.append((f["name"].decode(), f["text"]))
            elif line.startswith(b"D "):
                got += unescape(line[2:])
            elif line.startswith(b"INQUIRE PIN"):
                self.type(line[12:], pin)
            elif line.startswith(b"INQUIRE"):
                keyword = line.split()[1].decode()
                answer = (more or {}).get(keyword, data)
                for i in range(0, len(answer), 300):
                    self.send(b"D " + escape(answer[i:i + 300]))
                self.send(b"END")
