"""PKCS#11 tokens in software, made with SoftHSM2 and OpenSC's pkcs11-tool; ssh-add's way of asking for a PIN."""
import glob
import os

from .bench import BUILD

FAKE = BUILD / "fake_pkcs11.so"


class SoftHsm:
    def __init__(self, bench, label="Test token", pin="1234"):
        found = sorted(glob.glob("/usr/lib/*/softhsm/libsofthsm2.so") + glob.glob("/usr/lib/softhsm/libsofthsm2.so"))
        if not found:
            raise AssertionError("softhsm2 and opensc are needed: contrib/install-deps installs them")
        self.bench = bench
        self.module = os.path.realpath(found[0])
        self.pin = pin
        tokens = bench.top / "tokens"
        tokens.mkdir(exist_ok=True)
        conf = bench.top / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        bench.env["SOFTHSM2_CONF"] = str(conf)
        self.label = label
        bench.run("softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", "12345678")

    def tool(self, *args):
        return self.bench.run("pkcs11-tool", "--module", self.module, "--token-label", self.label, "--login", "--pin", self.pin,
                              *args)

    def key(self, kind, ident, label=None):
        self.tool("--keypairgen", "--key-type", kind, "--id", ident, *(["--label", label] if label else []))


class AskPass:
    """What ssh-add gets when it asks; a PIN, or nothing."""

    def __init__(self, bench, pin="1234"):
        self.file = bench.top / "askpass.pin"
        program = bench.top / "askpass"
        program.write_text(f"#!/bin/sh\ncat {self.file}\n")
        program.chmod(0o755)
        bench.env["SSH_ASKPASS"] = str(program)
        bench.env["SSH_ASKPASS_REQUIRE"] = "force"
        self.answer(pin)

    def answer(self, pin):
        self.file.write_text(pin + "\n")


def processes(agent):
    """The pids of AGENT's latchkey-token pkcs11 processes, by module."""
    out = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                argv = f.read().split(b"\0")
            with open(f"/proc/{pid}/stat") as f:
                state, parent = f.read().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if len(argv) > 2 and argv[1] == b"pkcs11" and int(parent) == agent.process.pid and state != "Z":
            out[argv[2].decode()] = int(pid)
    return out
