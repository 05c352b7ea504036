"""The Dict: keys and values that all functions and programs of an environment see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloudfn import errors
from cloudfn.model import ids
from cloudfn.sdk.objects import Creatable, Paged, managed
from cloudfn.sdk.twins import Steps, iterating, twin
from cloudfn.sdk.values import packed, packed_key, read, read_key

_VALUE = "the value"
_MISSING = object()
#: how often a value is asked for whose blob was replaced meanwhile
_TRIES = 5


class Dict(Creatable):
    """Keys and values, pickled, shared by everybody who knows the name.

    Values are copies: changing one changes nothing here until it is put again. Keys are equal when
    their pickles are. An entry that nobody touches for 7 days vanishes.
    """

    _noun = "dict"
    _prefix = "di"
    objects = managed()

    @twin
    def get(self, key: Any, default: Any = None) -> Steps[Any]:
        """Return the value of a key, or `default`."""
        found = yield from self._value(key)
        return default if found is _MISSING else found

    @twin
    def contains(self, key: Any) -> Steps[bool]:
        """Return whether there is a value for the key."""
        return (yield from self._contains(key))

    @twin
    def put(self, key: Any, value: Any, *, skip_if_exists: bool = False) -> Steps[bool]:
        """Write a value; return whether it was written.

        Args:
            key: The key.
            value: The value.
            skip_if_exists: Leave a value alone that is there already.
        """
        written = yield from self._put([(key, value)], skip_existing=skip_if_exists)
        return written[0]

    @twin
    def update(
        self, other: Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None = None, /, **kwargs: Any
    ) -> Steps[None]:
        """Write many values, all at once."""
        entries = {**dict(other or ()), **kwargs}
        if entries:
            yield from self._put(list(entries.items()), skip_existing=False)

    @twin
    def pop(self, key: Any, default: Any = _MISSING) -> Steps[Any]:
        """Remove a key and return its value, or `default`.

        Raises:
            KeyError: There is no such key, and no default.
        """
        return (yield from self._pop(key, default))

    @twin
    def len(self) -> Steps[int]:
        """Return how many entries there are."""
        dict_id = yield from self._id()
        told = yield from self._engine().ask("dict_count", dict=dict_id)
        return int(told["count"])

    @twin
    def clear(self) -> Steps[None]:
        """Remove all entries."""
        dict_id = yield from self._id()
        yield from self._engine().ask("dict_pop", dict=dict_id, keys=None, request=ids.mint("rq"))

    @iterating
    def keys(self) -> Paged[Any]:
        """Iterate over the keys, in the order in which they were first put."""
        return Paged("keys", _Pages(self, values=False, keys=True).next)

    @iterating
    def values(self) -> Paged[Any]:
        """Iterate over the values, in the order in which their keys were first put."""
        return Paged("values", _Pages(self, values=True, keys=False).next)

    @iterating
    def items(self) -> Paged[Any]:
        """Iterate over (key, value), in the order in which keys were first put."""
        return Paged("items", _Pages(self, values=True, keys=True).next)

    @twin
    def __getitem__(self, key: Any) -> Steps[Any]:
        found = yield from self._value(key)
        if found is _MISSING:
            raise KeyError(key)
        return found

    @twin
    def __setitem__(self, key: Any, value: Any) -> Steps[None]:
        yield from self._put([(key, value)], skip_existing=False)

    @twin
    def __delitem__(self, key: Any) -> Steps[None]:
        yield from self._pop(key, _MISSING)

    @twin
    def __contains__(self, key: Any) -> Steps[bool]:
        return (yield from self._contains(key))

    def _contains(self, key: Any) -> Steps[bool]:
        dict_id = yield from self._id()
        told = yield from self._engine().ask("dict_get", dict=dict_id, keys=[packed_key(key)])
        return told["values"][0] is not None

    def _pop(self, key: Any, default: Any) -> Steps[Any]:
        dict_id = yield from self._id()
        engine = self._engine()
        told = yield from engine.ask(
            "dict_pop", dict=dict_id, keys=[packed_key(key)], request=ids.mint("rq")
        )
        if told["values"][0] is None:
            if default is _MISSING:
                raise KeyError(key)
            return default
        return (yield from read(engine, told["values"], _VALUE))[0]

    def _value(self, key: Any) -> Steps[Any]:
        dict_id = yield from self._id()
        engine, text = self._engine(), packed_key(key)
        for tries_left in reversed(range(_TRIES)):
            told = yield from engine.ask("dict_get", dict=dict_id, keys=[text])
            if told["values"][0] is None:
                return _MISSING
            try:
                return (yield from read(engine, told["values"], _VALUE))[0]
            except errors.DataLossError:
                if not tries_left:
                    raise
        raise AssertionError("unreachable")

    def _put(self, entries: Sequence[tuple[Any, Any]], *, skip_existing: bool) -> Steps[list[bool]]:
        dict_id = yield from self._id()
        engine, request = self._engine(), ids.mint("rq")
        keys = [packed_key(key) for key, _ in entries]
        values = yield from packed(engine, request, [value for _, value in entries], _VALUE)
        told = yield from engine.ask(
            "dict_put",
            dict=dict_id,
            entries=list(zip(keys, values, strict=True)),
            skip_existing=skip_existing,
            request=request,
        )
        return list(told["written"])


class _Pages:
    """Reads the entries of a Dict, some at a time."""

    def __init__(self, owner: Dict, *, keys: bool, values: bool) -> None:
        self._owner = owner
        self._keys = keys
        self._values = values
        self._after = 0

    def next(self) -> Steps[Sequence[Any]]:
        """Return the next ones; none at the end."""
        dict_id = yield from self._owner._id()  # noqa: SLF001
        engine = self._owner._engine()  # noqa: SLF001
        told = yield from engine.ask("dict_scan", dict=dict_id, after=self._after)
        entries = told["entries"]
        if not entries:
            return ()
        self._after = entries[-1][0]
        keys = [read_key(key) for _, key, _ in entries] if self._keys else []
        if not self._values:
            return keys
        values = yield from read(engine, [value for _, _, value in entries], _VALUE)
        return list(zip(keys, values, strict=True)) if self._keys else values
