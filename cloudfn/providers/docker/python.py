"""Asks an image for its Python, in a container that can do nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from cloudfn.errors import Error, InvalidError, ServiceError
from cloudfn.providers.docker.engine import DockerEngine

#: the oldest that cloudfn runs under
_OLDEST = (3, 11)
_ASK = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
_NOBODY = "65534:65534"
_MEMORY = 256 << 20
#: seconds; the first container of an image is slow to start
_PATIENCE = 60.0
_HINT = (
    "Containers need a `python3` of 3.11 or newer in their PATH: take another base, or let "
    "from_registry add one (add_python=)."
)


def python_of(engine: DockerEngine, image: str, labels: Mapping[str, str]) -> str:
    """Return the version of an image's Python, `3.11.2`.

    Args:
        engine: Has the image.
        image: Its id.
        labels: Of the container, so that it is known should this process be killed.

    Raises:
        InvalidError: It has none that containers could use.
        ServiceError: The engine cannot run a container.
    """
    code, output = _asked(engine, image, labels)
    version = output.strip()
    parts = version.split(".")
    if code or len(parts) != 3 or not all(each.isdecimal() for each in parts):
        raise InvalidError(f"The image has no working `python3`: {version[-500:]}", hint=_HINT)
    if (int(parts[0]), int(parts[1])) < _OLDEST:
        raise InvalidError(f"The image has Python {version}, which is too old.", hint=_HINT)
    return version


def _asked(engine: DockerEngine, image: str, labels: Mapping[str, str]) -> tuple[int, str]:
    """Return the exit code and the output of a container that asks."""
    with engine.asked() as api:
        limits = api.create_host_config(
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            pids_limit=64,
            mem_limit=_MEMORY,
        )
        container = api.create_container(
            image,
            entrypoint=["python3", "-I", "-c", _ASK],
            command=[],
            user=_NOBODY,
            working_dir="/",
            labels=dict(labels),
            host_config=limits,
        )["Id"]
    try:
        with engine.asked() as api:
            api.start(container)
            code = int(api.wait(container, timeout=_PATIENCE)["StatusCode"])
            return code, api.logs(container, tail=20).decode(errors="replace")
    except ServiceError as error:
        if "executable file not found" in error.message or "no such file" in error.message:
            return 127, "there is no such command"
        raise
    finally:
        with suppress(Error), engine.asked() as api:
            api.remove_container(container, force=True)
