"""The rules of `.map`: how many inputs may be out, how they are chunked, in which order results go.

Pure: `MapSession` is told what happened and says what to do; it never waits, reads or sends.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloudfn.wire.messages import Outcomes
from cloudfn.wire.ranges import Ranges, ranges_of

#: inputs of the first message, so that the first results come soon, and of the largest
FIRST_CHUNK = 8
LARGEST_CHUNK = 256
#: bytes of payloads that may be out
MOST_BYTES = 256 << 20
#: payloads below this are not counted one by one
_COUNTED_SIZE = 4096
#: windows that results may be ahead of the one that is to be yielded next
_MOST_AHEAD = 50


class MapSession:
    """One map: which inputs are out and which results are due.

    Args:
        window: Inputs that may be sent and not finished.
        ordered: Results go out in the order of the inputs.
        most_bytes: Bytes of payloads that may be sent and not finished.
    """

    def __init__(self, window: int, *, ordered: bool, most_bytes: int = MOST_BYTES) -> None:
        #: inputs that were read and sent
        self.read = 0
        #: inputs whose outcome is here
        self.finished = 0
        #: nothing more is to be read
        self.exhausted = False
        self._window = window
        self._ordered = ordered
        self._most_bytes = most_bytes
        self._bytes = 0
        self._sizes: dict[int, int] = {}
        self._chunk = FIRST_CHUNK
        # Outcomes 0 … floor − 1 went out; those above it are in `_ahead`, waiting when ordered.
        self._floor = 0
        self._ahead: dict[int, tuple[int, bytes]] = {}
        #: went out, but their payloads are not read yet
        self._in_hand: Sequence[int] = ()

    @property
    def complete(self) -> bool:
        """Whether every input was read and every outcome is here."""
        return self.exhausted and self.finished == self.read

    @property
    def room(self) -> int:
        """How many more inputs may be out."""
        if self.exhausted or self._bytes >= self._most_bytes:
            return 0
        ahead = self._window * _MOST_AHEAD - len(self._ahead) if self._ordered else self._window
        return max(min(self._window - (self.read - self.finished), ahead), 0)

    def batch(self, *, hurry: bool = False) -> int:
        """Return how many inputs to read now; 0: wait until more of those that are out are back.

        Unless in a `hurry`, small rooms are left alone until they are worth a message.
        """
        room = self.room
        if not hurry and room < min(self._chunk, self._window // 4):
            return 0
        return min(room, self._chunk)

    def sent(self, count: int, sizes: Sequence[int], *, slow: bool) -> None:
        """Inputs were read and sent; `slow`: it took long to read them.

        A quick reader gets larger chunks, a slow one smaller ones, so that nothing waits for it.
        """
        first = self.read
        self.read += count
        if max(sizes, default=0) >= _COUNTED_SIZE:
            for index, size in enumerate(sizes, first):
                if size >= _COUNTED_SIZE:
                    self._sizes[index] = size
                    self._bytes += size
        self._chunk = max(self._chunk // 4, 1) if slow else min(self._chunk * 2, LARGEST_CHUNK)

    def take(self, outcomes: Outcomes) -> tuple[Sequence[int], Sequence[int], Sequence[bytes]]:
        """Take outcomes in; return those whose turn it is, in columns.

        An outcome that came before is dropped.
        """
        indices = outcomes.indices
        count = len(indices)
        self._forget_sizes(indices)
        if not self._ahead and tuple(indices) == tuple(range(self._floor, self._floor + count)):
            self._in_hand = indices
            self._floor += count
            self.finished += count
            return indices, outcomes.statuses, outcomes.payloads
        fresh = self._fresh(outcomes)
        self.finished += len(fresh)
        return self._due() if self._ordered else self._at_once(fresh)

    def settle(self) -> None:
        """The payloads of what went out are read."""
        self._in_hand = ()

    def have(self) -> Ranges:
        """Return the outcomes that are here, as ranges; any thread may ask."""
        return self._below() + ranges_of(sorted(self._ahead.copy()))

    def done(self) -> Ranges:
        """Return the outcomes whose payloads are read, as ranges; any thread may ask.

        An outcome that waits for its turn is not among them, nor one that is being read.
        """
        in_hand = sorted(self._in_hand)
        return _without(self._below() if self._ordered else self.have(), in_hand)

    def _below(self) -> Ranges:
        return [[0, self._floor - 1]] if self._floor else []

    def _fresh(self, outcomes: Outcomes) -> list[int]:
        fresh = []
        for index, status, payload in zip(*outcomes[1:], strict=True):
            if index >= self._floor and index not in self._ahead and index < self.read:
                self._ahead[index] = (status, payload)
                fresh.append(index)
        return fresh

    def _due(self) -> tuple[list[int], list[int], list[bytes]]:
        indices: list[int] = []
        statuses: list[int] = []
        payloads: list[bytes] = []
        self._in_hand = indices
        index = self._floor
        while (outcome := self._ahead.pop(index, None)) is not None:
            indices.append(index)
            statuses.append(outcome[0])
            payloads.append(outcome[1])
            index += 1
        self._floor = index
        return indices, statuses, payloads

    def _at_once(self, fresh: list[int]) -> tuple[list[int], list[int], list[bytes]]:
        self._in_hand = fresh
        outcomes = [self._ahead[index] for index in fresh]
        for index in fresh:
            self._ahead[index] = (0, b"")
        while self._ahead.pop(self._floor, None) is not None:
            self._floor += 1
        return fresh, [status for status, _ in outcomes], [payload for _, payload in outcomes]

    def _forget_sizes(self, indices: Sequence[int]) -> None:
        if self._sizes:
            for index in indices:
                self._bytes -= self._sizes.pop(index, 0)


def _without(ranges: Ranges, indices: Sequence[int]) -> Ranges:
    """Return ascending ranges without some ascending numbers."""
    left: Ranges = []
    for start, last in ranges:
        first = start
        for index in indices:
            if first <= index <= last:
                if first < index:
                    left.append([first, index - 1])
                first = index + 1
        if first <= last:
            left.append([first, last])
    return left
