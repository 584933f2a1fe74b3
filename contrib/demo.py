"""The main job: an ssh login and a signed git commit, with a software key and with a card; the card pulled."""
import sys

from harness import Agent, Bench, Card, Pcscd, ScriptedPinentry, Sshd, wait_until

POLICY = """# the demo's policy
Host work.example
    Touch    none

Match use git-commit
    Touch    cached 5m max 40

Match all
    Touch    always
"""


def title(text):
    print(f"\n=== {text}\n", flush=True)


def show(bench, command, *args, check=True, **kw):
    print(f"$ {command}", flush=True)
    p = bench.run(*(args or command.split()), check=check, **kw)
    for line in (p.stdout + p.stderr).rstrip().splitlines():
        print(f"  {line}", flush=True)
    return p


def show_dialogs(pinentry, seen):
    for d in pinentry.dialogs()[seen:]:
        print("  [dialog] " + d.get("desc", "").replace("\n", "\n           "))
        print(f"  [answer] {'the PIN' if d['kind'] == 'pin' else 'Allow'}", flush=True)
    return len(pinentry.dialogs())


def make_repository(bench, name):
    bench.run("git", "init", "-q", "-b", "main", name)
    return bench.home / name


def software(bench, agent, server):
    title("1. A software key: no hardware needed")
    key = bench.home / ".ssh" / "id_ed25519"
    bench.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo key", "-f", key)
    show(bench, "ssh-add ~/.ssh/id_ed25519", "ssh-add", key)
    server.authorize(key.with_suffix(".pub").read_text())
    show(bench, "ssh work.example echo logged in", *server.args(), "echo logged in")
    repo = make_repository(bench, "software")
    signers = bench.home / "signers"
    signers.write_text("ann@example.org " + key.with_suffix(".pub").read_text())
    for name, value in (("gpg.format", "ssh"), ("user.signingkey", str(key) + ".pub"),
                        ("gpg.ssh.allowedSignersFile", str(signers))):
        bench.run("git", "config", name, value, cwd=repo)
    show(bench, "git commit -S -m 'signed by a software key'", "git", "commit", "-q", "--allow-empty", "-S", "-m",
         "signed by a software key", cwd=repo)
    show(bench, "git log --show-signature -1", cwd=repo)
    return repo


def card(bench, agent, server, pcscd, pinentry, seen):
    title("2. An OpenPGP card (virtual, in a real pcscd), plugged in")
    token = Card(pcscd, "gnuk", "--key", "sig=ed25519", "--key", "dec=cv25519", "--key", "aut=ed25519")
    agent.wait_token("gnuk")
    show(bench, "latchkey status")
    show(bench, "latchkey keys")
    server.authorize(*agent.latchkey("keys", "--ssh").stdout.splitlines())
    show(bench, "ssh work.example echo logged in by the card", *server.args(), "echo logged in by the card")
    seen = show_dialogs(pinentry, seen)
    show(bench, "latchkey policy explain --last")

    title("3. A git commit signed by the card, through latchkey-gpg")
    fpr = next(k["openpgp_fingerprint"] for k in agent.keys() if "sign" in k["uses"])
    repo = make_repository(bench, "card")
    bench.run("git", "config", "gpg.program", "latchkey-gpg", cwd=repo)
    bench.run("git", "config", "user.signingkey", fpr, cwd=repo)
    show(bench, "git commit -S -m 'signed by a card'", "git", "commit", "-q", "--allow-empty", "-S", "-m", "signed by a card",
         cwd=repo)
    seen = show_dialogs(pinentry, seen)
    certificate = agent.latchkey("keys", "--openpgp", "Ann Author <ann@example.org>").stdout
    print("$ latchkey keys --openpgp 'Ann Author <ann@example.org>' | gpg --import", flush=True)
    (bench.gnupg).mkdir(mode=0o700)
    bench.run("gpg", "--batch", "-q", "--import", input=certificate)
    seen = show_dialogs(pinentry, seen)
    signed = show(bench, "git log --show-signature -1", cwd=repo)
    if "Good signature" not in signed.stdout:
        sys.exit("demo: the signature is not good")

    return token


def pulled(bench, agent, server, token, repo):
    title("4. The card is pulled: everything is locked")
    token.pull()
    wait_until(lambda: agent.lock_state() == "locked", "the agent locks")
    show(bench, "latchkey status", check=False)
    refused = show(bench, "git commit -S -m 'by the software key, locked'", "git", "commit", "-q", "--allow-empty", "-S", "-m",
                   "by the software key, locked", cwd=repo, check=False)
    if refused.returncode == 0:
        sys.exit("demo: a locked agent signed")
    show(bench, "latchkey log -n 1")
    title("5. The card is back: its PIN opens the agent again")
    token.insert()
    agent.wait_token("gnuk")
    show(bench, "ssh work.example echo logged in again", *server.args(), "echo logged in again")
    show(bench, "latchkey status")


def main():
    bench = Bench()
    try:
        pinentry = ScriptedPinentry(bench)
        pinentry.always("123456")
        bench.policy(POLICY)
        pcscd = Pcscd(bench, ["Gnuk Token (FSIJ-1.2.20)"])
        agent = Agent(bench)
        server = Sshd(bench, known_as="work.example")
        print("The policy:\n\n    " + POLICY.replace("\n", "\n    "))
        repo = software(bench, agent, server)
        token = card(bench, agent, server, pcscd, pinentry, show_dialogs(pinentry, 0))
        pulled(bench, agent, server, token, repo)
        title("6. The audit log of all that")
        show(bench, "latchkey log")
        agent.stop()
        print("\ndemo: done", flush=True)
    finally:
        bench.close()


main()
