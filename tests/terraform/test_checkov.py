"""Checkov finds nothing that the modules do not answer for, each with a reason beside the resource."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.terraform import toolbox


def scan(folder: Path, home: Path) -> dict[str, Any]:
    done = subprocess.run(
        [
            str(toolbox.python("checkov")), "-m", "checkov.main", "--directory", str(folder),
            "--framework", "terraform", "--skip-path", "examples", "--skip-path", "tests",
            "--skip-download", "--output", "json", "--quiet",
        ],
        env={"HOME": str(home), "PATH": os.defpath}, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_checkov_finds_nothing_in_the_modules(tmp_path):
    told = scan(toolbox.MODULES, tmp_path)
    found = {(each["check_id"], each["resource"]) for each in told["results"]["failed_checks"]}
    assert found == set()
    assert told["summary"]["passed"] > 30
    assert told["summary"]["parsing_errors"] == 0


def test_checkov_finds_an_open_port_and_old_metadata(tmp_path):
    text = (toolbox.MODULES / "modules/machine_class/main.tf").read_text()
    text = text.replace(
        "  egress {",
        '  ingress {\n    cidr_blocks = ["0.0.0.0/0"]\n    from_port = 22\n    to_port = 22\n    protocol = "tcp"\n  }\n\n  egress {',
    )
    (tmp_path / "main.tf").write_text(text.replace('= "required"', '= "optional"'))
    found = {each["check_id"] for each in scan(tmp_path, tmp_path)["results"]["failed_checks"]}
    assert {"CKV_AWS_24", "CKV_AWS_79"} <= found
