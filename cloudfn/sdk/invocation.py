"""Carries out `.remote` and `.spawn`: one input, sent and, for `.remote`, waited for."""

from __future__ import annotations

from typing import Any

from cloudfn.model.call import CallKind, Status
from cloudfn.model.terms import Terms
from cloudfn.sdk.calls import Submission, refusal
from cloudfn.sdk.payloads import Packer, failure_of, is_big, result_of
from cloudfn.sdk.target import Target
from cloudfn.sdk.twins import Blocking, Steps
from cloudfn.wire.messages import is_blob

_RETURNED = int(Status.RETURNED)


def call_remote(
    target: Target, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Steps[Any]:
    """Run one input and return its result; raises what it raised.

    Raises:
        ResourceExhaustedError: The function has as many inputs as it may have.
    """
    client = target.client
    welcome = yield from client.ready()
    call = Submission(client, target.function_id, CallKind.REMOTE, target.parent)
    finished = False
    try:
        packer = Packer(target.context, welcome, call.call_id, durable=False, method=target.method)
        call.send([(yield from _packed(packer, args, kwargs))], sealed=True)
        while True:
            yield client.arrival(call.box)
            for outcomes in call.mail():
                status, payload = outcomes.statuses[0], outcomes.payloads[0]
                finished = True
                if is_blob(payload):
                    value = yield Blocking(_ending, status, payload, welcome)
                else:
                    value = _ending(status, payload, welcome)
                client.delivered(call.ref, (0,), now=is_blob(payload))
                if status != _RETURNED:
                    raise value
                return value
            if call.refused:
                raise refusal(name)
    finally:
        call.close(finished=finished)


def call_spawn(
    target: Target,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    terms: Terms | None = None,
) -> Steps[str]:
    """Submit one input so that it would survive a power cut; return the id of its call.

    Raises:
        ResourceExhaustedError: The function has as many waiting inputs as it may have.
    """
    client = target.client
    welcome = yield from client.ready()
    call = Submission(client, target.function_id, CallKind.SPAWN, target.parent, terms=terms)
    try:
        packer = Packer(target.context, welcome, call.call_id, durable=True, method=target.method)
        call.send([(yield from _packed(packer, args, kwargs))], sealed=True)
        while not call.acknowledged:
            yield client.arrival(call.box)
            for _ in call.mail():
                pass
            if call.refused:
                raise refusal(name)
        return call.call_id
    finally:
        call.close(finished=False)


def _packed(packer: Packer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Steps[bytes]:
    if is_big(args, kwargs):
        payload: bytes = yield Blocking(packer.pack, args, kwargs)
        return payload
    return packer.pack_small(args, kwargs)


def _ending(status: int, payload: bytes, welcome: Any) -> Any:
    """Return the result, or the exception to raise."""
    if status == _RETURNED:
        return result_of(payload, welcome)
    return failure_of(status, payload, welcome)
