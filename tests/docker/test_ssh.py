"""Commands and shells on a machine with OpenSSH, whose host keys are known beforehand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from cloudfn import errors
from cloudfn.providers.reach import Way
from cloudfn.providers.ssh.connection import KeyPair, Size, SshConnection
from tests.docker.engine import Engine

_SERVER = """
FROM {base}
RUN apt-get update -q
RUN apt-get install -qy --no-install-recommends openssh-server netcat-openbsd
RUN mkdir -p /run/sshd
CMD ["/usr/sbin/sshd", "-D", "-e"]
"""


@dataclass(frozen=True)
class Machine:
    """A container with an SSH server."""

    engine: Engine
    name: str

    @property
    def host_keys(self) -> list[str]:
        told = self.engine.docker("exec", self.name, "sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub")
        return told.splitlines()

    @property
    def way(self) -> Way:
        host = self.engine.docker("port", self.name, "22").splitlines()[0]
        address, _, port = host.rpartition(":")
        return Way(address=address, port=int(port))

    @property
    def proxy(self) -> Way:
        """A way like Session Manager's: a command that is the connection."""
        docker = ("docker", "--host", self.engine.host)
        return Way((*docker, "exec", "-i", self.name, "nc", "127.0.0.1", "22"))

    def admit(self, keys: KeyPair) -> None:
        line = keys.public_line
        self.engine.docker(
            "exec", self.name, "sh", "-c",
            f"mkdir -p -m 700 ~/.ssh && echo '{line}' > ~/.ssh/authorized_keys",
        )  # fmt: skip

    def connect(self, way: Way | None = None, host_keys: list[str] | None = None) -> SshConnection:
        keys = KeyPair()
        self.admit(keys)
        known = self.host_keys if host_keys is None else host_keys
        return SshConnection(way or self.way, "i-1", known, "root", keys)


@pytest.fixture(scope="module")
def machine(docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    context = tmp_path_factory.mktemp("sshd")
    (context / "Dockerfile").write_text(_SERVER.format(base=docker_engine.base))
    docker_engine.docker("build", "--quiet", "--tag", "cloudfn-test-sshd", str(context))
    name = docker_engine.docker(
        "run", "--detach", "--publish", "127.0.0.1::22", "cloudfn-test-sshd"
    )
    yield Machine(docker_engine, name)
    docker_engine.docker("rm", "--force", name)


def test_a_command_says_what_it_says_and_ends_as_it_ends(machine: Machine) -> None:
    out, err = bytearray(), bytearray()
    with machine.connect() as connection:
        status = connection.run("echo here; echo there >&2; exit 3", out.extend, err.extend)
        assert (status, bytes(out), bytes(err)) == (3, b"here\n", b"there\n")
        out.clear()
        assert connection.run("head -c 3000000 /dev/zero", out.extend, err.extend) == 0
        assert len(out) == 3_000_000


def test_a_command_that_a_signal_ended_did_not_end_well(machine: Machine) -> None:
    with machine.connect() as connection:
        assert connection.run("kill -9 $$", lambda _: None, lambda _: None) == 255


def test_a_proxy_command_is_a_way_as_good_as_an_address(machine: Machine) -> None:
    out = bytearray()
    with machine.connect(machine.proxy) as connection:
        assert connection.run("id -un", out.extend, out.extend) == 0
    assert bytes(out) == b"root\n"


def test_any_of_the_known_host_keys_will_do_and_no_other_one(machine: Machine) -> None:
    for line in machine.host_keys:
        with machine.connect(host_keys=[line]) as connection:
            assert connection.run("true", lambda _: None, lambda _: None) == 0
    other = KeyPair().public_line
    with pytest.raises(errors.AuthError, match="host key"):
        machine.connect(host_keys=[other])


def test_without_a_known_host_key_nobody_is_asked(machine: Machine) -> None:
    with pytest.raises(errors.InvalidError, match="No host key"):
        machine.connect(Way(address="203.0.113.1"), host_keys=["garbage", "ssh-rsa !!!", ""])


def test_a_key_that_nobody_let_in_is_refused(machine: Machine) -> None:
    with pytest.raises(errors.AuthError, match="does not let root in"):
        SshConnection(machine.way, "i-1", machine.host_keys, "root", KeyPair())


def test_a_machine_that_does_not_answer_is_an_error_with_its_name(machine: Machine) -> None:
    with pytest.raises(errors.ConnectionError, match="i-1"):
        machine.connect(Way(address="127.0.0.1", port=9))
    with pytest.raises(errors.ConnectionError, match="no-such-command"):
        machine.connect(Way(("no-such-command",)))


def test_a_shell_does_what_is_typed_and_ends_with_it(machine: Machine) -> None:
    reading, writing = os.pipe()
    shown = bytearray()
    os.write(writing, b"tty >/dev/null && echo a $((6*7)) terminal; exit 5\n")
    with machine.connect() as connection, open(reading, "rb", buffering=0) as stdin:
        status = connection.shell(lambda: Size(80, 24), stdin, shown.extend)
    os.close(writing)
    assert status == 5
    assert b"a 42 terminal" in shown


def test_a_shell_hears_of_new_sizes_of_the_terminal(machine: Machine) -> None:
    typing, keys = os.pipe()
    resized, resize = os.pipe()
    sizes = iter([Size(80, 24), Size(132, 50)])
    shown = bytearray()

    def show(data: bytes) -> None:
        began = b"now 24 80" in shown
        shown.extend(data)
        if b"now 24 80" in shown and not began:
            os.write(resize, b"!")
            os.write(keys, b"echo then $(stty size); exit 5\n")

    os.write(keys, b"echo now $(stty size)\n")
    with (
        machine.connect() as connection,
        open(typing, "rb", buffering=0) as stdin,
        open(resized, "rb", buffering=0) as pipe,
    ):
        status = connection.shell(lambda: next(sizes), stdin, show, pipe)
    assert status == 5
    assert b"then 50 132" in shown
