"""An environment of a test's own whose images are those of a real engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cloudfn.model.image import ImageSpec, Layer
from cloudfn.providers.docker.engine import DockerEngine
from cloudfn.providers.docker.images import DockerImages, Site
from tests.docker.engine import Engine


@pytest.fixture
def site(docker_engine: Engine, tmp_path: Path) -> Site:
    """An environment of this test, with nothing in it."""
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    environ = {
        "PATH": ":".join(os.get_exec_path()),
        "HOME": str(tmp_path),
        "DOCKER_HOST": docker_engine.host,
    }
    return Site(
        environment=f"T-{tmp_path.name}",
        root=tmp_path / "images",
        bundles=tmp_path / "bundles",
        runtime=lambda: runtime,
        base_image=docker_engine.base.replace(docker_engine.base_python, "{version}"),
        environ=environ,
        owner=tmp_path.name.rjust(8, "0"),
    )


@pytest.fixture
def opened() -> Iterator[Callable[[Site], DockerImages]]:
    """Open the images of an environment, and hang up in the end."""
    with ExitStack() as stack:

        def opened(site: Site) -> DockerImages:
            engine = DockerEngine(site.environ)
            stack.callback(engine.close)
            return DockerImages(site, engine)

        yield opened


@pytest.fixture
def images(site: Site, opened: Callable[[Site], DockerImages]) -> DockerImages:
    return opened(site)


def spec_of(*layers: tuple[str, dict[str, Any]]) -> ImageSpec:
    base = Layer("debian_slim", {"python_version": "3.11"})
    return ImageSpec((base, *(Layer(method, given) for method, given in layers)))


def nothing(_line: str) -> None: ...
