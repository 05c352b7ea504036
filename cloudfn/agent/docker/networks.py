"""The network of an environment's Docker containers, which no metadata service is reached from."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

from cloudfn.agent.docker import metadata
from cloudfn.agent.docker.engine import Engine
from cloudfn.errors import (
    ConnectionError,  # noqa: A004 - ours
    Error,
    PermissionDeniedError,
)

#: the name of an interface has at most 15 characters
_BRIDGE_DIGITS = 11


class Networks:
    """Makes the network when the first container needs it; used by threads.

    Args:
        engine: Docker.
        marker: Tells environments apart.
        allow_metadata: Containers may ask the metadata service of this machine's cloud.
    """

    def __init__(self, engine: Engine, marker: str, *, allow_metadata: bool) -> None:
        self.name = f"cloudfn-{marker}"
        self._bridge = f"cfn-{marker[:_BRIDGE_DIGITS]}"
        self._engine = engine
        self._marker = marker
        self._allow_metadata = allow_metadata
        self._lock = threading.Lock()
        self._ready = False

    def ensure(self, name: str, image: str) -> None:
        """See to it that a network is there, and closed where it has to be.

        Args:
            name: The network.
            image: One that is here and has Python, for a helper that sets the rule.

        Raises:
            ConnectionError: No engine answers.
            Error: It cannot be made, or metadata services cannot be kept away from it.
        """
        if name != self.name:
            return
        with self._lock:
            if self._ready:
                return
            self._engine.ensure_network(self.name, self._bridge, self._marker)
            if not self._allow_metadata:
                self._refuse_metadata(image)
            self._ready = True

    def remove(self) -> None:
        """Remove network and rule, unless they are in use; a next daemon makes them anew."""
        with self._lock:
            self._ready = False
            self._engine.remove_network(self.name)
            with suppress(OSError):
                metadata.allow(self._bridge)

    def _refuse_metadata(self, image: str) -> None:
        try:
            if os.geteuid() == 0 and metadata.is_here(self._bridge):
                metadata.refuse(self._bridge)
                return
            script = Path(metadata.__file__).read_text()
            command = ["python3", "-I", "-S", "-c", script, "refuse", self._bridge]
            self._engine.run_helper(image, command)
        except ConnectionError:
            raise
        except (OSError, Error) as error:
            raise PermissionDeniedError(
                f"The metadata service of a cloud cannot be kept from containers: {error}",
                hint="Set CLOUDFN_DOCKER_ALLOW_METADATA=1 where it does not matter, and restart "
                "the daemon.",
            ) from None
