"""The bundle: cloudfn and the wheels that it needs, as one zip for machines and for the planner.

Pure Python alone, so that one zip serves every architecture and every Python from 3.11 on. Wheels are
locked by version and SHA-256 (`bundle.lock`). The same content makes the same bytes, and so the
same name in the bucket.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from shutil import which
from tempfile import TemporaryDirectory

import cloudfn
from cloudfn.errors import ExecutionError

#: services whose models go along; all of botocore's are some 25 MiB more
SERVICES = frozenset(
    {
        "autoscaling",
        "dynamodb",
        "ec2",
        "ecr",
        "lambda",
        "logs",
        "s3",
        "scheduler",
        "sqs",
        "ssm",
        "sts",
    }
)
#: the earliest time that a zip can name
_NO_TIME = (1980, 1, 1, 0, 0, 0)
_PYTHON = "3.11"


def build_bundle(cache: Path, report: Callable[[str], None]) -> Path:
    """Return the path of the bundle, named by its digest, below `cache`; build it where it lacks.

    Args:
        cache: A private folder; wheels and earlier bundles in it are used again.
        report: Told what takes time, as lines.

    Raises:
        ExecutionError: The wheels cannot be fetched.
    """
    wheels = _wheels(cache, report)
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache) as scratch:
        part = Path(scratch, "bundle.zip")
        write_bundle(part, [*_own_files(), *_files_of(wheels)])
        digest = sha256(part.read_bytes()).hexdigest()
        return part.replace(cache / f"{digest}.zip")


def write_bundle(target: Path, contents: list[tuple[str, bytes]]) -> None:
    """Write a zip whose bytes depend on names and contents alone.

    Args:
        target: Where to.
        contents: (name, content) of each file, in any order.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as bundle:
        for name, content in sorted(contents):
            entry = zipfile.ZipInfo(name, _NO_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            bundle.writestr(entry, content)


def is_wanted(name: str) -> bool:
    """Whether a file of a wheel goes into the bundle.

    Args:
        name: Its path in the wheel, with slashes.
    """
    path = PurePosixPath(name)
    if path.parts[0].endswith(".data") or path.suffix in (".pyc", ".pyi"):
        return False
    if path.parts[:2] != ("botocore", "data") or len(path.parts) == 3:
        return True
    return path.parts[2] in SERVICES


def _own_files() -> Iterator[tuple[str, bytes]]:
    root = Path(cloudfn.__file__).parent
    for path in root.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"cloudfn/{path.relative_to(root).as_posix()}", path.read_bytes()
    yield from _entry_points()


def _entry_points() -> Iterator[tuple[str, bytes]]:
    """Yield what lets the bundle find its providers by name, as an installed package does."""
    from importlib.metadata import distribution

    own = distribution("cloudfn")
    folder = f"cloudfn-{own.version}.dist-info"
    for name in ("METADATA", "entry_points.txt"):
        text = own.read_text(name)
        if text is not None:
            yield f"{folder}/{name}", text.encode()


def _files_of(wheels: list[Path]) -> Iterator[tuple[str, bytes]]:
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as opened:
            for entry in opened.infolist():
                if not entry.is_dir() and is_wanted(entry.filename):
                    yield entry.filename, opened.read(entry)


def _wheels(cache: Path, report: Callable[[str], None]) -> list[Path]:
    lock = files("cloudfn.providers.aws.infra").joinpath("bundle.lock").read_bytes()
    folder = cache / f"wheels-{sha256(lock).hexdigest()[:16]}"
    if not folder.exists():
        report("Fetching the wheels that go into cloudfn's bundle")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as scratch:
            locked = Path(scratch, "bundle.lock")
            locked.write_bytes(lock)
            part = Path(scratch, "wheels")
            _fetch(locked, part)
            part.rename(folder)
    return sorted(folder.glob("*.whl"))


def _fetch(lock: Path, target: Path) -> None:
    command = [
        *_pip(),
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        "--platform=any",
        "--implementation=py",
        "--abi=none",
        f"--python-version={_PYTHON}",
        f"--requirement={lock}",
        f"--dest={target}",
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode:
        lines = told.stderr.strip().splitlines()
        raise ExecutionError(
            f"The wheels of cloudfn's bundle cannot be fetched: {lines[-1] if lines else 'pip failed'}",
            hint="See whether this machine reaches its package index: `pip download boto3`.",
        )


def _pip() -> list[str]:
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    found = which("pip3") or which("pip")
    if found is None:
        raise ExecutionError(
            "There is no pip to fetch the wheels of cloudfn's bundle with.",
            hint="Install it: `python -m ensurepip`.",
        )
    return [found]
