"""Puts the planner of an environment together: as a function of AWS Lambda, or as a process.

A composition root: what `control/` keeps apart meets here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from cloudfn.clock import Clock, SystemClock
from cloudfn.control.deploy.overrides import update_override
from cloudfn.control.invocation.departed import end_departed
from cloudfn.control.invocation.stores import open_stores
from cloudfn.control.planner.environment import EnvironmentPlanner, Options, Tick
from cloudfn.control.planner.janitor import Departed
from cloudfn.control.schedules.firing import Firing
from cloudfn.errors import Error, NotFoundError
from cloudfn.model import ids
from cloudfn.model.variant import served
from cloudfn.providers.base import Cloud, Place
from cloudfn.providers.leadership import Leadership
from cloudfn.providers.registry import open_cloud
from cloudfn.settings import Settings, load

_log = logging.getLogger(__name__)

#: seconds that one invocation plans at most; one of the next minute relieves it before
INVOCATION = 75.0
#: seconds that one of a minute waits for the lead of one before it, which ends a look first
RELIEF = 5.0
#: seconds between two looks, and between two while there is nothing to do or another one leads
PAUSE, LONGER_PAUSE = 1.0, 3.0
#: seconds that are waited in any case
_LEAST = 0.05
#: seconds between two questions in a pause whether somebody called
LISTEN = 0.5


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda's
    """Plan for the environment that CLOUDFN_ENVIRONMENT names: AWS Lambda calls this.

    Args:
        event: `{"source": "schedule", "schedule": …, "due": …}` for what is due;
            `{"source": "minute"}` each minute; else anything.
        context: Of the invocation.
    """
    logging.getLogger().setLevel(logging.INFO)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    settings = load()
    place = Place(settings, ids.mint("pl"), Path(gettempdir()))
    cloud = open_cloud("aws", place)
    try:
        return invoked(cloud, event, place.holder, SystemClock(), settings)
    finally:
        cloud.close()


def invoked(
    cloud: Cloud, event: Mapping[str, Any], holder: str, clock: Clock, settings: Settings
) -> dict[str, Any]:
    """Plan for as long as an invocation may, or until there is nothing to plan for.

    Args:
        cloud: The environment.
        event: Why somebody invokes this.
        holder: Who this is.
        clock: What time it is.
        settings: Of the environment.

    Returns:
        How many looks were taken, and whether there was still something to do.
    """
    firing = Firing(cloud, partial(rescale, cloud))
    if event.get("source") == "schedule":
        # Whoever leads fires it as well, or has fired it: it is one call.
        firing.look(max(clock.wall(), _due(event)))
    if event.get("source") == "minute":
        _relieve(cloud.leadership, clock)
    planner = open_planner(cloud, holder, clock, settings, firing)
    until = clock.monotonic() + INVOCATION
    ticks: list[Tick] = []

    def goes_on(tick: Tick) -> bool:
        ticks.append(tick)
        return tick.active and stays(tick)

    def stays(tick: Tick) -> bool:
        return tick.led and not tick.relieved and clock.monotonic() + PAUSE <= until

    plan(planner, clock, goes_on)
    # Who called between the last look and the end of the lead believes that it was heard.
    while stays(ticks[-1]) and planner.is_called():
        plan(planner, clock, goes_on)
    return {"ticks": len(ticks), "led": ticks[-1].led, "active": ticks[-1].active}


def _relieve(leadership: Leadership, clock: Clock) -> None:
    """Wait for the lead of whoever has it; a process of `cloudfn planner run` keeps it."""
    until = clock.monotonic() + RELIEF
    if leadership.led(clock.wall()):
        leadership.relieve()
    while leadership.led(clock.wall()) and clock.monotonic() < until:
        clock.sleep(LISTEN)


def plan(planner: EnvironmentPlanner, clock: Clock, goes_on: Callable[[Tick], bool]) -> None:
    """Look at an environment each second while there is anything, and when somebody calls.

    Args:
        planner: Who looks.
        clock: Waits in between.
        goes_on: Hears of each look, and says whether to look again. One that failed counts as
            a look of a leader with something to do.
    """
    try:
        while True:
            began = clock.monotonic()
            try:
                tick = planner.tick()
            except Error as error:
                _log.warning("%s", error.message)
                tick = Tick(led=True, active=True)
            except Exception:  # noqa: BLE001 - whatever went wrong, there is a next time
                _log.exception("the planner failed; it goes on")
                tick = Tick(led=True, active=True)
            if not goes_on(tick):
                return
            pause = PAUSE if tick.led and tick.active else LONGER_PAUSE
            _rest(planner, clock, began + pause, listens=tick.led)
    finally:
        try:
            planner.leave()
        except Error as error:
            _log.warning("its lease ends by itself: %s", error.message)


def _rest(planner: EnvironmentPlanner, clock: Clock, until: float, *, listens: bool) -> None:
    """Wait until a monotonic time, or until somebody calls who leads."""
    clock.sleep(_LEAST)
    while (left := until - clock.monotonic()) > 0:
        clock.sleep(min(left, LISTEN))
        if listens and left > LISTEN and planner.is_called():
            return


def open_planner(
    cloud: Cloud, holder: str, clock: Clock, settings: Settings, firing: Firing | None = None
) -> EnvironmentPlanner:
    """Return the planner of an environment.

    Args:
        cloud: The environment.
        holder: Who this is.
        clock: What time it is.
        settings: Of the environment.
        firing: Fires its schedules; made where there is none yet.
    """
    firing = firing or Firing(cloud, partial(rescale, cloud))
    options = Options(keep_alive=settings.keep_alive, retention=settings.retention)
    departed = departing(cloud, settings, clock)
    return EnvironmentPlanner(cloud, holder, clock, firing, departed, options)


def rescale(
    cloud: Cloud, function_id: str, changes: dict[str, int | None], *, by: str, now: float
) -> None:
    """Merge changes onto a function's settings.

    Raises:
        NotFoundError: There is no such function in a live app.
        InvalidError: The settings make no sense then.
        ConflictError: Somebody else changed them at the same time.
    """
    function = cloud.catalog.function(function_id)
    app = cloud.catalog.app(function.app_id) if function is not None else None
    revision = cloud.catalog.revision(app.app_id, app.revision) if app is not None else None
    spec = revision.spec.function(function.name) if revision and function else None
    if function is None or spec is None:
        raise NotFoundError(f"There is no function {function_id}.")
    declared = served(spec, function.variant).autoscaler
    update_override(cloud.catalog, function_id, declared, changes, now=now, by=by)
    with suppress(Error):  # else it is found some seconds later
        cloud.leadership.call(changed=True)


def departing(cloud: Cloud, settings: Settings, clock: Clock) -> Departed:
    """Return what ends that which belongs to clients that are gone."""
    stores = open_stores(cloud, settings, clock)

    def end(now: float) -> None:
        end_departed(cloud, stores, settings.client_grace, now)

    return end


def _due(event: Mapping[str, Any]) -> float:
    """Return when an event was due: seconds since the epoch, or as EventBridge writes it."""
    due = event.get("due", 0.0)
    if isinstance(due, str):
        try:
            return datetime.fromisoformat(due).timestamp()
        except ValueError:
            return 0.0
    return float(due)
