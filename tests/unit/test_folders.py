"""Folders that a container writes to, and links in them that lead elsewhere."""

import os
from pathlib import Path

import pytest

from cloudfn.daemon.folders import by_descriptor, files_in, opened


@pytest.fixture
def outside(tmp_path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "private").write_text("private")
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "folder"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "top").write_text("1")
    (folder / "a" / "b" / "deep").write_text("22")
    return folder


def test_files_are_found_with_what_they_hold(folder):
    found = {
        each.path: (Path(each.handle).read_text(), each.status.st_size) for each in files_in(folder)
    }

    assert found == {"top": ("1", 1), "a/b/deep": ("22", 2)}


def test_links_and_pipes_are_passed_over(folder, outside):
    (folder / "link").symlink_to(outside / "private")
    (folder / "a" / "folder").symlink_to(outside)
    os.mkfifo(folder / "pipe")

    assert {each.path for each in files_in(folder)} == {"top", "a/b/deep"}


def test_a_folder_that_becomes_a_link_leads_nowhere(folder, outside):
    (outside / "deep").write_text("private")
    walk = files_in(folder)
    for each in walk:
        if each.path == "top":
            continue
        os.rename(folder / "a" / "b", folder / "a" / "c")
        (folder / "a" / "b").symlink_to(outside)

        assert Path(each.handle).read_text() == "22"


def test_a_missing_folder_has_no_files(tmp_path):
    assert list(files_in(tmp_path / "none")) == []


def test_a_path_is_opened_and_made_without_following_links(folder, outside):
    with opened(folder, "new/er/file") as parent:
        Path(by_descriptor(parent, "file")).write_text("3")
    (folder / "link").symlink_to(outside)

    assert (folder / "new" / "er" / "file").read_text() == "3"
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"), opened(folder, "link/x"):
        pass
    assert sorted(path.name for path in outside.iterdir()) == ["private"]
