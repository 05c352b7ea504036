"""What one part of the daemon needs of the others."""

from __future__ import annotations

from typing import Protocol

from cloudfn.wire.messages import BlobRef


class Engine(Protocol):
    """What calls need of the rest of the daemon."""

    def pool_for(self, function_id: str) -> str:
        """Return the pool that new calls of a function go to; raises NotFoundError."""
        ...

    def full_name(self, function_id: str, name: str) -> str:
        """Return the name under which a function's call is kept; raises InvalidError."""
        ...

    def has_pool(self, pool: str) -> bool:
        """Whether a pool is there."""
        ...

    def inputs_arrived(self, pool: str) -> None:
        """Inputs wait in a pool."""
        ...

    def delayed(self) -> None:
        """Inputs wait for a time."""
        ...

    def delivering(self) -> None:
        """Outcomes are about to go out."""
        ...

    def waits(self, seq: int, change: int) -> None:
        """A running input began or ended to wait for a nested call."""
        ...

    def running(self, seq: int) -> tuple[str, int] | None:
        """Return (call id, index) of an input that a container holds."""
        ...

    def holds(self, container_id: str | None, seq: int) -> bool:
        """Whether a container is the one that holds an input."""
        ...

    def stop_input(self, seq: int, fence: int, *, terminate: bool) -> None:
        """Stop an input that runs and whose outcome is recorded."""
        ...

    def lives(self, container_id: str) -> bool:
        """Whether there is such a container."""
        ...

    def is_detached(self, function_id: str) -> bool:
        """Whether a function's app goes on without its client."""
        ...

    def delete_blob(self, ref: BlobRef) -> None:
        """Delete a payload that nobody needs."""
        ...

    def delete_blobs_of(self, call_id: str) -> None:
        """Delete all payloads of a call."""
        ...

    def take_in(self, call_id: str, payload: bytes, *, durable: bool) -> bytes:
        """Arguments lie in a blob that a Docker container wrote: return the reference to keep."""
        ...

    def discard_blobs_of(self, call_id: str) -> None:
        """Delete all payloads of a call that the ledger never had."""
        ...
