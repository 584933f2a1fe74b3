#!/usr/bin/env python3
"""A Trezor in software: the wire protocol v1 over UDP, as the vendor's emulators speak it, with a control socket in the place of
screen and buttons.

  trezor.py CONTROL [--port N] [--model one|t|thp] [--mnemonic WORDS]

CONTROL is a Unix socket that answers a line with a line:
  state                    JSON: port, waiting (button, pin, passphrase), screen, seen (types of messages), matrix, fails
  buttons ask|yes|no       what happens when a button is waited for: nothing, or at once
  press yes|no             the button
  pin DIGITS | pin -       the device's PIN (and locks it); none
  passphrase on|off [TEXT] is one asked for; TEXT: what is typed when it is typed on the device
  lock                     the PIN will be asked for again
  silent on|off            nothing is answered, not even PING
  deaf on|off              Cancel is not listened to: the answer comes after all, when the button is pressed
  garbage N                N packets that are no message before the next answer
  break                    the next answer stops half-way
  fail CODE                the next request fails so
  forget                   all sessions (as after a power cycle)
  wrong-key on|off         answers come with keys and signatures of another seed
  initialized on|off, bootloader on|off, unlocked-field on|off
"""
import argparse
import json
import os
import random
import select
import socket
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from seed import Key, bip39, identity_path, uri  # noqa: E402

INITIALIZE, PING, SUCCESS, FAILURE, WIPE = 0, 1, 2, 3, 5
GET_PUBLIC_KEY, PUBLIC_KEY, FEATURES = 11, 12, 17
PIN_REQUEST, PIN_ACK, CANCEL, LOCK = 18, 19, 20, 24
BUTTON_REQUEST, BUTTON_ACK = 26, 27
PASSPHRASE_REQUEST, PASSPHRASE_ACK = 41, 42
SIGN_IDENTITY, SIGNED_IDENTITY, GET_FEATURES = 53, 54, 55
GET_ECDH, ECDH_KEY, END_SESSION = 61, 62, 83
TINY = {PIN_ACK, BUTTON_ACK, PASSPHRASE_ACK, CANCEL, INITIALIZE}
MODELS = {
    "one": {"version": (1, 14, 2), "model": "1", "capabilities": (1, 5)},
    "t": {"version": (2, 8, 1), "model": "T", "internal": "T2T1", "capabilities": (1, 2, 5, 17)},
    "thp": {"version": (2, 9, 0), "model": "Safe 7", "internal": "T3W1", "capabilities": (1, 5, 17)},
}
ONE_LIMITS = {"proto": 8, "user": 63, "host": 63, "port": 5, "path": 255}


# --- protobuf ----------------------------------------------------------------------------------------------------------------
def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if value is None:
        return b""
    if isinstance(value, (bool, int)):
        return varint(number << 3) + varint(int(value))
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def parse(data):
    """{number: [values]}"""
    out, i = {}, 0

    def number():
        nonlocal i
        n = shift = 0
        while True:
            octet = data[i]
            i += 1
            n |= (octet & 127) << shift
            shift += 7
            if octet < 128:
                return n

    while i < len(data):
        key = number()
        if key & 7 == 0:
            value = number()
        elif key & 7 == 2:
            n = number()
            value = data[i:i + n]
            if len(value) != n:
                raise IndexError
            i += n
        else:
            raise IndexError
        out.setdefault(key >> 3, []).append(value)
    return out


def first(message, number, otherwise=None):
    return message.get(number, [otherwise])[0]


class Fail(Exception):
    def __init__(self, code, text=""):
        super().__init__(code, text)
        self.code, self.text = code, text


# --- the device -----------------------------------------------------------------------------------------------------------------
class Device:
    """Requests are generators: they yield when they want the next event, ("message", type, body) or ("press", bool)."""

    def __init__(self, model, mnemonic, send):
        self.model, self.mnemonic, self.send = model, mnemonic, send
        self.device_id = "".join(random.choice("0123456789ABCDEF") for _ in range(24))
        self.pin, self.unlocked, self.passphrase, self.typed = None, True, False, ""
        self.buttons, self.deaf, self.fail_next, self.wrong_key = "ask", False, None, False
        self.initialized, self.bootloader, self.label = True, False, "lab"
        self.unlocked_field = True
        self.sessions, self.session = {}, None
        self.running, self.waiting, self.screen = None, None, ""
        self.matrix, self.fails, self.seen = "123456789", 0, []

    # --- events
    def message(self, kind, body):
        self.seen.append(kind)
        if self.model == "thp":
            return self.send(FAILURE, bytes.fromhex("0811"))
        if self.running is not None:
            if kind == CANCEL and self.deaf:
                return None
            if kind == INITIALIZE:
                self.end()
            elif kind in TINY:
                return self.feed(("message", kind, body))
            else:
                return None
        self.running = self.request(kind, body)
        return self.feed(None)

    def press(self, yes):
        if self.waiting != "button":
            return False
        self.feed(("press", yes))
        return True

    def end(self):
        self.running, self.waiting, self.screen = None, None, ""

    def feed(self, event):
        try:
            self.running.send(event)
            return
        except StopIteration:
            pass
        except Fail as e:
            self.send(FAILURE, field(1, e.code) + field(2, e.text))
        except IndexError:
            self.send(FAILURE, field(1, 3) + field(2, "Failed to parse"))
        self.end()

    # --- prompts
    def button(self, code, screen):
        self.send(BUTTON_REQUEST, field(1, code))
        self.screen = screen
        while True:
            _, kind, _ = yield from self.reply()
            if kind == BUTTON_ACK:
                break
        answer = {"yes": True, "no": False}.get(self.buttons)
        self.waiting = "button"
        while answer is None:
            event = yield
            if event[0] == "press":
                answer = event[1]
            elif event[1] == CANCEL:
                raise Fail(4, "Action cancelled by user")
        self.waiting, self.screen = None, ""
        if not answer:
            raise Fail(4, "Action cancelled by user")

    def reply(self, canceled=4):
        while True:
            event = yield
            if event[0] != "message":
                continue
            if event[1] == CANCEL:
                raise Fail(canceled, "Action cancelled by user")
            return event

    def ask_pin(self):
        if self.pin is None or self.unlocked:
            return
        if self.model != "one":
            yield from self.button(20, "Enter PIN")
            self.unlocked = True
            return
        self.matrix = "".join(random.sample("123456789", 9))
        self.waiting, self.screen = "pin", "Please enter current PIN"
        self.send(PIN_REQUEST, field(1, 1))
        _, kind, body = yield from self.reply(canceled=6)
        self.waiting, self.screen = None, ""
        if kind != PIN_ACK:
            raise Fail(5, "PIN expected")
        digits = "".join(self.matrix[int(c) - 1] if c in "123456789" else "?" for c in first(parse(body), 1, b"").decode())
        if digits != self.pin:
            self.fails += 1
            raise Fail(7, "PIN invalid")
        self.fails, self.unlocked = 0, True

    def seed(self):
        if not self.initialized:
            raise Fail(11, "Device not initialized")
        if self.session is None:
            raise Fail(14, "Invalid session")
        if self.sessions[self.session] is None:
            passphrase = ""
            if self.passphrase:
                passphrase = yield from self.ask_passphrase()
            self.sessions[self.session] = bip39(self.mnemonic, passphrase)
        return bip39("another seed") if self.wrong_key else self.sessions[self.session]

    def ask_passphrase(self):
        self.waiting, self.screen = "passphrase", "Please enter your passphrase using the computer"
        self.send(PASSPHRASE_REQUEST, b"")
        _, kind, body = yield from self.reply()
        self.waiting, self.screen = None, ""
        if kind != PASSPHRASE_ACK:
            raise Fail(1, "Unexpected message")
        m = parse(body)
        if first(m, 3):
            if 17 not in MODELS[self.model]["capabilities"]:
                raise Fail(3, "This firmware is incapable of passphrase entry on the device.")
            yield from self.button(19, "Enter passphrase")
            return self.typed
        if first(m, 1) is None:
            raise Fail(3, "No passphrase provided. Use empty string to set an empty passphrase.")
        if len(first(m, 1)) > 50:
            raise Fail(3, "string overflow")
        if first(m, 1) and self.model == "one":
            yield from self.button(1, "Access hidden wallet?")
            yield from self.button(1, "Use this passphrase?")
        return first(m, 1).decode()

    # --- requests
    def request(self, kind, body):
        if self.fail_next is not None and kind not in (INITIALIZE, CANCEL):
            code, self.fail_next = self.fail_next, None
            raise Fail(code, "as told")
        table = {INITIALIZE: self.initialize, GET_FEATURES: lambda b: self.features(None), CANCEL: self.cancel, LOCK: self.lock,
                 END_SESSION: self.end_session, GET_PUBLIC_KEY: self.get_public_key, SIGN_IDENTITY: self.sign_identity,
                 GET_ECDH: self.get_ecdh, WIPE: self.wipe}
        if kind not in table:
            raise Fail(1, "Unknown message")
        work = table[kind](body)
        if work is not None:
            yield from work

    def initialize(self, body):
        wanted = first(parse(body), 1)
        if wanted not in self.sessions:
            wanted = os.urandom(32)
            self.sessions[wanted] = None
        self.session = wanted
        self.features(wanted)

    def features(self, session):
        m = MODELS[self.model]
        out = field(1, "trezor.io") + b"".join(field(2 + i, n) for i, n in enumerate(m["version"]))
        if self.bootloader:
            out += field(5, True)
        out += field(6, self.device_id) + field(7, self.pin is not None) + field(8, self.passphrase) + field(9, "en-US")
        out += field(10, self.label) + field(12, self.initialized)
        if self.unlocked_field:
            out += field(16, self.unlocked)
        out += field(21, m["model"]) + b"".join(field(30, c) for c in m["capabilities"]) + field(35, session)
        self.send(FEATURES, out + field(44, m.get("internal")))

    def cancel(self, _body):
        raise Fail(4, "Action cancelled by user")

    def lock(self, _body):
        self.unlocked = self.pin is None
        self.send(SUCCESS, field(1, "Session cleared"))

    def end_session(self, _body):
        self.sessions.pop(self.session, None)
        self.session = None
        self.send(SUCCESS, b"")

    def wipe(self, _body):
        yield from self.button(6, "Wipe?")
        self.initialized, self.pin, self.sessions, self.session = False, None, {}, None
        self.send(SUCCESS, field(1, "Device wiped"))

    def key(self, seed, path, curve):
        try:
            return Key(seed, path, curve)
        except KeyError:
            raise Fail(11, "Unsupported curve") from None

    def get_public_key(self, body):
        m = parse(body)
        if not self.initialized:
            raise Fail(11, "Device not initialized")
        yield from self.ask_pin()
        seed = yield from self.seed()
        key = self.key(seed, m.get(1, []), first(m, 2, b"secp256k1").decode())
        node = field(1, len(key.path)) + field(2, 0) + field(3, key.path[-1]) + field(4, key.chain) + field(6, key.public)
        self.send(PUBLIC_KEY, field(1, node) + field(2, "xpub"))

    def identity(self, body):
        m = parse(first(parse(body), 1, b""))
        out = {name: first(m, i + 1, b"").decode() for i, name in enumerate(("proto", "user", "host", "port", "path"))}
        if self.model == "one" and any(len(out[n]) > most for n, most in ONE_LIMITS.items()):
            raise Fail(3, "string overflow")
        out["index"] = first(m, 6, 0)
        return out

    def sign_identity(self, body):
        m, who = parse(body), self.identity(body)
        hidden, curve = first(m, 2, b""), first(m, 4, b"secp256k1").decode()
        if self.model == "one" and len(hidden) > 512:
            raise Fail(3, "bytes overflow")
        if not self.initialized:
            raise Fail(11, "Device not initialized")
        yield from self.ask_pin()
        yield from self.button(7, f"{'SSH login to' if who['proto'] == 'ssh' else 'Sign'}: {uri(who)}")
        seed = yield from self.seed()
        key = self.key(seed, identity_path(who, False), curve)
        if curve == "ed25519":
            signature = key.eddsa(hidden)
        elif who["proto"] == "ssh":
            import hashlib
            signature = key.ecdsa(hashlib.sha256(hidden).digest())
        elif len(hidden) == 32 and who["proto"] == "gpg":
            signature = key.ecdsa(hidden)
        else:
            raise Fail(9, "Error signing identity")
        self.send(SIGNED_IDENTITY, field(2, key.public) + field(3, b"\0" + signature))

    def get_ecdh(self, body):
        m, who = parse(body), self.identity(body)
        peer, curve = first(m, 2, b""), first(m, 3, b"secp256k1").decode()
        yield from self.ask_pin()
        yield from self.button(7, f"Decrypt for: {uri(who)}")
        seed = yield from self.seed()
        good = curve in ("nist256p1", "secp256k1") and len(peer) == 65 and peer[0] == 4 or \
            curve == "curve25519" and len(peer) == 33 and peer[0] == 0x40
        if not good:
            raise Fail(9, "Error getting ECDH session key")
        key = self.key(seed, identity_path(who, True), curve)
        shared = key.shared(peer) if len(peer) == 65 else b"\4" + key.shared(peer[1:])
        self.send(ECDH_KEY, field(1, shared) + field(2, key.public))


# --- the wire -------------------------------------------------------------------------------------------------------------------
def packets(kind, body):
    data = b"##" + struct.pack(">HI", kind, len(body)) + body
    return [(b"?" + data[i:i + 63]).ljust(64, b"\0") for i in range(0, len(data), 63)]


class Reader:
    """Packets -> messages, as the One reads them."""

    def __init__(self):
        self.want, self.kind, self.body = None, None, b""

    def take(self, packet):
        if len(packet) != 64 or packet[:1] != b"?":
            self.want = None
            return None
        if self.want is None:
            if packet[1:3] != b"##":
                return None
            self.kind, self.want = struct.unpack(">HI", packet[3:9])
            self.body = packet[9:]
        else:
            self.body += packet[1:]
        if len(self.body) < self.want:
            return None
        body, self.want = self.body[:self.want], None
        return self.kind, body


class Emulator:
    def __init__(self, control, port, model, mnemonic):
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", port))
        self.control = socket.socket(socket.AF_UNIX)
        self.control.bind(control)
        self.control.listen()
        self.clients, self.peer, self.reader = {}, None, Reader()
        self.silent, self.garbage, self.half = False, 0, False
        self.device = Device(model, mnemonic, self.send)

    def send(self, kind, body):
        out = [os.urandom(64) if i % 2 else b"?" + os.urandom(63) for i in range(self.garbage)] + packets(kind, body)
        self.garbage = 0
        if self.half and len(out) > 1:
            out, self.half = out[:-1], False
        if self.peer is not None and not self.silent:
            for p in out:
                self.udp.sendto(p, self.peer)

    def datagram(self):
        data, peer = self.udp.recvfrom(4096)
        if self.silent:
            return
        if data == b"PINGPING":
            self.udp.sendto(b"PONGPONG", peer)
            return
        if peer != self.peer:
            self.peer, self.reader = peer, Reader()
        message = self.reader.take(data)
        if message is not None:
            self.device.message(*message)

    def state(self):
        d = self.device
        return json.dumps({"port": self.udp.getsockname()[1], "waiting": d.waiting, "screen": d.screen, "seen": d.seen,
                           "matrix": d.matrix, "fails": d.fails, "unlocked": d.unlocked, "sessions": len(d.sessions)})

    def command(self, line):
        d = self.device
        word, _, rest = line.partition(" ")
        on = rest == "on"
        if word == "state":
            return self.state()
        if word == "press":
            return "OK" if d.press(rest == "yes") else "nothing waits for it"
        if word == "buttons":
            d.buttons = rest
            if rest != "ask":
                d.press(rest == "yes")
        elif word == "pin":
            d.pin = None if rest == "-" else rest
            d.unlocked = d.pin is None
        elif word == "passphrase":
            d.passphrase = rest.split(" ")[0] == "on"
            d.typed = rest.partition(" ")[2]
            d.sessions = dict.fromkeys(d.sessions)
        elif word == "lock":
            d.unlocked = d.pin is None
        elif word == "fail":
            d.fail_next = int(rest)
        elif word == "forget":
            d.sessions, d.session = {}, None
        elif word == "seen":
            d.seen = []
        elif word == "garbage":
            self.garbage = int(rest)
        elif word == "break":
            self.half = True
        elif word == "silent":
            self.silent = on
        elif word in ("deaf", "wrong-key", "initialized", "bootloader", "unlocked-field"):
            setattr(d, word.replace("-", "_"), on)
        else:
            return "unknown command"
        return "OK"

    def run(self):
        while True:
            ready, _, _ = select.select([self.udp, self.control, *self.clients], [], [])
            for s in ready:
                if s is self.udp:
                    self.datagram()
                elif s is self.control:
                    self.clients[self.control.accept()[0]] = b""
                else:
                    data = s.recv(4096)
                    if not data:
                        del self.clients[s]
                        s.close()
                        continue
                    *lines, self.clients[s] = (self.clients[s] + data).split(b"\n")
                    for line in lines:
                        s.sendall(self.command(line.decode()).encode() + b"\n")


def main():
    a = argparse.ArgumentParser()
    a.add_argument("control")
    a.add_argument("--port", type=int, default=0)
    a.add_argument("--model", choices=MODELS, default="one")
    a.add_argument("--mnemonic", default=" ".join(["all"] * 12))
    o = a.parse_args()
    Emulator(o.control, o.port, o.model, o.mnemonic).run()


if __name__ == "__main__":
    main()
