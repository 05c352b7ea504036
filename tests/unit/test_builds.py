"""Builds under way: one at a time for each image, and ended with all that they started."""

import os
import sys
import threading
from pathlib import Path

import pytest

from cloudfn.errors import ImageBuildError
from cloudfn.providers.builds import Builds
from cloudfn.worker.process import parent_of

PATIENCE = 20.0
ENVIRON = {"PATH": os.defpath}
#: starts a child that would stay for ever, tells of it, and waits
_PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(child.pid, flush=True)
child.wait()
"""


def test_lines_are_reported_and_the_code_returned(tmp_path):
    lines: list[str] = []

    with Builds().turn("d") as build:
        command = ["sh", "-c", "echo one; echo two >&2; exit 3"]
        code = build.run(command, ENVIRON, tmp_path, lines.append)

    assert (sorted(lines), code) == (["one", "two"], 3)


def test_a_cancelled_build_ends_with_what_it_started(tmp_path):
    builds = Builds()
    pids: list[int] = []

    def report(line: str) -> None:
        pids.append(int(line))
        builds.cancel("d")

    with builds.turn("d") as build, pytest.raises(ImageBuildError, match="cancelled"):
        build.run([sys.executable, "-c", _PARENT], ENVIRON, tmp_path, report)

    assert not Path(f"/proc/{pids[0]}").exists() or parent_of(pids[0]) == 1


def test_a_cancelled_build_starts_nothing_more(tmp_path):
    builds = Builds()
    lines: list[str] = []

    with builds.turn("d") as build:
        builds.cancel("d")
        with pytest.raises(ImageBuildError, match="cancelled"):
            build.run(["echo", "no"], ENVIRON, tmp_path, lines.append)

    assert lines == []


def test_who_asks_after_a_cancelled_build_begins_anew(tmp_path):
    builds = Builds()
    with builds.turn("d"):
        builds.cancel("d")

    with builds.turn("d") as build:
        assert build.run(["true"], ENVIRON, tmp_path, print) == 0


def test_a_second_build_of_an_image_waits_for_the_first():
    builds = Builds()
    order: list[str] = []
    begun = threading.Event()

    def second() -> None:
        begun.set()
        with builds.turn("d") as build:
            order.append(f"second of {build.users}")

    with builds.turn("d") as build:
        thread = threading.Thread(target=second)
        thread.start()
        assert begun.wait(PATIENCE)
        while build.users < 2:
            threading.Event().wait(0.01)
        order.append("first")
    thread.join(PATIENCE)

    assert order == ["first", "second of 1"]


def test_builds_of_two_images_do_not_wait():
    builds = Builds()

    with builds.turn("a"), builds.turn("b") as build:
        assert build.users == 1


def test_a_command_that_takes_too_long_is_killed(tmp_path):
    with Builds().turn("d") as build:
        assert build.run(["sleep", "1000"], ENVIRON, tmp_path, print, timeout=0.1) < 0
