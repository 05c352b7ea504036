"""Paths in volumes and where they may be mounted."""

import pytest

import cloudfn
from cloudfn.control.stores.volumes import entries
from cloudfn.errors import InvalidError
from cloudfn.model.volume import check_mount_path, volume_path
from cloudfn.providers.volumes import VolumeFile


@pytest.mark.parametrize(
    ("given", "plain"),
    [("a", "a"), ("/a/b/", "a/b"), ("./a//b", "a/b"), ("", ""), ("/", ""), ("a/...", "a/...")],
)
def test_a_path_loses_what_means_nothing(given, plain):
    assert volume_path(given) == plain


@pytest.mark.parametrize("path", ["..", "a/../b", "/../etc/passwd", "a/..", "a\0b", 3])
def test_a_path_that_leads_out_is_refused(path):
    with pytest.raises(InvalidError):
        volume_path(path)


@pytest.mark.parametrize("path", ["data", "", "/", "//", "/root", "/root/", "/proc", "/a/../b"])
def test_a_mount_path_that_makes_no_sense_is_refused(path):
    with pytest.raises(InvalidError):
        check_mount_path(path)


def test_the_three_refusals_have_texts_of_their_own():
    texts = set()
    for path in ("data", "/", "/root"):
        with pytest.raises(InvalidError) as caught:
            cloudfn.App().function(volumes={path: cloudfn.Volume.from_name("v")})
        texts.add(caught.value.message.replace(path, ""))
    assert len(texts) == 3


def test_something_else_than_a_volume_and_mounts_inside_each_other_are_refused():
    v, w = cloudfn.Volume.from_name("v"), cloudfn.Volume.from_name("w")
    for volumes in ({"/data": "v"}, [v], {"/data": v, "/data/inner": w}):
        with pytest.raises(InvalidError):
            cloudfn.App().function(volumes=volumes)


def test_directories_are_where_files_are():
    paths = ("a/b/c", "a/d", "e")
    files = [VolumeFile(path, path, 10, n * 10**9, 0o644) for n, path in enumerate(paths)]

    def listed(path, recursive=False):
        return [tuple(each[:2]) for each in entries(files, path, recursive=recursive)]

    assert listed("") == [("a", "dir"), ("e", "file")]
    assert listed("a") == [("a/b", "dir"), ("a/d", "file")]
    assert listed("a", recursive=True) == [("a/b", "dir"), ("a/b/c", "file"), ("a/d", "file")]
    assert listed("e") == [("e", "file")]
    assert listed("x") == []
    assert entries(files, "", recursive=False)[0] == ["a", "dir", 1, 0]
