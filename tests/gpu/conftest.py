"""The device of the check. Where there is none its tests are skipped, and say so.

With `CLOUDFN_REQUIRE_GPU` in the environment that is a failure, for places that should have one.
"""

import os
from collections.abc import Iterator

import pytest

from cloudfn.agent.gpus import found_gpus
from cloudfn.sdk.client import using
from tests.gpu.program import app
from tests.integration.conformance_world import World, opened_world


@pytest.fixture(scope="session")
def _devices() -> None:
    if found_gpus():
        return
    text = "there is no NVIDIA GPU here: nothing of the check was run"
    if os.environ.get("CLOUDFN_REQUIRE_GPU"):
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture
def world(_devices: None) -> Iterator[World]:
    """An environment with the GPUs of this machine, in which the program of the check runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CLOUDFN_GPUS")
        with opened_world() as opened, using(opened.client), app.run():
            yield opened
