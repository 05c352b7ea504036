"""For tests: a clock that stands still, a provider that fails when told, apps that run offline.

Names are imported when they are first used: pytest loads this package in every project that has
cloudfn installed.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloudfn.testing.attempts import Attempt
    from cloudfn.testing.aws import FakeAws
    from cloudfn.testing.clock import FakeClock
    from cloudfn.testing.provider import MemoryProvider
    from cloudfn.testing.script import Script, ScriptedError
    from cloudfn.testing.world import OfflineWorld, offline

__all__ = [
    "Attempt",
    "FakeAws",
    "FakeClock",
    "MemoryProvider",
    "OfflineWorld",
    "Script",
    "ScriptedError",
    "offline",
]

_PLACES = {
    "Attempt": "attempts",
    "FakeAws": "aws",
    "FakeClock": "clock",
    "MemoryProvider": "provider",
    "OfflineWorld": "world",
    "Script": "script",
    "ScriptedError": "script",
    "offline": "world",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _PLACES:
        raise AttributeError(f"module 'cloudfn.testing' has no attribute {name!r}")
    value = getattr(import_module(f"cloudfn.testing.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
