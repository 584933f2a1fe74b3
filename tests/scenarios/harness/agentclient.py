"""A bare ssh-agent client: says just what a test wants, true or not."""
import os
import socket
import struct
import subprocess


def s(data):
    if isinstance(data, str):
        data = data.encode()
    return struct.pack(">I", len(data)) + data


def take(data):
    n = struct.unpack(">I", data[:4])[0]
    return data[4:4 + n], data[4 + n:]


class HostKey:
    """An ed25519 key that signs what a test likes (openssl does the arithmetic)."""

    def __init__(self, bench, name):
        self.pem = bench.top / f"{name}.pem"
        bench.run("openssl", "genpkey", "-algorithm", "ed25519", "-out", self.pem)
        der = subprocess.run(["openssl", "pkey", "-in", self.pem, "-pubout", "-outform", "DER"], capture_output=True,
                             check=True).stdout
        self.blob = s("ssh-ed25519") + s(der[-32:])

    def sign(self, bench, data):
        path = bench.top / "tbs"
        path.write_bytes(data)
        sig = subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", self.pem, "-in", path], capture_output=True,
                             check=True).stdout
        return s("ssh-ed25519") + s(sig)


class AgentClient:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(path))
        self.sock.settimeout(60)

    def send(self, body):
        self.sock.sendall(s(body))

    def recv(self):
        head = self._exactly(4)
        return self._exactly(struct.unpack(">I", head)[0])

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            if not more:
                raise EOFError("the agent closed the connection")
            data += more
        return data

    def ask(self, body):
        self.send(body)
        return self.recv()

    def list(self):
        answer = self.ask(b"\x0b")
        assert answer[0] == 12, answer
        n, rest = struct.unpack(">I", answer[1:5])[0], answer[5:]
        out = []
        for _ in range(n):
            blob, rest = take(rest)
            comment, rest = take(rest)
            out.append((blob, comment.decode()))
        return out

    def sign(self, blob, data, flags=0):
        """The signature blob, or None when the agent refuses."""
        answer = self.ask(b"\x0d" + s(blob) + s(data) + struct.pack(">I", flags))
        return take(answer[1:])[0] if answer[0] == 14 else None

    def bind(self, bench, key, sid, forwarding=False, signature=None):
        """session-bind; True when it is taken."""
        sig = signature if signature is not None else key.sign(bench, sid)
        answer = self.ask(b"\x1b" + s("session-bind@openssh.com") + s(key.blob) + s(sid) + s(sig) + bytes([forwarding]))
        return answer[0] == 6

    def close(self):
        self.sock.close()


def userauth(sid, user, blob, host_blob=None, alg="ssh-ed25519"):
    method = "publickey-hostbound-v00@openssh.com" if host_blob else "publickey"
    data = s(sid) + b"\x32" + s(user) + s("ssh-connection") + s(method) + b"\x01" + s(alg) + s(blob)
    return data + (s(host_blob) if host_blob else b"")


def sshsig(namespace):
    return b"SSHSIG" + s(namespace) + s("") + s("sha512") + s(os.urandom(64))


# Points of nistp256, one after the other: as many different keys as a flood takes, at no cost.
P256 = 2**256 - 2**224 + 2**192 + 2**96 - 1
P256_G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
          0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)


def _plus(p, q):
    if p == q:
        slope = 3 * (p[0] * p[0] - 1) * pow(2 * p[1], -1, P256)
    else:
        slope = (q[1] - p[1]) * pow(q[0] - p[0], -1, P256)
    x = (slope * slope - p[0] - q[0]) % P256
    return x, (slope * (p[0] - x) - p[1]) % P256


def easy_keys():
    """(public blob, private part of ADD_IDENTITY) of the secret numbers 1, 2, 3 .."""
    point, number = P256_G, 1
    while True:
        q = b"\4" + point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")
        public = s("ecdsa-sha2-nistp256") + s("nistp256") + s(q)
        yield public, public + s(number.to_bytes(number.bit_length() // 8 + 1, "big"))
        point, number = _plus(point, P256_G), number + 1
