"""Conformance: volumes as Modal has them (C165), in containers with working copies of their own."""

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

import cloudfn
from cloudfn import errors
from tests.integration.conformance_world import wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

PROGRAM = """
    import os
    import cloudfn as modal

    app = modal.App("files")
    vol = modal.Volume.from_name("files", create_if_missing=True)
    HERE = {here!r}


    @app.function(volumes={{HERE: vol}}, max_containers=1, scaledown_window=60)
    def writer(name, text, commit=True, fail=False):
        path = os.path.join(HERE, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "a") as file:
            file.write(text)
        if commit:
            vol.commit()
        if fail:
            raise ValueError("after writing")
        return sorted(os.listdir(HERE))


    @app.function(volumes={{HERE: vol}}, max_containers=1, scaledown_window=60)
    def reader(name, reload=True, keep_open=False):
        held = open(os.path.join(HERE, name)) if keep_open else None
        if reload:
            vol.reload()
        path = os.path.join(HERE, name)
        return open(path).read() if os.path.exists(path) else None


    @app.function(volumes={{HERE: vol}}, max_containers=1)
    def remover(name):
        os.remove(os.path.join(HERE, name))
        vol.commit()


    @app.function(volumes={{HERE: vol.read_only()}})
    def only_reads(name):
        try:
            open(os.path.join(HERE, name), "a")
        except OSError as error:
            return open(os.path.join(HERE, name)).read(), error.errno


    @app.function(volumes={{HERE: vol.with_mount_options(sub_path="part")}})
    def part():
        with open(os.path.join(HERE, "new"), "w") as file:
            file.write("from part")
        vol.commit()
        return sorted(os.listdir(HERE))


    @app.function(volumes={{HERE: vol}}, single_use_containers=True)
    def leaves(name, how):
        with open(os.path.join(HERE, name), "w") as file:
            file.write(how)
        os.symlink("/etc/passwd", os.path.join(HERE, "link-" + name))
        if how == "fails":
            raise ValueError(how)
"""


@pytest.fixture(scope="module")
def files(world):
    here = str(world.home / "mounted")
    world.cli("deploy", world.write(PROGRAM.format(here=here)))
    return cloudfn.Volume.from_name("files")


def function(name):
    return cloudfn.Function.from_name("files", name)


def text(volume, path):
    return b"".join(volume.read_file(path)).decode()


def test_c165_what_is_written_is_seen_after_commit_and_reload(files):
    assert function("reader").remote("shared/a") is None
    function("writer").remote("shared/a", "one", commit=False)
    assert function("reader").remote("shared/a", reload=False) is None
    function("writer").remote("shared/a", "+two")

    assert function("reader").remote("shared/a", reload=False) is None
    assert function("reader").remote("shared/a") == "one+two"
    assert text(files, "shared/a") == "one+two"


def test_what_nobody_commits_is_committed_after_a_while(files):
    function("writer").remote("auto", "by itself", commit=False)

    def is_there():
        return any(entry.path == "auto" for entry in files.listdir("/"))

    wait_for("the commit", is_there)
    assert text(files, "auto") == "by itself"


@pytest.mark.parametrize("how", ["returns", "fails"])
def test_a_container_commits_at_its_end_also_when_user_code_failed(files, how):
    try:
        function("leaves").remote(f"left-{how}", how)
    except ValueError:
        assert how == "fails"

    wait_for("the commit", lambda: f"left-{how}" in {e.path for e in files.listdir("/")})
    assert text(files, f"left-{how}") == how
    assert not [e for e in files.listdir("/") if e.path.startswith("link-")], "links stay behind"


def test_reload_with_open_files_is_an_error(files):
    function("writer").remote("open", "text")
    function("reader").remote("open")

    with pytest.raises(RuntimeError, match="open files"):
        function("reader").remote("open", keep_open=True)


def test_a_removed_file_is_gone_for_others_after_reload(files):
    function("writer").remote("doomed", "x")
    assert function("reader").remote("doomed") == "x"
    function("remover").remote("doomed")

    assert function("reader").remote("doomed") is None
    with pytest.raises(FileNotFoundError):
        files.remove_file("doomed")


def test_a_read_only_mount_and_a_part_of_a_volume(files):
    with files.batch_upload() as batch:
        batch.put_file(io.BytesIO(b"inside"), "part/old")

    found, number = function("only_reads").remote("part/old")
    assert found == "inside"
    assert number in (13, 30)
    assert text(files, "part/old") == "inside"
    assert function("part").remote() == ["new", "old"]
    assert text(files, "part/new") == "from part"


def test_uploads_refuse_what_exists_and_downloads_what_does_not(world):
    source = world.folder / "tree"
    (source / "inner").mkdir(parents=True)
    (source / "a.txt").write_text("a")
    (source / "inner" / "b.txt").write_text("b" * 3_000_000)
    with cloudfn.Volume.ephemeral() as volume:
        with volume.batch_upload() as batch:
            batch.put_directory(source, "/up")
            batch.put_file(source / "a.txt", "named/")
        batch = volume.batch_upload()
        batch.put_file(source / "a.txt", "named/a.txt")
        batch.put_file(source / "a.txt", "never")
        with pytest.raises(FileExistsError, match=r"named/a\.txt"), batch:
            pass
        with volume.batch_upload(force=True) as batch:
            batch.put_file(io.BytesIO(b"new"), "named/a.txt")

        assert text(volume, "named/a.txt") == "new"
        sink = io.BytesIO()
        assert volume.read_file_into_fileobj("up/inner/b.txt", sink) == 3_000_000
        assert sink.getvalue() == b"b" * 3_000_000
        listed = {(e.path, e.type.name, e.size) for e in volume.iterdir("/")}
        assert ("up/inner", "DIRECTORY", 0) in listed
        assert ("up/a.txt", "FILE", 1) in listed
        assert "never" not in {path for path, _, _ in listed}
        volume.copy_files(["up/a.txt"], "copy.txt")
        volume.copy_files(["up"], "again", recursive=True)
        assert text(volume, "again/inner/b.txt")[:2] == "bb"
        volume.remove_file("again", recursive=True)
        for missing in (lambda: text(volume, "x"), lambda: volume.listdir("x"),
                        lambda: volume.copy_files(["x"], "y")):  # fmt: skip
            with pytest.raises(FileNotFoundError):
                missing()
        for wrong in ("../out", "a/../../b"):
            with pytest.raises(errors.InvalidError):
                volume.listdir(wrong)
            with pytest.raises(errors.InvalidError):
                volume.batch_upload().put_file(io.BytesIO(b"x"), wrong)
        with pytest.raises(errors.InvalidError, match="directory"):
            volume.remove_file("up")
        with pytest.raises(errors.InvalidError, match="not mounted here"):
            volume.commit()


def test_a_volume_that_is_not_there_or_mounted_twice_is_refused(world):
    with pytest.raises(errors.NotFoundError):
        cloudfn.Volume.from_name("nowhere").listdir("/")
    for mounts, reason in (("{'/a': cloudfn.Volume.from_name('nowhere')}", "no volume named"),
                           ("{'/a': twice, '/b': twice}", "at two paths")):  # fmt: skip
        program = world.write(f"""
            import cloudfn
            app = cloudfn.App("lacking")
            twice = cloudfn.Volume.from_name("twice", create_if_missing=True)
            @app.function(volumes={mounts})
            def f(): pass
        """)
        assert reason in world.cli("deploy", program, code=1).stderr


def test_a_volume_is_renamed_and_deleted(world):
    cloudfn.Volume.objects.create("before")
    cloudfn.Volume.rename("before", "after")

    assert "after" in {each.name for each in cloudfn.Volume.objects.list()}
    cloudfn.Volume.objects.delete("after")
    with pytest.raises(errors.NotFoundError):
        cloudfn.Volume.from_name("after").listdir("/")


def test_the_command_line_moves_files_in_and_out(world):
    (world.folder / "one.txt").write_text("one")
    (world.folder / "dir").mkdir()
    (world.folder / "dir" / "two.txt").write_text("two")
    world.cli("volume", "create", "cli")
    world.cli("volume", "put", "cli", "one.txt", "/")
    world.cli("volume", "put", "cli", "dir", "sub")
    assert "--force" in world.cli("volume", "put", "cli", "one.txt", "/", code=1).stderr
    world.cli("volume", "put", "cli", "one.txt", "/", "--force")
    listed = json.loads(world.cli("volume", "ls", "cli", "--json").stdout)
    assert [(e["path"], e["type"], e["size"]) for e in listed] == [
        ("one.txt", "file", 3), ("sub", "dir", 0),
    ]  # fmt: skip
    assert world.cli("volume", "get", "cli", "sub/two.txt", "-").stdout == "two"
    world.cli("volume", "get", "cli", "sub", "out")
    assert (world.folder / "out" / "two.txt").read_text() == "two"
    world.cli("volume", "get", "cli", "one.txt", "one.txt", code=1)
    world.cli("volume", "cp", "cli", "one.txt", "sub/")
    world.cli("volume", "rm", "cli", "sub", code=1)
    world.cli("volume", "rm", "cli", "sub", "-r")
    (listed,) = [e for e in json.loads(world.cli("volume", "list", "--json").stdout)
                 if e["name"] == "cli"]  # fmt: skip
    assert (listed["files"], listed["bytes"]) == (1, 3)
    world.cli("volume", "rename", "cli", "renamed")
    world.cli("volume", "delete", "renamed", "-y")


def test_an_ordinary_user_mounts_in_a_namespace_of_its_own():
    # Not below pytest's folder, which only its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="cfw-"))
    folder.chmod(0o777)
    program = textwrap.dedent("""
        import ctypes, fcntl, os, sys, zlib
        from cloudfn.worker import mounts
        here = sys.argv[1]
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
            ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # a process that changed its user hides itself
        open(here + "/content", "w").write("x")
        orders = [
            dict(path=f"{here}/{name}", folder=f"{here}/copy-{name}", read_only=name == "fixed",
                 files=[["a", here + "/content", 10, 0o644]])
            for name in ("fixed", "free")
        ]
        mounts.mount_all(map(mounts.MountOrder.from_json, orders))
        if os.path.islink(here + "/free"):
            sys.exit("no namespaces")
        open(here + "/free/b", "w").write("own")
        try:
            open(here + "/fixed/b", "w")
        except OSError as error:
            print(error.errno, sorted(os.listdir(here + "/fixed")), os.listdir(here + "/free"))
    """)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, str(folder)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.stderr.strip() == "no namespaces":
            pytest.skip("this kernel gives ordinary users no namespaces")
        assert done.stdout.startswith("30 ['a'] ["), done.stderr
        assert os.listdir(folder / "free") == [], "outside of the namespace nothing is mounted"
        assert (folder / "copy-free" / "b").read_text() == "own"
        assert (folder / "content").read_text() == "x"
    finally:
        shutil.rmtree(folder)


def test_without_namespaces_a_link_leads_each_process_to_its_own_copy(tmp_path):
    path = tmp_path / "seen"
    (tmp_path / "content").write_text("x")
    program = textwrap.dedent(f"""
        import os, sys
        from cloudfn.worker import mounts
        mounts._enter_namespace = lambda: False
        folder = {str(tmp_path)!r} + "/copy-" + sys.argv[1]
        files = [["a", {str(tmp_path / "content")!r}, 10, 0o644]]
        order = dict(path={str(path)!r}, folder=folder, read_only=False, files=files)
        mounts.mount_all([mounts.MountOrder.from_json(order)])
        here = {str(path)!r}
        assert sorted(os.listdir(here)) == ["a"]
        open(here + "/own", "w").write(sys.argv[1])
        print(open(here + "/a").read() + open(here + "/own").read())
    """)
    for name in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program, name], capture_output=True, text=True, check=False
        )
        assert (done.stdout, done.stderr) == (f"x{name}\n", "")
    assert os.path.islink(path)
    (tmp_path / "taken").write_text("")
    taken = program.replace(str(path), str(tmp_path / "taken"))
    done = subprocess.run(
        [sys.executable, "-c", taken, "3"], capture_output=True, text=True, check=False
    )
    assert "cannot be mounted" in done.stderr
