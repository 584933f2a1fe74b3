"""Who answers dialogs: a pinentry that is told what to say, or the real pinentry-tty on a terminal."""
import json
import os
import pty
import re
import select
import stat
import sys
import time

from .bench import BUILD, wait_until

PINENTRY = '''#!{python}
import json, os, sys, time, urllib.parse
DIR = {dir!r}
dialog = {{}}
def log(kind, answer):
    with open(os.path.join(DIR, "dialogs"), "a") as f:
        f.write(json.dumps(dict(dialog, kind=kind, answer=answer)) + "\\n")
def next_answer(kind):
    while True:
        names = sorted(n for n in os.listdir(os.path.join(DIR, "answers")))
        for n in names:
            path = os.path.join(DIR, "answers", n)
            try:
                text = open(path).read()
                if not n.startswith("always"):
                    os.unlink(path)
            except OSError:
                continue
            want, _, answer = text.partition(" ")
            return answer if want in (kind, "any") else text
        time.sleep(0.01)
def say(s):
    sys.stdout.write(s + "\\n"); sys.stdout.flush()
say("OK Pleased to meet you")
for line in sys.stdin:
    verb, _, rest = line.rstrip("\\n").partition(" ")
    verb = verb.upper()
    if verb in ("SETDESC", "SETERROR", "SETPROMPT", "SETTITLE", "SETOK", "SETCANCEL"):
        dialog[verb[3:].lower()] = urllib.parse.unquote(rest)
        say("OK")
    elif verb in ("GETPIN", "CONFIRM", "MESSAGE"):
        kind = "pin" if verb == "GETPIN" else "confirm"
        if "one-button" in rest or verb == "MESSAGE":
            kind = "message"
        with open(os.path.join(DIR, "open"), "a") as f:
            f.write(json.dumps(dict(dialog, kind=kind, display=os.environ.get("DISPLAY"))) + "\\n")
        while kind == "message":
            time.sleep(1)  # a notice stays until it is taken down
        a = next_answer(kind)
        log(kind, a)
        if a == "cancel":
            say("ERR 83886179 Operation cancelled <Pinentry>")
        elif a == "no":
            say("ERR 83886194 Not confirmed <Pinentry>")
        elif a == "die":
            sys.exit(1)
        elif a == "garbage":
            say("\\x01\\x02 what")
        elif kind == "pin":
            say("D " + a); say("OK")
        else:
            say("OK")
        dialog = {{}}
    elif verb == "BYE":
        say("OK closing connection"); sys.exit(0)
    elif verb == "GETINFO":
        say("D " + (str(os.getpid()) if rest == "pid" else "scripted")); say("OK")
    else:
        say("OK")
'''


class ScriptedPinentry:
    """answer("pin 123456"), answer("confirm ok"), answer("any cancel"): queued, taken in order. always(..) stays."""

    def __init__(self, bench, extra=""):
        self.dir = bench.top / "pin"
        (self.dir / "answers").mkdir(parents=True)
        self.program = self.dir / "pinentry"
        self.program.write_text(PINENTRY.format(python=sys.executable, dir=str(self.dir)))
        self.program.chmod(0o755)
        self.n = 0
        bench.env["DISPLAY"] = ":99"  # where nobody looks: but without terminal and display no dialog is even tried
        bench.settings(f"Pinentry {self.program}\n{extra}")

    def _put(self, name, text):
        tmp = self.dir / "tmp"
        tmp.write_text(text)
        tmp.rename(self.dir / "answers" / name)

    def answer(self, text):
        self.n += 1
        self._put(f"a{self.n:04}", text)

    def always(self, pin="123456"):
        """Every PIN dialog gets PIN, every confirmation yes."""
        self._put("always", pin)

    def _read(self, name):
        path = self.dir / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def dialogs(self):
        """Those that were answered."""
        return self._read("dialogs")

    def opened(self):
        """Those that were shown, answered or not."""
        return self._read("open")

    def wait_open(self, n):
        return wait_until(lambda: len(self.opened()) >= n and self.opened(), f"dialog {n} is shown")


class Person:
    """A person at a terminal: runs a program on a pty and answers what pinentry-tty writes there."""

    def __init__(self, bench, *args, answers=()):
        self.seen = ""
        pid, self.fd = pty.fork()
        if pid == 0:
            env = dict(bench.env, GPG_TTY=os.ttyname(0), TERM="vt100")
            os.chdir(bench.home)
            os.execvpe(str(args[0]), [str(a) for a in args], env)
        self.pid = pid
        self.answers = list(answers)

    def finish(self, timeout=30):
        """Feeds (pattern, text) answers in order; returns the exit status."""
        end = time.monotonic() + timeout
        at = 0
        while time.monotonic() < end:
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.seen += os.read(self.fd, 4096).decode(errors="replace")
                except OSError:
                    break
            if self.answers and (m := re.search(self.answers[0][0], self.seen[at:])):
                at += m.end()
                os.write(self.fd, (self.answers.pop(0)[1] + "\r").encode())
        else:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
            raise AssertionError(f"the program on the terminal did not end; seen: {self.seen!r}")
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
