"""A user's shell with a home of its own: runs commands with deadlines, and tells what they leave.

Every cloudfn home below the shell's root counts as its own, so that a command may make another.
"""

import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from cloudfn.clock import SystemClock
from cloudfn.providers.local.blobs import memory_root
from cloudfn.settings import daemon_environ
from cloudfn.worker.process import MARKER, variable_of

#: seconds that a command, or the end of a process, may take
PATIENCE = 60.0
CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Done:
    """What a command printed, and how it ended."""

    line: str
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"$ {self.line}\nexit code {self.code}\n{self.out}{self.err}"


class Shell:
    """Runs lines as a user would type them, in a directory of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "work"
        home, temporary = root / "home", root / "tmp"
        for path in (self.folder, home, temporary):
            path.mkdir(mode=0o700)
        # The daemon's own allow-list, without anything of cloudfn's.
        inherited = {
            name: value
            for name, value in daemon_environ().items()
            if not name.startswith(("CLOUDFN_", "XDG_"))
        }
        self._environ = inherited | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}",
            "CLOUDFN_HOME": str(home),
            "CLOUDFN_DAEMON_IDLE_EXIT": "120",
            "TMPDIR": str(temporary),
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "120",
        }

    def write(self, name: str, text: str) -> None:
        """Save a file in the working directory."""
        (self.folder / name).write_text(text)

    def run(
        self, line: str, seconds: float = PATIENCE, *, typed: str = "", **variables: str
    ) -> Done:
        """Run a line to its end; what is typed waits in a terminal that it reads from."""
        # Files, not pipes: a daemon that inherits them would keep a pipe open.
        with (
            _stdin(typed) as stdin,
            tempfile.TemporaryFile("w+") as out,
            tempfile.TemporaryFile("w+") as err,
        ):
            process = subprocess.Popen(
                ["bash", "-c", line],
                cwd=self.folder,
                env=self._environ | variables,
                stdin=stdin,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                code = process.wait(PATIENCE)
            out.seek(0)
            err.seek(0)
            return Done(line, code, out.read(), err.read())

    def stop_daemons(self) -> None:
        """Let every daemon leave that runs below the root, or is only about to."""
        deadline = CLOCK.monotonic() + PATIENCE
        while self._runs_daemons() and CLOCK.monotonic() < deadline:
            for state in self._states():
                line = f"cloudfn --env {state.name} daemon stop --now"
                self.run(line, CLOUDFN_HOME=str(state.parent))
            CLOCK.sleep(0.02)

    def _runs_daemons(self) -> bool:
        return any("cloudfn.daemon" in line for line in self._processes().values())

    def left_behind(self) -> list[str]:
        """Wait a moment for processes to end; return what is left of them, sockets and blobs."""
        deadline = CLOCK.monotonic() + 10
        while (processes := self._processes()) and CLOCK.monotonic() < deadline:
            CLOCK.sleep(0.02)
        sockets = [str(path) for path in self.root.rglob("*.sock")]
        blobs = [
            str(path)
            for state in self._states()
            for path in memory_root(state).rglob("*")
            if path.is_file()
        ]
        return [*processes.values(), *sockets, *blobs]

    def destroy(self) -> None:
        """Remove every trace, also after a failure."""
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for state in self._states():
            shutil.rmtree(memory_root(state), ignore_errors=True)
        shutil.rmtree(self.root, ignore_errors=True)

    def _states(self) -> list[Path]:
        return [path.parent for path in self.root.rglob("daemon.lock")]

    def _processes(self) -> dict[int, str]:
        markers = {
            blake2b(os.fsencode(state), digest_size=8).hexdigest() for state in self._states()
        }
        found = {}
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            ours = variable_of(pid, MARKER) in markers
            if ours or (variable_of(pid, "CLOUDFN_HOME") or "").startswith(str(self.root)):
                with suppress(OSError):
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    if line:  # zombies have none
                        found[pid] = line.replace(b"\0", b" ").decode()
        return found


@contextmanager
def _stdin(typed: str) -> Iterator[int]:
    if not typed:
        yield subprocess.DEVNULL
        return
    ours, theirs = pty.openpty()
    try:
        os.write(ours, typed.encode())
        yield theirs
    finally:
        os.close(ours)
        os.close(theirs)


@contextmanager
def open_shell() -> Iterator[Shell]:
    """Open a shell; at the end its daemons are stopped, and nothing may be left."""
    # Not under pytest's tmp_path: the path of a Unix socket has at most 107 bytes.
    shell = Shell(Path(tempfile.mkdtemp(prefix="cloudfn-sh-")))
    try:
        yield shell
        shell.stop_daemons()
        left = shell.left_behind()
        assert not left, f"left behind: {left}"
    finally:
        shell.destroy()
