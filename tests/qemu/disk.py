"""The disk of a virtual machine: Debian with what Amazon's image for containers has, and no more.

Made once per machine, in some minutes, and kept as `vmlinuz`, `initrd.img` and `disk.ext4` in a
folder whose name says what went into it (`~/.cache/cloudfn-tests/machine-…`).
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.docker import base_image

#: what our user-data expects of an image: cloud-init, systemd, Python, Docker, iptables
_PACKAGES = (
    "usr-is-merged", "linux-image-cloud-amd64", "initramfs-tools", "systemd-sysv", "udev", "dbus",
    "ifupdown", "isc-dhcp-client", "iproute2", "procps", "ca-certificates",
    "cloud-init", "docker.io", "iptables", "openssh-server", "python3",
)  # fmt: skip
_UNREAD = ("man", "locale", "doc", "info")
#: bytes that the machine can fill; the file is sparse
_SIZE = 8 << 30
#: seconds
_PATIENCE = 900
#: The address of AWS on this machine is 127.0.0.1, as in all of a rehearsal.
_FRONT = r"""[Unit]
Description=Lead what asks for AWS at 127.0.0.1 to the rehearsal
Wants=network-pre.target
Before=network-pre.target
DefaultDependencies=no
After=systemd-modules-load.service local-fs.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec '\
  front=$(sed "s/.*cloudfn.front=//; s/ .*//" /proc/cmdline); \
  echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; \
  iptables -w -t nat -A OUTPUT -p tcp -d 127.0.0.1 --dport $${front##*:} -j DNAT --to $$front; \
  iptables -w -t nat -A POSTROUTING -s 127.0.0.0/8 ! -o lo -j MASQUERADE'

[Install]
WantedBy=sysinit.target
"""
#: as Debian's own images for clouds say it; and no translations of descriptions of packages
_CLOUD = """locale: C.UTF-8
apt:
  preserve_sources_list: true
  conf: 'Acquire::Languages "none";'
"""
_SHELL = """[Unit]
Description=A root shell at the second serial port, for the test

[Service]
StandardInput=tty
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
ExecStartPre=/bin/stty raw -echo
ExecStart=/bin/sh
Restart=always
# It would not listen to SIGTERM.
KillSignal=SIGKILL

[Install]
WantedBy=multi-user.target
"""
_FINISH = r"""
set -e
systemctl --quiet --root="$1" enable rehearsal-front.service rehearsal-shell.service
systemctl --quiet --root="$1" mask apt-daily.timer apt-daily-upgrade.timer \
    serial-getty@ttyS0.service
: > "$1"/etc/machine-id
rm -f "$1"/var/cache/apt/archives/*.deb
"""


def made() -> Path:
    """Return the folder with kernel, initial file system and disk; make it if there is none yet.

    Raises:
        RuntimeError: It cannot be made; the message says why.
    """
    cache = Path.home() / ".cache" / "cloudfn-tests"
    cache.mkdir(parents=True, exist_ok=True)
    parts = (_PACKAGES, _UNREAD, _SIZE, _FRONT, _SHELL, _CLOUD, _FINISH, base_image.sources())
    folder = cache / f"machine-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"
    with (cache / "lock-machine").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            for old in cache.glob("machine-*"):
                shutil.rmtree(old)
            with tempfile.TemporaryDirectory(dir=cache, prefix="machine-part-") as scratch:
                _make(Path(scratch)).rename(folder)
    return folder


def _make(scratch: Path) -> Path:
    units = scratch / "files" / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    cloud = scratch / "files" / "etc" / "cloud" / "cloud.cfg.d"
    cloud.mkdir(parents=True)
    (cloud / "90_rehearsal.cfg").write_text(_CLOUD)
    (units / "rehearsal-front.service").write_text(_FRONT)
    (units / "rehearsal-shell.service").write_text(_SHELL)
    root, done = scratch / "root", scratch / "done"
    done.mkdir()
    _run(
        # Its mounts end with it, whatever ends it.
        "unshare", "--mount",
        "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--format=directory",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        f"--include={','.join(_PACKAGES)}",
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in _UNREAD),
        f"--customize-hook=copy-in {scratch}/files/etc /",
        f"--customize-hook={_FINISH}",
        base_image.SUITE, str(root), *base_image.sources(),
    )  # fmt: skip
    for name in ("vmlinuz", "initrd.img"):
        (boot,) = (root / "boot").glob(f"{name}-*")
        boot.rename(done / name)
    disk = done / "disk.ext4"
    with disk.open("wb") as file:
        file.truncate(_SIZE)
    _run("mkfs.ext4", "-q", "-F", "-d", str(root), "-E", "lazy_itable_init=1", str(disk))
    return done


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stderr[-4000:]}")
