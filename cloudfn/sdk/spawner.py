"""A Function together with when what is spawned may begin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudfn.model.terms import Terms, terms_of
from cloudfn.sdk.target import Target
from cloudfn.sdk.twins import Steps, twin

if TYPE_CHECKING:
    from cloudfn.model.terms import Moment
    from cloudfn.sdk.function import Function
    from cloudfn.sdk.function_call import FunctionCall


class Spawner:
    """What `Function.spawn_with` returns; may be used many times, delays count from each spawn."""

    def __init__(
        self,
        function: Function,
        *,
        delay: Moment | None,
        priority: int | None,
        deadline: Moment | None,
    ) -> None:
        self._function = function
        self._given: dict[str, Any] = {"delay": delay, "priority": priority, "deadline": deadline}
        for name, value in self._given.items():
            terms_of(0.0, **{name: value})

    @twin
    def spawn(self, /, *args: Any, **kwargs: Any) -> Steps[FunctionCall]:
        """Spawn one input; every argument is the function's own."""
        return (yield from self.spawning(args, kwargs))

    @twin
    def spawn_map(
        self, *input_iterators: Any, kwargs: dict[str, Any] | None = None
    ) -> Steps[FunctionCall]:
        """Spawn an input for each item, all with the same terms."""
        terms = yield from self._terms()
        return (yield from self._function.spawning_many(input_iterators, kwargs, terms))

    def spawning(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Steps[FunctionCall]:
        """Spawn one input."""
        terms = yield from self._terms()
        return (yield from self._function.spawning(args, kwargs, terms))

    def _terms(self) -> Steps[Terms]:
        target: Target = yield from self._function.target()
        return terms_of(target.client.clock.wall(), **self._given)
