"""`cloudfn doctor`: checks whether this machine, or an environment in a cloud, is fit to work."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from cloudfn import errors
from cloudfn.cli import diagnosis, terminal
from cloudfn.cli.options import EnvironmentOption, JsonOption, command_group
from cloudfn.cli.session import Session, session_of
from cloudfn.providers.findings import Finding
from cloudfn.settings import LOCAL, Settings

_SIGNS = {"ok": "✓", "warn": "!", "fail": "✗"}
_FAST_BLOBS = Path("/dev/shm")  # noqa: S108 - only its room is looked at


def build() -> typer.Typer:
    """Return the command."""
    app = command_group()
    app.command("doctor")(doctor)
    return app


def doctor(
    context: typer.Context, as_json: JsonOption = False, env: EnvironmentOption = None
) -> None:
    """Check this machine, its state directory and its daemon; exit code 1 where something fails.

    With --provider aws: whether the environment there can be used from here, and what is wrong in
    it.
    """
    session = session_of(context, env)
    findings = []
    for finding in _examined(session):
        findings.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        terminal.print_json([asdict(finding) for finding in findings])
    if any(finding.level == "fail" for finding in findings):
        raise typer.Exit(1)


def _examined(session: Session) -> Iterator[Finding]:
    if session.settings.provider == LOCAL:
        yield from _machine(session.settings)
        yield from _engine(session)
        return
    from cloudfn.cli.cloud_doctor import examine

    yield from _client(session.settings)
    yield from examine(session)


def _machine(settings: Settings) -> Iterator[Finding]:
    state = settings.state_dir
    yield diagnosis.check_python(tuple(sys.version_info[:3]))
    yield diagnosis.check_platform(sys.platform)
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    yield diagnosis.check_state_dir(state, user)
    yield diagnosis.check_socket(state / "daemon.sock", user)
    mounts = Path("/proc/self/mounts")
    if mounts.exists():
        yield diagnosis.check_filesystem(_existing(state), mounts.read_text(errors="replace"))
    yield from _space("disk", _existing(state))
    if _FAST_BLOBS.is_dir():
        yield from _space("fast blobs", _FAST_BLOBS)
    yield diagnosis.check_memory_limits(diagnosis.memory_mechanism())
    yield _docker(settings)
    yield diagnosis.check_processes(
        fork=hasattr(os, "fork"), pidfd=_has_pidfd(), proc=os.access("/proc/self/environ", os.R_OK)
    )


def _client(settings: Settings) -> Iterator[Finding]:
    yield diagnosis.check_python(tuple(sys.version_info[:3]))
    yield _builds(_found(settings))


def _builds(found: tuple[str, str] | errors.Error) -> Finding:
    if not isinstance(found, errors.Error):
        return diagnosis.check_docker(found, wanted=True)
    text = f"images cannot be built here: {found.message}"
    return Finding("docker", "warn", text, "Deploy from where Docker is; calling needs none.")


def _docker(settings: Settings) -> Finding:
    return diagnosis.check_docker(_found(settings), wanted=settings.runtime == "docker")


def _found(settings: Settings) -> tuple[str, str] | errors.Error:
    """Return the version of Docker's engine, and what builds images; or what is missing."""
    from cloudfn.providers.docker.command import find_builder
    from cloudfn.providers.docker.engine import DockerEngine

    environ = settings.docker.environ
    with closing(DockerEngine(environ)) as engine:
        try:
            return engine.version(), find_builder(environ)
        except errors.Error as error:
            return error


def _engine(session: Session) -> Iterator[Finding]:
    from cloudfn.agent.gpus import machine_gpus, memory_in_use
    from cloudfn.wire.version import code_version

    status: dict[str, Any] | None = None
    gpus = [{**asdict(gpu), "containers": ()} for gpu in machine_gpus(session.settings.gpus)]
    try:
        status = session.running_client().request("status")
        gpus = status.get("gpus", gpus)
    except errors.ConnectionError:
        pass
    except errors.Error as error:
        yield Finding("daemon", "fail", error.message, error.hint or "See `cloudfn daemon logs`.")
        return
    yield from diagnosis.check_daemon(status, code_version())
    yield from diagnosis.check_gpus(gpus, memory_in_use() if gpus else {})


def _space(what: str, path: Path) -> Iterator[Finding]:
    from shutil import disk_usage

    try:
        free = disk_usage(path).free
    except OSError as error:
        yield Finding(what, "fail", f"{path}: {error.strerror}")
        return
    yield diagnosis.check_space(what, path, free)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _has_pidfd() -> bool:
    if not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def _show(finding: Finding) -> None:
    terminal.print_text(f"{_SIGNS[finding.level]} {finding.check}: {finding.text}")
    if finding.hint and finding.level != "ok":
        terminal.print_text(f"    hint: {finding.hint}")
