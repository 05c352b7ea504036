"""How many containers each pool should have. Pure: the same snapshot gives the same decisions.

desired = clamp(max(min, need + (buffer if active)), …, max), at once on the way up. `need` counts
only work that will still be there when a new container would be ready. On the way down, idle
containers leave after `scaledown_window`, or early when there are clearly too many of them.
Pools that together ask for more than the machine get equal shares of it (max-min fairness).
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, sqrt

from cloudfn.control.planner.snapshot import ContainerView, PoolDecision, PoolSnapshot, Snapshot

#: no container is taken to start faster than this, in seconds
START_FLOOR = 0.02
#: an idle container beyond the comfortable number is kept this part of the window
EARLY_PART = 0.25
EARLY_FLOOR = 2.0
#: seconds between two early releases, each of at most half of the idle containers
EARLY_PAUSE = 5.0


def decide(snapshot: Snapshot) -> tuple[PoolDecision, ...]:
    """Decide for all pools."""
    wishes = [_wish(pool, snapshot) for pool in snapshot.pools]
    granted = _share(snapshot, [wish.desired for wish in wishes])
    return tuple(
        _carry_out(pool, _limit(wish, grant), snapshot.now)
        for pool, wish, grant in zip(snapshot.pools, wishes, granted, strict=True)
    )


def need(pool: PoolSnapshot, cores: float) -> int:
    """Return how many containers the pool's present work keeps busy."""
    serving = [c for c in pool.containers if not c.draining]
    busy = sum(c.busy for c in serving)
    if pool.waiting == 0:
        return busy
    arriving = sum(not c.ready for c in serving)
    hands = len(serving)
    start = max(pool.start_time, START_FLOOR)
    service = max(pool.service or 0.0, pool.longest)
    if service == 0.0:
        # Nothing has finished and nothing has run for long: as many as can compute at once.
        return max(hands, min(busy + pool.waiting, ceil(cores)))
    left = pool.waiting - arriving - (hands - arriving) * start / service
    if left <= 0:
        return max(busy, min(hands, busy + pool.waiting))
    # A new container must find at least its own start time's worth of work.
    return hands + ceil(left * service / max(start, service))


def _wish(pool: PoolSnapshot, snapshot: Snapshot) -> PoolDecision:
    settings = pool.settings
    current = sum(not c.draining for c in pool.containers)
    needed = need(pool, snapshot.cores)
    busy = sum(c.busy for c in pool.containers if not c.draining)
    desired, limiting = needed, "need"
    reason = f"{pool.waiting} waiting and {busy} busy need {needed}"
    if pool.live and settings.buffer_containers and _active(pool, snapshot.now):
        desired += settings.buffer_containers
        limiting, reason = "buffer", f"{reason}, buffer of {settings.buffer_containers}"
    if pool.live and desired < settings.min_containers:
        desired = settings.min_containers
        limiting, reason = "min", f"{reason}, min {settings.min_containers}"
    if settings.max_containers is not None and desired > settings.max_containers:
        desired = settings.max_containers
        limiting, reason = "max", f"{reason}, max {settings.max_containers}"
    if desired > current and snapshot.now < pool.blocked_until:
        wait = pool.blocked_until - snapshot.now
        desired, limiting = current, "backoff"
        reason = f"{reason}, but starts failed: next try in {wait:.1f}s"
    return PoolDecision(pool.pool, current, desired, 0, (), limiting, reason)


def _active(pool: PoolSnapshot, now: float) -> bool:
    if pool.waiting or any(c.busy for c in pool.containers):
        return True
    return now - pool.last_active < pool.settings.scaledown_window


def _share(snapshot: Snapshot, desired: list[int]) -> list[int]:
    """Return how many containers each pool may have: everybody one, then by equal shares."""
    granted = [min(1, want) for want in desired]
    free = snapshot.cores - sum(
        pool.cpu * grant for pool, grant in zip(snapshot.pools, granted, strict=True)
    )
    room = snapshot.memory - sum(
        pool.memory * grant for pool, grant in zip(snapshot.pools, granted, strict=True)
    )
    # A container whose input waits for a nested call computes nothing: its share is free.
    free += sum(pool.cpu * sum(c.waiting for c in pool.containers) for pool in snapshot.pools)
    hungry = [i for i, want in enumerate(desired) if want > granted[i]]
    while hungry:
        hungry.sort(key=lambda i: granted[i] * snapshot.pools[i].cpu)
        poorest = hungry[0]
        pool = snapshot.pools[poorest]
        if pool.cpu > free + 1e-9 or pool.memory > room:
            hungry.pop(0)
            continue
        granted[poorest] += 1
        free -= pool.cpu
        room -= pool.memory
        if granted[poorest] >= desired[poorest]:
            hungry.pop(0)
    return [
        max(grant, _unblocking(pool, want))
        for pool, want, grant in zip(snapshot.pools, desired, granted, strict=True)
    ]


def _unblocking(pool: PoolSnapshot, desired: int) -> int:
    """Return the containers that a pool needs so that a chain of waiting parents goes on."""
    serving = [c for c in pool.containers if not c.draining]
    stuck = bool(serving) and all(c.waiting for c in serving)
    return min(desired, len(serving) + 1) if stuck and pool.waiting else 0


def _limit(wish: PoolDecision, grant: int) -> PoolDecision:
    if wish.desired <= grant:
        return wish
    reason = f"{wish.reason}, the machine has room for {grant}"
    return replace(wish, desired=grant, limiting="machine", reason=reason)


def _carry_out(pool: PoolSnapshot, wish: PoolDecision, now: float) -> PoolDecision:
    surplus = wish.current - wish.desired
    if surplus < 0:
        return replace(wish, start=-surplus)
    if surplus == 0:
        return wish
    serving = [c for c in pool.containers if not c.draining]
    if wish.limiting in ("machine", "max") or not pool.live:
        # Someone else waits for this room, or the user wants fewer: now, the least useful first.
        return replace(wish, stop=_least_useful(serving, surplus))
    stop, limiting = _overdue(pool, serving, surplus, now)
    if not stop:
        return replace(wish, desired=wish.current)
    kept = wish.current - len(stop)
    reason = f"{len(stop)} idle, {wish.reason}"
    return replace(wish, desired=kept, stop=stop, limiting=limiting, reason=reason)


def _least_useful(serving: list[ContainerView], count: int) -> tuple[str, ...]:
    ranked = sorted(serving, key=lambda c: (c.busy, c.waiting, c.last_used))
    return tuple(c.container_id for c in ranked[:count])


def _overdue(
    pool: PoolSnapshot, serving: list[ContainerView], surplus: int, now: float
) -> tuple[tuple[str, ...], str]:
    """Return the idle containers whose time is over, longest idle first, and the rule that says so."""
    window = pool.settings.scaledown_window
    idle = sorted((c for c in serving if c.ready and not c.busy), key=lambda c: c.last_used)
    expired = tuple(c.container_id for c in idle if now - c.last_used >= window)[:surplus]
    if expired:
        return expired, "window"
    if now - pool.last_lowered < EARLY_PAUSE:
        return (), "steady"
    busy = len(serving) - len(idle)
    comfortable = pool.settings.buffer_containers + ceil(sqrt(busy)) + 1
    spare = min(surplus, len(idle) - comfortable, ceil(len(idle) / 2))
    grace = max(EARLY_FLOOR, EARLY_PART * window)
    early = tuple(c.container_id for c in idle[: max(0, spare)] if now - c.last_used >= grace)
    return early, "early" if early else "steady"
