"""What an Image is made of: ordered layers, recorded as plain data, and their digest. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from cloudfn.errors import InvalidError
from cloudfn.model.secret import SecretRef, secret_ref

_DIGEST_LENGTH = 22
#: methods that an Image begins with
BASES = frozenset(
    {
        "debian_slim",
        "from_local_env",
        "micromamba",
        "from_registry",
        "from_dockerfile",
        "from_aws_ecr",
        "from_gcp_artifact_registry",
        "from_scratch",
    }
)
#: what says how containers start and installs nothing
_SETTINGS = frozenset({"env", "workdir", "cmd", "entrypoint", "shell"})
#: arguments that say how to build and not what comes of it
_UNHASHED = frozenset({"force_build", "program", "call", "timeout", "gpu"})
#: arguments that are digests of bundles
_CONTEXTS = ("context", "files", "program", "call")
#: places where containers and their Python live, which local files cannot stand for
_TAKEN = frozenset(
    {"/", "/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/tmp"}  # noqa: S108
    | {"/usr"}
)


def check_remote_path(path: str, method: str) -> str:
    """Return an absolute path in containers without what means nothing.

    Raises:
        InvalidError: It leads upward, or is a place that containers need themselves.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    plain = "/" + "/".join(parts)
    if ".." in parts or not path.isprintable() or plain in _TAKEN:
        raise InvalidError(
            f"`Image.{method}` cannot put local files at {path!r}.",
            hint="Use a place of their own, such as /data.",
        )
    return plain


@dataclass(frozen=True, slots=True)
class Layer:
    """One step of an Image: the builder's method and the arguments that it was given."""

    method: str
    #: plain data, as JSON has it
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def attaches(self) -> bool:
        """Whether it brings local files at container start, rather than when the image is built."""
        return self.method.startswith("add_local_") and not self.arguments.get("copy")

    @property
    def env(self) -> dict[str, str]:
        """Variables of this step alone; those of None are left out."""
        given = self.arguments.get("env") or {}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def secrets(self) -> tuple[SecretRef, ...]:
        """Secrets whose variables this step sees while it is built."""
        return tuple(map(secret_ref, self.arguments.get("secrets") or ()))

    @property
    def credentials(self) -> SecretRef | None:
        """The secret that opens the registry of a base."""
        given = self.arguments.get("secret") or self.arguments.get("registry_secret")
        return secret_ref(given) if given else None

    @property
    def contexts(self) -> tuple[str, ...]:
        """Digests of the folders that it needs, each `bundles/<digest>`; known once resolved."""
        found = [self.arguments.get(name) for name in _CONTEXTS]
        found += [each["context"] for each in self.arguments.get("projects") or ()]
        return tuple(digest for digest in found if digest)

    @property
    def hashed(self) -> dict[str, Any]:
        """What the digest covers: what the step leaves behind, not how it is carried out."""
        given = {k: v for k, v in self.arguments.items() if k not in _UNHASHED}
        if self.secrets:
            # Secrets without a name have another id at each deploy.
            given["secrets"] = [each.name for each in self.secrets]
        return {"method": self.method, "arguments": given}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file or folder of a bundle that containers see at a path, read-only.

    Attributes:
        context: Digest of the bundle.
        path: What of the bundle, relative to it; empty for all of it.
        remote_path: Absolute path in the container.
    """

    context: str
    path: str
    remote_path: str


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """The layers of an Image, the base first.

    A builder method records; `resolve` of the SDK replaces paths of local files by what they hold,
    or by digests of bundles. The digest is of what is built: local files that are attached at
    start are no part of it.
    """

    layers: tuple[Layer, ...] = ()
    #: of the machines that it is for, `linux/arm64`; empty: the builder's own
    platform: str = ""

    def __post_init__(self) -> None:
        layers = (each if isinstance(each, Layer) else Layer(**each) for each in self.layers)
        object.__setattr__(self, "layers", tuple(layers))

    def with_layer(self, layer: Layer) -> ImageSpec:
        """Return these layers and one more."""
        return replace(self, layers=(*self.layers, layer))

    @property
    def build_layers(self) -> tuple[Layer, ...]:
        """The layers that are built, which the digest names."""
        return tuple(each for each in self.layers if not each.attaches)

    @property
    def digest(self) -> str:
        """Hex of a hash of the build layers: the same for the same layers, in any process."""
        import hashlib
        import json

        made: list[Any] = [each.hashed for each in self.build_layers]
        if self.platform:
            made.append({"platform": self.platform})
        text = json.dumps(made, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]

    @property
    def image_id(self) -> str:
        """The id, `im-…`, made of the digest."""
        return f"im-{self.digest}"

    @property
    def needs_environment(self) -> bool:
        """Whether something has to be built: it has a base, or installs something."""
        return any(each.method not in _SETTINGS for each in self.build_layers)

    @property
    def force_build(self) -> bool:
        """Whether a layer asks to be built even if it was built before."""
        return any(each.arguments.get("force_build") for each in self.build_layers)

    @property
    def python(self) -> str | None:
        """The version of Python that it asks for, `3.12`; None: the base's own, or any."""
        for layer in reversed(self.layers):
            wanted = layer.arguments.get("python_version") or layer.arguments.get("add_python")
            if layer.method in BASES:
                return wanted
        return None

    @property
    def env(self) -> dict[str, str]:
        """The variables that the layers set, later ones on top."""
        variables: dict[str, str] = {}
        for layer in self.layers:
            if layer.method == "env":
                variables |= layer.arguments["vars"]
        return variables

    @property
    def workdir(self) -> str | None:
        """The working directory that the layers set."""
        folder = None
        for layer in self.layers:
            if layer.method == "workdir":
                folder = posixpath.join(folder or "/", layer.arguments["path"])
        return folder

    @property
    def contexts(self) -> tuple[str, ...]:
        """Digests of all bundles that it needs, each once, attached ones included."""
        return tuple(dict.fromkeys(name for each in self.layers for name in each.contexts))

    @property
    def secrets(self) -> tuple[SecretRef, ...]:
        """Secrets that a build needs, each once."""
        found = (ref for each in self.build_layers for ref in (*each.secrets, each.credentials))
        return tuple(dict.fromkeys(ref for ref in found if ref is not None))

    def attachments(self, *, copied: bool = False) -> tuple[Attachment, ...]:
        """Return what of bundles containers see at which path, in the order of the layers.

        Args:
            copied: Those with `copy=True`, too: where a build cannot put files at absolute paths.
        """
        return tuple(self._attachments(copied=copied))

    def _attachments(self, *, copied: bool) -> Iterator[Attachment]:
        for layer in self.layers:
            if layer.method in ("add_local_file", "add_local_dir") and (layer.attaches or copied):
                given = layer.arguments
                yield Attachment(given["context"], given.get("name", ""), given["remote_path"])

    @property
    def attaches(self) -> bool:
        """Whether local files are attached already, so that nothing can be built on top."""
        return any(layer.attaches for layer in self.layers)
