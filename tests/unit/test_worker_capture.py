"""The stream of frames, and the standard streams that write to it."""

import os
import socket
import threading

import pytest

from cloudfn.wire.frames import Decoder
from cloudfn.wire.messages import ContainerKind, Log, LogSource
from cloudfn.worker.capture import Output, Stream


class Slow:
    """A channel that takes little at a time, and lets something happen before each piece."""

    def __init__(self, piece, before=lambda _call: None):
        self.sent = b""
        self._piece = piece
        self._before = before
        self._calls = 0

    def send(self, data):
        self._calls += 1
        self._before(self._calls)
        taken = bytes(data[: self._piece])
        self.sent += taken
        return len(taken)

    def close(self):
        pass


def _logs(data):
    decoder = Decoder()
    decoder.feed(data)
    logs = []
    while (found := decoder.pop()) is not None:
        kind, body = found
        assert kind == ContainerKind.LOG
        logs.append(Log.decode(body))
    return logs


def test_a_channel_that_takes_little_at_a_time_gets_whole_frames():
    channel = Slow(3)
    stream = Stream(channel)
    stream.seq = 4

    stream.log(LogSource.STDERR, memoryview(b"hello"))

    assert _logs(channel.sent) == [Log(4, LogSource.STDERR, b"hello")]


def test_big_output_is_cut_into_pieces():
    channel = Slow(1 << 20)

    Stream(channel).log(LogSource.STDOUT, memoryview(bytes(150_000)))

    assert [len(log.data) for log in _logs(channel.sent)] == [65_536, 65_536, 18_928]


def test_what_a_handler_prints_amid_a_frame_follows_it():
    def print_once(call):
        if call == 2:
            stream.log(LogSource.STDERR, memoryview(b"late"))

    channel = Slow(3, print_once)
    stream = Stream(channel)

    stream.log(LogSource.STDOUT, memoryview(b"early"))

    assert [log.data for log in _logs(channel.sent)] == [b"early", b"late"]


def test_a_handler_that_raises_amid_a_frame_is_heard_after_it():
    def fail_once(call):
        if call == 2:
            raise ZeroDivisionError

    channel = Slow(3, fail_once)
    stream = Stream(channel)

    with pytest.raises(ZeroDivisionError):
        stream.log(LogSource.STDOUT, memoryview(b"hello"))

    assert [log.data for log in _logs(channel.sent)] == [b"hello"]


def test_an_interruption_amid_a_frame_is_postponed_and_any_other_is_not():
    def interrupt_once(call):
        if call == 2:
            stream.interrupt(KeyboardInterrupt())

    channel = Slow(3, interrupt_once)
    stream = Stream(channel)

    with pytest.raises(KeyboardInterrupt):
        stream.log(LogSource.STDOUT, memoryview(b"hello"))
    assert [log.data for log in _logs(channel.sent)] == [b"hello"]

    with pytest.raises(KeyboardInterrupt):
        stream.interrupt(KeyboardInterrupt())


def test_frames_of_threads_do_not_mix():
    channel = Slow(5)
    stream = Stream(channel)

    def write(letter):
        for _ in range(50):
            stream.log(LogSource.STDOUT, memoryview(letter * 20))

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(log.data for log in _logs(channel.sent)) == [
        letter * 20 for letter in (b"a", b"b", b"c") for _ in range(50)
    ]


def test_output_goes_to_its_descriptor_until_there_is_a_stream_and_again_after():
    read, write = os.pipe()
    ours, theirs = socket.socketpair()
    output = Output(write, LogSource.STDOUT)
    stream = Stream(theirs)

    output.write(b"one ")
    output.connect(stream)
    output.write(b"two")
    output.connect(None)
    output.close()
    output.write(b"three")
    stream.close()
    os.close(write)

    with ours, open(read, "rb") as pipe:
        assert pipe.read() == b"one three"
        assert [log.data for log in _logs(ours.recv(1000))] == [b"two"]
