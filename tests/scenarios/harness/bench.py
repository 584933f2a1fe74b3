"""A scratch home with a clean environment; processes that end with it."""
import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

BUILD = pathlib.Path(os.environ.get("BUILD", "build")).resolve()
TOP = pathlib.Path(__file__).resolve().parents[3]
Skip = unittest.SkipTest
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: leftovers of a killed run end by themselves


def wait_until(cond, what, timeout=20.0):
    """Polls COND until it is true (and gives its value); fails the test after TIMEOUT seconds."""
    end = time.monotonic() + timeout
    while True:
        value = cond()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.01)


def run(*args, env=None, check=True, timeout=60, **kw):
    kw.setdefault("stdin", subprocess.DEVNULL)
    if "input" in kw:
        del kw["stdin"]
    p = subprocess.run([str(a) for a in args], env=env, capture_output=True, text=True, errors="replace", timeout=timeout, **kw)
    if check and p.returncode != 0:
        raise AssertionError(f"{args}: status {p.returncode}\n{p.stdout}{p.stderr}")
    return p


class Bench:
    """One test's place: directories, environment, processes."""

    def __init__(self):
        self.top = pathlib.Path(tempfile.mkdtemp(prefix="lk", dir="/tmp"))
        self.home = self.top / "h"
        self.runtime = self.top / "r"
        self.gnupg = self.home / "g"  # not ~/.gnupg: the sockets of that would be the person's own
        self.config = self.home / ".config" / "latchkey"
        self.processes = []
        self.cleanups = []
        for d in (self.home, self.runtime, self.home / ".ssh", self.top / "etc"):
            d.mkdir(mode=0o700)
        self.config.mkdir(parents=True, mode=0o700)
        self.env = {
            "PATH": f"{BUILD}:{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin",
            "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.runtime), "LATCHKEY_SYSCONFDIR": str(self.top / "etc"),
            "GNUPGHOME": str(self.gnupg), "LANG": "C.UTF-8", "TERM": "dumb",
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": str(self.home / ".gitconfig"),
            "GIT_AUTHOR_NAME": "Ann Author", "GIT_AUTHOR_EMAIL": "ann@example.org",
            "GIT_COMMITTER_NAME": "Ann Author", "GIT_COMMITTER_EMAIL": "ann@example.org",
        }
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]

    def start(self, *args, **kw):
        kw.setdefault("env", self.env)
        kw.setdefault("stdin", subprocess.DEVNULL)
        p = subprocess.Popen([str(a) for a in args], preexec_fn=die_with_parent, **kw)
        self.processes.append(p)
        return p

    def run(self, *args, **kw):
        kw.setdefault("env", self.env)
        kw.setdefault("cwd", self.home)
        return run(*args, **kw)

    def end(self, p, sig=signal.SIGTERM, timeout=10):
        if p.poll() is None:
            p.send_signal(sig)
        try:
            return p.wait(timeout)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
            raise AssertionError(f"{p.args} did not end")

    def policy(self, text):
        """Writes the person's policy the way a careful editor does: in one step."""
        path = self.config / "policy.conf"
        tmp = self.config / "new"
        tmp.write_text(text)
        tmp.chmod(0o600)
        tmp.rename(path)
        return path

    def settings(self, text):
        path = self.config / "latchkey.conf"
        path.write_text(text)
        path.chmod(0o600)

    def close(self):
        for f in reversed(self.cleanups):
            f()
        for p in reversed(self.processes):
            if p.poll() is None:
                p.terminate()
        for p in reversed(self.processes):
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        if pathlib.Path(f"/run/user/{os.getuid()}").is_dir() and shutil.which("gpgconf"):
            for home in self.home.iterdir():
                if (home / "private-keys-v1.d").is_dir():
                    self.run("gpgconf", "--remove-socketdir", env=dict(self.env, GNUPGHOME=str(home)), check=False)
        shutil.rmtree(self.top, ignore_errors=True)
