"""The port of accounts: whether environments of a provider can be used from here, and which are."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

from cloudfn.providers.findings import Finding


class Account(Protocol):
    """What somebody has at a provider, whether an environment can be opened or not. Blocks."""

    def environments(self) -> list[str]:
        """Return the names of all environments in the region."""
        ...

    def check_access(self, now: float) -> Iterable[Finding]:
        """Check who we are, the clock, and whether the environment is there for us.

        Nothing comes after a finding that fails: what follows needs it.

        Args:
            now: Seconds since the epoch, by this machine's clock.
        """
        ...

    def check_leavings(
        self, functions: Collection[str], mailboxes: Collection[str]
    ) -> Iterable[Finding]:
        """Look for what nobody needs any more, and no port of the environment shows.

        Args:
            functions: Ids of all functions that apps have.
            mailboxes: Addresses of clients that are there.
        """
        ...

    def close(self) -> None:
        """Give connections back. Idempotent."""
        ...
