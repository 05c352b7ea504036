"""Inputs and containers that never come back are ended by the clock, whatever they hang in."""

import sys

import pytest

from cloudfn.exception import ExecutionError, FunctionTimeoutError

pytestmark = pytest.mark.integration

HANG = """
import ctypes
import re
import subprocess

def loop():
    while True:
        pass

def sleep():
    time.sleep(600)

def regex():
    re.match(r"(a+)+$", "a" * 40 + "b")

def gil():
    ctypes.PyDLL(None).pause()

def stubborn():
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass

def child():
    subprocess.call(["sleep", "600"])

def deadlock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()

HANGS = {name: value for name, value in globals().items() if callable(value)}

class Slow:
    def __reduce__(self):
        loop()

@app.function(max_containers=1, timeout=1)
def work(item):
    note("began", os.getpid())
    if item == "result":
        return Slow()
    if item in HANGS:
        HANGS[item]()
    return item

@app.function(max_containers=1, timeout=1, retries=cloudfn.Retries(max_retries=2, initial_delay=0))
def insist():
    note("began")
    sleep()

@app.function(max_containers=2, timeout=1)
async def wait():
    import asyncio
    await asyncio.sleep(600)
"""

HANGS = ["loop", "sleep", "regex", "gil", "stubborn", "child", "deadlock", "result"]


@pytest.mark.parametrize("hang", HANGS)
def test_an_input_that_never_returns_times_out_and_its_container_is_replaced(running, hang):
    program = running(HANG)

    with pytest.raises(FunctionTimeoutError, match=r"work, input 0 .*timeout of 1s"):
        program.work.remote(hang)

    assert program.work.remote("next") == "next"
    first, second = program.notes("began")
    assert first != second


def test_a_coroutine_that_never_returns_times_out(running):
    program = running(HANG)

    with pytest.raises(FunctionTimeoutError):
        program.wait.remote()


def test_timeouts_spend_retries(running):
    program = running(HANG)

    with pytest.raises(FunctionTimeoutError):
        program.insist.remote()

    assert len(program.notes("began")) == 3


def test_neighbours_of_an_input_that_times_out_are_not_harmed(running):
    program = running(HANG)
    items = [*range(20), "regex", *range(20, 40)]

    results = list(program.work.map(items, return_exceptions=True))

    assert [isinstance(r, FunctionTimeoutError) for r in results] == [i == "regex" for i in items]
    assert [r for r in results if isinstance(r, int)] == list(range(40))
    assert len(program.notes("began")) == len(items)


def test_a_container_that_is_not_ready_in_time_fails_what_waits(running):
    program = running(
        """
        if not cloudfn.is_local():
            note("importing")
            time.sleep(600)

        @app.function(fork=False, startup_timeout=1)
        def work():
            return 1
        """
    )

    with pytest.raises(Exception, match="startup_timeout of 1s"):
        program.work.remote()


def test_an_import_that_hangs_in_the_template_fails_what_waits(running):
    program = running(
        """
        if not cloudfn.is_local():
            note("importing")
            time.sleep(600)

        @app.function(startup_timeout=1)
        def work():
            return 1
        """
    )

    with pytest.raises(Exception, match="startup_timeout of 1s"):
        program.work.remote()


IMPORTS = """
if not cloudfn.is_local():
    note("importing")
    {what}

@app.function({how})
def work():
    return 1
"""


@pytest.mark.parametrize("how", ["", "fork=False"])
@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("raise ValueError('no luck')", "no luck"),
        ("import a_module_that_nobody_has", "a_module_that_nobody_has"),
        ("sys.exit('enough')", "enough"),
    ],
)
def test_a_program_that_cannot_be_imported_says_why(running, how, what, told):
    program = running(IMPORTS.format(what=what, how=how))

    with pytest.raises(BaseException, match=told):
        program.work.remote()

    assert told in program.text("stderr") + program.text()


@pytest.mark.parametrize("how", ["", "fork=False"])
@pytest.mark.parametrize("what", ["os._exit(3)", "os.abort()"])
def test_a_program_whose_import_takes_its_process_down_fails_what_waits(running, how, what):
    program = running(IMPORTS.format(what=what, how=how))

    with pytest.raises(Exception, match=r"SIGABRT|code 3"):
        program.work.remote()


@pytest.mark.parametrize("broken", [False, True])
def test_a_program_whose_interpreter_is_gone_or_broken_fails_what_waits(
    running, baseline, tmp_path, monkeypatch, broken
):
    interpreter = tmp_path / "python"
    interpreter.symlink_to(sys.executable)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(interpreter))
        program = running("@app.function()\ndef work(): return 1")
    interpreter.unlink()
    if broken:
        interpreter.write_text("#!/bin/sh\nexit 1\n")
        interpreter.chmod(0o700)

    with pytest.raises(ExecutionError, match=r"work can start.*(exited with code 1|python cannot)"):
        program.work.remote()

    assert [name for name in baseline.processes().values() if name != "cf-zygote"] == []


def test_a_start_that_fails_once_is_tried_again(running):
    program = running(
        """
        if not cloudfn.is_local():
            note("importing")
            if len((HERE / "importing").read_text().splitlines()) < 3:
                raise RuntimeError("not yet")

        @app.function(fork=False)
        def work():
            return "started"
        """
    )

    assert program.work.remote() == "started"
    assert len(program.notes("importing")) == 3
