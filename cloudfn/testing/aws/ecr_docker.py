"""Docker between images in memory and the fake ECR."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace

from cloudfn.providers.docker.registry import meaning_of
from cloudfn.providers.images import BuiltImage
from cloudfn.testing.aws.ecr import Ecr
from cloudfn.testing.aws.service import Refused
from cloudfn.testing.memory_images import MemoryImages


class EcrDocker:
    """The `Registry` port: what Docker would carry, and what it would say.

    Args:
        ecr: The registry.
        images: Those of this machine.

    Attributes:
        pushes: How often something was sent.
        pulls: How often something was fetched.
        trouble: What Docker says instead, each once, in turn.
    """

    def __init__(self, ecr: Ecr, images: MemoryImages) -> None:
        self._ecr = ecr
        self._images = images
        self.pushes = 0
        self.pulls = 0
        self.trouble: list[str] = []

    def push(self, image: BuiltImage, repository: str, login: Mapping[str, str]) -> str:
        self.pushes += 1
        where = f"The image im-{image.digest} cannot be pushed to {repository}"
        self._meet(where)
        # What the image is does not depend on what it is called in a registry.
        content = json.dumps(asdict(replace(image, digest=image.reference))).encode()
        password = login["REGISTRY_PASSWORD"]
        try:
            digest = self._ecr.pushed(repository, image.digest, [content], password)
        except Refused as refused:
            raise meaning_of(refused.message, where) from None
        return f"{repository}@{digest}"

    def pull(self, reference: str, login: Mapping[str, str]) -> BuiltImage:
        self.pulls += 1
        where = f"The image {reference} cannot be pulled"
        self._meet(where)
        try:
            [content] = self._ecr.pulled(reference, login["REGISTRY_PASSWORD"])
        except Refused as refused:
            raise meaning_of(refused.message, where) from None
        image = BuiltImage(**json.loads(content))
        image = replace(image, digest=image.reference.removeprefix("memory:"))
        self._images.keep(image)
        return image

    def _meet(self, where: str) -> None:
        if self.trouble:
            raise meaning_of(self.trouble.pop(0), where)
