"""The Image builder's methods for local files: copied when it is built, or attached at start."""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudfn.errors import InvalidError
from cloudfn.model.image import check_remote_path
from cloudfn.sdk.images.recording import Recorded, path
from cloudfn.sdk.patterns import ignore_of

if TYPE_CHECKING:
    from cloudfn.sdk.image import Image


class LocalFiles(Recorded):
    """The methods that bring local files.

    Without `copy` they are attached, read-only, when containers start: a change of them builds
    nothing, and nothing can be built on top.
    """

    __slots__ = ()

    def add_local_file(
        self, local_path: str | Path, remote_path: str, *, copy: bool = False
    ) -> Image:
        """Bring a file.

        Args:
            local_path: The file, from the working directory if it is relative.
            remote_path: Where containers see it; with a slash at its end, the folder. A relative
                one is within the `workdir` that was set before.
            copy: Make it part of the image.

        Raises:
            InvalidError: A path makes no sense.
        """
        local = path("add_local_file", "local_path", local_path)
        if str(remote_path).endswith("/"):
            remote_path = posixpath.join(remote_path, posixpath.basename(local))
        given = {
            "local_path": local,
            "remote_path": self._remote("add_local_file", remote_path),
            "copy": copy,
        }
        return self._with("add_local_file", {k: v for k, v in given.items() if v})

    def add_local_dir(
        self, local_path: str | Path, remote_path: str, *, copy: bool = False, ignore: Any = ()
    ) -> Image:
        """Bring a folder.

        Args:
            local_path: The folder, from the working directory if it is relative.
            remote_path: Where containers see it. A relative one is within the `workdir` that was
                set before.
            copy: Make it part of the image.
            ignore: What to leave out: patterns as in a `.dockerignore`, or a function that gets a
                Path relative to the folder.

        Raises:
            InvalidError: A path or a pattern makes no sense.
        """
        given = {
            "local_path": path("add_local_dir", "local_path", local_path),
            "remote_path": self._remote("add_local_dir", remote_path),
            "copy": copy,
            "ignore": ignore,
        }
        return self._with_ignore("add_local_dir", given)

    def add_local_python_source(
        self, *modules: str, copy: bool = False, ignore: Any = None
    ) -> Image:
        """Bring local modules and packages, so that containers can import them.

        Args:
            *modules: Names, as in an import, found from the program's folder or `sys.path`.
            copy: Make them part of the image; otherwise they travel with the program.
            ignore: Files of packages to leave out, as for `add_local_dir`; what is hidden or no
                source, when omitted.

        Raises:
            InvalidError: A name is no module's.
        """
        for name in modules:
            parts = name.split(".") if isinstance(name, str) else [""]
            if not all(part.isidentifier() for part in parts):
                raise InvalidError(
                    f"`add_local_python_source` takes names of modules, not {name!r}.",
                    hint='Write it as in an import: "package.module".',
                )
        given = {"modules": modules, "copy": copy, "ignore": ignore}
        return self._with_ignore("add_local_python_source", given)

    def _with_ignore(self, method: str, given: dict[str, Any]) -> Image:
        ignore = given["ignore"]
        objects = {}
        if ignore:
            objects["ignore"] = ignore_of(ignore, f"`ignore` of `Image.{method}`")
        return self._with(method, {k: v for k, v in given.items() if v}, objects)

    def _remote(self, method: str, remote_path: object) -> str:
        if not isinstance(remote_path, str) or not remote_path:
            raise InvalidError(
                f"`remote_path` of `Image.{method}` must be a path, not {remote_path!r}."
            )
        folder = self.spec.workdir
        if not remote_path.startswith("/") and folder is None:
            raise InvalidError(
                f"`remote_path` of `Image.{method}` is relative: {remote_path!r}.",
                hint="Begin it with a slash, or call `workdir` before.",
            )
        return check_remote_path(posixpath.join(folder or "/", remote_path), method)
