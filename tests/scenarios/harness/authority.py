"""A certificate authority made by ssh-keygen."""
import getpass


class Authority:
    def __init__(self, bench, kind="ed25519", *options):
        self.bench = bench
        self.key = bench.top / f"ca_{kind}"
        bench.run("ssh-keygen", "-q", "-t", kind, *options, "-N", "", "-C", "the CA", "-f", self.key)
        self.public = self.key.with_suffix(".pub")

    def certify(self, public, *options, key_id="ann@work", principals=getpass.getuser(), when="-1h:+1d"):
        """The text of the certificate for the key in the text PUBLIC."""
        work = self.bench.top / "tbs"
        work.mkdir(exist_ok=True)
        (work / "k.pub").write_text(public + "\n")
        self.bench.run("ssh-keygen", "-q", "-s", self.key, "-I", key_id, *(["-n", principals] if principals else []), "-V", when,
                       *options, work / "k.pub")
        return (work / "k-cert.pub").read_text()
