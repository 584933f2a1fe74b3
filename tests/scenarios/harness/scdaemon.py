"""Stock scdaemon by itself, on its standard input and output."""
import glob
import subprocess

from .token import escape, unescape


class Scdaemon:
    def __init__(self, bench, pins=None):
        home = bench.home / "scd"
        if not home.exists():
            home.mkdir(mode=0o700)
            (home / "scdaemon.conf").write_text("disable-ccid\n")
        program = (glob.glob("/usr/lib/gnupg/scdaemon") + glob.glob("/usr/libexec/scdaemon"))[0]
        self.pins = pins or {}
        self.bench = bench
        self.process = bench.start(program, "--server", "--homedir", home, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        self.process.stdout.readline()

    def send(self, line):
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def pin(self, prompt):
        """By the letters of the prompt: "" user PIN, "A", "R", "N" (new), "AN", "RN"."""
        flags = prompt.split(b"|")[1].decode()
        self.send(b"D " + escape(self.pins[flags]) + b"\0")
        self.send(b"END")

    def ask(self, command, data=b""):
        """(error number or None, [(keyword, text)], data)"""
        self.send(command)
        status, got = [], b""
        while True:
            line = self.process.stdout.readline().rstrip(b"\n")
            if line.startswith(b"OK") or line.startswith(b"ERR") or not line:
                return int(line.split()[1]) & 0xffff if line.startswith(b"ERR") else None, status, got
            if line.startswith(b"S "):
                keyword, _, text = line[2:].partition(b" ")
                if keyword not in (b"PINCACHE_PUT", b"PROGRESS"):
                    status.append((keyword.decode(), text))
            elif line.startswith(b"D "):
                got += unescape(line[2:])
            elif line.startswith(b"INQUIRE NEEDPIN"):
                self.pin(line)
            elif line.startswith(b"INQUIRE"):
                self.send(b"D " + escape(data))
                self.send(b"END")
