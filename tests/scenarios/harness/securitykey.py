"""Security keys: a FIDO authenticator in software on a socket, and middleware that is told what to do."""
import base64
import os

from .agentclient import s
from .bench import BUILD, wait_until
from .card import PORT
from .device import Device

PRESENCE, VERIFY = 1, 4
TYPES = {"ed25519": b"sk-ssh-ed25519@openssh.com", "ecdsa": b"sk-ecdsa-sha2-nistp256@openssh.com"}


def key_file(path, algo, handle, public, application="ssh:", flags=PRESENCE, comment="sk"):
    """Writes a key as `ssh-keygen -t ed25519-sk` would (PROTOCOL.key, PROTOCOL.u2f), and its .pub."""
    plain = (s("nistp256") if algo == "ecdsa" else b"") + s(public) + s(application)
    blob = s(TYPES[algo]) + plain
    check = os.urandom(4)
    body = check + check + s(TYPES[algo]) + plain + bytes([flags]) + s(handle) + s("") + s(comment)
    body += bytes(range(1, 1 + -len(body) % 8))
    data = b"openssh-key-v1\0" + s("none") + s("none") + s("") + b"\0\0\0\1" + s(blob) + s(body)
    text = base64.encodebytes(data).decode()
    path.write_text(f"-----BEGIN OPENSSH PRIVATE KEY-----\n{text}-----END OPENSSH PRIVATE KEY-----\n")
    path.chmod(0o600)
    path.with_suffix(".pub").write_text(f"{TYPES[algo].decode()} {base64.b64encode(blob).decode()} {comment}\n")
    return path


class SecurityKey(Device):
    """One authenticator. The agent finds it by `Emulator fido PATH`."""

    def __init__(self, bench, *options, name="fido", reader=None):
        """READER: (pcscd, number): not by USB, but in that reader."""
        self.bench = bench
        self.reader = reader
        self.name = name
        self.path = bench.top / f"{name}.hid"
        self.control = bench.top / f"{name}.ctl"
        self.options = options
        self.start()

    def start(self):
        args = ["--control", self.control, *self.options]
        if self.reader is not None:
            pcscd, number = self.reader
            self.process = pcscd.inside(BUILD / "testfido", "--vpcd", PORT + 2 * number, *args)
        else:
            self.process = self.bench.start(BUILD / "testfido", "--socket", self.path, *args)
        self.dial()

    def pull(self):
        """Its keys go with it: it is another one that is plugged in later."""
        self.end()
        self.path.unlink(missing_ok=True)

    def wait_blink(self, blinks=True):
        return wait_until(lambda: self.state()["waiting"] == blinks, f"{self.name} {'blinks' if blinks else 'is dark'}")

    def make(self, path, algo="ed25519", application="ssh:", flags=PRESENCE, comment="sk"):
        """A new credential, and the key file for it."""
        level = 3 if flags & VERIFY else 1
        answer = self.ask(f"make {algo} {application} {level}").split()
        if answer[0] != "OK":
            raise AssertionError(f"security key: {answer}")
        return key_file(path, algo, bytes.fromhex(answer[1]), bytes.fromhex(answer[2]), application, flags, comment)


class Middleware:
    """testsk.so: SSH_SK_PROVIDER for ssh-keygen and ssh-add, with a folder that rules what it does."""
    library = BUILD / "testsk.so"

    def __init__(self, bench):
        self.dir = bench.top / "sk"
        self.dir.mkdir()
        bench.env["LATCHKEY_TEST_SK"] = str(self.dir)
        bench.env["SSH_SK_PROVIDER"] = str(self.library)
        bench.env["SSH_ASKPASS_REQUIRE"] = "never"

    def set(self, name, text=""):
        tmp = self.dir / "tmp"
        tmp.write_text(text)
        tmp.rename(self.dir / name)

    def unset(self, name):
        (self.dir / name).unlink()

    def calls(self):
        """(application, flags, with PIN) of each signature asked for."""
        path = self.dir / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(a, int(f, 16), p == "pin") for a, f, p in (line.rsplit(" ", 2) for line in lines)]
