"""Python values to what stores keep, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cloudfn.sdk.client import Client
from cloudfn.sdk.payloads import Packer, result_of
from cloudfn.sdk.target import pickle_context
from cloudfn.sdk.twins import Blocking, Steps
from cloudfn.wire import codec
from cloudfn.wire.messages import is_blob
from cloudfn.wire.texts import from_text, to_text

#: folders of this name and a request's id are where the engine takes big values from
_UPLOADS = "results-"
#: bytes of small values in one message, beyond which all but the smallest go into blobs
_ROOM = 8 << 20
_SMALLEST = 1 << 10


def packed_key(key: Any) -> str:
    """Return a key as text: keys are equal when their pickles are."""
    return to_text(codec.dumps(key, pickle_context(None), "the key"))


def read_key(text: str) -> Any:
    """Return a key from its text."""
    return codec.loads(from_text(text), "the key")


def packed(engine: Client, request: str, values: Iterable[Any], what: str) -> Steps[list[str]]:
    """Return values as text, big ones in blobs that wait for the request of this id.

    Raises:
        SerializationError: A value cannot be pickled.
        ResourceExhaustedError: There is no room for a big one.
    """
    welcome = yield from engine.ready()
    packer = Packer(pickle_context(None), welcome, f"{_UPLOADS}{request}", durable=False)
    texts: list[str] = yield Blocking(_packed, packer, list(values), what)
    return texts


def _packed(packer: Packer, values: list[Any], what: str) -> list[str]:
    payloads = [packer.pack_value(value, what) for value in values]
    if sum(map(len, payloads)) > _ROOM:
        payloads = [
            payload if len(payload) <= _SMALLEST else packer.stored(payload) for payload in payloads
        ]
    return [to_text(payload) for payload in payloads]


def read(engine: Client, texts: Sequence[str], what: str) -> Steps[list[Any]]:
    """Return the values of texts.

    Raises:
        DeserializationError: One cannot be rebuilt here.
        DataLossError: The blob of one is gone.
    """
    payloads = [from_text(text) for text in texts]
    if not any(map(is_blob, payloads)):
        return [codec.loads(payload, what) for payload in payloads]
    welcome = yield from engine.ready()
    values: list[Any] = yield Blocking(lambda: [result_of(each, welcome) for each in payloads])
    return values
