"""The user's folder with an environment's Terraform."""

from pathlib import Path

import pytest

from cloudfn import errors
from cloudfn.providers.aws.infra.workspace import EXAMPLES, Workspace, modules_folder

BACKEND = {"bucket": "b", "key": "k", "region": "eu-central-1"}


def workspace(folder: Path) -> Workspace:
    return Workspace(folder, "main", "eu-central-1", BACKEND)


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_new_folder_is_an_example_beside_its_modules(tmp_path: Path, example: str) -> None:
    made = workspace(tmp_path / "infra")
    assert made.prepare(example)
    text = (made.folder / "main.tf").read_text()
    assert 'source = "./cloudfn"' in text
    assert "../.." not in text
    assert (made.folder / "cloudfn" / "modules" / "store" / "main.tf").exists()
    assert not (made.folder / "cloudfn" / "examples").exists()
    assert Workspace.at(made.folder) == made


def test_a_second_time_leaves_the_users_files_and_renews_the_modules(tmp_path: Path) -> None:
    made = workspace(tmp_path)
    made.prepare("minimal")
    (tmp_path / "main.tf").write_text("# mine\n")
    (tmp_path / "cloudfn" / "main.tf").write_text("# an older one\n")
    (tmp_path / "cloudfn" / "gone.tf").write_text("# not there any more\n")
    assert not made.prepare("gpu")
    assert (tmp_path / "main.tf").read_text() == "# mine\n"
    ours = (modules_folder() / "main.tf").read_text()
    assert (tmp_path / "cloudfn" / "main.tf").read_text() == ours
    assert not (tmp_path / "cloudfn" / "gone.tf").exists()


@pytest.mark.parametrize("name", ["main.tf", "variables.tf"])
def test_a_folder_with_other_terraform_in_it_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("# of something else\n")
    with pytest.raises(errors.InvalidError, match="not cloudfn's"):
        workspace(tmp_path).prepare("minimal")
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_where_nothing_can_be_written_that_is_said_and_half_a_folder_is_completed(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.InvalidError, match="cannot be written"):
        workspace(tmp_path / "file" / "infra").prepare("minimal")
    with pytest.raises(errors.NotFoundError, match="holds no environment"):
        Workspace.at(tmp_path / "file")
    made = workspace(tmp_path / "infra")
    (made.folder / "cloudfn").mkdir(parents=True)
    (made.folder / "variables.tf").mkdir()
    with pytest.raises(errors.InvalidError, match="cannot be written"):
        made.prepare("minimal")
    (made.folder / "variables.tf").rmdir()
    assert made.prepare("minimal")
    example = modules_folder() / "examples" / "minimal"
    names = {path.name for path in example.glob("*.tf")}
    assert {path.name for path in made.folder.glob("*.tf")} == names


def test_an_unknown_example_is_named_beside_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidError, match="'tpu'") as caught:
        workspace(tmp_path / "new").prepare("tpu")
    assert "existing-vpc" in str(caught.value.hint)
    assert not (tmp_path / "new").exists()


def test_a_folder_without_an_environment_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(errors.NotFoundError) as caught:
        Workspace.at(tmp_path)
    assert "infra init" in str(caught.value.hint)


def test_a_garbled_folder_says_which_files(tmp_path: Path) -> None:
    workspace(tmp_path).prepare("minimal")
    (tmp_path / "backend.json").write_text("{")
    with pytest.raises(errors.InvalidError, match=r"backend\.json"):
        Workspace.at(tmp_path)


def test_protection_is_off_for_a_moment_only_whatever_happens(tmp_path: Path) -> None:
    made = workspace(tmp_path)
    made.prepare("minimal")
    override = tmp_path / "cloudfn" / "modules" / "store" / "destroy_override.tf"

    def interrupted() -> None:
        with made.unprotected():
            assert "prevent_destroy = false" in override.read_text()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not override.exists()


def test_a_destroy_that_was_killed_leaves_nothing_unprotected_for_long(tmp_path: Path) -> None:
    made = workspace(tmp_path)
    made.prepare("minimal")
    module = tmp_path / "cloudfn" / "modules" / "store"
    killed = made.unprotected()
    killed.__enter__()

    Workspace.at(tmp_path).protect()

    assert not (module / "destroy_override.tf").exists()
