"""Frames: what is sent arrives whole and in order, and nothing else is taken for it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfn.errors import AuthError, RequestSizeError
from cloudfn.wire.frames import KEY_SIZE, MAX_FRAME, Decoder, Encoder, derive_key

KEY = bytes(range(32))
OTHER = bytes(32)
HELLO = (1, b"hello")

keys = st.sampled_from([None, KEY])
messages = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=50)), max_size=6)


def encoded(*sent: tuple[int, bytes], key: bytes | None = KEY) -> list[bytes]:
    encoder = Encoder(key)
    return [encoder.frame(kind, body) for kind, body in sent]


def popped(*pieces: bytes, key: bytes | None = KEY) -> list[tuple[int, bytes]]:
    decoder = Decoder(key)
    found = []
    for piece in pieces:
        decoder.feed(piece)
        while (message := decoder.pop()) is not None:
            found.append(message)
    return found


@given(messages, keys, st.lists(st.integers(0, 400), max_size=5))
def test_messages_arrive_whole_and_in_order_however_the_bytes_are_cut(sent, key, cuts):
    stream = b"".join(encoded(*sent, key=key))
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(edges)]

    assert popped(*pieces, key=key) == sent


@given(messages.filter(bool), keys)
def test_a_frame_that_lacks_its_last_byte_is_waited_for(sent, key):
    stream = b"".join(encoded(*sent, key=key))

    assert popped(stream[:-1], key=key) == sent[:-1]
    assert popped(stream[:-1], stream[-1:], key=key) == sent


@given(st.integers(0, 255), st.binary(max_size=30), st.data())
def test_no_bit_of_an_authenticated_frame_can_be_changed(kind, body, data):
    (frame,) = encoded((kind, body))
    place = data.draw(st.integers(4, len(frame) - 1))
    bit = data.draw(st.integers(0, 7))
    forged = bytearray(frame)
    forged[place] ^= 1 << bit

    with pytest.raises(AuthError, match="not authentic"):
        popped(bytes(forged))


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(encoded(HELLO)[:1] * 2, id="replayed"),
        pytest.param(encoded(HELLO, (2, b"x"))[::-1], id="reordered"),
        pytest.param(encoded(HELLO, (2, b"x"))[1:], id="left out"),
        pytest.param(encoded(HELLO, key=OTHER), id="of another session"),
        pytest.param([*encoded(HELLO, key=None), b"\0" * 30], id="without a MAC"),
    ],
)
def test_a_frame_is_refused_that_is(pieces):
    with pytest.raises(AuthError):
        popped(*pieces)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"\0\0\0\0\1", id="a length of nothing"),
        pytest.param(b"\xff\xff\xff\xff\1", id="a length of 4 GiB"),
        pytest.param((MAX_FRAME + 18).to_bytes(4, "little") + b"\1", id="one byte too many"),
    ],
)
@pytest.mark.parametrize("key", [None, KEY], ids=["open", "secured"])
def test_a_stream_is_damaged_by(head, key):
    with pytest.raises(AuthError, match="damaged"):
        popped(head, key=key)


def test_an_authenticated_frame_needs_room_for_its_mac():
    with pytest.raises(AuthError, match="without its MAC"):
        popped(b"\x10\0\0\0\1" + b"m" * 15)


def test_the_largest_message_passes_and_a_larger_one_is_refused_before_it_is_sent():
    largest = bytes(MAX_FRAME)
    encoder = Encoder()

    assert popped(encoder.frame(1, largest), key=None) == [(1, largest)]
    with pytest.raises(RequestSizeError, match=f"larger than {MAX_FRAME}"):
        encoder.frame(1, largest + b"x")


def test_a_stream_is_secured_after_its_first_messages():
    encoder, decoder = Encoder(), Decoder()
    decoder.feed(encoder.frame(1, b"hello"))
    assert decoder.pop() == HELLO
    encoder.secure(KEY)
    decoder.secure(KEY)
    decoder.feed(encoder.frame(2, b"secret"))

    assert decoder.pop() == (2, b"secret")


def test_what_arrived_before_the_securing_is_held_to_it():
    encoder, decoder = Encoder(), Decoder()
    decoder.feed(encoder.frame(1, b"hello") + encoder.frame(2, b"smuggled behind the hello"))
    assert decoder.pop() == HELLO
    decoder.secure(KEY)

    with pytest.raises(AuthError):
        decoder.pop()


@pytest.mark.parametrize(
    ("key", "purpose", "parts"),
    [
        pytest.param(OTHER, b"client", (b"a", b"b"), id="another key"),
        pytest.param(KEY, b"daemon", (b"a", b"b"), id="another purpose"),
        pytest.param(KEY, b"client", (b"ab",), id="the same bytes in one part"),
        pytest.param(KEY, b"client", (b"", b"ab"), id="the same bytes cut elsewhere"),
        pytest.param(KEY, b"client", (b"b", b"a"), id="another order"),
        pytest.param(KEY, b"client", (b"a", b"b", b""), id="one more part"),
    ],
)
def test_a_derived_key_differs_for(key, purpose, parts):
    ours = derive_key(KEY, b"client", b"a", b"b")

    assert len(ours) == KEY_SIZE
    assert derive_key(key, purpose, *parts) != ours
    assert derive_key(KEY, b"client", b"a", b"b") == ours


def test_a_purpose_that_does_not_fit_is_refused_rather_than_cut():
    with pytest.raises(ValueError, match="person"):
        derive_key(KEY, b"a purpose of 17 b")
