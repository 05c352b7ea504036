"""What a pool runs, as the catalog and a machine's folders say it."""

from __future__ import annotations

import os

from cloudfn.agent.pool import PoolSpec
from cloudfn.agent.zygotes import Program, Runtime
from cloudfn.errors import NotFoundError
from cloudfn.model import ids
from cloudfn.model.image import ImageSpec
from cloudfn.model.variant import parameters_of, served
from cloudfn.providers.catalog import FunctionRecord, RevisionRecord


def pool_spec(
    function: FunctionRecord,
    revision: RevisionRecord,
    runtime: Runtime,
    bundles: str,
    app_name: str,
) -> PoolSpec:
    """Return what the pool of a function, or of a variant, at a revision runs.

    Args:
        function: The function, or a variant of one.
        revision: The revision.
        runtime: What its containers are made of.
        bundles: The folder in which bundles lie by their digests.
        app_name: The name of its app.

    Raises:
        NotFoundError: The revision has no such function.
        InvalidError: The variant does not fit it.
    """
    spec = revision.spec.function(function.name)
    if spec is None:
        raise NotFoundError(f"Version {revision.number} has no function {function.name}.")
    source = revision.spec
    program = Program(
        runtime,
        f"{bundles}/{source.bundle}",
        source.module,
        tuple(each.to_json() for each in source.functions),
        spec.fork,
        _attached(spec.image, bundles),
        (spec.image and spec.image.workdir) or "",
    )
    return PoolSpec(
        ids.pool_name(function.function_id, revision.number),
        function.app_id,
        function.function_id,
        revision.number,
        served(spec, function.variant),
        program,
        parameters_of(spec, function.variant),
        app_name,
        pinned=function.variant is not None and function.variant.version is not None,
    )


def _attached(image: ImageSpec | None, bundles: str) -> tuple[tuple[str, str], ...]:
    """Return where the local files of an image are, and where programs see them."""
    # A virtual environment has no place for what is copied to absolute paths.
    found = image.attachments(copied=True) if image is not None else ()
    return tuple(
        (os.path.join(bundles, each.context, each.path).rstrip("/"), each.remote_path)
        for each in found
    )
