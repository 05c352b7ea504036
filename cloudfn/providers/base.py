"""The ports: the things that the engine needs of a place where work can run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cloudfn.model.call import CallKind, Counters, Status
from cloudfn.model.cls import shown_name
from cloudfn.model.function import AutoscalerSettings, FunctionSpec
from cloudfn.model.log import LogEntry, LogQuery
from cloudfn.model.terms import Terms
from cloudfn.model.variant import Variant
from cloudfn.providers.dicts import Dicts
from cloudfn.providers.objects import Objects
from cloudfn.providers.queues import Queues
from cloudfn.providers.schedules import Schedules
from cloudfn.providers.secrets import Secrets
from cloudfn.providers.streams import Streams
from cloudfn.providers.volumes import Volumes
from cloudfn.wire.messages import BlobRef


@dataclass(frozen=True, slots=True)
class CallSpec:
    """A Call as its client made it; the client mints the id, so that submitting is idempotent."""

    call_id: str
    function_id: str
    #: name of the pool: the function at the revision that the call is pinned to
    pool: str
    kind: CallKind
    #: seconds since the epoch
    created: float
    #: (call id, index) of the input whose user code made this call
    parent: tuple[str, int] | None = None
    #: outcomes stay after delivery, and the call survives its client and a power cut
    durable: bool = False
    #: of a durable call: when its inputs may begin, and who goes first
    terms: Terms | None = None
    #: by which a later process finds it: app/function/name; empty for most calls
    name: str = ""
    #: of a call that somebody made of dead letters: the call that they are of
    origin: str = ""


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What the ledger knows of a Call."""

    spec: CallSpec
    #: inputs that the ledger has
    known: int
    #: no more inputs follow
    sealed: bool
    finished: int
    cancelled: bool
    #: finished inputs that did not return
    failed: int = 0
    #: its outcomes were kept for their time and are gone
    expired: bool = False
    #: of a named call: how many inputs it has in all, where that was said once
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to a submission: the ledger has inputs 0 … known − 1 of the call."""

    known: int
    #: which limit refused the rest, as a sentence for the caller; empty when nothing was refused
    refused: str = ""


class Claim:
    """The right to run one input: it lasts until recorded, given back, retried or superseded."""

    __slots__ = (
        "alone",
        "call_id",
        "counters",
        "deadline",
        "durable",
        "fence",
        "index",
        "payload",
        "pool",
        "seq",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - one value per column, built on the hot path
        self,
        seq: int,
        fence: int,
        pool: str,
        call_id: str,
        index: int,
        payload: bytes,
        counters: Counters,
        alone: bool,  # noqa: FBT001 - hot path
        durable: bool,  # noqa: FBT001 - hot path
        deadline: float | None = None,
    ) -> None:
        #: the ledger's number of the input
        self.seq = seq
        #: grows with each claim of the input, also over restarts; guards every write
        self.fence = fence
        self.pool = pool
        self.call_id = call_id
        self.index = index
        self.payload = payload
        self.counters = counters
        #: it must run with no other input beside it
        self.alone = alone
        #: its outcome must survive a power cut
        self.durable = durable
        #: wall time after which it must not run
        self.deadline = deadline


@dataclass(frozen=True, slots=True)
class Entry:
    """An outcome to be recorded by the holder of a claim."""

    seq: int
    fence: int
    status: Status
    payload: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """The one recorded outcome of an input."""

    index: int
    status: Status
    payload: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An input of a durable call that ended by a failure, with what it would take to run it."""

    call: CallSpec
    index: int
    status: Status
    outcome: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class PoolCounts:
    """Exact numbers of a pool's inputs, derived from the records themselves."""

    #: waiting inputs that may run now
    pending: int
    #: waiting inputs whose time has not come: a retry's, or that of a delayed call
    delayed: int
    running: int


class Ledger(Protocol):
    """The durable truth about calls, inputs and outcomes.

    Promises (one contract suite for all adapters): an admitted input ends in exactly one outcome;
    the first recorded outcome wins for ever; a write with a superseded fence is refused; counts
    are exact; every method is idempotent where it says so. Batch first: one is the batch of one.

    Writes become visible to this process at once; they survive the death of the process after
    `commit` returned, and a power cut after `sync` returned.
    """

    def submit(
        self,
        call: CallSpec,
        first: int,
        payloads: Sequence[bytes],
        *,
        sealed: bool,
        now: float,
        digests: Sequence[bytes] = (),
    ) -> Admission:
        """Admit inputs `first` … of a call, as many as the limits allow, in order.

        Idempotent: inputs that the ledger has already are skipped, so a client may send again
        what was not acknowledged. A gap (`first` beyond what is known) admits nothing. Inputs of a
        named call come with 16-byte digests, which are kept as long as the call.

        Raises:
            ConflictError: The call exists with another function, or is sealed and this would add.
        """
        ...

    def claim(self, pool: str, limit: int, now: float) -> list[Claim]:
        """Take up to `limit` waiting inputs of a pool, PENDING → RUNNING, fence + 1 each.

        Calls of `.remote` and `.map` and those of `.spawn` take turns, so that neither starves.
        Of the latter, those of the highest priority go first, but for every eighth turn in which
        several priorities wait: it begins with one of the lower ones, each in its turn.
        """
        ...

    def overdue(self, now: float) -> list[Claim]:
        """Take all waiting inputs whose deadline has passed; `claim` never returns them.

        Their holder records how they ended, as for any other claim.
        """
        ...

    def give_back(self, claims: Sequence[tuple[int, int]]) -> list[bool]:
        """RUNNING → PENDING for each (seq, fence) that never started; no counter moves.

        The inputs go back to the front of the queue in their old order.
        """
        ...

    def retry(
        self, seq: int, fence: int, counters: Counters, not_before: float, *, alone: bool = False
    ) -> bool:
        """RUNNING → PENDING with new counters, not to be claimed before the wall time given."""
        ...

    def record(self, entries: Sequence[Entry]) -> list[bool]:
        """Record outcomes; False for each whose fence is superseded or that is finished."""
        ...

    def outcomes(self, call_id: str, start: int = 0, end: int | None = None) -> list[Outcome]:
        """Return the recorded, not yet deleted outcomes of inputs start ≤ index < end, in order.

        Raises:
            NotFoundError: There is no such call.
        """
        ...

    def delivered(self, call_id: str, indices: Sequence[int]) -> None:
        """The client has these outcomes: delete them unless the call is durable. Idempotent."""
        ...

    def cancel(self, call_id: str) -> list[tuple[int, int, int]]:
        """Cancel all unfinished inputs of a call: waiting ones get the outcome CANCELLED.

        Returns:
            (seq, fence, index) of those that are RUNNING; their holder stops them and records.
        """
        ...

    def call(self, call_id: str) -> CallRecord | None:
        """Return what is known of a call."""
        ...

    def named(self, name: str) -> str | None:
        """Return the id of the call that has a name."""
        ...

    def digests(self, call_id: str, start: int, end: int) -> list[bytes]:
        """Return the digests of inputs start ≤ index < end that the call ever had."""
        ...

    def names(self) -> dict[str, str]:
        """Return the ids of all named calls by name."""
        ...

    def digest_count(self, call_id: str) -> int:
        """Return how many inputs a named call ever had."""
        ...

    def settled(self, call_id: str, start: int = 0, end: int | None = None) -> list[int]:
        """Return which inputs start ≤ index < end need no payload any more, in order.

        They are known, or were finished before `reopen`.
        """
        ...

    def reopen(self, call: CallSpec) -> None:
        """Begin a named call anew, for another function or pool; nothing of it may run or wait.

        Inputs that ended in any way but CANCELLED keep their outcomes, and are finished when they
        are submitted again; all others are as if they had never been.
        """
        ...

    def calls(self, *, limit: int, function_id: str | None = None) -> list[CallRecord]:
        """Return the latest calls, the newest first."""
        ...

    def open_calls(self, function_id: str | None = None) -> list[CallRecord]:
        """Return the calls that are not over: unfinished, not sealed, or not delivered yet."""
        ...

    def children(self, call_id: str) -> list[CallRecord]:
        """Return the calls that inputs of this call made."""
        ...

    def statuses(self, call_id: str) -> list[Status]:
        """Return the status of each known input of a call, by index."""
        ...

    def dead_letters(self, *, limit: int, call_id: str | None = None) -> list[DeadLetter]:
        """Return inputs of durable calls that ended by a failure and were not buried.

        Those of the latest calls come first. They go when the call's outcomes expire.
        """
        ...

    def bury(self, call_id: str, indices: Sequence[int]) -> None:
        """Make inputs dead letters no more; their outcomes stay. Idempotent."""
        ...

    def forget(self, call_id: str) -> None:
        """Delete a call that needs no more reading: everything of it is delivered or unwanted.

        Unfinished inputs are deleted with it.
        """
        ...

    def expire(self, now: float, retention: float) -> list[str]:
        """Drop the outcomes of calls that finished `retention` seconds ago; return their ids.

        The call itself stays known as expired (all `outcomes` gone) for another retention.
        """
        ...

    def counts(self, pool: str) -> PoolCounts:
        """Return a pool's exact counts."""
        ...

    def pools(self) -> list[str]:
        """Return the pools that have unfinished inputs."""
        ...

    def next_due(self, now: float) -> float | None:
        """Return when the next delayed input or deadline is due, as wall time; None without one."""
        ...

    def commit(self) -> None:
        """Make all writes so far survive the death of this process.

        Raises:
            ResourceExhaustedError: The disk is full; the writes since the last commit are undone.
        """
        ...

    def sync(self) -> None:
        """Make all committed writes survive a power cut. May be called from another thread."""
        ...

    def close(self) -> None:
        """Give the store back; what is not committed is lost. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class RevisionSpec:
    """One immutable version of an App, as its client declared it."""

    #: digest of the source bundle
    bundle: str
    #: name under which the user's module is imported
    module: str
    functions: tuple[FunctionSpec, ...]
    #: path of the Python that runs it, and further directories that it imports from
    interpreter: str
    import_paths: tuple[str, ...] = ()
    #: `3.11.7`, for messages
    python_version: str = ""
    #: free-form facts for the history: commit, user, cloudfn version, tag
    labels: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `from_json`."""
        return {
            "bundle": self.bundle,
            "module": self.module,
            "functions": [spec.to_json() for spec in self.functions],
            "interpreter": self.interpreter,
            "import_paths": list(self.import_paths),
            "python_version": self.python_version,
            "labels": dict(self.labels),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RevisionSpec:
        """Return the spec that `to_json` wrote."""
        return cls(
            bundle=data["bundle"],
            module=data["module"],
            functions=tuple(FunctionSpec.from_json(spec) for spec in data["functions"]),
            interpreter=data["interpreter"],
            import_paths=tuple(data.get("import_paths", ())),
            python_version=data.get("python_version", ""),
            labels=tuple(sorted(data.get("labels", {}).items())),
        )


@dataclass(frozen=True, slots=True)
class AppRecord:
    """One App of an environment."""

    app_id: str
    name: str
    #: ephemeral | detached | deployed | stopped
    state: str
    #: number of the live revision; counts from 1
    revision: int
    created: float
    stopped: float | None = None
    #: the user's own marks
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RevisionRecord:
    """One revision in an App's history."""

    app_id: str
    number: int
    spec: RevisionSpec
    created: float
    #: the number that it rolled back to; None for a deploy
    rollback_of: int | None = None


@dataclass(frozen=True, slots=True)
class FunctionRecord:
    """One Function of an App, or a variant of one: an identity that stays over revisions."""

    function_id: str
    app_id: str
    #: that of the function, for its variants as well
    name: str
    variant: Variant | None = None

    @property
    def shown(self) -> str:
        """Its name for people."""
        return shown_name(self.name) if self.variant is None else self.variant.shown(self.name)


@dataclass(frozen=True, slots=True)
class Override:
    """A dynamic change of a function's autoscaler settings; lives until the next real deploy."""

    changes: tuple[tuple[str, int | None], ...]
    #: grows with each update; compare-and-set
    version: int
    updated: float
    updated_by: str


class Catalog(Protocol):
    """The durable truth about apps, revisions, functions and overrides (small and rarely written).

    Every write is durable when the method returns.
    """

    def create_app(self, name: str, state: str, spec: RevisionSpec, now: float) -> AppRecord:
        """Register an app with its first revision.

        Raises:
            AlreadyExistsError: A deployed app of that name lives.
        """
        ...

    def add_revision(
        self, app_id: str, spec: RevisionSpec, now: float, *, rollback_of: int | None = None
    ) -> RevisionRecord:
        """Append a revision and make it live."""
        ...

    def stop_app(self, app_id: str, now: float) -> None:
        """Mark the app stopped. Idempotent."""
        ...

    def set_state(self, app_id: str, state: str) -> None:
        """Change the state of a live app, e.g. ephemeral → detached."""
        ...

    def set_tags(self, app_id: str, tags: Mapping[str, str]) -> None:
        """Replace the tags of a live app."""
        ...

    def forget_app(self, app_id: str) -> None:
        """Delete a stopped ephemeral app with everything of it. Idempotent."""
        ...

    def app(self, app_id: str) -> AppRecord | None:
        """Return an app by id."""
        ...

    def deployed(self, name: str) -> AppRecord | None:
        """Return the live deployed app of that name."""
        ...

    def apps(self, *, stopped: bool = False) -> list[AppRecord]:
        """Return live apps, with `stopped` those too, the newest first."""
        ...

    def revisions(self, app_id: str) -> list[RevisionRecord]:
        """Return an app's revisions, oldest first."""
        ...

    def revision(self, app_id: str, number: int) -> RevisionRecord | None:
        """Return one revision."""
        ...

    def functions(self, app_id: str) -> list[FunctionRecord]:
        """Return the functions of the app's live revision."""
        ...

    def function(self, function_id: str) -> FunctionRecord | None:
        """Return a function by id."""
        ...

    def bind(self, function_id: str, variant: Variant) -> FunctionRecord:
        """Register a variant of a function. Idempotent.

        Raises:
            NotFoundError: There is no such function.
        """
        ...

    def variants(self, app_id: str) -> list[FunctionRecord]:
        """Return the variants of the functions of the app's live revision."""
        ...

    def override(self, function_id: str) -> Override | None:
        """Return the override in force."""
        ...

    def set_override(
        self,
        function_id: str,
        changes: dict[str, int | None],
        *,
        expected: int,
        now: float,
        by: str,
    ) -> Override:
        """Replace the override if its version is `expected` (0: none yet); raises ConflictError."""
        ...

    def clear_overrides(self, app_id: str) -> None:
        """Drop all overrides of an app's functions."""
        ...

    def close(self) -> None:
        """Give the store back. Idempotent."""
        ...


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


class Logs(Protocol):
    """What containers print, by app, container, call and input."""

    def write(self, entry: LogEntry) -> None:
        """Take an entry; it is readable after the next `flush`."""
        ...

    def flush(self) -> None:
        """Make everything written readable."""
        ...

    def read(self, query: LogQuery) -> list[LogEntry]:
        """Return entries in the order of their times. May be called from any thread."""
        ...

    def prune(self, now: float) -> int:
        """Drop what is too old or too much; return how many files."""
        ...


@dataclass(frozen=True, slots=True)
class Provider:
    """A place where work can run: a frozen bundle of ports."""

    name: str
    ledger: Ledger
    catalog: Catalog
    blobs: Blobs
    logs: Logs
    schedules: Schedules
    objects: Objects
    dicts: Dicts
    queues: Queues
    streams: Streams
    secrets: Secrets
    volumes: Volumes


def effective(spec: FunctionSpec, override: Override | None) -> AutoscalerSettings:
    """Return the settings in force: the decorator's with the override on top."""
    if override is None:
        return spec.autoscaler
    return spec.autoscaler.merged(dict(override.changes))
