"""Names: unguessable, telling their kind, and read back only when they are names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfn.model.ids import input_id, mint, parse_input_id, pool_name


def test_a_new_name_has_its_prefix_and_twenty_plain_characters():
    prefix, _, body = mint("fc").partition("-")

    assert prefix == "fc"
    assert len(body) == 20
    assert body.isascii()
    assert body == body.lower()
    assert body.isalnum()


def test_no_two_new_names_are_the_same():
    assert len({mint("ta") for _ in range(1_000)}) == 1_000


def test_new_names_use_the_whole_alphabet_in_every_place():
    bodies = [mint("ta").removeprefix("ta-") for _ in range(1_000)]

    for place in range(20):
        assert len({body[place] for body in bodies}) == 32


@given(st.integers(0, 10**9))
def test_the_name_of_an_input_leads_back_to_its_call(index):
    call = mint("fc")

    assert parse_input_id(input_id(call, index)) == (call, index)


def test_inputs_of_one_call_have_different_names():
    assert input_id("fc-abc", 0) == "in-abc-0"
    assert input_id("fc-abc", 1) == "in-abc-1"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "in",
        "in-",
        "in-abc",
        "in--0",
        "in-abc-",
        "fc-abc-0",
        "in-abc-x",
        "in-abc-1_0",
        "in-abc- 1",
        "in-abc-+1",
        "in-abc-²",
        "in-abc-٣",
    ],
    ids=repr,
)
def test_what_is_no_name_of_an_input_is_refused(name):
    with pytest.raises(ValueError, match="is not the id of an input"):
        parse_input_id(name)


def test_a_pool_is_one_function_at_one_revision():
    assert pool_name("fu-abc", 3) == "fu-abc@3"
