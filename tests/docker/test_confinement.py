"""What user code in a Docker container cannot reach, as user code finds when it tries."""

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from cloudfn.agent.docker import metadata
from cloudfn.agent.docker.engine import DockerContainers
from cloudfn.errors import ExecutionError
from cloudfn.providers.docker.engine import DockerEngine
from cloudfn.providers.local.blobs import memory_root
from tests.docker.cells import Cells
from tests.docker.engine import Engine

pytestmark = pytest.mark.integration

#: tries to do something, and says how that went
TRY = """
def attempt(work):
    try:
        return work() or "done"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
"""


def test_it_does_not_see_this_machines_files(cells: Cells, tmp_path):
    file = tmp_path / "of-the-machine"
    file.write_text("private")
    wanted = [
        file,
        cells.machine.state,
        cells.machine.state / "key",
        memory_root(cells.machine.state),
    ]

    found = cells.ask(
        f"result = [each for each in {list(map(str, wanted))!r} if os.path.exists(each)]"
    )

    assert found == []


def test_it_sees_its_own_processes_alone(cells: Cells):
    names = cells.ask(
        "numbers = [name for name in os.listdir('/proc') if name.isdigit()]\n"
        "result = [open(f'/proc/{number}/comm').read().strip() for number in numbers]"
    )

    assert {"cf-zygote", "cf-template", "cf-container"} <= set(names)
    assert len(names) < 8


def test_it_is_nobody_and_has_no_capabilities_and_gains_none(cells: Cells):
    status = cells.ask("result = open('/proc/self/status').read()")

    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split()[0] not in ("0", str(os.getuid()) if os.getuid() == 0 else "0")
    assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
        "0" * 16
    }
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"


def test_programs_with_the_setuid_bit_give_it_nothing(cells: Cells):
    told = cells.ask(
        "found = subprocess.run(['sh', '-c', 'su -c id 2>&1; mount -t tmpfs none /mnt 2>&1'],"
        " capture_output=True, text=True, stdin=subprocess.DEVNULL)\nresult = found.stdout"
    )

    assert "uid=0" not in told


def test_the_root_file_system_is_read_only(cells: Cells):
    told = cells.ask(
        TRY + "places = ['/x', '/usr/x', '/etc/x', '/run/cloudfn/x', '/run/cloudfn/source/x',"
        " '/run/cloudfn/lib/x', '/run/cloudfn/cell/x', '/run/cloudfn/fast/x', '/var/tmp/x']\n"
        "result = [attempt(lambda: open(each, 'w').close()) for each in places]"
    )

    assert all("Error" in each for each in told), told


def test_the_socket_that_its_zygote_came_through_is_gone(cells: Cells):
    assert cells.ask("result = os.listdir('/run/cloudfn/cell')") == ["daemon.sock"]


def test_nothing_secret_is_in_what_docker_tells_of_it(cells: Cells):
    container = cells.container("rich")
    assert cells.ask("result = os.environ['MINE']", "rich") == "treasure"

    told = cells.machine.docker("inspect", cells.machine.docker_container(container))

    key = cells.ask("result = os.environ['CLOUDFN_CONTAINER_KEY']", "rich")
    assert "treasure" not in told
    assert key not in told
    assert json.loads(told)[0]["HostConfig"]["ReadonlyRootfs"] is True


def test_it_reads_no_secret_that_its_function_does_not_name(cells: Cells):
    told = cells.ask(
        TRY + "import cloudfn\n"
        "theirs = cloudfn.Secret.from_name('theirs')\n"
        "result = [os.environ.get('THEIRS'), os.environ.get('MINE'),"
        " attempt(lambda: cloudfn.Secret.from_name('theirs').hydrate()),"
        " attempt(lambda: cloudfn.Function.from_name('cells', 'run')"
        ".with_options(secrets=[theirs]).remote('import os; result = os.environ'))]"
    )

    assert told[:2] == [None, None]
    assert "PermissionDenied" in told[2] or "may not" in told[2]
    assert "may not hand on the secret" in told[3]


@pytest.mark.parametrize(
    "request_",
    [
        {"op": "shutdown"},
        {"op": "status"},
        {"op": "container_list"},
        {"op": "container_exec", "container_id": "ta-1"},
        {"op": "container_stop", "container_id": "ta-1"},
        {"op": "app_open", "name": "x"},
        {"op": "app_stop", "name": "cells"},
        {"op": "app_rollback", "name": "cells"},
        {"op": "logs", "ref": 1},
        {"op": "call_list"},
        {"op": "secret_create", "name": "x", "values": {}, "mode": "new"},
        {"op": "secret_update", "object_id": "st-1", "values": {}},
        {"op": "app_terminal", "app_id": "ap-1"},
        {"op": "volume_stage", "volume": "vo-1"},
        {"op": "volume_put", "volume": "vo-1"},
        {"op": "volume_locate", "volume": "vo-1", "path": "x"},
        {"op": "input_current", "seq": 1},
    ],
    ids=lambda request: request["op"],
)
def test_it_may_not_ask_the_daemon_for(cells: Cells, request_):
    told = cells.ask(
        TRY + "from cloudfn.sdk.client import default_client\n"
        "from cloudfn.sdk.twins import run\n"
        f"fields = {request_!r}\n"
        "result = attempt(lambda: run(default_client().ask(fields.pop('op'), **fields)))"
    )

    assert "PermissionDeniedError" in told or "No container holds" in told


@pytest.mark.parametrize("claimed", [None, "ta-somebodyelse"])
def test_through_its_socket_it_can_be_nobody_else(cells: Cells, claimed):
    daemon = cells.machine.daemon

    told = cells.ask(
        "from cloudfn.wire.frames import Encoder\n"
        "from cloudfn.wire.messages import Kind, encode_json\n"
        "hello = {'version': '99.0.0+x', 'written': 1 << 40, 'protocol': 1, 'pid': 1,"
        f" 'nonce': '00' * 16, 'container': {claimed!r}}}\n"
        "wire = socket.socket(socket.AF_UNIX)\n"
        "wire.connect('/run/cloudfn/cell/daemon.sock')\n"
        "wire.settimeout(20)\n"
        "wire.sendall(Encoder().frame(Kind.HELLO, encode_json(hello)))\n"
        "result = wire.recv(1000)"
    )

    assert told == b""
    assert cells.machine.daemon == daemon
    assert cells.ask("result = 1") == 1


def test_it_sees_no_payloads_but_its_own(cells: Cells):
    own = cells.ask("result = [os.listdir(f'/run/cloudfn/{each}') for each in ('fast', 'durable')]")
    big = "#" * 200_000
    during = cells.ask(f"{big}\nresult = [n for n in os.listdir('/run/cloudfn/fast')]")
    after = cells.ask("result = os.listdir('/run/cloudfn/fast')")

    container = cells.container()
    assert own == [[f"results-{container}"]] * 2
    assert len(during) == 2
    assert after == [f"results-{container}"]


def test_a_payload_of_somebody_else_is_refused_as_its_own(cells: Cells):
    told = cells.ask(
        TRY + "import cloudfn\n"
        "from cloudfn.sdk import payloads\n"
        "from cloudfn.wire.messages import BlobRef\n"
        "payloads.Packer.pack = lambda *_: BlobRef('fc-1/abc', 100_000, False).encode()\n"
        "echo = cloudfn.Function.from_name('cells', 'echo')\n"
        "result = attempt(lambda: echo.remote(b'x' * 100_000))",
        "other",
    )

    assert "did not write" in told


def test_a_link_among_its_results_leads_nowhere(cells: Cells, tmp_path):
    file = tmp_path / "of-the-machine"
    file.write_text("private")

    told = cells.ask(
        TRY + "import cloudfn\n"
        "from cloudfn.sdk import payloads\n"
        "from cloudfn.wire.messages import BlobRef\n"
        "folder = 'results-' + os.environ['CLOUDFN_CONTAINER_ID']\n"
        f"os.symlink({str(file)!r}, '/run/cloudfn/fast/' + folder + '/link')\n"
        "payloads.Packer.pack = lambda *_: BlobRef(folder + '/link', 7, False).encode()\n"
        "echo = cloudfn.Function.from_name('cells', 'echo')\n"
        "result = attempt(lambda: echo.remote(b'x' * 100_000))",
        "other",
    )

    assert "missing or damaged" in told


def test_the_metadata_service_of_a_cloud_is_out_of_its_reach(cells: Cells):
    bridge = f"cfn-{cells.machine.marker[:11]}"
    with _metadata_service() as address:
        assert _ask(address) == b"the role"
        connect = f"result = socket.create_connection({(address, 80)!r}, 10).recv(10)"
        assert cells.ask("result = 1") == 1
        metadata.allow(bridge)
        assert cells.ask(connect) == b"the role", "it would be reached without the rule"
        metadata.refuse(bridge)

        told = cells.ask(
            TRY
            + f"result = attempt(lambda: socket.create_connection({(address, 80)!r}, 10).recv(10))"
        )

    assert "Error" in told, told
    assert "timed out" not in told, "it is refused, not lost"


def test_a_helper_container_can_set_the_rule_for_a_daemon_that_may_not(docker_engine: Engine):
    containers = DockerContainers(DockerEngine({"DOCKER_HOST": docker_engine.host}))
    script = Path(metadata.__file__).read_text()
    command = ["python3", "-I", "-S", "-c", script, "refuse", "cfn-helped"]

    containers.run_helper(docker_engine.base, command)

    rules = subprocess.run(["ip", "rule"], capture_output=True, text=True, check=True).stdout
    metadata.allow("cfn-helped")
    assert "to 169.254.0.0/16 iif cfn-helped" in rules
    with pytest.raises(ExecutionError, match="KeyError"):
        containers.run_helper(docker_engine.base, [*command[:-2], "nonsense", "x"])


class _metadata_service:  # noqa: N801 - reads as a function
    """A service at an address that only clouds use, in a namespace of its own."""

    _ADDRESS = "169.254.169.254"

    def __enter__(self) -> str:
        self._name = f"cfm{os.getpid() % 100_000}"
        for command in (
            f"ip netns add {self._name}",
            f"ip link add {self._name} type veth peer name eth0 netns {self._name}",
            f"ip addr add 169.254.169.1/32 dev {self._name}",
            f"ip link set {self._name} up",
            f"ip netns exec {self._name} ip addr add {self._ADDRESS}/32 dev eth0",
            f"ip netns exec {self._name} ip link set eth0 up",
            f"ip netns exec {self._name} ip route add 169.254.169.1 dev eth0",
            f"ip netns exec {self._name} ip route add default via 169.254.169.1",
            f"ip route add {self._ADDRESS}/32 dev {self._name}",
            # Another engine of this machine may forbid what it does not know.
            f"iptables --wait -I FORWARD -o {self._name} -j ACCEPT",
            f"iptables --wait -I FORWARD -i {self._name} -j ACCEPT",
        ):
            subprocess.run(command.split(), check=True, capture_output=True)
        script = (
            "import socket\nserver = socket.create_server(('', 80))\nprint('up', flush=True)\n"
            "while True:\n    client, _ = server.accept()\n    client.sendall(b'the role')\n"
            "    client.close()\n"
        )
        self._server = subprocess.Popen(
            ["ip", "netns", "exec", self._name, "python3", "-c", script], stdout=subprocess.PIPE
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == b"up\n"
        return self._ADDRESS

    def __exit__(self, *_: object) -> None:
        self._server.kill()
        self._server.communicate()
        for way in ("-i", "-o"):
            rule = ["FORWARD", way, self._name, "-j", "ACCEPT"]
            subprocess.run(["iptables", "--wait", "-D", *rule], check=True)
        subprocess.run(["ip", "link", "del", self._name], check=True)
        subprocess.run(["ip", "netns", "del", self._name], check=True)


def _ask(address: str) -> bytes:
    with socket.create_connection((address, 80), 10) as connection:
        return connection.recv(100)


def test_its_volume_leads_nobody_out_of_its_folder(cells: Cells, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "private").write_text("private")

    listed = cells.ask(
        f"os.symlink({str(folder)!r}, '/data/out')\nopen('/data/file', 'w').write('1')\n"
        "import cloudfn\nvolume = cloudfn.Volume.from_name('shared')\nvolume.commit()\n"
        "os.unlink('/data/out')\n"
        "result = [entry.path for entry in volume.listdir('/', recursive=True)]",
        "rich",
    )

    assert "file" in listed
    assert not any("out" in each for each in listed)
