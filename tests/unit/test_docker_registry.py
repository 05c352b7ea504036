"""What registries say, as errors with what to do."""

import json

import pytest
from docker.auth import INDEX_URL

from cloudfn.errors import (
    AuthError,
    ConnectionError,  # noqa: A004 - ours
    InvalidError,
    NotFoundError,
    ResourceExhaustedError,
    ServiceError,
)
from cloudfn.providers.docker.credentials import (
    Credentials,
    of_secret,
    registries_of,
    registry_of,
    write_config,
)
from cloudfn.providers.docker.registry import meaning_of


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("denied: requested access to the resource is denied", AuthError),
        ("no basic auth credentials", AuthError),
        ("http: server gave HTTP response to HTTPS client", InvalidError),
        ("manifest unknown: manifest unknown", NotFoundError),
        ("name unknown: The repository with name 'x' does not exist", NotFoundError),
        ("dial tcp 127.0.0.1:9: connect: connection refused", ConnectionError),
        ("received unexpected HTTP status: 503 Service Unavailable", ConnectionError),
        ("toomanyrequests: Rate exceeded", ConnectionError),
        ("net/http: TLS handshake timeout", ConnectionError),
        ("write /var/lib/docker/tmp/x: no space left on device", ResourceExhaustedError),
        ("something else", ServiceError),
    ],
)
def test_what_registries_say_is_understood(words, kind):
    assert type(meaning_of(words, "It failed")) is kind


@pytest.mark.parametrize(
    ("name", "registry"),
    [
        ("python:3.12", INDEX_URL),
        ("ada/tools", INDEX_URL),
        ("closed.example/ada/tools:1", "closed.example"),
        ("localhost/tools", "localhost"),
        ("registry:5000/tools@sha256:0", "registry:5000"),
    ],
)
def test_the_registry_of_a_name_is_known(name, registry):
    assert registry_of(name) == registry


def test_a_secret_opens_a_registry_by_name_and_password_or_by_googles_key():
    named = {"REGISTRY_USERNAME": "ada", "REGISTRY_PASSWORD": "pw"}

    assert of_secret(named, "x") == Credentials("ada", "pw")
    assert of_secret({"SERVICE_ACCOUNT_JSON": "{}"}, "x") == Credentials("_json_key", "{}")
    assert "pw" not in repr(of_secret(named, "x"))


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"REGISTRY_USERNAME": "ada"}, "does not open a registry"),
        ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, "keys of AWS"),
    ],
)
def test_a_secret_that_opens_nothing_is_refused(variables, told):
    with pytest.raises(InvalidError, match=told) as caught:
        of_secret(variables, "Image.from_registry")

    assert caught.value.hint is not None


def test_credentials_are_for_the_registries_of_the_bases_that_are_not_dockers_own():
    text = "from --platform=linux/amd64 closed.example/base:1 AS a\nFROM python:3.12\nFROM a\n"

    assert registries_of(text) == {"closed.example"}
    assert registries_of("FROM ada/tools\n") == {INDEX_URL}


def test_the_users_own_logins_and_contexts_stay_and_a_store_does_not_hide_the_new_one(tmp_path):
    own = tmp_path / "own"
    (own / "contexts").mkdir(parents=True)
    (own / "config.json").write_text(
        json.dumps(
            {
                "auths": {"a.example": {"auth": "old"}, "b.example": {"auth": "kept"}},
                "credHelpers": {"a.example": "x", "c.example": "y"},
                "credsStore": "desktop",
                "currentContext": "far",
            }
        )
    )

    write_config(tmp_path / "new", own, {"a.example"}, Credentials("ada", "pw"))

    told = json.loads((tmp_path / "new" / "config.json").read_text())
    assert told == {
        "auths": {"a.example": {"auth": "YWRhOnB3"}, "b.example": {"auth": "kept"}},
        "credHelpers": {"c.example": "y"},
        "currentContext": "far",
    }
    assert (tmp_path / "new" / "config.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new" / "contexts").resolve() == own / "contexts"
