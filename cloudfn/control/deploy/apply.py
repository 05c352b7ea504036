"""Carries out a Plan on a catalog and the pools; doing it again comes to the same end. Thin I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cloudfn.control.deploy.plan import (
    AddRevision,
    ClearOverrides,
    CreateApp,
    DeployedApp,
    DeployRequest,
    Nothing,
    Plan,
    Request,
    Step,
    StopApp,
    SwitchPools,
    unchanged,
)
from cloudfn.errors import NotFoundError
from cloudfn.providers.catalog import AppRecord, Catalog, overtaken


class PoolSwitch(Protocol):
    """What a deploy needs of whoever runs the pools. Both methods are idempotent."""

    def switch(self, app_id: str, revision: int, strategy: str) -> None:
        """Send new inputs to a revision's pools, end those of others: `rolling` or `recreate`."""
        ...

    def stop(self, app_id: str) -> None:
        """End all pools of an app at once and cancel its unfinished inputs."""
        ...


@dataclass(frozen=True, slots=True)
class DeployResult:
    """How an app stands after its plan was carried out."""

    app: AppRecord
    #: False for a deploy that found everything as it should be
    changed: bool


def observe(catalog: Catalog, request: Request) -> DeployedApp | None:
    """Return the live app that a request is about, as plans need it; None: there is none yet.

    Raises:
        NotFoundError: It is about an app that is not known by name and does not run any more.
    """
    if not isinstance(request, DeployRequest) or request.state == "deployed":
        deployed = catalog.deployed(request.name)
        return None if deployed is None else _observe(catalog, deployed)
    if request.app_id is None:
        return None
    app = catalog.app(request.app_id)
    if app is None or app.state in ("deployed", "stopped"):
        raise NotFoundError(
            f"The app {request.app_id} does not run any more.", hint="Run it again."
        )
    return _observe(catalog, app)


def _observe(catalog: Catalog, app: AppRecord) -> DeployedApp:
    overrides = [(f.name, catalog.override(f.function_id)) for f in catalog.functions(app.app_id)]
    in_force = tuple((name, override) for name, override in overrides if override is not None)
    bound = [(v, catalog.override(v.function_id)) for v in catalog.variants(app.app_id)]
    variants = tuple((variant, override) for variant, override in bound if override is not None)
    return DeployedApp(app, tuple(catalog.revisions(app.app_id)), in_force, variants)


def apply(plan: Plan, catalog: Catalog, pools: PoolSwitch, now: float) -> DeployResult:
    """Carry out a plan.

    Applied again, it finds its steps done, except that a plan for an app without a name to be
    known by (ephemeral, detached) makes another app each time.

    Args:
        plan: What to do; made from what `observe` returned.
        catalog: Where apps are registered.
        pools: Where inputs are sent to.
        now: Seconds since the epoch.

    Raises:
        ConflictError: Someone else deployed the app since the plan was made.
        NotFoundError: The app is gone.
    """
    app_id = ""
    for step in plan.steps:
        app_id = _do(step, app_id, catalog, pools, now)
    app = catalog.app(app_id)
    if app is None:
        raise NotFoundError(
            f"The app {plan.app!r} ({app_id}) is gone.",
            hint="It was stopped meanwhile; deploy it again.",
        )
    return DeployResult(app, plan.changed)


def close(app_id: str, catalog: Catalog, pools: PoolSwitch, now: float) -> None:
    """Stop an app that is not deployed, and forget it. Idempotent.

    Args:
        app_id: The app; one that is deployed or gone is left as it is.
        catalog: Where apps are registered.
        pools: Where inputs are sent to.
        now: Seconds since the epoch.
    """
    record = catalog.app(app_id)
    if record is None or record.state in ("deployed", "stopped"):
        return
    pools.stop(app_id)
    catalog.stop_app(app_id, now)
    catalog.forget_app(app_id)


def _do(step: Step, app_id: str, catalog: Catalog, pools: PoolSwitch, now: float) -> str:
    """Carry out one step; return the id of the app that the plan is about."""
    match step:
        case Nothing():
            return step.app_id
        case CreateApp():
            return _create(step, catalog, now)
        case ClearOverrides():
            _clear(step, catalog)
            return step.app_id
        case AddRevision():
            _add(step, catalog, now)
            return step.app_id
        case SwitchPools():
            pools.switch(app_id, step.number, step.strategy)
            return app_id
        case StopApp():
            # The record first: an engine that dies in between does not bring the app back.
            catalog.stop_app(step.app_id, now)
            pools.stop(step.app_id)
            return step.app_id


def _create(step: CreateApp, catalog: Catalog, now: float) -> str:
    existing = catalog.deployed(step.name) if step.state == "deployed" else None
    if existing is None:
        return catalog.create_app(step.name, step.state, step.spec, now).app_id
    first = catalog.revision(existing.app_id, 1)
    if existing.revision != 1 or first is None or not unchanged(first.spec, step.spec):
        raise overtaken(step.name)
    return existing.app_id


def _clear(step: ClearOverrides, catalog: Catalog) -> None:
    app = catalog.app(step.app_id)
    # What was set since the new revision is live is meant for that one.
    if app is not None and app.revision == step.number:
        catalog.clear_overrides(step.app_id)


def _add(step: AddRevision, catalog: Catalog, now: float) -> None:
    app = catalog.app(step.app_id)
    if app is None:
        raise NotFoundError(
            f"The app {step.app_id} is gone.", hint="It was stopped meanwhile; deploy it again."
        )
    if app.revision == step.number - 1:
        catalog.add_revision(
            step.app_id, step.spec, now, rollback_of=step.rollback_of, number=step.number
        )
        return
    there = catalog.revision(step.app_id, step.number) if app.revision == step.number else None
    if (
        there is None
        or there.rollback_of != step.rollback_of
        or not unchanged(there.spec, step.spec)
    ):
        raise overtaken(app.name)
