"""Images on their way to registries and back, by the engine, which knows whom it may ask."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from cloudfn.clock import Clock, SystemClock
from cloudfn.errors import (
    AuthError,
    ConnectionError,  # noqa: A004 - ours
    Error,
    InvalidError,
    NotFoundError,
    ResourceExhaustedError,
    ServiceError,
)
from cloudfn.providers.docker import credentials
from cloudfn.providers.docker.engine import DockerEngine
from cloudfn.providers.docker.images import DockerImages
from cloudfn.providers.docker.labels import DIGEST_LABEL
from cloudfn.providers.images import BuiltImage

_HOST = r"(?:[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+(?::\d+)?|[a-zA-Z0-9-]+:\d+|localhost)"
_PART = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*")
_REFERENCE = re.compile(rf"({_REPOSITORY.pattern})@(sha256:[0-9a-f]{{64}})")
#: how often a registry is asked that does not answer
_TRIES = 4
#: what registries and engines say → what that means; the first that is found counts
_MEANINGS: tuple[tuple[str, type[Error], str | None], ...] = (
    (
        r"no space left on device|disk quota exceeded",
        ResourceExhaustedError,
        "Make room where Docker keeps its images: `docker system df` shows what takes it, `docker "
        "image prune` removes what nothing uses.",
    ),
    (
        r"HTTP response to HTTPS client|certificate signed by unknown|x509:",
        InvalidError,
        "Docker talks to registries over HTTPS with certificates that it trusts; others have to be "
        "named under `insecure-registries` in its settings.",
    ),
    (
        r"denied|unauthorized|no basic auth|authentication required|forbidden",
        AuthError,
        "Log in with `docker login REGISTRY`, or name a secret with REGISTRY_USERNAME and "
        "REGISTRY_PASSWORD: --secret NAME.",
    ),
    (r"not found|manifest unknown|name unknown|does not exist|no such image", NotFoundError, None),
    (
        r"\bEOF\b|connection (?:refused|reset)|broken pipe|time-?out|too ?many ?requests"
        r"|no such host|temporar|unavailable|status: 5\d\d|\b50[0-4]\b",
        ConnectionError,
        "Look whether the registry can be reached from the Docker engine.",
    ),
)


def meaning_of(message: str, where: str) -> Error:
    """Return the error that an engine's words about a registry mean.

    Args:
        message: The words.
        where: What was wanted, for people.
    """
    for words, kind, hint in _MEANINGS:
        if re.search(words, message, re.IGNORECASE):
            return kind(f"{where}: {message}", hint=hint)
    return ServiceError(f"{where}: {message}")


class DockerRegistry:
    """The `Registry` port by a Docker engine.

    Args:
        images: The images that go and come.
        engine: Has them.
        clock: Waits before a registry that did not answer is asked again.
    """

    def __init__(
        self, images: DockerImages, engine: DockerEngine, clock: Clock | None = None
    ) -> None:
        self._images = images
        self._engine = engine
        self._clock = clock or SystemClock()

    def push(self, image: BuiltImage, repository: str, login: Mapping[str, str]) -> str:
        if _REPOSITORY.fullmatch(repository) is None:
            raise InvalidError(
                f"{repository!r} is no name of a repository.",
                hint="Write it as in registry.example:5000/team/images, without a tag.",
            )
        where = f"The image im-{image.digest} cannot be pushed to {repository}"
        login_config = _login(repository, login)
        with self._engine.asked() as api:
            api.tag(image.reference, repository, image.digest)
        try:
            told = self._until_answered(
                where,
                lambda api: api.push(
                    repository, image.digest, stream=True, decode=True, auth_config=login_config
                ),
            )
        finally:
            self._untag(f"{repository}:{image.digest}")
        return f"{repository}@{_pushed(told)}"

    def pull(self, reference: str, login: Mapping[str, str]) -> BuiltImage:
        found = _REFERENCE.fullmatch(reference)
        if found is None:
            raise InvalidError(
                f"{reference!r} does not name an image by its digest.",
                hint="Write what `cloudfn image push` printed: REPOSITORY@sha256:….",
            )
        login_config = _login(found[1], login)
        self._until_answered(
            f"The image {reference} cannot be pulled",
            lambda api: api.pull(
                found[1], found[2], stream=True, decode=True, auth_config=login_config
            ),
        )
        with self._engine.asked() as api:
            told = api.inspect_image(reference)
        digest = ((told["Config"] or {}).get("Labels") or {}).get(DIGEST_LABEL)
        try:
            if not digest:
                raise InvalidError(
                    f"No cloudfn made the image {reference}.",
                    hint="Use it as a base: Image.from_registry(…).",
                )
            return self._images.keep(digest, told["Id"])
        finally:
            self._untag(reference)

    def _until_answered(
        self, where: str, ask: Callable[[Any], Iterable[Mapping[str, Any]]]
    ) -> list[Mapping[str, Any]]:
        """Return what the engine tells of a transfer, tried again while the registry is away."""
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt
        from tenacity.wait import wait_random_exponential

        tries = Retrying(
            stop=stop_after_attempt(_TRIES),
            wait=wait_random_exponential(multiplier=0.5, max=8),
            retry=retry_if_exception_type(ConnectionError),
            sleep=self._clock.sleep,
            reraise=True,
        )
        return tries(self._ask, where, ask)

    def _ask(
        self, where: str, ask: Callable[[Any], Iterable[Mapping[str, Any]]]
    ) -> list[Mapping[str, Any]]:
        try:
            with self._engine.asked() as api:
                told = list(ask(api))
        except (NotFoundError, ServiceError) as error:
            raise meaning_of(error.message, where) from None
        for each in told:
            if "error" in each:
                raise meaning_of(str(each["error"]), where)
        return told

    def _untag(self, name: str) -> None:
        # Other names of the image keep it.
        with suppress(Error), self._engine.asked() as api:
            api.remove_image(name)


def _login(repository: str, variables: Mapping[str, str]) -> dict[str, str] | None:
    """Return a login as the SDK wants it; None: it looks into Docker's own settings."""
    if not variables:
        return None
    who = credentials.of_secret(variables, repository)
    return {"username": who.username, "password": who.password}


def _pushed(told: Iterable[Mapping[str, Any]]) -> str:
    for each in told:
        if digest := (each.get("aux") or {}).get("Digest"):
            return str(digest)
    raise ServiceError("Docker pushed an image and does not say under which digest.")
