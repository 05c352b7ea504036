"""Runs a Docker engine and a registry for tests, and leaves nothing behind: a program of its own.

    python guardian.py HOME USERS

Writes one line of JSON to its output when both serve. Ends them on SIGTERM, or when nobody holds a
lock on the file USERS any more: whoever uses the engine does, and a killed one lets go of it.
Everything that the engine starts comes back to this process when its parent is gone, and is killed.
"""

from __future__ import annotations

import fcntl
import http.client
import ipaddress
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from cloudfn.clock import SystemClock
from cloudfn.worker.process import adopt_orphans, kill_children

CLOCK = SystemClock()
#: seconds for the engine to serve, and to leave in order
_START, _LEAVE = 60.0, 20.0


def main() -> None:
    """Run until nobody is left who needs it."""
    home, users = Path(sys.argv[1]), Path(sys.argv[2])
    adopt_orphans()
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    threading.Thread(target=_wait_for_the_last, args=(users, over), daemon=True).start()
    network = Network(home)
    try:
        network.open()
        facts = _start(home, network)
        print(json.dumps(facts), flush=True)
        over.wait()
    finally:
        _end_children(home)
        _unmount(home)
        network.close()
        shutil.rmtree(home, ignore_errors=True)


def _wait_for_the_last(users: Path, over: threading.Event) -> None:
    with users.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        over.set()


class Network:
    """A bridge of our own, with addresses that nobody has, and rules that let it out.

    The engine is told to leave the machine's firewall alone: another engine may live here.
    """

    def __init__(self, home: Path) -> None:
        self.bridge = "cf" + home.name[-8:]
        taken = [ipaddress.ip_network(each, strict=False) for each in _routes()]
        free = [
            each
            for each in ipaddress.ip_network("172.16.0.0/12").subnets(new_prefix=20)
            if not any(each.overlaps(other) for other in taken)
        ]
        self.all = random.Random().choice(free)
        self.own = next(self.all.subnets(new_prefix=24))
        self.gateway = f"{self.own[1]}/24"
        self._rules = (
            ["-t", "nat", "POSTROUTING", "-s", str(self.own), "!", "-o", self.bridge,
             "-j", "MASQUERADE"],
            ["-t", "filter", "FORWARD", "-i", self.bridge, "-j", "ACCEPT"],
            ["-t", "filter", "FORWARD", "-o", self.bridge, "-j", "ACCEPT"],
        )  # fmt: skip

    def open(self) -> None:
        """Make it."""
        _run("ip", "link", "add", self.bridge, "type", "bridge")
        _run("ip", "addr", "add", self.gateway, "dev", self.bridge)
        _run("ip", "link", "set", self.bridge, "up")
        for table, name, chain, *rule in self._rules:
            _run("iptables", "--wait", table, name, "-I", chain, *rule)

    def close(self) -> None:
        """Undo it, as far as it was made, with the bridges of the engine's further networks."""
        for table, name, chain, *rule in self._rules:
            _run("iptables", "--wait", table, name, "-D", chain, *rule, check=False)
        _run("ip", "link", "del", self.bridge, check=False)
        for link in json.loads(_run("ip", "-json", "-4", "addr")):
            addresses = (ipaddress.ip_address(each["local"]) for each in link["addr_info"])
            if any(each in self.all for each in addresses):
                _run("ip", "link", "del", link["ifname"], check=False)


def _start(home: Path, network: Network) -> dict[str, str | int]:
    address = f"unix://{home}/docker.sock"
    engine = _spawn(
        home, "dockerd",
        "--host", address, "--data-root", f"{home}/data", "--exec-root", f"{home}/exec",
        "--pidfile", f"{home}/docker.pid", "--bridge", network.bridge, "--iptables=false",
        "--ip6tables=false", "--default-address-pool", f"base={network.all},size=24",
    )  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = home / "registry.yml"
    settings.write_text(
        f"version: 0.1\nlog: {{level: warn}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{home}/registry'}}}}\n"
    )
    registry = _spawn(home, "docker-registry", "serve", str(settings))
    deadline = CLOCK.monotonic() + _START
    while not (_answers_engine(home / "docker.sock") and _answers_registry(port)):
        ended = any(each.poll() is not None for each in (engine, registry))
        if ended or CLOCK.monotonic() > deadline:
            raise SystemExit(f"no engine:\n{(home / 'log').read_text()[-4000:]}")
        CLOCK.sleep(0.1)
    return {
        "guardian": os.getpid(), "home": str(home),
        "host": address, "registry": f"127.0.0.1:{port}",
    }  # fmt: skip


def _spawn(home: Path, *command: str) -> subprocess.Popen[bytes]:
    with (home / "log").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _answers_engine(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect(str(path))
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b"200 OK" in connection.recv(100)
        except OSError:
            return False


def _answers_registry(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _end_children(home: Path) -> None:
    """End the engine in order, then kill whatever is left below this process."""
    with suppress(OSError, ValueError):
        os.kill(int((home / "docker.pid").read_text()), signal.SIGTERM)
    deadline = CLOCK.monotonic() + _LEAVE
    while (home / "docker.pid").exists() and CLOCK.monotonic() < deadline:
        CLOCK.sleep(0.05)
    kill_children(clock=CLOCK)


def _unmount(home: Path) -> None:
    """Let go of the mounts of killed containers; they are in this process's namespace alone."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in reversed(mounts):
        if mount.startswith(f"{home}/"):
            _run("umount", "--lazy", mount, check=False)


def _routes() -> list[str]:
    told = json.loads(_run("ip", "-json", "-4", "route", "show", "table", "all"))
    return [each["dst"] for each in told if each["dst"] != "default"]


def _run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    main()
