"""Packages that tests make, so that nothing is downloaded."""

import zipfile
from pathlib import Path

_METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
_WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_BACKEND = """
import os, pathlib, sys, time
sys.path.insert(0, os.path.dirname(__file__))
import wheels

def build_wheel(folder, config_settings=None, metadata_directory=None):
    here = pathlib.Path({here!r})
    number = len(list(here.glob("began-*")))
    (here / "part").write_text(str(os.getpid()))
    (here / "part").rename(here / f"began-{{number}}")
    while not (here / "go").exists():
        time.sleep(0.01)
    return wheels.write_wheel(pathlib.Path(folder), {name!r}).name
"""


def write_wheel(folder: Path, name: str, version: str = "1.0") -> Path:
    """Write a package with a module and a command of its name; the command prints its version."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", f"VERSION = {version!r}\ndef main():\n    print(VERSION)\n")
        wheel.writestr(f"{info}/METADATA", _METADATA.format(name=name, version=version))
        wheel.writestr(f"{info}/WHEEL", _WHEEL)
        wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name}={name}:main\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def write_slow_project(folder: Path, name: str) -> Path:
    """Write a project whose build says `began-N`, with its pid in it, and waits for a file `go`."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbackend-path = ["."]\nbuild-backend = "slow"\n'
    )
    (folder / "wheels.py").write_text(Path(__file__).read_text())
    (folder / "slow.py").write_text(_BACKEND.format(here=str(folder), name=name))
    return folder
