"""What clients hear of inputs that they submit: kept, or refused for now; then, that there is room.

Nothing is said before the commit that makes it true.
"""

from __future__ import annotations

from cloudfn.daemon.journal import Journal
from cloudfn.daemon.named import confirmed
from cloudfn.daemon.watches import Call, Watch
from cloudfn.wire.messages import Ack, Kind


class Receipts:
    """Acknowledgements and refusals of submitted inputs."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        #: those to whom an acknowledgement is on its way, of a spawn with how many inputs it names
        self._due: dict[Watch, int | None] = {}
        #: calls whose inputs a limit refused
        self._starved: list[Call] = []
        #: they are told after the next commit
        self._feeding = False

    def acknowledge(self, watch: Watch) -> None:
        """Say what is kept, once it is: for spawns, when it would survive a power cut."""
        if watch.call.spec.durable:
            # As of now: what is admitted while the disk syncs is not kept by that.
            known = confirmed(watch)
            if self._due.get(watch) != known:
                self._due[watch] = known
                self._journal.after_sync(lambda: self._synced(watch, known))
        elif watch not in self._due:
            self._due[watch] = None
            self._journal.after_commit(lambda: self._committed(watch))

    def _synced(self, watch: Watch, known: int) -> None:
        if watch not in self._due:
            return
        if self._due[watch] == known:
            del self._due[watch]
        _tell(watch, known)

    def _committed(self, watch: Watch) -> None:
        if self._due.pop(watch, 0) is None:
            _tell(watch, confirmed(watch))

    def forget(self, watch: Watch) -> None:
        """Its client wants to hear nothing more."""
        self._due.pop(watch, None)

    def refuse(self, watch: Watch) -> None:
        """Say that a limit stopped inputs, and what is kept, once it is."""
        known = confirmed(watch)
        wait = self._journal.after_sync if watch.call.spec.durable else self._journal.after_commit
        wait(lambda: self._refused(watch, known))

    def _refused(self, watch: Watch, known: int) -> None:
        call = watch.call
        _tell(watch, known, refused=True)
        # Not before: "there is room" must not overtake "there is none", or nobody says it again.
        if call.watches and not call.starved:
            call.starved = True
            self._starved.append(call)

    def places_freed(self) -> None:
        """There may be room again; those who wait for it are told after the next commit."""
        if self._starved and not self._feeding:
            self._feeding = True
            self._journal.after_commit(self.feed_starved)

    def feed_starved(self) -> None:
        """Tell clients whose inputs a limit refused that there is room again."""
        self._feeding = False
        hungry, self._starved = self._starved, []
        for call in hungry:
            call.starved = False
            for watch in call.watches:
                if watch.owner:
                    # What is admitted by now may not be on disk: who sends it again does no harm.
                    _tell(watch, acknowledged(watch))


def acknowledged(watch: Watch) -> int:
    """Return how many inputs may be told of as kept, with no look at the disk."""
    # An earlier client of a named call may have been told of more.
    return min(watch.call.acknowledged, confirmed(watch))


def _tell(watch: Watch, known: int, *, refused: bool = False) -> None:
    watch.call.acknowledged = max(watch.call.acknowledged, known)
    watch.session.send(Kind.ACK, Ack(watch.ref, known, refused).encode())
