"""Settings: what each variable means, what makes no sense, and what daemons and containers get."""

from pathlib import Path

import pytest

from cloudfn.errors import InvalidError
from cloudfn.settings import (
    Gpus,
    Limits,
    build_environ,
    container_environ,
    daemon_environ,
    load,
)

HOME = {"HOME": "/home/ann"}


def test_nothing_needs_to_be_set():
    settings = load(HOME)

    assert settings.environment == "main"
    assert settings.state_dir == Path("/home/ann/.local/state/cloudfn/main")
    assert settings.limits == Limits(2_000, 25_000, 1_000_000, 1_000)
    assert settings.retention == 7 * 24 * 3600
    assert (settings.daemon_idle_exit, settings.client_grace) == (600, 60)
    assert not settings.full_traceback
    assert settings.container is None


def test_every_number_can_be_set():
    settings = load(
        {
            **HOME,
            "CLOUDFN_LIMIT_PENDING": "1",
            "CLOUDFN_LIMIT_TOTAL": "2",
            "CLOUDFN_LIMIT_SPAWN_PENDING": "3",
            "CLOUDFN_MAP_WINDOW": "4",
            "CLOUDFN_RETENTION": "5.5",
            "CLOUDFN_DAEMON_IDLE_EXIT": "0",
            "CLOUDFN_CLIENT_GRACE": "1e3",
            "CLOUDFN_EXIT_GRACE": "7",
        }
    )

    assert settings.limits == Limits(1, 2, 3, 4)
    assert (settings.retention, settings.daemon_idle_exit, settings.client_grace) == (5.5, 0, 1000)
    assert settings.exit_grace == 7


def test_the_runtime_and_what_becomes_of_unmet_wishes_are_one_of_two_each():
    plain = load(HOME)
    assert (plain.runtime, plain.allow_unmet) == ("process", False)
    docker = load({**HOME, "CLOUDFN_RUNTIME": "docker", "CLOUDFN_IMAGE_UNMET": "warn"})
    assert (docker.runtime, docker.allow_unmet) == ("docker", True)
    for name in ("CLOUDFN_RUNTIME", "CLOUDFN_IMAGE_UNMET"):
        with pytest.raises(InvalidError, match=f"{name}='other' is none of"):
            load({**HOME, name: "other"})


def test_builds_learn_of_indexes_proxies_and_certificates_and_of_nothing_else():
    wanted = {"PIP_INDEX_URL": "a", "UV_INDEX": "b", "https_proxy": "c", "SSL_CERT_FILE": "d"}

    assert build_environ({**wanted, "PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "x"}) == wanted


def test_an_empty_variable_is_an_unset_one():
    assert load({**HOME, "CLOUDFN_LIMIT_PENDING": "", "CLOUDFN_RETENTION": ""}) == load(HOME)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", " 1", "²", "1_000", "inf"], ids=repr)
def test_a_limit_that_is_no_whole_number_is_refused_by_name(text):
    with pytest.raises(InvalidError, match=r"CLOUDFN_LIMIT_TOTAL=.*not a whole number") as caught:
        load({**HOME, "CLOUDFN_LIMIT_TOTAL": text})

    assert caught.value.hint == "Unset it for the default, 25000."


@pytest.mark.parametrize("text", ["-1", "soon", "nan", "inf", "1s"], ids=repr)
def test_a_time_that_is_no_number_of_seconds_is_refused_by_name(text):
    with pytest.raises(
        InvalidError, match=r"CLOUDFN_RETENTION=.*not a number of seconds"
    ) as caught:
        load({**HOME, "CLOUDFN_RETENTION": text})

    assert caught.value.hint == "Unset it for the default, 604800."


@pytest.mark.parametrize(
    ("environ", "chosen", "name"),
    [
        pytest.param({}, None, "main", id="main when nobody says anything"),
        pytest.param({"MODAL_ENVIRONMENT": "dev"}, None, "dev", id="Modal's variable counts"),
        pytest.param(
            {"MODAL_ENVIRONMENT": "dev", "CLOUDFN_ENVIRONMENT": "test"},
            None,
            "test",
            id="ours wins",
        ),
        pytest.param(
            {"CLOUDFN_ENVIRONMENT": "test"}, "prod", "prod", id="the option wins over all"
        ),
        pytest.param(
            {"CLOUDFN_ENVIRONMENT": ""}, None, "main", id="an empty variable says nothing"
        ),
    ],
)
def test_the_environment(environ, chosen, name):
    assert load({**HOME, **environ}, environment=chosen).environment == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "../main", "a b", "é", "a\n", "x" * 65],
    ids=repr,
)
def test_a_name_that_could_lead_out_of_its_place_is_refused(name):
    with pytest.raises(InvalidError, match="Invalid environment name"):
        load(HOME, environment=name)


def test_a_name_may_have_64_characters():
    assert load(HOME, environment="x" * 64).environment == "x" * 64


@pytest.mark.parametrize(
    ("environ", "root"),
    [
        pytest.param(
            {"XDG_STATE_HOME": "/state"}, "/state/cloudfn", id="is in the state directory"
        ),
        pytest.param(
            {"XDG_STATE_HOME": "/state", "CLOUDFN_HOME": "/mine"},
            "/mine",
            id="is where we are told",
        ),
    ],
)
def test_the_root(environ, root):
    assert load({**HOME, **environ}).root == Path(root)


def test_a_relative_root_is_made_absolute_so_that_a_daemon_elsewhere_means_the_same():
    assert load({"CLOUDFN_HOME": "state"}).root == Path.cwd() / "state"


@pytest.mark.parametrize(("text", "full"), [("", False), ("0", False), ("1", True)], ids=repr)
def test_full_tracebacks_are_asked_for(text, full):
    assert load({**HOME, "CLOUDFN_TRACEBACK": text}).full_traceback is full


def test_a_container_knows_who_it_is():
    container = load(
        {
            **HOME,
            "CLOUDFN_CONTAINER_ID": "ta-1",
            "CLOUDFN_CONTAINER_KEY": "00ff",
            "CLOUDFN_CONTAINER_SOCKET": "/s",
            "CLOUDFN_CONTAINER_APP": "ap-1",
        }
    ).container

    assert container is not None
    assert (container.container_id, container.key) == ("ta-1", "00ff")
    assert (container.socket, container.app_id) == ("/s", "ap-1")


SHELL = {
    "PATH": "/bin",
    "HOME": "/home/ann",
    "LANG": "C.UTF-8",
    "SHELL": "/bin/sh",
    "XDG_RUNTIME_DIR": "/run/user/1",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "PYTHONPATH": "/ours",
    "LD_PRELOAD": "/evil.so",
    "CLOUDFN_HOME": "/mine",
    "CLOUDFN_LIMIT_TOTAL": "9",
    "CLOUDFN_CONTAINER_ID": "ta-1",
    "CLOUDFN_CONTAINER_KEY": "00ff",
}


def test_a_daemon_starts_with_what_it_needs_and_not_as_the_container_that_started_it():
    assert daemon_environ(SHELL) == {
        "PATH": "/bin",
        "HOME": "/home/ann",
        "LANG": "C.UTF-8",
        "SHELL": "/bin/sh",
        "XDG_RUNTIME_DIR": "/run/user/1",
        "CLOUDFN_HOME": "/mine",
        "CLOUDFN_LIMIT_TOTAL": "9",
    }


def test_a_daemon_has_the_settings_of_whoever_started_it():
    assert load(daemon_environ({**SHELL, "XDG_STATE_HOME": "/state"})) == load(
        {name: value for name, value in SHELL.items() if not name.startswith("CLOUDFN_CONTAINER")}
    )


def test_containers_get_nothing_that_could_be_a_secret():
    assert container_environ(SHELL) == {
        "PATH": "/bin",
        "HOME": "/home/ann",
        "LANG": "C.UTF-8",
        "PYTHONPATH": "/ours",
        "PYTHONSAFEPATH": "1",
    }


def test_containers_get_no_path_of_ours_when_there_is_none():
    assert container_environ({})["PYTHONPATH"] == ""


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        pytest.param("", Gpus(), id="nothing is said"),
        pytest.param("none", Gpus(chosen=()), id="no device"),
        pytest.param("0, GPU-8f1c", Gpus(chosen=("0", "GPU-8f1c")), id="numbers and UUIDs"),
        pytest.param(
            '[{"type": "A10G", "memory": 24576}, {"type": "T4", "uuid": "GPU-x"}]',
            Gpus(declared=(("A10G", 24_576, ""), ("T4", 0, "GPU-x"))),
            id="a declaration",
        ),
    ],
)
def test_gpus_can_be_chosen_and_declared(text, gpus):
    assert load({**HOME, "CLOUDFN_GPUS": text}).gpus == gpus


@pytest.mark.parametrize("text", ["[", '["A10G"]', "[{}]", '[{"type": "T4", "memory": "much"}]'])
def test_a_declaration_of_gpus_that_makes_no_sense_is_refused_by_name(text):
    with pytest.raises(InvalidError, match=r"CLOUDFN_GPUS=.*declares no GPUs"):
        load({**HOME, "CLOUDFN_GPUS": text})


def test_docker_is_where_the_docker_command_finds_it():
    environ = {**HOME, "PATH": "/bin", "DOCKER_CONTEXT": "far", "DOCKER_HOST": "tcp://a", "X": "1"}

    assert load(environ).docker.environ == {k: v for k, v in environ.items() if k != "X"}
    assert daemon_environ(environ)["DOCKER_CONTEXT"] == "far"
    assert "DOCKER_HOST" not in container_environ(environ)


def test_docker_may_be_elsewhere_for_cloudfn_alone():
    docker = load(
        {
            **HOME,
            "DOCKER_CONTEXT": "far",
            "DOCKER_HOST": "tcp://a",
            "CLOUDFN_DOCKER_HOST": "tcp://b",
        }
    ).docker

    assert docker.environ == {**HOME, "DOCKER_HOST": "tcp://b"}


def test_images_are_built_on_python_slim_unless_somebody_says_on_what():
    assert load(HOME).docker.base_image == "python:{version}-slim"
    own = "registry.example/python:{version}"
    assert load({**HOME, "CLOUDFN_BASE_IMAGE": own}).docker.base_image == own


@pytest.mark.parametrize("name", ["python:{wersion}", "python:{", "python:{}"])
def test_a_base_image_has_no_other_blanks(name):
    with pytest.raises(InvalidError, match="CLOUDFN_BASE_IMAGE"):
        load({**HOME, "CLOUDFN_BASE_IMAGE": name})
