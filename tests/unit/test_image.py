"""Images: what each builder method records, what may follow what, and that the record is plain."""

import inspect
import json
from dataclasses import asdict
from pathlib import Path

import pytest

import cloudfn
from cloudfn.errors import InvalidError, UnimplementedError
from cloudfn.model.function import FunctionSpec
from cloudfn.model.image import ImageSpec, Layer

SLIM = cloudfn.Image.debian_slim()

#: method → arguments for which it is called, one for each that records a layer
CALLS = {
    "debian_slim": {"python_version": "3.12", "force_build": True},
    "micromamba": {"python_version": "3.12"},
    "from_registry": {"tag": "ubuntu:24.04", "add_python": "3.12"},
    "from_dockerfile": {"path": Path("Dockerfile"), "build_args": {"A": "1"}},
    "from_aws_ecr": {"tag": "repository:1"},
    "from_gcp_artifact_registry": {"tag": "repository:1"},
    "from_scratch": {},
    "uv_sync": {"uv_project_dir": "./", "groups": ["dev"]},
    "pip_install_from_requirements": {"requirements_txt": "requirements.txt"},
    "pip_install_from_pyproject": {"pyproject_toml": "pyproject.toml"},
    "pip_install_private_repos": {"git_user": "builder"},
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
    "add_local_dir": {"local_path": Path("data"), "remote_path": "/root/data", "ignore": ["*.log"]},
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
        "layers": [asdict(each) for each in image.spec.layers]
    }


def test_layers_are_kept_in_order_with_positional_arguments_by_name():
    image = SLIM.apt_install("git", "curl").pip_install(["numpy"], "scipy").env({"A": "1"})

    assert image.spec == ImageSpec(
        (
            Layer("debian_slim"),
            Layer("apt_install", {"packages": ["git", "curl"]}),
            Layer("pip_install", {"packages": [["numpy"], "scipy"]}),
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


def test_what_is_in_a_secret_is_not_recorded():
    class Secret:
        name = "token"
        value = "hunter2"

    image = SLIM.run_commands("make", secrets=[Secret()], gpu="A100")

    assert image.spec.layers[-1].arguments["secrets"] == ["Secret token"]
    assert "hunter2" not in json.dumps(asdict(image.spec))


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda: SLIM.env({"A": 1}), id="numbers"),
        pytest.param(lambda: SLIM.add_local_python_source("./module.py"), id="a path"),
        pytest.param(lambda: SLIM.add_local_python_source(print), id="a function"),
        pytest.param(lambda: SLIM.run_commands("make", gpu="A100:x"), id="a gpu"),
        pytest.param(lambda: cloudfn.App("app", image="debian"), id="text for an app"),
        pytest.param(lambda: cloudfn.App("app").function(image="debian"), id="text for a function"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(InvalidError):
        wrong()


@pytest.mark.parametrize(
    "impossible",
    [
        pytest.param(lambda: cloudfn.Image.from_name("published"), id="from_name"),
        pytest.param(lambda: cloudfn.Image.from_id("im-1"), id="from_id"),
        pytest.param(lambda: SLIM.build(cloudfn.App("app")), id="build"),
        pytest.param(lambda: SLIM.publish("name"), id="publish"),
        pytest.param(lambda: SLIM.logs, id="logs"),
    ],
)
def test_nothing_is_built_or_published(impossible):
    with pytest.raises(UnimplementedError) as caught:
        impossible()
    assert caught.value.hint


def test_only_what_has_no_effect_is_unmet():
    assert SLIM.env({"A": "1"}).add_local_python_source("module").spec.unmet == ()
    assert cloudfn.Image.debian_slim("3.12").pip_install("a").pip_install("b").spec.unmet == (
        "debian_slim",
        "pip_install",
    )


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
    assert again.image is not None
    assert again.image.python_sources == ("module",)


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
