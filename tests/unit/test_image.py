"""The Image builder: what each method records and refuses, and that the record is plain."""

import inspect
import json
from dataclasses import asdict
from pathlib import Path

import pytest

import cloudfn
from cloudfn.errors import InvalidError, UnimplementedError
from cloudfn.model.function import FunctionSpec
from cloudfn.model.image import ImageSpec, Layer
from cloudfn.model.secret import SecretRef

SLIM = cloudfn.Image.debian_slim()
TOKEN = cloudfn.Secret.from_name("token")

#: method → arguments for which it is called, one for each that records a layer
CALLS = {
    "debian_slim": {"python_version": "3.12", "force_build": True},
    "micromamba": {"python_version": "3.12"},
    "from_registry": {"tag": "ubuntu:24.04", "add_python": "3.12"},
    "from_dockerfile": {"path": Path("Dockerfile"), "build_args": {"A": "1"}},
    "from_aws_ecr": {"tag": "repository:1"},
    "from_gcp_artifact_registry": {"tag": "repository:1"},
    "from_scratch": {},
    "from_local_env": {"force_build": True},
    "uv_sync": {"uv_project_dir": "./", "groups": ["dev"]},
    "pip_install_from_requirements": {"requirements_txt": "requirements.txt"},
    "pip_install_from_pyproject": {"pyproject_toml": "pyproject.toml"},
    "pip_install_private_repos": {"git_user": "builder", "secrets": [TOKEN]},
    "poetry_install_from_file": {"poetry_pyproject_toml": "pyproject.toml", "only": ["main"]},
    "micromamba_install": {"channels": ["conda-forge"]},
    "pip_install": {"pre": True, "index_url": "https://example.org/simple"},
    "uv_pip_install": {"requirements": ["requirements.txt"]},
    "apt_install": {"force_build": True},
    "run_commands": {"env": {"A": "1"}},
    "run_function": {"raw_f": print, "timeout": 60, "args": (1, 2)},
    "dockerfile_commands": {"context_dir": Path("context")},
    "env": {"vars": {"A": "1"}},
    "workdir": {"path": "/work"},
    "cmd": {"cmd": ["sleep", "1"]},
    "entrypoint": {"entrypoint_commands": ["/start"]},
    "shell": {"shell_commands": ["/bin/bash", "-c"]},
    "add_local_file": {"local_path": "a.txt", "remote_path": "/root/a.txt", "copy": True},
    "add_local_dir": {"local_path": Path("data"), "remote_path": "/srv/data", "ignore": ["*.log"]},
    "add_local_python_source": {"copy": True},
}
#: what is no layer
OTHERS = {"build", "logs", "from_id", "from_name", "imports", "pipe", "publish"}


def methods():
    named = inspect.getmembers_static(cloudfn.Image)
    return {name for name, value in named if not name.startswith("_") and name not in _FIELDS}


_FIELDS = {"object_id", "spec"}


def test_every_method_is_tried_here():
    assert methods() == set(CALLS) | OTHERS


@pytest.mark.parametrize("method", sorted(CALLS))
def test_a_method_returns_a_new_image_with_its_arguments_as_plain_data(method):
    image = getattr(SLIM, method)(**CALLS[method])

    assert [each.method for each in SLIM.spec.layers] == ["debian_slim"]
    last = image.spec.layers[-1]
    assert last.method == method
    assert set(CALLS[method]) <= set(last.arguments)
    assert json.loads(json.dumps(asdict(image.spec))) == {
        "layers": [asdict(each) for each in image.spec.layers],
        "platform": "",
    }


def test_layers_are_kept_in_order_with_positional_arguments_by_name():
    image = SLIM.apt_install("git", "curl").pip_install(["numpy"], "scipy").env({"A": "1"})

    assert image.spec == ImageSpec(
        (
            Layer("debian_slim"),
            Layer("apt_install", {"packages": ["git", "curl"]}),
            Layer("pip_install", {"packages": ["numpy", "scipy"]}),
            Layer("env", {"vars": {"A": "1"}}),
        )
    )


def test_the_id_is_the_same_for_the_same_layers_and_another_for_others():
    one, same = (cloudfn.Image.debian_slim().pip_install("numpy") for _ in range(2))

    assert one.object_id == same.object_id
    assert one == same
    assert hash(one) == hash(same)
    assert one.object_id.startswith("im-")
    assert one.object_id != cloudfn.Image.debian_slim().pip_install("scipy").object_id
    assert one != "an image"


def test_an_argument_that_a_method_does_not_have_is_a_type_error():
    with pytest.raises(TypeError, match="colour"):
        SLIM.pip_install("numpy", colour="red")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="git_user"):
        SLIM.pip_install_private_repos("repository")  # type: ignore[call-arg]


def test_what_is_attached_comes_last():
    attached = SLIM.add_local_dir("data", "/data").add_local_python_source("module")

    for build_step in (
        lambda: attached.pip_install("numpy"),
        lambda: attached.env({"A": "1"}),
        lambda: attached.add_local_file("a", "/a", copy=True),
    ):
        with pytest.raises(InvalidError, match=r"copy=True") as caught:
            build_step()
        assert "add_local_" in caught.value.message
    assert SLIM.add_local_dir("data", "/data", copy=True).pip_install("numpy").spec.layers


def test_a_secret_is_recorded_by_its_name():
    image = SLIM.run_commands("make", secrets=[TOKEN], gpu="A100")

    assert image.spec.secrets == (SecretRef("token"),)


def test_a_secret_without_a_name_is_not_recorded():
    with pytest.raises(InvalidError, match="with a name") as caught:
        SLIM.run_commands("make", secrets=[cloudfn.Secret.from_dict({"KEY": "hunter2"})])
    assert "hunter2" not in str(caught.value)


#: what a method is asked for → a part of what it says
WRONG = {
    "a number as a variable": (lambda: SLIM.env({"A": 1}), "'A' to 1"),
    "a variable with a space": (lambda: SLIM.env({"A B": "1"}), "'A B'"),
    "no variables at all": (lambda: SLIM.env("A=1"), "`Image.env`"),
    "a number for one step": (lambda: SLIM.pip_install("a", env={"A": 1}), "`Image.pip_install`"),
    "an old Python": (lambda: cloudfn.Image.debian_slim("3.9"), "3.11 or newer"),
    "a Python as a number": (lambda: cloudfn.Image.debian_slim(3.12), "3.12"),
    "a Python by name": (lambda: cloudfn.Image.micromamba("pypy"), "pypy"),
    "an old Python to add": (lambda: cloudfn.Image.from_registry("a", add_python="2.7"), "2.7"),
    "no image": (lambda: cloudfn.Image.from_registry(""), "from_registry"),
    "lines as text": (
        lambda: cloudfn.Image.from_registry("a", setup_dockerfile_commands="RUN a"),
        "`setup_dockerfile_commands`",
    ),
    "a package that is none": (lambda: SLIM.apt_install(1), "`Image.apt_install`"),
    "an empty package": (lambda: SLIM.pip_install("numpy", ""), "`Image.pip_install`"),
    "an option as a package": (lambda: SLIM.pip_install("-r requirements.txt"), "option"),
    "an option as a Debian package": (lambda: SLIM.apt_install("--no-check"), "option"),
    "no text as options": (lambda: SLIM.pip_install("a", extra_options=["--x"]), "extra_options"),
    "one file as a list": (
        lambda: SLIM.uv_pip_install(requirements="requirements.txt"),
        "`requirements`",
    ),
    "a number as a file": (lambda: SLIM.pip_install_from_requirements(3), "`requirements_txt`"),
    "private without a token": (
        lambda: SLIM.pip_install_private_repos("github.com/a/b", git_user="me"),
        "`secrets`",
    ),
    "one secret as a list": (lambda: SLIM.run_commands("make", secrets=TOKEN), "`secrets`"),
    "text as a secret": (lambda: SLIM.run_commands("make", secrets=["token"]), "str"),
    "a gpu": (lambda: SLIM.run_commands("make", gpu="A100:x"), "A100:x"),
    "no commands": (lambda: SLIM.run_commands([None]), "`Image.run_commands`"),
    "words as text": (lambda: SLIM.cmd("sleep 1"), "`cmd`"),
    "no shell": (lambda: SLIM.shell([]), "shell"),
    "an empty directory": (lambda: SLIM.workdir(""), "`path`"),
    "lines as a directory": (lambda: SLIM.workdir("/a\nRUN b"), "`path`"),
    "lines as a remote path": (lambda: SLIM.add_local_file("a", "/a\nRUN b"), "RUN b"),
    "a file out of the context": (
        lambda: SLIM.dockerfile_commands("COPY a /a", context_files={"../../a": "a"}),
        "../../a",
    ),
    "no function": (lambda: SLIM.run_function("f"), "plain function"),
    "no time": (lambda: SLIM.run_function(print, timeout=0), "`timeout`"),
    "half a flag": (lambda: SLIM.pip_install("a", pre="yes"), "`pre`"),
    "a path as a module": (lambda: SLIM.add_local_python_source("./module.py"), "module.py"),
    "a function as a module": (lambda: SLIM.add_local_python_source(print), "print"),
    "no local path": (lambda: SLIM.add_local_file("", "/a"), "`local_path`"),
    "no remote path": (lambda: SLIM.add_local_file("a", 1), "`remote_path`"),
    "a relative remote path": (lambda: SLIM.add_local_dir("a", "b"), "`workdir`"),
    "a remote path upward": (lambda: SLIM.add_local_dir("a", "/b/../../etc"), "/b/../../etc"),
    "a place that is taken": (lambda: SLIM.add_local_dir("a", "/usr/"), "/usr/"),
    "a pattern that leads out": (lambda: SLIM.add_local_dir("a", "/b", ignore=["../c"]), "../c"),
    "one pattern as a list": (lambda: SLIM.add_local_dir("a", "/b", ignore="*.log"), "*.log"),
    "text for an app": (lambda: cloudfn.App("app", image="debian"), "str"),
    "text for a function": (lambda: cloudfn.App("app").function(image="debian"), "str"),
}


@pytest.mark.parametrize("what", sorted(WRONG))
def test_what_makes_no_sense_is_refused_at_the_call(what):
    wrong, said = WRONG[what]

    with pytest.raises(InvalidError) as caught:
        wrong()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "impossible",
    [
        pytest.param(lambda: SLIM.run_commands("make", volumes={"/a": 1}), id="volumes"),
        pytest.param(lambda: SLIM.run_function(print, volumes={"/a": 1}), id="of a function"),
        pytest.param(lambda: SLIM.run_function(print, network_file_systems={"/a": 1}), id="nfs"),
    ],
)
def test_builds_see_no_volumes(impossible):
    with pytest.raises(UnimplementedError, match="no volumes"):
        impossible()


def test_a_function_of_an_app_cannot_run_in_a_build():
    app = cloudfn.App("app")

    @app.function(serialized=True)
    def f():
        """Do nothing."""

    with pytest.raises(InvalidError, match="plain function"):
        SLIM.run_function(f)


def test_remote_paths_are_within_the_working_directory():
    image = SLIM.workdir("/srv").workdir("deep").add_local_file("a.txt", "there/")

    assert image.spec.workdir == "/srv/deep"
    assert image.spec.layers[-1].arguments["remote_path"] == "/srv/deep/there/a.txt"


@pytest.mark.parametrize(
    "impossible",
    [
        pytest.param(lambda: cloudfn.Image.from_name("published"), id="from_name"),
        pytest.param(lambda: cloudfn.Image.from_id("im-1"), id="from_id"),
        pytest.param(lambda: SLIM.publish("name"), id="publish"),
        pytest.param(lambda: SLIM.logs, id="logs"),
    ],
)
def test_what_is_not_here_says_what_to_do(impossible):
    with pytest.raises(UnimplementedError) as caught:
        impossible()
    assert caught.value.hint


def test_later_variables_win_and_those_of_the_function_over_them():
    image = SLIM.env({"A": "1", "B": "1"}).env({"B": "2"})
    spec = FunctionSpec("f", "m", "f", env={"A": "3"}, image=image.spec)

    assert image.spec.env == {"A": "1", "B": "2"}
    assert spec.variables == {"A": "3", "B": "2"}


def test_a_spec_with_an_image_is_the_same_after_json():
    image = SLIM.pip_install("numpy").add_local_python_source("module")
    spec = FunctionSpec("f", "m", "f", gpu=("A100", "H100:2"), image=image.spec)

    again = FunctionSpec.from_json(json.loads(json.dumps(spec.to_json())))

    assert again == spec


def test_an_app_hands_its_image_to_functions_that_have_none():
    other = cloudfn.Image.from_scratch()
    app = cloudfn.App("app", image=SLIM)

    def f():
        """Do nothing."""

    first = app.function(serialized=True)(f)
    second = app.function(serialized=True, name="g", image=other)(f)

    assert app.image is SLIM
    assert first.spec is not None
    assert second.spec is not None
    assert (first.spec.image, second.spec.image) == (SLIM.spec, other.spec)


def test_pipe_applies_a_function():
    def with_tools(image, *packages, pre):
        return image.pip_install(*packages, pre=pre)

    assert SLIM.pipe(with_tools, "numpy", pre=True) == SLIM.pip_install("numpy", pre=True)


def test_imports_swallows_import_errors_alone():
    with SLIM.imports():
        import there_is_no_such_module  # noqa: F401
    with pytest.raises(ZeroDivisionError), SLIM.imports():
        _ = 1 / 0
