"""`cloudfn doctor`: what it calls well, doubtful and broken."""

import os
import socket
from pathlib import Path

import pytest

from cloudfn import errors
from cloudfn.cli import diagnosis

MOUNTS = """\
/dev/vda1 / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
server:/home /home nfs4 rw 0 0
/dev/vdb1 /home/my\\040disk xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "level"),
    [
        ("/var/lib/x", "ok"),
        ("/tmp/x", "warn"),
        ("/tmpx", "ok"),
        ("/home/ada/.local", "fail"),
        ("/home/my disk/x", "ok"),
    ],
)
def test_the_file_system_under_the_state_directory(path, level):
    assert diagnosis.check_filesystem(Path(path), MOUNTS).level == level


def test_a_private_state_directory_is_well(tmp_path):
    state = tmp_path / "state"
    assert diagnosis.check_state_dir(state, os.geteuid()).level == "ok"

    state.mkdir(mode=0o700)

    assert diagnosis.check_state_dir(state, os.geteuid()).level == "ok"


def test_a_state_directory_that_others_reach_fails_with_the_command_that_closes_it(tmp_path):
    tmp_path.chmod(0o750)

    found = diagnosis.check_state_dir(tmp_path, os.geteuid())

    assert found.level == "fail"
    assert found.hint == f"chmod 700 {tmp_path}"


def test_a_state_directory_of_somebody_else_or_behind_a_link_fails(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path)

    assert diagnosis.check_state_dir(link, os.geteuid()).level == "fail"
    assert diagnosis.check_state_dir(tmp_path, os.geteuid() + 1).level == "fail"
    assert diagnosis.check_state_dir(tmp_path / "link" / "x" / "y", os.geteuid()).level == "ok"


def test_the_socket_must_be_a_socket(tmp_path):
    path = tmp_path / "daemon.sock"
    assert diagnosis.check_socket(path, os.geteuid()).level == "ok"

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert diagnosis.check_socket(path, os.geteuid()).level == "ok"
    path.unlink()
    path.write_text("")

    assert diagnosis.check_socket(path, os.geteuid()).level == "fail"


@pytest.mark.parametrize(("free", "level"), [(5 << 30, "ok"), (500 << 20, "warn"), (1, "fail")])
def test_free_space(tmp_path, free, level):
    assert diagnosis.check_space("disk", tmp_path, free).level == level


@pytest.mark.parametrize(("version", "level"), [((3, 11, 0), "ok"), ((3, 10, 9), "fail")])
def test_the_python_version(version, level):
    assert diagnosis.check_python(version).level == level


def test_memory_limits_are_kept_by_a_cgroup_where_one_can_be_made(tmp_path):
    assert diagnosis.memory_mechanism(tmp_path) == "watching"

    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")

    # A plain directory is no cgroup: nothing appears in it.
    assert diagnosis.memory_mechanism(tmp_path) == "watching"
    assert [path.name for path in tmp_path.iterdir()] == ["cgroup.controllers"]


def test_what_the_engine_needs_of_the_kernel():
    assert diagnosis.check_processes(fork=True, pidfd=True, proc=True).level == "ok"
    assert diagnosis.check_processes(fork=True, pidfd=False, proc=True).level == "warn"
    assert diagnosis.check_processes(fork=True, pidfd=True, proc=False).level == "fail"


def levels(status, code="1+a"):
    return [finding.level for finding in diagnosis.check_daemon(status, code)]


def test_a_daemon_of_another_version_is_worth_a_word_and_a_broken_ledger_fails():
    assert levels(None) == ["ok"]
    assert levels({"version": "1+a"}) == ["ok", "ok"]
    assert levels({"version": "0+b"}) == ["warn", "ok"]
    assert levels({"version": "1+a", "trouble": "disk full"}) == ["ok", "fail"]


def test_docker_is_told_of_and_missed_only_where_containers_are_dockers():
    gone = errors.ConnectionError("No Docker engine answers.", hint="Start it.")

    found = diagnosis.check_docker(("28.2.2", "/usr/bin/docker"), wanted=False)
    assert (found.level, found.text) == ("ok", "engine 28.2.2; /usr/bin/docker builds images")
    without = diagnosis.check_docker(gone, wanted=False)
    assert without.level == "ok"
    assert without.text == "not for --runtime docker: No Docker engine answers."
    missed = diagnosis.check_docker(gone, wanted=True)
    assert (missed.level, missed.hint) == ("fail", "Start it.")


def test_doctor_prints_one_document_and_exits_by_the_worst_finding(cli):
    cli.daemon_runs = False

    shown = cli("doctor", "--json")

    assert {"python", "state directory", "daemon"} <= {each["check"] for each in shown.document}
    assert all(set(each) == {"check", "level", "text", "hint"} for each in shown.document)
    worst = any(each["level"] == "fail" for each in shown.document)
    assert shown.code == int(worst)


def test_doctor_shows_a_daemon_that_answers_with_an_error(cli):
    cli.client.answers["status"] = errors.AuthError("The key does not fit.", hint="Ask the owner.")

    shown = cli("doctor")

    assert shown.code == 1
    assert "✗ daemon: The key does not fit." in shown.out
    assert "    hint: Ask the owner." in shown.out


def gpu(index: int, **facts: object) -> dict[str, object]:
    return {"index": index, "uuid": "", "name": "", "memory": 0, "containers": [], **facts}


def test_gpus_are_shown_with_what_is_in_use_and_who_has_them():
    a10g = gpu(0, uuid="GPU-a", name="NVIDIA A10G", memory=23_028, containers=["ta-1", "ta-2"])
    findings = list(diagnosis.check_gpus([a10g, gpu(1)], {"GPU-a": 1_024}))

    assert [(each.check, each.level, each.text) for each in findings] == [
        ("gpu 0", "ok", "NVIDIA A10G; 1,024 of 23,028 MiB in use; given to ta-1, ta-2"),
        ("gpu 1", "warn", "a GPU of unknown type"),
    ]
    assert "cloudfn[gpu]" in findings[1].hint


def test_what_nobody_knows_of_a_gpu_in_use_is_left_out():
    (finding,) = diagnosis.check_gpus([gpu(0, name="Tesla T4", memory=15_360)], {})

    assert (finding.level, finding.text) == ("ok", "Tesla T4; 15,360 MiB")


def test_a_machine_without_gpus_is_fit():
    assert [(each.level, each.text) for each in diagnosis.check_gpus([], {})] == [("ok", "none")]


@pytest.mark.parametrize("runs", [True, False], ids=["from the daemon", "without one"])
def test_doctor_shows_the_gpus_that_are_declared(cli, runs):
    cli.environ["CLOUDFN_GPUS"] = '[{"type": "A10G", "memory": 24576}]'
    cli.daemon_runs = runs
    cli.client.answers["status"] = {"gpus": [gpu(0, name="A10G", containers=["ta-7"])]}

    shown = cli("doctor").out

    assert ("given to ta-7" in shown) is runs
    assert "gpu 0: A10G" in shown
