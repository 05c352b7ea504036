"""What files of packages say, read on the client: requirements, pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from cloudfn.errors import InvalidError
from cloudfn.sdk.images.contexts import existing_file, text_of

_COMMENT = re.compile(r"(?:^|\s+)#.*$")
_NESTED = re.compile(r"(?:-r\s*|--requirement(?:\s+|=))(.+)")
_CONSTRAINTS = re.compile(r"(?:-c\s*|--constraint(?:\s+|=))(.+)")
_EDITABLE = re.compile(r"(?:-e\s*|--editable(?:\s+|=))(.+)")
_LOCAL = re.compile(r"(?:[\w.-]+(?:\[[\w,\s]*\])?\s*@\s*)?(?:\.{0,2}/|\.$|file:|~/)")
_REMOTE = re.compile(r"(?:\w+\+)?(?:https?|ssh|git)://")


def requirements_text(paths: list[str], what: str) -> tuple[str, str]:
    """Return what requirements files say, those that they name included, and constraints.

    Comments are left out, so that they rebuild nothing.

    Raises:
        InvalidError: A file cannot be read, names itself, or names what is on this machine only.
    """
    reading = _Reading(what)
    for each in paths:
        reading.read(existing_file(each, what), ())
    return _text(reading.requirements), _text(reading.constraints)


def pyproject_packages(local_path: str, groups: list[str], what: str) -> list[str]:
    """Return the dependencies of a project, and those of optional groups.

    Raises:
        InvalidError: The file cannot be read, or has no such group.
    """
    path = existing_file(local_path, what)
    project = _toml(path, what).get("project")
    if not isinstance(project, dict) or "dependencies" not in project:
        raise InvalidError(
            f"{what} finds no `[project]` with `dependencies` in {local_path}.",
            hint="Use uv_sync or poetry_install_from_file for projects of those.",
        )
    optional = project.get("optional-dependencies") or {}
    found = list(project["dependencies"])
    for group in groups:
        if group not in optional:
            raise InvalidError(
                f"{what} finds no optional dependencies {group!r} in {local_path}.",
                hint=f"There are {', '.join(map(repr, optional)) or 'none'}.",
            )
        found += optional[group]
    return found


class _Reading:
    """Requirements read so far."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.requirements: list[str] = []
        self.constraints: list[str] = []

    def read(self, path: Path, above: tuple[Path, ...], *, constraints: bool = False) -> None:
        if path in above:
            raise InvalidError(f"{self._what}: {path} names itself.")
        into = self.constraints if constraints else self.requirements
        for line in _lines(text_of(path, self._what)):
            nested, bound = _NESTED.fullmatch(line), _CONSTRAINTS.fullmatch(line)
            file = nested or bound
            if file is not None and not _REMOTE.match(file[1]):
                other = existing_file(str(path.parent / file[1].strip()), self._what)
                self.read(other, (*above, path), constraints=constraints or bound is not None)
                continue
            self._check(line, path)
            into.append(line)

    def _check(self, line: str, path: Path) -> None:
        editable = _EDITABLE.fullmatch(line)
        named = editable[1] if editable else line
        if _LOCAL.match(named) or (editable is not None and not _REMOTE.match(named)):
            raise InvalidError(
                f"{self._what}: {path} names what is on this machine only: {line}",
                hint="Use Image.from_local_env, or add_local_python_source for its modules.",
            )


def _lines(text: str) -> list[str]:
    joined = re.sub(r"\s*\\\r?\n\s*", " ", text)
    stripped = (_COMMENT.sub("", line).strip() for line in joined.splitlines())
    return [line for line in stripped if line]


def _text(found: list[str]) -> str:
    return "".join(f"{line}\n" for line in found)


def _toml(path: Path, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text_of(path, what))
    except tomllib.TOMLDecodeError as error:
        raise InvalidError(f"{what} cannot read {path}: {error}.") from error
