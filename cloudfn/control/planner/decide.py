"""How many containers each pool should have. Pure: the same snapshot gives the same decisions.

    desired = min(max(min, need + (buffer if active)), max)

at once on the way up. On the way down, idle containers leave after `scaledown_window`, or early
when there are clearly too many of them; starting ones are never called off, but for max. What a
decision makes so is not decided again. `need.py` says what the work needs, `room.py` who gets how
much of a machine that is too small for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

from cloudfn.control.planner.need import need
from cloudfn.control.planner.room import (
    Ask,
    Stops,
    current,
    least_useful,
    make_room,
    serving,
    starts,
    targets,
)
from cloudfn.control.planner.snapshot import ContainerView, PoolDecision, PoolSnapshot, Snapshot

#: an idle container beyond the comfortable number is kept this part of the window
EARLY_PART = 0.25
EARLY_FLOOR = 2.0
#: seconds between two early releases, each of at most half of the idle containers
EARLY_PAUSE = 5.0


@dataclass(frozen=True, slots=True)
class _Wish:
    """What one pool asks for when it looks at nobody else, and why."""

    ask: Ask
    limiting: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Release:
    """Which containers of a pool have had their time, by which rule, and why."""

    stop: tuple[str, ...] = ()
    limiting: str = "window"
    reason: str = ""


def decide(snapshot: Snapshot) -> tuple[PoolDecision, ...]:
    """Decide for all pools."""
    now = snapshot.now
    wishes = [_wish(pool, snapshot.cores, now) for pool in snapshot.pools]
    asks = [wish.ask for wish in wishes]
    goals, places = targets(snapshot, asks)
    releases = [_release(pool, goal, now) for pool, goal in zip(snapshot.pools, goals, strict=True)]
    stops: Stops = [release.stop for release in releases]
    further = make_room(snapshot, goals, stops, places)
    counts, devices = starts(snapshot, asks, goals, places)
    columns = (snapshot.pools, wishes, goals, releases, further, counts, devices)
    return tuple(
        _decision(*each, refused=number in places.refused)
        for number, each in enumerate(zip(*columns, strict=True))
    )


def _wish(pool: PoolSnapshot, cores: float, now: float) -> _Wish:
    settings = pool.settings
    have = current(pool)
    needed = need(pool, cores)
    minimum = settings.min_containers if pool.live else 0
    buffer = settings.buffer_containers if pool.live and _active(pool, now) else 0
    desired, limiting = needed + buffer, "buffer" if buffer else "need"
    reason = _work(pool, needed)
    if buffer:
        reason += f", buffer of {buffer}"
    if desired < minimum:
        desired, limiting = minimum, "min"
        reason += f", min {minimum}"
    if settings.max_containers is not None and desired > settings.max_containers:
        desired, limiting = settings.max_containers, "max"
        reason += f", max {settings.max_containers}"
    if desired > have and now < pool.blocked_until:
        desired, limiting = have, "backoff"
        reason += f", but starts failed: next try in {pool.blocked_until - now:.1f}s"
    held_up = sum(c.busy and c.waiting for c in pool.containers)
    ask = Ask(
        first=min(desired, held_up + 1),
        minimum=min(desired, minimum),
        needed=min(desired, needed),
        desired=desired,
    )
    return _Wish(ask, limiting, reason)


def _work(pool: PoolSnapshot, needed: int) -> str:
    """Say what there is to do, and how many containers that needs."""
    held = sum(c.held for c in pool.containers)
    if pool.target == 1:
        text = f"{pool.waiting} waiting and {held} busy need {needed}"
    else:
        text = f"{pool.waiting} waiting and {held} running, {pool.target} to a container, "
        text += f"need {needed}"
    if needed < ceil((pool.waiting + held) / pool.target):
        text += _because(pool)
    return text


def _because(pool: PoolSnapshot) -> str:
    """Say why fewer containers are enough than there are inputs."""
    if pool.service is None:
        return " until one has finished"
    if pool.service < 0.001:
        return f" at {pool.service * 1e6:.0f} µs each"
    if pool.service < 1:
        return f" at {pool.service * 1e3:.0f} ms each"
    return f" at {pool.service:.1f} s each"


def _active(pool: PoolSnapshot, now: float) -> bool:
    if pool.waiting or any(c.busy for c in pool.containers):
        return True
    return now - pool.last_active < pool.settings.scaledown_window


def _release(pool: PoolSnapshot, goal: int, now: float) -> _Release:
    """Say which containers go, whatever the other pools do."""
    staying = serving(pool)
    surplus = current(pool) - goal
    release = _retire(staying, surplus) if not pool.live else _overdue(pool, staying, surplus, now)
    limit = pool.settings.max_containers
    over = 0 if limit is None else len(staying) - len(release.stop) - limit
    if over <= 0:
        return release
    left = [c for c in staying if c.container_id not in release.stop]
    return _Release((*release.stop, *least_useful(left, over)), "max")


def _retire(staying: list[ContainerView], surplus: int) -> _Release:
    """Nobody will send a pool new work whose revision is not live: its idle containers go now."""
    idle = [c for c in staying if not c.busy]
    stop = least_useful(idle, min(surplus, len(idle)))
    return _Release(stop, "retired", f"{len(stop)} idle of a revision that is not live")


def _overdue(
    pool: PoolSnapshot, staying: list[ContainerView], surplus: int, now: float
) -> _Release:
    """Say which idle containers have had their time, the longest idle first."""
    window = pool.settings.scaledown_window
    idle = sorted(
        (c for c in staying if c.ready and not c.busy), key=lambda c: (c.last_used, c.container_id)
    )
    expired = tuple(c.container_id for c in idle if now - c.last_used >= window)
    if stop := expired[: max(0, surplus)]:
        return _Release(stop, "window", f"{len(stop)} idle for {window}s")
    if now - pool.last_lowered < EARLY_PAUSE:
        return _Release()
    comfortable = pool.settings.buffer_containers + ceil(sqrt(len(staying) - len(idle))) + 1
    spare = max(0, min(surplus, len(idle) - comfortable, ceil(len(idle) / 2)))
    grace = max(EARLY_FLOOR, EARLY_PART * window)
    stop = tuple(c.container_id for c in idle[:spare] if now - c.last_used >= grace)
    return _Release(stop, "early", f"{len(stop)} of {len(idle)} idle are clearly too many")


def _decision(
    pool: PoolSnapshot,
    wish: _Wish,
    goal: int,
    release: _Release,
    further: tuple[str, ...],
    start: int,
    devices: tuple[tuple[str, ...], ...],
    *,
    refused: bool,
) -> PoolDecision:
    have, stop = current(pool), (*release.stop, *further)
    desired = max(goal, len(serving(pool)) - len(stop))
    limiting, reason = wish.limiting, wish.reason
    if wish.ask.desired > goal and refused:
        limiting, reason = "gpu", f"{reason}, no GPU is free"
        reason += f" for more than {goal}" if goal else ""
        reason += f", {len(further)} make room for others" if further else ""
    elif wish.ask.desired > goal:
        limiting, reason = "machine", f"{reason}, the machine has room for {goal}"
    elif further:
        limiting, reason = "machine", f"{len(further)} idle make room for others, {reason}"
    elif release.stop:
        limiting = release.limiting
        reason = f"{release.reason}, {reason}" if release.reason else reason
    elif desired > goal:
        limiting = "window"
        reason = f"{reason}, idle ones stay for {pool.settings.scaledown_window}s"
    later = max(0, goal - have) - start
    if later and pool.gpu is not None and len(devices) == start:
        limiting, reason = "gpu", f"{reason}, no GPU is free yet for {later} of them"
    elif later:
        reason = f"{reason}, {later} of them when there is room"
    return PoolDecision(pool.pool, have, desired, start, stop, limiting, reason, devices[:start])
