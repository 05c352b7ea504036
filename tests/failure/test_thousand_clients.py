"""A thousand clients at once: all are served, also by a daemon that they find dead."""

import resource
import subprocess
import sys

import pytest

from cloudfn.sdk.function_call import FunctionCall
from tests.failure.daemon_fixtures import APP, Background, World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

CLIENTS = 1000
PROCESSES = 50


@pytest.fixture(autouse=True)
def _many_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CLIENTS + 500
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def test_a_thousand_connections_are_served_side_by_side(world: World) -> None:
    world.deploy("""
        @app.function(max_containers=2)
        def double(item):
            return 2 * item
    """)
    clients = [world.connect() for _ in range(CLIENTS)]
    assert world.ask("status")["clients"] >= CLIENTS
    functions = [world.function("double", client) for client in clients]
    calls = [function.spawn(number) for number, function in enumerate(functions)]
    assert FunctionCall.gather(*calls) == [2 * number for number in range(CLIENTS)]
    # All of them wait at the same time.
    waiting = [Background(lambda f=f, n=n: f.remote(n)) for n, f in enumerate(functions)]
    assert [call.result(60) for call in waiting] == [2 * number for number in range(CLIENTS)]


def test_a_thousand_clients_whose_daemon_dies_go_on(world: World) -> None:
    world.deploy()
    world.hold()
    functions = [world.function("work", world.connect()) for _ in range(CLIENTS)]
    for function in functions:
        function.hydrate()
    waiting = [Background(lambda f=f, n=n: f.remote(n)) for n, f in enumerate(functions)]
    work = world.function("work")
    wait_for(
        "all of them wait", lambda: work.get_current_stats().backlog >= CLIENTS - 2, seconds=60
    )
    world.kill()
    world.release()
    assert [call.result(60)[0] for call in waiting] == list(range(CLIENTS))
    assert world.log.count("serving") == 2
    assert sum(world.trace("begin").values()) <= CLIENTS + 2


@pytest.mark.parametrize("hard", [4000, 200])
def test_a_daemon_with_few_descriptors_serves_as_many_as_it_can(world: World, hard: int) -> None:
    world.deploy()
    world.stop()
    daemon = world.spawn_process(
        [sys.executable, "-P", "-m", "cloudfn.daemon", "--env", "main"],
        env=world.daemon_environ(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard)),
        start_new_session=True,
    )
    wait_for("it serves", world.is_up)
    clients = [Background(world.connect) for _ in range(300)]
    if hard > 300:
        for client in clients:
            client.result()
    else:
        wait_for("some were served", lambda: sum(client.done for client in clients) > 100)
        assert not all(client.done for client in clients)
        # Those that found no place get one when others leave.
        wait_for("all were served", lambda: world.close_clients() or all(
            client.done for client in clients))  # fmt: skip
    assert world.function("echo").remote("served") == "served"
    for client in clients:
        client.result()
    assert world.pid == daemon.pid


def test_fifty_processes_that_come_at_once_start_one_daemon(world: World) -> None:
    world.deploy()
    world.stop()
    started = world.log.count("serving")
    clients = [
        world.start(f"""
            import cloudfn
            echo = cloudfn.Function.from_name({APP!r}, "echo")
            print(echo.remote({number}), sum(echo.map(range(10))))
        """)
        for number in range(PROCESSES)
    ]
    for number, client in enumerate(clients):
        assert _output(client) == f"{number} 45"
    assert world.log.count("serving") == started + 1


def _output(client: subprocess.Popen[str]) -> str:
    output, _ = client.communicate(timeout=90)
    return output.strip()
