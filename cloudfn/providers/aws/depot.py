"""The depot on S3: payloads with a MAC behind them, bundles as archives named by their digest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from random import Random
from re import compile as pattern
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from cloudfn.clock import Clock
from cloudfn.errors import DataLossError, InvalidError, NotFoundError, PermissionDeniedError
from cloudfn.providers.aws.archives import pack, unpack
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.s3 import PART, Bucket
from cloudfn.wire.messages import BlobRef
from cloudfn.wire.seals import SEAL, Seals, input_seals, result_seals

#: where payloads lie: what clients store, and what machines do
INPUTS = "inputs/"
RESULTS = "results/"

_NAME = pattern(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}/[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_DIGEST = pattern(r"[0-9a-f]{64}")


class S3Depot:
    """The `Depot` port on S3.

    Args:
        clients: Where the client comes from.
        bucket: Its name.
        key: Returns the environment's key; asked for when the first payload is stored or fetched.
        writes_results: Whether this is a machine, whose payloads are results.
        clock: Waits between two tries.
        random: Spreads the waits.
        part: Bytes that travel in one request.
    """

    def __init__(
        self,
        clients: ClientSource,
        bucket: str,
        key: Callable[[], bytes],
        *,
        writes_results: bool,
        clock: Clock,
        random: Random,
        part: int = PART,
    ) -> None:
        self._bucket = Bucket(clients, bucket, clock, random, part)
        self._key = key
        self._own, self._other = (RESULTS, INPUTS) if writes_results else (INPUTS, RESULTS)

    @cached_property
    def _seals(self) -> Mapping[str, Seals]:
        key = self._key()
        return {INPUTS: input_seals(key), RESULTS: result_seals(key)}

    def store(self, ref: BlobRef, source: Path) -> None:
        """See the port.

        Raises:
            DataLossError: The file is not there, or of another size.
        """
        _check_name(ref)
        try:
            with source.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size != ref.size:
                    raise _lost(ref, f"{source} has {size} bytes")
                seals = self._seals[self._own]
                self._bucket.put(
                    f"{self._own}{ref.name}",
                    file,
                    size,
                    lambda digest: seals.seal(digest, *_context(ref))[:SEAL],
                )
        except FileNotFoundError as error:
            raise _lost(ref, f"{source} is not there") from error

    def fetch(self, ref: BlobRef, target: Path) -> None:
        _check_name(ref)
        prefix, size, pieces = self._find(ref)
        if size != ref.size + SEAL:
            raise _lost(ref, f"it has {size - SEAL} bytes")
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.urandom(6).hex()}")
        try:
            with open(partial, "xb", opener=_private) as file:
                digest, trailer = _write(pieces, file, ref.size)
            self._seals[prefix].open(trailer + digest, *_context(ref))
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def delete(self, refs: Sequence[BlobRef]) -> None:
        for ref in refs:
            _check_name(ref)
        prefixes = (self._own, self._other)
        self._bucket.delete([f"{prefix}{ref.name}" for ref in refs for prefix in prefixes])

    def store_bundle(self, digest: str, folder: Path) -> None:
        """See the port.

        Raises:
            DataLossError: The folder's files are not those that the digest names.
        """
        key = _bundle(digest)
        if self._bucket.has(key):
            return
        with SpooledTemporaryFile(PART) as archive:
            file = cast("BinaryIO", archive)
            pack(digest, folder, file)
            self._bucket.put(key, file, file.tell())

    def fetch_bundle(self, digest: str, target: Path) -> None:
        try:
            _, pieces = self._bucket.read(_bundle(digest))
        except (NotFoundError, PermissionDeniedError) as error:
            raise NotFoundError(
                f"There is no bundle {digest[:12]}, or these credentials may not read it:"
                f" {error.message}",
                hint="Deploy the program again.",
            ) from error
        with SpooledTemporaryFile(PART) as archive:
            for piece in pieces:
                archive.write(piece)
            archive.seek(0)
            unpack(digest, cast("BinaryIO", archive), target)

    def has_bundle(self, digest: str) -> bool:
        return self._bucket.has(_bundle(digest))

    def _find(self, ref: BlobRef) -> tuple[str, int, Iterator[bytes]]:
        """Look where others store, and then, as calls may be made by functions, where we do.

        Without the permission to list a bucket, S3 says of what is not there that it is forbidden.
        """
        reasons: list[str] = []
        for prefix in (self._other, self._own):
            try:
                return prefix, *self._bucket.read(f"{prefix}{ref.name}")
            except (NotFoundError, PermissionDeniedError) as error:
                reasons.append(error.message)
        raise _lost(ref, "; ".join(each.rstrip(".") for each in reasons))


def _write(pieces: Iterator[bytes], file: BinaryIO, size: int) -> tuple[bytes, bytes]:
    """Write the first bytes to a file; return their SHA-256, and what comes behind."""
    digest = sha256()
    trailer, left = b"", size
    for piece in pieces:
        content = piece[:left]
        digest.update(content)
        file.write(content)
        trailer += piece[len(content) :]
        left -= len(content)
    return digest.digest(), trailer


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _context(ref: BlobRef) -> tuple[str, str, str]:
    """Return what the seal of a payload's SHA-256 is bound to."""
    return "blob", ref.name, str(ref.size)


def _check_name(ref: BlobRef) -> None:
    if not _NAME.fullmatch(ref.name):
        raise InvalidError(f"{ref.name!r} is no name of a blob.")


def _bundle(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise InvalidError(f"{digest!r} is no digest of a bundle.")
    return f"bundles/{digest}.tar.gz"


def _lost(ref: BlobRef, why: str) -> DataLossError:
    return DataLossError(
        f"The payload {ref.name} of {ref.size} bytes is missing or damaged: {why}.",
        hint="Payloads are kept for some days; call again.",
    )
