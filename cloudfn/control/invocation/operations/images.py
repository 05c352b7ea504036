"""Operations on images: find, build, watch, list, remove."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from threading import Lock
from typing import TYPE_CHECKING

from cloudfn.control.deploy.images import (
    find_image,
    found_json,
    image_json,
    refuse_removal,
    removed_json,
    spec_from,
    users_of_images,
)
from cloudfn.control.invocation.conversation import Conversation
from cloudfn.control.operations import Fields, Group
from cloudfn.errors import ConflictError, InvalidError
from cloudfn.model.image import ImageSpec
from cloudfn.providers.images import BuiltImage

if TYPE_CHECKING:
    from cloudfn.control.invocation.front import Front


_RUNTIME = "docker"


class ImageOperations(Group):
    """Operations on images, which are all Docker's."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._images = front.cloud.images
        self._lock = Lock()
        #: digest → who wants to see its build
        self._watches: defaultdict[str, dict[tuple[Conversation, int], None]] = defaultdict(dict)

    def op_image_find(self, _conversation: Conversation, fields: Fields) -> Fields:
        _check_runtime(fields)
        specs = map(spec_from, fields["specs"])
        return {"images": [found_json(self._images, spec) for spec in specs]}

    def op_image_build(self, _conversation: Conversation, fields: Fields) -> Fields:
        _check_runtime(fields)
        spec = spec_from(fields["spec"])

        def report(line: str) -> None:
            body = {"event": "image", "image_id": spec.image_id, "lines": [line]}
            with self._lock:
                watching = list(self._watches[spec.digest])
            for conversation, ref in watching:
                conversation.event({"ref": ref, **body})

        environ = dict(fields.get("environ") or {})
        image = self._build(spec, report, environ, anew=bool(fields.get("anew")))
        return {"image": asdict(image)}

    def ensure(self, spec: ImageSpec, environ: Mapping[str, str]) -> None:
        """Build an image of a known revision where it is gone.

        Raises:
            ConflictError: What it is built from is not there any more either.
            ImageBuildError: A step failed.
        """
        if self._images.find(spec) is not None:
            return
        for digest in spec.contexts:
            folder = self._front.bundles / digest
            if folder.exists():
                continue
            if not self._front.cloud.depot.has_bundle(digest):
                raise ConflictError(
                    f"The image {spec.image_id} was removed, and files that it is built from "
                    f"({digest[:12]}) are neither on this machine nor in the environment.",
                    hint="Deploy that version of your program from its sources instead.",
                )
            folder.parent.mkdir(parents=True, exist_ok=True)
            self._front.cloud.depot.fetch_bundle(digest, folder)
        self._build(spec, lambda _: None, environ)

    def _build(
        self,
        spec: ImageSpec,
        report: Callable[[str], None],
        environ: Mapping[str, str],
        *,
        anew: bool = False,
    ) -> BuiltImage:
        values = self._front.stores.secrets.of_image(spec)
        return self._images.build(spec, report, values.__getitem__, environ, anew=anew)

    def op_image_watch(self, conversation: Conversation, fields: Fields) -> Fields:
        watch, digest = (conversation, int(fields["ref"])), fields["digest"]
        with self._lock:
            self._watches[digest][watch] = None

        def end() -> None:
            with self._lock:
                self._watches[digest].pop(watch, None)

        conversation.follow(watch[1], end)
        return {}

    def op_image_leave(self, _conversation: Conversation, fields: Fields) -> Fields:
        self._images.cancel(fields["digest"])
        return {}

    def op_image_plan(self, _conversation: Conversation, fields: Fields) -> Fields:
        _check_runtime(fields)
        spec = spec_from(fields["spec"])
        return {"plan": self._images.plan(spec), "unmet": list(self._images.unmet(spec))}

    def op_image_list(self, _conversation: Conversation, _fields: Fields) -> Fields:
        users = users_of_images(self._front.cloud.catalog)
        found = [
            image_json(image, _RUNTIME, users[_RUNTIME, image.digest])
            for image in self._images.list()
        ]
        return {"images": sorted(found, key=lambda each: -each["created"]), "trouble": {}}

    def op_image_show(self, _conversation: Conversation, fields: Fields) -> Fields:
        image = self._named(fields)
        users = users_of_images(self._front.cloud.catalog)
        return image_json(image, _RUNTIME, users[_RUNTIME, image.digest])

    def op_image_remove(self, _conversation: Conversation, fields: Fields) -> Fields:
        image = self._named(fields)
        if not fields.get("force"):
            users = users_of_images(self._front.cloud.catalog)
            refuse_removal(image, sorted(users[_RUNTIME, image.digest]), busy=False)
        self._images.remove(image.digest)
        return removed_json(image, _RUNTIME)

    def op_image_prune(self, _conversation: Conversation, fields: Fields) -> Fields:
        users = users_of_images(self._front.cloud.catalog)
        unused = [
            image
            for image in self._images.list()
            if fields.get("all") or not users[_RUNTIME, image.digest]
        ]
        removed = [
            removed_json(image, _RUNTIME) for image in unused if self._images.remove(image.digest)
        ]
        return {"removed": removed, "freed": sum(each["size"] for each in removed)}

    def _named(self, fields: Fields) -> BuiltImage:
        images = [(_RUNTIME, image) for image in self._images.list()]
        return find_image(images, fields["image"], fields.get("runtime"))[1]


def _check_runtime(fields: Fields) -> None:
    if fields["runtime"] != _RUNTIME:
        raise InvalidError(
            f"On a cloud containers are Docker's, not those of the runtime {fields['runtime']!r}.",
            hint="Leave `--runtime` and CLOUDFN_RUNTIME away.",
        )
