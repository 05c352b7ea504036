"""Listens to doorbells, in a thread for each function."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from cloudfn.errors import Error
from cloudfn.providers.doorbells import Doorbells, Ring
from cloudfn.providers.shared_ledger import SharedLedger

_log = logging.getLogger(__name__)

#: seconds that one question waits for a ring
_PATIENCE = 20.0
_AT_ONCE = 10
#: seconds until a question that failed is asked again, at first and at most
_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
#: seconds of deafness when nothing but rings for others is heard, which come again
_OTHERS_PAUSE = 1.0


class Listener:
    """Listens to the doorbell of one function while this machine has room for its inputs.

    Args:
        function_id: The function.
        doorbells: All doorbells.
        ledger: Is told which page a ring is about.
        ours: Whether this machine serves a pool.
        heard: Is told of rings, in this thread.
    """

    def __init__(
        self,
        function_id: str,
        doorbells: Doorbells,
        ledger: SharedLedger,
        ours: Callable[[str], bool],
        heard: Callable[[Sequence[Ring]], None],
    ) -> None:
        self._function_id = function_id
        self._doorbells = doorbells
        self._ledger = ledger
        self._ours = ours
        self._heard = heard
        self._wanted = threading.Event()
        self._over = threading.Event()
        name = f"bell-{function_id}"
        # A long poll cannot be cut short; the process does not wait for it.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def want(self, *, rings: bool) -> None:
        """Listen, or listen no more after the present question."""
        if rings:
            self._wanted.set()
        else:
            self._wanted.clear()

    def close(self) -> None:
        """Never listen again."""
        self._over.set()
        self._wanted.set()

    def _run(self) -> None:
        failures = 0
        while self._wanted.wait() and not self._over.is_set():
            try:
                pause = self.listen_once(_PATIENCE)
                failures = 0
            except Error as error:
                failures += 1
                pause = min(_LONGEST_PAUSE, _PAUSE * 2 ** min(failures, 10))
                _log.warning("the doorbell of %s is not heard: %s", self._function_id, error)
            except Exception:  # noqa: BLE001 - a mistake of ours must not make this machine deaf
                pause = _LONGEST_PAUSE
                _log.exception("listening to the doorbell of %s failed", self._function_id)
            if pause:
                self._over.wait(pause)

    def listen_once(self, seconds: float) -> float:
        """Listen for up to `seconds`; return how many to be deaf afterwards."""
        heard = self._doorbells.listen(self._function_id, seconds, _AT_ONCE)
        mine = [each for each in heard if self._ours(each.ring.pool)]
        for each in mine:
            self._ledger.hear(each.ring)
        if mine:
            self._heard([each.ring for each in mine])
            self._doorbells.answer(mine)
        return _OTHERS_PAUSE if heard and not mine else 0.0


class Listeners:
    """One listener for each function that this machine serves. Called on the loop.

    Args:
        make: Makes a listener for a function.
    """

    def __init__(self, make: Callable[[str], Listener]) -> None:
        self._make = make
        self._listeners: dict[str, Listener] = {}

    def listen(self, function_ids: frozenset[str]) -> None:
        """Listen to the doorbells of these functions, and to no others."""
        for function_id in function_ids - self._listeners.keys():
            self._listeners[function_id] = self._make(function_id)
        for function_id, listener in self._listeners.items():
            listener.want(rings=function_id in function_ids)

    def keep(self, function_ids: frozenset[str]) -> None:
        """Forget the listeners of all other functions."""
        for function_id in self._listeners.keys() - function_ids:
            self._listeners.pop(function_id).close()

    def close(self) -> None:
        """Listen no more."""
        self.keep(frozenset())
