"""The port of blobs: payloads that are too large to travel inline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from cloudfn.wire.messages import BlobRef


class Blobs(Protocol):
    """Payloads of 64 KiB and more, under random names; a frame's MAC binds name and size."""

    @property
    def fast(self) -> Path:
        """Directory whose blobs may live in memory."""
        ...

    @property
    def durable(self) -> Path:
        """Directory whose blobs survive a power cut."""
        ...

    def adopt(self, ref: BlobRef, call_id: str, *, durable: bool) -> BlobRef:
        """Make a container's result one of the call's blobs; return its new reference.

        Raises:
            DataLossError: There is no such blob, or it is not whole.
        """
        ...

    def copy(self, ref: BlobRef, call_id: str) -> BlobRef:
        """Make a copy of a durable blob one of another call's; return its reference. Idempotent.

        Raises:
            DataLossError: There is no such blob, or it is not whole.
        """
        ...

    def delete(self, ref: BlobRef) -> None:
        """Delete a blob. Idempotent."""
        ...

    def delete_call(self, call_id: str) -> None:
        """Delete all blobs of a call. Idempotent."""
        ...

    def delete_results(self, container_id: str) -> None:
        """Delete results that a container wrote and that nobody adopted. Idempotent."""
        ...

    def sweep(self, known: Callable[[str], bool], older_than: float, now: float) -> int:
        """Delete what belongs to no known call or container; return how many directories."""
        ...

    def close(self) -> None:
        """Leave no empty directories behind."""
        ...
