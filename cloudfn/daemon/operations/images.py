"""Operations on images: find, build, watch, list, show, remove, prune, plan."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from cloudfn.control.deploy.images import (
    Key,
    find_image,
    image_json,
    refuse_removal,
    removed_json,
    spec_from,
    users_of_images,
)
from cloudfn.control.operations import Fields, Group
from cloudfn.control.stores.later import Later
from cloudfn.daemon.engine import Engine
from cloudfn.daemon.session import Session
from cloudfn.errors import ConflictError, Error, UnimplementedError
from cloudfn.model.secret import SecretRef
from cloudfn.providers.images import BuiltImage, Registry

#: the runtime whose images registries know
_PUSHED = "docker"


class ImageOperations(Group):
    """Operations on images."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._images = engine.images

    def op_image_find(self, _session: Session, fields: Fields) -> Later:
        specs = [spec_from(each) for each in fields["specs"]]
        return self._images.find(fields["runtime"], specs)

    def op_image_build(self, session: Session, fields: Fields) -> Later:
        return self._images.build(
            session,
            fields["runtime"],
            spec_from(fields["spec"]),
            dict(fields.get("environ") or {}),
            anew=bool(fields.get("anew")),
        )

    def op_image_watch(self, session: Session, fields: Fields) -> Fields:
        self._images.watch(session, fields["ref"], fields["runtime"], fields["digest"])
        return {}

    def op_image_leave(self, session: Session, fields: Fields) -> Fields:
        self._images.leave(session, (fields["runtime"], fields["digest"]))
        return {}

    def op_image_plan(self, _session: Session, fields: Fields) -> Later:
        images, spec = self._images.of(fields["runtime"]), spec_from(fields["spec"])
        return self._images.ask(
            lambda: {"plan": images.plan(spec), "unmet": list(images.unmet(spec))}
        )

    def op_image_list(self, _session: Session, _fields: Fields) -> Later:
        users = self._users()

        def look() -> Fields:
            images, trouble = self._all()
            found = [
                image_json(image, runtime, users[runtime, image.digest])
                for runtime, image in images
            ]
            return {
                "images": sorted(found, key=lambda each: -each["created"]),
                "trouble": trouble,
            }

        return self._images.ask(look)

    def op_image_show(self, _session: Session, fields: Fields) -> Later:
        users = self._users()

        def look() -> Fields:
            runtime, image = self._named(fields)
            return image_json(image, runtime, users[runtime, image.digest])

        return self._images.ask(look)

    def op_image_remove(self, _session: Session, fields: Fields) -> Later:
        users, busy, building = self._users(), self._busy(), self._images.building()

        def remove() -> Fields:
            runtime, image = self._named(fields)
            key = runtime, image.digest
            if key in building:
                raise ConflictError(
                    f"The image im-{image.digest} is being built anew.",
                    hint="Wait until that is done.",
                )
            if not fields.get("force"):
                refuse_removal(image, sorted(users[key]), busy=key in busy)
            self._images.of(runtime).remove(image.digest)
            return removed_json(image, runtime)

        return self._forgetting(self._images.ask(remove))

    def op_image_prune(self, _session: Session, fields: Fields) -> Later:
        kept = self._busy() | self._images.building()
        if not fields.get("all"):
            kept |= set(self._users())

        def remove() -> Fields:
            removed = []
            for runtime, image in self._all()[0]:
                key = runtime, image.digest
                if key not in kept and self._images.of(runtime).remove(image.digest):
                    removed.append(removed_json(image, runtime))
            return {"removed": removed, "freed": sum(each["size"] for each in removed)}

        return self._forgetting(self._images.ask(remove))

    def op_image_push(self, _session: Session, fields: Fields) -> Later:
        login = self._login(fields)

        def push() -> Fields:
            _, image = self._named({**fields, "runtime": _PUSHED})
            reference = self._registry().push(image, fields["repository"], login)
            return {"image_id": f"im-{image.digest}", "reference": reference}

        return self._images.ask(push)

    def op_image_pull(self, _session: Session, fields: Fields) -> Later:
        login = self._login(fields)

        def pull() -> Fields:
            image = self._registry().pull(fields["reference"], login)
            return image_json(image, _PUSHED, ())

        later = self._images.ask(pull)
        later.then(self._pulled)
        return later

    def _pulled(self, told: Mapping[str, Any]) -> None:
        if "digest" in told:
            self._images.renewed(_PUSHED, told["digest"])

    def _registry(self) -> Registry:
        if self._engine.open_registry is None:
            raise UnimplementedError("There is no way to registries of images here.")
        return self._engine.open_registry()

    def _login(self, fields: Fields) -> dict[str, str]:
        """Return the variables of the secret that opens the registry."""
        name = fields.get("secret")
        return self._engine.stores.secrets.variables([SecretRef(name)]) if name else {}

    def _forgetting(self, later: Later) -> Later:
        """Have pools no more made of images that were removed, not even of warm templates."""

        def forget(told: Mapping[str, Any]) -> None:
            for each in told.get("removed", [told]):
                if "image_id" in each:
                    self._images.forget(each["runtime"], each["image_id"].removeprefix("im-"))
            self._engine.apps.renew_runtimes()

        later.then(forget)
        return later

    def _all(self) -> tuple[list[tuple[str, BuiltImage]], dict[str, str]]:
        """Return all images with their runtime, and why those of a runtime cannot be listed."""
        found, trouble = [], {}
        for runtime in self._images.runtimes():
            try:
                found += [(runtime, image) for image in self._images.of(runtime).list()]
            except Error as error:
                trouble[runtime] = error.message
        return found, trouble

    def _named(self, fields: Fields) -> tuple[str, BuiltImage]:
        return find_image(self._all()[0], fields["image"], fields.get("runtime"))

    def _users(self) -> defaultdict[Key, set[str]]:
        """Return the names of the apps whose live revision has an image."""
        return users_of_images(self._engine.catalog)

    def _busy(self) -> set[Key]:
        """Return the images that containers run on."""
        busy = set()
        for pool in self._engine.agent.pools():
            spec = pool.spec
            revision = self._engine.catalog.revision(spec.app_id, spec.revision)
            if pool.containers and revision is not None:
                image = revision.spec.environment(spec.function.name)
                if image is not None:
                    busy.add((revision.spec.runtime, image.digest))
        return busy
