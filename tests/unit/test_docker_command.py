"""Which docker command builds: one with BuildKit."""

import os
from pathlib import Path

import pytest

from cloudfn.errors import InvalidError
from cloudfn.providers.docker.command import find_builder


def _docker(folder: Path, version: str, *, buildx: bool = False) -> str:
    """Write a docker command of a version; without buildx it fails for `docker buildx`."""
    folder.mkdir()
    command = folder / "docker"
    command.write_text(
        f'#!/bin/sh\n[ "$1" = buildx ] && exit {0 if buildx else 1}\necho "{version}"\n'
    )
    command.chmod(0o755)
    return str(command)


def _found(*commands: str) -> str:
    return find_builder({"PATH": os.pathsep.join(os.path.dirname(each) for each in commands)})


def test_a_new_command_needs_its_plugin(tmp_path):
    without = _docker(tmp_path / "a", "Docker version 28.2.2, build e6534b4")
    built_in = _docker(tmp_path / "b", "Docker version 28.2.2, build e6534b4", buildx=True)

    assert _found(without, built_in) == built_in


def test_an_old_one_has_it_built_in(tmp_path):
    new = _docker(tmp_path / "a", "Docker version 23.0.0, build 1")
    old = _docker(tmp_path / "b", "Docker version 20.10.24+dfsg1, build 297e128")

    assert _found(new, old) == old


def test_the_first_that_can_is_taken(tmp_path):
    first = _docker(tmp_path / "a", "Docker version 27.0.0, build 1", buildx=True)
    second = _docker(tmp_path / "b", "Docker version 20.10.24, build 1")

    assert _found(first, second) == first


def test_a_command_of_others_is_not_taken(tmp_path):
    podman = _docker(tmp_path / "a", "podman version 4.3.1")

    with pytest.raises(InvalidError, match="podman version 4"):
        _found(podman)


def test_none_at_all_is_said(tmp_path):
    with pytest.raises(InvalidError, match="no docker command") as caught:
        find_builder({"PATH": str(tmp_path)})

    assert "buildx" in str(caught.value.hint)


def test_what_cannot_build_is_named(tmp_path):
    command = _docker(tmp_path / "a", "Docker version 28.2.2, build e6534b4")

    with pytest.raises(InvalidError, match=r"No docker command here has BuildKit: .*28\.2\.2"):
        _found(command)
