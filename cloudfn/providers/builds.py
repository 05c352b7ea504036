"""Builds that are under way: one for each image, in a process group that can be ended."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cloudfn.errors import ImageBuildError

#: seconds that a cancelled command has to leave before it is killed
_GRACE = 2.0


class Build:
    """One build, or the wish for one. Commands of it run one after the other."""

    def __init__(self) -> None:
        #: one builds, the others wait for it
        self.turn = threading.Lock()
        #: how many build it or wait
        self.users = 0
        self._lock = threading.Lock()
        self._cancelled = False
        self._process: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        """Forget who was cancelled before: they have left."""
        self._cancelled = False

    def run(
        self,
        command: Sequence[str | Path],
        environ: Mapping[str, str],
        folder: Path,
        report: Callable[[str], None],
        timeout: float | None = None,
    ) -> int:
        """Run a command to its end, and end all that it leaves behind.

        Args:
            command: What to run.
            environ: Its variables.
            folder: Its working directory.
            report: Gets each line that it prints.
            timeout: Seconds after which it is killed.

        Returns:
            Its exit code, negative for the number of a signal.

        Raises:
            OSError: It cannot be started.
            ImageBuildError: The build was cancelled.
        """
        with self._lock:
            self.check()
            self._process = process = subprocess.Popen(
                command,
                env=dict(environ),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        timer = None if timeout is None else _later(timeout, process)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                report(line.rstrip("\n"))
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        finally:
            if timer is not None:
                timer.cancel()
            with self._lock:
                self._process = None
            # While its status is not collected, nobody else can have its number.
            _signal_group(process, signal.SIGKILL)
            with process:
                pass
        self.check()
        return process.returncode

    def check(self) -> None:
        """Raise ImageBuildError if the build was cancelled."""
        if self._cancelled:
            raise ImageBuildError("The build of the image was cancelled.", hint="Start it again.")

    def cancel(self) -> None:
        """End the command that runs, and run no more. Idempotent, from any thread."""
        with self._lock:
            self._cancelled = True
            if self._process is not None:
                _signal_group(self._process, signal.SIGTERM)
                _later(_GRACE, self._process)


class Builds:
    """The builds of one runtime, by digest. Usable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._builds: dict[str, Build] = {}

    @contextmanager
    def turn(self, digest: str) -> Iterator[Build]:
        """Wait for the turn to build an image."""
        with self._lock:
            build = self._builds.setdefault(digest, Build())
            build.users += 1
        try:
            with build.turn:
                build.begin()
                yield build
        finally:
            with self._lock:
                build.users -= 1
                if not build.users:
                    del self._builds[digest]

    def cancel(self, digest: str) -> None:
        """End the build of an image, if there is one. Idempotent, from any thread."""
        with self._lock:
            build = self._builds.get(digest)
        if build is not None:
            build.cancel()


def _later(seconds: float, process: subprocess.Popen[str]) -> threading.Timer:
    """Kill a process with all that it started after some seconds."""
    timer = threading.Timer(seconds, _kill, (process,))
    timer.daemon = True
    timer.start()
    return timer


def _kill(process: subprocess.Popen[str]) -> None:
    if process.returncode is None:
        _signal_group(process, signal.SIGKILL)


def _signal_group(process: subprocess.Popen[str], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
