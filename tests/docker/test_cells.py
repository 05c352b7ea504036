"""Functions in Docker containers do what they do in processes."""

import subprocess
import sys
import urllib.request

import pytest

from tests.docker.cells import Cells

pytestmark = pytest.mark.integration

BIG = 300_000


def test_one_container_serves_many_inputs(cells: Cells):
    assert len({cells.container() for _ in range(5)}) == 1


def test_payloads_in_files_go_both_ways(cells: Cells):
    value = bytes(range(256)) * 2_000

    assert cells.echo.remote(value) == value
    assert list(cells.echo.map([value[:-n] for n in range(1, 4)])) == [
        value[:-n] for n in range(1, 4)
    ]


def test_containers_call_functions_and_read_large_results(cells: Cells):
    code = (
        "import cloudfn\necho = cloudfn.Function.from_name('cells', 'echo')\n"
        f"value = b'x' * {BIG}\n"
        "call = echo.spawn(value)\n"
        "mapped = [len(each) for each in echo.map([value] * 2)]\n"
        "result = [echo.remote(1), len(echo.remote(value)), mapped, len(call.get()),"
        " len(os.listdir('/run/cloudfn/fast'))]"
    )

    assert cells.ask(code) == [1, BIG, [BIG, BIG], BIG, 1]


def test_generators_yield_small_and_large_items(cells: Cells):
    assert [number for number, _ in cells.count.remote_gen(3)] == [0, 1, 2]
    code = (
        "import cloudfn\ncount = cloudfn.Function.from_name('cells', 'count')\n"
        "result = [n for n, _ in count.remote_gen(3)]"
    )
    assert cells.ask(code) == [0, 1, 2]


def test_several_inputs_share_a_container(cells: Cells):
    assert len(set(cells.together.map([4] * 4))) == 1


def test_exceptions_and_output_come_back(cells: Cells):
    with pytest.raises(ZeroDivisionError):
        cells.ask("print('about to fail'); 1 / 0")

    printed = "".join(entry["text"] for entry in cells.machine.logs(app="cells", source="stdout"))
    assert "about to fail" in printed


def test_dicts_and_queues_hold_large_values_of_containers(cells: Cells):
    code = (
        "import cloudfn\nshelf = cloudfn.Dict.from_name('shelf', create_if_missing=True)\n"
        "line = cloudfn.Queue.from_name('line', create_if_missing=True)\n"
        f"shelf['big'] = b'x' * {BIG}\nline.put(b'y' * {BIG})\n"
        "result = len(shelf['big']), len(line.get())"
    )

    assert cells.ask(code) == (BIG, BIG)


def test_volumes_are_seen_written_committed_and_reloaded(cells: Cells):
    cells.ask(
        "import cloudfn\nos.makedirs('/data/sub', exist_ok=True)\n"
        "open('/data/sub/file', 'w').write('first')\ncloudfn.Volume.from_name('shared').commit()",
        "rich",
    )
    first = cells.ask(
        "import cloudfn\ncloudfn.Volume.from_name('shared').reload()\n"
        "result = open('/data/sub/file').read()",
        "reader",
    )
    cells.ask(
        "import cloudfn\nopen('/data/sub/file', 'w').write('second')\n"
        "cloudfn.Volume.from_name('shared').commit()",
        "rich",
    )
    second = cells.ask(
        "import cloudfn\ncloudfn.Volume.from_name('shared').reload()\n"
        "result = open('/data/sub/file').read()",
        "reader",
    )

    assert (first, second) == ("first", "second")
    with pytest.raises(OSError, match="Read-only"):
        cells.ask("open('/data/new', 'w')", "reader")


def test_the_program_finds_itself_and_its_children_find_us(cells: Cells):
    folder, child = cells.ask(
        "child = subprocess.run([sys.executable, '-c', 'import cloudfn; print(cloudfn.__name__)'],"
        " capture_output=True, text=True)\nresult = os.getcwd(), child.stdout + child.stderr"
    )

    assert folder == "/run/cloudfn/source"
    assert child == "cloudfn\n"


def test_exec_runs_inside(cells: Cells):
    container = cells.container()
    command = [sys.executable, "-m", "cloudfn", "container", "exec", container]
    environ = {"CLOUDFN_HOME": str(cells.machine.home)}

    done = subprocess.run(
        [*command, "sh", "-c", "id -u; cat /proc/1/comm; pwd"],
        capture_output=True, text=True, check=False, timeout=60, env=environ,
    )  # fmt: skip

    assert done.stdout.split() == ["65534", "docker-init", "/run/cloudfn/source"], done.stderr


def test_a_stopped_container_runs_its_exit_hooks_and_is_removed(cells: Cells):
    container = cells.container("other")
    docker_id = cells.machine.docker_container(container)

    cells.machine.ask("container_stop", container_id=container)

    cells.machine.wait_for(
        lambda: docker_id not in cells.machine.docker_containers(), "the container's removal"
    )
    assert cells.container("other") != container


def test_a_cancelled_input_ends(cells: Cells):
    call = cells.run.spawn("import time\ntime.sleep(100)")
    cells.machine.wait_for(
        lambda: any(c["state"] == "busy" for c in cells.machine.containers("run")),
        "a busy container",
    )

    call.cancel()

    assert cells.ask("result = 3") == 3


def test_containers_that_do_not_fork_import_the_program_themselves(cells: Cells):
    code = (
        "import cloudfn\nresult = cloudfn.Function.from_name('cells', 'echo').remote(sys.path[:2])"
    )

    assert cells.ask(code, "unforked") == ["/run/cloudfn/source", "/run/cloudfn/lib"]


def test_web_functions_answer(cells: Cells):
    url = cells.site.get_web_url()

    with urllib.request.urlopen(f"{url}/page", timeout=60) as answer:
        container, path = answer.read().decode().split()

    assert container.startswith("ta-")
    assert path == "/page"


def test_an_image_says_variables_and_the_working_directory_and_attaches_files(cells: Cells):
    told = cells.ask(
        "result = [os.getcwd(), os.environ['MODE'], open('/opt/attached/file').read()]", "furnished"
    )

    assert told == ["/srv", "fast", "attached"]
    with pytest.raises(OSError, match="Read-only"):
        cells.ask("open('/opt/attached/file', 'w')", "furnished")


def test_without_a_network_functions_are_called_all_the_same(cells: Cells):
    devices, called = cells.ask(
        "import cloudfn\necho = cloudfn.Function.from_name('cells', 'echo')\n"
        "result = os.listdir('/sys/class/net'), echo.remote(7)",
        "cut_off",
    )

    assert devices == ["lo"]
    assert called == 7
