"""`python -m cloudfn.worker --control FD`: starts a zygote; its forks go on from here as others.

With `--connect PATH`, in a Docker container, the zygote's control socket is the one at a path.
"""

from __future__ import annotations

import os
import sys


def main(arguments: list[str]) -> None:
    """Be a zygote, or what a worker process handed over to this fresh interpreter."""
    role, where = _parsed(arguments)
    from cloudfn.clock import SystemClock
    from cloudfn.worker import launching, template, zygote
    from cloudfn.worker.capture import Standard
    from cloudfn.worker.control import Control
    from cloudfn.worker.process import MARKER

    descriptor = zygote.connected(where) if role == "--connect" else int(where)
    clock, standard = SystemClock(), Standard()
    if role == "--container":
        standard.install()
        launching.run(launching.inherited(descriptor), standard, clock)
        return
    if role == "--template":
        program = template.revived(descriptor, clock)
    else:
        birth = zygote.Zygote(Control(descriptor), os.environ.get(MARKER), clock).serve()
        if birth is None:
            os._exit(0)
        program = template.born(birth, clock, standard)
        program.prepare(standard)
    launch = program.serve()
    if launch is None:
        os._exit(0)
    launching.run(launch, standard, clock)


def _parsed(arguments: list[str]) -> tuple[str, str]:
    match arguments:
        case [("--control" | "--template" | "--container") as role, number] if number.isdigit():
            return role, number
        case ["--connect" as role, path]:
            return role, path
        case _:
            sys.exit("usage: python -m cloudfn.worker --control FD | --connect PATH")


if __name__ == "__main__":
    if not sys.flags.safe_path and sys.path:
        del sys.path[0]  # the agent's working directory is no place to import from
    main(sys.argv[1:])
