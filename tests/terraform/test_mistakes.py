"""Mistakes are seeded into a copy of the modules, and a check has to find each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.terraform import runs, toolbox

#: file, what stands there, what is put in its place, what Terraform says to it
_MISTAKES = [
    ("queues/main.tf", "visibility_timeout_seconds = 120", 'visibility_timeout_seconds = "soon"', "a number is required"),
    ("registry/main.tf", "force_delete ", "force_delte ", 'An argument named "force_delte" is not expected'),
    ("machine_class/main.tf", "metadata_options {", "metadata_option {", 'Blocks of type "metadata_option" are not expected'),
    ("planner/main.tf", "  role             = var.role_arn\n", "", 'The argument "role" is required'),
    ("store/outputs.tf", "aws_dynamodb_table.ledger.name", "aws_dynamodb_table.ledger.title", 'no argument, nested block, or exported attribute named "title"'),
    ("network/nat.tf", "aws_internet_gateway.this[0].id", "aws_internet_gateway.that[0].id", 'A managed resource "aws_internet_gateway" "that" has not been declared'),
    ("budget/main.tf", "  cost_filter {\n    name   = \"TagKeyValue\"\n", "  cost_filter {\n", 'The argument "name" is required'),
]  # fmt: skip
#: the same, of what a user writes
_WRONG_VALUES = [
    ('["m7g.large", "m6g.large"]', '["large"]', "one or more types"),
    ("max_machines   = 8", "max_machines = 0", "from 1 to 5000"),
    ("disk_gib        = 500", "disk_gib = 5", "from 30 to 16384"),
    ("deadman_minutes = 15", "deadman_minutes = 1", "from 10 to 1440"),
    ("gpu             = true", 'gpu = true\n purchase = "cheap"', "on-demand or spot"),
    ("gpu            = true", 'gpu = true\n architecture = "arm64"', "to name an image"),
    ("monthly_usd = 500", "monthly_usd = -1", "more than 0"),
    (
        "protect     = var.protect",
        'network = { egress = "vpn", zones = 9 }',
        "nat, addresses or none",
    ),
]


def change(file: Path, right: str, wrong: str) -> None:
    text = file.read_text()
    assert right in text, f"{right!r} is not in {file}"
    file.write_text(text.replace(right, wrong, 1))


@pytest.fixture
def copy(tmp_path: Path) -> runs.Copy:
    """Give a copy that a test may spoil."""
    return runs.Copy.of(tmp_path / "terraform", toolbox.pretended_provider())


def test_the_current_schema_finds_what_is_no_part_of_it(copy):
    folder = copy.folder("gpu")  # which uses every module
    copy.init(folder)
    assert copy.validate(folder) == []
    for file, right, wrong, _ in _MISTAKES:
        change(copy.root / "modules" / file, right, wrong)
    found = copy.validate(folder)
    for *_, told in _MISTAKES:
        assert any(told in each for each in found), (told, found)


def test_a_plan_shows_an_open_port_and_old_metadata(copy):
    file = copy.root / "modules/machine_class/main.tf"
    rule = '  ingress {\n    cidr_blocks = ["0.0.0.0/0"]\n    from_port = 22\n    protocol = "tcp"\n    to_port = 22\n  }\n'
    change(file, "  egress {", rule + "  egress {")
    change(file, '= "required"', '= "optional"')
    plan = copy.plan("minimal")
    with pytest.raises(AssertionError):
        runs.check_closed(plan)
    with pytest.raises(AssertionError):
        runs.check_machines(plan)


def test_what_a_user_gets_wrong_is_explained(copy):
    for right, wrong, _ in _WRONG_VALUES:
        change(copy.folder("gpu") / "main.tf", right, wrong)
    with pytest.raises(AssertionError) as caught:
        copy.plan("gpu")
    for *_, told in _WRONG_VALUES:
        assert told in str(caught.value).replace("\n", " ")


def test_a_warm_pool_that_cannot_be_is_explained(copy):
    # By itself: what compares variables is not looked at while others are wrong.
    wrong = 'warm_pool = { max_prepared = 11, state = "Frozen" }'
    change(copy.folder("gpu") / "main.tf", "    cpu = {", f"    cpu = {{\n {wrong}")
    with pytest.raises(AssertionError) as caught:
        copy.plan("gpu")
    said = str(caught.value).replace("\n", " ")
    assert "must be Stopped or Running" in said
    assert "must be from 1 to max_machines" in said
    assert "one type that is bought on-demand" in said


def test_a_file_out_of_form_is_found(tmp_path):
    copy = runs.Copy(tmp_path, tmp_path / "none")
    (tmp_path / "main.tf").write_text('locals {\n  a="b"\n}\n')
    assert copy.terraform(tmp_path, "fmt", "-check", "-recursive").returncode
