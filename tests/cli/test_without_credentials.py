"""What somebody sees who has not told AWS who they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

_PROGRAM = """
import cloudfn
app = cloudfn.App("demo")

@app.function()
def work():
    return 1
"""
#: nothing of this machine's says who we are
_ENVIRON = {
    "PATH": os.defpath,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.mark.parametrize("command", ["run", "deploy"])
@pytest.mark.parametrize(
    ("options", "says"), [((), "NoRegion"), (("--region", "eu-central-1"), "credentials")]
)
def test_one_error_with_a_hint_and_no_traceback(
    tmp_path: Path, command: str, options: tuple[str, ...], says: str
) -> None:
    file = tmp_path / "demo.py"
    file.write_text(_PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "cloudfn", command, "--provider", "aws", *options, str(file)],
        env={**_ENVIRON, "CLOUDFN_HOME": str(tmp_path / "home")},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    error, hint = done.stderr.strip().splitlines()
    assert error.startswith("error: ")
    assert says in error
    assert hint.startswith("hint: ")
