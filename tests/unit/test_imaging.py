"""Resolving images: files become contents, and what cannot is refused by name."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import cloudfn
from cloudfn.errors import InvalidError
from cloudfn.model.image import Layer
from cloudfn.sdk import imaging

SLIM = cloudfn.Image.debian_slim()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working directory of the test's own, where relative paths are looked up."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def write(**files):
    for name, content in files.items():
        path = Path(name.replace("__", "/").replace("_", "."))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def resolved(image):
    return imaging.resolve(image.spec, Path("../bundles"))


def last(image):
    return resolved(image).layers[-1]


def contents(digest):
    """Return the files of a context, by their paths."""
    top = Path("../bundles", digest)
    return {p.relative_to(top).as_posix(): p.read_text() for p in top.rglob("*") if p.is_file()}


def test_a_base_without_a_version_gets_that_of_the_client():
    own = "{}.{}".format(*sys.version_info[:2])

    assert last(SLIM).arguments == {"python_version": own}
    assert last(cloudfn.Image.debian_slim("3.12")).arguments == {"python_version": "3.12"}
    assert resolved(SLIM).digest == resolved(cloudfn.Image.debian_slim(own)).digest


def test_requirements_come_with_what_they_name_and_without_comments():
    write(
        a_txt="numpy  # why\n-r sub/b.txt\n-c limits.txt\nhash==1 \\\n    --hash=sha256:1\n",
        sub__b_txt="--requirement=c.txt\n# nothing\n\ngit+https://x.example/a#egg=a\n",
        sub__c_txt="deep\n",
        limits_txt="numpy<3\n",
    )
    image = SLIM.pip_install_from_requirements("a.txt", pre=True)

    assert last(image).arguments == {
        "pre": True,
        "requirements": "numpy\ndeep\ngit+https://x.example/a#egg=a\nhash==1 --hash=sha256:1\n",
        "constraints": "numpy<3\n",
    }
    assert last(SLIM.uv_pip_install("x", requirements=["sub/c.txt", "sub/b.txt"])).arguments == {
        "packages": ["x"],
        "requirements": "deep\ndeep\ngit+https://x.example/a#egg=a\n",
    }


def test_a_comment_rebuilds_nothing():
    write(a_txt="numpy\n")
    before = resolved(SLIM.pip_install_from_requirements("a.txt")).digest
    write(a_txt="# new\nnumpy # x\n")

    assert resolved(SLIM.pip_install_from_requirements("a.txt")).digest == before


def test_a_project_is_its_dependencies():
    write(
        pyproject_toml="[project]\nname='a'\nversion='1'\ndependencies=['b>1']\n"
        "[project.optional-dependencies]\nweb=['c']\n"
    )
    image = SLIM.pip_install_from_pyproject("pyproject.toml", ["web"])

    assert last(image).arguments == {"packages": ["b>1", "c"]}


def test_projects_of_uv_and_poetry_are_brought_with_their_locks():
    write(p__pyproject_toml="[project]", p__uv_lock="1", p__poetry_lock="2", p__other_py="")

    uv, poetry = last(SLIM.uv_sync("p")), last(SLIM.poetry_install_from_file("p/pyproject.toml"))
    assert contents(uv.arguments["context"]) == {"pyproject.toml": "[project]", "uv.lock": "1"}
    assert uv.arguments["locked"]
    assert contents(poetry.arguments["context"]) == {
        "pyproject.toml": "[project]",
        "poetry.lock": "2",
    }
    without = SLIM.poetry_install_from_file("p/pyproject.toml", ignore_lockfile=True)
    assert set(contents(last(without).arguments["context"])) == {"pyproject.toml"}


def test_a_spec_of_conda_is_its_text():
    write(env_yml="a\n")
    image = cloudfn.Image.micromamba().micromamba_install(spec_file="env.yml")

    given = last(image).arguments
    assert (given["spec"], given["spec_name"]) == ("a\n", "env.yml")


def test_a_dockerfile_is_its_text_and_its_folder():
    write(Dockerfile="FROM a\nCOPY . /b\n", b="b", c_log="c", _dockerignore="*.log\n.*\nDock*\n")

    given = last(cloudfn.Image.from_dockerfile("Dockerfile", build_args={"A": "1"})).arguments
    assert given["dockerfile"] == "FROM a\nCOPY . /b\n"
    assert contents(given["context"]) == {"b": "b"}
    assert given["build_args"] == {"A": "1"}
    other = cloudfn.Image.from_dockerfile("Dockerfile", ignore=["*", "!c.log"])
    assert contents(last(other).arguments["context"]) == {"c.log": "c"}


def test_a_dockerfile_brings_what_it_copies_and_no_more():
    write(Dockerfile="FROM a\nCOPY src/*.py app /b/\n", src__x_py="1", src__y_txt="2", app__z="3")
    Path("venv").symlink_to("/usr")
    Path("app/link").symlink_to("/etc/passwd")

    given = last(cloudfn.Image.from_dockerfile("Dockerfile")).arguments
    assert contents(given["context"]) == {"src/x.py": "1", "app/z": "3"}


def test_a_dockerfile_that_copies_nothing_brings_no_folder():
    write(Dockerfile="FROM a AS b\nCOPY --from=b /x /x\n", big="big")

    assert "context" not in last(cloudfn.Image.from_dockerfile("Dockerfile")).arguments


def test_lines_of_a_dockerfile_bring_what_they_copy():
    write(a="1", sub__b="2")
    image = SLIM.dockerfile_commands(
        ["COPY /a.txt /x", "COPY b /y"], context_files={"/a.txt": "a"}, context_dir="sub"
    )

    given = last(image).arguments
    assert given["commands"] == ["COPY /a.txt /x", "COPY b /y"]
    assert contents(given["files"]) == {"a.txt": "1"}
    assert given["file_names"] == ["a.txt"]
    assert contents(given["context"]) == {"b": "2"}
    assert "context" not in last(SLIM.dockerfile_commands("RUN make")).arguments


def test_files_and_folders_are_brought_under_their_digest():
    write(a_txt="1", d__x_py="2", d__sub__y_log="3", d__z_log="4")
    Path("d/run").write_text("5")
    Path("d/run").chmod(0o755)
    file = last(SLIM.add_local_file("a.txt", "/data/", copy=True))
    some = last(SLIM.add_local_dir("d", "/data", ignore=["**/*.log"]))

    assert file.arguments["name"] == "a.txt"
    assert file.arguments["remote_path"] == "/data/a.txt"
    assert contents(file.arguments["context"]) == {"a.txt": "1"}
    assert contents(some.arguments["context"]) == {"x.py": "2", "run": "5"}
    assert set(some.arguments) == {"context", "remote_path"}
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in
             Path("../bundles", some.arguments["context"]).iterdir()}  # fmt: skip
    assert modes == {"x.py": 0o444, "run": 0o555}


def test_what_is_attached_within_a_folder_becomes_one_with_it():
    write(a__x="1", a__sub__y="2", b__y="3", c_json="4", d__z="5")
    image = (
        SLIM.add_local_dir("a", "/app")
        .add_local_dir("b", "/app/sub")
        .add_local_file("c.json", "/app/conf/c.json")
        .add_local_dir("d", "/apple")
        .add_local_dir("d", "/app")
    )

    apple, app = resolved(image).layers[1:]
    assert (apple.arguments["remote_path"], app.arguments["remote_path"]) == ("/apple", "/app")
    assert contents(app.arguments["context"]) == {
        "x": "1",
        "sub/y": "3",
        "conf/c.json": "4",
        "z": "5",
    }


def test_a_folder_around_what_was_attached_before_becomes_one_with_it():
    write(a__x="1", b__y="2")
    image = SLIM.add_local_dir("a", "/app/deep").add_local_dir("b", "/app")

    (app,) = resolved(image).layers[1:]
    assert contents(app.arguments["context"]) == {"deep/x": "1", "y": "2"}


def test_a_later_file_takes_the_place_of_an_earlier_one():
    write(a="1", b="2", d__x="3")
    image = SLIM.add_local_file("a", "/f").add_local_file("b", "/f")

    (only,) = resolved(image).layers[1:]
    assert contents(only.arguments["context"]) == {"b": "2"}
    below = SLIM.add_local_dir("d", "/app").add_local_dir("d", "/app/x")
    with pytest.raises(InvalidError, match="within what is a file"):
        resolved(below)
    with pytest.raises(InvalidError, match="within what is a file"):
        resolved(SLIM.add_local_file("a", "/f").add_local_file("b", "/f/g"))


def test_a_function_may_say_what_to_leave_out():
    write(d__a="1", d__b="2", d__sub__a="3")

    given = last(SLIM.add_local_dir("d", "/d", ignore=lambda path: path == Path("sub/a")))
    only = last(SLIM.add_local_dir("d", "/d", ignore=~cloudfn.FilePatternMatcher("sub/*")))
    assert set(contents(given.arguments["context"])) == {"a", "b"}
    assert set(contents(only.arguments["context"])) == {"sub/a"}


def test_the_same_files_are_the_same_context_whenever_they_were_written():
    write(d__b="2", d__a="1")
    before = last(SLIM.add_local_dir("d", "/d")).arguments["context"]
    os.rename("d", "old")
    write(d__a="1", d__b="2")
    os.utime("d/a", (1, 1))
    os.chmod("d/b", 0o600)

    assert last(SLIM.add_local_dir("d", "/d")).arguments["context"] == before
    Path("d/b").chmod(0o700)
    assert last(SLIM.add_local_dir("d", "/d")).arguments["context"] != before


def test_links_are_followed_within_the_folder():
    write(d__a="1", d__sub__b="2")
    Path("d/link").symlink_to("a")
    Path("d/again").symlink_to("sub")
    Path("d/sub/up").symlink_to("..")

    given = last(SLIM.add_local_dir("d", "/d")).arguments
    assert contents(given["context"]) == {
        "a": "1",
        "link": "1",
        "sub/b": "2",
        "again/b": "2",
    }


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd", "nowhere", "../work2/a"])
def test_links_that_lead_out_of_the_folder_are_refused(target, folder):
    write(d__a="1", outside="secret", work2__a="secret")
    Path("d/link").symlink_to(target)

    with pytest.raises(InvalidError, match="leads out of the folder") as caught:
        resolved(SLIM.add_local_dir("d", "/d"))
    assert "`Image.add_local_dir`" in caught.value.message
    assert "ignore=['link']" in str(caught.value)
    given = last(SLIM.add_local_dir("d", "/d", ignore=["link"])).arguments
    assert contents(given["context"]) == {"a": "1"}


def test_who_brings_a_virtual_environment_is_told_which(folder):
    write(d__venv__pyvenv_cfg="")
    Path("d/venv/bin").mkdir()
    Path("d/venv/bin/python").symlink_to(sys.executable)

    with pytest.raises(InvalidError, match="leads out") as caught:
        resolved(SLIM.add_local_dir("d", "/d"))
    assert "ignore=['venv']" in str(caught.value)


def test_a_folder_link_that_leads_out_is_refused_too(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    write(d__a="1")
    Path("d/link").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(InvalidError, match="leads out"):
        resolved(SLIM.add_local_dir("d", "/d", ignore=lambda path: False))


def test_who_brings_much_is_told_how_much():
    write(d__a="1", d__big="")
    os.truncate("d/big", 70 << 20)

    with pytest.warns(cloudfn.exception.UserWarning, match=r"add_local_dir` brings 70 MiB in 2 f"):
        resolved(SLIM.add_local_dir("d", "/d"))


def test_sockets_and_pipes_are_passed_over():
    write(d__a="1")
    os.mkfifo("d/pipe")

    assert contents(last(SLIM.add_local_dir("d", "/d")).arguments["context"]) == {"a": "1"}


#: what is asked for → what is said
MISSING = {
    "requirements": (lambda: SLIM.pip_install_from_requirements("no.txt"), "no.txt"),
    "nested requirements": (lambda: SLIM.pip_install_from_requirements("nested.txt"), "gone.txt"),
    "requirements in a circle": (
        lambda: SLIM.pip_install_from_requirements("circle.txt"),
        "names itself",
    ),
    "a local requirement": (
        lambda: SLIM.pip_install_from_requirements("local.txt"),
        "-e ./project",
    ),
    "a folder as requirements": (lambda: SLIM.pip_install_from_requirements("d"), "is a folder"),
    "bytes as requirements": (lambda: SLIM.pip_install_from_requirements("bytes"), "text file"),
    "a project": (lambda: SLIM.pip_install_from_pyproject("d/pyproject.toml"), "pyproject.toml"),
    "a project without dependencies": (
        lambda: SLIM.pip_install_from_pyproject("empty.toml"),
        "`dependencies`",
    ),
    "a group of a project": (
        lambda: SLIM.pip_install_from_pyproject("good.toml", ["web"]),
        "'web'",
    ),
    "no TOML": (lambda: SLIM.pip_install_from_pyproject("circle.txt"), "circle.txt"),
    "a project of uv": (lambda: SLIM.uv_sync("nowhere"), "nowhere"),
    "a lock of uv": (lambda: SLIM.uv_sync("d"), "uv.lock"),
    "a lock of poetry": (lambda: SLIM.poetry_install_from_file("good.toml"), "poetry.lock"),
    "a spec": (lambda: SLIM.micromamba_install(spec_file="no.yml"), "no.yml"),
    "a Dockerfile": (lambda: cloudfn.Image.from_dockerfile("d/Dockerfile"), "d/Dockerfile"),
    "a file": (lambda: SLIM.add_local_file("no", "/no"), "no"),
    "a folder as a file": (lambda: SLIM.add_local_file("d", "/d"), "is a folder"),
    "a folder": (lambda: SLIM.add_local_dir("no", "/no"), "no"),
    "a file as a folder": (lambda: SLIM.add_local_dir("circle.txt", "/d"), "is a file"),
    "a file for a line": (
        lambda: SLIM.dockerfile_commands("COPY a /a", context_files={"a": "no"}),
        "no",
    ),
    "a module": (lambda: SLIM.add_local_python_source("nowhere_at_all", copy=True), "nowhere"),
}


@pytest.mark.parametrize("what", sorted(MISSING))
def test_what_is_missing_or_something_else_is_refused_by_name(what):
    write(
        nested_txt="-r gone.txt\n",
        circle_txt="-r circle.txt\n",
        local_txt="-e ./project\n",
        empty_toml="[tool.x]\n",
        good_toml="[project]\ndependencies=[]\n",
        d__a="1",
    )
    Path("d/pyproject.toml.bak").write_text("")
    Path("bytes").write_bytes(b"\xff\xfe\x00")
    image, said = MISSING[what]

    with pytest.raises(InvalidError) as caught:
        resolved(image())
    assert said in str(caught.value)
    assert "Image." in caught.value.message or "add_local_python_source" in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "-e .",
        "--editable=../x",
        "./x",
        "../x/y.whl",
        "/abs/x",
        ".",
        "~/x",
        "name @ file:///x",
        "file:///x",
    ],
)
def test_requirements_of_this_machine_alone_are_refused(line):
    write(a_txt=f"numpy\n{line}\n")

    with pytest.raises(InvalidError, match="on this machine only") as caught:
        resolved(SLIM.pip_install_from_requirements("a.txt"))
    assert line in caught.value.message


def test_what_cannot_be_read_is_refused():
    # Nobody may read what lies at address 0, root neither.
    with pytest.raises(InvalidError, match=r"cannot read /proc/self/mem"):
        resolved(SLIM.add_local_file("/proc/self/mem", "/mem"))


def test_local_modules_are_copied_alone(folder):
    write(m_py="import n", n_py="", p____init___py="", p__data_csv="")
    image = SLIM.add_local_python_source("m", copy=True, ignore=["**/*.csv"])
    given = imaging.resolve(image.spec, Path("../bundles"), folder).layers[-1].arguments

    assert contents(given["context"]) == {"m.py": "import n"}


def test_modules_that_travel_with_the_program_need_no_context():
    assert last(SLIM.add_local_python_source("m")) == Layer(
        "add_local_python_source", {"modules": ["m"]}
    )


PROGRAM = """
import os, sys
from pathlib import Path

import cloudfn
from cloudfn.sdk import imaging

LIMIT = {limit}


def helper(name):
    return f"{{name}} {{LIMIT}}"


def setup(name, *, target):
    Path(target).write_text(helper(name) + f" {{cloudfn.is_local()}}")


image = cloudfn.Image.debian_slim()
image = image.run_function(setup, args=("{name}",), kwargs={{"target": "out"}})

if __name__ == "__main__":
    layer = (spec := imaging.resolve(image.spec, Path("bundles"))).layers[-1]
    print(spec.digest, *(f"bundles/{{layer.arguments[name]}}" for name in ("program", "call")))
"""


def ran(script, *arguments):
    return subprocess.run(
        [sys.executable, *arguments, *([script] if script else [])],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()


def written(**values):
    Path("prog.py").write_text(PROGRAM.format(**{"limit": 5, "name": "me", **values}))
    return ran("prog.py")


def test_a_function_runs_as_in_a_container_with_its_arguments():
    _, program, call = written()

    ran("", "-P", "-m", "cloudfn.worker.building", program, call)

    assert Path("out").read_text() == "me 5 False"


def test_the_digest_follows_the_function_and_not_the_rest_of_the_program():
    digest, program, _ = written()
    Path("prog.py").write_text(Path("prog.py").read_text() + "\nOTHER = 1\n")
    again, other_program, _ = ran("prog.py")

    assert again == digest
    assert other_program != program
    assert written(limit=6)[0] != digest
    assert written(name="you")[0] != digest


def test_a_function_that_fails_ends_the_build_and_says_why():
    write(prog_py="def f():\n    raise ValueError('no disk')\n")
    script = (
        "import sys; sys.path.insert(0, '.')\n"
        "import prog, cloudfn\nfrom pathlib import Path\nfrom cloudfn.sdk import imaging\n"
        "image = cloudfn.Image.debian_slim().run_function(prog.f)\n"
        "layer = imaging.resolve(image.spec, Path('bundles')).layers[-1]\n"
        "print(*(f'bundles/{layer.arguments[name]}' for name in ('program', 'call')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cloudfn.worker.building", *ran("", "-c", script)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "ValueError: no disk" in done.stderr


def test_a_function_that_cannot_be_imported_goes_by_value():
    script = (
        "import cloudfn\nfrom pathlib import Path\nfrom cloudfn.sdk import imaging\n"
        "image = cloudfn.Image.debian_slim().run_function(lambda: Path('out').write_text('x'))\n"
        "layer = imaging.resolve(image.spec, Path('bundles')).layers[-1]\n"
        "print(*(f'bundles/{layer.arguments[name]}' for name in ('program', 'call')))\n"
    )

    ran("", "-P", "-m", "cloudfn.worker.building", *ran("", "-c", script))

    assert Path("out").read_text() == "x"
