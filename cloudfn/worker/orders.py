"""What an agent orders from a zygote and a template. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cloudfn.model.cls import decoded
from cloudfn.model.retry import Retries
from cloudfn.model.web import WebSpec
from cloudfn.worker.mounts import MountOrder


@dataclass(frozen=True, slots=True)
class FunctionOrder:
    """Where the code of one Function is.

    Attributes:
        name: The name within its app.
        module: The module within the bundle; empty when it is sent by value alone.
        qualname: The qualified name within the module.
        serialized: Base64 of the pickled function when it cannot be imported.
        is_async: Whether it is an `async def`.
        is_generator: Whether it yields.
        retries: What is done when it raises.
        web: How it answers requests.
        slots: How many inputs or requests a container has at once.
    """

    name: str
    module: str
    qualname: str
    serialized: str | None = None
    is_async: bool = False
    is_generator: bool = False
    retries: Retries | None = None
    web: tuple[WebSpec, ...] = ()
    slots: int = 1

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> FunctionOrder:
        """Return the order; fields of a FunctionSpec that matter elsewhere are ignored."""
        retries = data.get("retries")
        return cls(
            name=data["name"],
            module=data.get("module") or "",
            qualname=data.get("qualname") or "",
            serialized=data.get("serialized"),
            is_async=bool(data.get("is_async")),
            is_generator=bool(data.get("is_generator")),
            retries=None if retries is None else Retries(**retries),
            web=tuple(WebSpec(**web) for web in data.get("web") or ()),
            slots=int((data.get("concurrency") or {}).get("max_inputs") or 1),
        )


@dataclass(frozen=True, slots=True)
class TemplateOrder:
    """One program, imported once, from which containers start.

    Attributes:
        template: Its id.
        bundle: The folder with the program's code; comes first on `sys.path`.
        module: The program's one module name; empty for programs without a file.
        functions: The program's functions by name.
        env: The whole environment; nothing else is inherited, unless the message says `inherit`:
            then it is on top of the zygote's, which is that of a Docker image.
        cwd: The working directory.
        fork: Whether containers may be forked after the import.
        import_paths: Folders that come on `sys.path` right after the bundle.
        attached: (file or folder, path) of what its code sees at a path, read-only.
    """

    template: str
    bundle: str
    module: str
    functions: dict[str, FunctionOrder]
    env: dict[str, str]
    cwd: str
    fork: bool
    import_paths: tuple[str, ...] = ()
    attached: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TemplateOrder:
        """Return the order of a `template` message; raises KeyError when a field is missing."""
        functions = [FunctionOrder.from_json(each) for each in data["functions"]]
        return cls(
            template=data["template"],
            bundle=data["bundle"],
            module=data.get("module") or "",
            functions={each.name: each for each in functions},
            env=dict(data["env"]),
            cwd=data.get("cwd") or data["bundle"],
            fork=bool(data.get("fork", True)),
            import_paths=tuple(data.get("import_paths") or ()),
            attached=tuple((source, path) for source, path in data.get("local_files") or ()),
        )


@dataclass(frozen=True, slots=True)
class ContainerOrder:
    """One container.

    Attributes:
        container: Its id.
        function: The name of the function that it runs.
        env: Variables on top of the template's.
        mounts: The volumes that it sees.
        secrets: Variables below those, set where no other process sees them.
        nice: Its niceness, -20 to 19.
        parameters: Of a class, the values of its parameters.
        concurrency: The most inputs, or batches, that it runs at once.
        batched: Its function takes batches.
    """

    container: str
    function: str
    env: dict[str, str]
    nice: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)
    concurrency: int = 1
    batched: bool = False
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    mounts: tuple[MountOrder, ...] = ()

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ContainerOrder:
        """Return the order of a `container` message; raises KeyError when a field is missing."""
        return cls(
            container=data["container"],
            function=data["function"],
            env=dict(data.get("env") or {}),
            nice=int(data.get("nice") or 0),
            parameters=decoded(data.get("parameters") or {}),
            concurrency=int(data.get("concurrency") or 1),
            batched=bool(data.get("batched")),
            secrets=dict(data.get("secrets") or {}),
            mounts=tuple(map(MountOrder.from_json, data.get("mounts") or ())),
        )


class Channels(NamedTuple):
    """The descriptors through which a container and its agent talk.

    Attributes:
        packets: Socket on which inputs arrive, one packet each.
        stream: Socket for output and outcomes.
        cancel: Pipe that names cancelled inputs.
    """

    packets: int
    stream: int
    cancel: int


@dataclass(frozen=True, slots=True)
class Launch:
    """What a new process needs to know to be a container.

    Attributes:
        program: The program that it runs.
        container: What was ordered.
        channels: Its descriptors.
        imported: Whether the program is imported already, because the process was forked.
    """

    program: TemplateOrder
    container: ContainerOrder
    channels: Channels
    imported: bool
