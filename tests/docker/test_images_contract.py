"""What every adapter of `Images` promises, kept by images of Docker."""

from dataclasses import replace

import pytest

from tests.contract.test_images import (
    test_a_second_build_does_nothing_and_one_anew_does,
    test_an_image_is_there_once_it_was_built,
    test_cancelling_what_is_not_built_is_harmless,
    test_several_at_once_end_as_one_build,
    test_the_plan_names_what_a_build_would_do_and_does_nothing,
    test_what_is_removed_is_gone,
)
from tests.docker.image_world import opened, site

__all__ = [
    "opened",
    "site",
    "test_a_second_build_does_nothing_and_one_anew_does",
    "test_an_image_is_there_once_it_was_built",
    "test_cancelling_what_is_not_built_is_harmless",
    "test_several_at_once_end_as_one_build",
    "test_the_plan_names_what_a_build_would_do_and_does_nothing",
    "test_what_is_removed_is_gone",
]
pytestmark = pytest.mark.integration


@pytest.fixture
def images(site, opened, docker_engine):
    # The suite asks for the Python that it runs under; the test image has its own.
    return opened(replace(site, base_image=docker_engine.base))
