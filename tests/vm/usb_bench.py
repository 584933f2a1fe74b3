"""In the guest: devices plugged into the kernel's ports, what the kernel tells of them, the machine's own pcscd."""
import datetime
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time

from harness.bench import BUILD, TOP, wait_until
from harness.card import PORT, Card, Pcscd

DEVICES = pathlib.Path("/sys/bus/usb/devices")
GNUK = ("234b:0000", "Free Software Initiative of Japan", "Gnuk Token")
YUBIKEY = ("1050:0406", "Yubico", "YubiKey FIDO+CCID")
FIDO = ("1050:0120", "Yubico", "Security Key by Yubico")


class Kernel:
    """The kernel's events as they come (netlink), with the time of this clock: time.time()."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15)  # NETLINK_KOBJECT_UEVENT
        self.sock.bind((0, 1))
        self.events = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while True:
            data = self.sock.recv(65536)
            now = time.time()
            fields = dict(f.split("=", 1) for f in data.decode(errors="replace").split("\0")[1:] if "=" in f)
            self.events.append((now, fields))

    def mark(self):
        return len(self.events)

    def wait(self, mark, action, devtype="usb_device"):
        """When the event came, of those since MARK."""
        def find():
            return next((t for t, f in self.events[mark:] if f.get("ACTION") == action and f.get("DEVTYPE") == devtype), None)
        return wait_until(find, f"the kernel's {action} of a {devtype}")


class Service(Pcscd):
    """The machine's own pcscd, with libccid (VERBOSITY: its ifdLogLevel); no readers but those on USB."""
    crashes = []

    def __init__(self, bench, verbosity=None):
        self.bench = bench
        self.env = dict(bench.env, **({"LIBCCID_ifdLogLevel": verbosity} if verbosity else {}))
        self.level = "--debug" if verbosity else "--info"
        self.dir = pathlib.Path("/run/pcscd")
        self.conf = bench.top / "c"
        self.conf.mkdir()
        self.socket = self.dir / "pcscd.comm"
        bench.cleanups.append(self._leave)
        self.start()

    def inside(self, *args, **kw):
        return self.bench.start(*args, **kw)

    def start(self):
        self._launch()
        threading.Thread(target=self._supervise, args=(self.pcscd,), daemon=True).start()

    def _launch(self):
        self.dir.mkdir(exist_ok=True)
        with open(self.bench.top / "pcscd.log", "ab") as log:
            self.pcscd = self.bench.start(shutil.which("pcscd", path=self.bench.env["PATH"]), "-f", self.level, "-c", self.conf,
                                          stdout=log, stderr=log, env=self.env)
        wait_until(self._answers, "pcscd answers")

    def _supervise(self, process):
        """pcscd 1.9 crashes now and then when a reader comes while another one goes. As with systemd, it is started anew: by this thread,
        which stays, for the processes of one that ends would end with it."""
        while True:
            status = process.wait()
            if process is not self.pcscd:
                return
            Service.crashes.append(status)
            self._clear()
            self._launch()
            process = self.pcscd

    def _clear(self):
        for f in ("pcscd.comm", "pcscd.pid"):
            (self.dir / f).unlink(missing_ok=True)

    def _leave(self):
        self.pcscd = None

    def kill(self, sig=signal.SIGKILL):
        process = self.pcscd
        self._leave()
        process.send_signal(sig)
        process.wait()
        self._clear()

    def said(self):
        return (self.bench.top / "pcscd.log").read_text(errors="replace")


class Device:
    """One stick: plugged in as long as its process lives. CARD: which of the ports for cards it has, FIDO: a SecurityKey. Wallets: HID:
    (usage page, emulator), VENDOR: emulator, BACK_AS: the product that it comes back as."""

    def __init__(self, bench, kind, port=0, serial="1", card=None, fido=None, hid=None, vendor=None, back_as=None, uhid=False):
        self.bench = bench
        self.kind = kind
        self.port = port
        self.serial = serial
        self.functions = []
        if uhid:
            self.functions += ["--uhid"]
        if card is not None:
            self.functions += ["--ccid", PORT + 2 * card]
        if fido is not None:
            self.functions += ["--fido", fido.path]
        if hid is not None:
            self.functions += ["--hid", f"{hid[0]}:{hid[1]}"]
        if back_as is not None:
            self.functions += ["--back-as", back_as]
        if vendor is not None:
            self.functions += ["--vendor", vendor]
        self.uhid = uhid
        self.plug()

    @property
    def sys(self):
        return DEVICES / f"1-{self.port + 1}"

    def plug(self, port=None):
        self.port = self.port if port is None else port
        where = [] if self.uhid else ["--port", self.port]
        id, maker, name = self.kind
        self.process = self.bench.start(BUILD / "testusb", *where, "--id", id, "--maker", maker, "--name", name, "--serial",
                                        self.serial, *self.functions, stdout=subprocess.PIPE)
        if self.process.stdout.readline() != b"plugged\n":
            raise AssertionError("testusb: not plugged")

    def configured(self):
        return wait_until(lambda: (self.sys / "bConfigurationValue").exists() and (self.sys / "bConfigurationValue").read_text().strip(),
                          f"the kernel configures the device in port {self.port}")

    def unplug(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)

    def node(self):
        return pathlib.Path("/dev/bus/usb") / f"{int((self.sys / 'busnum').read_text()):03}" / f"{int((self.sys / 'devnum').read_text()):03}"

    def hidraw(self):
        """/dev/hidrawN of this device."""
        def find():
            where = self.sys.resolve() if not self.uhid else pathlib.Path("/sys/devices/virtual/misc/uhid")
            return next((pathlib.Path("/dev") / p.name for p in where.glob("**/hidraw/hidraw*")), None)
        return wait_until(find, "a hidraw node")


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def seconds(record):
    """When the agent wrote it, as time.time()."""
    return datetime.datetime.strptime(record["time"], "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()


class Figures:
    """What was measured, to be printed at the end."""
    rows = []

    @classmethod
    def add(cls, what, s):
        cls.rows.append((what, s * 1000))

    @classmethod
    def print(cls):
        names = sorted({w for w, _ in cls.rows})
        for name in names:
            ms = sorted(v for w, v in cls.rows if w == name)
            print(f"measured  {name}: median {ms[len(ms) // 2]:.0f} ms, worst {ms[-1]:.0f} ms ({len(ms)} times)", flush=True)


__all__ = ["DEVICES", "FIDO", "GNUK", "TOP", "YUBIKEY", "Card", "Device", "Figures", "Kernel", "Service", "seconds", "write"]
