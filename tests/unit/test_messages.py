"""Messages: every one survives its bytes, and bytes that are none are refused."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfn.errors import DataLossError
from cloudfn.wire.messages import (
    Ack,
    BlobRef,
    ContainerItem,
    ContainerKind,
    ContainerOutcome,
    ContainerTaken,
    Delivered,
    Items,
    Log,
    Outcomes,
    Run,
    Submit,
    Taken,
    decode_json,
    encode_json,
    is_blob,
)

u8, u32, u64 = st.integers(0, 2**8 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
payloads = st.lists(st.binary(max_size=20), max_size=5)
#: the header of nearly every call, which has a form of its own
plain_headers = st.fixed_dictionaries(
    {
        "call": st.text(max_size=20),
        "function": st.text(max_size=20),
        "kind": u8,
        "parent": st.none() | st.integers(1, 2**64 - 1),
    }
)
headers = (
    st.none()
    | plain_headers
    | st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text())
)


@st.composite
def outcomes(draw: st.DrawFn) -> Outcomes:
    columns = draw(st.lists(st.tuples(u32, u8, st.binary(max_size=20)), max_size=5))
    return Outcomes(
        draw(u32),
        tuple(c[0] for c in columns),
        bytes(c[1] for c in columns),
        [c[2] for c in columns],
    )


EVERY = [
    (Submit, st.builds(Submit, u32, u32, payloads, headers, st.booleans())),
    (Ack, st.builds(Ack, u32, u32, st.booleans())),
    (Outcomes, outcomes()),
    (Delivered, st.builds(Delivered, u32, st.lists(u32, max_size=5).map(tuple))),
    (Run, st.builds(Run, u64, u32, st.binary(max_size=20))),
    (ContainerOutcome, st.builds(ContainerOutcome, u64, u32, u8, u32, st.binary(max_size=20))),
    (Items, st.builds(Items, u32, u32, payloads)),
    (Taken, st.builds(Taken, u32, u32)),
    (ContainerItem, st.builds(ContainerItem, u64, u32, u32, st.binary(max_size=20))),
    (ContainerTaken, st.builds(ContainerTaken, u64, u32, u32)),
    (Log, st.builds(Log, u64, u8, st.binary(max_size=20))),
    (BlobRef, st.builds(BlobRef, st.text(max_size=20), u64, st.booleans())),
]
every = pytest.mark.parametrize(("kind", "values"), EVERY, ids=[kind.__name__ for kind, _ in EVERY])


@every
@given(data=st.data())
def test_a_message_survives(kind: Any, values: st.SearchStrategy[Any], data: st.DataObject):
    message = data.draw(values)

    assert kind.decode(message.encode()) == message


@every
@given(noise=st.binary(max_size=60))
def test_noise_is_a_message_or_refused(kind: Any, values: Any, noise: bytes):
    try:
        message = kind.decode(noise)
    except DataLossError:
        return
    assert isinstance(message, kind)


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        pytest.param(Submit.decode, Submit(1, 0, [b"abc", b"de"], {"call": "fc-1"}), id="Submit"),
        pytest.param(Items.decode, Items(1, 7, [b"abc", b"de"]), id="Items"),
        pytest.param(Outcomes.decode, Outcomes(1, (0, 1), b"\2\3", [b"abc", b"de"]), id="Outcomes"),
    ],
)
def test_a_message_of_columns_is_refused_whatever_part_of_its_end_is_missing(
    decode: Callable[[bytes], Any], message: Any
):
    body = message.encode()

    for size in range(len(body)):
        with pytest.raises(DataLossError):
            decode(body[:size])
    with pytest.raises(DataLossError, match="do not add up"):
        decode(body + b"x")


def test_delivered_names_all_that_it_counts():
    body = Delivered(1, (1, 2, 3)).encode()

    with pytest.raises(DataLossError, match="cut short"):
        Delivered.decode(body[:-1])


def test_a_count_that_no_message_can_hold_costs_no_memory():
    body = bytearray(Delivered(1, (1,)).encode())
    body[4:8] = b"\xff\xff\xff\xff"

    for decode in (Delivered.decode, Outcomes.decode):
        with pytest.raises(DataLossError, match="cut short"):
            decode(bytes(body))


def test_an_empty_header_opens_a_call_and_none_does_not():
    assert Submit.decode(Submit(1, 0, [], {}).encode()).header == {}
    assert Submit.decode(Submit(1, 0, [], None).encode()).header is None


def test_an_attempt_that_took_over_an_hour_is_told_as_the_longest_that_can_be_told():
    outcome = ContainerOutcome(1, 1, 2, 2**40, b"")

    assert ContainerOutcome.decode(outcome.encode()).micros == 2**32 - 1


def test_a_run_is_told_from_other_packets_by_its_first_byte():
    assert Run(1, 1, b"").encode()[0] == ContainerKind.RUN


@pytest.mark.parametrize(
    ("payload", "blob"),
    [
        pytest.param(BlobRef("fc-1/x", 9, durable=True).encode(), True, id="a reference is"),
        pytest.param(b"\x80\x05N.", False, id="a pickle is not"),
        pytest.param(b"", False, id="nothing is not"),
    ],
)
def test_what_is_a_blob(payload, blob):
    assert is_blob(payload) is blob


def test_the_name_of_a_blob_must_be_text():
    payload = BlobRef("x", 9, durable=True).encode() + b"\xff"

    with pytest.raises(DataLossError, match="no text"):
        BlobRef.decode(payload)


@given(st.dictionaries(st.text(), st.lists(st.integers() | st.text() | st.none())))
def test_plain_data_survives_as_json(value):
    assert decode_json(encode_json(value)) == value


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"1", b"{", b"\xff", b"null", b"[" * 100_000],
    ids=lambda body: repr(body[:4]),
)
def test_what_is_no_json_object_is_refused(body):
    with pytest.raises(DataLossError, match="not a JSON object"):
        decode_json(body)
