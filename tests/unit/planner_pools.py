"""Pools and containers as the planner sees them, in the words of its tests."""

from dataclasses import replace
from typing import Any

from cloudfn.control.planner.decide import decide
from cloudfn.control.planner.snapshot import ContainerView, PoolDecision, PoolSnapshot, Snapshot
from cloudfn.model.function import AutoscalerSettings

NOW = 10_000.0
TINY, SHORT, LONG = 10e-6, 0.005, 1.0
ROOMY = 1_000_000


def busy(name: str, running: float = 0.0, **more: Any) -> ContainerView:
    values: dict[str, Any] = {"held": 1, "waiting": False, "last_used": NOW - running}
    return ContainerView(name, ready=True, running=running, **{**values, **more})


def held_up(name: str) -> ContainerView:
    """Its input waits for a nested call."""
    return busy(name, running=0.5, waiting=True)


def leaving(name: str) -> ContainerView:
    return busy(name, draining=True)


def idle(name: str, seconds: float = 0.0) -> ContainerView:
    return ContainerView(name, ready=True, held=0, waiting=False, last_used=NOW - seconds)


def starting(name: str, seconds: float = 0.0) -> ContainerView:
    return ContainerView(name, ready=False, held=0, waiting=False, last_used=NOW - seconds)


def several(kind: Any, count: int, *args: Any) -> tuple[ContainerView, ...]:
    return tuple(kind(f"{kind.__name__}-{number:03}", *args) for number in range(count))


def a_pool(*containers: ContainerView, waiting: int = 0, **more: Any) -> PoolSnapshot:
    settings = {
        name: more.pop(name) for name in tuple(more) if name in AutoscalerSettings.__slots__
    }
    values: dict[str, Any] = {
        "pool": "fu-1@1",
        "settings": AutoscalerSettings(**settings),
        "live": True,
        "service": None,
        "start_time": 0.05,
        "last_active": float("-inf"),
        "cpu": 0.125,
        "memory": 128,
    }
    return PoolSnapshot(**{**values, "waiting": waiting, "containers": containers, **more})


def seen(*pools: PoolSnapshot, cores: float = ROOMY, memory: int = ROOMY) -> Snapshot:
    return Snapshot(NOW, pools, cores, memory)


def decided(pool: PoolSnapshot, cores: float = ROOMY, memory: int = ROOMY) -> PoolDecision:
    (decision,) = decide(seen(pool, cores=cores, memory=memory))
    return decision


def carried_out(
    snapshot: Snapshot, decisions: tuple[PoolDecision, ...], *, gone: bool = True
) -> Snapshot:
    """What there is when the decisions are carried out; `gone`: idle ones have left already."""
    pools = []
    for pool, decision in zip(snapshot.pools, decisions, strict=True):
        containers = [
            replace(c, draining=True) if c.container_id in decision.stop else c
            for c in pool.containers
            if c.busy or not gone or c.container_id not in decision.stop
        ]
        containers += several(starting, decision.start)
        lowered = snapshot.now if decision.stop else pool.last_lowered
        pools.append(replace(pool, containers=tuple(containers), last_lowered=lowered))
    return replace(snapshot, pools=tuple(pools))
