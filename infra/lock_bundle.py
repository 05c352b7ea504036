"""Writes the lock of the bundle's wheels: the newest pure-Python ones, by version and SHA-256."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

ROOTS = ("boto3", "cloudpickle", "croniter", "docker", "tenacity")
LOCK = Path(__file__).parent.parent / "cloudfn/providers/aws/infra/bundle.lock"
_HEAD = "# What agents and the planner need beside cloudfn. Made by `make bundle-lock`.\n"


def main() -> None:
    """Write the lock anew."""
    with TemporaryDirectory() as folder:
        subprocess.run(
            [
                sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:",
                "--platform=any", "--implementation=py", "--abi=none", "--python-version=3.11",
                f"--dest={folder}", *ROOTS,
            ],
            check=True,
        )  # fmt: skip
        lines = [_line(wheel) for wheel in sorted(Path(folder).glob("*.whl"))]
    LOCK.write_text(_HEAD + "".join(lines))


def _line(wheel: Path) -> str:
    name, version = wheel.name.split("-")[:2]
    digest = sha256(wheel.read_bytes()).hexdigest()
    return f"{name.replace('_', '-')}=={version} --hash=sha256:{digest}\n"


if __name__ == "__main__":
    main()
