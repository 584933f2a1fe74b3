"""Debian packages, fetched by apt and unpacked into a folder: nothing is installed."""
import pathlib
import re
import shutil
import subprocess

EMULATOR = ["qemu-system-x86"]
GUEST = ["busybox-static", "udev", "kmod", "systemd"]  # systemd: its udev rules
KERNEL = "linux-image-amd64"  # not the cloud kernel, which has no USB


class Missing(Exception):
    pass


def _apt(*args, cwd=None):
    p = subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", *args], cwd=cwd, capture_output=True, text=True)
    if p.returncode != 0:
        raise Missing(f"apt-get {' '.join(args)}: {(p.stderr or p.stdout).strip().splitlines()[-1]}\n"
                      "  (the bench takes its kernel and qemu from Debian's archive; does `apt-get update` help?)")
    return p.stdout


def _kernel_package():
    p = subprocess.run(["apt-cache", "depends", KERNEL], capture_output=True, text=True)
    m = re.search(r"Depends: (linux-image-\S+)", p.stdout)
    if not m:
        raise Missing(f"apt knows no {KERNEL}: Debian's amd64 kernel is what the guest boots (apt-get update?)")
    return m[1]


def _not_installed(packages):
    """PACKAGES and what they need that this machine does not have."""
    inst = re.findall(r"^Inst (\S+)", _apt("-s", "install", "--no-install-recommends", *packages), re.M)
    return sorted(set(inst) | set(packages))


def _unpack(names, debs, root):
    if shutil.which("dpkg-deb") is None:
        raise Missing("dpkg-deb is not here: the bench unpacks Debian packages")
    debs.mkdir(parents=True, exist_ok=True)
    _apt("download", *names, cwd=debs)
    for deb in sorted(debs.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", deb, root], check=True)
    shutil.rmtree(debs)
    # The machine has /bin, /sbin and /lib below /usr; a layer over it must not bring back the folders.
    for name in ("bin", "sbin", "lib"):
        if (root / name).is_dir() and not (root / name).is_symlink():
            shutil.copytree(root / name, root / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(root / name)


def fetch(cache):
    """The folders (emulator, guest) below CACHE, made when they are not there yet or other versions are wanted."""
    if shutil.which("apt-get") is None:
        raise Missing("apt-get is not here: the bench takes qemu and the kernel from Debian packages")
    kernel = _kernel_package()
    wanted = " ".join([*EMULATOR, *GUEST, kernel])
    done = cache / "packages"
    emulator, guest = cache / "emulator", cache / "guest"
    if not done.exists() or done.read_text() != wanted:
        for d in (emulator, guest, cache / "debs"):
            shutil.rmtree(d, ignore_errors=True)
            d.mkdir(parents=True)
        print(f"vm: fetching {wanted}, unpacked below {cache}", flush=True)
        _unpack(_not_installed(EMULATOR), cache / "debs", emulator)
        _unpack([*GUEST, kernel], cache / "debs", guest)
        done.write_text(wanted)
    return emulator, guest, kernel.removeprefix("linux-image-")


def cache_dir(build):
    return pathlib.Path(build) / "vm"
