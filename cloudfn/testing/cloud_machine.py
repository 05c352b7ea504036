"""A machine of a cloud in memory: a thread that claims inputs and runs them in this process."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread
from typing import Protocol

from cloudfn.clock import SystemClock
from cloudfn.model import ids
from cloudfn.model.call import Raised, Status
from cloudfn.model.log import LogEntry, Source
from cloudfn.model.variant import parameters_of, served
from cloudfn.providers.base import Cloud
from cloudfn.providers.ledger import Claim, Entry
from cloudfn.providers.wakeups import Note
from cloudfn.testing.generators import Generation
from cloudfn.testing.inprocess import InProcess, Write
from cloudfn.testing.pools import Pool
from cloudfn.wire.messages import BlobRef, is_blob
from cloudfn.worker.blobs import Blobs

#: seconds between two looks for work
_PAUSE = 0.01
_LOT = 100


class Environment(Protocol):
    """What a machine needs of the cloud that it is in."""

    def open(self, machine_id: str) -> Cloud:
        """Return the ports as the machine has them."""
        ...

    def join(self, machine_id: str) -> None:
        """Add the machine."""
        ...


class CloudMachine:
    """Runs whatever waits, one input at a time, until it is closed.

    Args:
        world: The environment.
        machine_id: Its id.
        folder: For payloads in files.
        quiet: Clients are told of nothing, and have to look themselves.
    """

    def __init__(
        self, world: Environment, machine_id: str, folder: Path, *, quiet: bool = False
    ) -> None:
        self.cloud: Cloud = world.open(machine_id)
        self.machine_id = machine_id
        #: calls and indices in the order in which they were run
        self.ran: list[tuple[str, int]] = []
        #: it takes nothing while this is not set
        self.gate = Event()
        self.gate.set()
        self._quiet = quiet
        self._clock = SystemClock()
        self._folder = folder / machine_id
        self._folder.mkdir(parents=True)
        self._code = InProcess(Blobs(machine_id, str(self._folder), str(self._folder)))
        self._over = Event()
        world.join(machine_id)
        self._thread = Thread(target=self._run, name=machine_id, daemon=True)
        self._thread.start()

    def claim(self, pool: str, limit: int = 1) -> list[Claim]:
        """Claim inputs by hand, and do not run them."""
        return self.cloud.ledger.claim(pool, limit, self._clock.wall())

    def close(self) -> None:
        """End it. Idempotent."""
        self._over.set()
        self.gate.set()
        self._thread.join()
        self._code.close()

    def _run(self) -> None:
        while not self._over.wait(_PAUSE):
            self.gate.wait()
            for pool in self.cloud.ledger.pools():
                claims = self.cloud.ledger.claim(pool, _LOT, self._clock.wall())
                for claim in claims:
                    self._serve(claim)

    def _serve(self, claim: Claim) -> None:
        pool = self._pool(claim)
        claim.payload = self._fetched(claim.payload)
        self.ran.append((claim.call_id, claim.index))
        if self._code.yields(pool, claim.payload):
            told = self._generate(pool, claim)
        else:
            told = self._code.run(
                pool, (claim.seq, claim.fence), claim.payload, self._writer(pool, claim), quiet=True
            )
        status = Status.RETURNED
        if isinstance(told, Raised):
            status, told = Status.RAISED, told.payload
        self._record(claim, status, self._stored(told))

    def _generate(self, pool: Pool, claim: Claim) -> bytes | Raised:
        generation = Generation(
            self._code,
            pool,
            claim,
            self._clock.monotonic(),
            self._writer(pool, claim),
            lambda: True,
        )
        while True:
            told = generation.step()
            if generation.over:
                return told
            assert isinstance(told, bytes)
            position = generation.length - 1
            streams, item = self.cloud.streams, self._stored(told)
            while streams.append(claim.call_id, claim.fence, position, [item]).known <= position:
                if self._over.wait(_PAUSE):
                    return told
            self._tell(Note(claim.call_id, (), (), items=position + 1))

    def _writer(self, pool: Pool, claim: Claim) -> Write:
        """Return what takes the output of an input."""

        def write(source: Source, text: str) -> None:
            entry = LogEntry(
                at=self._clock.wall(),
                app_id=pool.app_id,
                app_name=pool.app_name,
                function=pool.spec.name,
                container_id=f"ta-{self.machine_id}",
                call_id=claim.call_id,
                input_id=ids.input_id(claim.call_id, claim.index),
                source=source,
                text=text,
            )
            self.cloud.logs.write(entry)
            self.cloud.logs.flush()

        return write

    def _record(self, claim: Claim, status: Status, payload: bytes) -> None:
        if self.cloud.ledger.record([Entry(claim.seq, claim.fence, status, payload)])[0]:
            self._tell(Note(claim.call_id, (claim.index,), (status,), (payload,)))

    def _tell(self, note: Note) -> None:
        address = self.cloud.ledger.reply_to(note.call_id)
        if address and not self._quiet:
            self.cloud.wakeups.tell(address, [note])

    def _pool(self, claim: Claim) -> Pool:
        function_id, _, number = claim.pool.rpartition("@")
        function = self.cloud.catalog.function(function_id)
        assert function is not None
        revision = self.cloud.catalog.revision(function.app_id, int(number))
        assert revision is not None
        spec = revision.spec.function(function.name)
        assert spec is not None
        return Pool(
            claim.pool,
            function.app_id,
            "",
            function_id,
            int(number),
            served(spec, function.variant),
            revision.spec.module,
            parameters_of(spec, function.variant),
        )

    def _fetched(self, payload: bytes) -> bytes:
        if is_blob(payload):
            ref = BlobRef.decode(payload)
            path = self._folder / ref.name
            path.parent.mkdir(exist_ok=True)
            self.cloud.depot.fetch(ref, path)
        return payload

    def _stored(self, payload: bytes) -> bytes:
        if is_blob(payload):
            ref = BlobRef.decode(payload)
            self.cloud.depot.store(ref, self._folder / ref.name)
        return payload
