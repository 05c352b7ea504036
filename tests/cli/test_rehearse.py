"""`cloudfn rehearse`, against a supervisor that answers from a script."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from cloudfn.cli.root import main
from cloudfn.rehearsal.control import Control
from cloudfn.rehearsal.site import Site

STATUS = {
    "url": "http://127.0.0.1:4566",
    "environment": "main",
    "region": "eu-central-1",
    "home": "/home",
    "uptime": 0.0,
    "parts": {"moto": True, "front": False},
    "machines": [
        {
            "machine": "i-1",
            "state": "InService",
            "type": "m7i.large",
            "spot": True,
            "address": "10.212.0.2",
            "started": 0.0,
            "heard": None,
        }
    ],
    "groups": {"cloudfn-main-cpu": {"desired": 1, "max": 4, "instances": 1}},
}


@pytest.fixture
def site(monkeypatch) -> Iterator[Site]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="cfr-") as root:
        monkeypatch.setenv("CLOUDFN_HOME", root)
        home = Path(root, "@rehearsal")
        home.mkdir()
        yield Site(home)


@contextmanager
def supervisor(site: Site, obey: Callable[[dict], dict]) -> Iterator[None]:
    server = Control(site.control, obey)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_without_a_rehearsal_everything_says_so(site, capsys):
    for words in (
        ["status"],
        ["env"],
        ["requests"],
        ["kill", "i-1"],
        ["fault", "sqs", "fail", "1"],
    ):
        assert main(["rehearse", *words]) == 1
        assert "No rehearsal runs." in capsys.readouterr().err


def test_status_shows_parts_groups_and_machines(site, capsys):
    with supervisor(site, lambda order: STATUS if order == {"op": "status"} else {}):
        assert main(["rehearse", "status"]) == 0
    shown = capsys.readouterr().out
    assert "moto, front (dead)" in shown
    assert "cloudfn-main-cpu  1 of 1 wanted, at most 4" in shown
    assert "i-1      InService  m7i.large spot  10.212.0.2" in shown
    assert "not yet" in shown


def test_status_is_one_document_for_programs(site, capsys):
    with supervisor(site, lambda _order: STATUS):
        assert main(["rehearse", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"running": True, **STATUS}


@pytest.mark.parametrize(
    ("words", "order"),
    [
        (["kill", "i-1"], {"op": "kill", "machine": "i-1", "part": "machine"}),
        (
            ["kill", "i-1", "--what", "agent"],
            {"op": "kill", "machine": "i-1", "part": "agent"},
        ),
        (["kill", "planner"], {"op": "kill", "machine": "planner", "part": "machine"}),
        (["spot", "i-1"], {"op": "spot", "machine": "i-1", "seconds": 120.0}),
        (["spot", "i-1", "--rebalance"], {"op": "rebalance", "machine": "i-1"}),
        (["limit", "m7i.large", "0"], {"op": "limit", "type": "m7i.large", "number": 0}),
        (["limit", "m7i.large"], {"op": "limit", "type": "m7i.large", "number": None}),
        (
            ["fault", "*", "delay", "5", "--delay", "0.5"],
            {"op": "fault", "service": "*", "kind": "delay", "seconds": 5.0, "delay": 0.5},
        ),
    ],
)
def test_orders_reach_the_supervisor(site, words, order):
    heard = []
    with supervisor(site, lambda each: heard.append(each) or {"killed": 1}):
        assert main(["rehearse", *words]) == 0
    assert heard == [order]


def test_what_the_supervisor_refuses_is_told_with_its_hint(site, capsys):
    with supervisor(site, lambda _order: {"error": "There is none.", "hint": "Ask for another."}):
        assert main(["rehearse", "kill", "i-1"]) == 1
    told = capsys.readouterr().err
    assert "error: There is none." in told
    assert "hint: Ask for another." in told


def test_a_fault_that_there_is_not_is_a_wrong_word(site, capsys):
    assert main(["rehearse", "fault", "sqs", "explode", "1"]) == 2
    assert "explode" in capsys.readouterr().err


def test_who_kills_is_told_what_it_was(site, capsys):
    with supervisor(site, lambda _order: {"killed": 2}):
        assert main(["rehearse", "kill", "i-1", "--what", "containers", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"victim": "i-1", "what": "containers", "processes": 2}


@pytest.mark.parametrize("words", [["i-1", "--what", "disk"], ["planner", "--what", "agent"]])
def test_what_cannot_be_killed_is_a_wrong_word(site, capsys, words):
    assert main(["rehearse", "kill", *words]) == 2
    assert "Invalid value" in capsys.readouterr().err


def test_env_leads_a_shell_to_the_rehearsal(site, capsys):
    site.environ.write_text(json.dumps({"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "A": "b c"}))
    assert main(["rehearse", "env"]) == 0
    lines = capsys.readouterr().out.splitlines()
    unset = lines[0].split()
    assert unset[0] == "unset"
    assert {"AWS_DEFAULT_PROFILE", "CLOUDFN_REGION", "AWS_ENDPOINT_URL_SQS"} < set(unset)
    assert lines[1:] == ["export AWS_ENDPOINT_URL=http://127.0.0.1:4566", "export A='b c'"]


def test_requests_are_shown_by_who_asks_for_what(site, capsys):
    kind = {"caller": "agent", "service": "sqs", "action": "SendMessage", "number": 4}
    told = {"kinds": [{**kind, "failed": 1, "emulator": 1.0}]}
    heard = []
    with supervisor(site, lambda order: heard.append(order) or told):
        assert main(["rehearse", "requests", "--since", "60"]) == 0

    assert heard == [{"op": "requests", "seconds": 60.0, "each": False}]
    (_, line) = capsys.readouterr().out.splitlines()
    assert line.split() == ["agent", "sqs", "SendMessage", "4", "1", "1.0", "s", "250", "ms"]


def test_requests_are_given_one_by_one_to_programs(site, capsys):
    heard = []
    told = {"requests": [{"at": 1.0, "action": "SendMessage"}]}
    with supervisor(site, lambda order: heard.append(order) or told):
        assert main(["rehearse", "requests", "--json"]) == 0

    assert heard == [{"op": "requests", "seconds": None, "each": True}]
    assert json.loads(capsys.readouterr().out) == told["requests"]


def test_where_nothing_was_asked_for_that_is_said(site, capsys):
    with supervisor(site, lambda _order: {"kinds": []}):
        assert main(["rehearse", "requests"]) == 0
    assert "Nothing was asked for." in capsys.readouterr().err


def test_a_supervisor_that_dies_while_it_answers_counts_as_gone(site, capsys):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(site.control))
        listening.listen()

        def hang_up() -> None:
            listening.accept()[0].close()

        thread = Thread(target=hang_up)
        thread.start()
        assert main(["rehearse", "kill", "i-1"]) == 1
        thread.join()
    assert "No rehearsal runs." in capsys.readouterr().err
