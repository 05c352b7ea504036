"""An environment's repository in ECR: which images it has, and what opens it to Docker.

An image is known by an immutable tag: the digest of its spec and the processor that it is for. A
second tag says which Python it has.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from threading import Lock
from typing import Any

from cloudfn.clock import Clock, SystemClock
from cloudfn.errors import AlreadyExistsError, InvalidError
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import explained
from cloudfn.providers.images import BuiltImage

#: platforms as Docker names them → how tags do
PLATFORMS: Mapping[str, str] = {"linux/amd64": "amd64", "linux/arm64": "arm64"}
#: seconds before a login expires that it is renewed: an upload may take long
_RENEW = 1_800.0
_ADDRESS = re.compile(r"[^/\s]+/(.+)")
_TAG = re.compile(r"([0-9a-f]+)-(amd64|arm64)")
_PYTHON = re.compile(r"[0-9a-f]+-(?:amd64|arm64)-python-(\S+)")
#: what images may be: those of Docker and those of OCI
_MEDIA_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)


class RegistryLogin:
    """A login to the account's registry: asked for once, and renewed before it expires.

    Usable from any thread. What it says is a secret.

    Args:
        clients: Where the client of `ecr` comes from.
        clock: The time.
    """

    def __init__(self, clients: ClientSource, clock: Clock | None = None) -> None:
        self._clients = clients
        self._clock = clock or SystemClock()
        self._lock = Lock()
        self._variables: Mapping[str, str] = {}
        #: seconds since the epoch
        self._until = 0.0

    def variables(self) -> Mapping[str, str]:
        """Return the login as the port `Registry` takes it.

        Raises:
            Error: AWS gives none.
        """
        with self._lock:
            if self._clock.wall() >= self._until - _RENEW:
                with explained("ecr", "GetAuthorizationToken"):
                    told = self._clients.of("ecr").get_authorization_token()
                [data] = told["authorizationData"]
                user, _, password = b64decode(data["authorizationToken"]).decode().partition(":")
                self._variables = {"REGISTRY_USERNAME": user, "REGISTRY_PASSWORD": password}
                self._until = data["expiresAt"].timestamp()
            return self._variables

    def forget(self) -> None:
        """Ask for another login the next time: the registry did not know this one."""
        with self._lock:
            self._until = 0.0


class EcrRepository:
    """The images of one platform in a repository, as ECR knows them. Usable from any thread.

    Args:
        clients: Where the client of `ecr` comes from.
        address: Host and name, as images are pushed to, and as Terraform says.
        platform: What the images are for, `linux/arm64`.

    Raises:
        InvalidError: That is no address, or no platform that machines have.
    """

    def __init__(self, clients: ClientSource, address: str, platform: str) -> None:
        found = _ADDRESS.fullmatch(address)
        if found is None:
            raise InvalidError(
                f"{address!r} is no repository of ECR.",
                hint="It is what `cloudfn infra outputs` calls the registry.",
            )
        if platform not in PLATFORMS:
            raise InvalidError(
                f"Machines are not of the platform {platform!r}.",
                hint=f"Say one of: {', '.join(PLATFORMS)}.",
            )
        self._clients = clients
        self.address = address
        self.platform = platform
        self._name = found[1]
        self._about = f"repository {self._name}"

    def tag(self, digest: str) -> str:
        """Return the tag of a spec's image."""
        return f"{digest}-{PLATFORMS[self.platform]}"

    def find(self, digest: str) -> BuiltImage | None:
        """Return what there is of a spec's image, for who may describe images."""
        details = self._describe(self.tag(digest))
        return None if details is None else self._image(digest, details)

    def reference(self, digest: str) -> str | None:
        """Return what a spec's image is pulled by, `repository@sha256:…`, for who may only pull."""
        found = self._get({"imageTag": self.tag(digest)})
        return None if found is None else self._reference(found["imageId"]["imageDigest"])

    def others(self, digest: str) -> list[str]:
        """Return the other platforms for which a spec's image is there."""
        tags = {f"{digest}-{short}": name for name, short in PLATFORMS.items()}
        del tags[self.tag(digest)]
        return [name for tag, name in tags.items() if self._get({"imageTag": tag}) is not None]

    def all(self) -> list[BuiltImage]:
        """Return all images of the platform, the newest first."""
        pages = self._clients.of("ecr").get_paginator("describe_images")
        found: list[BuiltImage] = []
        with explained("ecr", "DescribeImages", self._about):
            for page in pages.paginate(repositoryName=self._name, filter={"tagStatus": "TAGGED"}):
                for details in page["imageDetails"]:
                    found += [self._image(each, details) for each in self._digests(details)]
        return sorted(found, key=lambda image: image.created, reverse=True)

    def name_python(self, image: BuiltImage) -> None:
        """Note an image's Python beside it. Idempotent.

        Args:
            image: With a `reference` of this repository.
        """
        found = self._get({"imageDigest": image.reference.rpartition("@")[2]})
        if found is None:
            return
        with (
            suppress(AlreadyExistsError),
            explained("ecr", "PutImage", self._about),
        ):
            self._clients.of("ecr").put_image(
                repositoryName=self._name,
                imageManifest=found["imageManifest"],
                imageManifestMediaType=found["imageManifestMediaType"],
                imageTag=f"{self.tag(image.digest)}-python-{image.python}",
            )

    def remove(self, digest: str) -> bool:
        """Remove a spec's image with all its tags; return whether there was one."""
        details = self._describe(self.tag(digest))
        if details is None:
            return False
        with explained("ecr", "BatchDeleteImage", self._about):
            told = self._clients.of("ecr").batch_delete_image(
                repositoryName=self._name, imageIds=[{"imageDigest": details["imageDigest"]}]
            )
        return bool(told["imageIds"])

    def _describe(self, tag: str) -> Mapping[str, Any] | None:
        ecr = self._clients.of("ecr")
        with explained("ecr", "DescribeImages", self._about):
            try:
                told = ecr.describe_images(repositoryName=self._name, imageIds=[{"imageTag": tag}])
            except ecr.exceptions.ImageNotFoundException:
                return None
        return next(iter(told["imageDetails"]), None)

    def _get(self, image_id: Mapping[str, str]) -> Mapping[str, Any] | None:
        with explained("ecr", "BatchGetImage", self._about):
            told = self._clients.of("ecr").batch_get_image(
                repositoryName=self._name,
                imageIds=[image_id],
                acceptedMediaTypes=list(_MEDIA_TYPES),
            )
        return next(iter(told["images"]), None)

    def _digests(self, details: Mapping[str, Any]) -> list[str]:
        """Return the specs of this platform that an image is of."""
        found = map(_TAG.fullmatch, details.get("imageTags", ()))
        return [each[1] for each in found if each and each[2] == PLATFORMS[self.platform]]

    def _image(self, digest: str, details: Mapping[str, Any]) -> BuiltImage:
        pythons = filter(None, map(_PYTHON.fullmatch, details.get("imageTags", ())))
        return BuiltImage(
            digest,
            self._reference(details["imageDigest"]),
            next((each[1] for each in pythons), ""),
            details["imageSizeInBytes"],
            details["imagePushedAt"].timestamp(),
        )

    def _reference(self, image_digest: str) -> str:
        return f"{self.address}@{image_digest}"
