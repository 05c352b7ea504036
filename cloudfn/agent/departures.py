"""Containers whose app is closed and that still run user code: who waits for their end."""

from __future__ import annotations

from collections.abc import Callable


class Departures:
    """The containers that leave, with an interrupted input or exit hooks to run."""

    def __init__(self) -> None:
        #: container → app
        self._leaving: dict[str, str] = {}
        self._hooks: list[tuple[str, Callable[[], object]]] = []

    def add(self, container_id: str, app_id: str) -> None:
        """A container of an app leaves."""
        self._leaving[container_id] = app_id

    def ended(self, container_id: str) -> None:
        """A container is gone."""
        app_id = self._leaving.pop(container_id, None)
        if app_id is None or app_id in self._leaving.values():
            return
        due = [hook for wanted, hook in self._hooks if wanted == app_id]
        self._hooks = [each for each in self._hooks if each[0] != app_id]
        for hook in due:
            hook()

    def when_quiet(self, app_id: str, hook: Callable[[], object]) -> None:
        """Call `hook` when no container of an app runs user code any more; at once if none does."""
        if app_id in self._leaving.values():
            self._hooks.append((app_id, hook))
        else:
            hook()
