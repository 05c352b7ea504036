"""The key of an environment: one, whoever makes it, and shown to nobody."""

from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloudfn.errors import DataLossError, NotFoundError, PermissionDeniedError
from cloudfn.providers.aws.keys import load_key, make_key, parameter
from cloudfn.testing.aws import FakeAws, Knobs


def test_a_key_is_made_once_and_then_the_same():
    aws = FakeAws(knobs=Knobs.calm())
    ssm = aws.client("ssm")

    key = make_key(ssm, "main")

    assert len(key.secret) == 32
    assert make_key(ssm, "main") == key
    assert load_key(ssm, "main") == key
    assert make_key(ssm, "stage") != key


def test_it_is_a_secure_string_that_no_version_replaces():
    aws = FakeAws(knobs=Knobs.calm())
    ssm = aws.client("ssm")
    make_key(ssm, "main")
    make_key(ssm, "main")

    [version] = ssm.get_parameter_history(Name="/cloudfn/main/keys/main")["Parameters"]

    assert version["Type"] == "SecureString"


def test_of_many_who_make_it_at_once_all_have_the_same():
    aws = FakeAws(seed=3)

    def make(_):
        return make_key(aws.client("ssm", attempts=10), "main", clock=aws.clock)

    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(make, range(16)))

    assert len(keys) == 1
    assert keys == {load_key(aws.client("ssm", attempts=10), "main")}


def test_a_lost_answer_makes_no_second_key():
    aws = FakeAws(seed=3)
    aws.faults.lose_answer("ssm", "PutParameter")

    key = make_key(aws.client("ssm", attempts=10), "main", clock=aws.clock)

    assert aws.ssm.truth()[parameter("main")] == b64encode(key.secret).decode()


def test_neither_its_text_nor_an_error_shows_it():
    aws = FakeAws(knobs=Knobs.calm())
    ssm = aws.client("ssm")
    key = make_key(ssm, "main")

    assert repr(key) == str(key) == "Key()"

    secret = "c2VzYW1lLW9wZW4="
    ssm.put_parameter(Name=parameter("main"), Value=secret, Type="SecureString", Overwrite=True)
    with pytest.raises(DataLossError) as raised:
        load_key(ssm, "main")
    assert secret not in str(raised.value)


@pytest.mark.parametrize("stored", ["nonsense", "schlüssel", "QUJD"])
def test_what_is_no_key_is_not_taken_for_one(stored):
    aws = FakeAws(knobs=Knobs.calm())
    ssm = aws.client("ssm")
    ssm.put_parameter(Name=parameter("main"), Value=stored, Type="SecureString")

    with pytest.raises(DataLossError, match="holds no key of 32 bytes"):
        load_key(ssm, "main")
    with pytest.raises(DataLossError):
        make_key(ssm, "main")


def test_without_a_key_or_a_permission_the_error_says_what_to_do():
    aws = FakeAws(knobs=Knobs.calm())

    with pytest.raises(NotFoundError, match="has no key") as raised:
        load_key(aws.client("ssm"), "main")
    assert "cloudfn infra apply" in raised.value.hint

    aws.faults.fail("ssm", "PutParameter", "AccessDeniedException")
    with pytest.raises(PermissionDeniedError, match="ssm:PutParameter"):
        make_key(aws.client("ssm"), "main")
