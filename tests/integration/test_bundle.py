"""The bundle for machines and the planner, built from the locked wheels."""

import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from cloudfn.providers.aws.infra.bundle import SERVICES, build_bundle, is_wanted, write_bundle

pytestmark = pytest.mark.integration

_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import boto3, cloudfn, cloudpickle, croniter, docker, tenacity
from importlib.metadata import entry_points
for module in (boto3, cloudfn, cloudpickle, croniter, docker, tenacity):
    assert module.__file__.startswith(sys.argv[1]), module
assert {each.name for each in entry_points(group="cloudfn.clouds")} == {"aws"}
for service in sys.argv[2:]:
    boto3.client(service, region_name="eu-central-1")
"""


def test_the_bundle_is_all_that_a_bare_python_needs(tmp_path: Path) -> None:
    bundle = build_bundle(tmp_path / "cache", lambda _: None)
    assert bundle.stem == sha256(bundle.read_bytes()).hexdigest()
    assert build_bundle(tmp_path / "cache", lambda _: None) == bundle
    with zipfile.ZipFile(bundle) as opened:
        names = opened.namelist()
        opened.extractall(tmp_path / "opened")
    assert not [name for name in names if name.endswith((".so", ".pyd", ".pyc"))]
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", _PROGRAM, str(tmp_path / "opened"), *SERVICES],
        check=True,
        timeout=60,
    )


def test_the_same_content_makes_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    contents = [("b.py", b"2"), ("a.py", b"1" * 1000)]
    write_bundle(tmp_path / "one.zip", contents)
    write_bundle(tmp_path / "two.zip", contents[::-1])
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("botocore/client.py", True),
        ("botocore/data/endpoints.json", True),
        ("botocore/data/sqs/2012-11-05/service-2.json.gz", True),
        ("botocore/data/sagemaker/2017-07-24/service-2.json.gz", False),
        ("six-1.0.data/scripts/run", False),
        ("boto3-1.0.dist-info/METADATA", True),
    ],
)
def test_models_of_services_that_nobody_asks_stay_out(name: str, wanted: bool) -> None:
    assert is_wanted(name) is wanted
