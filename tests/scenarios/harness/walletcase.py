"""What scenarios with hardware wallets have in common."""
import unittest

from .bench import Bench

P256, ED = "ssh://user@host nist256p1", "ssh://user@host ed25519"
LINES = {  # of the vectors: what trezor-agent exports for the mnemonic "all all ..", of either make
    P256: "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBIU5qkCd5hNqHwuA9OzjaIbsOeeRve8pgwTQ8qvPSflM"
          "hLl4QjPEYAW6t3oSJpRkgNIifq6l+IQsiRbr5LKTQmQ= <ssh://user@host|nist256p1>",
    ED: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOBl75+s3Kh1QMuNI9CJcLPsQmFcwCAzaok+revg0BtW <ssh://user@host|ed25519>",
}


class WalletCase(unittest.TestCase):
    """A subclass starts self.agent, with the person at self.pinentry."""

    def setUp(self):
        self.bench = Bench()
        self.addCleanup(self.bench.close)

    def listed(self):
        p = self.bench.run("ssh-add", "-L", check=False)
        return p.stdout.splitlines() if p.returncode == 0 else []

    def notices(self):
        return [d["desc"] for d in self.pinentry.opened() if d["kind"] == "message"]

    def pub(self, line, name="wallet"):
        path = self.bench.home / ".ssh" / f"{name}.pub"
        path.write_text(line + "\n")
        return path

    def start_sign(self, pub):
        (self.bench.home / "data").write_text("text")
        return self.bench.start("ssh-keygen", "-Y", "sign", "-n", "file", "-f", pub, self.bench.home / "data", cwd=self.bench.home)

    def sign(self, pub, check=True, **kw):
        b = self.bench
        p = b.run("ssh-keygen", "-Y", "sign", "-n", "file", "-f", pub, input="text", check=check, **kw)
        if p.returncode == 0:
            (b.home / "sig").write_text(p.stdout)
            b.run("ssh-keygen", "-Y", "check-novalidate", "-n", "file", "-s", b.home / "sig", input="text")
        return p

    def refused(self, reason):
        r = self.agent.last()
        self.assertNotEqual(r.get("result"), "ok")
        self.assertIn(reason, r["reason"] or "")
        return r
