"""What volumes hold: contents in S3, and a manifest for each volume of which file has which.

A manifest names all files, the contents that no file has any more, and the requests that made it.
Each commit writes a new one, as an item of its own or, if it is large, as an object; then the head
of the volume, `VO#<volume>`/`HEAD`, is led over to it if it still is at the one that was read. So a
commit is seen whole or not at all, and one that was carried out is known for it.

Contents are named by their SHA-256 and the request that brought them: one that is given up can
never be the one that somebody else counts on. They are fetched once into a private folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import file_digest, sha256
from io import BytesIO
from pathlib import Path
from random import Random

from cloudfn.clock import Clock
from cloudfn.errors import (
    DataLossError,
    Error,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
)
from cloudfn.model.ids import derive, mint
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import ConditionFailed
from cloudfn.providers.aws.manifests import Manifest, pack, unpack
from cloudfn.providers.aws.retries import too_busy, tries
from cloudfn.providers.aws.s3 import Bucket
from cloudfn.providers.aws.table import Item, Table, delete, put
from cloudfn.providers.volumes import Link, StagedFile, VolumeFile

_HEAD, _ALL = "HEAD", "VO#"
#: bytes of a manifest in the table; an item may have 400 KB
_MOST_BYTES = 350_000
#: contents that travel at once
_THREADS = 16
#: seconds for which a request is known at least
_REMEMBERED = 86_400.0
#: seconds after which what was staged and never committed is deleted
_ABANDONED = 86_400.0
#: seconds that AWS's signatures are good for
_LONGEST_LINK = 7 * 86_400
_EMPTY = sha256().hexdigest()


class S3Volumes:
    """The `Volumes` port on a bucket and a table.

    Args:
        clients: Where the clients of S3 and DynamoDB come from.
        table: The name of the environment's table.
        bucket: The name of its bucket.
        cache: A private folder of this process for contents and staged files; made when absent.
        clock: Waits between two tries.
        prefix: How the keys of contents begin.
    """

    def __init__(
        self,
        clients: ClientSource,
        table: str,
        bucket: str,
        cache: Path,
        clock: Clock,
        prefix: str = "volumes/",
    ) -> None:
        self._table = Table(clients, table, clock)
        self._bucket = Bucket(clients, bucket, clock, Random())
        self._cache = cache
        self._clock = clock
        self._prefix = prefix
        #: the last manifest of each volume that was read, by its name
        self._known: dict[str, tuple[str, Manifest]] = {}

    def files(self, volume_id: str) -> list[VolumeFile]:
        _, manifest = self._read(volume_id)
        return [manifest.files[path] for path in sorted(manifest.files)]

    def content(self, volume_id: str, key: str) -> Path:
        """See the port.

        Raises:
            DataLossError: There is no such content, or it is damaged.
        """
        target = self._local(volume_id, key)
        if not target.exists():
            self._fetch(volume_id, key, target)
        return target

    def fetch(self, volume_id: str, keys: Sequence[str]) -> None:
        missing = [key for key in keys if not self._local(volume_id, key).exists()]
        if missing:
            with ThreadPoolExecutor(min(len(missing), _THREADS)) as threads:
                list(threads.map(lambda key: self.content(volume_id, key), missing))

    def link(self, volume_id: str, file: VolumeFile, seconds: int) -> Link:
        if seconds > _LONGEST_LINK:
            raise InvalidError(
                "S3 gives links for 7 days at most.",
                hint="Make one for less, and another when it is over.",
            )
        name = file.path.rpartition("/")[2]
        return self._bucket.link(self._key(volume_id, file.key), name, seconds)

    def stage(self, volume_id: str) -> Path:
        stage = self._cache / volume_id / "stage"
        stage.mkdir(mode=0o700, parents=True, exist_ok=True)
        return stage

    def commit(
        self,
        volume_id: str,
        puts: Sequence[StagedFile],
        removes: Sequence[str],
        *,
        request: str,
        now: float,
    ) -> None:
        _, before = self._read(volume_id)
        if request in before.requests:
            return
        brought = self._bring(volume_id, puts, request)
        self._change(
            volume_id,
            lambda manifest: manifest.without((), now - _REMEMBERED).committed(
                brought, removes, request, now
            ),
        )

    def wipe(self, volume_id: str) -> None:
        head, manifest = self._read(volume_id)
        if head is not None:
            keys = [*(file.key for file in manifest.files.values()), *manifest.gone]
            self._bucket.delete([self._key(volume_id, key) for key in {*keys}])
            self._forget(volume_id, head)
            self._table.write_all([delete(f"VO#{volume_id}", _HEAD), delete(_ALL, volume_id)])
        shutil.rmtree(self._cache / volume_id, ignore_errors=True)

    def expire(self, now: float, patience: float) -> None:
        late = now - patience
        for item in self._table.query(_ALL):
            volume_id = item["sk"]
            _, before = self._read(volume_id)
            over = {key for key, at in before.gone.items() if at <= late}
            # First the contents: who dies here is followed by the next one who comes by.
            self._bucket.delete([self._key(volume_id, key) for key in over])
            for key in over:
                self._local(volume_id, key).unlink(missing_ok=True)
            self._change(volume_id, partial(Manifest.without, keys=over, late=late))
        for staged in self._cache.glob("*/stage/*"):
            if staged.lstat().st_mtime <= now - _ABANDONED:
                shutil.rmtree(staged, ignore_errors=True)

    def close(self) -> None:
        """See the port; connections belong to the clients."""

    # How

    def _read(self, volume_id: str) -> tuple[Item | None, Manifest]:
        """Return the head of a volume, if there is one, and the manifest that it names."""
        for _ in tries(self._clock):
            head = self._table.get(f"VO#{volume_id}", _HEAD)
            if head is None:
                return None, Manifest()
            name, manifest = self._known.get(volume_id, ("", Manifest()))
            if name == head["manifest"]:
                return head, manifest
            packed = self._packed(volume_id, head)
            if packed is not None:
                manifest = unpack(packed, volume_id)
                self._known[volume_id] = head["manifest"], manifest
                return head, manifest
            # A commit came between, which deletes the manifest before its own.
        raise DataLossError(f"The list of the files of {volume_id} is not there.")

    def _packed(self, volume_id: str, head: Item) -> bytes | None:
        if not head["large"]:
            item = self._table.get(f"VO#{volume_id}", f"M#{head['manifest']}")
            return None if item is None else item["packed"]
        try:
            _, pieces = self._bucket.read(self._key(volume_id, head["manifest"]))
            return b"".join(pieces)
        except (NotFoundError, PermissionDeniedError):
            # Nobody may list volumes: then S3 says of what is gone that it is forbidden.
            return None

    def _change(self, volume_id: str, change: Callable[[Manifest], Manifest]) -> None:
        for _ in tries(self._clock):
            head, before = self._read(volume_id)
            after = change(before)
            if after == before:
                return
            new = self._write(volume_id, after)
            same = {} if head is None else {"seen": head["manifest"]}
            leading = put(new, "#manifest = :seen" if same else "attribute_not_exists(pk)", **same)
            try:
                self._table.transact([leading, put({"pk": _ALL, "sk": volume_id})])
            except ConditionFailed:
                self._forget(volume_id, new)
                continue
            self._known[volume_id] = new["manifest"], after
            if head is not None:
                self._forget(volume_id, head)
            return
        raise too_busy(volume_id)

    def _write(self, volume_id: str, manifest: Manifest) -> Item:
        """Write a manifest, and return the head that names it."""
        packed, name = pack(manifest), mint("ma")
        large = len(packed) > _MOST_BYTES
        if large:
            self._bucket.put(self._key(volume_id, name), BytesIO(packed), len(packed))
        else:
            self._table.write(put({"pk": f"VO#{volume_id}", "sk": f"M#{name}", "packed": packed}))
        return {"pk": f"VO#{volume_id}", "sk": _HEAD, "manifest": name, "large": large}

    def _forget(self, volume_id: str, head: Item) -> None:
        if head["large"]:
            self._bucket.delete([self._key(volume_id, head["manifest"])])
        else:
            self._table.write(delete(f"VO#{volume_id}", f"M#{head['manifest']}"))

    def _bring(self, volume_id: str, puts: Sequence[StagedFile], request: str) -> list[VolumeFile]:
        """Bring contents to S3; those of a request that fails are deleted again."""
        brought: list[str] = []

        def bring(staged: StagedFile) -> VolumeFile:
            try:
                with staged.source.open("rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    digest = file_digest(file, "sha256").hexdigest()
                    key = f"{digest}-{derive('r', request, staged.path)[2:]}"
                    if size and self._bucket.put(self._key(volume_id, key), file, size):
                        brought.append(self._key(volume_id, key))
            except FileNotFoundError:
                raise DataLossError(
                    f"The file for {staged.path!r} is not there any more."
                ) from None
            return VolumeFile(staged.path, key, size, staged.mtime, staged.mode)

        try:
            with ThreadPoolExecutor(_THREADS) as threads:
                return list(threads.map(bring, puts))
        except Error:
            self._bucket.delete(brought)
            raise

    def _fetch(self, volume_id: str, key: str, target: Path) -> None:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = target.with_name(f".{key}.{os.urandom(6).hex()}")
        digest = sha256()
        try:
            with unfinished.open("xb") as file:
                for piece in self._pieces(volume_id, key):
                    digest.update(piece)
                    file.write(piece)
            if digest.hexdigest() != key.partition("-")[0]:
                raise _lost(volume_id, key, "it is damaged")
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)

    def _pieces(self, volume_id: str, key: str) -> Iterable[bytes]:
        if key.startswith(_EMPTY):
            # S3 has no range of an empty object.
            return ()
        try:
            return self._bucket.read(self._key(volume_id, key))[1]
        except (NotFoundError, PermissionDeniedError) as error:
            raise _lost(volume_id, key, f"it is not there: {error.message}") from error

    def _key(self, volume_id: str, key: str) -> str:
        return f"{self._prefix}{volume_id}/{key}"

    def _local(self, volume_id: str, key: str) -> Path:
        return self._cache / volume_id / "content" / key


def _lost(volume_id: str, key: str, why: str) -> DataLossError:
    return DataLossError(f"The content {key[:12]} of {volume_id} is lost: {why}.")
