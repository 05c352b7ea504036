"""Shows a run: what its containers print, as it comes, and a line that says how far it is."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, groupby
from typing import IO, Any, Self

from cloudfn.cli import progress, terminal
from cloudfn.cli.builds import Builds
from cloudfn.cli.logs import Margin, text_of
from cloudfn.cli.progress import Figures
from cloudfn.cli.status_line import StatusLine, attached
from cloudfn.clock import Clock

#: runs that are over sooner get no progress line
_QUIET_START = 0.3
_TICK = 0.1


class RunDisplay:
    """Takes an app's `LOGS` and `EVENT` messages, from any thread, while it is open.

    With `quiet` only the program's own output is shown. Without a terminal on stderr there is no
    progress line, nor with `interactive`, and nothing but text is written. `timestamps` puts the
    time before each line. `started` is when the command began, by `clock.monotonic`.
    With `only_builds` the line shows builds of images alone.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        started: float,
        quiet: bool = False,
        interactive: bool = False,
        timestamps: bool = False,
        only_builds: bool = False,
    ) -> None:
        self._clock = clock
        self._quiet = quiet
        self._margin = Margin(timestamps=timestamps)
        self._started = started
        self._streams: dict[str, IO[str]] = {"stdout": sys.stdout, "stderr": sys.stderr}
        enabled = not quiet and not interactive and terminal.is_terminal(sys.stderr)
        self._line = StatusLine(sys.stderr, enabled=enabled)
        self._builds = Builds(live=enabled)
        self._only_builds = only_builds
        self._attached = attached(self._line)
        self._figures = Figures()
        self._over = threading.Event()
        self._ticker: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._attached.__enter__()
        if self._line.enabled:
            self._ticker = threading.Thread(target=self._tick, name="cloudfn-progress", daemon=True)
            self._ticker.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._line.close()
        self._attached.__exit__(*error)

    @property
    def figures(self) -> Figures:
        """The latest figures."""
        return self._figures

    def take(self, message: Mapping[str, Any]) -> None:
        """Show one message of the engine."""
        entries = message.get("entries")
        if entries:
            self._print(entries)
        texts = self._builds.take(message)
        if texts and self._builds.line() is None:
            self._line.show("")  # what it said is over
        for text in texts:
            self.say(text)
        if message.get("event") == "containers" or "containers_peak" in message:
            self._figures = self._figures.joined(Figures.of(message))

    def finish(self, *, succeeded: bool) -> None:
        """Write the summary; call it after the display is closed."""
        elapsed = self._clock.monotonic() - self._started
        self.say(progress.summary(self._figures, elapsed, succeeded=succeeded))

    def say(self, message: str) -> None:
        """Write a message, unless only the program's own output is wanted."""
        if not self._quiet:
            terminal.say(message)

    def _print(self, entries: Sequence[Mapping[str, Any]]) -> None:
        wanted = (entry for entry in entries if self._is_wanted(entry))
        for source, group in groupby(wanted, key=lambda entry: entry.get("source")):
            stream = self._streams["stdout" if source == "stdout" else "stderr"]
            text = "".join(text_of(entry, self._margin) for entry in group)
            if terminal.is_terminal(stream):
                text = terminal.clean(text, colours=True)
            try:
                self._line.write(stream, text)
                stream.flush()
            except (OSError, ValueError):
                # The reader is gone. The program goes on; its own prints will find out.
                continue

    def _is_wanted(self, entry: Mapping[str, Any]) -> bool:
        if entry.get("source") != "system":
            return True
        # Why the planner did what the progress line shows is in `cloudfn app logs`.
        return not self._quiet and entry.get("container") != "planner"

    def _tick(self) -> None:
        for tick in self._ticks():
            elapsed = self._clock.monotonic() - self._started
            build = self._builds.line()
            if build is not None:
                self._line.show(progress.building(build, elapsed, tick))
            elif self._only_builds:
                self._line.show("")
            else:
                self._line.show(progress.line(self._figures, elapsed, tick))

    def _ticks(self) -> Iterator[int]:
        pause = _QUIET_START
        for tick in count():
            if self._over.wait(pause):
                return
            yield tick
            pause = _TICK
