"""A machine of a rehearsal that is a virtual one: QEMU, and a DHCP server as a VPC has one.

Started as `virtual.py DISK SHELL FOLDER INSTANCE FRONT`, with namespaces of its own for processes
and network: whatever ends it ends QEMU, and takes bridge and tap along. Standard library alone.

- DISK: folder with the disk that `tests.qemu.disk` made; nothing is written to it
- SHELL: socket that leads to a root shell inside
- FOLDER: for what the machine writes
- FRONT: address and port of AWS, which the machine reaches at 127.0.0.1
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cloudfn.rehearsal.metadata import mac_of

#: as EC2's: `cloud-init` knows its cloud by it
_UUID = "ec2f0cf0-c1d0-4b3b-9d9a-5c0ffee00001"
#: of bridge and DHCP server; the hub has the first address, machines those after it
_LAST = 254
_MEMORY, _PROCESSORS = "2048", "2"


def main(words: Sequence[str]) -> int:
    disk, shell, folder, _, front = words
    sys.stdin.readline()  # the network is there
    address, gateway = lead_through()
    mac = mac_of(address)
    serve_addresses(address, gateway, mac)
    monitor = f"{folder}/monitor.sock"
    machine = subprocess.Popen(
        qemu(Path(disk), shell, monitor, mac, front),
        stdin=subprocess.DEVNULL, env={**os.environ, "TMPDIR": folder},
    )  # fmt: skip
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: press_power_button(monitor))
    return machine.wait()


def qemu(disk: Path, shell: str, monitor: str, mac: str, front: str) -> list[str]:
    """Return the command of the machine."""
    # Amazon Linux has no AppArmor; an emulated processor has nothing to mitigate.
    kernel = (
        "root=/dev/vda rw console=ttyS0 panic=-1 net.ifnames=0 apparmor=0 mitigations=off"
        # What an emulated machine is told by its environment.
        f" cloudfn.front={front} systemd.setenv=AWS_ENDPOINT_URL=http://127.0.0.1:{port(front)}"
        " systemd.show_status=false"
        " systemd.journald.forward_to_console=1 systemd.journald.max_level_console=info"
    )
    return [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-machine", "q35",
        "-m", _MEMORY, "-smp", _PROCESSORS, "-nodefaults", "-no-user-config", "-no-reboot",
        "-display", "none",
        "-kernel", str(disk / "vmlinuz"), "-initrd", str(disk / "initrd.img"), "-append", kernel,
        "-drive", f"file={disk / 'disk.ext4'},format=raw,if=virtio,snapshot=on",
        "-netdev", "tap,id=wire,ifname=tap0,script=no,downscript=no",
        "-device", f"virtio-net-pci,netdev=wire,mac={mac},romfile=",
        "-device", "virtio-rng-pci",
        "-smbios", f"type=1,manufacturer=Amazon EC2,product=m7i.large,serial={_UUID},uuid={_UUID}",
        "-serial", "stdio", "-serial", f"unix:{shell},server=on,wait=off",
        "-qmp", f"unix:{monitor},server=on,wait=off",
    ]  # fmt: skip


def port(front: str) -> str:
    return front.rpartition(":")[2]


def lead_through() -> tuple[str, str]:
    """Put the wire of this namespace and the machine's card on one bridge.

    Returns:
        The address that was the namespace's, and is the machine's now; the gateway.
    """
    (link,) = json.loads(run("ip", "-json", "-4", "addr", "show", "eth0"))
    address = link["addr_info"][0]["local"]
    (route,) = json.loads(run("ip", "-json", "-4", "route", "show", "default"))
    gateway = route["gateway"]
    for command in (
        "ip addr flush dev eth0",
        "ip link add br0 type bridge",
        f"ip addr add {served(address)}/24 dev br0",
        "ip link set eth0 master br0",
        "ip tuntap add tap0 mode tap",
        "ip link set tap0 master br0",
        "ip link set tap0 up",
        "ip link set br0 up",
        f"ip route add default via {gateway}",
    ):
        run(*command.split())
    return address, gateway


def served(address: str) -> str:
    """Return the DHCP server's address."""
    return f"{address.rpartition('.')[0]}.{_LAST}"


def serve_addresses(address: str, gateway: str, mac: str) -> None:
    """Start a DHCP server with one address to give; it answers names, too."""
    run(
        "dnsmasq", "--conf-file=/dev/null", "--user=root", "--pid-file=", "--leasefile-ro",
        "--no-hosts", "--interface=br0", "--bind-interfaces",
        f"--dhcp-range={address},static,255.255.255.0", f"--dhcp-host={mac},{address}",
        f"--dhcp-option=option:router,{gateway}",
        f"--dhcp-option=option:dns-server,{served(address)}",
    )  # fmt: skip


def press_power_button(monitor: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(monitor)
        lines = connection.makefile("rw")
        for command in ("qmp_capabilities", "system_powerdown"):
            lines.readline()
            lines.write(json.dumps({"execute": command}) + "\n")
            lines.flush()
        lines.readline()


def run(*command: str) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
