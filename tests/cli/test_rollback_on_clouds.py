"""`cloudfn app rollback` and `rollover` on a cloud whose images were removed meanwhile."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.cloud_line import CloudLine

PROGRAM = """
import cloudfn

app = cloudfn.App("primes")
image = cloudfn.Image.debian_slim().pip_install_from_requirements("wanted.txt")
image = image.add_local_file("data.txt", "/data.txt", copy=True)

@app.function(image=image)
def count(n: int = 10):
    return n + {number}
"""


@pytest.fixture
def line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    docker_runtime: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[CloudLine]:
    monkeypatch.chdir(tmp_path)
    made = CloudLine(tmp_path, capsys)
    (tmp_path / "wanted.txt").write_text("numpy\n")
    (tmp_path / "data.txt").write_text("data\n")
    for number in (1, 2):
        made.program.write_text(PROGRAM.format(number=number))
        made("deploy", str(made.program))
    yield made
    made.world.close()


def remove_images(line: CloudLine) -> list[str]:
    images = line.world.cloud.images
    digests = [each.digest for each in images.list()]
    for digest in digests:
        images.remove(digest)
    return digests


@pytest.mark.parametrize("command", [["rollback", "primes", "v1"], ["rollover", "primes"]])
def test_an_image_that_was_removed_is_built_before_its_version_is_live(
    line: CloudLine, command: list[str]
) -> None:
    digests = remove_images(line)

    assert "v3 now" in line("app", *command)

    assert sorted(each.digest for each in line.world.cloud.images.list()) == sorted(digests)
    assert set(line.world.cloud.images.builds.values()) == {2}


def test_an_image_that_is_there_is_not_built_again(line: CloudLine) -> None:
    line("app", "rollback", "primes", "v1")

    assert set(line.world.cloud.images.builds.values()) == {1}


def test_another_laptop_builds_from_files_that_the_environment_has(line: CloudLine) -> None:
    remove_images(line)
    for bundles in line.world.folder.rglob("bundles"):
        shutil.rmtree(bundles)

    line("app", "rollback", "primes", "v1")

    assert set(line.world.cloud.images.builds.values()) == {2}


def test_where_what_an_image_is_built_from_is_gone_that_is_one_error_with_a_way_out(
    line: CloudLine,
) -> None:
    remove_images(line)
    for bundles in line.world.folder.rglob("bundles"):
        shutil.rmtree(bundles)
    line.world.cloud.depot.bundles.clear()

    shown = line("app", "rollback", "primes", "v1", code=1)

    assert shown.startswith("error: The image im-")
    assert shown.endswith("hint: Deploy that version of your program from its sources instead.\n")
