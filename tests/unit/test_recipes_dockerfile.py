"""Dockerfiles of images, as text."""

import re
import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfn.errors import InvalidError
from cloudfn.model.dockerfile import copied, instructions
from cloudfn.model.image import ImageSpec, Layer
from cloudfn.model.secret import SecretRef
from cloudfn.providers.recipes import foreign, lines
from cloudfn.providers.recipes.dockerfile import FORCE, Dockerfile, dockerfile

BASE = Layer("debian_slim", {"python_version": "3.12"})
#: what every image begins with, after its base
QUIET = """\
ARG PIP_CACHE_DIR=/var/cache/cloudfn/pip
ARG POETRY_CACHE_DIR=/var/cache/cloudfn/poetry
ARG UV_CACHE_DIR=/var/cache/cloudfn/uv
ARG PIP_BREAK_SYSTEM_PACKAGES=1
ARG PIP_NO_INPUT=1
ARG PIP_ROOT_USER_ACTION=ignore
ARG UV_LINK_MODE=copy
"""
CACHE = "--mount=type=cache,target=/var/cache/cloudfn"
TOKEN = [{"name": "token", "required_keys": []}]
UV = f"RUN {CACHE} python3 -m pip install --target /opt/cloudfn/uv uv"
PROJECT = "--mount=type=bind,rw,source=context/c1,target=/opt/cloudfn/project"

#: layers after a plain base → their lines
LAYERS = {
    "packages": (
        [
            Layer(
                "pip_install",
                {"packages": ["numpy==2.0", "pandas>2"], "pre": True, "extra_options": "--a 'b c'"},
            )
        ],
        f"RUN {CACHE} python3 -m pip install --pre --a 'b c' numpy==2.0 'pandas>2'",
    ),
    "no packages": ([Layer("pip_install", {"packages": []}), Layer("apt_install")], ""),
    "an index": (
        [
            Layer(
                "pip_install",
                {
                    "packages": ["a"],
                    "index_url": "https://one.example/simple",
                    "extra_index_url": "https://two.example/simple",
                    "find_links": "https://three.example",
                },
            )
        ],
        f"RUN {CACHE} python3 -m pip install --find-links https://three.example"
        " --index-url https://one.example/simple --extra-index-url https://two.example/simple a",
    ),
    "variables and secrets of one step": (
        [
            Layer(
                "pip_install",
                {"packages": ["a"], "env": {"A": "it's", "B": None}, "secrets": TOKEN},
            )
        ],
        f"RUN {CACHE} --mount=type=secret,id=token,required=true . /run/secrets/token"
        """ && export A='it'"'"'s' && python3 -m pip install a""",
    ),
    "requirements": (
        [
            Layer(
                "pip_install_from_requirements",
                {"requirements": "a\nb\n", "constraints": "b<2\n"},
            )
        ],
        f"RUN {CACHE} --mount=type=bind,source=files/1-requirements.txt,"
        "target=/opt/cloudfn/files/1-requirements.txt"
        " --mount=type=bind,source=files/1-constraints.txt,"
        "target=/opt/cloudfn/files/1-constraints.txt python3 -m pip install"
        " -r /opt/cloudfn/files/1-requirements.txt -c /opt/cloudfn/files/1-constraints.txt",
    ),
    "packages by uv, which comes once": (
        [
            Layer("uv_pip_install", {"packages": ["a"], "pre": True}),
            Layer("uv_pip_install", {"packages": ["b"]}),
            Layer("uv_pip_install", {"packages": ["c"], "uv_version": "0.9.1"}),
        ],
        f"{UV}\n"
        f"RUN {CACHE} /opt/cloudfn/uv/bin/uv pip install --system --break-system-packages"
        " --prerelease allow a\n"
        f"RUN {CACHE} /opt/cloudfn/uv/bin/uv pip install --system --break-system-packages b\n"
        f"RUN {CACHE} python3 -m pip install --target /opt/cloudfn/uv-0.9.1 uv==0.9.1\n"
        f"RUN {CACHE} /opt/cloudfn/uv-0.9.1/bin/uv pip install --system --break-system-packages c",
    ),
    "a project of uv": (
        [
            Layer(
                "uv_sync",
                {"context": "c1", "locked": True, "groups": ["dev"], "extras": ["web"]},
            )
        ],
        f"{UV}\n"
        f"RUN {CACHE} {PROJECT} export UV_PROJECT_ENVIRONMENT="
        """"$(python3 -c 'import sys; print(sys.prefix)')" && /opt/cloudfn/uv/bin/uv sync"""
        " --project /opt/cloudfn/project --inexact --no-install-workspace --frozen --group dev"
        " --extra web",
    ),
    "a project of uv without a lock": (
        [Layer("uv_sync", {"context": "c1", "locked": False, "frozen": False})],
        f"{UV}\n"
        f"RUN {CACHE} {PROJECT} export UV_PROJECT_ENVIRONMENT="
        """"$(python3 -c 'import sys; print(sys.prefix)')" && /opt/cloudfn/uv/bin/uv sync"""
        " --project /opt/cloudfn/project --inexact --no-install-workspace",
    ),
    "a project of poetry": (
        [
            Layer(
                "poetry_install_from_file",
                {"context": "c1", "with_": ["a", "b"], "only": ["c"], "poetry_version": "2.1"},
            )
        ],
        f"RUN {CACHE} python3 -m venv --without-pip /opt/cloudfn/poetry && python3 -m pip"
        " --python /opt/cloudfn/poetry install poetry==2.1 poetry-plugin-export\n"
        f"RUN {CACHE} {PROJECT} cd /opt/cloudfn/project && /opt/cloudfn/poetry/bin/poetry export"
        " --format requirements.txt --output /tmp/cloudfn-requirements.txt --with a,b --only c"
        " && python3 -m pip install --no-deps -r /tmp/cloudfn-requirements.txt"
        " && rm /tmp/cloudfn-requirements.txt",
    ),
    "private repositories": (
        [
            Layer(
                "pip_install_private_repos",
                {
                    "repositories": ["github.com/a/b@v1", "gitlab.com/c/d"],
                    "git_user": "o'me",
                    "secrets": TOKEN,
                },
            )
        ],
        f"RUN {CACHE} --mount=type=secret,id=token,required=true . /run/secrets/token"
        " && export GIT_CONFIG_COUNT=2"
        """ GIT_CONFIG_KEY_0="url.https://"'o'"'"'me'":${GITHUB_TOKEN}@github.com/.insteadOf\""""
        " GIT_CONFIG_VALUE_0=https://github.com/"
        """ GIT_CONFIG_KEY_1="url.https://"'o'"'"'me'":${GITLAB_TOKEN}@gitlab.com/.insteadOf\""""
        " GIT_CONFIG_VALUE_1=https://gitlab.com/"
        " && python3 -m pip install git+https://github.com/a/b@v1 git+https://gitlab.com/c/d",
    ),
    "packages of Debian": (
        [Layer("apt_install", {"packages": ["git", "libpq-dev"]})],
        "RUN --mount=type=cache,target=/var/cache/apt,sharing=locked"
        " --mount=type=cache,target=/var/lib/apt/lists,sharing=locked"
        " rm -f /etc/apt/apt.conf.d/docker-clean && apt-get update"
        " && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends"
        " git libpq-dev",
    ),
    "commands": (
        [
            Layer(
                "run_commands",
                {"commands": ['echo "$HOME"', "a\nb", "cat <<END", "[ -e a ]", "a \\"]},
            )
        ],
        'RUN echo "$HOME"\n'
        'RUN ["/bin/sh", "-c", "a\\nb"]\n'
        'RUN ["/bin/sh", "-c", "cat <<END"]\n'
        'RUN ["/bin/sh", "-c", "[ -e a ]"]\n'
        'RUN ["/bin/sh", "-c", "a \\\\"]',
    ),
    "commands in another shell": (
        [
            Layer("shell", {"shell_commands": ["/bin/bash", "-c"]}),
            Layer("run_commands", {"commands": ["a", "b\nc"]}),
        ],
        'SHELL ["/bin/bash", "-c"]\nRUN a\nRUN ["/bin/bash", "-c", "b\\nc"]',
    ),
    "a command with a flag of its own": (
        [Layer("run_commands", {"commands": ["--network=none make"], "env": {"A": "1"}})],
        "RUN --network=none export A=1 && make",
    ),
    "a function": (
        [
            Layer(
                "run_function",
                {"program": "p1", "call": "c1", "timeout": 60, "env": {"A": "1"}},
            )
        ],
        "RUN --mount=type=bind,source=runtime,target=/opt/cloudfn/runtime"
        " --mount=type=bind,source=context/p1,target=/opt/cloudfn/program"
        " --mount=type=bind,source=context/c1,target=/opt/cloudfn/call"
        " export A=1 PYTHONPATH=/opt/cloudfn/runtime && timeout 60"
        " python3 -P -m cloudfn.worker.building /opt/cloudfn/program /opt/cloudfn/call",
    ),
    "settings": (
        [
            Layer("env", {"vars": {"A": 'say "$HOME"', "B": "c:\\d"}}),
            Layer("workdir", {"path": "/the work"}),
            Layer("cmd", {"cmd": ["sleep", "1"]}),
            Layer("entrypoint", {"entrypoint_commands": ["/start it"]}),
        ],
        'ENV A="say \\"\\$HOME\\"" B="c:\\\\d"\n'
        'WORKDIR "/the work"\nCMD ["sleep", "1"]\nENTRYPOINT ["/start it"]',
    ),
    "local files": (
        [
            Layer(
                "add_local_file",
                {"context": "c1", "name": "a b", "remote_path": "/x y/a b", "copy": True},
            ),
            Layer("add_local_dir", {"context": "c2", "remote_path": "/data", "copy": True}),
            Layer("add_local_dir", {"context": "c3", "remote_path": "/attached"}),
        ],
        'COPY ["context/c1/a b", "/x y/a b"]\nCOPY ["context/c2/", "/data"]',
    ),
    "local modules": (
        [Layer("add_local_python_source", {"context": "c1", "modules": ["m"], "copy": True})],
        "RUN --mount=type=bind,source=context/c1,target=/opt/cloudfn/project"
        " cp -R /opt/cloudfn/project/."
        """ "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/\"""",
    ),
    "lines of a Dockerfile": (
        [
            Layer(
                "dockerfile_commands",
                {
                    "commands": ["COPY a /b", "ADD --chown=1 big c /d/", "RUN make", "EXPOSE 80"],
                    "context": "c1",
                    "files": "f1",
                    "file_names": ["a"],
                    "env": {"A": "1"},
                    "secrets": TOKEN,
                },
            )
        ],
        "COPY context/f1/a /b\n"
        "ADD --chown=1 context/c1/big context/c1/c /d/\n"
        "RUN --mount=type=secret,id=token,required=true . /run/secrets/token && export A=1"
        " && make\n"
        "EXPOSE 80",
    ),
    "what is built anew": (
        [Layer("pip_install", {"packages": ["a"], "force_build": True})],
        f"ARG {FORCE}\nRUN {CACHE} python3 -m pip install a",
    ),
}


def made(*layers: Layer) -> Dockerfile:
    return dockerfile(ImageSpec(layers), "python:{version}-slim")


@pytest.mark.parametrize("what", sorted(LAYERS))
def test_layers_become_lines(what):
    layers, expected = LAYERS[what]

    text = made(BASE, *layers).text

    begin = f"FROM python:3.12-slim\n{QUIET}"
    assert text == begin + (f"{expected}\n" if expected else "")


PYTHON_STAGE = f"""\
FROM python:3.13-slim AS cloudfn-python
{QUIET}{UV}
RUN {CACHE} /opt/cloudfn/uv/bin/uv python install --install-dir /opt/python 3.13 \
&& mkdir -p /opt/cloudfn/python && cp -a /opt/python/cpython-3.13.*/. /opt/cloudfn/python/
"""
ADDED = "COPY --from=cloudfn-python /opt/cloudfn/python/ /usr/local/\n"

#: bases → everything that comes of them
BASES = {
    "micromamba": (
        Layer("micromamba", {"python_version": "3.12"}),
        "FROM mambaorg/micromamba:1.5-bookworm-slim\nUSER root\nENV PATH=/opt/conda/bin:$PATH\n"
        'SHELL ["/bin/sh", "-c"]\n'
        "RUN micromamba install --yes --name base --channel conda-forge pip python=3.12"
        " && micromamba clean --all --yes\n",
    ),
    "a registry's": (
        Layer(
            "from_registry",
            {"tag": "ubuntu:24.04", "setup_dockerfile_commands": ["RUN rm /etc/x"]},
        ),
        "FROM ubuntu:24.04\nUSER root\nRUN rm /etc/x\n",
    ),
    "a registry's with a Python": (
        Layer("from_aws_ecr", {"tag": "a.example/b:1", "add_python": "3.13"}),
        f"{PYTHON_STAGE}FROM a.example/b:1\nUSER root\n{ADDED}",
    ),
    "nothing": (Layer("from_scratch"), "FROM scratch\n"),
    "a Dockerfile": (
        Layer(
            "from_dockerfile",
            {
                "dockerfile": "# syntax=docker/dockerfile:1\nFROM a AS b\n# why\nFROM c\n"
                "COPY --from=b /x /x\nCOPY d \\\n  e /f/\nUSER nobody\n",
                "context": "c1",
            },
        ),
        "FROM a AS b\nFROM c\nCOPY --from=b /x /x\nCOPY context/c1/d context/c1/e /f/\n"
        "USER nobody\nUSER root\n",
    ),
    "a Dockerfile with a Python": (
        Layer("from_dockerfile", {"dockerfile": "ARG A\nFROM $A\n", "add_python": "3.13"}),
        f"ARG A\nFROM $A AS cloudfn-base\n{PYTHON_STAGE}FROM cloudfn-base\nUSER root\n{ADDED}",
    ),
    "a Dockerfile with names and a Python": (
        Layer("from_dockerfile", {"dockerfile": "FROM a\nfrom b as c", "add_python": "3.13"}),
        f"FROM a\nfrom b as c\n{PYTHON_STAGE}FROM c\nUSER root\n{ADDED}",
    ),
}


@pytest.mark.parametrize("what", sorted(BASES))
def test_bases_become_lines(what):
    layer, expected = BASES[what]

    assert made(layer).text == expected + QUIET


def test_the_local_environment_is_installed_without_dependencies_and_projects_are_built():
    found = made(
        Layer(
            "from_local_env",
            {
                "python_version": "3.12",
                "packages": ["a==1", "b @ git+https://x.example/b@abc"],
                "projects": [
                    {"name": "p", "version": "2.0", "context": "c1", "file": ""},
                    {"name": "q", "version": "3", "context": "c2", "file": "q-3.whl"},
                ],
            },
        )
    )

    project = "target=/opt/cloudfn/project"
    assert found.text == (
        f"FROM python:3.12-slim\n{QUIET}"
        f"RUN {CACHE} --mount=type=bind,source=files/0-requirements.txt,"
        "target=/opt/cloudfn/files/0-requirements.txt python3 -m pip install --no-deps"
        " -r /opt/cloudfn/files/0-requirements.txt\n"
        f"RUN {CACHE} --mount=type=bind,rw,source=context/c1,{project} export"
        " SETUPTOOLS_SCM_PRETEND_VERSION=2.0 PBR_VERSION=2.0 && python3 -m pip install --no-deps"
        " /opt/cloudfn/project/\n"
        f"RUN {CACHE} --mount=type=bind,rw,source=context/c2,{project} export"
        " SETUPTOOLS_SCM_PRETEND_VERSION=3 PBR_VERSION=3 && python3 -m pip install --no-deps"
        " /opt/cloudfn/project/q-3.whl\n"
    )
    assert found.files == {"0-requirements.txt": "a==1\nb @ git+https://x.example/b@abc\n"}
    assert found.contexts == ("c1", "c2")


def test_a_spec_of_conda_keeps_its_ending():
    layer = Layer(
        "micromamba_install",
        {"packages": ["a"], "spec": "b\n", "spec_name": "my.yml", "channels": ["x", "y"]},
    )
    found = made(Layer("micromamba", {"python_version": "3.12"}), layer)

    assert found.text.endswith(
        "RUN --mount=type=bind,source=files/1-spec.yml,target=/opt/cloudfn/files/1-spec.yml"
        " micromamba install --yes --name base --channel x --channel y a"
        " --file /opt/cloudfn/files/1-spec.yml && micromamba clean --all --yes\n"
    )
    assert found.files == {"1-spec.yml": "b\n"}


def test_a_variable_of_several_lines_goes_through_an_argument():
    found = made(BASE, Layer("env", {"vars": {"A": "1", "KEY": "one\ntwo $A"}}))

    assert found.text.endswith('ENV A="1"\nARG CLOUDFN_1_KEY\nENV KEY=$CLOUDFN_1_KEY\n')
    assert found.build_args == {"CLOUDFN_1_KEY": "one\ntwo $A"}


def test_what_the_builder_needs_besides_is_said():
    registry = {"name": "registry", "required_keys": []}
    found = made(
        Layer("from_registry", {"tag": "a", "secret": registry}),
        Layer("run_function", {"program": "p", "call": "c", "timeout": 1, "secrets": TOKEN}),
        Layer("dockerfile_commands", {"commands": ["ARG A"], "build_args": {"A": "1"}}),
        Layer("apt_install", {"packages": ["a"], "force_build": True}),
    )

    assert found.contexts == ("p", "c")
    assert found.secrets == {"token": SecretRef("token")}
    assert found.credentials == SecretRef("registry")
    assert found.build_args == {"A": "1"}
    assert found.runtime
    assert found.force
    assert not made(BASE).runtime
    assert not made(BASE).force


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        pytest.param([], "begin with a base", id="nothing"),
        pytest.param([Layer("pip_install", {"packages": ["a"]})], "begin with", id="no base"),
        pytest.param([BASE, BASE], "on top of other layers", id="two bases"),
        pytest.param([Layer("from_dockerfile", {"dockerfile": "RUN a"})], "FROM", id="no stage"),
        pytest.param(
            [Layer("from_dockerfile", {"dockerfile": "# escape=`\nFROM a"})], "escape", id="escape"
        ),
        pytest.param(
            [BASE, Layer("pip_install", {"packages": ["a"], "extra_options": "'"})],
            "`extra_options` of `Image.pip_install`",
            id="a quotation mark",
        ),
        pytest.param(
            [BASE, Layer("pip_install_private_repos", {"repositories": ["b"], "git_user": "u"})],
            "pip_install_private_repos",
            id="a repository",
        ),
    ],
)
def test_what_cannot_be_written_is_refused(layers, said):
    with pytest.raises(InvalidError) as caught:
        made(*layers)
    assert said in str(caught.value)


#: lines of users' own → what they mean in our context
FITTED = {
    "COPY a b /c/": "COPY AT/a AT/b /c/",
    "copy . /app": "COPY AT/. /app",
    "COPY ./a/../b /c": "COPY AT/b /c",
    "COPY /a /c": "COPY AT/a /c",
    "COPY ../../etc/passwd /c": "COPY AT/etc/passwd /c",
    'COPY ["a b", "/c d"]': 'COPY ["AT/a b", "/c d"]',
    "COPY --chown=1:1 --chmod=644 a /b": "COPY --chown=1:1 --chmod=644 AT/a /b",
    "COPY --chown=1 --from=stage a /b": "COPY --chown=1 --from=stage a /b",
    "COPY *.txt /b/": "COPY AT/*.txt /b/",
    "COPY <<END /b\nx\nEND": "COPY <<END /b\nx\nEND",
    "ADD https://x.example/a b /c/": "ADD https://x.example/a AT/b /c/",
    "ADD git@x.example:a /c/": "ADD git@x.example:a /c/",
    "RUN --mount=type=bind,source=a,target=/b ls": "RUN --mount=type=bind,target=/b,source=AT/a ls",
    "RUN --mount=type=bind,target=/b ls": "RUN --mount=type=bind,target=/b,source=AT/. ls",
    "RUN --mount=type=bind,from=x,target=/b ls": "RUN --mount=type=bind,from=x,target=/b ls",
    "RUN --mount=type=cache,target=/b ls": "RUN --mount=type=cache,target=/b ls",
    "RUN echo COPY a b": "RUN echo COPY a b",
    "ENV A=1": "ENV A=1",
    "FROM a": "FROM a",
}


@pytest.mark.parametrize("line", sorted(FITTED))
def test_lines_of_users_find_their_context_in_ours(line):
    fitted = foreign.fitted(line, lambda path: f"AT/{path or '.'}", {}, [])

    assert fitted == FITTED[line]


def test_instructions_have_their_continuations_and_documents_and_no_comments():
    text = "# a\nFROM a\n\nRUN b \\\n# not this\n  c\nRUN <<END\nd\n# e\nEND\nCMD f"

    assert list(instructions(text)) == [
        "FROM a",
        "RUN b \\\n  c",
        "RUN <<END\nd\n# e\nEND",
        "CMD f",
    ]


def test_what_a_dockerfile_takes_from_its_folder_is_known():
    text = (
        "FROM a AS b\nCOPY x ./y/*.py /z/\nCOPY --from=b c /c\nADD https://x.example/d e /f/\n"
        'COPY ["g h", "/i"]\nRUN --mount=type=bind,source=/j,target=/k ls\nRUN COPY l m\n'
        "COPY <<END /n\no\nEND\n"
    )

    assert copied(text) == ["x", "y/*.py", "e", "g h", "j"]
    assert copied("FROM a\nCOPY . /b\nCOPY $C /d\nRUN --mount=type=bind,target=/e ls") == [
        "",
        "",
        "",
    ]


def test_variables_reach_commands_of_users_in_any_form_but_words():
    def run(line):
        return foreign.fitted(line, str, {"A": "1"}, [])

    assert run("RUN a \\\n  b") == "RUN export A=1 && a  b"
    assert run("RUN --network=none a") == "RUN --network=none export A=1 && a"
    assert run('RUN ["a", "b"]') == 'RUN ["a", "b"]'


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z]{1,3}", fullmatch=True), st.text("ab'\"$\\ \n`"), max_size=3
    )
)
def test_a_shell_reads_variables_of_a_secret_as_they_are(variables):
    script = lines.secret_file(variables) + "".join(
        f'printf "%s\\0" "${name}"\n' for name in variables
    )
    told = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)

    assert told.stdout.split("\0")[:-1] == list(variables.values())


@given(st.text("ab'\"$\\ ~", max_size=12))
def test_a_shell_hands_options_on_as_they_are(value):
    text = made(BASE, Layer("pip_install", {"packages": ["a"], "index_url": value or "x"})).text

    words = shlex.split(text.splitlines()[-1])
    assert words[words.index("--index-url") + 1] == (value or "x")


def test_no_secret_is_in_a_line_that_docker_keeps():
    layer = Layer("run_commands", {"commands": ["make"], "secrets": TOKEN})
    text = made(BASE, layer).text

    assert not re.search(r"^(?:ENV|ARG|LABEL).*token", text, re.MULTILINE)
    assert "--mount=type=secret,id=token" in text
