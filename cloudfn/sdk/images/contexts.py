"""Local files and folders as contexts: bundles that builds copy from, and that containers see."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from cloudfn.errors import InvalidError
from cloudfn.sdk.bundle import (
    PARTIAL_PREFIX,
    Bundle,
    BundleFile,
    digest_of,
    store,
    warn_if_large,
)
from cloudfn.sdk.patterns import FilePatternMatcher, Ignore

#: what no folder with sources is brought with, unless it is asked for
SOURCE_CLUTTER = (
    "**/.*",
    "**/__pycache__",
    "**/*.py[co]",
    "**/*.egg-info",
    "**/node_modules",
    "build",
    "dist",
)


class Contexts:
    """Makes contexts in the folder of bundles.

    Args:
        bundles: The folder of all bundles.
        durable: They have to survive a power cut.
    """

    def __init__(self, bundles: Path, *, durable: bool) -> None:
        self._bundles = bundles
        self._durable = durable

    def file(self, local_path: str, what: str) -> tuple[str, str]:
        """Bring a file, and return the digest of its context and its name there.

        Raises:
            InvalidError: It is missing, no file, or cannot be read; the text begins with `what`.
        """
        path = existing_file(local_path, what)
        return self._store([(path.name, path)], what), path.name

    def folder(
        self, local_path: str, what: str, ignore: Ignore, *, pass_over_links: bool = False
    ) -> str:
        """Bring a folder, without what `ignore` says of relative paths; return the digest.

        Links are followed within the folder. Empty folders are not kept.

        Args:
            local_path: The folder.
            what: The method, for texts of errors.
            ignore: What to leave out.
            pass_over_links: Leave out links that lead out of the folder, instead of raising.

        Raises:
            InvalidError: It is missing, no folder, or something in it cannot be read or leads out.
        """
        path = existing(local_path, what)
        if not path.is_dir():
            raise InvalidError(f"{what} takes a folder, and {local_path} is a file.")
        files = walk(path, what, ignore, pass_over_links=pass_over_links)
        return self._store([(name, path / name) for name in files], what)

    def texts(self, files: Mapping[str, bytes]) -> str:
        """Bring files with these contents, by their names; return the digest."""
        import shutil

        self._bundles.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = self._bundles / f"{PARTIAL_PREFIX}{os.urandom(8).hex()}"
        try:
            for name, content in files.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            return self._store([(name, folder / name) for name in files], "The Image")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def files(self, files: Mapping[str, str], what: str) -> str:
        """Bring local files by the paths that they get in the context; return the digest."""
        found = [(name, existing_file(local, what)) for name, local in files.items()]
        return self._store(found, what)

    def joined(self, parts: Iterable[tuple[str, str, str]], what: str) -> str:
        """Make one context of several; return its digest.

        Args:
            parts: (digest, name of its one file or "", path in the new context) of each; later
                files take the place of earlier ones.
            what: The method, for the text of an error.

        Raises:
            InvalidError: A file of one is a folder of another.
        """
        found: dict[str, Path] = {}
        for digest, name, path in parts:
            folder = self._bundles / digest
            names = [name] if name else walk(folder, what, FilePatternMatcher())
            for each in names:
                found[(path if name else f"{path}/{each}").strip("/")] = folder / each
        if "" in found or any(
            str(p) in found for each in found for p in PurePosixPath(each).parents
        ):
            raise InvalidError(
                f"{what} puts something within what is a file.",
                hint="Give files and folders places of their own.",
            )
        return self._store(list(found.items()), what)

    def bundle(self, bundle: Bundle) -> str:
        """Bring a bundle, and return its digest."""
        store(bundle, self._bundles, durable=self._durable)
        return bundle.digest

    def _store(self, files: list[tuple[str, Path]], what: str) -> str:
        hashes, found = {}, []
        for name, path in sorted(files):
            try:
                with open(path, "rb") as stream:
                    executable = bool(os.fstat(stream.fileno()).st_mode & 0o100)
                    digest = hashlib.file_digest(stream, "sha256").digest()
                    hashes[name] = stream.tell(), digest
            except OSError as error:
                raise unreadable(what, path, error) from error
            found.append(BundleFile(name, path, executable))
        size = sum(each for each, _ in hashes.values())
        bundle = Bundle(tuple(found), digest_of(found, hashes), size)
        warn_if_large(bundle, what, "Leave out what is not needed with `ignore`, or use a volume.")
        return self.bundle(bundle)


def walk(
    folder: Path, what: str, ignore: Ignore, *, pass_over_links: bool = False
) -> Iterator[str]:
    """Yield the relative paths of a folder's files; raises as `Contexts.folder` does."""
    top = os.path.realpath(folder)
    pending = [("", frozenset({top}))]
    skips_folders = isinstance(ignore, FilePatternMatcher) and ignore.may_skip_folders
    while pending:
        above, real_above = pending.pop()
        try:
            entries = sorted(os.scandir(folder / above), key=lambda entry: entry.name)
        except OSError as error:
            raise unreadable(what, folder / above, error) from error
        for entry in entries:
            name = f"{above}{entry.name}"
            ignored = ignore(Path(PurePosixPath(name)))
            if ignored and (skips_folders or not entry.is_dir()):
                continue
            if entry.is_symlink() and not _leads_inside(entry.path, top):
                if pass_over_links or ignored:
                    continue
                raise InvalidError(
                    f"{what} cannot bring {entry.path}: it is a link that leads out of the folder, "
                    "or nowhere.",
                    hint=f"Leave it out with `ignore=[{_to_ignore(folder, name)!r}]`, or put a "
                    "copy in its place.",
                )
            if entry.is_file():
                yield name
            elif entry.is_dir() and (real := os.path.realpath(entry.path)) not in real_above:
                # A link to a folder above would never end; any other is a copy.
                pending.append((f"{name}/", real_above | {real}))


def existing(local_path: str, what: str) -> Path:
    """Return a local path, absolute; raises InvalidError where there is nothing."""
    path = Path(local_path).expanduser().absolute()
    try:
        path.stat()
    except OSError as error:
        raise InvalidError(
            f"{what} takes {local_path}, and there is none: {error.strerror}.",
            hint=f"Relative paths are looked up from {Path.cwd()}.",
        ) from error
    return path


def existing_file(local_path: str, what: str) -> Path:
    """Return the path of a file, absolute; raises InvalidError where there is none."""
    path = existing(local_path, what)
    if path.is_dir():
        raise InvalidError(f"{what} takes a file, and {local_path} is a folder.")
    return path


def text_of(path: Path, what: str) -> str:
    """Return what is in a text file; raises InvalidError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise unreadable(what, path, error) from error
    except UnicodeDecodeError as error:
        raise InvalidError(f"{what} takes a text file, and {path} is none: {error}.") from error


def unreadable(what: str, path: Path, error: OSError) -> InvalidError:
    """Return what is raised for a local file or folder that cannot be read."""
    return InvalidError(
        f"{what} cannot read {path}: {error.strerror}.", hint="Make it readable, or leave it out."
    )


def _to_ignore(folder: Path, name: str) -> str:
    """Return what people would rather ignore: the virtual environment that a link belongs to."""
    above = (p for p in PurePosixPath(name).parents if (folder / p / "pyvenv.cfg").is_file())
    return str(next(above, name))


def _leads_inside(path: str, top: str) -> bool:
    real = os.path.realpath(path)
    return f"{real}/".startswith(f"{top}/") and os.path.exists(real)
