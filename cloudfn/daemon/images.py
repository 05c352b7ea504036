"""Images as clients and pools need them: built in threads, once for all who wait, and found."""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, Future, TimerHandle
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial

from cloudfn.control.deploy.images import found_json
from cloudfn.control.operations import Fields
from cloudfn.control.stores.later import Later
from cloudfn.daemon.session import Session
from cloudfn.errors import Error, InternalError, InvalidError
from cloudfn.model.image import ImageSpec
from cloudfn.model.secret import SecretRef
from cloudfn.providers.images import BuiltImage, Images
from cloudfn.wire.messages import Kind
from cloudfn.wire.replies import error_json

_log = logging.getLogger(__name__)

#: seconds that lines of a build are collected before those who watch get them
_PAUSE = 0.1
#: builds at one time; further ones wait
_THREADS = 4

Key = tuple[str, str]


@dataclass(slots=True)
class _Building:
    """A build that is under way."""

    #: who waits for it
    waiters: list[tuple[Session | None, Later]] = field(default_factory=list)
    #: what nobody has been sent yet
    lines: list[str] = field(default_factory=list)
    timer: TimerHandle | None = None


class ImageDesk:
    """The images of all runtimes. Single-threaded but for the work itself.

    Args:
        loop: The loop.
        images: The port, by runtime.
        secrets: Gives the variables of the secrets that an image names; see `SecretDesk.of_image`.
        built: Is told that an image was built, before those who wait for it.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        images: Mapping[str, Images],
        secrets: Callable[[ImageSpec], dict[SecretRef, dict[str, str]]],
        built: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._images = images
        self._secrets = secrets
        self._built = built
        self._threads = ThreadPoolExecutor(_THREADS, "cloudfn-images")
        #: images that pools are made of, as they were when last looked at
        self._known: dict[Key, BuiltImage] = {}
        self._builds: dict[Key, _Building] = {}
        #: (client, its number) → the build that it watches
        self._watches: dict[tuple[Session, int], Key] = {}
        self._closed = False

    def of(self, runtime: str) -> Images:
        """Return the images of a runtime.

        Raises:
            InvalidError: There is no such runtime here; the hint says what it needs.
        """
        try:
            return self._images[runtime]
        except KeyError:
            raise InvalidError(
                f"This machine has no runtime {runtime!r}.",
                hint=f"There are: {', '.join(self._images)}.",
            ) from None

    def runtimes(self) -> list[str]:
        """Return the names of the runtimes that there are, in order."""
        return list(self._images)

    def clear_up(self) -> None:
        """Have what an earlier daemon left half built removed: opening the images does that."""
        self.ask(lambda: {name: str(images) for name, images in self._images.items()})

    # For pools

    def known(self, runtime: str, spec: ImageSpec) -> BuiltImage | None:
        """Return an image that pools may be made of; looks for it the first time only."""
        key = runtime, spec.digest
        if key not in self._known:
            found = self.of(runtime).find(spec)
            if found is None:
                return None
            self._known[key] = found
        return self._known[key]

    def building(self) -> set[Key]:
        """Return (runtime, digest) of the images that are being built."""
        return set(self._builds)

    # For clients

    def ask(self, work: Callable[[], Fields]) -> Later:
        """Return what `work` will have returned, or the error that it raised; it may block."""
        later = Later()
        self._in_thread(None, work, later.give, later.give)
        return later

    def find(self, runtime: str, specs: list[ImageSpec]) -> Later:
        """Return which images are there, and what of each the runtime cannot do."""
        images = self.of(runtime)
        later = Later()

        def look() -> Fields:
            return {"images": [found_json(images, spec) for spec in specs]}

        def tell(told: Fields) -> None:
            for spec, each in zip(specs, told["images"], strict=True):
                # What somebody removed by hand is forgotten, so that it is built again.
                self._know(runtime, spec.digest, each["image"])
            later.give(told)

        self._in_thread(None, look, tell, later.give)
        return later

    def build(
        self,
        session: Session | None,
        runtime: str,
        spec: ImageSpec,
        environ: Mapping[str, str],
        *,
        anew: bool,
    ) -> Later:
        """Return an image that is built, or is being built, or was built already.

        Raises:
            InvalidError: There is no such runtime, or a secret lacks keys.
            NotFoundError: A secret that a step names is gone.
        """
        images, key, later = self.of(runtime), (runtime, spec.digest), Later()
        if key in self._builds:
            self._builds[key].waiters.append((session, later))
            return later
        values = self._secrets(spec)
        building = self._builds[key] = _Building([(session, later)])

        def report(line: str) -> None:
            self._loop.call_soon_threadsafe(self._report, key, building, line)

        def work() -> Fields:
            image = images.build(spec, report, values.__getitem__, environ, anew=anew)
            return asdict(image)

        def tell(told: Fields) -> None:
            self._know(runtime, spec.digest, told)
            self._built()
            self._conclude(key, building, {"image": told})

        fail = partial(self._conclude, key, building)
        self._in_thread(self._threads, work, tell, fail)
        return later

    def ensure(
        self,
        session: Session | None,
        runtime: str,
        specs: list[ImageSpec],
        environ: Mapping[str, str],
    ) -> Later:
        """Have those images built that are not there; return nothing, or the first error.

        Raises:
            InvalidError: There is no such runtime.
        """
        later = Later()

        def build_missing(told: Fields) -> None:
            if "error" in told:
                later.give(told)
                return
            found = zip(specs, told["images"], strict=True)
            missing = {spec.digest: spec for spec, each in found if each["image"] is None}

            def built(digest: str, told: Fields) -> None:
                missing.pop(digest)
                if "error" in told or not missing:
                    later.give({key: told[key] for key in ("error",) if key in told})

            if not missing:
                later.give({})
            for digest, spec in list(missing.items()):
                try:
                    building = self.build(session, runtime, spec, environ, anew=False)
                except Error as error:  # a secret is gone
                    later.give({"error": error_json(error)})
                    return
                building.then(partial(built, digest))

        self.find(runtime, specs).then(build_missing)
        return later

    def watch(self, session: Session, ref: int, runtime: str, digest: str) -> None:
        """Send a client the output of a build, from here on."""
        self._watches[session, ref] = runtime, digest

    def unwatch(self, session: Session, ref: int) -> None:
        """Send it no more. Idempotent."""
        self._watches.pop((session, ref), None)

    def leave(self, session: Session, key: Key | None = None) -> None:
        """A client waits no more, for one build or for any; the last one to leave ends a build."""
        for each, building in list(self._builds.items()):
            if key not in (None, each):
                continue
            before = len(building.waiters)
            building.waiters = [w for w in building.waiters if w[0] is not session]
            if before and not building.waiters:
                _log.info("nobody waits for the image %s any more", each[1])
                del self._builds[each]
                self._cancel(each)

    def closed(self, session: Session) -> None:
        """A client is gone."""
        self.leave(session)
        self._watches = {w: key for w, key in self._watches.items() if w[0] is not session}

    def renewed(self, runtime: str, digest: str) -> None:
        """An image came from elsewhere: pools are made of it from now on."""
        self.forget(runtime, digest)
        self._built()

    def forget(self, runtime: str, digest: str) -> None:
        """An image was removed."""
        self._known.pop((runtime, digest), None)

    def close(self) -> None:
        """End all builds, and wait until they have ended."""
        self._closed = True
        for key in self._builds:
            self._cancel(key)
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _cancel(self, key: Key) -> None:
        runtime, digest = key
        self._images[runtime].cancel(digest)

    def _know(self, runtime: str, digest: str, image: Fields | None) -> None:
        if image is None:
            self.forget(runtime, digest)
        else:
            self._known[runtime, digest] = BuiltImage(**image)

    def _report(self, key: Key, building: _Building, line: str) -> None:
        building.lines.append(line)
        if building.timer is None and not self._closed:
            building.timer = self._loop.call_later(_PAUSE, self._flush, key, building)

    def _flush(self, key: Key, building: _Building) -> None:
        building.timer = None
        lines, building.lines = building.lines, []
        body = {"event": "image", "image_id": f"im-{key[1]}", "lines": lines}
        for (session, ref), watched in self._watches.items():
            if watched == key and lines and not session.congested:
                session.send_json(Kind.EVENT, {"ref": ref, **body})

    def _conclude(self, key: Key, building: _Building, told: Fields) -> None:
        """A build is over: tell everybody who waits."""
        if building.timer is not None:
            building.timer.cancel()
        self._flush(key, building)
        if self._builds.get(key) is building:
            del self._builds[key]
        for _, later in building.waiters:
            later.give(told)

    def _in_thread(
        self,
        threads: ThreadPoolExecutor | None,
        work: Callable[[], Fields],
        tell: Callable[[Fields], None],
        fail: Callable[[Fields], None],
    ) -> None:
        """Do work in a thread; `tell` gets what it returns, `fail` its error, on the loop.

        Questions have the loop's own threads, so that they need not wait for builds.
        """

        def ended(done: Future[Fields]) -> None:
            if self._closed or done.cancelled():
                return  # clients begin anew with the next daemon
            error = done.exception()
            if error is None:
                tell(done.result())
            elif isinstance(error, Error):
                fail({"error": error_json(error)})
            else:
                _log.error("the work on an image failed", exc_info=error)
                failed = InternalError(f"The daemon failed: {error!r}", hint=_REPORT)
                fail({"error": error_json(failed)})

        self._loop.run_in_executor(threads, work).add_done_callback(ended)


_REPORT = "See `cloudfn daemon logs`; please report this."
