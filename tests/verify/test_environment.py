"""`make verify-aws`: what programs can rely on, in an environment on AWS that exists.

Nothing here knows whose AWS it is: an account's, or that of `cloudfn rehearse`. The environment is
the one that CLOUDFN_ENVIRONMENT and AWS's own settings name. It bills what a few machines cost for
some minutes, and is left without machines. As all machines are ended under what runs on them, an
environment with other apps is refused.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cloudfn
from cloudfn import errors
from cloudfn.clock import SystemClock
from cloudfn.control.invocation.opening import open_client
from cloudfn.providers.aws.clients import Access, Clients
from cloudfn.providers.aws.infra import leftovers
from cloudfn.sdk.client import using
from cloudfn.settings import Settings, load

pytestmark = [pytest.mark.aws, pytest.mark.timeout(1200)]

PROGRAM = Path(__file__).with_name("program.py")
_APP = "verify-aws"
CLOCK = SystemClock()
#: seconds in which machines come and go
_PATIENCE = 900.0


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load({**os.environ, "CLOUDFN_PROVIDER": "aws"})


@pytest.fixture(scope="module", autouse=True)
def deployed(settings: Settings) -> Iterator[None]:
    """Deploy the program, and stop it at the end."""
    others = {each["name"] for each in json.loads(command("app", "list", "--json"))} - {_APP}
    if others:
        pytest.exit(
            f"The environment {settings.environment} is in use by {', '.join(sorted(others))}."
            " Set CLOUDFN_ENVIRONMENT to one without apps: all its machines are ended here.",
            returncode=2,
        )
    command("deploy", str(PROGRAM))
    yield
    command("app", "stop", _APP, "--yes")
    for noun in ("dict", "queue", "volume"):
        command(noun, "delete", "verify-aws", "--yes", "--allow-missing")
    until(lambda: not machines(settings), "machines are left")


@pytest.fixture
def client(settings: Settings) -> Iterator[Any]:
    opened = open_client(settings)
    with using(opened):
        yield opened
    opened.close()


def command(*words: str) -> str:
    """Run `cloudfn …` there; return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "cloudfn", *words],
        env={**os.environ, "CLOUDFN_PROVIDER": "aws"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def function(name: str) -> Any:
    return cloudfn.Function.from_name(_APP, name)


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for something that takes as long as a machine."""
    late = CLOCK.monotonic() + _PATIENCE
    while not condition():
        assert CLOCK.monotonic() < late, what
        CLOCK.sleep(1)


def machines(settings: Settings) -> list[str]:
    clients = Clients(Access(region=settings.region))
    return list(leftovers.machines(clients, settings.environment))


@pytest.mark.usefixtures("client")
def test_a_call_returns_what_its_function_does() -> None:
    assert function("square").remote(7) == 49


@pytest.mark.usefixtures("client")
def test_a_map_returns_everything_in_order() -> None:
    assert list(function("square").map(range(5_000))) == [n * n for n in range(5_000)]


@pytest.mark.parametrize("size", [0, 70_000, 30_000_000])
@pytest.mark.usefixtures("client")
def test_arguments_and_results_of_any_size_come_through(size: int) -> None:
    data = os.urandom(size)
    assert function("sized").remote(data) == data[::-1]


@pytest.mark.usefixtures("client")
def test_an_exception_arrives_with_its_type() -> None:
    with pytest.raises(ValueError, match="as it should"):
        function("fails").remote()


@pytest.mark.usefixtures("client")
def test_a_generator_yields_as_it_goes() -> None:
    assert list(function("steps").remote_gen(200)) == list(range(200))


@pytest.mark.usefixtures("client")
def test_containers_have_secrets_volumes_dicts_and_call_others() -> None:
    assert function("remembers").remote("kept") == ("told", 16)
    assert cloudfn.Dict.from_name("verify-aws")["text"] == "kept"
    volume = cloudfn.Volume.from_name("verify-aws")
    assert b"".join(volume.read_file("text")) == b"kept"


def test_a_later_process_finds_what_an_earlier_one_spawned(settings: Settings) -> None:
    first = open_client(settings)
    with using(first):
        call = function("square").spawn(12)
    first.close()
    second = open_client(settings)
    with using(second):
        assert cloudfn.FunctionCall.from_id(call.object_id).get(timeout=_PATIENCE) == 144
    second.close()


@pytest.mark.usefixtures("client")
def test_a_cancelled_call_says_so() -> None:
    call = function("slow").spawn(1)
    call.cancel()
    with pytest.raises(errors.RemoteError, match="cancelled"):
        call.get(timeout=_PATIENCE)


@pytest.mark.usefixtures("client")
def test_an_update_brings_containers_and_takes_them_away() -> None:
    square = function("square")
    square.update_autoscaler(min_containers=2)
    until(lambda: square.get_current_stats().num_total_runners >= 2, "no two containers")
    square.update_autoscaler(min_containers=0)
    until(lambda: square.get_current_stats().num_total_runners == 0, "containers are left")


@pytest.mark.usefixtures("client")
def test_an_input_outlives_the_machine_that_runs_it(settings: Settings) -> None:
    elements = cloudfn.Queue.from_name("verify-aws", create_if_missing=True)
    elements.clear(all=True)
    call = function("slow").spawn(3)
    assert elements.get(timeout=_PATIENCE) == 3
    ec2 = Clients(Access(region=settings.region)).of("ec2")
    ec2.terminate_instances(InstanceIds=machines(settings))
    assert elements.get(timeout=_PATIENCE) == 3
    assert call.get(timeout=_PATIENCE) == 3
