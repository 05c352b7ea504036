"""Settings: the only module that reads the environment. Read once, by a composition root."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cloudfn.errors import InvalidError

ENVIRONMENT_NAME_MAX = 64
#: the provider that is this machine
LOCAL = "local"
#: variables that only containers have; a daemon with the marker would be taken for one
_OF_CONTAINERS = ("CLOUDFN_CONTAINER", "CLOUDFN_MARKER", "CLOUDFN_BLOBS")
#: what a program may expect of any place, and that tells nothing secret
_PLAIN = frozenset(
    {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME", "TMPDIR"}
)
#: what tells pip and uv where packages are, and how the network is reached
_OF_INSTALLERS = ("PIP_", "UV_")
_OF_NETWORKS = frozenset(
    {
        "all_proxy",
        "curl_ca_bundle",
        "http_proxy",
        "https_proxy",
        "netrc",
        "no_proxy",
        "requests_ca_bundle",
        "ssl_cert_dir",
        "ssl_cert_file",
    }
)
_DAEMON_ONLY = frozenset({"SHELL", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"})
#: what tells the docker command where its engine and its settings are
_OF_DOCKER = "DOCKER_"
_OF_TERRAFORM = ("AWS_", "TF_")
_BASE_IMAGE = "python:{version}-slim"
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


@dataclass(frozen=True, slots=True)
class Limits:
    """How many inputs a Function may have; Modal's numbers are the defaults."""

    #: inputs of `.remote` and `.map` that no container has yet
    pending: int = 2_000
    #: inputs of `.remote` and `.map`, waiting and running
    total: int = 25_000
    #: inputs of `.spawn` that no container has yet
    spawn_pending: int = 1_000_000
    #: inputs of one `.map` that are sent and not finished
    map_window: int = 1_000
    #: requests to one web function that wait for a free container
    web_pending: int = 2_000


@dataclass(frozen=True, slots=True)
class Web:
    """Where the gateway of web functions listens, and what it takes."""

    #: an address of this machine; with any other than the default, every host name is accepted
    host: str = "127.0.0.1"
    #: None: a free one, which is kept in the state directory
    port: int | None = None
    #: bytes of a request's body
    body_limit: int = 4 << 30


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """How much dicts and queues hold; Modal's numbers are the defaults."""

    #: elements of one partition of a queue
    queue_items: int = 5_000
    #: bytes of one pickled element
    queue_item_size: int = 1 << 20
    #: partitions of one queue that hold elements
    queue_partitions: int = 100_000
    #: bytes of one pickled value of a dict
    dict_value_size: int = 100 << 20
    #: entries of one update
    dict_update: int = 10_000
    #: seconds that an entry of a dict is kept after it was last read or written
    dict_ttl: float = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Docker:
    """Where the Docker engine is, and what its containers may do."""

    #: variables of the docker command, which say where the engine is: PATH, HOME, DOCKER_*
    environ: Mapping[str, str] = field(default_factory=dict, hash=False)
    #: name of the images with a Python that others are built on, with `{version}` in it
    base_image: str = _BASE_IMAGE
    #: containers may ask the metadata service of the cloud that this machine is in
    allow_metadata: bool = False


@dataclass(frozen=True, slots=True)
class Gpus:
    """Which GPUs containers may have, where somebody says so."""

    #: those of the machine's with these numbers or UUIDs; None: all
    chosen: tuple[str, ...] | None = None
    #: (name, MiB, UUID) of each, in place of what the machine says; None: ask it
    declared: tuple[tuple[str, int, str], ...] | None = None


@dataclass(frozen=True, slots=True)
class ContainerIdentity:
    """Who we are when this process is a container."""

    container_id: str
    #: hex; authenticates this container, and only it, to its agent
    key: str
    socket: str
    app_id: str
    #: the function or variant that it runs
    function_id: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the environment says about how cloudfn behaves here."""

    #: the named, separate world that we act in
    environment: str
    #: directory that holds one private directory per environment
    root: Path
    #: where functions run: `local` is this machine, with a daemon; the others are clouds
    provider: str = LOCAL
    #: of a cloud with regions; None: what its own configuration says
    region: str | None = None
    limits: Limits = Limits()
    stores: StoreLimits = StoreLimits()
    web: Web = Web()
    docker: Docker = Docker()
    gpus: Gpus = Gpus()
    #: seconds that outcomes of spawned and named calls are kept
    retention: float = 7 * 86_400.0
    #: seconds that a machine without work is kept; None: as long as one takes to boot, or 120
    keep_alive: float | None = None
    #: seconds without work, deployed apps or clients after which the daemon leaves
    daemon_idle_exit: float = 600.0
    #: seconds after which the inputs of a remote or map call are cancelled when its client vanished
    client_grace: float = 60.0
    #: seconds that a container has to leave after its last input, with its exit hooks
    exit_grace: float = 30.0
    #: seconds that a client waits at the end of a run for what containers print on leaving
    logs_timeout: float = 10.0
    #: containers get inputs one by one, also where they are tiny; at most one waits in a container
    one_at_a_time: bool = False
    #: what containers are when nobody says: processes of this machine, or containers of Docker
    runtime: str = "process"
    #: images may lack what the runtime cannot give them, with a warning
    allow_unmet: bool = False
    #: show cloudfn's own frames in tracebacks
    full_traceback: bool = False
    #: set inside a container only
    container: ContainerIdentity | None = None
    #: this process imports programs for containers, or is one
    worker: bool = False

    @property
    def state_dir(self) -> Path:
        """The private directory of this environment."""
        return self.root / self.environment

    def on(self, provider: str | None, region: str | None) -> Settings:
        """Return these for another provider or region; None: as it is."""
        if provider is None and region is None:
            return self
        provider = provider or self.provider
        runtime = self.runtime if provider == self.provider else _runtimes(provider)[0]
        region = region or self.region
        return replace(self, provider=provider, region=region, runtime=runtime)


def load(environ: Mapping[str, str] | None = None, *, environment: str | None = None) -> Settings:
    """Read the settings.

    Args:
        environ: Variables to read; the process's own when omitted.
        environment: Overrides `CLOUDFN_ENVIRONMENT`.

    Raises:
        InvalidError: A variable has a value that makes no sense; the message names it.
    """
    env = os.environ if environ is None else environ
    name = environment
    if name is None:
        name = env.get("CLOUDFN_ENVIRONMENT") or env.get("MODAL_ENVIRONMENT") or "main"
    _check_name(name)
    provider = env.get("CLOUDFN_PROVIDER") or LOCAL
    return Settings(
        environment=name,
        root=_root(env),
        provider=provider,
        region=env.get("CLOUDFN_REGION") or None,
        limits=Limits(
            pending=_whole(env, "CLOUDFN_LIMIT_PENDING", 2_000),
            total=_whole(env, "CLOUDFN_LIMIT_TOTAL", 25_000),
            spawn_pending=_whole(env, "CLOUDFN_LIMIT_SPAWN_PENDING", 1_000_000),
            map_window=_whole(env, "CLOUDFN_MAP_WINDOW", 1_000),
            web_pending=_whole(env, "CLOUDFN_LIMIT_WEB_PENDING", 2_000),
        ),
        stores=StoreLimits(
            queue_items=_whole(env, "CLOUDFN_QUEUE_ITEMS", 5_000),
            queue_item_size=_whole(env, "CLOUDFN_QUEUE_ITEM_SIZE", 1 << 20),
            queue_partitions=_whole(env, "CLOUDFN_QUEUE_PARTITIONS", 100_000),
            dict_value_size=_whole(env, "CLOUDFN_DICT_VALUE_SIZE", 100 << 20),
            dict_update=_whole(env, "CLOUDFN_DICT_UPDATE", 10_000),
            dict_ttl=_seconds(env, "CLOUDFN_DICT_TTL", 7 * 86_400.0),
        ),
        web=_web(env),
        docker=_docker(env),
        gpus=_gpus(env),
        retention=_seconds(env, "CLOUDFN_RETENTION", 7 * 86_400.0),
        keep_alive=_seconds(env, "CLOUDFN_KEEP_ALIVE", 0.0) or None,
        daemon_idle_exit=_seconds(env, "CLOUDFN_DAEMON_IDLE_EXIT", 600.0),
        client_grace=_seconds(env, "CLOUDFN_CLIENT_GRACE", 60.0),
        exit_grace=_seconds(env, "CLOUDFN_EXIT_GRACE", 30.0),
        logs_timeout=_seconds(
            env, "CLOUDFN_LOGS_TIMEOUT", _seconds(env, "MODAL_LOGS_TIMEOUT", 10.0)
        ),
        one_at_a_time=_flag(env, "CLOUDFN_ONE_AT_A_TIME"),
        runtime=_choice(env, "CLOUDFN_RUNTIME", _runtimes(provider)),
        allow_unmet=_choice(env, "CLOUDFN_IMAGE_UNMET", ("refuse", "warn")) == "warn",
        full_traceback=_flag(env, "CLOUDFN_TRACEBACK"),
        container=_container(env),
        worker=bool(env.get("CLOUDFN_MARKER")),
    )


def variables(names: Iterable[str]) -> dict[str, str]:
    """Return variables of this process.

    Raises:
        InvalidError: One is not set; the message names it.
    """
    names = list(names)
    missing = sorted(name for name in names if name not in os.environ)
    if missing:
        raise InvalidError(
            f"Not set in this environment: {', '.join(missing)}.",
            hint="Export them before, or use a Secret with a name.",
        )
    return {name: os.environ[name] for name in names}


def choose_environment(name: str) -> None:
    """Make `name` the environment of this process and of what it starts; before anything loads."""
    _check_name(name)
    os.environ["CLOUDFN_ENVIRONMENT"] = name


def choose_provider(name: str, region: str | None) -> None:
    """Make these the provider and region of this process and of what it starts."""
    os.environ["CLOUDFN_PROVIDER"] = name
    if region is not None:
        os.environ["CLOUDFN_REGION"] = region


def daemon_environ(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the cleaned environment that a daemon is started with: an allow-list and CLOUDFN_*."""
    env = os.environ if environ is None else environ
    return {
        name: value
        for name, value in env.items()
        if name in _PLAIN
        or name in _DAEMON_ONLY
        or name.startswith(_OF_DOCKER)
        or (name.startswith("CLOUDFN_") and not name.startswith(_OF_CONTAINERS))
    }


def container_environ(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what every container gets from this machine: a short allow-list, and our own path.

    Never the daemon's whole environment: that may hold secrets of whoever started it.
    """
    env = os.environ if environ is None else environ
    allowed = {name: value for name, value in env.items() if name in _PLAIN}
    # Where the daemon itself finds cloudfn and cloudpickle.
    return allowed | {"PYTHONPATH": env.get("PYTHONPATH", ""), "PYTHONSAFEPATH": "1"}


def machine_environ(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what this process's environment says of the machine that it is."""
    env = os.environ if environ is None else environ
    return {k: v for k, v in env.items() if k.startswith(("CLOUDFN_", "AWS_"))}


def build_environ(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what this process's environment says of package indexes, proxies, certificates."""
    env = os.environ if environ is None else environ
    return {
        name: value
        for name, value in env.items()
        if name.startswith(_OF_INSTALLERS) or name.lower() in _OF_NETWORKS
    }


def terraform_environ(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what Terraform gets: this machine's basics, the way to the network, and AWS's own."""
    env = os.environ if environ is None else environ
    return {
        name: value
        for name, value in env.items()
        if name in _PLAIN or name.lower() in _OF_NETWORKS or name.startswith(_OF_TERRAFORM)
    }


def _runtimes(provider: str) -> tuple[str, ...]:
    """Return what containers can be, the default first: those of a cloud are always Docker's."""
    return ("process", "docker") if provider == LOCAL else ("docker", "process")


def _root(env: Mapping[str, str]) -> Path:
    if home := env.get("CLOUDFN_HOME"):
        return Path(home).absolute()
    if state := env.get("XDG_STATE_HOME"):
        return Path(state).absolute() / "cloudfn"
    return Path(env.get("HOME") or Path.home()) / ".local" / "state" / "cloudfn"


def _container(env: Mapping[str, str]) -> ContainerIdentity | None:
    container_id = env.get("CLOUDFN_CONTAINER_ID")
    if not container_id:
        return None
    return ContainerIdentity(
        container_id=container_id,
        key=env.get("CLOUDFN_CONTAINER_KEY", ""),
        socket=env.get("CLOUDFN_CONTAINER_SOCKET", ""),
        app_id=env.get("CLOUDFN_CONTAINER_APP", ""),
        function_id=env.get("CLOUDFN_CONTAINER_FUNCTION", ""),
    )


def _web(env: Mapping[str, str]) -> Web:
    port = _whole(env, "CLOUDFN_WEB_PORT", 0) or None
    if port is not None and port > 65_535:
        raise InvalidError(f"CLOUDFN_WEB_PORT={port} is no port.", hint="Use 1 to 65535.")
    return Web(
        host=env.get("CLOUDFN_WEB_HOST") or "127.0.0.1",
        port=port,
        body_limit=_whole(env, "CLOUDFN_LIMIT_WEB_BODY", 4 << 30),
    )


def _gpus(env: Mapping[str, str]) -> Gpus:
    text = env.get("CLOUDFN_GPUS", "").strip()
    if not text:
        return Gpus()
    if text.startswith("["):
        return Gpus(declared=_declared_gpus(text))
    if text == "none":
        return Gpus(chosen=())
    return Gpus(chosen=tuple(name.strip() for name in text.split(",") if name.strip()))


def _declared_gpus(text: str) -> tuple[tuple[str, int, str], ...]:
    import json

    try:
        return tuple(
            (str(each["type"]), int(each.get("memory", 0)), str(each.get("uuid", "")))
            for each in json.loads(text)
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InvalidError(
            f"CLOUDFN_GPUS={text!r} declares no GPUs.",
            hint='Write [{"type": "A10G", "memory": 24576}], numbers as in "0,1", or "none".',
        ) from None


def _docker(env: Mapping[str, str]) -> Docker:
    environ = {k: v for k, v in env.items() if k in _PLAIN or k.startswith(_OF_DOCKER)}
    if host := env.get("CLOUDFN_DOCKER_HOST"):
        environ.pop("DOCKER_CONTEXT", None)
        environ["DOCKER_HOST"] = host
    base_image = env.get("CLOUDFN_BASE_IMAGE") or _BASE_IMAGE
    try:
        base_image.format(version="3.11")
    except (LookupError, ValueError):
        raise InvalidError(
            f"CLOUDFN_BASE_IMAGE={base_image!r} is no name of images.",
            hint=f"Write {{version}} where the version of Python stands, as in {_BASE_IMAGE}.",
        ) from None
    return Docker(environ, base_image, _flag(env, "CLOUDFN_DOCKER_ALLOW_METADATA"))


def _check_name(name: str) -> None:
    if not name or len(name) > ENVIRONMENT_NAME_MAX or name in (".", ".."):
        raise InvalidError(f"Invalid environment name {name!r}: it must have 1 to 64 characters.")
    if not set(name) <= _NAME_CHARACTERS:
        raise InvalidError(
            f"Invalid environment name {name!r}.",
            hint="Use letters, digits, '-', '_' and '.' only.",
        )


def _flag(env: Mapping[str, str], name: str) -> bool:
    return env.get(name, "") not in ("", "0")


def _choice(env: Mapping[str, str], name: str, values: tuple[str, ...]) -> str:
    """Return one of some values, the first when nothing is said."""
    text = env.get(name) or values[0]
    if text not in values:
        raise InvalidError(
            f"{name}={text!r} is none of {', '.join(values)}.",
            hint=f"Unset it for the default, {values[0]}.",
        )
    return text


def _whole(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name)
    if text is None or text == "":
        return default
    if not text.isdecimal() or int(text) < 1:
        raise InvalidError(
            f"{name}={text!r} is not a whole number of at least 1.",
            hint=f"Unset it for the default, {default}.",
        )
    return int(text)


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name)
    if text is None or text == "":
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InvalidError(
            f"{name}={text!r} is not a number of seconds.",
            hint=f"Unset it for the default, {default:g}.",
        )
    return seconds
