"""`cloudfn doctor` for an environment in a cloud: what it calls well, doubtful and broken."""

from dataclasses import replace

import pytest

from cloudfn import errors
from cloudfn.cli import cloud_diagnosis as judge
from cloudfn.providers.findings import Finding
from cloudfn.providers.fleet import Instance, InstanceState
from cloudfn.providers.images import BuiltImage
from cloudfn.providers.machines import MachineReport, MachineRow, MachineState, PoolReport
from cloudfn.providers.presence import ClientRow
from cloudfn.testing.cloud import Guarded
from tests.cli.conftest import NOW
from tests.unit.planner_cloud import World

REPORT = MachineReport("i-1", "small", MachineState.READY, 2.0, 4_096, version="1")
IMAGE = BuiltImage("d1", "sha256:1", "3.11.7", 3 << 20, NOW)


def row(machine_id="i-1", *, heard=NOW, **more):
    return MachineRow(replace(REPORT, machine_id=machine_id, **more), heard, heard + 30)


def levels(findings):
    return [each.level for each in findings]


# ------------------------------------------------------------------------------------ verdicts


@pytest.mark.parametrize(
    ("led", "waiting", "level"), [(True, 9, "ok"), (False, 0, "ok"), (False, 9, "warn")]
)
def test_a_planner_may_sleep_while_nothing_waits(led, waiting, level):
    assert judge.check_planner(led=led, waiting=waiting).level == level


def test_machines_that_are_heard_and_those_that_boot_are_well():
    booting = Instance("i-2", "small", InstanceState.PENDING, launched=NOW - 60)

    (found,) = judge.check_machines([row()], [booting], "1", NOW)

    assert (found.level, found.text) == ("ok", "1 heard, 1 on their way")


def test_silent_machines_and_those_that_never_joined_are_named():
    mute = Instance("i-3", "small", InstanceState.IN_SERVICE, launched=NOW - 3_600)
    ending = Instance("i-4", "small", InstanceState.ENDING, launched=NOW - 3_600)

    first, silent, never = judge.check_machines(
        [row("i-2", heard=NOW - 40)], [mute, ending], "1", NOW
    )

    assert first.text == "0 heard, 1 on their way"
    assert (silent.level, never.level) == ("warn", "warn")
    assert silent.text == "not heard any more: i-2"
    assert never.text == "their agents never joined: i-3"


def test_machines_of_another_version_are_told_of():
    _, found = judge.check_machines([row(version="2")], [], "1", NOW)

    assert (found.level, found.text) == ("warn", "run version 2, this command is 1")


def test_a_pool_that_no_machine_can_run_fails():
    pools = {"fu-1@2": PoolReport(trouble="its image is gone"), "fu-2@1": PoolReport(idle=1)}

    _, found = judge.check_machines([row(pools=pools)], [], "1", NOW)

    assert (found.level, found.text) == ("fail", "fu-1@2 cannot be run: its image is gone")


def test_queues_without_functions_and_functions_without_queues_are_named():
    lost, missing = judge.check_queues(
        ["fu-1", "fu-9", "fu-8"], {"fu-1": "jobs/f", "fu-2": "jobs/g"}, ["fu-8+v@1"]
    )

    assert (lost.level, lost.text) == ("warn", "of functions that no live revision has: fu-9")
    assert (missing.level, missing.text.partition(":")[0]) == ("fail", "missing of jobs/g")
    assert levels(judge.check_queues(["fu-1"], {"fu-1": "jobs/f"}, [])) == ["ok"]


def test_images_that_nobody_names_and_those_that_are_not_there_are_told_of():
    missing, unused = judge.check_images([IMAGE], {"d2": "jobs"})

    assert (missing.level, missing.text) == ("fail", "not there: im-d2 of jobs")
    assert (unused.level, unused.text) == ("warn", "1 that no live revision names (3 MiB)")
    assert levels(judge.check_images([IMAGE], {"d1": "jobs"})) == ["ok"]


def test_clients_that_vanished_long_ago_are_doubtful():
    here, late, gone = (ClientRow(f"cl-{n}", lease_until=NOW - n) for n in (-60, 60, 6_000))

    assert judge.check_clients([here, late], NOW).text == "1 here"
    found = judge.check_clients([here, gone], NOW)
    assert (found.level, found.text) == ("warn", "vanished, and not dealt with: cl-6000")


def test_of_many_names_the_first_ones_are_shown():
    found = judge.check_clients([ClientRow(f"cl-{n}") for n in range(8)], NOW)

    assert found.text.endswith("cl-0, cl-1, cl-2, cl-3, cl-4 and 3 more")


# ------------------------------------------------------------------------------------ the command


@pytest.fixture
def world(cli):
    made = World()
    cli.cloud = made.cloud
    cli.environ["CLOUDFN_PROVIDER"] = "memory"
    return made


def told(cli, **expected):
    code = "fail" in expected.values()
    found = {each["check"]: each for each in cli("doctor", "--json").document}
    assert {name: found[name]["level"] for name in expected} == expected
    assert cli("doctor").code == code
    return found


def test_an_environment_that_is_well_is_called_so(cli, world):
    checks = ("table", "bucket", "queues", "planner", "machines", "images", "clients")
    found = told(cli, **dict.fromkeys(checks, "ok"))

    assert "socket" not in found
    assert world.closed == 2


def test_findings_are_shown_with_what_to_do(cli, world):
    world.machines.join(REPORT, NOW - 60, 30.0)

    shown = cli("doctor").out.splitlines()

    (at,) = [n for n, line in enumerate(shown) if line.startswith("! machines: not heard")]
    assert shown[at + 1].startswith("    hint: ")


def test_leavings_of_an_app_that_is_stopped_are_found(cli, world):
    world.catalog.stop_app(world.app.app_id, NOW)

    found = told(cli, queues="warn")

    assert world.function_id in found["queues"]["text"]


def test_a_queue_that_somebody_removed_is_missed(cli, world):
    world.doorbells.remove(world.function_id)

    assert "jobs/f" in told(cli, queues="fail")["queues"]["text"]


def test_inputs_that_wait_for_nobody_are_told_of(cli, world):
    world.submit(3)

    assert "3 inputs wait" in told(cli, planner="warn")["planner"]["text"]


def test_a_port_that_does_not_answer_keeps_the_others_from_nothing(cli, world):
    depot = Guarded(world.cloud.depot)
    cli.cloud = replace(world.cloud, depot=depot)
    for _ in range(2):
        depot.fail_next("has_bundle", errors.NotFoundError("no such bucket", hint="Make it."))

    found = told(cli, bucket="fail", queues="ok", clients="ok")

    assert (found["bucket"]["text"], found["bucket"]["hint"]) == ("no such bucket", "Make it.")


def test_what_may_not_be_seen_is_not_called_broken(cli, world):
    machines = Guarded(world.cloud.machines)
    cli.cloud = replace(world.cloud, machines=machines)
    for _ in range(2):
        machines.fail_next("list", errors.PermissionDeniedError("no dynamodb:Query"))

    assert told(cli, machines="warn")["machines"]["text"] == "not known: no dynamodb:Query"


def test_without_the_table_nothing_more_is_asked(cli, world):
    catalog = Guarded(world.catalog)
    cli.cloud = replace(world.cloud, catalog=catalog)
    for _ in range(2):
        catalog.fail_next("apps", errors.PermissionDeniedError("no dynamodb:Query"))

    assert "queues" not in told(cli, table="warn")


def test_an_environment_that_cannot_be_opened_fails(cli):
    cli.environ["CLOUDFN_PROVIDER"] = "nowhere"

    assert "no provider 'nowhere'" in told(cli, environment="fail")["environment"]["text"]


# ------------------------------------------------------------------------------------ an account


class ScriptedAccount:
    """Finds what it is told to, and notes what it was asked."""

    def __init__(self, *found):
        self.found = found
        self.asked = []
        self.closed = 0

    def environments(self):
        return ["dev", "main"]

    def check_access(self, now):
        return self.found

    def check_leavings(self, functions, mailboxes):
        self.asked.append((functions, mailboxes))
        return [Finding("mailboxes", "warn", "2 of clients that are gone")]

    def close(self):
        self.closed += 1


def test_an_account_says_who_we_are_and_what_lies_about(cli, world):
    cli.account = ScriptedAccount(Finding("credentials", "ok", "ada"))
    world.cloud.presence.beat(ClientRow("cl-1", ("reply-1",), (), NOW + 60))

    found = told(cli, credentials="ok", table="ok", mailboxes="warn")

    assert found["credentials"]["text"] == "ada"
    assert cli.account.asked[0] == ({world.function_id}, {"reply-1"})
    assert cli.account.closed == 2


def test_nothing_more_is_asked_where_access_fails(cli, world):
    cli.account = ScriptedAccount(Finding("credentials", "fail", "expired"))

    assert "table" not in told(cli, credentials="fail")
    assert world.closed == 0


def test_the_environments_of_an_account_are_listed(cli, world):
    cli.account = ScriptedAccount()

    assert cli("environment", "list", "--json").document == [{"name": "dev"}, {"name": "main"}]

    cli.account = None
    assert "Nobody lists the environments" in cli("environment", "list").err
