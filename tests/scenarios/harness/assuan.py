"""An Assuan client: any command, its inquiries answered from a dictionary."""
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


def fields(line):
    """NAME=VALUE fields of a status line."""
    return {k: unescape(v.encode()).decode(errors="replace")
            for k, v in (f.split("=", 1) for f in line.split()[1:] if "=" in f)}


class AssuanError(Exception):
    def __init__(self, line):
        super().__init__(line.decode(errors="replace"))
        self.code = int(line.split()[1]) & 0xffff


class Assuan:
    def __init__(self, sock):
        sock.settimeout(60)
        self.file = sock.makefile("rwb")
        sock.close()
        self.status, self.asked = [], []
        greeting = self.line()
        if not greeting.startswith(b"OK"):
            raise AssuanError(greeting)

    def close(self):
        self.file.close()

    def line(self):
        line = self.file.readline()
        if not line:
            raise EOFError("the connection ended")
        return line.rstrip(b"\n")

    def send(self, data):
        self.file.write(data + b"\n")
        self.file.flush()

    def answer(self, data):
        for at in range(0, len(data), 400):
            self.send(b"D " + escape(data[at:at + 400]))
        self.send(b"END")

    def ask(self, command, **answers):
        """The command's data; status lines are in self.status, inquiries in self.asked. ANSWERS: by keyword, a value or a list of
        values in their order; None cancels, as does what is not there."""
        self.status, self.asked = [], []
        got, long = b"", b""
        self.send(command.encode() if isinstance(command, str) else command)
        while True:
            line = self.line()
            if line.startswith(b"OK"):
                return got
            if line.startswith(b"ERR"):
                raise AssuanError(line)
            if line.startswith(b"S MORE "):
                long += line[7:]
            elif line.startswith(b"S LAST "):
                self.status.append((long + line[7:]).decode(errors="replace"))
                long = b""
            elif line.startswith(b"S "):
                self.status.append(line[2:].decode(errors="replace"))
            elif line.startswith(b"D "):
                got += unescape(line[2:])
            elif line.startswith(b"INQUIRE "):
                self.asked.append(line[8:].decode())
                value = answers.get(line.split()[1].decode())
                if isinstance(value, list):
                    value = value.pop(0) if value else None
                if value is None:
                    self.send(b"CAN")
                else:
                    self.answer(value)


class TokenProcess(Assuan):
    """latchkey-token by itself, one channel of it."""

    def __init__(self, bench, *args):
        ours, theirs = socket.socketpair()
        pipe = os.pipe()

        def child():
            die_with_parent()
            # Out of the way first: either may be 3 or 4 itself.
            main, cancel = (fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in (theirs.fileno(), pipe[0]))
            os.dup2(main, 3)
            os.dup2(cancel, 4)
            os.closerange(5, 256)

        self.process = subprocess.Popen([str(BUILD / "latchkey-token"), *map(str, args), "--channels=1"], env=bench.env,
                                        preexec_fn=child, close_fds=False)
        bench.processes.append(self.process)
        theirs.close()
        os.close(pipe[0])
        self.cancel = pipe[1]
        super().__init__(ours)

    def close(self):
        super().close()
        if self.cancel is not None:
            os.close(self.cancel)
        self.cancel = None
