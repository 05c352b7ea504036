"""What containers print: much, binary, from below Python; it keeps its order and harms nothing."""

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

MIB = 1 << 20


def resident(pid):
    """Return the bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def written(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_hundred_megabytes_of_lines_pass_and_the_log_stays_bounded(running):
    program = running(
        """
        @app.function(max_containers=1)
        def flood():
            line = "x" * 999
            for _ in range(100_000):
                print(line)
            print("the end")
            return "done"
        """
    )
    machine = program.machine
    before = resident(machine.daemon)

    assert program.flood.remote() == "done"

    assert resident(machine.daemon) - before < 64 * MIB
    assert written(machine.state / "logs") < 40 * MIB
    assert "the end\n" in program.text(tail=2)


def test_one_line_of_a_hundred_megabytes_passes(running):
    program = running(
        """
        @app.function(max_containers=1)
        def flood():
            sys.stdout.write("x" * 100_000_000)
            print("\\nthe end")
            return "done"
        """
    )
    machine = program.machine
    before = resident(machine.daemon)

    assert program.flood.remote() == "done"

    assert resident(machine.daemon) - before < 64 * MIB
    assert "the end\n" in program.text(tail=2)


def test_a_hundred_megabytes_from_below_python_pass(running):
    program = running(
        """
        import subprocess

        @app.function(max_containers=1)
        def flood():
            return subprocess.call("head -c 100000000 /dev/zero | tr '\\\\0' x", shell=True)
        """
    )
    machine = program.machine
    before = resident(machine.daemon)

    assert program.flood.remote() == 0

    assert resident(machine.daemon) - before < 64 * MIB


def test_stdout_and_stderr_keep_their_order(running):
    program = running(
        """
        @app.function(max_containers=1)
        def talk():
            for number in range(2000):
                print(number, file=sys.stderr if number % 2 else sys.stdout)
        """
    )

    program.talk.remote()

    printed = [e for e in program.output() if e["source"] in ("stdout", "stderr")]
    assert "".join(e["text"] for e in printed).split() == [str(n) for n in range(2000)]
    # Lines of the two streams do not share an entry.
    for entry in printed:
        assert {int(n) % 2 for n in entry["text"].split()} == {int(entry["source"] == "stderr")}


def test_what_an_input_printed_is_known_before_its_outcome(running):
    program = running(
        """
        @app.function(max_containers=2)
        def talk(item):
            print("item", item)
            print("no newline", end="")
        """
    )

    for item in range(20):
        program.talk.remote(item)
        assert f"item {item}\nno newline" in program.text()


def test_output_is_that_of_the_input_that_printed_it(running):
    program = running(
        """
        @app.function(max_containers=2)
        def talk(item):
            print("item", item)
        """
    )
    call = program.talk.spawn_map(range(50))
    list(call.iter())

    entries = [e for e in program.output(call=call.object_id) if e["source"] == "stdout"]

    assert len(entries) >= 50
    for entry in entries:
        item = entry["text"].split()[1]
        assert entry["input"].endswith(f":{item}") or entry["input"].rpartition("-")[2] == item


def test_output_below_python_of_dying_containers_is_kept(running):
    program = running(
        """
        @app.function(max_containers=1)
        def die():
            os.write(1, b"last words\\n")
            os.abort()
        """
    )

    with pytest.raises(Exception, match="SIGABRT"):
        program.die.remote()

    assert program.text().count("last words") == 3
    # And where in the program it died.
    assert "Fatal Python error: Aborted" in program.text("stderr")


def test_any_bytes_may_be_printed(running):
    program = running(
        """
        @app.function(max_containers=1)
        def talk():
            os.write(1, bytes(range(256)) * 10)
            sys.stdout.buffer.write(bytes(range(256)) * 10)
            print("\\x1b[31mred\\x1b[0m \\ud800 \\0 \\r\\n 2026-01-01 INFO forged \\N{SNAKE}")
            return "done"
        """
    )

    assert program.talk.remote() == "done"

    assert "\N{SNAKE}" in program.text()


def test_a_container_whose_children_keep_its_pipes_still_ends(running):
    program = running(
        """
        import subprocess

        @app.function(max_containers=1, single_use_containers=True)
        def start():
            return subprocess.Popen(["sleep", "600"], start_new_session=True).pid
        """
    )

    child = program.start.remote()

    program.machine.wait_for(lambda: child not in program.machine.processes(), "the child's end")
    program.machine.wait_for(lambda: not program.machine.containers(), "the container's end")
