"""A wallet's seed and what follows from it: BIP-39, SLIP-0010, SLIP-0013, SLIP-0017; signatures and shared points on its curves.
In plain Python, apart from the hashes: what a device computes, by another hand than latchkey's."""
import hashlib
import hmac
import struct

HARD = 0x80000000


# --- NIST P-256 and secp256k1 ----------------------------------------------------------------------------------------------
class Curve:
    def __init__(self, p, a, b, n, g, key):
        self.p, self.a, self.b, self.n, self.g, self.key = p, a, b, n, g, key

    def add(self, x, y):
        if x is None or y is None:
            return x or y
        if x[0] == y[0]:
            if (x[1] + y[1]) % self.p == 0:
                return None
            m = (3 * x[0] * x[0] + self.a) * pow(2 * x[1], -1, self.p)
        else:
            m = (y[1] - x[1]) * pow(y[0] - x[0], -1, self.p)
        z = (m * m - x[0] - y[0]) % self.p
        return z, (m * (x[0] - z) - x[1]) % self.p

    def mul(self, k, point):
        out = None
        while k:
            if k & 1:
                out = self.add(out, point)
            point = self.add(point, point)
            k >>= 1
        return out

    def on(self, point):
        x, y = point
        return x < self.p and y < self.p and (y * y - x * x * x - self.a * x - self.b) % self.p == 0

    def public33(self, k):
        x, y = self.mul(k, self.g)
        return bytes([2 + (y & 1)]) + x.to_bytes(32, "big")

    def sign(self, k, digest):
        """RFC 6979, the lower S."""
        x, h = k.to_bytes(32, "big"), (int.from_bytes(digest, "big") % self.n).to_bytes(32, "big")
        v, key = b"\1" * 32, b"\0" * 32
        for tag in (b"\0", b"\1"):
            key = hmac.digest(key, v + tag + x + h, "sha256")
            v = hmac.digest(key, v, "sha256")
        while True:
            v = hmac.digest(key, v, "sha256")
            nonce = int.from_bytes(v, "big")
            if 0 < nonce < self.n:
                r = self.mul(nonce, self.g)[0] % self.n
                s = pow(nonce, -1, self.n) * (int.from_bytes(h, "big") + r * k) % self.n
                if r and s:
                    s = min(s, self.n - s)
                    return r.to_bytes(32, "big") + s.to_bytes(32, "big")
            key = hmac.digest(key, v + b"\0", "sha256")
            v = hmac.digest(key, v, "sha256")


P256 = Curve(2**256 - 2**224 + 2**192 + 2**96 - 1, -3, 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b,
             0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551,
             (0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296,
              0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5), b"Nist256p1 seed")
K256 = Curve(2**256 - 2**32 - 977, 0, 7, 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141,
             (0x79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798,
              0x483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8), b"Bitcoin seed")

# --- Ed25519 (RFC 8032) and X25519 (RFC 7748) ---------------------------------------------------------------------------------
Q = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, Q) % Q
BASE_Y = 4 * pow(5, -1, Q) % Q


def ed_x(y, odd):
    xx = (y * y - 1) * pow(D * y * y + 1, -1, Q) % Q
    x = pow(xx, (Q + 3) // 8, Q)
    if (x * x - xx) % Q:
        x = x * pow(2, (Q - 1) // 4, Q) % Q
    return Q - x if x & 1 != odd else x


def ed_add(a, b):
    x1, y1, z1, t1 = a
    x2, y2, z2, t2 = b
    e, f = (y1 - x1) * (y2 - x2) % Q, (y1 + x1) * (y2 + x2) % Q
    c, d = 2 * t1 * t2 * D % Q, 2 * z1 * z2 % Q
    h, i, j, k = f - e, d - c, d + c, f + e
    return h * i % Q, j * k % Q, i * j % Q, h * k % Q


def ed_mul(k):
    x = ed_x(BASE_Y, 0)
    point, out = (x, BASE_Y, 1, x * BASE_Y % Q), (0, 1, 1, 0)
    while k:
        if k & 1:
            out = ed_add(out, point)
        point = ed_add(point, point)
        k >>= 1
    z = pow(out[2], -1, Q)
    x, y = out[0] * z % Q, out[1] * z % Q
    return x, y


def ed_encode(point):
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def clamp(octets):
    k = int.from_bytes(octets, "little")
    return k & (2**254 - 8) | 2**254


def ed_public(secret):
    return ed_encode(ed_mul(clamp(hashlib.sha512(secret).digest()[:32])))


def ed_sign(secret, message):
    h = hashlib.sha512(secret).digest()
    a, public = clamp(h[:32]), ed_public(secret)
    r = int.from_bytes(hashlib.sha512(h[32:] + message).digest(), "little") % L
    big_r = ed_encode(ed_mul(r))
    k = int.from_bytes(hashlib.sha512(big_r + public + message).digest(), "little") % L
    return big_r + ((r + k * a) % L).to_bytes(32, "little")


def x25519(secret, point):
    k, u = clamp(secret), int.from_bytes(point, "little") % 2**255 % Q
    x2, z2, x3, z3, swap = 1, 0, u, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb = d * a, c * b
        x3, z3 = (da + cb)**2 % Q, u * (da - cb)**2 % Q
        aa, bb = a * a % Q, b * b % Q
        e = aa - bb
        x2, z2 = aa * bb % Q, e * (aa + 121665 * e) % Q
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, -1, Q) % Q).to_bytes(32, "little")


# --- derivation ----------------------------------------------------------------------------------------------------------------
CURVES = {"nist256p1": P256, "secp256k1": K256, "ed25519": b"ed25519 seed", "curve25519": b"curve25519 seed"}


def bip39(mnemonic, passphrase=""):
    return hashlib.pbkdf2_hmac("sha512", mnemonic.encode(), b"mnemonic" + passphrase.encode(), 2048)


class Key:
    """The private key at PATH. `secret` is 32 octets, `chain` the chain code, `public` the 33 octets that devices tell."""

    def __init__(self, seed, path, curve):
        self.curve, self.path = CURVES[curve], path
        self.name = curve
        weierstrass = isinstance(self.curve, Curve)
        i = hmac.digest(self.curve.key if weierstrass else self.curve, seed, "sha512")
        self.secret, self.chain = i[:32], i[32:]
        for n in path:
            if n < HARD:
                raise ValueError("only hardened keys here")
            i = hmac.digest(self.chain, b"\0" + self.secret + struct.pack(">I", n), "sha512")
            left = int.from_bytes(i[:32], "big")
            if weierstrass:
                child = (left + int.from_bytes(self.secret, "big")) % self.curve.n
                if left >= self.curve.n or child == 0:
                    raise ValueError("one in 2^128")
                self.secret = child.to_bytes(32, "big")
            else:
                self.secret = i[:32]
            self.chain = i[32:]
        if weierstrass:
            self.public = self.curve.public33(int.from_bytes(self.secret, "big"))
        elif curve == "ed25519":
            self.public = b"\0" + ed_public(self.secret)
        else:
            self.public = b"\0" + x25519(self.secret, (9).to_bytes(32, "little"))

    def ecdsa(self, digest):
        return self.curve.sign(int.from_bytes(self.secret, "big"), digest)

    def eddsa(self, message):
        return ed_sign(self.secret, message)

    def shared(self, point):
        """With 04||X||Y: the shared point, so written. With 32 octets of u: those of the shared one."""
        if len(point) == 32:
            return x25519(self.secret, point)
        peer = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
        if not self.curve.on(peer):
            raise ValueError("not on the curve")
        x, y = self.curve.mul(int.from_bytes(self.secret, "big"), peer)
        return b"\4" + x.to_bytes(32, "big") + y.to_bytes(32, "big")


def uri(identity):
    """IDENTITY: proto, user, host, port, path as text, index."""
    parts = [identity[k] for k in ("proto", "user", "host", "port", "path")]
    return "".join(before + part + behind for part, before, behind in zip(parts, ("", "", "", ":", ""), ("://", "@", "", "", ""))
                   if part)


def identity_path(identity, ecdh):
    h = hashlib.sha256(struct.pack("<I", identity["index"]) + uri(identity).encode()).digest()
    return [HARD | (17 if ecdh else 13)] + [HARD | n for n in struct.unpack("<4I", h[:16])]
