"""What an Image is made of: ordered layers, recorded as plain data, and their digest. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

_DIGEST_LENGTH = 22
#: layers that mean something to a container that runs under the deploying interpreter
_OBEYED = frozenset({"add_local_python_source", "env"})
#: bases that ask for nothing unless they name a version of Python
_PLAIN_BASES = frozenset({"debian_slim", "micromamba"})


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
    def obeyed(self) -> bool:
        """Whether a container without an image of its own is as the layer asks."""
        if self.method in _PLAIN_BASES:
            return not self.arguments.get("python_version")
        return self.method in _OBEYED


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """The layers of an Image, the base first."""

    layers: tuple[Layer, ...] = ()

    def __post_init__(self) -> None:
        layers = (each if isinstance(each, Layer) else Layer(**each) for each in self.layers)
        object.__setattr__(self, "layers", tuple(layers))

    def with_layer(self, layer: Layer) -> ImageSpec:
        """Return these layers and one more."""
        return ImageSpec((*self.layers, layer))

    @property
    def digest(self) -> str:
        """Hex of a hash of the layers: the same for the same layers, in any process."""
        import hashlib
        import json

        text = json.dumps([asdict(each) for each in self.layers], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]

    @property
    def image_id(self) -> str:
        """The id, `im-…`, made of the digest."""
        return f"im-{self.digest}"

    @property
    def env(self) -> dict[str, str]:
        """The variables that the layers set, later ones on top."""
        variables: dict[str, str] = {}
        for layer in self.layers:
            if layer.method == "env":
                variables |= layer.arguments["vars"]
        return variables

    @property
    def python_sources(self) -> tuple[str, ...]:
        """Names of the local modules that the layers bring."""
        return tuple(
            name
            for layer in self.layers
            if layer.method == "add_local_python_source"
            for name in layer.arguments["modules"]
        )

    @property
    def attaches(self) -> bool:
        """Whether local files are attached already, so that nothing can be built on top."""
        return any(layer.attaches for layer in self.layers)

    @property
    def unmet(self) -> tuple[str, ...]:
        """Methods whose layers are recorded without effect, each once."""
        return tuple(dict.fromkeys(each.method for each in self.layers if not each.obeyed))
