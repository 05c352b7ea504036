"""What it takes to run a pool on this machine: its revision, bundle, image, secrets. Blocks."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cloudfn.agent.pool import PoolSpec
from cloudfn.agent.zygotes import Runtime
from cloudfn.control.deploy.directory import version_of
from cloudfn.control.stores.registry import Registry
from cloudfn.control.stores.secrets import SecretDesk
from cloudfn.daemon.specs import pool_spec
from cloudfn.errors import InvalidError, NotFoundError
from cloudfn.model import ids
from cloudfn.model.cls import shown_name
from cloudfn.model.function import AutoscalerSettings
from cloudfn.providers.base import Cloud
from cloudfn.providers.catalog import FunctionRecord, RevisionRecord, effective


@dataclass(frozen=True, slots=True)
class Opening:
    """A pool as it is to be run."""

    spec: PoolSpec
    #: in force for the whole environment
    settings: AutoscalerSettings
    #: it serves the live revision of a live app
    live: bool
    #: variables of the secrets that it names
    secrets: Mapping[str, str]


class Openings:
    """Finds out what pools run, and brings it here. Called in threads, one at a time for a pool.

    Args:
        cloud: Where it is.
        bundles: Folder of sources on this machine.
        runtimes: What containers may be here.
    """

    def __init__(self, cloud: Cloud, bundles: Path, runtimes: tuple[str, ...]) -> None:
        self._cloud = cloud
        self._bundles = bundles
        self._runtimes = runtimes
        self._secrets = SecretDesk(cloud.secrets, Registry(cloud.objects, {}), bytes)
        #: what pools are, also of those of which something is missing
        self._specs: dict[str, PoolSpec] = {}
        shutil.rmtree(self._partial, ignore_errors=True)
        for folder in (self._partial, bundles):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def _partial(self) -> Path:
        return self._bundles.with_name("bundles-partial")

    def look_up(self, pool: str) -> Opening:
        """Return what a pool runs, with everything of it on this machine.

        Raises:
            NotFoundError: Its function, revision or app is gone, or its image is not built.
            InvalidError: This machine has no such runtime.
            Error: Something cannot be had now.
        """
        function_id, _, number = pool.rpartition("@")
        catalog = self._cloud.catalog
        function = catalog.function(function_id)
        revision = catalog.revision(function.app_id, int(number)) if function else None
        app = catalog.app(function.app_id) if function else None
        if function is None or revision is None or app is None:
            raise NotFoundError(f"The function or version of {pool} is gone.")
        bundles = str(self._bundles)
        runtime = self._runtime(function, revision)
        spec = pool_spec(function, revision, runtime, bundles, app.name)
        self._specs[pool] = spec
        for digest in _bundles_of(spec, revision):
            self._fetch(digest)
        for mount in spec.function.volumes:
            # Before containers start, which have only so much time for it.
            files = self._cloud.volumes.files(mount.object_id)
            seen = [file.key for file in files if file.path.startswith(mount.sub_path or "")]
            self._cloud.volumes.fetch(mount.object_id, seen)
        return Opening(
            spec,
            effective(spec.function, catalog.override(function_id)),
            live=app.state != "stopped" and version_of(function, app) == revision.number,
            secrets=self._secrets.variables(spec.function.secrets),
        )

    def spec(self, pool: str) -> PoolSpec | None:
        """Return what a pool is, where that was found out, whatever of it could not be had."""
        return self._specs.get(pool)

    def _runtime(self, function: FunctionRecord, revision: RevisionRecord) -> Runtime:
        source = revision.spec
        if source.runtime not in self._runtimes:
            raise InvalidError(
                f"This machine has no runtime {source.runtime!r}.",
                hint=f"Deploy the app with one of: {', '.join(self._runtimes)}.",
            )
        image = source.environment(function.name)
        if image is None:
            return Runtime(source.interpreter, source.import_paths)
        if source.runtime == "process":
            raise InvalidError(
                f"{shown_name(function.name)} has an image, which processes of a machine cannot.",
                hint='Deploy the app with runtime="docker".',
            )
        found = self._cloud.images.find(image)
        if found is None:
            raise NotFoundError(
                f"The image im-{image.digest} of {shown_name(function.name)} is not built.",
                hint="Run or deploy the app again: that builds it.",
            )
        return Runtime("python3", (), found.reference)

    def _fetch(self, digest: str) -> None:
        """Bring a bundle here, whole or not at all."""
        target = self._bundles / digest
        if target.exists():
            return
        partial = self._partial / ids.mint("bu")
        self._cloud.depot.fetch_bundle(digest, partial)
        try:
            partial.rename(target)
        except OSError:
            if not target.exists():  # else somebody was faster
                raise
            shutil.rmtree(partial, ignore_errors=True)


def _bundles_of(spec: PoolSpec, revision: RevisionRecord) -> list[str]:
    """Return the digests of everything that a pool's containers see of sources and files."""
    image = spec.function.image
    copied = not spec.program.runtime.image  # else the image has them
    attached = image.attachments(copied=copied) if image is not None else ()
    return [revision.spec.bundle, *(each.context for each in attached)]
