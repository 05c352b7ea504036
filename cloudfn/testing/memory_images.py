"""Images that are never built: records of what was asked for, with knobs for what goes wrong."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType

from cloudfn.errors import ImageBuildError
from cloudfn.model.image import ImageSpec
from cloudfn.providers.images import BuildSecrets, BuiltImage, no_secrets

_PYTHON = "3.11"
_SIZE = 1 << 20


class MemoryImages:
    """The `Images` port as a dictionary.

    Args:
        python: The version of Python that all of them have.

    Attributes:
        builds: How often each digest was built.
        impossible: Methods that this runtime cannot do, and why.
        broken: Methods whose step fails.
        gate: Builds wait until it is set.
    """

    def __init__(self, python: str = _PYTHON) -> None:
        self._python = python
        self.builds: Counter[str] = Counter()
        self.impossible: dict[str, str] = {}
        self.broken: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self._images: dict[str, BuiltImage] = {}
        self._turns: dict[str, threading.Lock] = {}
        self._cancelled: set[str] = set()

    def find(self, spec: ImageSpec) -> BuiltImage | None:
        return self._images.get(spec.digest)

    def build(
        self,
        spec: ImageSpec,
        report: Callable[[str], None],
        secrets: BuildSecrets = no_secrets,
        environ: Mapping[str, str] = MappingProxyType({}),
        *,
        anew: bool = False,
    ) -> BuiltImage:
        turn = self._turns.setdefault(spec.digest, threading.Lock())
        waited = not turn.acquire(blocking=False)
        if waited:
            turn.acquire()
        try:
            if spec.digest in self._images and (waited or not anew):
                return self._images[spec.digest]
            self._carry_out(spec, report)
            image = BuiltImage(
                spec.digest, f"memory:{spec.digest}", f"{spec.python or self._python}.0", _SIZE,
                float(sum(self.builds.values())),
            )  # fmt: skip
            self.builds[spec.digest] += 1
            self._images[spec.digest] = image
            return image
        finally:
            self._cancelled.discard(spec.digest)
            turn.release()

    def cancel(self, digest: str) -> None:
        turn = self._turns.get(digest)
        if turn is not None and turn.locked():
            self._cancelled.add(digest)

    def plan(self, spec: ImageSpec) -> str:
        return "".join(f"{layer.method}\n" for layer in spec.build_layers)

    def unmet(self, spec: ImageSpec) -> tuple[str, ...]:
        methods = dict.fromkeys(layer.method for layer in spec.build_layers)
        return tuple(f"{m}: {self.impossible[m]}" for m in methods if m in self.impossible)

    def list(self) -> list[BuiltImage]:
        return sorted(self._images.values(), key=lambda image: image.created, reverse=True)

    def remove(self, digest: str) -> bool:
        return self._images.pop(digest, None) is not None

    def keep(self, image: BuiltImage) -> None:
        """Have an image that was made elsewhere."""
        self._images[image.digest] = image

    def _carry_out(self, spec: ImageSpec, report: Callable[[str], None]) -> None:
        layers = spec.build_layers
        for number, layer in enumerate(layers, 1):
            report(f"[{number}/{len(layers)}] {layer.method}")
            while not self.gate.wait(0.01):
                if spec.digest in self._cancelled:
                    raise ImageBuildError("The build of the image was cancelled.")
            if layer.method in self.broken:
                report(f"{layer.method} is broken")
                raise ImageBuildError(
                    f"The step {layer.method} of the image failed (exit code 1): it\n"
                    f"  {layer.method} is broken"
                )
