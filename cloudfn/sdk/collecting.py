"""Finds what a program's containers import: its sources and their local imports.

Reads files and this process's `sys.modules`; runs nothing.
"""

from __future__ import annotations

import hashlib
import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cloudfn import errors
from cloudfn.sdk.bundle import Bundle, BundleFile, digest_of, unreadable
from cloudfn.sdk.imports import local_imports, words_of_imports
from cloudfn.sdk.program import is_installed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cloudfn.sdk.patterns import Ignore

MAX_BYTES = 100 * 1024 * 1024
MAX_FILES = 20_000

# Mounted into containers by the engine, so never part of a user's bundle.
_OURS = "cloudfn"
_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules"})
_SKIPPED_ENDINGS = (".egg-info", ".dist-info", ".pyc", ".pyo")
_SUFFIXES = (*EXTENSION_SUFFIXES, ".py")
_TOO_MUCH = "Keep data out of packages, or bring it with the image or a volume."


def collect(
    module_name: str, root: Path, entry: Path, modules: Mapping[str, Ignore | None] | None = None
) -> Bundle:
    """Collect the program `entry`, importable as `module_name`, and its local imports.

    Local is what Python would import from `root` or from another folder of `sys.path` outside of
    the standard library and installed distributions, found by reading the sources (functions'
    bodies and `import_module("literal")` too), and what is imported already from under `root`.
    A plain module brings its file, a package all regular files of its folder save caches, hidden
    ones, virtual environments and build leftovers. A symbolic link that leads out of its folder
    on `sys.path` is not followed. Files that do not parse come along unread.

    Args:
        module_name: The name under which containers import `entry`; it decides its place.
        root: The folder from which the program's local imports start.
        entry: The program's source file.
        modules: Names of further modules, which are local or installed, and what of each to leave
            out.

    Raises:
        InvalidError: A file is unreadable, there is no module of a name, or all files are more than
            `MAX_BYTES` or `MAX_FILES`.
    """
    collection = _Collection(root)
    collection.add_entry(module_name, entry)
    for name, ignore in (modules or {}).items():
        collection.add_module(name, ignore)
        collection.follow()
    collection.add_loaded()
    return collection.bundle()


def collect_modules(names: Iterable[str], root: Path | None, ignore: Ignore | None) -> Bundle:
    """Collect local modules alone, without what they import.

    Args:
        names: Their names.
        root: The folder of the program, which is searched first; None for the working directory.
        ignore: What to leave out, by its path in the bundle.

    Raises:
        InvalidError: As of `collect`, or a module is installed and no local one.
    """
    collection = _Collection(root or Path.cwd())
    for name in names:
        collection.add_module(name, ignore)
    return collection.bundle()


class _Collection:
    """The files found so far, by their paths in the bundle."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._search = _search_folders(self._root)
        self._files: dict[str, BundleFile] = {}
        self._sources: set[str] = set()
        self._hashes: dict[str, tuple[int, bytes]] = {}
        self._size = 0
        self._asked: set[str] = set()
        self._packages: set[str] = set()
        self._listings: dict[str, frozenset[str]] = {}
        self._local: dict[bytes, str] | None = None
        self._entry = ""
        self._unread: list[tuple[str, bytes]] = []
        self._ignore: Ignore | None = None

    def add_entry(self, module_name: str, entry: Path) -> None:
        self._entry = str(entry)
        place = module_name.replace(".", "/")
        is_package = entry.name == "__init__.py"
        self._add(place + ("/__init__.py" if is_package else ".py"), self._entry)
        if "." in module_name or is_package:
            self._find(self._root, module_name.split("."))
        self._asked.add(module_name)
        self.follow()

    def add_module(self, name: str, ignore: Ignore | None = None) -> None:
        """Add a module that the user named, without what `ignore` says of paths in the bundle."""
        self._ignore = ignore
        parts = name.split(".")
        found = any(self._find(folder, parts) for folder in self._search)
        if not found and find_spec(parts[0]) is None:
            raise errors.InvalidError(
                f"There is no module {name!r} that could be brought to the containers.",
                hint="`add_local_python_source` takes names as in an import, found from the "
                "program's folder or sys.path.",
            )
        self._asked.add(name)
        self._ignore = None

    def add_loaded(self) -> None:
        """Add what this process has imported from under the root by whatever means."""
        prefix = self._root + os.sep
        if is_installed(self._root):
            return
        for name, module in list(sys.modules.items()):
            # `vars`, as modules that load themselves lazily do so on any attribute.
            file = getattr(module, "__dict__", {}).get("__file__")
            if not isinstance(file, str) or not file.startswith(prefix) or is_installed(file):
                continue
            if name.startswith("__") or not file.endswith(_SUFFIXES) or file == self._entry:
                continue
            if not os.path.isfile(file) or _is_ours(name):
                continue
            self._add_loaded_module(name, file)
        self.follow()

    def bundle(self) -> Bundle:
        paths = sorted(self._files)
        files = tuple(self._files[path] for path in paths)
        return Bundle(files, digest_of(files, self._hashes), self._size)

    def _add_loaded_module(self, name: str, file: str) -> None:
        self._want(name)
        if file in self._sources or not _is_below(file, self._root):
            return
        # Imported in a way that no search explains, so it goes where its name will find it.
        place = name.replace(".", "/")
        is_package = os.path.basename(file) == "__init__.py"
        ending = "/__init__.py" if is_package else file[file.index(".", file.rindex(os.sep)) :]
        self._add(place + ending, file)

    def follow(self) -> None:
        """Add what the sources found so far import."""
        while self._unread:
            path, source = self._unread.pop()
            package = path.rpartition("/")[0].replace("/", ".")
            if self._may_import(source, package):
                for name in sorted(local_imports(source, package)):
                    self._want(name)

    def _may_import(self, source: bytes, package: str) -> bool:
        """Spare the parse of a package's file that names nothing that is not here already."""
        top = package.partition(".")[0]
        if top not in self._packages:
            return True
        words = words_of_imports(source)
        if words is None:
            return True
        if self._local is None:
            names = {name for folder in self._search for name in self._modules_in(folder)}
            self._local = {name.encode(): name for name in names}
        return any(self._local[word] not in self._packages for word in words & self._local.keys())

    def _want(self, dotted: str) -> None:
        parts = dotted.split(".")
        if dotted in self._asked or parts[0] in self._packages or _is_ours(dotted):
            return
        self._asked.add(dotted)
        for folder in self._search:
            if self._find(folder, parts):
                return

    def _find(self, top: str, parts: list[str], above: str = "") -> bool:
        """Add what `parts` names in the folder `above` of `top`; whether there is such a thing."""
        name, deeper = parts[0], parts[1:]
        folder = os.path.join(top, above)
        listing = self._listing(folder)
        below = os.path.join(folder, name)
        place = above + name
        if name in listing and os.path.isfile(os.path.join(below, "__init__.py")):
            self._add_package(below, place, top)
            return True
        for suffix in _SUFFIXES:
            if name + suffix in listing:
                return self._add_module(below + suffix, place + suffix, top)
        if name not in listing or not deeper or not os.path.isdir(below):
            return False
        return _stays_in(below, top) and self._find(top, deeper, place + "/")

    def _add_module(self, file: str, path: str, top: str) -> bool:
        if file == self._entry:
            # Under its own name it is here; a second copy would hide an installed module.
            return path in self._files
        if not os.path.isfile(file) or not _stays_in(file, top):
            return False
        self._add(path, file)
        return True

    def _add_package(self, folder: str, path: str, top: str) -> None:
        dotted = path.replace("/", ".")
        if dotted in self._packages or not _stays_in(folder, top):
            return
        self._packages.add(dotted)
        for relative, file in _regular_files(folder, os.path.realpath(top)):
            self._add(f"{path}/{relative}", file)

    def _add(self, path: str, file: str) -> None:
        if path in self._files or (self._ignore is not None and self._ignore(Path(path))):
            return
        size, digest, executable, source = _read(file, MAX_BYTES - self._size)
        self._size += size
        self._sources.add(file)
        self._files[path] = BundleFile(path, Path(file), executable)
        self._hashes[path] = (size, digest)
        if source is not None:
            self._unread.append((path, source))
        if len(self._files) > MAX_FILES:
            raise errors.InvalidError(
                f"The program's packages have more than {MAX_FILES} files, the last in "
                f"{os.path.dirname(file)}.",
                hint=_TOO_MUCH,
            )

    def _listing(self, folder: str) -> frozenset[str]:
        known = self._listings.get(folder)
        if known is None:
            try:
                known = frozenset(os.listdir(folder))
            except OSError:
                known = frozenset()
            self._listings[folder] = known
        return known

    def _modules_in(self, folder: str) -> Iterator[str]:
        for name in self._listing(folder):
            stem, dot, _ = name.partition(".")
            if stem.isidentifier() and (not dot or name.endswith(_SUFFIXES)):
                yield stem


def _search_folders(root: str) -> list[str]:
    # Everything beside a program that is itself installed is installed too.
    folders = [] if is_installed(root) else [root]
    scripts = os.path.dirname(sys.executable)
    for each in sys.path:
        folder = os.path.abspath(each)
        if folder not in folders and folder != scripts and not is_installed(folder):
            folders.append(folder)
    return [folder for folder in folders if os.path.isdir(folder)]


def _is_ours(dotted: str) -> bool:
    return dotted == _OURS or dotted.startswith(_OURS + ".")


def _stays_in(path: str, folder: str) -> bool:
    if not os.path.islink(path):
        return True
    return _is_below(path, folder)


def _is_below(path: str, folder: str) -> bool:
    return os.path.realpath(path).startswith(os.path.realpath(folder) + os.sep)


def _regular_files(folder: str, top: str) -> Iterator[tuple[str, str]]:
    """Yield the files of a package with their paths relative to it; `top` bounds symbolic links."""
    pending = [("", folder)]
    here = os.path.realpath(folder)
    # With what lies above it, as a link to that would bring in everything beside the package.
    seen = {here, *map(str, Path(here).parents)}
    while pending:
        above, current = pending.pop()
        for each in sorted(_entries(current), key=lambda entry: entry.name):
            if _is_skipped(each) or not _stays_in(each.path, top):
                continue
            if each.is_file():
                yield above + each.name, each.path
            elif each.is_dir() and not os.path.exists(os.path.join(each.path, "pyvenv.cfg")):
                real = os.path.realpath(each.path)
                if real not in seen:
                    seen.add(real)
                    pending.append((f"{above}{each.name}/", each.path))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise unreadable(folder, error) from error


def _is_skipped(entry: os.DirEntry[str]) -> bool:
    name = entry.name
    return name.startswith(".") or name in _SKIPPED_FOLDERS or name.endswith(_SKIPPED_ENDINGS)


def _read(file: str, room: int) -> tuple[int, bytes, bool, bytes | None]:
    """Return a file's size, digest and executable bit, with its text when it is Python source."""
    try:
        with open(file, "rb") as stream:
            status = os.fstat(stream.fileno())
            if status.st_size > room:
                raise errors.InvalidError(
                    f"The program and its local packages are larger than "
                    f"{MAX_BYTES // 1024**2} MiB; {file} does not fit in any more.",
                    hint=_TOO_MUCH,
                )
            executable = bool(status.st_mode & 0o100)
            if file.endswith(".py"):
                source = stream.read()
                return len(source), hashlib.sha256(source).digest(), executable, source
            digest = hashlib.file_digest(stream, "sha256").digest()
            return stream.tell(), digest, executable, None
    except OSError as error:
        raise unreadable(file, error) from error
