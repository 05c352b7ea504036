"""What Parameter Store does to its users, one nastiness at a time."""

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from cloudfn.testing.aws import FakeAws, Knobs, SsmKnobs


def store(**nasty):
    """Return (account, client) of a store that has these knobs alone."""
    aws = FakeAws(knobs=Knobs(ssm=replace(SsmKnobs.calm(), **nasty)))
    return aws, aws.client("ssm")


def put(ssm, value="1", **params):
    return ssm.put_parameter(
        **{"Name": "/a", "Value": value, "Type": "String", "Overwrite": True, **params}
    )


def get(ssm):
    return ssm.get_parameter(Name="/a")["Parameter"]["Value"]


def test_another_reader_may_see_the_value_before_for_a_while():
    aws, ssm = store(puts_lag=2.0, stale=1.0)
    put(ssm)
    aws.clock.advance(5)
    put(ssm, "2")
    other = aws.client("ssm")

    assert (get(ssm), get(other)) == ("2", "1")
    aws.clock.advance(2.1)
    assert get(other) == "2"


def test_a_new_parameter_may_not_be_there_for_another_reader():
    aws, ssm = store(puts_lag=2.0, stale=1.0)
    put(ssm)
    other = aws.client("ssm")

    with pytest.raises(other.exceptions.ParameterNotFound):
        get(other)
    assert other.get_parameters(Names=["/a"])["InvalidParameters"] == ["/a"]
    assert other.get_parameters_by_path(Path="/")["Parameters"] == []
    aws.clock.advance(2.1)
    assert get(other) == "1"


def test_all_calls_of_an_account_share_forty_a_second_and_puts_have_three():
    aws, ssm = store(calls=40.0, puts=3.0)
    for n in range(3):
        put(ssm, str(n))
    with pytest.raises(ClientError, match="Rate exceeded"):
        put(ssm)
    clients = [ssm, aws.client("ssm")]
    for n in range(40):
        get(clients[n % 2])
    with pytest.raises(ClientError, match="ThrottlingException"):
        get(clients[1])
    aws.clock.advance(1)
    put(ssm, "later")

    assert get(ssm) == "later"


@pytest.mark.parametrize(
    ("size", "tier", "fits"),
    [
        (4096, "Standard", True),
        (4097, "Standard", False),
        (8192, "Advanced", True),
        (8193, "Advanced", False),
        (4097, "Intelligent-Tiering", True),
    ],
)
def test_a_value_has_4_kb_or_8_in_the_advanced_tier(size, tier, fits):
    _, ssm = store()
    if fits:
        put(ssm, "x" * size, Tier=tier)
        return
    with pytest.raises(ClientError, match="longer than that"):
        put(ssm, "x" * size, Tier=tier)


def test_there_is_no_way_back_from_the_advanced_tier():
    _, ssm = store()
    put(ssm, Tier="Advanced")
    assert put(ssm, "x" * 5000)["Tier"] == "Advanced"

    with pytest.raises(ClientError, match="can't be changed"):
        put(ssm, Tier="Standard")


@pytest.mark.parametrize("value", ["", "{{ssm:other}}"])
def test_values_that_cannot_be_are_refused(value):
    _, ssm = store()

    with pytest.raises(ClientError, match="ValidationException"):
        put(ssm, value)


def test_a_put_may_meet_another_one():
    _, ssm = store(conflicts=1.0)
    put(ssm)
    with pytest.raises(ssm.exceptions.TooManyUpdates):
        put(ssm, "2")

    assert get(ssm) == "1"


@pytest.mark.parametrize("name", ["bad name", "/" + "/".join("x" * 17), "/aws/x"])
def test_names_have_characters_and_levels(name):
    _, ssm = store()

    with pytest.raises(ClientError):
        put(ssm, Name=name)


def test_descriptions_have_pages_as_well():
    _, ssm = store()
    for number in range(5):
        put(ssm, Name=f"/a/{number}")
    filters = [{"Key": "Name", "Option": "BeginsWith", "Values": ["/a/"]}]

    pages = ssm.get_paginator("describe_parameters").paginate(
        ParameterFilters=filters, PaginationConfig={"PageSize": 2}
    )

    found = [[each["Name"] for each in page["Parameters"]] for page in pages]
    assert found == [["/a/0", "/a/1"], ["/a/2", "/a/3"], ["/a/4"]]
