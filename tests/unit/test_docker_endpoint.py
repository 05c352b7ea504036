"""Which engine is meant: the docker command's own rules."""

import hashlib
import json
from pathlib import Path

import pytest

from cloudfn.errors import InvalidError
from cloudfn.providers.docker.endpoint import Endpoint, find_endpoint


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose docker command knows the context "far"."""
    key = hashlib.sha256(b"far").hexdigest()
    folder = tmp_path / ".docker" / "contexts" / "meta" / key
    folder.mkdir(parents=True)
    endpoint = {"Host": "tcp://far:2376", "SkipTLSVerify": True}
    (folder / "meta.json").write_text(
        json.dumps({"Name": "far", "Endpoints": {"docker": endpoint}})
    )
    (tmp_path / ".docker" / "contexts" / "tls" / key / "docker").mkdir(parents=True)
    return tmp_path


def _found(home: Path, **environ: str) -> Endpoint:
    return find_endpoint({"HOME": str(home), **environ})


def test_without_a_word_it_is_the_usual_socket(tmp_path):
    assert _found(tmp_path).host == "unix:///var/run/docker.sock"


def test_docker_host_says_where_it_is(home):
    assert _found(home, DOCKER_HOST="unix:///run/other.sock").host == "unix:///run/other.sock"


def test_a_host_without_a_scheme_is_reached_by_tcp(home):
    assert _found(home, DOCKER_HOST="far:2375").host == "tcp://far:2375"


def test_the_current_context_is_obeyed(home):
    (home / ".docker" / "config.json").write_text('{"currentContext": "far"}')

    found = _found(home)

    assert found.host == "tcp://far:2376"
    assert found.certificates is not None
    assert not found.verify
    assert found.context == "far"
    assert "'far'" in found.said_by


def test_docker_host_wins_over_contexts(home):
    (home / ".docker" / "config.json").write_text('{"currentContext": "far"}')
    host = "unix:///run/other.sock"

    assert _found(home, DOCKER_HOST=host).host == host
    assert _found(home, DOCKER_HOST=host, DOCKER_CONTEXT="far").host == host


def test_docker_context_says_which_context(home):
    assert _found(home, DOCKER_CONTEXT="far").host == "tcp://far:2376"


def test_the_context_default_is_none(home):
    (home / ".docker" / "config.json").write_text('{"currentContext": "far"}')

    assert _found(home, DOCKER_CONTEXT="default").host == "unix:///var/run/docker.sock"


def test_settings_may_lie_elsewhere(home, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "config.json").write_text("{}")
    (home / ".docker" / "config.json").write_text('{"currentContext": "far"}')

    found = _found(home, DOCKER_CONFIG=str(elsewhere))

    assert found.host == "unix:///var/run/docker.sock"


def test_certificates_of_the_environment_are_used(home):
    found = _found(
        home, DOCKER_HOST="tcp://a:2376", DOCKER_CERT_PATH="/certs", DOCKER_TLS_VERIFY="1"
    )

    assert (found.certificates, found.verify) == (Path("/certs"), True)


def test_an_unknown_context_is_named(home):
    with pytest.raises(InvalidError, match=r"no Docker context 'near'.*DOCKER_CONTEXT"):
        _found(home, DOCKER_CONTEXT="near")


def test_broken_settings_are_named(home):
    (home / ".docker" / "config.json").write_text("{")

    with pytest.raises(InvalidError, match=r"config\.json cannot be read"):
        _found(home)
