"""cloudfn's own measures about images: how containers start, and what a deploy costs."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from probe import Metrics, module

_APP_FILE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "apps", "starts.py")
#: names the image that stands for `python:X.Y-slim`, where there is no registry
_BASE = "BENCH_BASE_IMAGE"
_MODULE = '"""A module of a large program."""\n\n' + "".join(
    f"\n\ndef function_{number}(x):\n    return x + {number}\n" for number in range(40)
)


def container_start(sizes: dict[str, int], run: Callable[..., object]) -> Metrics:
    """Time containers of both runtimes, and `docker run`, where there is an engine."""
    app = module("starts")
    found = _starts("process", sizes["calls"], run, app)
    base = _docker_base()
    if base:
        found |= _starts("docker", sizes["calls"], run, app)
        found["docker_run_ms"] = 1e3 * statistics.median(
            _docker_run(base) for _ in range(sizes["calls"])
        )
    return found


def image_noop(run: Callable[..., object]) -> Metrics:
    """Time the second deploy of an app whose image is built."""
    found = {"process_s": _second_deploy("process", run)}
    if _docker_base():
        found["docker_s"] = _second_deploy("docker", run)
    return found


def bundle(sizes: dict[str, int]) -> Metrics:
    """Time what a deploy does to a program's sources, twice."""
    from cloudfn.sdk.bundle import store
    from cloudfn.sdk.collecting import collect

    folder, kept = Path("program").absolute(), Path("bundles").absolute()
    _write_program(folder, sizes["files"])
    sys.path.insert(0, str(folder))
    times = []
    for _ in range(2):
        began = time.perf_counter()
        collected = collect("program", folder, folder / "program.py")
        store(collected, kept)
        times.append(time.perf_counter() - began)
    return {"first_s": times[0], "again_s": times[1], "mib": collected.size / (1 << 20)}


def _starts(runtime: str, calls: int, run: Callable[..., object], app: Any) -> Metrics:
    """Milliseconds until user code runs: in a first container, a second one, and a warm one."""
    run("image", "build", _APP_FILE, "--runtime", runtime)
    with app.app.run(runtime=runtime):
        cold = _wait(app.begin, runtime)
        following = _wait(app.begin_again, runtime)
        warm = statistics.median(_wait(app.begin, runtime) for _ in range(calls))
    run("daemon", "stop", "--now")
    return {
        f"{runtime}_cold_ms": cold,
        f"{runtime}_next_ms": following,
        f"{runtime}_reuse_ms": warm,
    }


def _wait(begin: Any, runtime: str) -> float:
    called = time.monotonic()
    began, in_docker = begin.remote()
    if in_docker != (runtime == "docker"):
        raise RuntimeError(f"the call did not run in the {runtime} runtime")
    return 1e3 * (float(began) - called)


def _second_deploy(runtime: str, run: Callable[..., object]) -> float:
    run("deploy", _APP_FILE, "--runtime", runtime)
    began = time.perf_counter()
    run("deploy", _APP_FILE, "--runtime", runtime)
    seconds = time.perf_counter() - began
    run("daemon", "stop", "--now")
    return seconds


def _docker_base() -> str:
    """Return the image that containers begin with; empty where there is no engine."""
    base = os.environ.get(_BASE, "")
    if base:
        os.environ["CLOUDFN_BASE_IMAGE"] = base
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "info"], check=False, capture_output=True).returncode
    ):
        return ""
    return (base or "python:{version}-slim").format(version=version)


def _docker_run(image: str) -> float:
    code = "import time; print(time.monotonic())"
    called = time.monotonic()
    output = subprocess.check_output(["docker", "run", "--rm", image, "python3", "-c", code])
    return float(output) - called


def _write_program(folder: Path, files: int) -> None:
    package = folder / "parts"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for number in range(files - 2):
        (package / f"part_{number}.py").write_text(_MODULE)
    (folder / "program.py").write_text("import parts\n")
