"""`cloudfn infra`, with a Terraform that does nothing, on moto."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from moto import mock_aws

from cloudfn.errors import InvalidError, NotFoundError, VersionError
from cloudfn.providers.aws.infra import state
from cloudfn.providers.aws.infra.base import Wanted
from cloudfn.providers.aws.infra.steps import Infra
from cloudfn.providers.aws.infra.terraform import Terraform
from cloudfn.providers.aws.infra.workspace import Workspace
from tests.unit.aws.moto_account import REGION, Account, InMoto


@pytest.fixture
def account() -> Iterator[Account]:
    with mock_aws():
        yield Account()


#: a Terraform that has nothing, and that has nothing to do
_IDLE = """#!/bin/sh
case $1 in
  version) echo '{"terraform_version": "1.11.4"}' ;;
  show) echo '{"format_version": "1.0"}' ;;
  init) ;;
  *) exit 1 ;;
esac
"""


@pytest.fixture
def initialise(account: Account, tmp_path: Path) -> Callable[..., Workspace]:
    """Run `infra init` with a Terraform that does nothing."""
    terraform = tmp_path / "bin" / "terraform"
    terraform.parent.mkdir()
    terraform.write_text(_IDLE)
    terraform.chmod(0o700)

    def run(environment: str = "main", bucket: str | None = None) -> Workspace:
        wanted = Wanted(tmp_path / "folder", environment, REGION, state_bucket=bucket)
        environ = {"PATH": str(terraform.parent)}
        infra = Infra(wanted, environ, tmp_path, lambda *_: None, lambda _access: InMoto(account))
        return infra.init("minimal", lambda _event: None)

    return run


@pytest.mark.parametrize(
    ("says", "complaint"),
    [
        ("Terraform v0.12.31", "Terraform 0.12.31 is too old"),
        ('{"terraform_version": "1.10.5"}', "Terraform 1.10.5 is too old"),
        ("hello", "does not say which version it is"),
    ],
)
def test_what_is_no_terraform_of_today_is_refused(
    tmp_path: Path, says: str, complaint: str
) -> None:
    binary = tmp_path / "terraform"
    binary.write_text(f"#!/bin/sh\necho '{says}'\n")
    binary.chmod(0o700)
    with pytest.raises(InvalidError, match=complaint):
        Terraform(tmp_path, {"PATH": str(tmp_path)}).version()


def test_what_is_removed_already_is_not_made_again_to_be_removed(
    account: Account, initialise: Callable[..., Workspace], tmp_path: Path
) -> None:
    bucket = initialise().backend["bucket"]
    s3 = account.of("s3")
    s3.delete_bucket_policy(Bucket=bucket)  # moto denies without looking at the condition
    for environment in ("main", "other"):
        s3.put_object(Bucket=bucket, Key=state.state_key(environment), Body=b"{}")
    wanted = Wanted(tmp_path / "folder", "main", REGION)
    environ = {"PATH": str(tmp_path / "bin")}
    infra = Infra(wanted, environ, tmp_path, lambda *_: None, lambda _access: InMoto(account))

    for _ in range(2):
        assert infra.destroy(lambda _event: None) == []
    assert state.forget_state(s3, bucket, state.state_key("other"))
    with pytest.raises(NotFoundError, match="no environment 'main' in eu-central-1"):
        infra.destroy(lambda _event: None)


def test_a_folder_keeps_its_state_where_it_is(initialise: Callable[..., Workspace]) -> None:
    assert initialise(bucket="elsewhere").backend["bucket"] == "elsewhere"
    assert initialise().backend["bucket"] == "elsewhere"


def test_a_folder_does_not_become_another_environments(
    initialise: Callable[..., Workspace],
) -> None:
    initialise("staging")
    with pytest.raises(InvalidError, match="is of environment staging, not main"):
        initialise("main")
    assert initialise("staging").environment == "staging"


def test_without_terraform_or_a_folder_of_ours_nothing_is_made_in_the_account(
    account: Account, initialise: Callable[..., Workspace], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "main.tf").write_text("# somebody else's\n")
    with pytest.raises(InvalidError, match="are not cloudfn's"):
        initialise()
    (tmp_path / "folder" / "main.tf").unlink()
    (tmp_path / "bin" / "terraform").unlink()
    with pytest.raises(InvalidError, match="There is no terraform here"):
        initialise()
    assert account.of("s3").list_buckets()["Buckets"] == []


@pytest.mark.parametrize("name", ["Main", "main_2", "main-", "2main", "a" * 21])
def test_a_name_that_terraform_would_refuse_is_refused_before_a_bucket_is_made(
    account: Account, initialise: Callable[..., Workspace], name: str
) -> None:
    with pytest.raises(InvalidError, match="no name of an environment on AWS"):
        initialise(name)
    assert account.of("s3").list_buckets()["Buckets"] == []


@pytest.mark.parametrize("text", ["no JSON", "[]", '"words"', "{}", '{"version": 2}'])
def test_outputs_that_make_no_sense_are_said_and_can_be_written_anew(
    account: Account, initialise: Callable[..., Workspace], text: str
) -> None:
    account.of("ssm").put_parameter(Name="/cloudfn/main/outputs", Value=text, Type="String")
    assert initialise().environment == "main"
    with pytest.raises((InvalidError, VersionError), match="/cloudfn/main/outputs"):
        Infra(Wanted(Path(), "main", REGION), {}, Path(), lambda *_: None).outputs()
