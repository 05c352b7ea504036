"""Images as clients see them: described, found by name, and in use by apps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from cloudfn.errors import ConflictError, InvalidError, NotFoundError
from cloudfn.model.image import ImageSpec
from cloudfn.providers.catalog import Catalog
from cloudfn.providers.images import BuiltImage, Images

#: (runtime, digest)
Key = tuple[str, str]


def spec_from(fields: Mapping[str, Any]) -> ImageSpec:
    """Return the image that a client describes."""
    return ImageSpec(tuple(fields["layers"]), fields.get("platform", ""))


def found_json(images: Images, spec: ImageSpec) -> dict[str, Any]:
    """Return whether an image is there, and what of it its runtime cannot do."""
    image = images.find(spec)
    return {
        "digest": spec.digest,
        "image": None if image is None else asdict(image),
        "unmet": list(images.unmet(spec)),
    }


def find_image(
    images: Iterable[tuple[str, BuiltImage]], name: str, runtime: str | None = None
) -> tuple[str, BuiltImage]:
    """Return the one of (runtime, image) that a name means.

    Args:
        images: All that there are.
        name: `im-…`, its digest, or the beginning of either.
        runtime: Of which runtime it is; None: there is only one.

    Raises:
        NotFoundError: There is none.
        InvalidError: There are several.
    """
    wanted = name.removeprefix("im-")
    found = [
        (of, image)
        for of, image in images
        if wanted and image.digest.startswith(wanted) and runtime in (None, of)
    ]
    if not found:
        of_runtime = f" of the {runtime} runtime" if runtime else ""
        raise NotFoundError(
            f"There is no image {name}{of_runtime}.", hint="See `cloudfn image list`."
        )
    if len(found) == 1:
        return found[0]
    if len({image.digest for _, image in found}) > 1:
        raise InvalidError(f"{len(found)} images begin with {name}.", hint="Write more of the id.")
    built = " and ".join(sorted(of for of, _ in found))
    raise InvalidError(
        f"The image {name} was built for the runtimes {built}.", hint="Say which with --runtime."
    )


def image_json(image: BuiltImage, runtime: str, users: Iterable[str]) -> dict[str, Any]:
    """Return an image as clients see it, with the names of the apps that use it."""
    return {
        "image_id": f"im-{image.digest}",
        "runtime": runtime,
        **asdict(image),
        "apps": sorted(users),
    }


def removed_json(image: BuiltImage, runtime: str) -> dict[str, Any]:
    """Return an image that is gone."""
    return {"image_id": f"im-{image.digest}", "runtime": runtime, "size": image.size}


def users_of_images(catalog: Catalog) -> defaultdict[Key, set[str]]:
    """Return the names of the apps whose live revision has an image."""
    users: defaultdict[Key, set[str]] = defaultdict(set)
    for app in catalog.apps():
        revision = catalog.revision(app.app_id, app.revision)
        if revision is not None:
            for _, spec in revision.spec.environments():
                users[revision.spec.runtime, spec.digest].add(app.name or app.app_id)
    return users


def refuse_removal(image: BuiltImage, apps: list[str], *, busy: bool) -> None:
    """Raise ConflictError where an image is in use."""
    if apps:
        raise ConflictError(
            f"The image im-{image.digest} is in use by {', '.join(apps)}.",
            hint="Stop the app first, or use --force: its next deploy builds the image again.",
        )
    if busy:
        raise ConflictError(
            f"Containers run on the image im-{image.digest}.",
            hint="Wait until they have ended, or use --force.",
        )
