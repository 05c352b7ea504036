"""What registries say, as errors with what to do."""

import pytest

from cloudfn.errors import (
    AuthError,
    ConnectionError,  # noqa: A004 - ours
    InvalidError,
    NotFoundError,
    ServiceError,
)
from cloudfn.providers.docker.credentials import Credentials, of_secret, registry_of
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
        ("something else", ServiceError),
    ],
)
def test_what_registries_say_is_understood(words, kind):
    assert type(meaning_of(words, "It failed")) is kind


@pytest.mark.parametrize(
    ("name", "registry"),
    [
        ("python:3.12", "https://index.docker.io/v1/"),
        ("ada/tools", "https://index.docker.io/v1/"),
        ("ghcr.io/ada/tools:1", "ghcr.io"),
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
