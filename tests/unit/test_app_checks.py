"""What an app is refused for, before anything is done about it."""

from dataclasses import replace

import pytest

from cloudfn.daemon.operations.apps import check_runtime
from cloudfn.errors import InvalidError
from cloudfn.model.function import FunctionSpec
from cloudfn.providers.catalog import RevisionSpec

PLAIN = FunctionSpec("f", "m", "f")
CUT_OFF = replace(PLAIN, block_network=True)


def revision(runtime: str, *functions: FunctionSpec) -> RevisionSpec:
    return RevisionSpec("bundle", "m", functions, "python3", runtime=runtime)


def test_processes_cannot_be_without_a_network():
    with pytest.raises(InvalidError, match="without a network") as told:
        check_runtime(revision("process", PLAIN, CUT_OFF), interactive=False)

    assert "--runtime docker" in (told.value.hint or "")
    check_runtime(revision("docker", CUT_OFF), interactive=False)
    check_runtime(revision("process", PLAIN), interactive=True)


def test_a_run_in_docker_cannot_be_interactive():
    with pytest.raises(InvalidError, match="interactive"):
        check_runtime(revision("docker", PLAIN), interactive=True)
