"""What a client of a cloud leaves on its machine, and what it clears up."""

import os
import subprocess
import sys

from cloudfn.control.invocation.opening import own_folder, prune


def test_a_process_has_a_private_folder_and_removes_those_of_dead_ones(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in (f"{ended.pid}-left", f"{os.getppid()}-lives", "something-else"):
        (tmp_path / name).mkdir()

    own = own_folder(tmp_path)

    assert own.stat().st_mode & 0o777 == 0o700
    kept = {each.name for each in tmp_path.iterdir()}
    assert kept == {own.name, f"{os.getppid()}-lives", "something-else"}


def test_sources_that_were_stored_long_ago_go(tmp_path):
    now = 1_800_000_000.0
    for name, age in (("old", 31), ("new", 29)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").touch()
        os.utime(tmp_path / name, (now - age * 86_400, now - age * 86_400))

    prune(tmp_path, now)
    prune(tmp_path / "absent", now)

    assert [each.name for each in tmp_path.iterdir()] == ["new"]
