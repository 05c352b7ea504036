"""What a client of a cloud leaves on its machine, and what it clears up."""

import os
import subprocess
import sys

import pytest

from cloudfn import settings
from cloudfn.control.invocation.opening import open_client, own_folder, prune
from cloudfn.errors import InvalidError


def test_a_process_has_a_private_folder_and_removes_those_of_dead_ones(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in (f"{ended.pid}-left", f"{os.getppid()}-lives", "something-else"):
        (tmp_path / name).mkdir()

    own = own_folder(tmp_path)

    assert own.stat().st_mode & 0o777 == 0o700
    kept = {each.name for each in tmp_path.iterdir()}
    assert kept == {own.name, f"{os.getppid()}-lives", "something-else"}


def test_the_environments_folder_is_its_owners_alone_whoever_makes_it_first(tmp_path):
    home = tmp_path / "home"
    chosen = settings.load({"CLOUDFN_HOME": str(home), "CLOUDFN_PROVIDER": "nowhere"})

    with pytest.raises(InvalidError, match="no provider 'nowhere'"):
        open_client(chosen)

    assert chosen.state_dir.stat().st_mode & 0o777 == 0o700


def test_sources_that_were_stored_long_ago_go(tmp_path):
    now = 1_800_000_000.0
    for name, age in (("old", 31), ("new", 29)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").touch()
        os.utime(tmp_path / name, (now - age * 86_400, now - age * 86_400))

    prune(tmp_path, now)
    prune(tmp_path / "absent", now)

    assert [each.name for each in tmp_path.iterdir()] == ["new"]
