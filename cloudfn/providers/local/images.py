"""The images of each runtime of this machine, opened when they are first asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from cloudfn.providers.images import Images, Registry
from cloudfn.settings import Settings


class LocalImages(Mapping[str, Images]):
    """`Images` by runtime. Most daemons never need any: their modules are imported late.

    Args:
        settings: The environment.
        environ: Variables of commands that build, with the marker of the daemon's processes.
        runtime: Gives the runtime folder, which images are built and run with.
        owner: Tells this environment's images of Docker from those of others.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        runtime: Callable[[], Path],
        owner: str,
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._runtime = runtime
        self._owner = owner
        self._lock = threading.Lock()
        self._opened: dict[str, Images] = {}

    def __getitem__(self, name: str) -> Images:
        opening = _OPENINGS[name]
        with self._lock:
            if name not in self._opened:
                self._opened[name] = opening(self)
            return self._opened[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_OPENINGS)

    def __len__(self) -> int:
        return len(_OPENINGS)

    def registry(self) -> Registry:
        """Open the way of Docker's images to registries."""
        from cloudfn.providers.docker.engine import DockerEngine
        from cloudfn.providers.docker.images import DockerImages
        from cloudfn.providers.docker.registry import DockerRegistry

        images = self["docker"]
        assert isinstance(images, DockerImages)
        return DockerRegistry(images, DockerEngine(self._settings.docker.environ))

    def _environments(self) -> Images:
        from cloudfn.providers.local.environments import VenvImages

        state_dir = self._settings.state_dir
        return VenvImages(
            state_dir / "images" / "process", state_dir / "bundles", self._environ, self._runtime
        )

    def _docker(self) -> Images:
        from cloudfn.providers.docker.engine import DockerEngine
        from cloudfn.providers.docker.images import DockerImages, Site

        docker, state_dir = self._settings.docker, self._settings.state_dir
        environ = {**self._environ, **docker.environ}
        site = Site(
            environment=self._settings.environment,
            root=state_dir / "images" / "docker",
            bundles=state_dir / "bundles",
            runtime=self._runtime,
            base_image=docker.base_image,
            environ=environ,
            owner=self._owner,
        )
        return DockerImages(site, DockerEngine(environ))


_OPENINGS: dict[str, Callable[[LocalImages], Images]] = {
    "process": LocalImages._environments,  # noqa: SLF001
    "docker": LocalImages._docker,  # noqa: SLF001
}
