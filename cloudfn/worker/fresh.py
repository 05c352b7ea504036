"""Replaces this process's program by a fresh interpreter, and hands a state over to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from cloudfn.wire.messages import decode_json, encode_json
from cloudfn.worker.loader import OUR_ROOT

# Not `-m`: the path has to be right before the first import of ours.
_START = (
    "import sys; sys.path[:] = {path!r}; "
    "from cloudfn.worker.__main__ import main; main(sys.argv[1:])"
)


def become(
    role: str,
    state: dict[str, Any],
    *,
    path: Sequence[str],
    env: Mapping[str, str],
    keep: Iterable[int],
) -> NoReturn:
    """Replace this process's program.

    Args:
        role: The command-line option that names what it becomes.
        state: Plain data; `inherited` returns it there.
        path: Its `sys.path`.
        env: Its whole environment.
        keep: Descriptors that stay open beside 0, 1 and 2.
    """
    memory = os.memfd_create("cloudfn-state")
    with open(memory, "wb", closefd=False) as file:
        file.write(encode_json(state))
    for descriptor in (memory, *keep):
        os.set_inheritable(descriptor, True)  # noqa: FBT003
    where = [*path] if OUR_ROOT in path else [*path, OUR_ROOT]
    command = [sys.executable, "-P", "-c", _START.format(path=where), role, str(memory)]
    os.execve(sys.executable, command, dict(env))


def inherited(descriptor: int, names: Iterable[str] = ()) -> dict[str, Any]:
    """Return the state that `become` was given, and close the descriptor.

    Args:
        descriptor: Where it lies.
        names: Fields that hold descriptors, which from here on are not inherited any more.
    """
    with open(descriptor, "rb") as file:
        file.seek(0)
        state = decode_json(file.read())
    for name in names:
        os.set_inheritable(state[name], False)  # noqa: FBT003
    return state
