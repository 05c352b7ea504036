"""What Terraform says, line by line."""

import json

import pytest

from cloudfn.providers.aws.infra.events import (
    Planned,
    Problem,
    Progress,
    Said,
    Summary,
    parse,
)


def line(kind: str, **fields: object) -> str:
    return json.dumps({"@level": "info", "@message": "words", "type": kind, **fields})


ADDRESS = {"addr": "module.a.aws_x.y", "resource": "aws_x.y"}


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (
            line("planned_change", change={"resource": ADDRESS, "action": "create"}),
            Planned("module.a.aws_x.y", "create"),
        ),
        (
            line("resource_drift", change={"resource": ADDRESS, "action": "update"}),
            Planned("module.a.aws_x.y", "update", drift=True),
        ),
        (
            line("apply_start", hook={"resource": ADDRESS, "action": "create"}),
            Progress("module.a.aws_x.y", "create", "begun"),
        ),
        (
            line(
                "apply_complete",
                hook={"resource": ADDRESS, "action": "create", "elapsed_seconds": 3},
            ),
            Progress("module.a.aws_x.y", "create", "done", 3.0),
        ),
        (
            line("apply_errored", hook={"resource": ADDRESS, "action": "delete"}),
            Progress("module.a.aws_x.y", "delete", "failed"),
        ),
        (
            line(
                "diagnostic",
                diagnostic={
                    "severity": "error",
                    "summary": "Denied",
                    "detail": "not allowed",
                    "address": "aws_x.y",
                    "range": {"filename": "main.tf", "start": {"line": 12}},
                },
            ),
            Problem("error", "Denied", "not allowed", "aws_x.y", "main.tf:12"),
        ),
        (
            line(
                "change_summary",
                changes={"add": 2, "change": 0, "remove": 1, "operation": "plan"},
            ),
            Summary(2, 0, 1, "plan"),
        ),
        ("panic: it died", Said("panic: it died")),
        ('"a string"', Said('"a string"')),
        (line("version"), None),
        ("   \n", None),
    ],
)
def test_every_line_says_what_it_means(text: str, event: object) -> None:
    assert parse(text) == event


@pytest.mark.parametrize("kind", ["planned_change", "apply_start", "diagnostic", "change_summary"])
def test_a_line_that_lacks_everything_is_no_failure(kind: str) -> None:
    assert parse(line(kind)) is not None


def test_a_summary_is_empty_when_nothing_is_to_be_done() -> None:
    assert Summary(0, 0, 0, "plan").empty
    assert not Summary(0, 1, 0, "plan").empty
