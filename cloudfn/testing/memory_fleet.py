"""A fleet in memory: machines that boot in their own time, are refused, reclaimed, or die."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import RLock

from cloudfn.clock import Clock
from cloudfn.errors import NotFoundError
from cloudfn.providers.fleet import Grown, Instance, InstanceState, MachineClass

#: states of machines that do not count
_OUT = frozenset({InstanceState.ENDING, InstanceState.WARM})


@dataclass(slots=True)
class _Machine:
    instance: Instance
    #: when it has booted, and when it is gone; None: nobody ends it
    boots_at: float
    gone_at: float | None = None


class MemoryFleet:
    """The `Fleet` port as a dictionary. What no caller does to machines, a test does here.

    Args:
        classes: What there is.
        clock: What time it is; wall time.
        boot: Seconds from asking to a machine whose agent could join.
        shutdown: Seconds that a machine needs to end.
        warm: How many machines of each class are put aside; no others come in their place.
        warm_boot: `boot` of those.
    """

    def __init__(
        self,
        classes: Sequence[MachineClass],
        clock: Clock,
        *,
        boot: float = 0.0,
        shutdown: float = 0.0,
        warm: Mapping[str, int] | None = None,
        warm_boot: float = 0.0,
    ) -> None:
        self._classes = {each.name: each for each in classes}
        self._clock = clock
        self._boot = boot
        self._shutdown = shutdown
        self._warm_boot = warm_boot
        self._machines: dict[str, _Machine] = {}
        self._granted: dict[str, Grown] = {}
        self._refusals: dict[str, tuple[str, int]] = {}
        self._numbers: Counter[str] = Counter()
        self._lock = RLock()
        #: ids in the order in which they were retired
        self.retired: list[str] = []
        for name, count in (warm or {}).items():
            for _ in range(count):
                self._make(name, InstanceState.WARM, clock.wall())

    # ------------------------------------------------------------------------- what a test does

    def refuse(self, machine_class: str, reason: str, left: int = 0) -> None:
        """Let there be but `left` further machines of a class; an empty reason lifts it."""
        with self._lock:
            self._refusals.pop(machine_class, None)
            if reason:
                self._refusals[machine_class] = reason, left

    def change(self, machine_class: str, **facts: object) -> None:
        """Let a class be otherwise, as by `no_growth="…"`."""
        with self._lock:
            self._classes[machine_class] = replace(self._classes[machine_class], **facts)  # type: ignore[arg-type]

    def kill(self, machine_id: str) -> None:
        """Let a machine be gone, without a word."""
        with self._lock:
            self._machines.pop(machine_id, None)

    def hang(self, machine_id: str) -> None:
        """Let a machine never boot."""
        with self._lock:
            self._machines[machine_id].boots_at = float("inf")

    def reclaim(self, machine_id: str, seconds: float = 120.0) -> float:
        """Let the provider take a machine back; return when it is gone."""
        with self._lock:
            self._machines[machine_id].gone_at = until = self._clock.wall() + seconds
            return until

    def booted(self) -> list[Instance]:
        """Return the machines that have booted and are not gone: an agent would run there."""
        now = self._clock.wall()
        with self._lock:
            self._pass()
            return [
                each.instance
                for each in self._machines.values()
                if each.boots_at <= now and each.instance.state not in _OUT
            ]

    # ---------------------------------------------------------------------------------- the port

    def classes(self) -> list[MachineClass]:
        with self._lock:
            return list(self._classes.values())

    def instances(self) -> list[Instance]:
        with self._lock:
            self._pass()
            return [each.instance for each in self._machines.values()]

    def grow(self, machine_class: str, count: int, token: str) -> Grown:
        with self._lock:
            if machine_class not in self._classes:
                raise NotFoundError(f"There is no machine class {machine_class!r}.")
            if token not in self._granted:
                self._granted[token] = self._grow(self._classes[machine_class], max(0, count))
            return self._granted[token]

    def _grow(self, machine_class: MachineClass, count: int) -> Grown:
        self._pass()
        name, now = machine_class.name, self._clock.wall()
        if machine_class.no_growth:
            return Grown(0, refused=machine_class.no_growth)
        alive = sum(
            each.instance.machine_class == name and each.instance.state not in _OUT
            for each in self._machines.values()
        )
        granted, refused = count, ""
        if granted > machine_class.max_machines - alive:
            granted = max(0, machine_class.max_machines - alive)
            refused = f"{name} may have {machine_class.max_machines} machines"
        if name in self._refusals and granted > self._refusals[name][1]:
            refused, granted = self._refusals[name]
        if name in self._refusals:
            self._refusals[name] = self._refusals[name][0], self._refusals[name][1] - granted
        warm = [
            each
            for each in self._machines.values()
            if each.instance.machine_class == name and each.instance.state == InstanceState.WARM
        ][:granted]
        for each in warm:
            each.instance = replace(each.instance, state=InstanceState.PENDING, launched=now)
            each.boots_at = now + self._warm_boot
        made = [each.instance.machine_id for each in warm]
        made += [self._make(name, InstanceState.PENDING, now) for _ in range(granted - len(warm))]
        return Grown(granted, tuple(made), refused)

    def _make(self, name: str, state: InstanceState, now: float) -> str:
        self._numbers[name] += 1
        machine_id = f"{name}-{self._numbers[name]}"
        instance = Instance(machine_id, name, state, "z1", now)
        self._machines[machine_id] = _Machine(instance, now + self._boot)
        return machine_id

    def retire(self, machine_ids: Sequence[str]) -> None:
        with self._lock:
            for machine_id in machine_ids:
                machine = self._machines.get(machine_id)
                if machine is None or machine.instance.state in _OUT:
                    continue
                machine.instance = replace(machine.instance, state=InstanceState.ENDING)
                machine.gone_at = self._clock.wall() + self._shutdown
                self.retired.append(machine_id)

    def prepared(self, machine_id: str) -> None:
        pass

    def joined(self, machine_id: str) -> None:
        with self._lock:
            machine = self._machines.get(machine_id)
            if machine is not None and machine.instance.state == InstanceState.PENDING:
                machine.instance = replace(machine.instance, state=InstanceState.IN_SERVICE)

    def hold(self, machine_id: str) -> bool:
        with self._lock:
            self._pass()
            machine = self._machines.get(machine_id)
            if machine is None or machine.instance.state != InstanceState.ENDING:
                return False
            machine.gone_at = self._clock.wall() + self._shutdown
            return True

    def drained(self, machine_id: str) -> None:
        with self._lock:
            machine = self._machines.get(machine_id)
            if machine is not None and machine.instance.state == InstanceState.ENDING:
                machine.gone_at = self._clock.wall()

    def _pass(self) -> None:
        now = self._clock.wall()
        for machine_id, machine in list(self._machines.items()):
            if machine.gone_at is not None and machine.gone_at <= now:
                del self._machines[machine_id]
