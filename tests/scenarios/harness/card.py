"""pcscd in namespaces of its own, and virtual cards in its readers."""
import glob
import json
import os
import shutil
import signal
import socket
import time

from .bench import BUILD, Skip, run, wait_until
from .device import Device

PORT = 0x8C7B  # the first slot of the first vpcd reader; inside the private network namespace only

KEEPER = r"""
set -e
ip link set lo up
mkdir -p /run/pcscd 2>/dev/null || true
[ -d /run/pcscd ] || { mount -t tmpfs none /run; mkdir /run/pcscd; }
mount --bind "$1" /run/pcscd
echo ready
exec cat
"""


class Pcscd:
    """Readers: their friendly names, as clients see them (pcscd adds numbers behind)."""

    def __init__(self, bench, readers=("Virtual Reader",)):
        self.bench = bench
        self.dir = bench.top / "p"
        self.conf = bench.top / "c"
        self.dir.mkdir()
        self.conf.mkdir()
        lib = (glob.glob("/usr/lib/pcsc/drivers/serial/libifdvpcd.so") + glob.glob("/usr/lib/*/pcsc/drivers/serial/libifdvpcd.so"))
        if not lib or not shutil.which("pcscd", path=bench.env["PATH"]):
            raise AssertionError("pcscd and vsmartcard-vpcd are needed: contrib/install-deps installs them")
        self.readers = list(readers)
        for i, name in enumerate(self.readers):
            copy = bench.top / f"libifdvpcd{i}.so"  # pcscd loads a library path once
            shutil.copy(lib[0], copy)
            port = PORT + 2 * i
            (self.conf / f"r{i}").write_text(f'FRIENDLYNAME "{name}"\nDEVICENAME /dev/null:0x{port:X}\nLIBPATH {copy}\n'
                                            f"CHANNELID 0x{port:X}\n")
        self.socket = self.dir / "pcscd.comm"
        bench.env["PCSCLITE_CSOCK_NAME"] = str(self.socket)
        self.keeper = bench.start("unshare", "-Urmn", "sh", "-c", KEEPER, "keeper", self.dir, stdin=-1, stdout=-1)
        if self.keeper.stdout.readline().strip() != b"ready":
            raise AssertionError("no private namespaces here: unshare -Urmn failed")
        self.pcscd = None
        self.start()

    def inside(self, *args, **kw):
        """Starts a program in the private namespaces."""
        return self.bench.start("nsenter", "-t", self.keeper.pid, "-U", "-m", "-n", "--preserve-credentials", *args, **kw)

    def start(self):
        log = open(self.bench.top / "pcscd.log", "ab")
        self.pcscd = self.inside(shutil.which("pcscd", path=self.bench.env["PATH"]), "-f", "-c", self.conf, stdout=log,
                                 stderr=log)
        wait_until(self._answers, "pcscd answers")

    def _answers(self):
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(str(self.socket))
            return True
        except OSError:
            return False
        finally:
            s.close()

    def kill(self, sig=signal.SIGKILL):
        self.pcscd.send_signal(sig)
        self.pcscd.wait()
        for f in ("pcscd.comm", "pcscd.pid"):
            try:
                os.unlink(self.dir / f)
            except FileNotFoundError:
                pass


class Card(Device):
    """One virtual card, from the start in slot SLOT of reader READER (0 is the first of its two)."""

    def __init__(self, pcscd, profile, *options, reader=0, slot=0, name="card"):
        self.name = name
        self.control = pcscd.bench.top / f"{name}.ctl"
        self.process = pcscd.inside(BUILD / "testcard", "--profile", profile, "--port", PORT + 2 * reader + slot, "--control",
                                    self.control, *options)
        wait_until(self.control.exists, "the card emulator starts")
        self.sock = None

    def ask(self, line):
        if self.sock is None:
            self.dial()
        return super().ask(line)

    def log(self):
        return json.loads(self.ask("log"))

    def pull(self):
        self.do("pull")

    def insert(self):
        self.do("insert")

    def touch(self, timeout=20):
        """Presses as soon as the card waits for it."""
        wait_until(lambda: self.ask("touch") == "OK", "the card waits for a touch", timeout)

    def count(self, f):
        """The APDUs that F causes."""
        self.do("reset-counts")
        f()
        return self.state()
