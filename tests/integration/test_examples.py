"""Every example, run as a user runs it: `cloudfn run`, real containers, nothing left behind."""

import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.shell import Done, Shell, open_shell

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the local engine is Linux first"),
]

EXAMPLES = Path(__file__).parents[2] / "examples"
ENGINE = Path(__file__).parents[2] / "cloudfn"


@dataclass(frozen=True, slots=True)
class Case:
    """How an example is run, and what it prints then."""

    arguments: str
    shows: tuple[str, ...]
    #: of `cloudfn run` itself
    options: str = ""
    #: what the user types meanwhile
    typed: str = ""
    #: lines that come before it
    first: tuple[str, ...] = ()
    #: lines that come after it, each with what it prints
    then: tuple[tuple[str, str], ...] = ()


#: the shell's words for the id of the one spawned call that there is
SPAWNED = """$(cloudfn call list --json | grep -B1 '"spawn"' | grep -o 'fc-\\w*')"""
#: the same for the call with a dead letter
DEAD = "$(cloudfn call dead --json | grep -o 'fc-\\w*')"

CASES = {
    "ask_when_unsure": Case(
        "",
        (
            "bills: your invoice of May",
            "faults: it crashed again, an invoice with an error",
            "small talk: good morning",
        ),
        options="-i",
        typed="faults\nsmall talk\n",
    ),
    "autoscale": Case("--inputs 16 --seconds 0.1", ("all inputs done:", "min_containers=2")),
    "batched_scoring": Case("", ("72 texts in ", "0.971  good and fine", "itself: 0.881")),
    "chat_room": Case(
        "--text hello", ("south came in, 2 are here", "south reads north: hello", "south left")
    ),
    "concurrent_requests": Case(
        "--seconds 0.02", ("200 answers, the last one is 39601", "at up to")
    ),
    "cron_report": Case("", ("still here", "the report: nothing happened tonight")),
    "dead_letters": Case(
        "",
        ("20.0 converted", "failed for want of 'XTS'"),
        first=("cloudfn deploy examples/dead_letters.py",),
        then=(
            ("cloudfn call dead --app dead-letters", "KeyError: 'XTS'"),
            ("cloudfn run examples/dead_letters.py::learn --currency XTS --rate 2.5", ""),
            (f"cloudfn call get $(cloudfn call retry {DEAD} --all)", "17.5"),
        ),
    ),
    "environments": Case("", ("max_containers=1", "there is no shop", "staging is gone")),
    "executor": Case(
        "", ("digits in all: 2733", "squares: [0, 1, 4, 9, 16]", "with joblib: [7, 19, 33]")
    ),
    "hello": Case("--name Ada", ("Hello, Ada!",)),
    "include_apps": Case("", ("mean, words: 2.0 words", "whole is ephemeral")),
    "office_hours": Case(
        "",
        ("kept warm at this time of day: ", "Shall we? By all means."),
        then=(
            ("cloudfn deploy examples/office_hours.py", ""),
            (
                "cloudfn schedule scale office-hours answer --cron '0 12 * * *' --max-containers 8",
                "max_containers=8 for office-hours/answer",
            ),
            ("cloudfn schedule list --app office-hours", "0 12 * * * UTC"),
        ),
    ),
    "overnight": Case(
        "",
        ("is under way",),
        options="--detach",
        then=((f"cloudfn call get {SPAWNED}", "3.142348"),),
    ),
    "model_class": Case("", ("order 1: function 14.4", "each parameter has its containers: True")),
    "lifecycle": Case(
        "", ("second: The input was cancelled", "done by the second", "preempted, enter", "leaves")
    ),
    "primes": Case("--n 200000", ("17984",)),
    "resume_map": Case("", ("… 20 in all", "not rendered again: True")),
    "retries": Case("", ("number 11 arrived", "failed for good: there is no number 12")),
    "secret_env": Case("", ("on the moon", "token is not known here", "on the asteroid belt")),
    "shared_state": Case("", ("a: apple, apricot, avocado", "8 words, sorted by 2 workers")),
    "third_party": Case("", ("512 Bytes", "1.0 MiB", "5.0 GiB")),
    "variants": Case(
        "", ("Bonjour, Grace!", "most containers: 1 and 4", "attempt 1: there", "says: Bonjour")
    ),
    "volume_files": Case("", ("7 different words", "most frequent: the", "cats.txt: 49 bytes")),
    "source_stats": Case("--package asyncio --top 3", ("files, ", "most tangled functions")),
    "spawn_later": Case("", ("urgent is done", "never begun: Deadline", "two seconds: True")),
    "stream_tokens": Case("--pause 0.001", ("that will do", "28 words arrived one by one")),
    "web_hello": Case(
        "",
        ('{"hello": "there", "requests": 1}', "data: lift-off"),
        then=(("cloudfn serve examples/web_hello.py --timeout 0.1", "hello → http://127.0.0.1:"),),
    ),
    "web_server": Case("", ("200 hello from a file\n200 hello from a file",)),
    "where_am_i": Case("", ('"greeting": "Hello", "local": false, "attempt": 2', "logged by ta-")),
    "wsgi_app": Case("", ("the 3", "asked at /word-count-dev for /top")),
}

AS_MODAL = """
import cloudfn as modal

app = modal.App()


@app.function(max_containers=4)
def evaluate(x):
    if x == 2:
        raise Exception("ohno")
    return x**2


@app.function()
def add(a, b):
    return a + b


@app.local_entrypoint()
def main():
    print(list(evaluate.map(range(3), return_exceptions=True, wrap_returned_exceptions=False)))
    assert list(add.starmap([(1, 2), (3, 4)])) == [3, 7]
    try:
        evaluate.remote(2)
    except Exception as error:
        print("raised", error)
"""


@pytest.fixture
def shell() -> Iterator[Shell]:
    with open_shell() as opened:
        yield opened


def test_every_example_has_a_case():
    assert sorted(CASES) == sorted(path.stem for path in EXAMPLES.glob("*.py"))


def test_the_index_has_every_example_once():
    listed = re.findall(r"\]\((\w+)\.py\)", (EXAMPLES / "README.md").read_text())

    assert sorted(listed) == sorted(CASES)


@pytest.mark.parametrize("name", sorted(CASES))
def test_an_example_does_what_it_says_and_leaves_nothing_behind(shell, name):
    case = CASES[name]
    (shell.folder / "examples").symlink_to(EXAMPLES)
    for line in case.first:
        run_through(shell, line)

    done = run_through(
        shell,
        f"cloudfn run {case.options} examples/{name}.py {case.arguments}",
        typed=case.typed,
        PORT=str(free_port()),
    )

    for text in case.shows:
        assert text in done.out, done
    for line, text in case.then:
        done = run_through(shell, line)
        assert text in done.out + done.err, done


def run_through(shell: Shell, line: str, **how: str) -> Done:
    """Run a line, which has to succeed."""
    done = shell.run(line, **how)
    assert done.code == 0, done
    assert f"{ENGINE}/" not in done.err, "a traceback shows frames of cloudfn's own"
    return done


def free_port() -> int:
    """Return a port that nobody listens at; a server that is configured by `PORT` takes it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def test_a_program_written_for_modal_runs_after_one_changed_import(shell):
    shell.write("program.py", AS_MODAL)

    done = shell.run("cloudfn run program.py")

    assert done.code == 0, done
    assert "[0, 1, Exception('ohno')]" in done.out
    assert "raised ohno" in done.out


def test_an_example_runs_from_any_directory_and_as_a_single_function(shell):
    done = shell.run(f"cloudfn run -q {EXAMPLES / 'primes.py'}::count_primes --lo 0 --hi 100")

    assert (done.code, done.out.strip()) == (0, "25"), done


def test_a_wrong_option_of_an_example_is_a_wrong_command_line(shell):
    done = shell.run(f"cloudfn run {EXAMPLES / 'hello.py'} --nam Ada")

    assert done.code == 2, done
    assert "--nam" in done.err
    assert "Traceback" not in done.err
