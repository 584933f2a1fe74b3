"""What the guest boots: Debian's kernel, and an initramfs of ours."""
import lzma
import os
import re
import stat
import struct
import subprocess

from packages import Missing

# What stands between the kernel and the machine's own file system; udev loads the rest by the devices' names.
FIRST_MODULES = ["virtio_pci", "virtio_rng", "9p", "9pnet_virtio", "overlay", "virtio_console"]
LATER_MODULES = ["vhci_hcd", "usbhid", "uhid"]


def kernel(guest, version, cache):
    """Path of the kernel to boot: the ELF inside of the bzImage, which starts by PVH without decompressing itself (three times
    faster under emulation); the bzImage where that cannot be had."""
    bz = guest / "boot" / f"vmlinuz-{version}"
    out = cache / "vmlinux"
    if out.exists() and out.stat().st_mtime > bz.stat().st_mtime:
        return out
    data = bz.read_bytes()
    # Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length
    start = (data[0x1F1] + 1) * 512 + struct.unpack_from("<I", data, 0x248)[0]
    payload = data[start:start + struct.unpack_from("<I", data, 0x24C)[0]]
    if not payload.startswith(b"\xfd7zXZ\0"):
        return bz
    elf = lzma.LZMADecompressor().decompress(payload)
    if not elf.startswith(b"\x7fELF"):
        return bz
    tmp = out.with_suffix(".new")
    tmp.write_bytes(elf)
    tmp.rename(out)
    return out


def module_order(guest, version, names):
    """Files below the modules' folder, each after what it needs."""
    folder = guest / "usr/lib/modules" / version
    dep = folder / "modules.dep"
    if not dep.exists():
        env = dict(os.environ, PATH="/usr/bin:/bin")
        p = subprocess.run(["depmod", "-b", guest / "usr", version], executable=guest / "usr/bin/kmod", env=env, capture_output=True,
                           text=True)
        if p.returncode != 0 or not dep.exists():
            raise Missing(f"depmod: {p.stderr.strip()}")
    needs, path = {}, {}
    for line in dep.read_text().splitlines():
        file, _, rest = line.partition(":")
        needs[file] = rest.split()
        path[re.sub(r"\.ko.*", "", file.rsplit("/", 1)[-1]).replace("-", "_")] = file
    built_in = (folder / "modules.builtin").read_text().replace("-", "_")
    order = []

    def add(file):
        for n in reversed(needs[file]):
            if n not in order:
                add(n)
        if file not in order:
            order.append(file)

    for name in names:
        name = name.replace("-", "_")
        if name in path:
            add(path[name])
        elif f"/{name}.ko" not in built_in:
            raise Missing(f"the kernel {version} has no module {name}")
    return [folder / f for f in order]


class Cpio:
    """newc, as Documentation/driver-api/early-userspace/buffer-format.rst has it."""

    def __init__(self):
        self.parts = []
        self.ino = 0

    def _add(self, name, mode, data=b"", rdev=(0, 0)):
        self.ino += 1
        name = name.encode() + b"\0"
        fields = (self.ino, mode, 0, 0, 1, 0, len(data), 0, 0, *rdev, len(name), 0)
        head = b"070701" + b"".join(b"%08X" % f for f in fields) + name
        self.parts += [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]

    def folder(self, name):
        self._add(name, stat.S_IFDIR | 0o755)

    def file(self, name, data, mode=0o644):
        self._add(name, stat.S_IFREG | mode, data if isinstance(data, bytes) else data.encode())

    def node(self, name, major, minor):
        self._add(name, stat.S_IFCHR | 0o600, rdev=(major, minor))

    def finish(self):
        self._add("TRAILER!!!", 0)
        data = b"".join(self.parts)
        return data + b"\0" * (-len(data) % 512)


def initramfs(guest, version, scripts):
    """SCRIPTS: name -> text."""
    c = Cpio()
    for d in ("bin", "dev", "proc", "sys", "m", "host", "layer", "rw", "root"):
        c.folder(d)
    c.node("dev/console", 5, 1)
    c.node("dev/null", 1, 3)
    c.file("bin/busybox", (guest / "usr/bin/busybox").read_bytes(), 0o755)
    for name, text in scripts.items():
        c.file(name, text, 0o755)
    for i, m in enumerate(module_order(guest, version, FIRST_MODULES)):
        c.file(f"m/{i:03}-{m.name}", m.read_bytes())
    module_order(guest, version, LATER_MODULES)  # to be told now when the kernel lacks one
    return c.finish()
