"""Source bundles: what belongs to a program, its digest, and copies that are whole or absent."""

from __future__ import annotations

import importlib
import os
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloudfn import errors
from cloudfn.sdk import bundle as bundles
from cloudfn.sdk import collecting
from cloudfn.sdk.bundle import Bundle, store
from cloudfn.sdk.collecting import collect, collect_modules
from cloudfn.sdk.imports import local_imports
from cloudfn.sdk.patterns import FilePatternMatcher
from cloudfn.sdk.program import is_installed

CLOUDFN = Path(bundles.__file__).parents[1]


@pytest.fixture(autouse=True)
def search_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test puts there is local."""
    monkeypatch.setattr(sys, "path", [each for each in sys.path if is_installed(each)])


@pytest.fixture
def loaded_modules() -> Iterator[None]:
    before = dict(sys.modules)
    yield
    for name in set(sys.modules) - set(before):
        del sys.modules[name]


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return root


def collected(root: Path, files: dict[str, str], module_name: str = "main") -> list[str]:
    """The paths in the bundle of the module below `root`, which gets these files."""
    write(root, files)
    return paths(collect(module_name, root, root / (module_name.replace(".", "/") + ".py")))


def paths(bundle: Bundle) -> list[str]:
    return [each.path for each in bundle.files]


# ------------------------------------------------------------------------------- what is in it


def test_modules_that_are_named_come_along_and_must_exist(tmp_path):
    empty = ("also.py", "main.py", "plugins/__init__.py", "plugins/one.py")
    files = {"lone.py": "import also", **dict.fromkeys(empty, "")}
    write(tmp_path, files)
    entry = tmp_path / "main.py"

    assert paths(collect("main", tmp_path, entry)) == ["main.py"]
    named = collect("main", tmp_path, entry, dict.fromkeys(("plugins", "lone", "json", "pytest")))

    assert paths(named) == sorted(files)
    with pytest.raises(errors.InvalidError, match="There is no module 'nowhere'"):
        collect("main", tmp_path, entry, {"nowhere": None})


def test_what_is_to_be_left_out_of_a_named_module_stays_here(tmp_path):
    write(tmp_path, dict.fromkeys(("main.py", "plugins/__init__.py", "plugins/data.csv"), ""))
    ignore = FilePatternMatcher("**/*.csv")

    bundle = collect("main", tmp_path, tmp_path / "main.py", {"plugins": ignore})

    assert paths(bundle) == ["main.py", "plugins/__init__.py"]


def test_modules_alone_come_without_what_they_import(tmp_path):
    write(tmp_path, {"main.py": "import other", "other.py": "", "plugins/__init__.py": ""})

    bundle = collect_modules(["main", "plugins"], tmp_path, None)

    assert paths(bundle) == ["main.py", "plugins/__init__.py"]


def test_a_program_brings_the_modules_it_imports_and_no_others(tmp_path: Path) -> None:
    files = {
        "main.py": "import os, near\ndef f():\n    from second import thing\n",
        "near.py": "try:\n    import third\nexcept ImportError:\n    import fourth as x\n",
        "second.py": "if True:\n    pass\nelse:\n    import fifth\n",
        "third.py": "match 1:\n    case 1:\n        import sixth\n",
        "fourth.py": "class A:\n    with x:\n        import main\n",
        "fifth.py": "",
        "sixth.py": "",
        "unrelated.py": "",
        "data.csv": "",
    }
    assert collected(tmp_path, files) == sorted(set(files) - {"unrelated.py", "data.csv"})


def test_a_package_brings_every_regular_file_but_leftovers(tmp_path: Path) -> None:
    kept = {
        "main.py": "import pkg.deep.mod",
        "pkg/__init__.py": "",
        "pkg/other.py": "",
        "pkg/model.json": "{}",
        "pkg/deep/mod.py": "",
        "pkg/deep/table.bin": "x",
    }
    left = {
        "pkg/__pycache__/other.cpython-311.pyc": "",
        "pkg/old.pyc": "",
        "pkg/.hidden": "",
        "pkg/.git/config": "",
        "pkg/env/pyvenv.cfg": "",
        "pkg/env/lib/x.py": "",
        "pkg/node_modules/x.js": "",
        "pkg/pkg.egg-info/PKG-INFO": "",
    }
    assert collected(tmp_path, kept | left) == sorted(kept)


def test_a_module_inside_a_package_brings_its_package_and_what_that_imports(tmp_path: Path) -> None:
    files = {
        "pkg/__init__.py": "",
        "pkg/mod.py": "from . import other",
        "pkg/other.py": "def f():\n    import beside\n",
        "beside.py": "",
    }
    assert collected(tmp_path, files | {"away.py": ""}, "pkg.mod") == sorted(files)


def test_a_package_itself_can_be_the_program(tmp_path: Path) -> None:
    write(tmp_path, {"pkg/__init__.py": "from pkg.a import x", "pkg/a.py": ""})
    found = collect("pkg", tmp_path, tmp_path / "pkg/__init__.py")
    assert paths(found) == ["pkg/__init__.py", "pkg/a.py"]


def test_of_a_namespace_only_what_is_imported_comes_along(tmp_path: Path) -> None:
    kept = {
        "main.py": "import space.one\nfrom space.inner import two\nimport space.pkg.x",
        "space/one.py": "from . import three",
        "space/three.py": "",
        "space/inner/two.py": "",
        "space/pkg/__init__.py": "",
        "space/pkg/x.py": "from ..four import y",
        "space/four.py": "",
    }
    assert collected(tmp_path, kept | {"space/unused.py": "", "space/big.bin": ""}) == sorted(kept)


def test_imports_by_name_are_found_when_the_name_is_written_out(tmp_path: Path) -> None:
    files = {
        "main.py": """
            import importlib
            x = [importlib.import_module("one") for _ in range(1)]
            from importlib import import_module
            import_module(name)
            import_module(".three", "space")
            import_module(".four", package="space")
            __import__("two")
        """,
        "one.py": "",
        "two.py": "",
        "space/three.py": "",
        "space/four.py": "",
    }
    assert collected(tmp_path, files) == sorted(files)


def test_a_package_file_is_searched_for_imports_however_they_are_written(tmp_path: Path) -> None:
    files = {
        "main.py": "import pkg",
        "pkg/__init__.py": "x = 1; import one",
        "pkg/a.py": "import \\\n    two",
        "pkg/b.py": "if 1: from three import x",
        "pkg/c.py": "from os import (path)\nimport sys, four.y as y",
        "pkg/d.py": "import importlib\nimportlib.import_module('five')",
        "pkg/e.py": "from space import (\n    six,\n)",
        "one.py": "",
        "two.py": "",
        "three.py": "",
        "four/__init__.py": "",
        "four/y.py": "",
        "five.py": "",
        "space/six.py": "",
    }
    assert collected(tmp_path, files) == sorted(files)


def test_a_file_that_does_not_parse_comes_along_unread(tmp_path: Path) -> None:
    files = {"main.py": "import broken, null", "broken.py": "import one\ndef (", "null.py": "\0"}
    assert collected(tmp_path, files | {"one.py": ""}) == sorted(files)


def test_reading_sources_warns_of_nothing(tmp_path: Path) -> None:
    assert collected(tmp_path, {"main.py": "x = '\\d'\n1 is 1\nimport one", "one.py": ""}) == [
        "main.py",
        "one.py",
    ]


def test_relative_imports_are_counted_from_the_package() -> None:
    source = b"from . import a\nfrom .b import c\nfrom .. import d\nfrom ... import e\nimport f.g"
    names = {"one.two.a", "one.two.b.c", "one.d", "f.g"}
    assert local_imports(source, "one.two") == names
    assert local_imports(b"from . import a\nfrom x import *", "") == {"x"}


def test_a_program_under_another_name_lies_where_that_name_finds_it(tmp_path: Path) -> None:
    files = {"json.py": "import json, helper", "helper.py": "import json"}
    write(tmp_path, files)
    found = collect("json_", tmp_path, tmp_path / "json.py")
    assert paths(found) == ["helper.py", "json_.py"]
    assert found.files[1].source == tmp_path / "json.py"


def test_our_own_package_is_never_part_of_a_bundle(tmp_path: Path) -> None:
    sys.path.insert(0, str(CLOUDFN.parent))
    assert collected(tmp_path, {"main.py": "import cloudfn.errors"}) == ["main.py"]
    # Here it is both beside the program and loaded already.
    assert not [
        path
        for path in paths(collect("main", CLOUDFN.parent, tmp_path / "main.py"))
        if path.startswith("cloudfn/")
    ]


def test_folders_on_the_search_path_are_local_but_installed_ones_are_not(tmp_path: Path) -> None:
    root = write(tmp_path / "app", {"main.py": "import lib_a, installed_b"})
    write(tmp_path / "libs", {"lib_a.py": ""})
    write(tmp_path / "lib/site-packages", {"installed_b.py": ""})
    for folder in ("libs", "lib/site-packages"):
        sys.path.insert(0, str(tmp_path / folder))
    found = collect("main", root, root / "main.py")
    assert paths(found) == ["lib_a.py", "main.py"]


def test_an_installed_program_brings_its_own_package_alone(tmp_path: Path) -> None:
    files = {"app/__init__.py": "", "app/main.py": "import other", "other.py": ""}
    root = write(tmp_path / "site-packages", files)
    sys.path.insert(0, str(root))
    found = collect("app.main", root, root / "app/main.py")
    assert paths(found) == ["app/__init__.py", "app/main.py"]


@pytest.mark.usefixtures("loaded_modules")
def test_what_was_imported_by_computed_names_comes_along(tmp_path: Path) -> None:
    files = {
        "main.py": "",
        "plugin_one.py": "import plugin_needs",
        "plugin_needs.py": "",
        "plugins_two/__init__.py": "",
        "plugins_two/data.txt": "",
        "src/lib_three.py": "",
        ".venv/lib/python3.11/site-packages/third_party_four.py": "",
    }
    write(tmp_path, files)
    for folder in (".venv/lib/python3.11/site-packages", "src", ""):
        sys.path.insert(0, str(tmp_path / folder))
    importlib.invalidate_caches()
    for name in ("plugin_one", "plugins_two", "lib_three", "third_party_four"):
        __import__(name)
    sys.path.clear()
    assert paths(collect("main", tmp_path, tmp_path / "main.py")) == [
        "lib_three.py",
        "main.py",
        "plugin_needs.py",
        "plugin_one.py",
        "plugins_two/__init__.py",
        "plugins_two/data.txt",
    ]


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege there")
def test_links_are_followed_inside_the_root_only(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"secret.py": "", "folder/x.py": ""})
    root = tmp_path / "root"
    write(root, {"main.py": "import pkg, linked, gone", "real.py": "", "pkg/__init__.py": ""})
    (root / "linked.py").symlink_to(root / "real.py")
    (root / "gone.py").symlink_to(outside / "secret.py")
    (root / "pkg/inside.py").symlink_to("../real.py")
    (root / "pkg/outside.py").symlink_to(outside / "secret.py")
    (root / "pkg/folder").symlink_to(outside / "folder")
    (root / "pkg/loop").symlink_to(root / "pkg")
    (root / "pkg/up").symlink_to("..")
    (root / "pkg/dangling").symlink_to("nowhere")
    assert paths(collect("main", root, root / "main.py")) == [
        "linked.py",
        "main.py",
        "pkg/__init__.py",
        "pkg/inside.py",
    ]


@pytest.mark.usefixtures("loaded_modules")
@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege there")
def test_no_import_leads_through_a_link_out_of_the_root(tmp_path: Path) -> None:
    write(tmp_path / "outside", {"far_mod.py": "", "far_loaded.py": ""})
    root = write(tmp_path / "root", {"main.py": "import space.far_mod"})
    (root / "space").symlink_to(tmp_path / "outside")
    (root / "far_loaded.py").symlink_to(tmp_path / "outside/far_loaded.py")
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    __import__("far_loaded")
    assert paths(collect("main", root, root / "main.py")) == ["main.py"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no named pipes")
def test_what_is_no_regular_file_stays_behind(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": "import pkg", "pkg/__init__.py": ""})
    os.mkfifo(tmp_path / "pkg/pipe")
    assert paths(collect("main", tmp_path, tmp_path / "main.py")) == ["main.py", "pkg/__init__.py"]


# -------------------------------------------------------------------------------------- limits


def test_a_bundle_that_is_too_large_is_refused_with_a_hint(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": "import pkg", "pkg/__init__.py": ""})
    with (tmp_path / "pkg/weights.bin").open("wb") as sparse:
        sparse.truncate(collecting.MAX_BYTES + 1)
    with pytest.raises(errors.InvalidError, match=r"100 MiB.*weights\.bin") as caught:
        collect("main", tmp_path, tmp_path / "main.py")
    assert caught.value.hint


def test_a_bundle_of_too_many_files_is_refused_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "MAX_FILES", 3)
    write(tmp_path, {"main.py": "import pkg"} | {f"pkg/{n}.txt": "" for n in range(3)})
    (tmp_path / "pkg/__init__.py").touch()
    with pytest.raises(errors.InvalidError, match="more than 3 files") as caught:
        collect("main", tmp_path, tmp_path / "main.py")
    assert caught.value.hint


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": ""})
    with pytest.raises(errors.InvalidError, match=r"absent\.py") as caught:
        collect("main", tmp_path, tmp_path / "absent.py")
    assert caught.value.hint


# -------------------------------------------------------------------------------------- digest


def test_the_digest_depends_on_names_contents_and_the_executable_bit_alone(tmp_path: Path) -> None:
    files = {"main.py": "import pkg", "pkg/__init__.py": "", "pkg/run.sh": "echo"}
    one = write(tmp_path / "one", files)
    two = write(tmp_path / "two", dict(reversed(files.items())))
    os.utime(two / "main.py", (1, 1))

    def digest(root: Path) -> str:
        return collect("main", root, root / "main.py").digest

    first = digest(one)
    assert digest(two) == first
    assert len(first) == 64
    (two / "pkg/run.sh").write_text("echo 2")
    assert digest(two) != first
    (two / "pkg/run.sh").write_text("echo")
    assert digest(two) == first
    (two / "pkg/run.sh").rename(two / "pkg/go.sh")
    assert digest(two) != first
    if os.name == "posix":
        (one / "pkg/run.sh").chmod(0o755)
        assert digest(one) != first


def test_the_size_is_the_sum_of_all_files(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": "import pkg", "pkg/__init__.py": "#", "pkg/x.bin": "four"})
    assert collect("main", tmp_path, tmp_path / "main.py").size == len("import pkg") + 1 + 4


# --------------------------------------------------------------------------------------- store


@pytest.fixture
def sample(tmp_path: Path) -> Bundle:
    files = {
        "main.py": "import pkg.sub.deep\nanswer = 42\n",
        "pkg/__init__.py": "",
        "pkg/sub/deep.py": "",
        "pkg/run.sh": "echo",
    }
    root = write(tmp_path / "source", files)
    (root / "pkg/run.sh").chmod(0o755)
    return collect("main", root, root / "main.py")


@pytest.mark.parametrize("durable", [False, True])
def test_a_stored_bundle_holds_the_files_read_only_under_its_digest(
    tmp_path: Path, sample: Bundle, durable: bool
) -> None:
    target = store(sample, tmp_path / "new/bundles", durable=durable)
    assert target == tmp_path / "new/bundles" / sample.digest
    assert os.listdir(target.parent) == [sample.digest]
    for each in sample.files:
        copy = target / each.path
        assert copy.read_bytes() == each.source.read_bytes()
        if os.name == "posix":
            assert stat.S_IMODE(copy.stat().st_mode) == (0o555 if each.executable else 0o444)
    if os.name == "posix":
        assert stat.S_IMODE((target / "pkg/sub").stat().st_mode) == 0o755
        assert stat.S_IMODE(target.parent.stat().st_mode) & 0o077 == 0


def test_a_process_can_import_from_a_stored_bundle_alone(tmp_path: Path, sample: Bundle) -> None:
    target = store(sample, tmp_path / "bundles")
    code = f"import sys; sys.path.insert(0, {str(target)!r}); import main; print(main.answer)"
    done = subprocess.run(
        [sys.executable, "-IBc", code], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "42", done.stderr


def test_storing_again_keeps_the_folder_and_what_python_cached_in_it(
    tmp_path: Path, sample: Bundle
) -> None:
    target = store(sample, tmp_path / "bundles")
    (target / "__pycache__").mkdir()
    before = (target / "main.py").stat().st_ino
    assert store(sample, tmp_path / "bundles", durable=True) == target
    assert (target / "main.py").stat().st_ino == before
    assert (target / "__pycache__").is_dir()


@pytest.mark.parametrize("damage", ["truncated", "missing", "empty"])
def test_a_damaged_folder_is_replaced(tmp_path: Path, sample: Bundle, damage: str) -> None:
    target = tmp_path / "bundles" / sample.digest
    if damage == "empty":
        target.mkdir(parents=True)
    else:
        store(sample, target.parent)
        (target / "main.py").unlink()
        if damage == "truncated":
            (target / "main.py").touch()
    store(sample, target.parent)
    assert (target / "main.py").read_text().endswith("answer = 42\n")
    assert os.listdir(target.parent) == [sample.digest]


def test_what_a_killed_store_left_is_not_used(tmp_path: Path, sample: Bundle) -> None:
    left = tmp_path / "bundles" / f"{bundles.PARTIAL_PREFIX}0"
    left.mkdir(parents=True)
    target = store(sample, left.parent)
    assert (target / "pkg/sub/deep.py").is_file()


def test_many_that_store_at_once_end_as_one(tmp_path: Path, sample: Bundle) -> None:
    start = threading.Barrier(8)
    results: list[Path | Exception] = []

    def one() -> None:
        start.wait()
        try:
            results.append(store(sample, tmp_path / "bundles"))
        except Exception as error:  # noqa: BLE001 - the test shows it
            results.append(error)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [tmp_path / "bundles" / sample.digest] * 8
    assert os.listdir(tmp_path / "bundles") == [sample.digest]


def test_a_source_that_changed_since_is_not_stored_under_the_old_digest(
    tmp_path: Path, sample: Bundle
) -> None:
    sample.files[0].source.write_text("answer = 43\n")
    with pytest.raises(errors.ConflictError):
        store(sample, tmp_path / "bundles")
    assert os.listdir(tmp_path / "bundles") == []


def test_a_source_that_vanished_is_named(tmp_path: Path, sample: Bundle) -> None:
    gone = replace(sample.files[0], source=tmp_path / "gone.py")
    with pytest.raises(errors.InvalidError, match=r"gone\.py"):
        store(replace(sample, files=(gone,)), tmp_path / "bundles")
    assert os.listdir(tmp_path / "bundles") == []
