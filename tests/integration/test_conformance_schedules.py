"""Conformance 2.13: functions that run by themselves, and settings that change by themselves.

Short periods run by the machine's clock. What takes hours runs in a daemon whose wall clock is
moved; it is the real one otherwise, and so are its containers.
"""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import cloudfn
from cloudfn.exception import InvalidError
from cloudfn.sdk.client import using
from tests.integration.conformance_world import CLOCK, World, opened_world, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

NEW_YORK = ZoneInfo("America/New_York")
CLOCKED = Path(__file__).with_name("clocked_daemon.py")

app = cloudfn.App("scheduled")

# By the machine's clock

PROGRAM = """
import os
import time

import cloudfn

HERE = {here!r}
app = cloudfn.App({app!r})


def note(what):
    trace = os.open(HERE + "/trace", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(trace, (what + "\\n").encode())
    os.close(trace)


{body}
"""


class Program:
    """A file with an app, and the trace that its functions write."""

    def __init__(self, world, name, body):
        self.world = world
        self.name = name
        self.folder = world.folder / name
        self.folder.mkdir(exist_ok=True)
        self.write(body)

    def write(self, body):
        text = PROGRAM.format(here=str(self.folder), app=self.name, body=body)
        self.path = self.world.write(text, f"{self.name}.py")

    def deploy(self, *options):
        self.world.cli("deploy", self.path, *options)

    def trace(self):
        path = self.folder / "trace"
        return path.read_text().split() if path.exists() else []

    def schedules(self):
        return self.world.ask("schedule_list", app=self.name)["schedules"]

    def one(self):
        (schedule,) = self.schedules()
        return schedule

    def history(self):
        reply = self.world.ask("schedule_history", schedule=self.one()["schedule_id"])
        return list(reversed(reply["fires"]))

    def function_id(self, name):
        return self.world.ask("function_lookup", app=self.name, name=name)["function_id"]

    def settings(self, name):
        return self.world.ask("settings_get", function_id=self.function_id(name))


TICKS = """
@app.function(schedule=cloudfn.Period(seconds=0.2))
def tick():
    note("tick")
"""


def test_schedules_of_an_ephemeral_app_fire_while_it_lives_and_stop_afterwards(world):
    """C146."""
    program = Program(world, "ephemeral", TICKS + """

@app.local_entrypoint()
def main():
    while len(open(HERE + "/trace", "a+").read() or open(HERE + "/trace").read()) < 15:
        time.sleep(0.01)
""")  # fmt: skip

    world.cli("run", program.path)

    assert len(program.trace()) >= 3
    assert program.schedules() == []
    ended = len(program.trace())
    Program(world, "later", TICKS).deploy()
    wait_for("another app's ticks", lambda: len(Program(world, "later", TICKS).trace()) >= 3)
    assert len(program.trace()) == ended
    world.ask("app_stop", name="later")
    assert world.ask("schedule_list")["schedules"] == []


HELD = """
@app.function(schedule=cloudfn.Period(seconds=0.2{overlap}))
def slow():
    note("begin")
    while not os.path.exists(HERE + "/release"):
        time.sleep(0.01)
"""


def test_runs_overlap_unless_the_schedule_says_otherwise(world):
    """C145."""
    overlapping = Program(world, "overlapping", HELD.format(overlap=""))
    apart = Program(world, "apart", HELD.format(overlap=", overlap=False"))
    overlapping.deploy()
    apart.deploy()

    wait_for("two runs at once", lambda: len(overlapping.trace()) >= 2)
    wait_for("times that are left out", lambda: len(apart.history()) >= 3)

    assert len(apart.trace()) == 1
    assert [fire["outcome"] for fire in apart.history()[1:3]] == [
        "skipped: the run before has not finished"
    ] * 2
    (apart.folder / "release").touch()
    wait_for("the next run", lambda: len(apart.trace()) >= 2)
    for program in (overlapping, apart):
        (program.folder / "release").touch()
        world.ask("app_stop", name=program.name)


def test_a_run_that_fails_is_told_in_the_log_of_its_app(world):
    program = Program(world, "failing", """
@app.function(schedule=cloudfn.Period(seconds=0.3))
def fail():
    raise ValueError("as always")
""")  # fmt: skip
    program.deploy()

    fire = wait_for("a run", lambda: [f for f in program.history() if f["outcome"]])[0]

    assert fire["outcome"] == "raised"
    with pytest.raises(ValueError, match="as always"):
        cloudfn.FunctionCall.from_id(fire["call_id"], client=world.client).get()
    logs = world.cli("app", "logs", "failing", "--source", "system").stderr
    assert f"ended as raised; see `cloudfn call get {fire['call_id']}`" in logs
    world.ask("app_stop", name="failing")


def test_a_schedule_that_makes_no_sense_is_refused_where_it_is_written():
    """C142."""
    with pytest.raises(InvalidError, match="needs to support being called with no arguments"):
        app.function(schedule=cloudfn.Period(hours=1))(needs_one)
    with pytest.raises(InvalidError, match="needs to support being called with no arguments"):
        app.function(schedule=cloudfn.Period(hours=1))(needs_a_keyword)
    with pytest.raises(InvalidError, match="must be a Cron or a Period"):
        app.function(schedule="* * * * *")(needs_none)
    with pytest.raises(InvalidError, match="yields"):
        app.function(schedule=cloudfn.Period(hours=1))(yields)
    with pytest.raises(InvalidError, match="answers web requests"):
        app.function(schedule=cloudfn.Period(hours=1))(cloudfn.fastapi_endpoint()(answers))
    with pytest.raises(TypeError, match="schedule"):
        app.cls(schedule=cloudfn.Period(hours=1))
    with pytest.raises(InvalidError, match="list of ScaleAt"):
        app.function(scaling=["0 6 * * *"])(needs_none)
    morning = cloudfn.ScaleAt("0 6 * * *", min_containers=4)
    with pytest.raises(InvalidError, match="cannot be greater"):
        app.function(max_containers=2, scaling=[morning])(needs_none)


def test_a_class_with_parameters_has_no_settings_of_its_own_to_schedule():
    class Model:
        size: str = cloudfn.parameter(default="small")

        @cloudfn.method()
        def ask(self):
            """Be there."""

    morning = cloudfn.ScaleAt("0 6 * * *", min_containers=4)
    with pytest.raises(InvalidError, match="its instances scale separately"):
        cloudfn.App("x").cls(scaling=[morning], serialized=True)(Model)


@pytest.mark.parametrize("name", ["needs_none", "needs_none_of_many"])
def test_defaults_and_variable_arguments_are_no_obstacle(name):
    """C142."""
    declared = cloudfn.App("x").function(schedule=cloudfn.Period(hours=1))(globals()[name])

    assert declared.get_raw_f() is globals()[name]


def needs_one(x):
    pass


def needs_a_keyword(*, x):
    pass


def needs_none(x=1, *, y=2):
    pass


def needs_none_of_many(*args, **kwargs):
    pass


def answers():
    pass


def yields():
    yield 1


# By a clock that the test moves


class Clocked:
    """A world whose daemon's wall clock is set by hand."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._ahead = world.home / "ahead"

    def set(self, *moment: int) -> None:
        """Make it this time in New York, from now on."""
        wanted = datetime(*moment, tzinfo=NEW_YORK).timestamp()  # type: ignore[misc, arg-type]
        staged = self._ahead.with_suffix(".new")
        staged.write_text(str(wanted - CLOCK.wall()))
        staged.replace(self._ahead)

    def start(self) -> None:
        self._daemon = self.world.start(os.sys.executable, CLOCKED, "main", self._ahead)
        wait_for("the daemon", (self.world.settings.state_dir / "daemon.sock").exists)
        wait_for("its answer", lambda: self.world.ask("status")["pid"] == self._daemon.pid)

    def kill(self) -> None:
        self._daemon.send_signal(signal.SIGKILL)
        self._daemon.wait(30)
        (self.world.settings.state_dir / "daemon.sock").unlink()

    def stop(self) -> None:
        self.world.ask("shutdown", mode="now")
        self._daemon.wait(30)


@contextmanager
def opened_clock() -> Iterator[Clocked]:
    with opened_world() as opened, using(opened.client):
        clocked = Clocked(opened)
        clocked.set(2026, 3, 6, 5, 0)
        clocked.start()
        yield clocked
        clocked.stop()


@pytest.fixture(scope="module")
def clocked() -> Iterator[Clocked]:
    with opened_clock() as opened:
        yield opened


WARM_POOL = """
import cloudfn as modal

@app.function()
def inference_server():
    ...

@app.function(schedule=modal.Cron("0 6 * * *", timezone="America/New_York"))
def increase_warm_pool():
    inference_server.update_autoscaler(min_containers=4)

@app.function(schedule=modal.Cron("0 22 * * *", timezone="America/New_York"))
def decrease_warm_pool():
    inference_server.update_autoscaler(min_containers=0)
"""


def test_a_warm_pool_by_the_time_of_day_as_in_modals_guide(clocked):
    world = clocked.world
    clocked.set(2026, 3, 6, 5, 59)
    program = Program(world, "warm", WARM_POOL)
    program.deploy()

    def minimum():
        return program.settings("inference_server")["settings"]["min_containers"]

    assert minimum() == 0
    clocked.set(2026, 3, 6, 6, 0)
    wait_for("the morning's pool", lambda: minimum() == 4)
    wait_for("its containers", lambda: len(world.containers("inference_server")) == 4)
    clocked.set(2026, 3, 6, 22, 0)
    wait_for("the evening's pool", lambda: minimum() == 0)

    # Two days later summer time has begun: it is still six in the morning.
    clocked.set(2026, 3, 8, 5, 59)
    wait_for("the evening before", lambda: runs(program, "decrease_warm_pool") == 2)
    clocked.set(2026, 3, 8, 6, 0)
    wait_for("six in the morning", lambda: runs(program, "increase_warm_pool") == 3)
    world.ask("app_stop", name="warm")


def runs(program, function):
    (schedule,) = [s for s in program.schedules() if s["function_name"] == function]
    reply = program.world.ask("schedule_history", schedule=schedule["schedule_id"])
    return sum(fire["outcome"] == "returned" for fire in reply["fires"])


OFFICE = """
HOURS = dict(timezone="America/New_York")

@app.function(scaling=[
    cloudfn.ScaleAt("0 6 * * *", min_containers=2, **HOURS),
    cloudfn.ScaleAt("0 22 * * *", min_containers=0, buffer_containers=1, **HOURS),
])
def serve():
    {text}
"""


def test_settings_change_by_schedule_and_the_last_writer_wins(clocked):
    world = clocked.world
    clocked.set(2026, 5, 4, 13, 0)
    program = Program(world, "office", OFFICE.format(text="..."))
    program.deploy()

    def settings():
        told = program.settings("serve")["settings"]
        return told["min_containers"], told["buffer_containers"]

    # In force by now: this morning's minimum, and yesterday evening's buffer.
    assert settings() == (2, 1)
    assert program.settings("serve")["updated_by"] == "schedule 0 6 * * * America/New_York"

    serve = cloudfn.Function.from_name("office", "serve")
    serve.update_autoscaler(min_containers=1, max_containers=3)
    program.deploy()  # changes nothing
    assert settings() == (1, 1)
    clocked.set(2026, 5, 4, 22, 0)
    wait_for("the evening", lambda: settings() == (0, 1))
    assert program.settings("serve")["settings"]["max_containers"] == 3
    clocked.set(2026, 5, 5, 6, 0)
    wait_for("the morning", lambda: settings() == (2, 1))

    # A deploy that changes something clears it all, and the schedule applies again.
    serve.update_autoscaler(min_containers=3)
    program.write(OFFICE.format(text="return 1"))
    program.deploy()
    assert settings() == (2, 1)
    assert program.settings("serve")["settings"]["max_containers"] is None
    world.ask("app_stop", name="office")


def test_the_containers_of_a_class_change_by_schedule_as_well(clocked):
    world = clocked.world
    clocked.set(2026, 5, 5, 12, 0)
    program = Program(world, "classy", """
@app.cls(scaling=[cloudfn.ScaleAt("0 6 * * *", timezone="America/New_York", min_containers=1)])
class Server:
    @cloudfn.method()
    def ask(self):
        return "yes"
""")  # fmt: skip
    program.deploy()

    def minimum():
        return program.settings("Server.*")["settings"]["min_containers"]

    assert minimum() == 1
    wait_for("its container", lambda: world.containers("Server"))
    world.ask("settings_update", function_id=program.function_id("Server.*"),
              changes={"min_containers": 0})  # fmt: skip
    world.cli("schedule", "run-now", "classy", "Server")
    assert minimum() == 1
    assert program.history()[-1]["manual"]
    world.ask("app_stop", name="classy")


def test_settings_that_do_not_fit_when_they_are_due_are_told_and_change_nothing(clocked):
    world = clocked.world
    clocked.set(2026, 5, 6, 5, 0)
    program = Program(world, "tight", """
@app.function(scaling=[cloudfn.ScaleAt("0 6 * * *", timezone="America/New_York", min_containers=4)])
def serve():
    ...
""")  # fmt: skip
    program.deploy()
    cloudfn.Function.from_name("tight", "serve").update_autoscaler(
        min_containers=0, max_containers=2
    )

    clocked.set(2026, 5, 6, 6, 0)
    fires = wait_for("the morning", lambda: program.history()[1:])

    assert fires[0]["outcome"].startswith("failed: `min_containers` (4) cannot be greater")
    assert program.settings("serve")["settings"]["min_containers"] == 0
    assert "cannot be greater" in world.cli("app", "logs", "tight", "--source", "system").stderr
    world.ask("app_stop", name="tight")


def test_settings_can_be_scheduled_by_hand_until_the_next_deploy(clocked):
    world = clocked.world
    clocked.set(2026, 5, 11, 5, 0)
    program = Program(world, "by-hand", "@app.function()\ndef serve():\n    ...\n")
    program.deploy()
    asked = {
        "function_id": program.function_id("serve"),
        "rule": {
            "cron_string": "0 6 * * *", "timezone": "America/New_York", "min_containers": 1,
        },
    }  # fmt: skip
    added = world.ask("schedule_scale", **asked)

    assert (added["dynamic"], added["changes"]) == (True, {"min_containers": 1})
    clocked.set(2026, 5, 11, 6, 0)
    wait_for("the morning", lambda: program.settings("serve")["settings"]["min_containers"] == 1)
    world.ask("schedule_remove", schedule=added["schedule_id"])
    assert program.schedules() == []

    world.ask("schedule_scale", **asked)
    program.write("@app.function()\ndef serve():\n    return 1\n")
    program.deploy("--keep-overrides")
    assert len(program.schedules()) == 1
    program.write("@app.function()\ndef serve():\n    return 2\n")
    program.deploy()
    assert program.schedules() == []
    with pytest.raises(InvalidError, match="minute"):
        world.ask("schedule_scale", function_id=program.function_id("serve"),
                  rule={"cron_string": "99 * * * *", "min_containers": 1})  # fmt: skip
    world.ask("app_stop", name="by-hand")


CRON = """
@app.function(schedule=cloudfn.{schedule})
def report():
    note("{word}")
"""


def test_deploys_and_rollbacks_bring_the_schedules_of_their_version(clocked):
    world = clocked.world
    clocked.set(2026, 6, 1, 12, 0)
    program = Program(world, "versions", CRON.format(schedule="Period(hours=2)", word="one"))
    program.deploy()
    first = program.one()

    clocked.set(2026, 6, 1, 13, 0)
    program.write(CRON.format(schedule="Period(hours=2)", word="two"))
    program.deploy()
    assert program.one()["next"] == first["next"]
    clocked.set(2026, 6, 1, 14, 1)
    wait_for("a run of the live version", lambda: program.trace() == ["two"])

    program.write(CRON.format(schedule="Cron('0 6 * * *')", word="three"))
    program.deploy()
    assert program.one()["when"] == "0 6 * * *"
    world.cli("app", "rollback", "versions")
    assert program.one()["when"] == "every 2 hours"
    clocked.set(2026, 6, 1, 16, 2)
    wait_for("a run of the version before", lambda: program.trace() == ["two", "two"])

    world.ask("app_stop", name="versions")
    assert program.schedules() == []


def test_a_paused_schedule_rests_and_can_be_run_by_hand(clocked):
    world = clocked.world
    clocked.set(2026, 6, 3, 12, 0)
    program = Program(world, "paused", CRON.format(schedule="Period(hours=1)", word="run"))
    program.deploy()

    world.cli("schedule", "pause", "paused", "report")
    clocked.set(2026, 6, 3, 15, 30)
    assert program.one()["next"] is None
    fire = json.loads(world.cli("schedule", "run-now", "paused", "report", "--json").stdout)
    cloudfn.FunctionCall.from_id(fire["call_id"], client=world.client).get(timeout=30)
    world.cli("schedule", "resume", "paused", "report")
    due = json.loads(world.cli("schedule", "next", "paused", "report", "-n", 1, "--json").stdout)
    assert due[0]["in_zone"].startswith("2026-06-03 20:0")
    clocked.set(2026, 6, 3, 16, 0)
    wait_for("the next hour", lambda: len(program.history()) == 2)

    assert [(fire["manual"], fire["late"]) for fire in program.history()] == [
        (True, False), (False, False),
    ]  # fmt: skip
    wait_for("its run", lambda: program.trace() == ["run", "run"])
    world.ask("app_stop", name="paused")


def test_after_a_time_without_daemon_there_is_one_late_run():
    with opened_clock() as clocked:
        clocked.set(2026, 6, 1, 12, 0)
        program = Program(
            clocked.world, "down", CRON.format(schedule="Period(hours=1)", word="run")
        )
        program.deploy()
        clocked.set(2026, 6, 1, 13, 0)
        wait_for("the first run", lambda: [f["outcome"] for f in program.history()] == ["returned"])

        clocked.kill()
        clocked.set(2026, 6, 1, 18, 30)
        clocked.start()

        wait_for("the late run", lambda: len(program.trace()) == 2)
        wait_for("its end", lambda: program.history()[-1]["outcome"] == "returned")
        assert [fire["late"] for fire in program.history()] == [False, True]
        hours = [datetime.fromtimestamp(f["due"], NEW_YORK).hour for f in program.history()]
        assert hours == [13, 18]
        assert (
            "late, due at" in clocked.world.cli("app", "logs", "down", "--source", "system").stderr
        )
