"""A pinentry as gpg-agent knows it, strict about what it is told, that answers as a test says."""
import json
import sys

from .bench import wait_until

PROGRAM = r'''#!{python}
"""Speaks pinentry's protocol. What it would not be told by gpg-agent it refuses, and notes in "wrong"."""
import json, os, re, sys, time

DIR = {dir!r}
KNOWN = {{  # command: what may follow
    "SETDESC": ".+", "SETPROMPT": ".+", "SETOK": ".+", "SETCANCEL": ".+", "SETNOTOK": ".+", "SETERROR": ".+", "SETTITLE": ".+",
    "SETREPEAT": ".+", "SETREPEATERROR": ".+", "SETQUALITYBAR": ".*", "SETQUALITYBAR_TT": ".+", "SETGENPIN": ".+",
    "SETGENPIN_TT": ".+", "SETTIMEOUT": "[0-9]+", "SETKEYINFO": "--clear|[nus]/[^ ]{{1,60}}", "CLEARPASSPHRASE": "[nus]/[^ ]+",
    "GETINFO": "flavor|version|ttyinfo|pid", "GETPIN": "", "CONFIRM": "(--one-button)?", "BYE": "", "OPTION": ".+", "RESET": "",
}}
OPTIONS = ("grab no-grab ttyname= ttytype= lc-ctype= lc-messages= allow-external-password-cache allow-emacs-prompt default-ok= "
           "default-cancel= default-yes= default-no= default-prompt= default-pwmngr= default-cf-visi= default-tt-visi= "
           "default-tt-hide= default-capshint= invisible-char= touch-file= owner= pinentry-user-data= formatted-passphrase "
           "formatted-passphrase-hint= constraints-enforce constraints-hint-short= constraints-hint-long= "
           "constraints-error-title=").split()
dialog = {{"options": [], "argv": sys.argv[1:], "display": os.environ.get("DISPLAY")}}

def unescape(s):
    return re.sub(b"%([0-9A-Fa-f]{{2}})", lambda m: bytes([int(m[1], 16)]), s.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")

def escape(s):
    return s.replace("%", "%25").replace("\n", "%0A").replace("\r", "%0D")

def note(name, what):
    with open(os.path.join(DIR, name), "a") as f:
        f.write(json.dumps(what) + "\n")

def say(s):
    sys.stdout.write(s + "\n")
    sys.stdout.flush()

def ask(what):
    """An inquiry of the pinentry's; its answer, or None when it is refused."""
    say("INQUIRE " + what)
    got = ""
    for line in sys.stdin:
        line = line.rstrip("\n")
        if line == "END":
            return unescape(got)
        if line.startswith("CAN"):
            return None
        if not line.startswith("D "):
            note("wrong", "in the answer to " + what + ": " + line)
        got += line[2:]

def next_answer():
    while True:
        for n in sorted(os.listdir(os.path.join(DIR, "answers"))):
            path = os.path.join(DIR, "answers", n)
            try:
                text = open(path).read()
                if not n.startswith("always"):
                    os.unlink(path)
            except OSError:
                continue
            return json.loads(text)
        time.sleep(0.01)

def dialogue(kind):
    note("open", dict(dialog, kind=kind))
    a = next_answer()
    if a.get("unless") == kind:  # an answer for always that is for the other kind
        a = {{}}
    dialog["inquired"] = [ask(q) for q in a.get("ask", ())]
    note("dialogs", dict(dialog, kind=kind, answer=a))
    for s in a.get("status", ()):
        say("S " + s)
    if a.get("die"):
        sys.exit(1)
    if a.get("error"):
        say("ERR %d" % a["error"])
        return
    if kind == "pin":
        pin = a.get("pin", "")
        if a.get("suggested"):
            pin = dialog["inquired"][0]
        if pin:
            say("D " + escape(pin))
    say("OK")

say("OK Pleased to meet you")
for line in sys.stdin:
    verb, _, rest = line.rstrip("\n").partition(" ")
    old = os.path.exists(os.path.join(DIR, "old"))
    if verb not in KNOWN or not re.fullmatch(KNOWN[verb], rest) or "\r" in rest or \
            (verb == "OPTION" and not any(rest == o or (o.endswith("=") and rest.startswith(o)) for o in OPTIONS)):
        note("wrong", line)
        say("ERR 83886355 Unknown IPC command <Pinentry>")
    elif old and verb in ("SETREPEAT", "SETREPEATERROR", "SETNOTOK", "SETGENPIN", "SETGENPIN_TT", "SETKEYINFO"):
        say("ERR 83886355 Unknown IPC command <Pinentry>")
    elif verb == "OPTION":
        if old and rest.startswith(("formatted", "constraints", "owner", "touch", "default-")):
            say("ERR 83886254 Unknown option <Pinentry>")
        else:
            dialog["options"].append(unescape(rest))
            say("OK")
    elif verb == "GETINFO":
        say("D " + {{"flavor": "strict", "version": "1.2.1", "ttyinfo": "- - - - 0/0 0", "pid": str(os.getpid())}}[rest])
        say("OK")
    elif verb == "GETPIN":
        dialogue("pin")
    elif verb == "CONFIRM":
        dialogue("message" if rest else "confirm")
    elif verb == "CLEARPASSPHRASE":
        note("forgotten", rest)
        say("OK")
    elif verb == "BYE":
        say("OK closing connection")
        sys.exit(0)
    else:
        dialog[verb[3:].lower()] = unescape(rest)
        say("OK")
'''

CANCEL, CLOSED, NOT_CONFIRMED, TIMEOUT = 83886179, 83886179, 83886194, 83886142


class GpgPinentry:
    """pin("abc"), yes(), no(), cancel() ..: one answer each, taken in order. PROGRAM is for gpg-agent.conf."""

    def __init__(self, bench, name="gpgpin"):
        self.dir = bench.top / name
        (self.dir / "answers").mkdir(parents=True)
        self.program = self.dir / "pinentry"
        self.program.write_text(PROGRAM.format(python=sys.executable, dir=str(self.dir)))
        self.program.chmod(0o755)
        self.n = 0

    def answer(self, name=None, **what):
        self.n += 1
        tmp = self.dir / "tmp"
        tmp.write_text(json.dumps(what))
        tmp.rename(self.dir / "answers" / (name or f"a{self.n:04}"))

    def pin(self, text, repeated=False, **more):
        self.answer(pin=text, status=["PIN_REPEATED"] if repeated else [], **more)

    def new(self, text, **more):
        """A new passphrase, typed twice in one dialog."""
        self.pin(text, repeated=True, **more)

    def yes(self):
        self.answer()

    def no(self):
        self.answer(error=NOT_CONFIRMED)

    def cancel(self):
        self.answer(error=CANCEL)

    def close_window(self):
        self.answer(error=CANCEL, status=["BUTTON_INFO close"])

    def old(self):
        """From now on it is one that knows only what the first ones knew."""
        (self.dir / "old").touch()

    def _read(self, name):
        path = self.dir / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def dialogs(self):
        return self._read("dialogs")

    def opened(self):
        return self._read("open")

    def forgotten(self):
        return self._read("forgotten")

    def wrong(self):
        """What it was told that gpg-agent would not say."""
        return self._read("wrong")

    def waiting(self):
        """Answers that nobody has asked for."""
        return sorted(p.name for p in (self.dir / "answers").iterdir() if not p.name.startswith("always"))

    def wait_open(self, n):
        return wait_until(lambda: len(self.opened()) >= n and self.opened(), f"dialog {n} is shown")
