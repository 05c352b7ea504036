"""Inputs that take their container down end in an error that says how, and blame nobody else."""

import pytest

from cloudfn.exception import ContainerCrashed, InputLost, RemoteError

pytestmark = pytest.mark.integration

POISON = """
import ctypes
import faulthandler

def sigsegv():
    faulthandler._sigsegv()

def null():
    ctypes.string_at(0)

def sigabrt():
    os.abort()

def sigfpe():
    os.kill(os.getpid(), signal.SIGFPE)

def sigill():
    os.kill(os.getpid(), signal.SIGILL)

def exit_0():
    os._exit(0)

def exit_3():
    os._exit(3)

def exit_of_c():
    ctypes.CDLL(None).exit(0)

def exec_true():
    os.execv("/bin/true", ["true"])

def closed():
    os.closerange(0, 65536)

def dupped():
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            os.dup2(null, int(descriptor))
        except OSError:
            pass

def in_a_thread():
    thread = threading.Thread(target=os.abort)
    thread.start()
    thread.join()

def sigkill():
    os.kill(os.getpid(), signal.SIGKILL)

def sigterm():
    os.kill(os.getpid(), signal.SIGTERM)

def killpg():
    os.killpg(0, signal.SIGKILL)

POISONS = {name: value for name, value in globals().items() if callable(value)}

@app.function(max_containers=2)
def work(poison):
    note("began", poison)
    if isinstance(poison, str):
        POISONS[poison]()
    return poison

@app.function(max_containers=2, retries=cloudfn.Retries(max_retries=4, initial_delay=0))
def insist(poison):
    note("insisted")
    POISONS[poison]()
"""

CRASHES = {
    "sigsegv": "SIGSEGV",
    "null": "SIGSEGV",
    "sigabrt": "SIGABRT",
    "sigfpe": "SIGFPE",
    "sigill": "SIGILL",
    "exit_0": "exited with code 0",
    "exit_3": "exited with code 3",
    "exit_of_c": "exited with code 0",
    "exec_true": "exited with code 0",
    "closed": "closed the container's descriptors",
    "dupped": "closed the container's descriptors",
    "in_a_thread": "SIGABRT",
}
LOSSES = {"sigkill": "SIGKILL", "sigterm": "SIGTERM", "killpg": "SIGKILL"}


@pytest.mark.parametrize("poison", CRASHES)
def test_a_crash_is_named_after_three_attempts(running, poison):
    program = running(POISON)

    with pytest.raises(ContainerCrashed, match=rf"work, input 0 .* 3 times.*{CRASHES[poison]}"):
        program.work.remote(poison)

    assert program.notes("began") == [poison] * 3
    assert program.work.remote(1) == 1


@pytest.mark.parametrize("poison", LOSSES)
def test_signals_that_may_come_from_outside_are_losses_up_to_ten(running, poison):
    program = running(POISON)

    with pytest.raises(InputLost, match=rf"lost 10 times.*{LOSSES[poison]}"):
        program.work.remote(poison)

    assert len(program.notes("began")) == 10


def test_more_retries_allow_more_crashes(running):
    program = running(POISON)

    with pytest.raises(ContainerCrashed, match="5 times"):
        program.insist.remote("exit_3")

    assert len(program.notes("insisted")) == 5


@pytest.mark.parametrize("innocents", [10, 300])
def test_poison_among_innocents_harms_none_of_them(running, innocents):
    program = running(POISON)
    items = [*range(innocents)]
    items[innocents // 2] = "sigsegv"
    items[innocents // 3] = "exit_0"

    results = list(program.work.map(items, return_exceptions=True))

    for item, result in zip(items, results, strict=True):
        if isinstance(item, int):
            assert result == item
        else:
            assert isinstance(result, ContainerCrashed)
            assert CRASHES[item] in str(result)
    # Nobody else began twice: what waited behind the poison was never begun.
    began = program.notes("began")
    assert sorted(began) == sorted([*map(str, items), *["sigsegv", "exit_0"] * 2])


def test_a_crash_after_a_loss_and_a_failure_is_counted_apart(running):
    program = running(
        """
        @app.function(max_containers=1, retries=cloudfn.Retries(max_retries=1, initial_delay=0))
        def work():
            note("began", os.getpid())
            attempt = len((HERE / "began").read_text().splitlines())
            if attempt == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            if attempt == 2:
                raise ValueError("first")
            if attempt in (3, 4):
                os.abort()
            if attempt == 5:
                wait_for("go")
            raise ValueError("last")
        """
    )
    call = program.work.spawn()
    program.await_notes("began", 5)
    program.machine.await_scar(failures=1, crashes=2, losses=1)
    program.allow("go")

    with pytest.raises(ValueError, match="last"):
        call.get(timeout=30)
    assert len(program.notes("began")) == 5


EXITS = """
@app.function(max_containers=1)
def leave(how):
    note("began", os.getpid())
    if how == "sys.exit()":
        sys.exit()
    if how == "sys.exit(0)":
        sys.exit(0)
    if how == "sys.exit('text')":
        sys.exit("text")
    if how == "quit":
        raise SystemExit
    if how == "KeyboardInterrupt":
        raise KeyboardInterrupt
    if how == "GeneratorExit":
        raise GeneratorExit
    if how == "StopIteration":
        raise StopIteration
    return how
"""


@pytest.mark.parametrize("how", ["sys.exit()", "sys.exit(0)", "sys.exit('text')", "quit"])
def test_leaving_the_interpreter_is_an_error_and_no_result(running, how):
    program = running(EXITS)

    with pytest.raises(BaseException) as caught:  # noqa: PT011
        program.leave.remote(how)

    assert type(caught.value).__name__ in ("SystemExit", "RemoteError")
    assert len(program.notes("began")) == 1
    assert program.leave.remote("on") == "on"


def test_an_exit_in_a_map_is_that_inputs_failure_only(running):
    program = running(EXITS)
    items = ["a", "sys.exit()", "KeyboardInterrupt", "GeneratorExit", "StopIteration", "b"]

    results = list(program.leave.map(items, return_exceptions=True))

    assert (results[0], results[-1]) == ("a", "b")
    assert [isinstance(result, BaseException) for result in results[1:-1]] == [True] * 4
    assert len(program.notes("began")) == len(items)


def test_a_keyboard_interrupt_of_user_code_is_its_error(running):
    program = running(EXITS)

    with pytest.raises((KeyboardInterrupt, RemoteError)):
        program.leave.remote("KeyboardInterrupt")

    assert program.leave.remote("on") == "on"
    assert len(program.notes("began")) == 2


def test_user_code_that_closes_its_standard_streams_goes_on(running):
    program = running(
        """
        @app.function(max_containers=1)
        def work(item):
            for descriptor in (0, 1, 2):
                try:
                    os.close(descriptor)
                except OSError:
                    pass
            sys.stdout.close()
            return item

        @app.function(max_containers=1)
        def speak():
            sys.stdout = None
            sys.stderr.detach()
            return "spoken"
        """
    )

    assert list(program.work.map(range(5))) == list(range(5))
    assert [program.speak.remote() for _ in range(3)] == ["spoken"] * 3


def test_failures_are_counted_in_a_file_and_are_exactly_as_many_as_allowed(running):
    program = running(
        """
        retries = cloudfn.Retries(max_retries=3, backoff_coefficient=1.0, initial_delay=0)

        @app.function(retries=retries)
        def fail(item):
            note("began", item)
            raise ValueError(f"attempt {len((HERE / 'began').read_text().splitlines())}")
        """
    )

    with pytest.raises(ValueError, match="attempt 4"):
        program.fail.remote("x")

    assert program.notes("began") == ["x"] * 4


def test_failures_followed_by_success_spend_exactly_those_retries(running):
    program = running(
        """
        @app.function(
            max_containers=1,
            retries=cloudfn.Retries(max_retries=3, backoff_coefficient=1.0, initial_delay=0),
        )
        def work(needed):
            note("began")
            counter = len((HERE / "began").read_text().splitlines())
            if counter < needed:
                raise ValueError(counter)
            return counter
        """
    )

    assert set(program.work.map([3, 3, 3])) == {3, 4, 5}
    assert len(program.notes("began")) == 5


def test_a_retry_waits_for_its_delay_and_not_for_anything_else(running):
    program = running(
        """
        @app.function(
            max_containers=1,
            retries=cloudfn.Retries(max_retries=1, backoff_coefficient=1.0, initial_delay=1.0),
        )
        def work(item):
            note("began", item)
            if item == "slow" and (HERE / "began").read_text().splitlines().count("slow") == 1:
                raise ValueError(item)
            return item
        """
    )

    assert list(program.work.map(["slow", "a", "b"])) == ["slow", "a", "b"]
    assert program.notes("began") == ["slow", "a", "b", "slow"]
