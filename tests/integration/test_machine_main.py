"""`python -m cloudfn.machine` where it cannot begin: what it says, and how it exits."""

import subprocess
import sys

import pytest

from cloudfn.testing.metadata import StubMetadata

pytestmark = pytest.mark.integration


@pytest.fixture
def begin(tmp_path):
    """Start the process with nothing but these variables."""

    def begin(*arguments, **variables):
        environ = {"CLOUDFN_MACHINE_STATE": str(tmp_path / "state"), **variables}
        command = [sys.executable, "-m", "cloudfn.machine", *arguments]
        done = subprocess.run(
            command, check=False, env=environ, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stderr

    return begin


WHO = {"CLOUDFN_ENVIRONMENT": "main", "CLOUDFN_MACHINE_CLASS": "cpu"}


def test_it_takes_no_arguments(begin):
    assert begin("--help") == (2, "usage: python -m cloudfn.machine\n")


def test_it_has_to_be_told_who_it_is(begin):
    status, said = begin(CLOUDFN_ENVIRONMENT="main")

    assert status == 2
    assert "does not know its machine class" in said


def test_it_says_that_nobody_tells_it_which_machine_it_is(begin):
    status, said = begin(**WHO, AWS_EC2_METADATA_SERVICE_ENDPOINT="http://127.0.0.1:9")

    assert status == 1
    assert "metadata service does not answer" in said


def test_it_says_that_there_is_no_such_provider(begin):
    stub = StubMetadata()
    try:
        status, said = begin(
            **WHO,
            CLOUDFN_PROVIDER="moon",
            AWS_EC2_METADATA_SERVICE_ENDPOINT=stub.endpoint,
        )
    finally:
        stub.close()

    assert status == 1
    assert "There is no provider 'moon'" in said
