"""Images of the process runtime from end to end: built before an app opens, once for all, whole."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conformance_world import World, opened_world, wait_for, world
from tests.integration.wheels import write_slow_project, write_wheel

__all__ = ["world"]
pytestmark = pytest.mark.integration


def offline(*packages: object, links: Path | None = None) -> str:
    """The image that has packages of this machine, as text of a program."""
    where = "" if links is None else f"find_links={str(links)!r}, "
    names = ", ".join(repr(str(package)) for package in packages)
    return f'cloudfn.Image.debian_slim().pip_install({names}, {where}extra_options="--no-index")'


def images(world: World) -> list[dict]:
    return json.loads(world.cli("image", "list", "--json").stdout)


def image_folder(world: World) -> Path:
    return world.settings.state_dir / "images" / "process"


def is_over(pid: int) -> bool:
    """Whether a process is gone, or a zombie that nobody has looked at."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


@pytest.fixture
def slow(world: World) -> Callable[[], tuple[str, Path]]:
    """Make an image whose build waits for a file `go`; return its text, and where it says so."""

    def make() -> tuple[str, Path]:
        number = len(list(world.folder.glob("slow*")))
        project = write_slow_project(world.folder / f"slow{number}", f"slow{number}")
        return offline(project), project

    return make


def test_functions_have_what_their_image_has_and_nothing_of_the_machines(world: World):
    write_wheel(world.folder / "wheels", "inside")
    program = world.write(f"""
    import subprocess, sys
    import cloudfn

    image = {offline("inside", links=world.folder / "wheels")}
    app = cloudfn.App("inside", image=image)

    def importable(name):
        try:
            __import__(name)
        except ImportError:
            return False
        return True

    @app.function()
    def look():
        command = subprocess.run(["inside"], capture_output=True, text=True).stdout
        child = subprocess.run([sys.executable, "-c", "import inside"]).returncode
        names = ["inside", "cloudpickle", "typer", "rich", "pytest"]
        return command.strip(), child, [name for name in names if importable(name)]

    @app.function(image=cloudfn.Image().env({{"A": "1"}}))
    def bare():
        return importable("inside"), importable("typer")
    """)

    first = world.cli("run", f"{program}::look")
    assert first.stdout == "('1.0', 0, ['inside', 'cloudpickle'])\n"
    assert "✓ Image im-" in first.stderr
    assert "[2/2] pip_install" in first.stderr
    again = world.cli("run", f"{program}::look")
    assert "Image" not in again.stderr
    assert world.cli("run", f"{program}::bare").stdout == "(False, True)\n"


def test_a_change_of_the_code_alone_reaches_a_running_pool_without_a_build(world: World):
    write_wheel(world.folder / "wheels", "inside")
    source = f"""
    import cloudfn

    app = cloudfn.App("changing", image={offline("inside", links=world.folder / "wheels")})

    @app.function(min_containers=1)
    def tell():
        import inside
        return "old"
    """
    program = world.write(source, "changing.py")
    world.cli("deploy", program)
    before = images(world)
    ask = "import cloudfn; print(cloudfn.Function.from_name('changing', 'tell').remote())"
    assert world.python("-c", ask).stdout == "old\n"

    world.write(source.replace('"old"', '"new"'), "changing.py")
    deployed = world.cli("deploy", program)

    assert "Building" not in deployed.stderr
    assert world.python("-c", ask).stdout == "new\n"
    assert images(world) == before
    assert "nothing changed" in world.cli("deploy", program).stderr
    world.cli("app", "stop", "changing", "--yes")


def test_several_clients_wait_for_one_build(world: World, slow):
    image, project = slow()
    program = world.write(f"""
    import cloudfn

    app = cloudfn.App("awaited", image={image})

    @app.function()
    def f():
        return 1
    """)
    clients = [world.start(shutil.which("cloudfn") or "cloudfn", "run", program) for _ in range(3)]
    wait_for("the build", (project / "began-0").exists)
    wait_for("all clients", lambda: len(_sessions(world)) == 3)
    (project / "go").touch()

    told = [client.communicate(timeout=60) for client in clients]
    assert [out for out, _ in told] == ["1\n"] * 3
    assert sorted(path.name for path in project.glob("began-*")) == ["began-0"]

    # While an image is built anew, nobody takes it away.
    (project / "go").unlink()
    again = world.start(
        shutil.which("cloudfn") or "cloudfn", "image", "build", "--force", "--json", program
    )
    _text_of(project / "began-1")
    image_id = images(world)[0]["image_id"]
    assert "is being built" in world.cli("image", "rm", "--force", image_id, code=1).stderr
    (project / "go").touch()
    (built,) = json.loads(again.communicate(timeout=60)[0])
    assert built["image_id"] == image_id


def _sessions(world: World) -> list[int]:
    """Clients but this one; those of a build wait for its end."""
    return list(range(world.ask("status")["clients"] - 1))


def test_the_last_one_to_leave_ends_a_build_and_nothing_is_left(world: World, slow):
    image, project = slow()
    program = world.write(f"""
    import cloudfn

    app = cloudfn.App("interrupted", image={image})

    @app.function()
    def f():
        pass
    """)
    before = {path.name for path in image_folder(world).iterdir()}
    client = world.start(shutil.which("cloudfn") or "cloudfn", "deploy", program)
    pid = int(_text_of(project / "began-0"))

    client.send_signal(signal.SIGINT)

    assert client.wait(30) == 130
    wait_for("the end of the build", lambda: is_over(pid))
    wait_for("an empty folder", lambda: {p.name for p in image_folder(world).iterdir()} == before)
    assert "interrupted" not in world.cli("app", "list").stdout


def test_a_daemon_that_is_killed_in_the_midst_of_a_build_leaves_nothing_that_is_used(
    world: World, slow
):
    image, project = slow()
    program = world.write(f"""
    import cloudfn

    app = cloudfn.App("killed", image={image})

    @app.function()
    def f():
        return "built"
    """)
    client = world.start(shutil.which("cloudfn") or "cloudfn", "run", program)
    first = int(_text_of(project / "began-0"))
    half = {path.name for path in image_folder(world).iterdir()}

    os.kill(world.ask("status")["pid"], signal.SIGKILL)

    # The client starts a daemon, which ends what is left, clears up and begins anew.
    second = int(_text_of(project / "began-1"))
    assert second != first
    wait_for("the end of the first build", lambda: is_over(first))
    (project / "go").touch()
    out, err = client.communicate(timeout=60)
    assert (out, client.returncode) == ("built\n", 0), err
    whole = {Path(each["reference"]).parents[1].name for each in images(world)}
    records = {f"{each['image_id'].removeprefix('im-')}.json" for each in images(world)}
    assert {path.name for path in image_folder(world).iterdir()} == whole | records
    assert half - whole - records  # there was something to clear up


def test_a_build_that_fails_leaves_no_app_or_the_old_one(world: World):
    write_wheel(world.folder / "wheels", "inside")
    source = """
    import cloudfn

    app = cloudfn.App("failing", image={image})

    @app.function()
    def f():
        return 1
    """
    broken = source.format(image=offline("there-is-no-such-package"))
    sound = source.format(image=offline("inside", links=world.folder / "wheels"))
    program = world.write(broken, "failing.py")

    failed = world.cli("deploy", program, code=1)
    assert "The step pip_install of the image failed (exit code 1)" in failed.stderr
    assert "No matching distribution found for there-is-no-such-package" in failed.stderr
    assert "failing" not in world.cli("app", "list").stdout

    world.write(sound, "failing.py")
    world.cli("deploy", program)
    world.write(broken, "failing.py")
    world.cli("deploy", program, code=1)
    ask = "import cloudfn; print(cloudfn.Function.from_name('failing', 'f').remote())"
    assert world.python("-c", ask).stdout == "1\n"
    history = json.loads(world.cli("app", "history", "failing", "--json").stdout)
    assert [revision["number"] for revision in history] == [1]
    world.cli("app", "stop", "failing", "--yes")


def test_an_image_that_somebody_removed_is_missed_clearly_and_built_again(world: World):
    write_wheel(world.folder / "wheels", "inside")
    program = world.write(
        f"""
    import cloudfn

    app = cloudfn.App("missing", image={offline("inside", links=world.folder / "wheels")})

    @app.function()
    def f():
        return 1
    """,
        "missing.py",
    )
    world.cli("deploy", program)
    ask = "import cloudfn; print(cloudfn.Function.from_name('missing', 'f').remote())"
    (image,) = [each for each in images(world) if "missing" in each["apps"]]

    refused = world.cli("image", "rm", image["image_id"], code=1)
    assert "is in use by missing" in refused.stderr
    world.cli("image", "prune")
    assert image in images(world)
    shutil.rmtree(Path(image["reference"]).parents[1])

    failed = world.python("-c", ask, code=1)
    assert "cannot be started" in failed.stderr
    assert "deploy the app again" in failed.stderr
    deployed = world.cli("deploy", program)
    assert "✓ Image" in deployed.stderr
    assert world.python("-c", ask).stdout == "1\n"

    world.cli("image", "rm", image["image_id"], "--force")
    assert world.python("-c", ask).stdout == "1\n"  # by the container that runs
    for each in world.containers("f"):
        world.ask("container_stop", container_id=each["container_id"])
    assert "deploy the app again" in world.python("-c", ask, code=1).stderr
    world.cli("app", "rollover", "missing")  # builds it as well
    assert world.python("-c", ask).stdout == "1\n"
    world.cli("app", "stop", "missing", "--yes")


def test_a_rollback_builds_the_image_that_was_pruned_meanwhile(world: World):
    wheels = world.folder / "wheels"
    write_wheel(wheels, "inside", "1.0")
    write_wheel(wheels, "inside", "2.0")
    source = """
    import cloudfn

    app = cloudfn.App("back", image={image})

    @app.function()
    def f():
        import inside
        return inside.VERSION
    """
    for version in ("1.0", "2.0"):
        image = offline(f"inside=={version}", links=wheels)
        program = world.write(source.format(image=image), "back.py")
        world.cli("deploy", program)
    ask = "import cloudfn; print(cloudfn.Function.from_name('back', 'f').remote())"
    assert world.python("-c", ask).stdout == "2.0\n"
    before = len(images(world))
    pruned = json.loads(world.cli("image", "prune", "--json").stdout)
    assert len(images(world)) == before - len(pruned["removed"]) < before
    assert pruned["freed"] > 0

    world.cli("app", "rollback", "back")

    assert world.python("-c", ask).stdout == "1.0\n"
    world.cli("app", "stop", "back", "--yes")


def test_uv_builds_where_there_is_one(tmp_path: Path):
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--target", tmp_path / "uv", "uv"],
        check=True,
        timeout=100,
    )
    write_wheel(tmp_path / "wheels", "inside")
    with opened_world() as own:
        own.variables["PATH"] = os.pathsep.join([str(tmp_path / "uv" / "bin"), os.defpath])
        program = own.write(f"""
        import cloudfn

        image = cloudfn.Image.debian_slim().uv_pip_install(
            "inside", find_links={str(tmp_path / "wheels")!r}, extra_options="--no-index"
        )
        app = cloudfn.App("by-uv", image=image)

        @app.function()
        def f():
            import inside
            return inside.VERSION
        """)

        plan = own.cli("image", "build", program, "--dry-run").stdout
        assert f"{tmp_path}/uv/bin/uv venv" in plan
        done = own.cli("run", program)
        assert (done.stdout, "uv_pip_install" in done.stderr) == ("1.0\n", True)


def _text_of(path: Path) -> str:
    wait_for(path.name, path.exists)
    return path.read_text()
