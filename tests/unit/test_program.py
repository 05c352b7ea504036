"""Loading a user's program: its one module name, what fails and how, and what `__main__` is."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudfn import errors
from cloudfn.sdk import program

REPOSITORY = Path(program.__file__).parents[2]


@pytest.fixture(autouse=True)
def interpreter() -> Iterator[None]:
    """Undoes what a load does to this process."""
    modules, path, hooks = dict(sys.modules), list(sys.path), list(sys.meta_path)
    yield
    sys.path[:] = path
    sys.meta_path[:] = hooks
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]
    sys.modules.update(modules)


def write(folder: Path, **files: str) -> Path:
    """Writes `a__b="text"` as a/b.py below `folder`; returns the folder."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


def package(folder: Path, **files: str) -> Path:
    write(folder, **files)
    for sub in {folder / name.partition("__")[0] for name in files}:
        (sub / "__init__.py").touch()
    return folder


def python(*arguments: str, cwd: Path, stdin: str = "") -> str:
    code = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        input=stdin,
        env={"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert code.returncode == 0, code.stderr
    return code.stdout.strip()


def test_a_file_is_loaded_under_its_stem_and_is_main_as_well(tmp_path: Path) -> None:
    write(tmp_path, primes_of_mine="class Prime: ...")
    loaded = program.load(f"{tmp_path}/primes_of_mine.py::main")
    assert loaded.module_name == loaded.module.__name__ == "primes_of_mine"
    assert (loaded.root, loaded.entry) == (tmp_path, tmp_path / "primes_of_mine.py")
    assert loaded.name == "main"
    assert sys.modules["primes_of_mine"] is sys.modules["__main__"] is loaded.module
    assert sys.path[0] == str(tmp_path)


def test_references_through_main_and_through_the_stem_mean_one_class(tmp_path: Path) -> None:
    write(tmp_path, one_class="class Prime: ...")
    loaded = program.load(f"{tmp_path}/one_class.py")
    by_stem = pickle.loads(b"cone_class\nPrime\n.")
    by_main = pickle.loads(b"c__main__\nPrime\n.")
    assert by_stem is by_main is loaded.module.Prime
    assert loaded.name is None


def test_the_main_guard_of_a_loaded_file_does_not_run(tmp_path: Path) -> None:
    write(tmp_path, guarded="ran = False\nif __name__ == '__main__':\n    ran = True\n")
    assert program.load(f"{tmp_path}/guarded.py").module.ran is False


def test_a_program_learns_its_name_while_it_is_imported(tmp_path: Path) -> None:
    source = "from cloudfn.sdk.program import main_module_name\nname = main_module_name()\n"
    write(tmp_path, early=source)
    assert program.load(f"{tmp_path}/early.py").module.name == "early"


def test_a_program_imports_what_lies_beside_it(tmp_path: Path) -> None:
    write(tmp_path, outer_one="import beside_one\nvalue = beside_one.value", beside_one="value = 7")
    assert program.load(f"{tmp_path}/outer_one.py").module.value == 7


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("my-file.py", "my_file"),
        ("2fast.py", "_2fast"),
        ("class.py", "class_"),
        ("a b.c.py", "a_b_c"),
        ("json.py", "json_"),
        ("test.py", "test_"),
        ("pytest.py", "pytest_"),
        ("cloudfn.py", "cloudfn_"),
        ("größe.py", "größe"),
        ("plain.py", "plain"),
    ],
)
def test_a_files_module_name_is_an_identifier_that_nothing_installed_has(
    tmp_path: Path, file: str, name: str
) -> None:
    assert program.module_name_of(tmp_path / file) == name


def test_a_file_called_like_a_library_lives_beside_the_library(tmp_path: Path) -> None:
    write(
        tmp_path,
        sndhdr_user="import colorsys\nimport wave\n",
        colorsys="import colorsys\nvalue = colorsys.rgb_to_hsv(0, 0, 0)\n",
    )
    sys.modules.pop("colorsys", None)
    loaded = program.load(f"{tmp_path}/colorsys.py")
    assert loaded.module_name == "colorsys_"
    assert loaded.module.value == (0.0, 0.0, 0)
    assert sys.modules["colorsys"] is not loaded.module


def test_a_module_is_loaded_from_the_working_directory_with_its_package_as_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(
        tmp_path, pkgone__mod="from . import other\nvalue = other.value", pkgone__other="value = 3"
    )
    monkeypatch.chdir(tmp_path)
    loaded = program.load("pkgone.mod::run", module=True)
    assert loaded.module_name == "pkgone.mod"
    assert (loaded.root, loaded.entry) == (tmp_path, tmp_path / "pkgone/mod.py")
    assert loaded.module.value == 3
    assert loaded.name == "run"
    assert sys.modules["__main__"] is sys.modules["pkgone.mod"]


def test_a_package_and_a_namespace_have_the_folder_above_them_as_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, pkgtwo__mod="")
    write(tmp_path, spacetwo__inner__mod="")
    monkeypatch.chdir(tmp_path)
    assert program.load("pkgtwo", module=True).root == tmp_path
    assert program.load("spacetwo.inner.mod", module=True).root == tmp_path
    with pytest.raises(errors.InvalidError, match="no Python source"):
        program.load("spacetwo.inner", module=True)


@pytest.mark.parametrize(
    ("ref", "module", "kind", "words"),
    [
        ("absent.py", False, errors.NotFoundError, "There is no file absent.py"),
        ("absent.mod", False, errors.NotFoundError, "put -m before it"),
        ("absent.mod", True, errors.NotFoundError, "There is no module absent.mod"),
        ("here", True, errors.NotFoundError, "Run from the folder that holds here"),
        ("here.py", True, errors.InvalidError, "leave -m away"),
        ("a/b", True, errors.InvalidError, "is not a module name"),
        ("notes.txt", False, errors.InvalidError, "is not a Python file"),
        ("folder", False, errors.InvalidError, "is a folder"),
        ("folder/__init__.py", False, errors.InvalidError, "use -m folder"),
        ("folder.py::", False, errors.InvalidError, "names nothing"),
    ],
)
def test_a_reference_that_names_no_program_is_refused_with_a_hint(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ref: str,
    module: bool,
    kind: type[errors.Error],
    words: str,
) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=words) as caught:
        program.load(ref, module=module)
    assert caught.value.hint


def test_what_a_program_raises_while_imported_shows_its_own_frames_only(tmp_path: Path) -> None:
    write(tmp_path, failing="import failing_helper\n", failing_helper="def f():\n    1 / 0\nf()\n")
    with pytest.raises(errors.ExecutionError, match="ZeroDivisionError") as caught:
        program.load(f"{tmp_path}/failing.py")
    assert f"{tmp_path}/failing_helper.py, line 2" in caught.value.message
    assert caught.value.__cause__ is not None
    text = program.user_traceback(caught.value.__cause__)
    assert [line.split('"')[1] for line in text.splitlines() if "File" in line] == [
        str(tmp_path / "failing.py"),
        str(tmp_path / "failing_helper.py"),
        str(tmp_path / "failing_helper.py"),
    ]


def test_a_failed_load_leaves_the_interpreter_as_it_was(tmp_path: Path) -> None:
    write(tmp_path, string="raise RuntimeError('no')")
    before = list(sys.path), list(sys.meta_path), sys.modules["__main__"]
    with pytest.raises(errors.ExecutionError):
        program.load(f"{tmp_path}/string.py")
    assert (list(sys.path), list(sys.meta_path), sys.modules["__main__"]) == before
    assert "string_" not in sys.modules


def test_a_syntax_error_names_the_line_and_shows_no_frames(tmp_path: Path) -> None:
    write(tmp_path, misspelt="x = 1\ndef f(:\n")
    with pytest.raises(errors.InvalidError, match=r"misspelt\.py, line 2") as caught:
        program.load(f"{tmp_path}/misspelt.py")
    assert isinstance(caught.value.__cause__, SyntaxError)
    assert "importlib" not in program.user_traceback(caught.value.__cause__)


def test_a_relative_import_in_a_file_hints_at_the_module_form(tmp_path: Path) -> None:
    package(tmp_path, pkgthree__sub__mod="from . import other")
    (tmp_path / "pkgthree/sub/__init__.py").touch()
    with pytest.raises(errors.InvalidError, match="relative import") as caught:
        program.load(f"{tmp_path}/pkgthree/sub/mod.py")
    assert caught.value.hint is not None
    assert "-m pkgthree.sub.mod" in caught.value.hint
    assert str(tmp_path) in caught.value.hint


@pytest.mark.parametrize("form", ["file", "module"])
def test_a_missing_dependency_is_no_missing_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    package(tmp_path, pkgfour__mod="import not_installed_at_all")
    monkeypatch.chdir(tmp_path)
    ref = "pkgfour/mod.py" if form == "file" else "pkgfour.mod"
    with pytest.raises(errors.ExecutionError, match="not_installed_at_all") as caught:
        program.load(ref, module=form == "module")
    assert caught.value.hint == f"Is not_installed_at_all installed for {sys.executable}?"


def test_our_own_complaint_about_a_program_keeps_its_kind_and_gets_its_place(
    tmp_path: Path,
) -> None:
    source = """
    from cloudfn.errors import ResourceExhaustedError
    raise ResourceExhaustedError("too much", hint="take less")
    """
    write(tmp_path, greedy=source)
    with pytest.raises(errors.ResourceExhaustedError) as caught:
        program.load(f"{tmp_path}/greedy.py")
    assert caught.value.message == f"too much ({tmp_path}/greedy.py, line 3)"
    assert caught.value.hint == "take less"


def test_a_complaint_about_a_declaration_gets_the_place_of_the_declaration(tmp_path: Path) -> None:
    source = """
    import cloudfn
    app = cloudfn.App("contrary")
    @app.function(min_containers=3, max_containers=2)
    def f(): ...
    """
    write(tmp_path, contrary=source)
    with pytest.raises(errors.InvalidError) as caught:
        program.load(f"{tmp_path}/contrary.py")
    assert caught.value.message.endswith(f" ({tmp_path}/contrary.py, line 4)")


def test_an_exit_at_the_top_of_a_program_passes_through(tmp_path: Path) -> None:
    write(tmp_path, leaving="raise SystemExit(3)")
    with pytest.raises(SystemExit):
        program.load(f"{tmp_path}/leaving.py")


def test_frames_of_tools_go_from_causes_and_groups_but_never_all_of_them(tmp_path: Path) -> None:
    def outer() -> None:
        try:
            program.load(f"{tmp_path}/absent.py")
        except errors.NotFoundError as error:
            raise ExceptionGroup("several", [ValueError("x")]) from error

    with pytest.raises(ExceptionGroup) as caught:
        outer()
    text = program.user_traceback(caught.value)
    assert "in outer" in text
    assert program.__file__ not in text

    with pytest.raises(errors.NotFoundError) as ours:
        program.load(f"{tmp_path}/absent.py")
    ours.value.__traceback__ = ours.tb.tb_next
    assert program.__file__ in program.user_traceback(ours.value)


WHO_AM_I = """
from cloudfn.sdk.program import main_program
import pickle, sys
class Result: ...
found = main_program()
print(found and (found.module_name, str(found.root), str(found.entry)))
if found:
    assert sys.modules[found.module_name] is sys.modules["__main__"]
    name = found.module_name.encode()
    assert pickle.loads(b"c" + name + b"\\nResult\\n.") is Result
"""


def test_a_script_is_known_under_its_stem(tmp_path: Path) -> None:
    write(tmp_path, my_script=WHO_AM_I)
    expected = ("my_script", str(tmp_path), str(tmp_path / "my_script.py"))
    assert python("my_script.py", cwd=tmp_path) == str(expected)


def test_a_module_run_by_python_is_known_under_its_dotted_name(tmp_path: Path) -> None:
    package(tmp_path, pkg__mod=WHO_AM_I, pkg____main__=WHO_AM_I)
    (tmp_path / "pkg/__main__.py").write_text(WHO_AM_I)
    expected = ("pkg.mod", str(tmp_path), str(tmp_path / "pkg/mod.py"))
    assert python("-m", "pkg.mod", cwd=tmp_path) == str(expected)
    expected = ("pkg.__main__", str(tmp_path), str(tmp_path / "pkg/__main__.py"))
    assert python("-m", "pkg", cwd=tmp_path) == str(expected)


def test_a_main_without_a_file_has_no_name(tmp_path: Path) -> None:
    assert python("-c", WHO_AM_I, cwd=tmp_path) == "None"
    assert python(cwd=tmp_path, stdin=WHO_AM_I) == "None"
    assert (
        python(
            "-i",
            cwd=tmp_path,
            stdin="import cloudfn.sdk.program as p\np.main_module_name() is None",
        )
        == "True"
    )


def test_children_of_a_loaded_program_find_their_functions_again(tmp_path: Path) -> None:
    source = """
    import multiprocessing
    def double(x): return 2 * x
    def main():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.map(double, [1, 2])
    """
    write(tmp_path, spawning=source)
    code = """
    from cloudfn.sdk.program import load, main_module_name
    if __name__ == "__main__":
        loaded = load("spawning.py")
        print(loaded.module.main(), main_module_name())
    """
    write(tmp_path, runner=code)
    assert python("runner.py", cwd=tmp_path) == "[2, 4] spawning"


def test_an_imported_module_is_a_program_and_a_builtin_one_is_not(tmp_path: Path) -> None:
    loaded = program.load(f"{write(tmp_path, seen_before='')}/seen_before.py")
    assert program.imported_program("seen_before") == loaded
    with pytest.raises(errors.NotFoundError, match="'sys'"):
        program.imported_program("sys")
    with pytest.raises(errors.NotFoundError, match="'absent_module'"):
        program.imported_program("absent_module")
