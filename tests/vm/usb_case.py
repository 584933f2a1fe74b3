"""What the cases have in common: the agent, pcscd, and how an unplugged token locks."""
import time
import unittest

from harness import Agent, AgentClient, Bench, ScriptedPinentry, wait_until
from harness.agentclient import s, sshsig
from usb_bench import Card, Figures, Kernel, Service, seconds

FREE = "Match all\n Touch none\n"
KEYS = ("--key", "sig=ed25519", "--key", "dec=cv25519", "--key", "aut=ed25519")
kernel = Kernel()


class Case(unittest.TestCase):
    def setUp(self):
        self.bench = b = Bench()
        self.addCleanup(b.close)
        self.pinentry = ScriptedPinentry(b)
        self.pinentry.always()
        self.policy = FREE
        self.verbosity = None

    def begin(self):
        self.bench.policy(self.policy)
        self.pcscd = Service(self.bench, self.verbosity)
        self.agent = Agent(self.bench)

    def card(self, profile="gnuk", *options, n=0, serial="00000001"):
        return Card(self.pcscd, profile, *KEYS, "--serial", serial, *options, reader=n, name=f"card{n}")

    def blobs(self):
        c = AgentClient(self.agent.ssh)
        try:
            return [blob for blob, _ in c.list()]
        finally:
            c.close()

    def listed(self, n=1):
        return wait_until(lambda: len(b := self.blobs()) == n and b, f"{n} keys are listed", 30)

    def sign(self, blob):
        c = AgentClient(self.agent.ssh)
        try:
            return c.sign(blob, sshsig("file")) is not None
        finally:
            c.close()

    def start_sign(self, blob):
        """A signature that takes its time: .recv() gives the answer."""
        c = AgentClient(self.agent.ssh)
        self.addCleanup(c.close)
        c.send(b"\x0d" + s(blob) + s(sshsig("file")) + bytes(4))
        return c

    def locked(self):
        return self.agent.lock_state() == "locked"

    def lock_record(self, n=1):
        """The Nth record of a lock."""
        return wait_until(lambda: len(r := self.agent.records("lock")) >= n and r[n - 1], "the agent locks")

    def pulled(self, device, what, n=1):
        """Unplugs; the agent locks, and how soon."""
        mark = kernel.mark()
        began = time.time()
        device.unplug()
        removed = kernel.wait(mark, "remove")
        record = self.lock_record(n)
        Figures.add(f"kernel's remove event to locked, {what}", seconds(record) - removed)
        Figures.add(f"unplugged to locked, {what}", seconds(record) - began)
        self.assertEqual(record["reason"], "pulled")
        self.assertTrue(self.locked())
