"""latchkey-agent under test, and what it wrote."""
import json
import signal

from .bench import BUILD, wait_until


class Agent:
    def __init__(self, bench, *args, wait=True):
        self.bench = bench
        self.log = bench.top / "agent.log"
        self.ssh = bench.runtime / "latchkey" / "ssh"
        self.ctl = bench.runtime / "latchkey" / "ctl"
        with open(self.log, "ab") as log:
            self.process = bench.start(BUILD / "latchkey-agent", "--foreground", *args, stdout=log, stderr=log)
        bench.env["SSH_AUTH_SOCK"] = str(self.ssh)
        if wait:
            wait_until(lambda: self.ssh.exists() and self.ctl.exists() or self._ended(), "the agent listens")

    def _ended(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the agent ended: {self.log.read_text()}")
        return False

    def latchkey(self, *args, **kw):
        return self.bench.run(BUILD / "latchkey", *args, **kw)

    def status(self):
        return json.loads(self.latchkey("status", "--json", check=False).stdout)

    def lock_state(self):
        return self.status()["lock"]["state"]

    def token(self, name):
        for t in self.status()["tokens"]:
            if name in t["name"]:
                return t
        return None

    def wait_token(self, name, state="ready"):
        return wait_until(lambda: (t := self.token(name)) and t["state"] == state and t, f"token {name} is {state}")

    def keys(self):
        return json.loads(self.latchkey("keys", "--json").stdout)

    def records(self, event="operation"):
        path = self.bench.home / ".local" / "state" / "latchkey" / "audit.jsonl"
        if not path.exists():
            return []
        return [r for line in path.read_text().splitlines() if (r := json.loads(line))["event"] == event or event is None]

    def last(self):
        return self.records()[-1]

    def stop(self):
        status = self.bench.end(self.process, signal.SIGTERM)
        if status != 0:
            raise AssertionError(f"the agent ended with {status}: {self.log.read_text()}")
