"""The port of reach: how a person gets to a machine that has no open port."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Way:
    """A way to a machine's SSH server."""

    #: a command whose input and output are the connection; empty: straight to `address`
    command: tuple[str, ...] = ()
    address: str = ""
    port: int = 22


class Reach(Protocol):
    """Lets people in to machines of an environment. Blocks."""

    def way(self, machine_id: str, address: str = "") -> Way:
        """Return the way to a machine.

        Args:
            machine_id: Which.
            address: Its private address, for those who are in the same network; empty: through the
                provider's own proxy.

        Raises:
            InvalidError: What the proxy needs is not installed here.
        """
        ...

    def admit(self, machine_id: str, public_key: str) -> str:
        """Let a key in for the next minute; return the name of the user that it is for.

        Args:
            machine_id: Which.
            public_key: A line as in `authorized_keys`.
        """
        ...
