"""The stream from a container to its agent, and Python's stdout and stderr as frames on it."""

from __future__ import annotations

import io
import os
import select
import sys
from collections import deque
from contextlib import suppress
from struct import Struct
from threading import Lock, get_ident
from typing import Any, Protocol

from cloudfn.wire.current import current
from cloudfn.wire.messages import CHANNEL_LOST, ContainerKind, LogSource
from cloudfn.worker.lines import Lines

_PIECE = 64 << 10
# Length of the rest, kind; then the body of a `Log`, in one go: frames without MAC.
_HEAD = Struct("<IB")
_LOG = Struct("<IBQB")
_LOG_REST = 10


class Channel(Protocol):
    """What is needed of a socket."""

    def send(self, data: Any, /) -> int:
        """Send some of the data; return how many bytes."""
        ...

    def close(self) -> None:
        """Close this process's end."""
        ...


class Stream:
    """Sends whole frames, whoever interrupts: threads, signal handlers, handlers that raise.

    Args:
        channel: A blocking stream socket.

    Attributes:
        seq: The input that output belongs to, 0 for none.
        exit_status: How this process ends at once when the channel is gone.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._send_some = channel.send
        self._lock = Lock()
        self._main = get_ident()
        self._sender = 0
        self._late: deque[bytes] = deque()
        self._postponed: BaseException | None = None
        self.seq = 0
        self.exit_status = CHANNEL_LOST

    def send(self, frame: bytes) -> None:
        """Send a frame; waits while the agent does not read."""
        me = get_ident()
        if self._sender == me:
            # We are in a signal handler that came in the midst of a frame of this very thread.
            self._late.append(frame)
            return
        with self._lock:
            self._sender = me
            try:
                self._write(frame)
                while self._late:
                    self._write(self._late.popleft())
            finally:
                self._sender = 0
        if self._late:
            self.send(self._late.popleft())
        if self._postponed is not None and me == self._main:
            error, self._postponed = self._postponed, None
            raise error

    def tell(self, kind: int, body: bytes = b"") -> None:
        """Send a message of any kind."""
        self.send(_HEAD.pack(1 + len(body), kind) + body)

    def log(self, source: int, data: memoryview) -> None:
        """Send output in pieces that leave room for frames between them."""
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            head = _LOG.pack(_LOG_REST + len(piece), ContainerKind.LOG, self.seq, source)
            self.send(head + piece)

    def interrupt(self, error: BaseException) -> None:
        """Raise in the main thread, from a signal handler; after the frame that is being sent."""
        if self._sender == get_ident():
            self._postponed = error
            return
        raise error

    def close(self) -> None:
        """Close this process's end."""
        self._channel.close()

    def _write(self, frame: bytes) -> None:
        # `extend` notes what `send` took before any signal handler of user code can run and raise:
        # else part of a frame would be sent twice, or never.
        sent: list[int] = []
        raised: BaseException | None = None
        while True:
            try:
                while (done := sum(sent)) < len(frame):
                    rest = memoryview(frame)[done:] if done else frame
                    sent.extend(map(self._send_some, (rest,)))
                break
            except OSError:
                os._exit(self.exit_status)
            except BaseException as error:
                raised = error
        if raised is not None:
            raise raised


class SeparateStream(Stream):
    """The same where inputs run at the same time: output is that of the one that runs here."""

    @property
    def seq(self) -> int:  # a plain attribute is what the hot path needs
        """The input that output belongs to, 0 for none."""
        return current.seq

    @seq.setter
    def seq(self, _seq: int) -> None:
        pass


class Output(io.RawIOBase):
    """The raw side of `sys.stdout` or `sys.stderr`: a descriptor first, later a `Stream`.

    Args:
        descriptor: Where bytes go while there is no stream, and what `fileno()` says.
        source: How frames name it.
    """

    def __init__(self, descriptor: int, source: LogSource) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._source = int(source)
        self._stream: Stream | None = None

    def connect(self, stream: Stream | None) -> None:
        """Send frames from here on; None: write to the descriptor."""
        self._stream = stream

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor that programs started from here write to."""
        return self._descriptor

    def write(self, data: Any, /) -> int:
        """Write everything."""
        with memoryview(data) as given, given.cast("B") as view:
            if self._stream is not None:
                self._stream.log(self._source, view)
            else:
                self._write_below(view)
            return len(view)

    def separate(self) -> None:
        """Keep the lines of inputs apart from here on."""
        self.__class__ = _SeparateOutput

    def close(self) -> None:
        """Stay open: the next input may print."""

    def _write_below(self, view: memoryview) -> None:
        done = 0
        while done < len(view):
            try:
                done += os.write(self._descriptor, view[done:])
            except BlockingIOError:  # a program that shares the pipe made it so
                select.select([], [self._descriptor], [])
            except OSError:
                return


class _SeparateOutput(Output):
    """Sends whole lines, so that those of several inputs do not mix."""

    _lines: Lines | None = None

    def connect(self, stream: Stream | None) -> None:
        """Send frames from here on; None: write to the descriptor."""
        super().connect(stream)
        self._lines = None

    def write(self, data: Any, /) -> int:
        """Write everything."""
        if self._stream is None:
            return super().write(data)
        if self._lines is None:
            stream, source = self._stream, self._source
            self._lines = Lines(lambda piece: stream.log(source, piece))
        with memoryview(data) as given, given.cast("B") as view:
            self._lines.add(view)
            return len(view)

    def flush(self) -> None:
        """Send the line that the input began which runs here."""
        if self._lines is not None:
            self._lines.flush()


class Standard:
    """This process's standard streams, which stay the same objects for its whole life."""

    def __init__(self) -> None:
        self._outputs = (Output(1, LogSource.STDOUT), Output(2, LogSource.STDERR))
        self.out, self.err = map(_text, self._outputs)

    def renew(self) -> None:
        """Put new ones in the place of some that user code made unusable."""
        self.out, self.err = map(_text, self._outputs)
        self.install()

    def separate(self) -> None:
        """Keep apart what inputs print at the same time, here and in objects that hold these."""
        for text, output in zip((self.out, self.err), self._outputs, strict=True):
            output.separate()
            text.reconfigure(write_through=True)

    def install(self) -> None:
        """Put them into `sys`."""
        sys.stdout = sys.__stdout__ = self.out  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self.err  # type: ignore[misc]
        sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115

    def connect(self, stream: Stream | None) -> None:
        """Send what is written from here on to a stream; None: to the descriptors."""
        for output in self._outputs:
            output.connect(stream)

    def flush(self) -> None:
        """Send what is buffered."""
        try:
            self.out.flush()
            self.err.flush()
        except ValueError:  # user code closed or detached them
            self.renew()

    def complain(self, text: str) -> None:
        """Write a text to stderr, whatever user code did to it."""
        with suppress(ValueError):
            self.err.write(text if text.endswith("\n") else f"{text}\n")
            self.err.flush()


def _text(output: Output) -> io.TextIOWrapper:
    # A lone surrogate in a print must not fail the input, so nothing here is strict.
    return io.TextIOWrapper(
        output,  # type: ignore[arg-type]
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )
