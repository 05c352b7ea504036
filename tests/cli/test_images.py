"""`cloudfn image`, and how builds of images are shown."""

from pathlib import Path

import pytest

from cloudfn import errors
from cloudfn.cli.builds import Builds
from cloudfn.cli.display import RunDisplay
from tests.cli.conftest import NOW, FixedClock

IMAGE = {
    "image_id": "im-abc",
    "runtime": "process",
    "digest": "abc",
    "reference": "/images/abc/bin/python",
    "python": "3.11.7",
    "size": 36_700_160,
    "created": NOW - 60,
    "apps": ["primes", "squares"],
}
BUILT = {key: IMAGE[key] for key in ("digest", "reference", "python", "size", "created")}
PROGRAM = """
import cloudfn

app = cloudfn.App("primes")
image = cloudfn.Image.debian_slim().pip_install("numpy")

@app.function(image=image)
def with_image():
    pass

@app.function()
def without():
    pass
"""


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "primes.py"
    path.write_text(PROGRAM)
    return str(path)


def found(image, unmet=()):
    """What the engine says of each image that is asked for."""
    return lambda runtime, specs: {
        "images": [{"digest": "abc", "image": image, "unmet": list(unmet)} for _ in specs]
    }


def test_list_shows_images_with_their_apps(cli):
    cli.client.answers["image_list"] = {"images": [IMAGE]}

    lines = cli("image", "list").out.splitlines()

    assert lines[0].split() == ["IMAGE", "ID", "RUNTIME", "PYTHON", "SIZE", "CREATED", "APPS"]
    assert lines[1].split(maxsplit=3)[:3] == ["im-abc", "process", "3.11.7"]
    assert "35.0 MiB" in lines[1]
    assert lines[1].endswith("primes, squares")
    (listed,) = cli("image", "list", "--json").document
    assert (listed["image_id"], listed["apps"]) == ("im-abc", ["primes", "squares"])


def test_show_says_where_an_image_is(cli):
    cli.client.answers["image_show"] = IMAGE

    assert "/images/abc/bin/python" in cli("image", "show", "im-a").out
    assert cli("image", "show", "im-a", "--json").document["size"] == 36_700_160
    assert cli.client.asked[0] == ("image_show", {"image": "im-a", "runtime": None})


def test_rm_removes_each_and_force_is_passed_on(cli):
    cli.client.answers["image_remove"] = {
        "image_id": "im-abc", "runtime": "process", "size": 2048,
    }  # fmt: skip

    shown = cli("image", "rm", "im-abc", "im-def", "--force")

    assert cli.client.asked == [
        ("image_remove", {"image": "im-abc", "force": True, "runtime": None}),
        ("image_remove", {"image": "im-def", "force": True, "runtime": None}),
    ]
    assert "im-abc removed, 2.0 KiB freed" in shown.err
    assert cli("image", "rm", "im-abc", "--json").document["freed"] == 2048


def test_what_is_in_use_is_not_removed(cli):
    cli.client.answers["image_remove"] = errors.ConflictError("It is in use.", hint="--force")

    shown = cli("image", "rm", "im-abc")

    assert (shown.code, shown.err) == (1, "error: It is in use.\nhint: --force\n")


def test_push_prints_what_names_the_image_from_now_on(cli):
    reference = "registry.example/team/images@sha256:00"
    cli.client.answers["image_push"] = {"image_id": "im-abc", "reference": reference}

    shown = cli("image", "push", "im-a", "registry.example/team/images", "--secret", "login")

    assert (shown.out, shown.err) == (f"{reference}\n", "✓ im-abc pushed.\n")
    assert cli.client.asked == [
        (
            "image_push",
            {"image": "im-a", "repository": "registry.example/team/images", "secret": "login"},
        )
    ]
    told = cli("image", "push", "im-a", "registry.example/x", "--json").document
    assert told == {"image_id": "im-abc", "reference": reference}


def test_pull_tells_which_image_came(cli):
    cli.client.answers["image_pull"] = {**IMAGE, "runtime": "docker"}

    assert "im-abc pulled, 35.0 MiB" in cli("image", "pull", "a/b@sha256:00").err
    assert cli.client.asked == [("image_pull", {"reference": "a/b@sha256:00", "secret": None})]
    assert cli("image", "pull", "a/b@sha256:00", "--json").document["image_id"] == "im-abc"


def test_prune_asks_before_it_takes_images_of_apps(cli):
    cli.client.answers["image_prune"] = {"removed": [], "freed": 0}

    assert cli("image", "prune").code == 0
    assert cli("image", "prune", "--all").code == 2
    assert "0 images removed" in cli("image", "prune", "--all", "--yes").err
    assert [fields["all"] for _, fields in cli.client.asked] == [False, True]


def test_build_asks_for_what_is_missing_alone(cli, program):
    cli.engine.answers |= {"image_find": found(None), "image_build": {"image": BUILT}}

    shown = cli("image", "build", program)

    assert shown.code == 0
    assert "Building image im-" in shown.err
    assert "of with_image." in shown.err
    assert "35.0 MiB." in shown.err
    assert [op for op, _ in cli.engine.asked] == ["image_find", "image_build"]
    (layers,) = [spec["layers"] for _, fields in cli.engine.asked[:1] for spec in fields["specs"]]
    assert [layer["method"] for layer in layers] == ["debian_slim", "pip_install"]

    cli.engine.asked.clear()
    cli.engine.answers["image_find"] = found(BUILT)
    assert cli("image", "build", program).code == 0
    assert [op for op, _ in cli.engine.asked] == ["image_find"]
    forced = cli("image", "build", program, "--force", "--quiet")
    assert cli.engine.asked[-1][1]["anew"] is True
    assert "Building" not in forced.err


def test_build_of_one_function_leaves_the_others_alone(cli, program):
    cli.engine.answers["image_find"] = found(BUILT)

    assert (
        "no function there needs an image"
        in cli("image", "build", f"{program}::without").err.lower()
    )
    assert cli.engine.asked == []
    (built,) = cli("image", "build", f"{program}::with_image", "--json").document
    assert (built["functions"], built["size"]) == (["with_image"], 36_700_160)
    unknown = cli("image", "build", f"{program}::nobody")
    assert (unknown.code, "no function 'nobody'" in unknown.err) == (1, True)


def test_a_dry_run_shows_the_steps_and_builds_nothing(cli, program):
    cli.engine.answers["image_plan"] = {"plan": "python -m venv /x\n", "unmet": []}

    shown = cli("image", "build", program, "--dry-run")

    assert shown.out.splitlines()[1:] == ["python -m venv /x"]
    assert [op for op, _ in cli.engine.asked] == ["image_plan"]
    (plan,) = cli("image", "build", program, "--dry-run", "--json").document
    assert plan["functions"] == ["with_image"]


def test_what_the_runtime_cannot_give_is_refused_or_a_warning(cli, program):
    unmet = ["apt_install: there is no Debian"]
    cli.engine.answers |= {"image_find": found(None, unmet), "image_build": {"image": BUILT}}

    refused = cli("image", "build", program)
    assert refused.code == 1
    assert "`apt_install` (there is no Debian)" in refused.err
    assert "--runtime docker" in refused.err
    with pytest.warns(errors.UserWarning, match="goes without what this runtime cannot give it"):
        assert cli("image", "build", program, "--allow-unmet").code == 0


def test_an_app_without_images_asks_nothing_of_them(cli, tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(PROGRAM.replace("(image=image)", "()"))

    assert cli("deploy", str(path)).code == 0
    assert [op for op, _ in cli.engine.asked] == ["app_open"]


def test_the_runtime_is_part_of_the_revision(cli, program):
    cli.engine.answers["image_find"] = found(BUILT)

    assert cli("deploy", "--runtime", "docker", program).code == 0
    assert [(op, f["runtime"]) for op, f in cli.engine.asked[:1]] == [("image_find", "docker")]
    assert len(cli.engine.asked[0][1]["specs"]) == 2  # every function needs one there
    assert cli.engine.asked[-1][1]["revision"]["runtime"] == "docker"


@pytest.mark.parametrize(
    "words", [("deploy",), ("image", "build"), ("image", "show"), ("image", "rm")]
)
def test_an_unknown_runtime_is_a_usage_error_as_an_unknown_strategy_is(cli, program, words):
    shown = cli(*words, "--runtime", "podman", program)

    assert shown.code == 2
    assert "'podman' is none of process, docker" in shown.err
    assert cli.client.asked == []


def test_the_line_says_which_step_a_build_is_at():
    builds = Builds(live=True)
    facts = {"event": "image", "image_id": "im-abc"}

    assert builds.take({**facts, "state": "building", "functions": ["f"]}) == []
    assert builds.line() == "Building image im-abc"
    assert builds.take({**facts, "lines": ["[2/3] pip_install", "Collecting numpy", ""]}) == []
    assert builds.line() == "Building image im-abc (2 of 3 steps) · Collecting numpy"
    builds.take({**facts, "lines": ["#7 [stage-0 3/3] RUN true"]})
    assert "(3 of 3 steps)" in builds.line()
    done = builds.take({**facts, "state": "built", "seconds": 4.1, "size": 36_700_160})
    assert done == ["✓ Image im-abc built in 4.1 s, 35.0 MiB."]
    assert builds.line() is None


def test_where_nobody_looks_all_lines_are_printed(capsys):
    display = RunDisplay(FixedClock(), started=0.0, only_builds=True)
    facts = {"event": "image", "image_id": "im-abc"}

    with display:
        display.take({**facts, "state": "building", "functions": ["f", "g"]})
        display.take({**facts, "lines": ["[1/1] debian_slim"]})
        display.take({**facts, "state": "failed"})

    assert capsys.readouterr().err == "Building image im-abc of f, g.\n  [1/1] debian_slim\n"


def test_quiet_shows_nothing_of_a_build(capsys):
    display = RunDisplay(FixedClock(), started=0.0, quiet=True)
    display.take({"event": "image", "image_id": "im-abc", "state": "building"})
    display.take({"event": "image", "image_id": "im-abc", "lines": ["x"]})

    assert capsys.readouterr() == ("", "")
