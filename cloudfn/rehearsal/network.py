"""Networks of a rehearsal: a hub with the metadata service, a machine at each of its ports.

    this machine ── link ── hub (a namespace: bridge, metadata service, address translation)
                              ├── machine (a namespace)
                              └── …

The bridge is away from this machine's own firewall, which may drop what other programs forward.
All names carry the rehearsal's tag, so that `clean` finds what a killed supervisor left.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from cloudfn.errors import ExecutionError
from cloudfn.rehearsal.metadata import ADDRESS
from cloudfn.rehearsal.site import TAG

#: second numbers of the networks that are tried
_FIRST, _NETWORKS = 212, 38
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


@dataclass(frozen=True, slots=True)
class Plan:
    """Addresses of a rehearsal."""

    tag: str
    #: of machines; the bridge has its first address
    machines: IPv4Network
    #: between this machine and the hub
    link: IPv4Network

    @property
    def ours(self) -> str:
        """This machine's address, as emulated machines see it."""
        return str(self.link[1])

    def machine(self, number: int) -> str:
        """Address of the machine at a port of the hub, from 0."""
        return str(self.machines[number + 2])

    @property
    def room(self) -> int:
        """How many machines there can be."""
        return self.machines.num_addresses - 3


def planned(tag: str, taken: Sequence[str]) -> Plan:
    """Choose addresses that nobody has; away from those that Docker takes by itself.

    Args:
        tag: The rehearsal's.
        taken: Networks that this machine has routes to.

    Raises:
        ExecutionError: There is none left.
    """
    used = [ipaddress.ip_network(each, strict=False) for each in taken]
    # Two that are started at once do not look at the same ones first.
    start = int(tag.removeprefix(TAG), 16)
    for at in range(_NETWORKS):
        number = _FIRST + (start + at) % _NETWORKS
        whole = IPv4Network(f"10.{number}.0.0/23")
        if not any(whole.overlaps(each) for each in used if isinstance(each, IPv4Network)):
            machines, rest = whole.subnets(new_prefix=24)
            return Plan(tag, machines, next(rest.subnets(new_prefix=30)))
    last = _FIRST + _NETWORKS - 1
    raise ExecutionError(f"No network from 10.{_FIRST}.0.0/23 to 10.{last}.0.0/23 is free.")


def routes() -> list[str]:
    """Return the networks that this machine has routes to."""
    told = json.loads(run("ip", "-json", "-4", "route", "show", "table", "all"))
    return [each["dst"] for each in told if each["dst"] != "default"]


def rules(plan: Plan, port: int) -> list[tuple[str, ...]]:
    """Return this machine's firewall rules: table, chain, and the rule."""
    wire, mark = f"{plan.tag}+", ("-m", "comment", "--comment", plan.tag)
    return [
        ("filter", "INPUT", "-i", wire, "-p", "tcp", "--dport", str(port), *mark, "-j", "ACCEPT"),
        ("filter", "FORWARD", "-i", wire, *mark, "-j", "ACCEPT"),
        ("filter", "FORWARD", "-o", wire, *mark, "-j", "ACCEPT"),
        ("nat", "POSTROUTING", "-s", str(plan.link), "!", "-o", wire, *mark, "-j", "MASQUERADE"),
    ]  # fmt: skip


def open_hub(plan: Plan, hub: int, port: int, forwarding: Path) -> None:
    """Connect this machine with a hub, a process that has a network namespace of its own.

    Args:
        plan: Addresses.
        hub: Its process.
        port: Of the front.
        forwarding: File that notes that this machine did not forward before.
    """
    outer, inner = f"{plan.tag}up", "up0"
    run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", str(hub))
    run("ip", "addr", "add", f"{plan.ours}/30", "dev", outer)
    run("ip", "link", "set", outer, "up")
    for command in (
        ("ip", "link", "set", "lo", "up"),
        ("ip", "addr", "add", f"{ADDRESS}/32", "dev", "lo"),
        ("ip", "link", "add", "br0", "type", "bridge"),
        ("ip", "addr", "add", f"{plan.machines[1]}/24", "dev", "br0"),
        ("ip", "link", "set", "br0", "up"),
        ("ip", "addr", "add", f"{plan.link[2]}/30", "dev", inner),
        ("ip", "link", "set", inner, "up"),
        ("ip", "route", "add", "default", "via", plan.ours),
        _set("ip_forward"),
        ("iptables", "-w", "-t", "nat", "-A", "POSTROUTING", "-o", inner, "-j", "MASQUERADE"),
    ):
        run(*_inside(hub), *command)
    if _FORWARD.read_text().strip() == "0":
        forwarding.touch()
        _FORWARD.write_text("1\n")
    for table, chain, *rule in rules(plan, port):
        run("iptables", "-w", "-t", table, "-I", chain, *rule)


def plug_in(plan: Plan, hub: int, machine: int, number: int, port: int) -> None:
    """Connect a machine, a process that has a network namespace of its own, with the hub.

    What connects to 127.0.0.1 and the front's port, there as here, reaches the front.
    """
    wire = f"m{number}"
    peer = ("peer", "name", "eth0", "netns", str(machine))
    run(*_inside(hub), "ip", "link", "add", wire, "type", "veth", *peer)
    run(*_inside(hub), "ip", "link", "set", wire, "master", "br0", "up")
    front = ("-p", "tcp", "-d", "127.0.0.1", "--dport", str(port))
    for command in (
        ("ip", "link", "set", "lo", "up"),
        ("ip", "addr", "add", f"{plan.machine(number)}/24", "dev", "eth0"),
        ("ip", "link", "set", "eth0", "up"),
        ("ip", "route", "add", "default", "via", str(plan.machines[1])),
        _set("conf/all/route_localnet"),
        ("iptables", "-w", "-t", "nat", "-A", "OUTPUT", *front,
         "-j", "DNAT", "--to-destination", f"{plan.ours}:{port}"),
        ("iptables", "-w", "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-s", "127.0.0.0/8",
         "-j", "MASQUERADE"),
    ):  # fmt: skip
        run(*_inside(machine), *command)


def unplug(hub: int, number: int) -> None:
    """Take a machine off the hub. Its wire goes with its namespace, but not at once."""
    run(*_inside(hub), "ip", "link", "del", f"m{number}", check=False)


def clean(tag: str, forwarding: Path) -> None:
    """Undo on this machine what a rehearsal did, as far as it is there."""
    for table in ("filter", "nat"):
        listed = run("iptables", "-w", "-t", table, "-S", check=False)
        for line in listed.splitlines():
            if f"--comment {tag} " in line and line.startswith("-A "):
                run("iptables", "-w", "-t", table, "-D", *line.split()[1:], check=False)
    for link in json.loads(run("ip", "-json", "link") or "[]"):
        if link["ifname"].startswith(tag):
            run("ip", "link", "del", link["ifname"], check=False)
    if forwarding.exists():
        _FORWARD.write_text("0\n")
        forwarding.unlink()


def run(*command: str, check: bool = True) -> str:
    """Run a command; return its output.

    Raises:
        ExecutionError: It failed, and `check` says that it must not.
        FileNotFoundError: There is no such command.
    """
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if check and done.returncode:
        raise ExecutionError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _set(name: str) -> tuple[str, ...]:
    return ("sh", "-c", f"echo 1 > /proc/sys/net/ipv4/{name}")


def _inside(process: int) -> tuple[str, ...]:
    return ("nsenter", f"--net=/proc/{process}/ns/net")
