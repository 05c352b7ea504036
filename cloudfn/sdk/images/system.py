"""The Image builder's methods for the system: commands, functions, settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from cloudfn.errors import InvalidError
from cloudfn.sdk.images import recording
from cloudfn.sdk.images.recording import Recorded, layer, not_while_building, path, texts, words

if TYPE_CHECKING:
    from cloudfn.sdk.image import Image


class System(Recorded):
    """The methods that run something while the image is built, and those that set something.

    `env` and `secrets` are variables of that step alone. A `gpu` has no effect: builds see none.
    """

    __slots__ = ()

    @layer
    def apt_install(
        self,
        *packages: str | list[str],
        force_build: bool = False,
        env: Mapping[str, str | None] | None = None,
        secrets: Any = None,
        gpu: Any = None,
    ) -> Any:
        """Install Debian packages."""
        return {"packages": recording.packages("apt_install", packages)}

    @layer
    def run_commands(
        self,
        *commands: str | list[str],
        env: Mapping[str, str | None] | None = None,
        secrets: Any = None,
        volumes: Mapping[Any, Any] | None = None,
        gpu: Any = None,
        force_build: bool = False,
    ) -> Any:
        """Run shell commands while the image is built."""
        not_while_building("run_commands", volumes=volumes)
        return {"commands": texts("run_commands", "commands", *commands)}

    def run_function(  # noqa: D417 - the others have no effect here
        self,
        raw_f: Callable[..., Any],
        *,
        env: Mapping[str, str | None] | None = None,
        secrets: Any = None,
        volumes: Mapping[Any, Any] | None = None,
        network_file_systems: Mapping[Any, Any] | None = None,
        gpu: Any = None,
        cpu: Any = None,
        memory: Any = None,
        timeout: int = 3600,
        cloud: str | None = None,
        region: Any = None,
        force_build: bool = False,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        include_source: bool = True,
    ) -> Image:
        """Run a function while the image is built; what it leaves on disk is in the image.

        It runs again when its source, that of functions it calls in its module, or its arguments
        change.

        Args:
            raw_f: The function, with nothing of cloudfn around it.
            env: Variables that it sees.
            secrets: Secrets with a name whose variables it sees.
            timeout: Seconds that it may take.
            force_build: Run it although an image is there.
            args: Its arguments.
            kwargs: Its arguments by name.

        Raises:
            InvalidError: Something is not what it should be.
            UnimplementedError: It wants volumes.
        """
        not_while_building(
            "run_function", volumes=volumes, network_file_systems=network_file_systems
        )
        if not callable(raw_f) or hasattr(raw_f, "__cloudfn_raw__"):
            raise InvalidError(
                f"`Image.run_function` takes a plain function, not {raw_f!r}.",
                hint="Take the decorator away, or call it from a function that has none.",
            )
        if isinstance(timeout, bool) or not isinstance(timeout, int) or timeout < 1:
            raise InvalidError(
                f"`timeout` of `Image.run_function` must be seconds, not {timeout!r}"
            )
        given = {
            "raw_f": raw_f,
            "timeout": timeout,
            "env": env,
            "secrets": secrets,
            "gpu": gpu,
            "force_build": force_build,
            "args": args,
            "kwargs": kwargs,
        }
        objects = {"function": raw_f, "arguments": (tuple(args), dict(kwargs or {}))}
        return self._with("run_function", {k: v for k, v in given.items() if v}, objects)

    @layer
    def dockerfile_commands(
        self,
        *dockerfile_commands: str | list[str],
        context_files: Mapping[str, str] | None = None,
        context_dir: str | Path | None = None,
        ignore: Any = (),
        build_args: Mapping[str, str] | None = None,
        env: Mapping[str, str | None] | None = None,
        secrets: Any = None,
        gpu: Any = None,
        force_build: bool = False,
    ) -> Any:
        """Add lines of a Dockerfile."""
        method = "dockerfile_commands"
        given: dict[str, Any] = {
            "dockerfile_commands": texts(method, "lines of a Dockerfile", *dockerfile_commands)
        }
        if context_dir is not None:
            given["context_dir"] = path(method, "context_dir", context_dir)
        if context_files:
            given["context_files"] = {
                _within(path(method, "context_files", remote)): path(method, "context_files", local)
                for remote, local in context_files.items()
            }
        return given

    def env(self, vars: Mapping[str, str]) -> Image:
        """Set variables, for later steps and in containers.

        Raises:
            InvalidError: A name or a value is no text.
        """
        if not isinstance(vars, Mapping):
            raise InvalidError(f"`Image.env` must map names to text, not be {vars!r}.")
        recording.variables("Image.env", vars)
        return self._with("env", {"vars": dict(vars)})

    @layer
    def workdir(self, path: str | PurePath) -> Any:
        """Set the working directory; a relative one is within that which was set before."""
        return {"path": _path("workdir", "path", path)}

    @layer
    def cmd(self, cmd: list[str]) -> Any:
        """Set the default command, which containers of functions do not run."""
        return {"cmd": words("cmd", "cmd", cmd)}

    @layer
    def entrypoint(self, entrypoint_commands: list[str]) -> Any:
        """Set the entry point."""
        return {
            "entrypoint_commands": words("entrypoint", "entrypoint_commands", entrypoint_commands)
        }

    @layer
    def shell(self, shell_commands: list[str]) -> Any:
        """Set the shell that runs later commands of the build."""
        if not shell_commands:
            raise InvalidError('`Image.shell` needs the words of a shell, as ["/bin/sh", "-c"].')
        return {"shell_commands": words("shell", "shell_commands", shell_commands)}


def _within(path: str) -> str:
    """Return a path in a build's context without what means nothing."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise InvalidError(
            f"`context_files` of `Image.dockerfile_commands` leads out of the context: {path!r}.",
            hint="Leave `..` away.",
        )
    return "/".join(parts)


# The parameter of `workdir` hides this name.
_path = path
