"""What a deploy, a rollback or a stop will do, as data: a Plan of Steps. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cloudfn.errors import InvalidError, NotFoundError
from cloudfn.model.cls import shown_name
from cloudfn.model.function import FunctionSpec
from cloudfn.model.variant import Variant, served
from cloudfn.providers.catalog import (
    AppRecord,
    FunctionRecord,
    Override,
    RevisionRecord,
    RevisionSpec,
    effective,
)

#: rolling: old containers finish their inputs; recreate: they end at once, their inputs run again
STRATEGIES = ("rolling", "recreate")


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """Make this the live revision of the app of that name."""

    name: str
    spec: RevisionSpec
    #: deployed | ephemeral | detached; only deployed apps are known by name
    state: str = "deployed"
    strategy: str = "rolling"
    #: dynamic settings survive although something changes
    keep_overrides: bool = False
    #: of an app that is not known by name, and runs already
    app_id: str | None = None

    def __post_init__(self) -> None:
        _check_strategy(self.strategy)


@dataclass(frozen=True, slots=True)
class RollbackRequest:
    """Make an earlier revision live again, as a new one."""

    name: str
    #: the number to go back to; None: the one before
    number: int | None = None
    strategy: str = "rolling"

    def __post_init__(self) -> None:
        _check_strategy(self.strategy)


@dataclass(frozen=True, slots=True)
class RolloverRequest:
    """Make the live revision live again, as a new one: its containers are replaced."""

    name: str
    strategy: str = "rolling"

    def __post_init__(self) -> None:
        _check_strategy(self.strategy)


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Stop the app of that name."""

    name: str


@dataclass(frozen=True, slots=True)
class DeployedApp:
    """A live app as it is."""

    app: AppRecord
    #: all its revisions, the oldest first
    history: tuple[RevisionRecord, ...]
    #: names of functions and the overrides in force
    overrides: tuple[tuple[str, Override], ...] = ()
    #: variants of its functions and the overrides in force
    variants: tuple[tuple[FunctionRecord, Override], ...] = ()

    @property
    def live(self) -> RevisionRecord:
        """The live revision."""
        return next(r for r in reversed(self.history) if r.number == self.app.revision)


@dataclass(frozen=True, slots=True)
class Nothing:
    """The app is as it should be."""

    app_id: str
    number: int

    @property
    def sentence(self) -> str:
        """What the step does."""
        return f"Nothing to do: version {self.number} is live and unchanged."


@dataclass(frozen=True, slots=True)
class CreateApp:
    """Register a new app with its first revision."""

    name: str
    state: str
    spec: RevisionSpec

    @property
    def sentence(self) -> str:
        """What the step does."""
        kind = "app" if self.state == "deployed" else f"{self.state} app"
        names = tuple(function.name for function in self.spec.functions)
        return f"Create the {kind} {self.name!r} with {_listed('function', names)}."


@dataclass(frozen=True, slots=True)
class ClearOverrides:
    """Drop the dynamic settings of all functions."""

    app_id: str
    #: the revision that they were made for
    number: int
    #: names of the functions that have some
    functions: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What the step does."""
        return f"Drop the dynamic settings of {_listed('function', self.functions)}."


@dataclass(frozen=True, slots=True)
class AddRevision:
    """Append a revision and make it live."""

    app_id: str
    #: the number that it will have
    number: int
    spec: RevisionSpec
    rollback_of: int | None = None
    #: names of functions, for display
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What the step does."""
        what = f"Add version {self.number}"
        if self.rollback_of is not None:
            what += f", which is version {self.rollback_of} again"
        groups = (("new", self.added), ("changed", self.changed), ("gone", self.removed))
        parts = [f"{word}: {', '.join(map(shown_name, names))}" for word, names in groups if names]
        return f"{what} ({'; '.join(parts)})." if parts else f"{what}."


@dataclass(frozen=True, slots=True)
class SwitchPools:
    """Send new inputs to the pools of a revision, and end those of the others."""

    number: int
    strategy: str
    #: nothing ran before
    first: bool = False

    @property
    def sentence(self) -> str:
        """What the step does."""
        if self.first:
            return f"Send inputs to version {self.number}."
        if self.strategy == "recreate":
            return (
                f"Send new inputs to version {self.number}; end the other containers at once "
                "and run their inputs again."
            )
        return (
            f"Send new inputs to version {self.number}; the other containers finish what they have."
        )


@dataclass(frozen=True, slots=True)
class StopApp:
    """End the app: its containers, its waiting inputs, its name."""

    app_id: str
    name: str

    @property
    def sentence(self) -> str:
        """What the step does."""
        return f"Stop the app {self.name!r}: end its containers and cancel its inputs."


Step = Nothing | CreateApp | ClearOverrides | AddRevision | SwitchPools | StopApp


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in order; doing them again changes nothing more."""

    app: str
    steps: tuple[Step, ...]

    @property
    def changed(self) -> bool:
        """Whether anything will be done."""
        return not all(isinstance(step, Nothing) for step in self.steps)

    @property
    def revision(self) -> RevisionSpec | None:
        """The revision that it makes live; None where it adds none."""
        added = (step.spec for step in self.steps if isinstance(step, CreateApp | AddRevision))
        return next(added, None)


Request = DeployRequest | RollbackRequest | RolloverRequest | StopRequest


def plan(request: Request, current: DeployedApp | None) -> Plan:
    """Return what a request takes.

    Args:
        request: What is wanted.
        current: The live deployed app of that name; None when there is none.

    Raises:
        NotFoundError: There is no such app or version.
        InvalidError: The revision makes no sense, or not together with overrides to be kept.
    """
    match request:
        case DeployRequest():
            return Plan(request.name, _deploy(request, current))
        case RollbackRequest():
            return Plan(request.name, _rollback(request, _existing(request.name, current)))
        case RolloverRequest():
            return Plan(request.name, _rollover(request, _existing(request.name, current)))
        case StopRequest():
            app = _existing(request.name, current).app
            return Plan(request.name, (StopApp(app.app_id, app.name),))


def keeps_overrides(request: Request) -> bool:
    """Whether what was changed by hand stays, although something changes."""
    if isinstance(request, DeployRequest):
        return request.keep_overrides
    return isinstance(request, RolloverRequest)


def render(plan: Plan) -> str:
    """Return the plan as text for people: one step per line."""
    if not plan.changed:
        return "\n".join(step.sentence for step in plan.steps)
    return "\n".join(f"{n}. {step.sentence}" for n, step in enumerate(plan.steps, 1))


def unchanged(new: RevisionSpec, old: RevisionSpec) -> bool:
    """Whether two revisions run the same; labels and the order of functions do not count."""
    return _comparable(new) == _comparable(old)


def _deploy(request: DeployRequest, current: DeployedApp | None) -> tuple[Step, ...]:
    _check_names(request.spec)
    if current is None:
        create = CreateApp(request.name, request.state, request.spec)
        return create, SwitchPools(1, request.strategy, first=True)
    if unchanged(request.spec, current.live.spec):
        return (Nothing(current.app.app_id, current.app.revision),)
    if request.keep_overrides:
        _check_kept(request.spec, current)
    return _revise(
        current, request.spec, None, request.strategy, keep_overrides=request.keep_overrides
    )


def _rollback(request: RollbackRequest, current: DeployedApp) -> tuple[Step, ...]:
    number = _number_before(current) if request.number is None else request.number
    target = next((r for r in current.history if r.number == number), None)
    if target is None:
        raise NotFoundError(
            f"The app {request.name!r} has no version {number}.",
            hint=f"See `cloudfn app history {request.name}`.",
        )
    return _revise(current, target.spec, number, request.strategy, keep_overrides=False)


def _rollover(request: RolloverRequest, current: DeployedApp) -> tuple[Step, ...]:
    # Nothing changes, so what was changed by hand stays as well.
    return _revise(current, current.live.spec, None, request.strategy, keep_overrides=True)


def _revise(
    current: DeployedApp,
    spec: RevisionSpec,
    rollback_of: int | None,
    strategy: str,
    *,
    keep_overrides: bool,
) -> tuple[Step, ...]:
    app_id, number = current.app.app_id, current.app.revision + 1
    old = {function.name: function for function in current.live.spec.functions}
    new = {function.name: function for function in spec.functions}
    add = AddRevision(
        app_id,
        number,
        spec,
        rollback_of,
        added=tuple(name for name in new if name not in old),
        changed=tuple(name for name in new if name in old and new[name] != old[name]),
        removed=tuple(name for name in old if name not in new),
    )
    switch = SwitchPools(number, strategy)
    if keep_overrides or not (current.overrides or current.variants):
        return add, switch
    # First, because after the revision was added the same deploy is a no-op: whoever is
    # interrupted between the two and tries again must still get rid of the overrides.
    names = [name for name, _ in current.overrides]
    names += [variant.shown for variant, _ in current.variants]
    return ClearOverrides(app_id, current.app.revision, tuple(names)), add, switch


def _number_before(current: DeployedApp) -> int:
    live = current.live
    base = live.number if live.rollback_of is None else live.rollback_of
    earlier = [revision.number for revision in current.history if revision.number < base]
    if not earlier:
        raise NotFoundError(
            f"The app {current.app.name!r} has no version before version {base}.",
            hint=f"Name one of those that `cloudfn app history {current.app.name}` shows.",
        )
    return max(earlier)


def _existing(name: str, current: DeployedApp | None) -> DeployedApp:
    if current is None:
        raise NotFoundError(
            f"No app named {name!r} is deployed.", hint="`cloudfn app list` shows those that are."
        )
    return current


def _comparable(spec: RevisionSpec) -> RevisionSpec:
    functions = tuple(sorted(spec.functions, key=lambda function: function.name))
    return replace(spec, functions=functions, labels=())


def _check_strategy(strategy: str) -> None:
    if strategy not in STRATEGIES:
        raise InvalidError(
            f"There is no strategy {strategy!r}; it is one of {', '.join(STRATEGIES)}."
        )


def _check_names(spec: RevisionSpec) -> None:
    names = [function.name for function in spec.functions]
    for name in names:
        if names.count(name) > 1:
            raise InvalidError(
                f"The app has several functions named {name!r}.",
                hint="Give one of them another name with `name=`.",
            )


def _check_kept(spec: RevisionSpec, current: DeployedApp) -> None:
    """Refuse overrides that make no sense on top of the new settings, before anything is done."""
    overrides = dict(current.overrides)
    functions = {function.name: function for function in spec.functions}
    kept: list[tuple[FunctionSpec, Override | None, Variant | None]] = [
        (function, overrides.get(name), None) for name, function in functions.items()
    ]
    kept += [
        (functions[record.name], override, record.variant)
        for record, override in current.variants
        if record.name in functions
    ]
    for function, override, variant in kept:
        try:
            effective(served(function, variant), override)
        except InvalidError as error:
            name = variant.shown(function.name) if variant else function.name
            raise InvalidError(
                f"The dynamic settings of {name!r} do not fit its new ones: {error.message}",
                hint="Deploy without --keep-overrides, or update the dynamic settings first.",
            ) from error


def _listed(noun: str, names: tuple[str, ...]) -> str:
    if not names:
        return f"no {noun}s"
    return f"{noun}{'' if len(names) == 1 else 's'} {', '.join(map(shown_name, names))}"
