"""`python -m cloudfn.rehearsal`: the processes of a rehearsal.

up HOME WANTED         start one; prints a line of JSON for each step
down HOME              end it, and remove what it left
supervise HOME         its supervisor          (started by up)
front …                its one address         (started by the supervisor, as the rest)
ministack              most of its services, addressed by variables of the environment
metadata FOLDER        its metadata service, inside the hub
machine FOLDER …       the first process of an emulated machine
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cloudfn import settings
from cloudfn.clock import SystemClock
from cloudfn.errors import Error
from cloudfn.rehearsal.site import Site, wanted_of
from cloudfn.rehearsal.steps import tell


def main(words: Sequence[str]) -> int:
    """Be one of the processes; return its exit code."""
    clock = SystemClock()
    match words:
        case ["up", home, wanted]:
            from cloudfn.rehearsal import life

            return _told(lambda: life.begin(Site(Path(home)), wanted_of(wanted), clock))
        case ["down", home]:
            from cloudfn.rehearsal import life

            return _told(lambda: life.finish(Site(Path(home)), clock))
        case ["supervise", home]:
            # Nothing to wait for: what it started ends with it.
            os._exit(_supervise(Site(Path(home))))
        case ["front", faults, requests, fleet, rest, *addresses]:
            _front(Path(faults), Path(requests), (int(fleet), int(rest)), addresses)
        case ["ministack"]:
            from cloudfn.rehearsal import universal

            universal.run()
        case ["metadata", folder]:
            from cloudfn.rehearsal.metadata import Service

            sys.stdin.readline()  # the hub's addresses are there
            Service(Path(folder), clock).server.serve_forever()
        case ["machine", folder, cgroup, url]:
            from cloudfn.rehearsal.system import Machine, boot

            python = os.path.realpath(sys.executable)
            boot(Machine(Path(folder), cgroup, url, python, settings.build_environ()), clock)
        case _:
            sys.stderr.write(__doc__ or "")
            return 2
    return 0


def _told(act: Callable[[], None]) -> int:
    try:
        act()
    except Error as error:
        tell("failed", error.message, hint=error.hint)
        return 1
    except OSError as error:
        tell("failed", str(error), hint=None)
        return 1
    return 0


def _supervise(site: Site) -> int:
    from cloudfn.rehearsal.supervisor import Supervisor

    wanted = wanted_of(site.wanted.read_text())
    return _told(Supervisor(site, wanted, SystemClock()).run)


def _front(faults: Path, requests: Path, ports: tuple[int, int], addresses: Sequence[str]) -> None:
    import asyncio

    from cloudfn.rehearsal.front import Front, RuleFile, run
    from cloudfn.rehearsal.requests import RequestLog

    fleet, rest = (("127.0.0.1", port) for port in ports)
    front = Front(fleet, rest, RuleFile(faults), RequestLog(requests).add, SystemClock())
    parted = [each.rpartition(":") for each in addresses]
    asyncio.run(run(front, [(host, int(port)) for host, _, port in parted]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
