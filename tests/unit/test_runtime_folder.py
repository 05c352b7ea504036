"""The runtime folder: what containers with an image import, and nothing else."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cloudfn.providers import runtime_folder


@pytest.fixture
def runtimes(tmp_path: Path) -> Path:
    return tmp_path / "runtime"


def test_a_bare_interpreter_imports_all_that_containers_need_from_it(runtimes):
    folder = runtime_folder.make(runtimes)
    script = (
        "import cloudfn, cloudpickle, pkgutil, importlib, sys\n"
        "for name in sorted(set(cloudfn._PLACES.values())): importlib.import_module(name)\n"
        "for each in pkgutil.walk_packages(cloudfn.__path__, 'cloudfn.'):\n"
        "    if not each.name.endswith('__main__'): importlib.import_module(each.name)\n"
        "print(cloudfn.__file__, cloudpickle.__file__)\n"
    )

    # -S: not even the packages of the interpreter's own
    run = subprocess.run(
        [sys.executable, "-S", "-P", "-c", script],
        env={"PYTHONPATH": str(folder)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )

    assert (run.stderr, run.returncode) == ("", 0)
    assert all(Path(each).is_relative_to(folder) for each in run.stdout.split())


def test_it_holds_nothing_of_the_daemon_or_the_command_line(runtimes):
    folder = runtime_folder.make(runtimes)

    assert {each.name for each in folder.iterdir()} == {"cloudfn", "cloudpickle"}
    assert {each.name for each in (folder / "cloudfn").iterdir()} == {
        *(f"{name}.py" for name in runtime_folder.MODULES),
        *runtime_folder.PACKAGES,
        "__pycache__",
    }


def test_everybody_may_read_it_whatever_the_umask(runtimes):
    before = os.umask(0o077)
    try:
        folder = runtime_folder.make(runtimes)
    finally:
        os.umask(before)

    modes = {stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    assert modes == {0o755, 0o644}


def test_it_is_made_once(runtimes):
    first = runtime_folder.make(runtimes)
    made = first.stat().st_ino

    assert runtime_folder.make(runtimes) == first
    assert first.stat().st_ino == made


def test_a_damaged_one_is_replaced(runtimes):
    folder = runtime_folder.make(runtimes)
    (folder / "cloudfn" / "errors.py").write_text("")

    assert runtime_folder.make(runtimes) == folder
    assert (folder / "cloudfn" / "errors.py").stat().st_size > 0


def test_those_of_other_versions_and_of_killed_daemons_are_removed(runtimes):
    (runtimes / "0ther" / "cloudfn").mkdir(parents=True)
    (runtimes / ".partial-abc").mkdir()

    folder = runtime_folder.make(runtimes)

    assert list(runtimes.iterdir()) == [folder]
