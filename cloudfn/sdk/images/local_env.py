"""What the client's own Python has installed, for `Image.from_local_env`. Reads metadata."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: what every environment has anyway, and what containers get from us
_LEFT_OUT = frozenset({"cloudfn", "pip", "wheel"})
#: left out unless something needs it while it runs
_TOOL = "setuptools"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class LocalProject:
    """A distribution that came from this machine: a project's folder, or an archive."""

    name: str
    version: str
    source: Path


@dataclass(frozen=True, slots=True)
class Installed:
    """Distributions, each group sorted by name.

    Attributes:
        packages: Requirements that name one version each.
        projects: What has to be brought along.
    """

    packages: tuple[str, ...]
    projects: tuple[LocalProject, ...]


def installed(distributions: Iterable[Distribution]) -> Installed:
    """Return what of some distributions an image has to install; of two of a name, the first."""
    first: dict[str, Distribution] = {}
    for each in distributions:
        # Leftovers of a removal have no name.
        if name := each.metadata["Name"]:
            first.setdefault(_normal(name), each)
    left_out = set(_LEFT_OUT)
    if not any(_TOOL in _needs(each) for name, each in first.items() if name not in left_out):
        left_out.add(_TOOL)
    packages, projects = [], []
    for name, each in sorted(first.items()):
        if name in left_out:
            continue
        source = _source(each)
        if isinstance(source, Path):
            projects.append(LocalProject(name, each.version, source))
        else:
            packages.append(source)
    return Installed(tuple(packages), tuple(projects))


def _source(distribution: Distribution) -> str | Path:
    """Return what to install: a requirement, or a folder or file of this machine."""
    name, version = distribution.metadata["Name"], distribution.version
    told = json.loads(distribution.read_text("direct_url.json") or "{}")
    url = told.get("url", "")
    if not url:
        return _linked(distribution) or f"{name}=={version}"
    below = told.get("subdirectory", "")
    if urlsplit(url).scheme == "file":
        path = Path(unquote(urlsplit(url).path), below)
        # A wheel is often gone after its installation; then the index has to have it.
        return path if path.exists() else f"{name}=={version}"
    ending = f"#subdirectory={below}" if below else ""
    vcs = told.get("vcs_info")
    if vcs is None:
        return f"{name} @ {url}{ending}"
    return f"{name} @ {vcs['vcs']}+{url}@{vcs['commit_id']}{ending}"


def _linked(distribution: Distribution) -> Path | None:
    """Return the project that lies beside a distribution's metadata, as `develop` leaves it."""
    folder = Path(str(distribution.locate_file("")))
    if {"site-packages", "dist-packages"} & set(folder.parts):
        return None
    for each in (folder, folder.parent):
        if any(os.path.isfile(each / name) for name in ("pyproject.toml", "setup.py")):
            return each
    return None


def _needs(distribution: Distribution) -> set[str]:
    return set(_needed(distribution))


def _needed(distribution: Distribution) -> Iterator[str]:
    for line in distribution.requires or ():
        name = _NAME.match(line)
        if name is not None and "extra" not in line.partition(";")[2]:
            yield _normal(name[0])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
