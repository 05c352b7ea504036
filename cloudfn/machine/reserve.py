"""A machine in a warm pool: it gets ready, says so, and joins only when its group calls for it.

Between the two it is mostly stopped; then systemd starts the process anew, and it begins here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cloudfn.clock import Clock
from cloudfn.errors import Error
from cloudfn.machine.metadata import Notice
from cloudfn.providers.fleet import Fleet

_log = logging.getLogger(__name__)


#: what cloud-init has, and what is there once it is done
_CLOUD_INIT, _DONE = "var/lib/cloud/instance", "boot-finished"


@dataclass(frozen=True, slots=True)
class Reserve:
    """Where a machine waits, and whom it asks and tells.

    Args:
        ask: What the metadata service says.
        fleet: Is told that this machine is ready.
        machine_id: Which one it is.
        heard: Touched meanwhile: the machine is of use, and need not end itself.
        clock: Waits between two looks.
        pause: For how many seconds.
        root: Of the file system.
    """

    ask: Callable[[], Notice]
    fleet: Fleet
    machine_id: str
    heard: Path
    clock: Clock
    pause: float
    root: Path = Path("/")

    def wait(self) -> None:
        """Wait while this machine is put aside; return at once where it is not. Blocks.

        Raises:
            ConnectionError: The metadata service does not answer.
        """
        told = False
        while self.ask().aside:
            self.heard.parent.mkdir(parents=True, exist_ok=True)
            self.heard.touch()
            told = told or (self._is_set_up() and self._tell())
            self.clock.sleep(self.pause)

    def _is_set_up(self) -> bool:
        """Whether user-data is through: who is stopped before that never does the rest."""
        folder = self.root / _CLOUD_INIT
        return not folder.exists() or (folder / _DONE).exists()

    def _tell(self) -> bool:
        try:
            self.fleet.prepared(self.machine_id)
        except Error as error:
            _log.warning("the fleet was not told that this machine is ready: %s", error)
            return False
        _log.info("this machine is ready, and waits in its warm pool")
        return True
