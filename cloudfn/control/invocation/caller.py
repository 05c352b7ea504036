"""Who speaks to a front."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cloudfn.control.operations import Fields
from cloudfn.model.secret import SecretRef
from cloudfn.wire.messages import BlobRef, Kind

#: hears what a front says, from any thread, one message at a time for each call
Tell = Callable[[Kind, bytes], None]
#: gets the one answer to a request
Answer = Callable[[Fields], None]


class Files(Protocol):
    """Where payloads of 64 KiB and more lie on the caller's side."""

    def path(self, ref: BlobRef) -> Path:
        """Return where the file of a payload is, or is to be."""
        ...

    def drop(self, ref: BlobRef) -> None:
        """The caller's file of a payload is needed no more. Idempotent."""
        ...


def not_running(_seq: int) -> tuple[str, int] | None:
    """Say that no input runs, as outside of containers."""
    return None


def nobody_waits(_seq: int, _change: int) -> None:
    """Take no note of inputs that wait for calls of theirs."""


def no_secrets() -> Collection[SecretRef]:
    """Return no secrets that user code may hand on."""
    return ()


@dataclass(frozen=True, slots=True)
class Caller:
    """A client, or user code in a container."""

    files: Files
    #: who changed something, for people
    name: str
    #: the container; None: a client outside of any
    container_id: str | None = None
    #: call id and index of the input that runs in the container under a number; None: none does
    running: Callable[[int], tuple[str, int] | None] = not_running
    #: an input waits for one call of its own more (1) or less (-1)
    waits: Callable[[int, int], None] = nobody_waits
    #: secrets that the container's own function names, which its user code may hand on
    secrets: Callable[[], Collection[SecretRef]] = no_secrets
