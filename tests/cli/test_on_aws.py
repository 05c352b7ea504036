"""Every command against an environment on fakes of AWS: all ports, as Terraform's outputs say."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import cloudfn
from cloudfn.testing.aws import Knobs
from tests.cli.cloud_line import CloudLine
from tests.unit.aws.client_world import AwsWorld

#: in their order; {file}, {folder} and {call} stand for what there is
COMMANDS = """
app list
app history primes
app info primes
app stats primes
app logs primes --since 1h
function info primes/count
function logs primes/count
function stats primes/count
function calls primes/count
function variants primes/count
function autoscaler update primes/count --max-containers 5
function autoscaler settings primes/count
update-autoscaler primes count --min-containers 1
app rollover primes
app rollback primes
call list
call get {call}
call cancel {call}
call dead
call drop {call}
container list
container logs ta-1
stats primes count
schedule list
schedule next primes count
schedule history primes count
schedule pause primes count
schedule resume primes count
schedule run-now primes count
schedule scale primes count --cron * --min-containers 2
secret create token KEY=hidden
secret list
secret delete token --yes
volume create files
volume put files {file} /a.py
volume ls files
volume cp files /a.py /b.py
volume get files /a.py {folder}/copy.py
volume link files /a.py --for 1d12h
volume rm files /a.py
volume list
volume rename files other
volume delete other --yes
dict create shared
dict list
dict items shared
dict clear shared --yes
dict delete shared --yes
queue create line
queue list
queue peek line
queue len line
queue clear line --all --yes
queue delete line --yes
image list
image prune --yes
deploy {file} --dry-run
deploy {file}
run {file}
app stop primes --yes
app list --all
""".strip().splitlines()
REFUSED = """
app history nothing
app rollback nothing
app stop nothing --yes
function info primes/nothing
call get fc-nothing
call retry {call} --all
schedule pause primes nothing
image show im-nothing
volume ls nothing
secret delete nothing --yes
""".strip().splitlines()


@pytest.fixture
def aws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], docker_runtime: None
) -> Iterator[CloudLine]:
    line = CloudLine(tmp_path, capsys, AwsWorld(tmp_path, Knobs.calm()))
    line("deploy", str(line.program))
    yield line
    line.world.close()


def spawned(line: CloudLine) -> str:
    with line.world.program():
        call = cloudfn.Function.from_name("primes", "count").spawn(5)
        assert call.get(timeout=30) == 6
    return call.object_id


def words(command: str, line: CloudLine, call: str) -> list[str]:
    known = {"file": line.program, "folder": line.program.parent, "call": call}
    return ["* * * * *" if word == "*" else word.format(**known) for word in command.split()]


def test_every_command_works(aws: CloudLine) -> None:
    call = spawned(aws)
    shown = {each: aws(*words(each, aws, call)) for each in COMMANDS}

    assert "primes" in shown["app list"]
    assert call in shown["call list"]
    assert shown["call get {call}"].strip() == "6"
    assert "by ada@laptop" in shown["update-autoscaler primes count --min-containers 1"]
    assert "im-" in shown["image list"]
    assert "a.py" in shown["volume ls files"]
    assert "Nothing to do" in shown["deploy {file} --dry-run"]
    assert "counted 5" in shown["run {file}"]
    assert "stopped" in shown["app list --all"]


def test_what_cannot_be_is_one_error_with_a_way_out(aws: CloudLine) -> None:
    call = spawned(aws)
    for each in REFUSED:
        shown = aws(*words(each, aws, call), code=1)
        assert shown.startswith("error: "), each
        assert shown.count("error: ") == shown.count("\nhint: ") == 1, shown


def test_who_fires_a_schedule_is_foreseen(aws: CloudLine) -> None:
    text = aws.program.read_text().replace('Cron("0 3 * * *")', "Period(seconds=5)")
    aws.program.write_text(text)

    told = aws.document("deploy", str(aws.program), "--dry-run")
    assert [each["fired_by"] for each in told["schedules"]] == ["the planner"]

    aws.program.write_text(text.replace("Period(seconds=5)", "Period(minutes=5)"))
    told = aws.document("deploy", str(aws.program), "--dry-run")
    assert [each["fired_by"] for each in told["schedules"]] == ["EventBridge"]


def test_links_to_files_of_volumes_need_no_credentials(aws: CloudLine) -> None:
    aws("volume", "create", "files")
    aws("volume", "put", "files", str(aws.program), "/a.py")
    told = aws.document("volume", "link", "files", "/a.py", "--for", "1.5h")
    with aws.world.program():
        files = cloudfn.Volume.from_name("files")
        url = files.link("a.py", expires_in=60)
        with pytest.raises(FileNotFoundError):
            files.link("b.py")

    assert isinstance(told, dict)
    assert set(told) == {"url", "until", "temporary"}
    for each in (told["url"], url):
        assert aws.world.aws.s3.open_url(each) == (200, aws.program.read_bytes())
