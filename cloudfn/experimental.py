"""Modal's `experimental`: what code in a container may ask of it."""

from __future__ import annotations

from typing import Any, NoReturn

from cloudfn.errors import InvalidError, UnimplementedError
from cloudfn.wire.current import Controls, current

__all__ = [
    "clustered",
    "get_cluster_info",
    "get_local_input_concurrency",
    "set_local_input_concurrency",
    "stop_fetching_inputs",
]


def get_local_input_concurrency() -> int:
    """Return the most inputs that this container runs at once now; 0 outside of one."""
    return 0 if current.controls is None else current.controls.concurrency


def set_local_input_concurrency(concurrency: int) -> None:
    """Have this container run that many inputs at once from now on; those that run go on.

    Raises:
        InvalidError: This is no container, or one whose function is not concurrent, or the number
            is below 1.
    """
    _controls().set_concurrency(concurrency)


def stop_fetching_inputs() -> None:
    """Have this container take no further inputs, and leave when those that run have ended.

    Raises:
        InvalidError: This is no container.
    """
    _controls().stop_intake()


def clustered(*_: Any, **__: Any) -> NoReturn:
    """Raise UnimplementedError: there are no clusters."""
    raise UnimplementedError("`cloudfn.experimental.clustered` does not exist here.", hint=_ALONE)


def get_cluster_info() -> NoReturn:
    """Raise UnimplementedError: there are no clusters."""
    raise UnimplementedError(
        "`cloudfn.experimental.get_cluster_info` does not exist here.", hint=_ALONE
    )


_ALONE = "Use `.map` or `.spawn` on a Function; its containers can reach one another here."


def _controls() -> Controls:
    if current.controls is None:
        raise InvalidError(
            "This must be called in a container.", hint="Call it in a function that runs remotely."
        )
    return current.controls
