"""Operations on images: find, build, watch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from threading import Lock
from typing import TYPE_CHECKING, Any

from cloudfn.control.invocation.caller import Fields
from cloudfn.control.invocation.conversation import Conversation
from cloudfn.control.invocation.operations.table import Group
from cloudfn.errors import InvalidError
from cloudfn.model.image import ImageSpec
from cloudfn.model.secret import SecretRef

if TYPE_CHECKING:
    from cloudfn.control.invocation.front import Front


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
        found = []
        for spec in map(_spec, fields["specs"]):
            image = self._images.find(spec)
            found.append(
                {
                    "digest": spec.digest,
                    "image": None if image is None else asdict(image),
                    "unmet": list(self._images.unmet(spec)),
                }
            )
        return {"images": found}

    def op_image_build(self, _conversation: Conversation, fields: Fields) -> Fields:
        _check_runtime(fields)
        spec = _spec(fields["spec"])
        values = {ref: self._variables(ref) for ref in spec.secrets}

        def report(line: str) -> None:
            body = {"event": "image", "image_id": spec.image_id, "lines": [line]}
            with self._lock:
                watching = list(self._watches[spec.digest])
            for conversation, ref in watching:
                conversation.event({"ref": ref, **body})

        image = self._images.build(
            spec,
            report,
            values.__getitem__,
            dict(fields.get("environ") or {}),
            anew=bool(fields.get("anew")),
        )
        return {"image": asdict(image)}

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
        spec = _spec(fields["spec"])
        return {"plan": self._images.plan(spec), "unmet": list(self._images.unmet(spec))}

    def _variables(self, ref: SecretRef) -> dict[str, str]:
        found = self._front.stores.secrets.variables([ref])
        missing = [key for key in ref.required_keys if key not in found]
        if missing:
            raise InvalidError(
                f"The secret {ref} of an image lacks required keys: {', '.join(missing)}.",
                hint="Add them with `Secret.update`, or create it again with --force.",
            )
        return found


def _spec(fields: Mapping[str, Any]) -> ImageSpec:
    return ImageSpec(tuple(fields["layers"]))


def _check_runtime(fields: Fields) -> None:
    if fields["runtime"] != "docker":
        raise InvalidError(
            f"On a cloud containers are Docker's, not those of the runtime {fields['runtime']!r}.",
            hint="Leave `--runtime` and CLOUDFN_RUNTIME away.",
        )
