"""What a Docker container is allowed to be, as the engine is told."""

from typing import Any

import pytest

from cloudfn.agent.docker.order import Bind, DockerOrder
from cloudfn.model.function import Resources

MIB = 1 << 20


def order(**changes: Any) -> DockerOrder:
    given: dict[str, Any] = {
        "image": "sha256:1",
        "interpreter": "python3",
        "container_id": "ta-1",
        "name": "Model(size=1).*",
        "environment": "main",
        "marker": "abcdef",
        "instance": "da-1",
        "user": "65534:65534",
        "resources": Resources(),
        "cores": 4.0,
        "memory": 1_000,
        "binds": (Bind("/a", "/b"), Bind("/c", "/d", read_only=False)),
        "network": "cloudfn-abcdef",
    }
    return DockerOrder(**{**given, **changes})


def host(**changes: Any) -> dict[str, Any]:
    config: dict[str, Any] = order(**changes).request()["HostConfig"]
    return config


def test_everything_is_closed():
    config = host()

    assert config["ReadonlyRootfs"] is True
    assert config["CapDrop"] == ["ALL"]
    assert "CapAdd" not in config
    assert config["SecurityOpt"] == ["no-new-privileges:true"]
    assert config["Privileged"] is False
    assert config["IpcMode"] == "private"
    assert config["PidsLimit"] == 4_096
    assert config["RestartPolicy"]["Name"] == "no"
    assert config["LogConfig"]["Config"] == {"max-size": "256k", "max-file": "1"}
    assert order().request()["User"] == "65534:65534"


def test_the_image_is_named_by_id_and_neither_its_entry_point_nor_its_health_check_runs():
    request = order().request()

    assert request["Image"] == "sha256:1"
    assert request["Entrypoint"][0] == "python3"
    assert request["Healthcheck"] == {"Test": ["NONE"]}


def test_no_variable_is_secret_and_the_marker_is_there():
    assert order().request()["Env"] == [
        "CLOUDFN_MARKER=abcdef",
        "HOME=/tmp",
        "NVIDIA_VISIBLE_DEVICES=void",
        "TMPDIR=/tmp",
    ]


def test_labels_and_a_readable_name_tell_whose_it_is():
    assert order().docker_name == "cloudfn-main-Model-size-1-.--ta-1"
    assert order().request()["Labels"] == {
        "cloudfn.marker": "abcdef",
        "cloudfn.daemon": "da-1",
        "cloudfn.environment": "main",
        "cloudfn.container": "ta-1",
    }


def test_what_it_sees_of_the_machine_is_bound_and_read_only_unless_said():
    mounts = host()["Mounts"]

    assert [(m["Source"], m["Target"], m["ReadOnly"]) for m in mounts] == [
        ("/a", "/b", True),
        ("/c", "/d", False),
    ]
    assert all(m["Type"] == "bind" for m in mounts)


@pytest.mark.parametrize(
    ("resources", "limit"),
    [
        (Resources(memory=128, memory_limit=256), 256),
        (Resources(memory=128), 900),
        (Resources(memory=5_000), 900),
    ],
)
def test_memory_is_limited_to_what_was_said_or_most_of_the_machine(resources, limit):
    config = host(resources=resources)

    assert config["Memory"] == config["MemorySwap"] == limit * MIB
    assert config["MemoryReservation"] <= config["Memory"]
    assert config["Tmpfs"] == {"/tmp": f"rw,nosuid,nodev,exec,mode=1777,size={limit * MIB // 2}"}


def test_a_cpu_request_is_a_share_and_a_limit_is_one():
    config = host(resources=Resources(cpu=0.5, cpu_limit=2.0))

    assert (config["CpuShares"], config["NanoCpus"]) == (512, 2_000_000_000)
    assert "NanoCpus" not in host()
    assert host(resources=Resources(cpu=1.0, cpu_limit=64.0))["NanoCpus"] == 4_000_000_000


def test_gpus_are_named_in_their_order():
    assert "DeviceRequests" not in host()
    assert host(gpus=("3", "1"))["DeviceRequests"] == [
        {"Driver": "", "DeviceIDs": ["3", "1"], "Capabilities": [["gpu"]]}
    ]
