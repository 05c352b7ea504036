"""The Image builder: every method returns a new Image that has one more layer.

The methods record what they are given, after a look at it. `imaging.resolve` reads local files
when an App is run or deployed, and builders of the providers make images of what comes of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from cloudfn.errors import InvalidError, UnimplementedError
from cloudfn.model.image import ImageSpec
from cloudfn.sdk.images.bases import Bases
from cloudfn.sdk.images.files import LocalFiles
from cloudfn.sdk.images.packages import Packages
from cloudfn.sdk.images.system import System
from cloudfn.sdk.twins import Steps, twin

if TYPE_CHECKING:
    from cloudfn.sdk.app import App

_NOT_PUBLISHED = "Images are found by what they are made of: no registry of names is kept."


class Image(Bases, Packages, System, LocalFiles):
    """What containers have installed, as an immutable list of layers.

    Methods take the arguments of Modal's. Where there is a base, or something is installed,
    containers have an environment of their own; otherwise that of the deploying client.
    """

    __slots__ = ()

    @property
    def object_id(self) -> str:
        """The id, `im-…`: the same for the same layers.

        The image that is built has one of its own, which follows from what local files hold, too.
        """
        return self.spec.image_id

    @contextmanager
    def imports(self) -> Iterator[None]:
        """Swallow an ImportError here, where the image's packages may be missing; not there."""
        from cloudfn.sdk.context import is_local

        try:
            yield
        except ImportError:
            if not is_local():
                raise

    def pipe(self, func: Callable[..., Image], *args: Any, **kwargs: Any) -> Image:
        """Return what a function makes of this Image."""
        return func(self, *args, **kwargs)

    @twin
    def build(self, app: App) -> Steps[Image]:
        """Build it now, where an App would have it, and return it.

        Args:
            app: The App whose environment it is for.

        Raises:
            InvalidError: A local file is missing, or the runtime cannot do what it asks for.
            ImageBuildError: A step failed.
        """
        from cloudfn.sdk.client import default_client
        from cloudfn.sdk.image_build import build_alone

        engine = app._client or default_client(app._environment)  # noqa: SLF001
        yield from build_alone(engine, self.spec)
        return self

    def publish(self, name: str) -> None:  # noqa: ARG002 - Modal's signature
        """Raise UnimplementedError: images have no names."""
        raise UnimplementedError(_NOT_PUBLISHED, hint="Share the code that makes the Image.")

    @property
    def logs(self) -> NoReturn:
        """Raise UnimplementedError: the log of a build is shown while it is built."""
        raise UnimplementedError(
            "Logs of builds are not kept.", hint="`cloudfn image build` shows them."
        )

    def __repr__(self) -> str:
        return f"<Image {' '.join(each.method for each in self.spec.layers)}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and self.spec == other.spec

    def __hash__(self) -> int:
        return hash(self.spec.digest)


def image_spec(image: object, what: str) -> ImageSpec | None:
    """Return the layers of an `image=` argument; raises InvalidError for what is no Image."""
    if image is None:
        return None
    if not isinstance(image, Image):
        raise InvalidError(
            f"`image` of {what} must be an Image, not {type(image).__name__}.",
            hint="Make the Image with its methods, for example cloudfn.Image.debian_slim().",
        )
    return image.spec
