"""The zip that machines fetch: cloudfn and what it needs, as they are installed here."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import cloudfn

#: extras that a machine needs
_EXTRAS = ("aws", "docker")
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?[^;]*(?:;(.*))?$")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
#: of the four hundred services that botocore describes
_SERVICES = frozenset({
    "autoscaling", "dynamodb", "ec2", "ecr", "events", "iam", "lambda", "logs", "pricing", "s3",
    "scheduler", "sqs", "ssm", "sts",
})  # fmt: skip
_WHEN = (1980, 1, 1, 0, 0, 0)


def write_bundle(target: Path) -> str:
    """Write the zip; return its SHA-256. The same content gives the same zip."""
    files = dict(sorted({**_dependencies(), **_package()}.items()))
    with zipfile.ZipFile(target, "w") as archive:
        for name, path in files.items():
            info = zipfile.ZipInfo(name, _WHEN)
            info.external_attr = 0o644 << 16
            archive.writestr(info, path.read_bytes())
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _package() -> dict[str, Path]:
    root = Path(cloudfn.__file__).parent
    return {
        f"cloudfn/{path.relative_to(root)}": path
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def _dependencies() -> dict[str, Path]:
    files: dict[str, Path] = {}
    for found in _needed():
        for each in found.files or ():
            name = str(each)
            if not name.startswith("..") and "__pycache__" not in name and _is_wanted(name):
                path = Path(str(found.locate_file(each)))
                if path.is_file() and found.name != "cloudfn":
                    files[name] = path
                elif ".dist-info/" in name and path.is_file():
                    files[name] = path  # entry points and version are of use
    return files


def _is_wanted(name: str) -> bool:
    parts = name.split("/")
    of_service = parts[:2] == ["botocore", "data"] and len(parts) > 3
    return not of_service or parts[2] in _SERVICES


def _needed() -> Iterator[Distribution]:
    """Yield cloudfn and what it needs, each once."""
    pending: list[tuple[str, tuple[str, ...]]] = [("cloudfn", _EXTRAS)]
    seen: set[tuple[str, str]] = set()
    while pending:
        name, extras = pending.pop()
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # needed on another platform, or by an older Python
        asked = {(name.lower(), each) for each in ("", *extras)}
        if asked <= seen:
            continue
        if not any(known == name.lower() for known, _ in seen):
            yield found
        seen |= asked
        pending += list(_requirements(found, extras))


def _requirements(
    found: Distribution, extras: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for text in found.requires or ():
        match = _REQUIREMENT.match(text)
        if match is None:
            continue
        name, wanted, marker = match.groups()
        extra = _EXTRA.search(marker or "")
        if extra is None or extra.group(1) in extras:
            yield name, tuple(each.strip() for each in (wanted or "").split(",") if each.strip())
