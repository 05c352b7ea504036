"""The systems under test, and the environment in which the peers among them live."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_BENCH = Path(__file__).parent
PINS = _BENCH / "peers.txt"
ENVIRONMENT = _BENCH.parent / ".bench-venv"
_RECORD = ENVIRONMENT / "bench-peers.json"
_LIMIT_SECONDS = 1_200


@dataclass(frozen=True, slots=True)
class System:
    """One system under test.

    Attributes:
        installed: Whether it has to be installed from `peers.txt`.
    """

    name: str
    installed: bool

    @property
    def script(self) -> Path:
        """The script that does one measure."""
        return _BENCH / "systems" / f"{self.name}_.py"

    @property
    def interpreter(self) -> str:
        """The Python that runs the script."""
        return str(ENVIRONMENT / "bin" / "python") if self.installed else sys.executable


SYSTEMS: tuple[System, ...] = (
    System("cloudfn", installed=False),
    System("multiprocessing", installed=False),
    System("futures", installed=False),
    System("loky", installed=True),
    System("joblib", installed=True),
    System("ray", installed=True),
    System("dask", installed=True),
    System("celery", installed=True),
    System("huey", installed=True),
)


def named(names: list[str]) -> tuple[System, ...]:
    """The systems of these names, all for an empty list.

    Raises:
        ValueError: A name is unknown.
    """
    unknown = set(names) - {system.name for system in SYSTEMS}
    if unknown:
        known = ", ".join(system.name for system in SYSTEMS)
        raise ValueError(f"unknown system {', '.join(sorted(unknown))}; there are: {known}")
    return tuple(system for system in SYSTEMS if not names or system.name in names)


def pins(text: str) -> dict[str, list[str]]:
    """The requirements of each system, from lines `requirement  # system system`."""
    wanted: dict[str, list[str]] = {}
    for line in text.splitlines():
        requirement, _, names = (part.strip() for part in line.partition("#"))
        for name in names.split() if requirement else ():
            wanted.setdefault(name, []).append(requirement)
    return wanted


def install(systems: tuple[System, ...]) -> dict[str, str]:
    """Install what the systems need, once per content of `peers.txt`.

    Returns:
        For each system that could not be installed: why.
    """
    text = PINS.read_text()
    digest = hashlib.sha256(f"{sys.version} {text}".encode()).hexdigest()
    done = json.loads(_RECORD.read_text()) if _RECORD.exists() else {}
    if done.get("digest") != digest:
        done = {"digest": digest, "installed": []}
    missing = [s.name for s in systems if s.installed and s.name not in done["installed"]]
    if not missing:
        return {}
    failed = _install_all(missing, pins(text))
    done["installed"] += [name for name in missing if name not in failed]
    if ENVIRONMENT.exists():
        _RECORD.write_text(json.dumps(done))
    return failed


def _install_all(names: list[str], wanted: dict[str, list[str]]) -> dict[str, str]:
    """Install all at once; where that fails one by one, so that one peer fails alone."""
    if not (ENVIRONMENT / "bin" / "python").exists():
        problem = _run([sys.executable, "-m", "venv", str(ENVIRONMENT)])
        if problem:
            return dict.fromkeys(names, problem)
    if not _pip(sorted({requirement for name in names for requirement in wanted[name]})):
        return {}
    problems = {name: _pip(wanted[name]) for name in names}
    return {name: problem for name, problem in problems.items() if problem}


def _pip(requirements: list[str]) -> str:
    python = str(ENVIRONMENT / "bin" / "python")
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
    return _run([python, "-m", "pip", "install", *quiet, *requirements])


def _run(argv: list[str]) -> str:
    """Run a command, return the last line of what it complained about, empty if it succeeded."""
    try:
        result = subprocess.run(
            argv, check=False, capture_output=True, text=True, timeout=_LIMIT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"installing took more than {_LIMIT_SECONDS} s"
    if result.returncode == 0:
        return ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
    return (lines or result.stderr.splitlines() or ["pip failed and said nothing"])[-1]
