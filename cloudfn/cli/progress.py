"""How a run is doing: the figures, the line that shows them, and the summary at its end. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudfn.cli import moments

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


@dataclass(frozen=True, slots=True)
class Figures:
    """What the engine says of one app's inputs and containers."""

    containers: int = 0
    #: the most containers at once so far
    peak: int = 0
    pending: int = 0
    running: int = 0
    #: inputs with an outcome, the failed ones among them
    done: int = 0
    failed: int = 0

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Figures:
        """Return the figures in an `EVENT` message, or in the reply to `app_close`."""
        names = ("containers", "peak", "pending", "running", "done", "failed")
        values = {name: int(message.get(name) or 0) for name in names}
        values["peak"] = max(values["peak"], int(message.get("containers_peak") or 0))
        return cls(**values)

    @property
    def total(self) -> int:
        """Inputs that are known so far."""
        return self.pending + self.running + self.done

    def joined(self, later: Figures) -> Figures:
        """Return `later`, with nothing that only grows ever going back."""
        return Figures(
            containers=later.containers,
            peak=max(self.peak, later.peak),
            pending=later.pending,
            running=later.running,
            done=max(self.done, later.done),
            failed=max(self.failed, later.failed),
        )


def line(figures: Figures, elapsed: float, tick: int) -> str:
    """Return the text of the progress line after `elapsed` seconds."""
    spinner, time = _SPINNER[tick % len(_SPINNER)], _time(elapsed)
    if not figures.total and not figures.containers:
        return f"{spinner} {time}"
    parts = [f"{figures.done:,}/{figures.total:,} inputs"]
    if figures.failed:
        parts.append(f"{figures.failed:,} failed")
    peak = f" (peak {figures.peak:,})" if figures.peak > figures.containers else ""
    parts.append(f"{_counted(figures.containers, 'container')}{peak}")
    parts.append(time)
    return f"{spinner} {' · '.join(parts)}"


def building(text: str, elapsed: float, tick: int) -> str:
    """Return the line while images are built; `text` says which and how far."""
    return f"{_SPINNER[tick % len(_SPINNER)]} {_time(elapsed)} · {text}"


def summary(figures: Figures, elapsed: float, *, succeeded: bool) -> str:
    """Return the line that ends a run: inputs, failures, containers at the peak, wall time."""
    parts = (
        _counted(figures.done, "input"),
        f"{figures.failed:,} failed",
        f"{_counted(figures.peak, 'container')} at the peak",
        moments.span(elapsed),
    )
    return f"{'✓' if succeeded else '✗'} {' · '.join(parts)}"


def _time(elapsed: float) -> str:
    # Always with one digit, so that the line does not jump.
    return f"{elapsed:.1f} s" if elapsed < 60 else moments.span(elapsed)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
