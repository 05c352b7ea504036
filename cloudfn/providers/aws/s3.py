"""Objects of one S3 bucket: written once, in parts if they are large, and read whole. Thin I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import count
from random import Random
from typing import Any, BinaryIO
from urllib.parse import quote

import tenacity

from cloudfn.clock import Clock
from cloudfn.errors import DataLossError, NotFoundError, PermissionDeniedError
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.codes import Kind
from cloudfn.providers.aws.errors import (
    ConditionFailed,
    Where,
    error_code,
    explained,
    kind,
    translated,
)
from cloudfn.providers.aws.retries import conflicts, to_the_last
from cloudfn.providers.volumes import Link

#: bytes of a part, and of what travels in one request: larger objects take several
PART = 16 << 20
#: parts of one object that are under way at once, so that a network link is filled
_PARALLEL = 4
#: parts that S3 allows are 10,000
_MOST_PARTS = 9_000
#: reads of a part whose body breaks off, and seconds between two
_READS = 6
_PAUSE = 0.2
#: keys of one DeleteObjects
_KEYS = 1_000


class Bucket:
    """One bucket. Safe to share between threads; blocks.

    Args:
        clients: Where the client comes from.
        name: Of the bucket.
        clock: Waits between two tries.
        random: Spreads the waits.
        part: Bytes of a part.
    """

    def __init__(
        self, clients: ClientSource, name: str, clock: Clock, random: Random, part: int = PART
    ) -> None:
        self._clients = clients
        self._name = name
        self._clock = clock
        self._random = random
        self._part = part

    def put(
        self,
        key: str,
        source: BinaryIO,
        size: int,
        trailer: Callable[[bytes], bytes] = lambda _: b"",
    ) -> bool:
        """Write an object that nobody may have written before.

        Args:
            key: Of the object.
            source: A file at its start.
            size: Its bytes.
            trailer: Gives what is written behind, by the SHA-256 of the file.

        Returns:
            False if there is one already, which stays as it is.
        """
        write = self._put_whole if size <= self._part else self._put_in_parts
        again = tenacity.retry_if_exception(_begins_anew)
        attempt = conflicts(self._clock).copy(retry=again).wraps(write)
        try:
            with explained("s3", "PutObject", self._what(key)):
                attempt(key, source, size, trailer)
        except ConditionFailed:
            return False
        return True

    def read(self, key: str) -> tuple[int, Iterator[bytes]]:
        """Return an object's size, and what gives its bytes in order, or raises DataLossError.

        Raises:
            NotFoundError: There is no such object.
            PermissionDeniedError: The same, in a bucket that one may not list; or no permission.
        """
        first, total, etag = self._piece(key, 0, None)

        def pieces() -> Iterator[bytes]:
            yield first
            try:
                yield from self._others(key, range(len(first), total, self._part), etag)
            except (NotFoundError, ConditionFailed) as error:
                raise DataLossError(f"{self._what(key)} was changed while it was read.") from error

        return total, pieces()

    def has(self, key: str) -> bool:
        """Whether there is such an object; needs the permission to list those that begin so."""
        with explained("s3", "ListObjectsV2", self._what(key)):
            answer = self._client.list_objects_v2(Bucket=self._name, Prefix=key, MaxKeys=1)
        return any(each["Key"] == key for each in answer.get("Contents", ()))

    def link(self, key: str, name: str, seconds: int) -> Link:
        """Return an address at which anybody can read an object; asks nothing of the network.

        Args:
            key: Of the object, whether there is one or not.
            name: What a browser is to call the file.
            seconds: For how long it is good, if the credentials are.
        """
        shown = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
        params = {"Bucket": self._name, "Key": key, "ResponseContentDisposition": shown}
        with explained("s3", "GetObject", self._what(key)):
            url = str(
                self._client.generate_presigned_url("get_object", Params=params, ExpiresIn=seconds)
            )
        return Link(url, temporary="X-Amz-Security-Token=" in url)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects. Idempotent."""
        where = Where("s3", "DeleteObjects", f"bucket {self._name}")
        for at in range(0, len(keys), _KEYS):
            to_the_last(self._delete, keys[at : at + _KEYS], where, self._clock, self._random)

    @property
    def _client(self) -> Any:
        return self._clients.of("s3")

    def _what(self, key: str) -> str:
        return f"s3://{self._name}/{key}"

    def _put_whole(
        self, key: str, source: BinaryIO, size: int, trailer: Callable[[bytes], bytes]
    ) -> None:
        source.seek(0)
        data = source.read(size)
        body = data + trailer(sha256(data).digest())
        self._client.put_object(Bucket=self._name, Key=key, Body=body, IfNoneMatch="*")

    def _put_in_parts(
        self, key: str, source: BinaryIO, size: int, trailer: Callable[[bytes], bytes]
    ) -> None:
        object_ = {"Bucket": self._name, "Key": key}
        created = self._client.create_multipart_upload(**object_)
        upload = {**object_, "UploadId": created["UploadId"]}
        try:
            parts = self._upload(upload, _parts(source, size, self._part, trailer))
            self._client.complete_multipart_upload(
                **upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
        except BaseException:
            self._abort(upload)
            raise

    def _upload(self, upload: dict[str, str], parts: Iterator[bytes]) -> list[dict[str, Any]]:
        numbers = count(1)

        def send(numbered: tuple[int, bytes]) -> dict[str, Any]:
            number, body = numbered
            answer = self._client.upload_part(**upload, PartNumber=number, Body=body)
            return {"PartNumber": number, "ETag": answer["ETag"]}

        sent: list[dict[str, Any]] = []
        with ThreadPoolExecutor(_PARALLEL) as threads:
            # No more than a window of parts is in memory.
            while window := list(zip(range(_PARALLEL), numbers, parts, strict=False)):
                sent += threads.map(send, [(number, body) for _, number, body in window])
        return sent

    def _abort(self, upload: dict[str, str]) -> None:
        """Give the parts up; what stays all the same, the bucket's own rule removes in a day."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.abort_multipart_upload(**upload)
        except (BotoCoreError, ClientError):
            return

    def _others(self, key: str, starts: Sequence[int], etag: str) -> Iterator[bytes]:
        """Yield the parts that begin there, some of them read ahead."""
        with ThreadPoolExecutor(_PARALLEL) as threads:
            for at in range(0, len(starts), _PARALLEL):
                window = starts[at : at + _PARALLEL]
                for piece, _, _ in threads.map(lambda at: self._piece(key, at, etag), window):
                    yield piece

    def _piece(self, key: str, start: int, etag: str | None) -> tuple[bytes, int, str]:
        """Return a part of an object, the size of the whole, and which version it is of."""
        from botocore.exceptions import BotoCoreError

        reading = {"Bucket": self._name, "Key": key} | ({"IfMatch": etag} if etag else {})
        broken: BotoCoreError | None = None
        for _ in range(_READS):
            with explained("s3", "GetObject", self._what(key)):
                answer = self._client.get_object(
                    **reading, Range=f"bytes={start}-{start + self._part - 1}"
                )
            total = int(answer["ContentRange"].rpartition("/")[2])
            try:
                return answer["Body"].read(), total, answer["ETag"]
            except BotoCoreError as error:
                if kind(error) is not Kind.TIMED_OUT:
                    raise translated(error, Where("s3", "GetObject", self._what(key))) from error
                broken = error
            self._clock.sleep(self._random.uniform(0, _PAUSE))
        assert broken is not None
        raise translated(broken, Where("s3", "GetObject", self._what(key))) from broken

    def _delete(self, keys: Sequence[str]) -> list[str]:
        with explained("s3", "DeleteObjects", f"bucket {self._name}"):
            answer = self._client.delete_objects(
                Bucket=self._name,
                Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True},
            )
        failed = answer.get("Errors", ())
        if denied := [each["Key"] for each in failed if each["Code"] == "AccessDenied"]:
            raise PermissionDeniedError(
                f"s3:DeleteObjects of {self._what(denied[0])}: these credentials may not"
                " s3:DeleteObject there.",
                hint="`cloudfn infra apply` sets up the roles.",
            )
        return [each["Key"] for each in failed]


def _begins_anew(error: BaseException) -> bool:
    """Whether an upload may be begun anew: another one was in the way, or it is over.

    It is over, too, if it was completed and the answer was lost: the next finds the object there.
    """
    return kind(error) is Kind.CONFLICT or error_code(error) == "NoSuchUpload"


def _parts(
    source: BinaryIO, size: int, part: int, trailer: Callable[[bytes], bytes]
) -> Iterator[bytes]:
    """Cut a file into parts, the last of which has the trailer, too."""
    part = max(part, -(-size // _MOST_PARTS))
    digest = sha256()
    source.seek(0)
    for start in range(0, size, part):
        data = source.read(min(part, size - start))
        digest.update(data)
        yield data + trailer(digest.digest()) if start + part >= size else data
