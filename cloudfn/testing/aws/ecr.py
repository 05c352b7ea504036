"""Fake ECR: repositories whose tags may be immutable, images by digest, tokens that expire.

From the API reference, "Preventing image tags from being overwritten", "Private registry
authentication in Amazon ECR" and "Amazon ECR service quotas".
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from random import Random
from typing import Any

from cloudfn.testing.aws.knobs import EcrKnobs
from cloudfn.testing.aws.service import Answer, Bucket, Refused, Request, Service
from cloudfn.testing.clock import FakeClock

_USUAL_PAGE = 100
_TAG = re.compile(r"\w[\w.-]{0,127}\Z", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(slots=True)
class _Image:
    digest: str
    manifest: str
    media_type: str
    pushed: float
    tags: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of its layers, as they are kept."""
        return sum(each["size"] for each in _layers(self.manifest))


@dataclass(slots=True)
class _Repository:
    name: str
    immutable: bool
    created: float
    #: by digest
    images: dict[str, _Image] = field(default_factory=dict)
    #: what was pushed, by digest
    layers: dict[str, bytes] = field(default_factory=dict)

    def tagged(self, tag: str) -> _Image | None:
        """Return the image that has a tag."""
        return next((each for each in self.images.values() if tag in each.tags), None)


class Ecr(Service):
    """The private registry of an account and region.

    Args:
        clock: What time it is.
        random: Where passwords come from.
        region: In the names of things.
        account: In the names of things.
        knobs: How nasty.
    """

    name = "ecr"

    def __init__(
        self, clock: FakeClock, random: Random, region: str, account: str, knobs: EcrKnobs
    ) -> None:
        super().__init__(clock, random, region, account)
        self._knobs = knobs
        self._repositories: dict[str, _Repository] = {}
        #: password → until when it opens the registry
        self._passwords: dict[str, float] = {}
        self._tokens = Bucket(knobs.tokens)
        self._reads = Bucket(knobs.reads)

    @property
    def registry(self) -> str:
        """Name of the host that images are pushed to."""
        return f"{self.account}.dkr.ecr.{self.region}.amazonaws.com"

    def truth(self, name: str) -> dict[str, list[str]]:
        """Return the images of a repository: digest → tags."""
        with self.changed:
            images = self._repositories[name].images
            return {digest: list(each.tags) for digest, each in images.items()}

    def pushed(self, repository: str, tag: str, layers: list[bytes], password: str) -> str:
        """Do what `docker push` does, and return the digest; no client of the API can.

        Args:
            repository: Host and name.
            tag: Under which.
            layers: What the image is.
            password: Of a token.

        Raises:
            Refused: The registry does not take it; `message` is what Docker would print.
        """
        with self.changed:
            known = self._entered(repository, password)
            contents = {f"sha256:{sha256(each).hexdigest()}": each for each in layers}
            known.layers |= contents
            told = [{"size": len(each), "digest": digest} for digest, each in contents.items()]
            manifest = {"schemaVersion": 2, "mediaType": _DOCKER, "layers": told}
            text = json.dumps(manifest)
            try:
                return self._put(known, text, _DOCKER, tag, self.clock.wall()).digest
            except Refused as refused:
                if refused.code == "ImageAlreadyExistsException":
                    return _digest(text)
                raise Refused("TAG_INVALID", f"tag invalid: {refused.message}") from None

    def pulled(self, reference: str, password: str) -> list[bytes]:
        """Do what `docker pull` does, and return the layers.

        Args:
            reference: Host, name and digest.
            password: Of a token.

        Raises:
            Refused: The registry does not give it; `message` is what Docker would print.
        """
        repository, _, digest = reference.partition("@")
        with self.changed:
            known = self._entered(repository, password)
            if digest not in known.images:
                raise Refused("MANIFEST_UNKNOWN", "manifest unknown: image not found", 404)
            return [known.layers[each["digest"]] for each in _layers(known.images[digest].manifest)]

    def _entered(self, repository: str, password: str) -> _Repository:
        """Return a repository to who has a token."""
        host, _, name = repository.partition("/")
        if host != self.registry or self._passwords.get(password, 0.0) <= self.clock.wall():
            raise Refused("DENIED", "denied: Your authorization token has expired.", 403)
        try:
            return self._named(name)
        except Refused as refused:
            raise Refused("NAME_UNKNOWN", f"name unknown: {refused.message}", 404) from None

    # ----------------------------------------------------------------------------- repositories

    def create_repository(self, request: Request) -> Answer:
        name = request["repositoryName"]
        if name in self._repositories:
            raise Refused(
                "RepositoryAlreadyExistsException",
                f"The repository with name '{name}' already exists in the registry with id"
                f" '{self.account}'",
            )
        immutable = request.get("imageTagMutability", "MUTABLE") == "IMMUTABLE"
        self._repositories[name] = _Repository(name, immutable, request.now)
        return {"repository": self._shown(self._repositories[name])}

    def describe_repositories(self, request: Request) -> Answer:
        names = request.get("repositoryNames") or sorted(self._repositories)
        return {"repositories": [self._shown(self._named(name)) for name in names]}

    def get_authorization_token(self, request: Request) -> Answer:
        self._spend(self._tokens, request)
        password = f"{self.random.getrandbits(128):032x}"
        until = request.now + self._knobs.token_lives
        self._passwords[password] = until
        return {
            "authorizationData": [
                {
                    "authorizationToken": b64encode(f"AWS:{password}".encode()).decode(),
                    "expiresAt": datetime.fromtimestamp(until, UTC),
                    "proxyEndpoint": f"https://{self.registry}",
                }
            ]
        }

    # ----------------------------------------------------------------------------------- images

    def put_image(self, request: Request) -> Answer:
        repository, manifest = self._known(request), request["imageManifest"]
        missing = [each for each in _layers(manifest) if each["digest"] not in repository.layers]
        if missing:
            raise Refused(
                "LayersNotFoundException",
                f"Layers with digests '{[each['digest'] for each in missing]}' required for"
                " pushing image do not exist",
            )
        kind = request.get("imageManifestMediaType", _DOCKER)
        tag = request.get("imageTag")
        image = self._put(repository, manifest, kind, tag, request.now)
        image_id = {"imageDigest": image.digest} | ({"imageTag": tag} if tag else {})
        return {"image": self._found(repository, image, image_id)}

    def batch_get_image(self, request: Request) -> Answer:
        self._spend(self._reads, request)
        repository = self._known(request)
        images: list[Answer] = []
        failures: list[Answer] = []
        for image_id in request["imageIds"]:
            try:
                image = self._image(repository, image_id)
                full = {**image_id, "imageDigest": image.digest}
                images.append(self._found(repository, image, full))
            except Refused as refused:
                failures.append(_failure(image_id, refused))
        return {"images": images, "failures": failures}

    def describe_images(self, request: Request) -> Answer:
        self._spend(self._reads, request)
        repository = self._known(request)
        asked = request.get("imageIds")
        if asked:
            images = {each.digest: each for each in self._all(repository, asked)}
            return {"imageDetails": [self._detail(repository, each) for each in images.values()]}
        status = request.get("filter", {}).get("tagStatus", "ANY")
        found = [
            each
            for digest, each in sorted(repository.images.items())
            if digest > request.get("nextToken", "")
            and (status == "ANY" or bool(each.tags) == (status == "TAGGED"))
        ]
        limit = min(request.get("maxResults", _USUAL_PAGE), self._knobs.page)
        page = found[:limit]
        answer: Answer = {"imageDetails": [self._detail(repository, each) for each in page]}
        return answer | ({"nextToken": page[-1].digest} if len(found) > limit else {})

    def batch_delete_image(self, request: Request) -> Answer:
        repository = self._known(request)
        gone: list[Answer] = []
        failures: list[Answer] = []
        for image_id in request["imageIds"]:
            try:
                image = self._image(repository, image_id)
            except Refused as refused:
                failures.append(_failure(image_id, refused))
                continue
            tags = [image_id["imageTag"]] if "imageTag" in image_id else list(image.tags)
            image.tags = [tag for tag in image.tags if tag not in tags]
            gone += [{"imageDigest": image.digest, "imageTag": tag} for tag in tags]
            gone += [] if tags else [{"imageDigest": image.digest}]
            if not image.tags:
                del repository.images[image.digest]
        return {"imageIds": gone, "failures": failures}

    # ------------------------------------------------------------------------------------ parts

    def _put(
        self, repository: _Repository, manifest: str, kind: str, tag: str | None, now: float
    ) -> _Image:
        if tag is not None and not _TAG.match(tag):
            raise _invalid(f"Invalid parameter at 'imageTag': {tag!r} is no tag")
        digest = _digest(manifest)
        holder = None if tag is None else repository.tagged(tag)
        known = repository.images.get(digest)
        if known is not None and (tag is None or holder is known):
            raise Refused(
                "ImageAlreadyExistsException",
                f"Image with digest '{digest}' and tag '{tag}' already exists in the repository"
                f" with name '{repository.name}'",
            )
        if holder is not None and tag is not None:
            if repository.immutable:
                raise Refused(
                    "ImageTagAlreadyExistsException",
                    f"The image tag '{tag}' already exists in the '{repository.name}' repository"
                    " and cannot be overwritten because the tag is immutable.",
                )
            holder.tags.remove(tag)
        image = known or _Image(digest, manifest, kind, now)
        repository.images[digest] = image
        image.tags += [] if tag is None else [tag]
        return image

    def _all(self, repository: _Repository, asked: list[dict[str, str]]) -> list[_Image]:
        return [self._image(repository, image_id) for image_id in asked]

    def _image(self, repository: _Repository, image_id: dict[str, str]) -> _Image:
        """Return the image of an id; the code of a refusal says what is wrong, as failures do."""
        digest, tag = image_id.get("imageDigest"), image_id.get("imageTag")
        if digest is None and tag is None:
            raise Refused("MissingDigestAndTag", "Invalid request parameters: no digest and no tag")
        if digest is not None and not _DIGEST.match(digest):
            raise Refused(
                "InvalidImageDigest", f"Invalid request parameters: image digest {digest}"
            )
        found = repository.images.get(digest) if digest else repository.tagged(tag or "")
        if found is None:
            raise Refused(
                "ImageNotFoundException",
                f"The image with imageId {image_id} does not exist within the repository with name"
                f" '{repository.name}' in the registry with id '{self.account}'",
            )
        if tag is not None and tag not in found.tags:
            raise Refused("ImageTagDoesNotMatchDigest", "The tag is another image's.")
        return found

    def _shown(self, repository: _Repository) -> Answer:
        return {
            "repositoryArn": self.arn(f"repository/{repository.name}"),
            "registryId": self.account,
            "repositoryName": repository.name,
            "repositoryUri": f"{self.registry}/{repository.name}",
            "createdAt": datetime.fromtimestamp(repository.created, UTC),
            "imageTagMutability": "IMMUTABLE" if repository.immutable else "MUTABLE",
        }

    def _found(self, repository: _Repository, image: _Image, image_id: dict[str, str]) -> Answer:
        return {
            "registryId": self.account,
            "repositoryName": repository.name,
            "imageId": image_id,
            "imageManifest": image.manifest,
            "imageManifestMediaType": image.media_type,
        }

    def _detail(self, repository: _Repository, image: _Image) -> Answer:
        return {
            "registryId": self.account,
            "repositoryName": repository.name,
            "imageDigest": image.digest,
            "imageSizeInBytes": image.size,
            "imagePushedAt": datetime.fromtimestamp(image.pushed, UTC),
            "imageManifestMediaType": image.media_type,
            **({"imageTags": list(image.tags)} if image.tags else {}),
        }

    def _known(self, request: Request) -> _Repository:
        return self._named(request["repositoryName"])

    def _named(self, name: str) -> _Repository:
        if name not in self._repositories:
            raise Refused(
                "RepositoryNotFoundException",
                f"The repository with name '{name}' does not exist in the registry with id"
                f" '{self.account}'",
            )
        return self._repositories[name]

    def _spend(self, bucket: Bucket, request: Request) -> None:
        if not bucket.take(1, request.now):
            raise Refused("ThrottlingException", "Rate exceeded")


def _failure(image_id: dict[str, str], refused: Refused) -> Answer:
    code = refused.code.removesuffix("Exception")
    return {"imageId": image_id, "failureCode": code, "failureReason": refused.message}


def _layers(manifest: str) -> list[dict[str, Any]]:
    try:
        layers: list[dict[str, Any]] = json.loads(manifest).get("layers", [])
    except (ValueError, AttributeError):
        raise _invalid("Invalid parameter at 'ImageManifest': no valid JSON") from None
    return layers


def _digest(manifest: str) -> str:
    return f"sha256:{sha256(manifest.encode()).hexdigest()}"


def _invalid(message: str) -> Refused:
    return Refused("InvalidParameterException", message)
