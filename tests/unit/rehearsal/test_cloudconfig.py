"""User-data and units, as an emulated machine understands them."""

import pytest

from cloudfn.errors import InvalidError
from cloudfn.rehearsal import userdata
from cloudfn.rehearsal.cloudconfig import (
    ServiceUnit,
    TimerUnit,
    cloud_config,
    environment_of,
    unit_of,
)

VALUES = {
    "bucket": "b",
    "deadman_minutes": 30,
    "environment": "main",
    "key": "agent/0.zip",
    "machine_class": "cpu",
    "module": "cloudfn.machine",
    "python": "python3.11",
    "region": "eu-central-1",
    "sha256": "0" * 64,
}


@pytest.fixture
def machine():
    return cloud_config(userdata.rendered(userdata.module_folder(), VALUES))


def file(machine, path):
    return next(each for each in machine.files if each.path == path)


def test_our_own_user_data_is_understood_in_every_part(machine):
    boot = (userdata.module_folder() / "boot.py").read_bytes()
    assert file(machine, "/opt/cloudfn/boot.py").content == boot
    assert file(machine, "/opt/cloudfn/boot.py").mode == 0o755
    settings = file(machine, "/etc/cloudfn/boot.json").content
    assert settings == (
        b'{"bucket":"b","deadman_minutes":30,"key":"agent/0.zip","region":"eu-central-1",'
        b'"sha256":"' + b"0" * 64 + b'"}\n'
    )
    assert ("systemctl", "enable", "--now", "cloudfn-agent.service") in machine.commands


def test_the_agent_is_started_as_its_unit_says(machine):
    name = "cloudfn-agent.service"
    text = file(machine, f"/etc/systemd/system/{name}").content.decode()
    unit = unit_of(name, text)
    assert isinstance(unit, ServiceUnit)
    assert unit.start == ("/usr/bin/env", "python3.11", "-m", "cloudfn.machine")
    assert unit.before[-1] == ("/usr/bin/env", "python3", "/opt/cloudfn/boot.py", "fetch")
    assert unit.environment == ("/etc/cloudfn/agent.env",)
    assert (unit.restarts, unit.pause, unit.patience) == (True, 2.0, 120.0)


def test_the_dead_man_switch_looks_each_minute(machine):
    name = "cloudfn-deadman.timer"
    text = file(machine, f"/etc/systemd/system/{name}").content.decode()
    assert unit_of(name, text) == TimerUnit(60.0, 60.0)


def test_the_planners_own_default_is_found():
    module, _, function = userdata.planner_handler().rpartition(".")
    assert module.startswith("cloudfn.")
    assert function.isidentifier()


def test_the_modules_own_defaults_are_found():
    assert userdata.defaults(userdata.module_folder()).keys() == {
        "python",
        "module",
        "deadman_minutes",
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("packages: []", "no #cloud-config"),
        ("#cloud-config\nbootcmd: []", "bootcmd"),
        ("#cloud-config\nwrite_files: [{path: /a, encoding: gz}]", "gz"),
    ],
)
def test_user_data_that_is_not_understood_is_refused(text, told):
    with pytest.raises(InvalidError, match=told):
        cloud_config(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[Service]\nDynamicUser=yes", "DynamicUser"),
        ("[Timer]\nExecStart=/bin/true", "ExecStart"),
        ("[Service]\nRestartSec=a while", "a while"),
    ],
)
def test_a_unit_that_is_not_understood_is_refused(text, told):
    with pytest.raises(InvalidError, match=told):
        unit_of("a.service", text)


def test_a_command_in_one_string_is_the_shells():
    config = cloud_config("#cloud-config\nruncmd: ['a | b', [c, 1]]")
    assert config.commands == (("sh", "-c", "a | b"), ("c", "1"))


def test_variables_of_a_file_are_read_without_comments_and_quotes():
    assert environment_of('# no\nA=1\n\nB = "two words"\n; no\n') == {"A": "1", "B": "two words"}
