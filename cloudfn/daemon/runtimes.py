"""What the containers of a revision are made of: interpreters, environments and their variables."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from cloudfn.agent.zygotes import Runtime
from cloudfn.daemon.images import ImageDesk
from cloudfn.errors import ConflictError
from cloudfn.model.cls import shown_name
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.providers.images import BuiltImage

#: variables of containers whose image is not there, and so of none
_NOTHING = (("PYTHONPATH", ""),)


class Runtimes:
    """Knows what the containers of each function run under.

    Args:
        images: The images.
        folder: Gives the runtime folder.
        environ: Variables that containers get from this machine.
    """

    def __init__(
        self, images: ImageDesk, folder: Callable[[], Path], environ: Mapping[str, str]
    ) -> None:
        self._images = images
        #: gives what containers that have an image import of cloudfn
        self._folder = folder
        self._path = environ.get("PATH", os.defpath)

    def of(self, revision: RevisionSpec, function: str) -> Runtime:
        """Return what the containers of a function of a revision are made of."""
        spec = revision.environment(function)
        if spec is None:
            return Runtime(revision.interpreter, revision.import_paths)
        image = self._images.known(revision.runtime, spec)
        if image is None:
            # Its pool says so when a container is wanted; a deploy has it built.
            return Runtime(f"im-{spec.digest}", (), environ=_NOTHING)
        if revision.runtime == "process":
            return Runtime(image.reference, (), environ=self._active(image))
        return Runtime("python3", (), image.reference)

    def check(self, revision: RevisionSpec) -> None:
        """Raise ConflictError unless all images of a revision are there."""
        for function, spec in revision.environments():
            if self._images.known(revision.runtime, spec) is None:
                raise ConflictError(
                    f"The image im-{spec.digest} of {shown_name(function)} is not built.",
                    hint="Run or deploy the app again: that builds it.",
                )

    def _active(self, image: BuiltImage) -> tuple[tuple[str, str], ...]:
        """Return what activating an environment sets, and where cloudfn is."""
        folder = Path(image.reference).parents[1]
        path = os.pathsep.join([str(folder / "bin"), self._path])
        library = str(self._folder())
        return ("PATH", path), ("PYTHONPATH", library), ("VIRTUAL_ENV", str(folder))
