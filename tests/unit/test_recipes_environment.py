"""Plans of virtual environments, as data."""

from dataclasses import replace

import pytest

from cloudfn.model.image import ImageSpec, Layer
from cloudfn.model.secret import SecretRef
from cloudfn.providers.recipes.environment import Places, Step, Unmet, plan

BASE = Layer("debian_slim", {"python_version": "3.12"})
PIP_ONLY = Places(
    python="/usr/bin/python3.12",
    version="3.12",
    folder="/env",
    scratch="/scratch",
    bundles="/bundles",
    runtime="/runtime",
)
WITH_UV = replace(PIP_ONLY, uv="/bin/uv")
PIP = ("/env/bin/python", "-m", "pip", "install", "--no-input", "--disable-pip-version-check")
UV = ("/bin/uv", "pip", "install", "--python", "/env/bin/python")
TOKEN = [{"name": "token", "required_keys": []}]


def steps(places, *layers):
    """Return the steps after the one that makes the environment."""
    return plan(ImageSpec((BASE, *layers)), places).steps[1:]


def test_an_environment_is_made_first_by_uv_where_there_is_one():
    spec = ImageSpec((BASE,))

    assert plan(spec, PIP_ONLY).steps == (
        Step("debian_slim", ("/usr/bin/python3.12", "-m", "venv", "--without-pip", "/env")),
    )
    assert plan(spec, WITH_UV).steps == (
        Step("debian_slim", ("/bin/uv", "venv", "--python", "/usr/bin/python3.12", "/env")),
    )


def test_an_environment_has_a_pip_of_its_own_where_no_other_can_install_into_it():
    spec = ImageSpec((BASE, Layer("pip_install", {"packages": ["a"]})))

    own, install = plan(spec, PIP_ONLY).steps
    assert own.argv == ("/usr/bin/python3.12", "-m", "venv", "/env")
    assert install.argv == (*PIP, "a")
    bare, install = plan(spec, replace(PIP_ONLY, pip="/usr/bin/python3.11")).steps
    assert bare.argv == ("/usr/bin/python3.12", "-m", "venv", "--without-pip", "/env")
    assert install.argv[:5] == ("/usr/bin/python3.11", "-m", "pip", "--python", "/env/bin/python")


def test_packages_are_installed_by_either():
    layer = Layer(
        "pip_install",
        {
            "packages": ["a==1", "b>2"],
            "pre": True,
            "index_url": "https://x.example",
            "env": {"A": "1", "B": None},
            "secrets": TOKEN,
        },
    )
    options = ("--index-url", "https://x.example")
    secrets = (SecretRef("token"),)

    assert steps(PIP_ONLY, layer) == (
        Step("pip_install", (*PIP, *options, "--pre", "a==1", "b>2"), {"A": "1"}, secrets),
    )
    assert steps(WITH_UV, layer) == (
        Step(
            "pip_install",
            (*UV, *options, "--prerelease", "allow", "a==1", "b>2"),
            {"A": "1"},
            secrets,
        ),
    )


def test_options_of_pip_are_for_pip_which_then_is_there():
    layer = Layer("pip_install", {"packages": ["a"], "extra_options": "--no-build-isolation"})
    found = plan(ImageSpec((BASE, layer)), WITH_UV)

    assert found.steps[0].argv == (
        "/bin/uv", "venv", "--seed", "--python", "/usr/bin/python3.12", "/env",
    )  # fmt: skip
    assert found.steps[1].argv == (*PIP, "--no-build-isolation", "a")


def test_options_of_uv_are_for_uv():
    layer = Layer("uv_pip_install", {"packages": ["a"], "extra_options": "--resolution lowest"})

    assert steps(WITH_UV, layer)[0].argv == (*UV, "--resolution", "lowest", "a")


def test_requirements_go_through_files():
    layer = Layer("pip_install_from_requirements", {"requirements": "a\n", "constraints": "b<2\n"})

    assert steps(WITH_UV, layer) == (
        Step(
            "pip_install_from_requirements",
            (*UV, "-r", "/scratch/1-requirements.txt", "-c", "/scratch/1-constraints.txt"),
            files=(
                ("/scratch/1-requirements.txt", "a\n"),
                ("/scratch/1-constraints.txt", "b<2\n"),
            ),
        ),
    )


def test_nothing_to_install_is_no_step():
    assert steps(PIP_ONLY, Layer("pip_install", {"packages": []})) == ()


def test_a_token_for_a_repository_is_in_no_argument():
    layer = Layer(
        "pip_install_private_repos",
        {"repositories": ["github.com/a/b@v1"], "git_user": "me", "secrets": TOKEN},
    )
    (step,) = steps(WITH_UV, layer)

    assert step.argv[:2] == ("/bin/sh", "-c")
    assert step.argv[2] == (
        """export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.https://"me":${GITHUB_TOKEN}"""
        '@github.com/.insteadOf" GIT_CONFIG_VALUE_0=https://github.com/'
        f" && exec {' '.join(UV)} git+https://github.com/a/b@v1"
    )
    assert step.secrets == (SecretRef("token"),)


def test_projects_of_the_local_environment_are_built_from_copies():
    layer = Layer(
        "from_local_env",
        {
            "python_version": "3.12",
            "packages": ["a==1"],
            "projects": [
                {"name": "p", "version": "2.0", "context": "c1", "file": ""},
                {"name": "q", "version": "3", "context": "c2", "file": "q-3.whl"},
            ],
        },
    )
    found = plan(ImageSpec((layer,)), WITH_UV).steps

    assert [step.argv for step in found[1:]] == [
        (*UV, "--no-deps", "-r", "/scratch/0-requirements.txt"),
        ("/bin/sh", "-c", "cp -R /bundles/c1 /scratch/0-project-0"
         " && chmod -R u+w /scratch/0-project-0"),
        (*UV, "--no-deps", "/scratch/0-project-0/"),
        ("/bin/sh", "-c", "cp -R /bundles/c2 /scratch/0-project-1"
         " && chmod -R u+w /scratch/0-project-1"),
        (*UV, "--no-deps", "/scratch/0-project-1/q-3.whl"),
    ]  # fmt: skip
    assert found[3].env["SETUPTOOLS_SCM_PRETEND_VERSION"] == "2.0"


def test_a_project_of_uv_is_synced_into_the_environment():
    layer = Layer(
        "uv_sync", {"context": "c1", "locked": True, "groups": ["dev"], "uv_version": "0.9.1"}
    )
    sync = ("sync", "--project", "/scratch/1-project", "--inexact", "--no-install-workspace",
            "--frozen", "--group", "dev")  # fmt: skip

    copy, synced = steps(WITH_UV, layer)
    assert copy.argv[2] == (
        "cp -R /bundles/c1 /scratch/1-project && chmod -R u+w /scratch/1-project"
    )
    assert synced == Step("uv_sync", ("/bin/uv", *sync), {"UV_PROJECT_ENVIRONMENT": "/env"})
    installed, _, synced = steps(PIP_ONLY, layer)
    assert installed.argv == (*PIP, "--target", "/scratch/1-uv", "uv==0.9.1")
    assert synced.argv == ("/scratch/1-uv/bin/uv", *sync)


def test_a_project_of_poetry_is_exported_and_installed():
    layer = Layer("poetry_install_from_file", {"context": "c1", "without": ["dev"]})

    found = [step.argv for step in steps(WITH_UV, layer)]

    tool = "/scratch/1-poetry"
    assert found[0] == ("/bin/uv", "venv", "--python", "/usr/bin/python3.12", tool)
    assert found[1] == (*UV[:-1], f"{tool}/bin/python", "poetry", "poetry-plugin-export")
    assert found[3][2] == (
        "cd /scratch/1-project && exec /scratch/1-poetry/bin/poetry export"
        " --format requirements.txt --output /scratch/1-requirements.txt --without dev"
    )
    assert found[4] == (*UV, "--no-deps", "-r", "/scratch/1-requirements.txt")
    without_uv = plan(ImageSpec((BASE, layer)), PIP_ONLY).steps
    assert without_uv[0].argv == ("/usr/bin/python3.12", "-m", "venv", "/env")
    assert without_uv[1].argv == ("/usr/bin/python3.12", "-m", "venv", tool)
    assert without_uv[5].argv == (*PIP, "--no-deps", "-r", "/scratch/1-requirements.txt")


def test_a_function_runs_in_the_environment():
    layer = Layer("run_function", {"program": "p", "call": "c", "timeout": 60, "env": {"A": "1"}})

    assert steps(PIP_ONLY, layer) == (
        Step(
            "run_function",
            (
                "/env/bin/python",
                "-P",
                "-m",
                "cloudfn.worker.building",
                "/bundles/p",
                "/bundles/c",
                "/scratch",
            ),
            {"A": "1", "PYTHONPATH": "/runtime"},
            timeout=60,
        ),
    )


def test_copied_modules_are_put_among_the_packages():
    layer = Layer("add_local_python_source", {"context": "c1", "modules": ["m"], "copy": True})

    assert steps(PIP_ONLY, layer)[0].argv == (
        "cp", "-R", "/bundles/c1/.", "/env/lib/python3.12/site-packages",
    )  # fmt: skip


def test_steps_see_the_variables_and_the_directory_that_were_set_before():
    found = steps(
        PIP_ONLY,
        Layer("pip_install", {"packages": ["a"]}),
        Layer("env", {"vars": {"A": "1", "B": "1"}}),
        Layer("workdir", {"path": "/work"}),
        Layer("run_function", {"program": "p", "call": "c", "timeout": 60, "env": {"B": "2"}}),
        Layer("env", {"vars": {"A": "2"}}),
        Layer("workdir", {"path": "/other"}),
    )

    assert [dict(step.env) for step in found] == [
        {},
        {"A": "1", "B": "2", "PYTHONPATH": "/runtime"},
    ]
    assert found[1].argv[-1] == "/work"


def test_the_environment_is_the_active_one():
    assert plan(ImageSpec((BASE,)), PIP_ONLY).env == {"VIRTUAL_ENV": "/env"}


@pytest.mark.parametrize(
    "layer",
    [
        Layer("apt_install", {"packages": ["git"]}),
        Layer("run_commands", {"commands": ["make"]}),
        Layer("dockerfile_commands", {"commands": ["RUN make"]}),
        Layer("micromamba_install", {"packages": ["numpy"]}),
    ],
    ids=lambda layer: layer.method,
)
def test_what_an_environment_cannot_give_is_unmet(layer):
    found = plan(ImageSpec((BASE, layer)), PIP_ONLY)

    assert [each.method for each in found.unmet] == [layer.method]
    assert len(found.steps) == 1


@pytest.mark.parametrize(
    "base",
    [
        Layer("from_registry", {"tag": "ubuntu"}),
        Layer("from_dockerfile", {"dockerfile": "FROM a"}),
        Layer("from_scratch"),
    ],
    ids=lambda layer: layer.method,
)
def test_another_base_than_a_python_is_unmet(base):
    assert [each.method for each in plan(ImageSpec((base,)), PIP_ONLY).unmet] == [base.method]


def test_another_python_is_unmet():
    spec = ImageSpec((Layer("debian_slim", {"python_version": "3.13"}),))

    assert plan(spec, PIP_ONLY).unmet == (
        Unmet("debian_slim", "Python 3.13 is not on this machine"),
    )
    exact = ImageSpec((Layer("debian_slim", {"python_version": "3.12.4"}),))
    assert plan(exact, PIP_ONLY).unmet == ()


def test_a_layer_without_commands_is_not_unmet():
    settings = [
        Layer("env", {"vars": {"A": "1"}}),
        Layer("workdir", {"path": "/a"}),
        Layer("cmd", {"cmd": ["a"]}),
        Layer("shell", {"shell_commands": ["/bin/bash", "-c"]}),
        Layer("add_local_dir", {"context": "c", "remote_path": "/a", "copy": True}),
    ]

    assert plan(ImageSpec((BASE, *settings)), PIP_ONLY).unmet == ()


def test_people_can_read_a_plan():
    spec = ImageSpec(
        (
            BASE,
            Layer("apt_install", {"packages": ["git"]}),
            Layer(
                "pip_install_from_requirements",
                {"requirements": "a\nb\n", "env": {"A": "x y"}, "secrets": TOKEN},
            ),
        )
    )

    assert str(plan(spec, PIP_ONLY)) == (
        "# Python 3.12\n"
        "# not possible: apt_install: packages of the system cannot be installed into a virtual"
        " environment\n"
        "# debian_slim\n"
        "/usr/bin/python3.12 -m venv /env\n"
        "# pip_install_from_requirements\n"
        "cat > /scratch/2-requirements.txt <<'END'\n"
        "a\n"
        "b\n"
        "END\n"
        "A='x y' /env/bin/python -m pip install --no-input --disable-pip-version-check"
        " -r /scratch/2-requirements.txt\n"
        "# with the secret 'token'\n"
    )
