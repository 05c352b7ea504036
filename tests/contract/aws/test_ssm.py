"""What the fake Parameter Store and moto agree on."""

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def ssm(account):
    return account.client("ssm")


def put(ssm, name="/cloudfn/main/a", value="1", **params):
    return ssm.put_parameter(Name=name, Value=value, Type="String", **params)


def get(ssm, name="/cloudfn/main/a", **params):
    return ssm.get_parameter(Name=name, **params)["Parameter"]


def code(call, **params):
    with pytest.raises(ClientError) as found:
        call(**params)
    return found.value.response["Error"]["Code"]


def test_a_parameter_has_versions_and_the_last_one_counts(ssm):
    assert put(ssm)["Version"] == 1
    assert put(ssm, value="2", Overwrite=True)["Version"] == 2

    found = get(ssm)
    assert (found["Value"], found["Version"], found["Type"]) == ("2", 2, "String")
    assert get(ssm, "/cloudfn/main/a:1")["Value"] == "1"
    history = ssm.get_parameter_history(Name="/cloudfn/main/a")["Parameters"]
    assert [each["Value"] for each in history] == ["1", "2"]


def test_a_parameter_is_not_overwritten_by_accident(ssm):
    put(ssm)

    with pytest.raises(ssm.exceptions.ParameterAlreadyExists):
        put(ssm)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("/nothing", "ParameterNotFound"), ("/cloudfn/main/a:7", "ParameterVersionNotFound")],
)
def test_what_is_not_there_is_not_found(ssm, name, expected):
    put(ssm)

    assert code(ssm.get_parameter, Name=name) == expected


def test_several_are_got_at_once_and_the_others_named(ssm):
    put(ssm)
    answer = ssm.get_parameters(Names=["/cloudfn/main/a", "/nothing"])

    assert [each["Value"] for each in answer["Parameters"]] == ["1"]
    assert answer["InvalidParameters"] == ["/nothing"]


def test_a_path_has_pages_of_ten(ssm):
    for n in range(12):
        put(ssm, f"/cloudfn/main/pool-{n:02}")
    put(ssm, "/cloudfn/main/deep/er")
    put(ssm, "/cloudfn/other")
    flat = ssm.get_parameters_by_path(Path="/cloudfn/main")
    assert len(flat["Parameters"]) == 10
    pages = ssm.get_paginator("get_parameters_by_path").paginate
    names = [
        [
            each["Name"]
            for page in pages(Path="/cloudfn/main", Recursive=deep)
            for each in page["Parameters"]
        ]
        for deep in (False, True)
    ]

    assert [len(each) for each in names] == [12, 13]


def test_a_secret_is_shown_to_who_asks_for_it_decrypted(ssm):
    ssm.put_parameter(Name="/cloudfn/secret", Value="hunter2", Type="SecureString")

    assert get(ssm, "/cloudfn/secret", WithDecryption=True)["Value"] == "hunter2"
    assert get(ssm, "/cloudfn/secret", WithDecryption=False)["Value"] != "hunter2"


def test_a_deleted_parameter_is_gone(ssm):
    put(ssm)
    ssm.delete_parameter(Name="/cloudfn/main/a")

    assert code(ssm.get_parameter, Name="/cloudfn/main/a") == "ParameterNotFound"
    assert code(ssm.delete_parameter, Name="/cloudfn/main/a") == "ParameterNotFound"
    answer = ssm.delete_parameters(Names=["/cloudfn/main/a"])
    assert answer["InvalidParameters"] == ["/cloudfn/main/a"]


def test_a_hundred_versions_are_kept_unless_the_oldest_has_a_label(ssm):
    for n in range(100):
        put(ssm, value=str(n), Overwrite=True)
    put(ssm, value="100", Overwrite=True)
    history = ssm.get_paginator("get_parameter_history").paginate(Name="/cloudfn/main/a")
    assert [each["Version"] for page in history for each in page["Parameters"]] == list(
        range(2, 102)
    )
    ssm.label_parameter_version(Name="/cloudfn/main/a", ParameterVersion=2, Labels=["first"])

    assert get(ssm, "/cloudfn/main/a:first")["Value"] == "1"
    with pytest.raises(ssm.exceptions.ParameterMaxVersionLimitExceeded):
        put(ssm, value="101", Overwrite=True)


@pytest.mark.parametrize("name", ["/aws/x", "ssm-x"])
def test_names_of_aws_are_its_own(ssm, name):
    with pytest.raises(ClientError):
        put(ssm, name)


def test_parameters_are_described_by_path_without_their_values(ssm):
    put(ssm, "/cloudfn/main/s/b", Description="written 2.0")
    put(ssm, "/cloudfn/main/s/a")
    put(ssm, "/cloudfn/main/s/deep/c")
    put(ssm, "/cloudfn/mains/d")

    def described(option, path):
        filters = [{"Key": "Path", "Option": option, "Values": [path]}]
        found = ssm.describe_parameters(ParameterFilters=filters)["Parameters"]
        assert not any("Value" in each for each in found)
        return {each["Name"]: each.get("Description", "") for each in found}

    one = described("OneLevel", "/cloudfn/main/s")
    assert one == {"/cloudfn/main/s/a": "", "/cloudfn/main/s/b": "written 2.0"}
    deep = described("Recursive", "/cloudfn/main")
    assert deep.keys() == {*one, "/cloudfn/main/s/deep/c"}
