"""The engine that other tests rely on: what is in its image, and what is left of it, nothing."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from cloudfn.worker.process import parent_of
from tests.docker import base_image
from tests.docker.engine import Engine, running_engine

#: seconds
_PATIENCE = 40.0
#: holds an engine of its own until it is killed
_USER = """
import sys
from pathlib import Path
from tests.docker.engine import running_engine
with running_engine(Path(sys.argv[1]), Path(sys.argv[2])) as engine:
    print(engine.home, flush=True)
    network = engine.docker("network", "create", "further")
    engine.docker("run", "--detach", "--init", "--network=none", engine.base, "sleep", "1000")
    print("runs", flush=True)
    print(f"br-{network[:12]}", flush=True)
    sys.stdin.read()
"""


def test_the_base_image_has_the_python_that_it_says(docker_engine: Engine):
    version = "import sys; print('%d.%d' % sys.version_info[:2])"

    out = docker_engine.docker(
        "run", "--rm", "--network=none", docker_engine.base, "python", "-c", version
    )

    assert out == docker_engine.base_python


def test_an_image_comes_back_from_the_registry_by_digest(docker_engine: Engine, tmp_path: Path):
    name = f"{docker_engine.registry}/tests/tiny"
    (tmp_path / "file").write_text("content")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY file /\n")
    docker_engine.docker("build", "--quiet", "--tag", name, str(tmp_path))
    docker_engine.docker("push", "--quiet", name)
    pushed = docker_engine.docker("inspect", "--format", "{{index .RepoDigests 0}}", name)
    image = docker_engine.docker("inspect", "--format", "{{.Id}}", name)
    docker_engine.docker("image", "rm", "--force", image)

    docker_engine.docker("pull", "--quiet", pushed)

    assert pushed.startswith(f"{name}@sha256:")
    assert docker_engine.docker("inspect", "--format", "{{.Id}}", pushed) == image


def test_who_asks_again_gets_the_same_engine(docker_engine: Engine, tmp_path: Path):
    archive = base_image.archive()

    with running_engine(tmp_path, archive) as first, running_engine(tmp_path, archive) as second:
        assert second == first
    assert not first.home.exists()


def test_an_engine_whose_user_was_killed_leaves_nothing(docker_engine: Engine, tmp_path: Path):
    folder = tmp_path / "run"
    folder.mkdir()
    user = subprocess.Popen(
        [sys.executable, "-c", _USER, str(folder), str(base_image.archive())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with user:
        assert user.stdout is not None
        home = Path(user.stdout.readline().strip())
        assert user.stdout.readline() == "runs\n"
        engine = int((home / "docker.pid").read_text())
        bridge = Path("/sys/class/net") / f"cf{home.name[-8:]}"
        assert bridge.exists()
        further = user.stdout.readline().strip()
        assert (bridge.parent / further).exists()
        with open(os.pidfd_open(parent_of(engine) or 0)) as guardian:
            user.send_signal(signal.SIGKILL)
            left, _, _ = select.select([guardian], [], [], _PATIENCE)

    assert left
    assert not home.exists()
    assert not bridge.exists()
    assert not (bridge.parent / further).exists()
    assert not Path(f"/proc/{engine}").exists()
