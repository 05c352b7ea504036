"""Fake S3: buckets, objects, conditions, ranges, listings. Multipart uploads: `s3_uploads.py`.

From the API reference, "Amazon S3 data consistency model", "How to prevent object overwrites with
conditional writes", "Optimizing Amazon S3 performance" and "Download and upload objects with
presigned URLs".
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import md5
from itertools import count
from random import Random
from typing import Any

from cloudfn.testing.aws.knobs import S3Knobs
from cloudfn.testing.aws.service import Answer, Bucket, Refused, Request, Service
from cloudfn.testing.clock import FakeClock

#: bytes of a single put
_LARGEST_PUT = 5 * 1024**3
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")


@dataclass(frozen=True, slots=True)
class Stored:
    """One object."""

    body: bytes
    etag: str
    at: float
    #: ContentType, Metadata and their like, as they were given
    about: Mapping[str, Any] = field(default_factory=dict)


class BrokenBody(io.BytesIO):
    """A body that breaks off half way, as connections do."""

    def read(self, size: int | None = -1) -> bytes:
        """Return bytes of the first half, and then fail.

        Raises:
            ResponseStreamingError: Of botocore.
        """
        from botocore.exceptions import ResponseStreamingError

        length = len(self.getbuffer())
        found = super().read(size)
        if self.tell() > length // 2 or not found:
            raise ResponseStreamingError(error="the connection was closed")
        return found


class S3Buckets(Service):
    """All buckets of an account.

    Args:
        clock: What time it is.
        random: Where the nastiness comes from.
        region: In the names of things.
        account: In the names of things.
        knobs: How nasty.
    """

    name = "s3"

    def __init__(
        self, clock: FakeClock, random: Random, region: str, account: str, knobs: S3Knobs
    ) -> None:
        super().__init__(clock, random, region, account)
        self.knobs = knobs
        self._buckets: dict[str, dict[str, Stored]] = {}
        self._rates: dict[tuple[str, str, str], Bucket] = {}
        self._presigned: dict[str, tuple[str, Mapping[str, Any], float]] = {}
        self._numbers = count(1)

    def truth(self, bucket: str) -> dict[str, bytes]:
        """Return all objects of a bucket."""
        with self.changed:
            return {key: stored.body for key, stored in self._buckets[bucket].items()}

    def prepared(self, params: dict[str, Any]) -> dict[str, Any]:
        source = params.get("CopySource")
        if isinstance(source, dict):
            return {**params, "CopySource": f"{source['Bucket']}/{source['Key']}"}
        return params

    # ----------------------------------------------------------------------------------- buckets

    def create_bucket(self, request: Request) -> Answer:
        name = request["Bucket"]
        if not _NAME.match(name):
            raise Refused("InvalidBucketName", "The specified bucket is not valid.")
        if name in self._buckets:
            raise Refused(
                "BucketAlreadyOwnedByYou", "Your previous request to create it succeeded.", 409
            )
        self._buckets[name] = {}
        return {"Location": f"/{name}"}

    def head_bucket(self, request: Request) -> None:
        if request["Bucket"] not in self._buckets:
            raise Refused("404", "Not Found", 404)

    def delete_bucket(self, request: Request) -> None:
        if self.objects(request):
            raise Refused("BucketNotEmpty", "The bucket you tried to delete is not empty", 409)
        del self._buckets[request["Bucket"]]

    # ----------------------------------------------------------------------------------- objects

    def put_object(self, request: Request) -> Answer:
        body = bytes_of(request.get("Body", b""))
        if len(body) > _LARGEST_PUT:
            raise Refused(
                "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size."
            )
        self.check_write(request)
        kept = {name: request[name] for name in _ABOUT if name in request.params}
        stored = Stored(body, etag_of(body), request.now, kept)
        self.objects(request)[request["Key"]] = stored
        return {"ETag": stored.etag}

    def get_object(self, request: Request) -> Answer:
        from botocore.response import StreamingBody

        stored = self._readable(request)
        answer: Answer = _described(stored)
        body = stored.body
        if wanted := request.get("Range"):
            first, last = _span(wanted, len(body))
            answer["ContentRange"] = f"bytes {first}-{last}/{len(body)}"
            body = body[first : last + 1]
        answer["ContentLength"] = len(body)
        breaks = len(body) > 1 and self.chance(self.knobs.broken_bodies)
        stream = BrokenBody(body) if breaks else io.BytesIO(body)
        return answer | {"Body": StreamingBody(stream, len(body))}

    def head_object(self, request: Request) -> Answer:
        try:
            return _described(self._readable(request))
        except Refused as refused:
            # The answer to a HEAD has no body, so that botocore knows its status alone.
            raise Refused(str(refused.status), refused.message, refused.status) from None

    def delete_object(self, request: Request) -> None:
        self.spend("write", request)
        self.objects(request).pop(request["Key"], None)

    def delete_objects(self, request: Request) -> Answer:
        keys = [each["Key"] for each in request["Delete"]["Objects"]]
        if not 1 <= len(keys) <= 1_000:
            raise Refused("MalformedXML", "The XML you provided was not well-formed.")
        for key in keys:
            self.objects(request).pop(key, None)
        quiet = request["Delete"].get("Quiet", False)
        return {} if quiet else {"Deleted": [{"Key": key} for key in keys]}

    def copy_object(self, request: Request) -> Answer:
        bucket, _, key = request["CopySource"].lstrip("/").partition("/")
        stored = self._bucket(bucket).get(key)
        if stored is None:
            raise _no_key()
        self.check_write(request)
        copy = Stored(stored.body, stored.etag, request.now, stored.about)
        self.objects(request)[request["Key"]] = copy
        return {"CopyObjectResult": {"ETag": copy.etag, "LastModified": time_of(copy.at)}}

    def list_objects_v2(self, request: Request) -> Answer:
        self.spend("read", request, key=request.get("Prefix", ""))
        prefix, delimiter = request.get("Prefix", ""), request.get("Delimiter", "")
        after = request.get("ContinuationToken") or request.get("StartAfter", "")
        limit = min(request.get("MaxKeys", 1_000), self.knobs.page)
        objects = self.objects(request)
        entries: dict[str, Stored | None] = {}
        for key in sorted(objects):
            rest = key.removeprefix(prefix)
            if not key.startswith(prefix):
                continue
            folded = delimiter and delimiter in rest
            name = prefix + rest.partition(delimiter)[0] + delimiter if folded else key
            if name > after:
                entries[name] = None if folded else objects[key]
        page = dict(list(entries.items())[:limit])
        keys = [
            {
                "Key": key,
                "Size": len(each.body),
                "ETag": each.etag,
                "LastModified": time_of(each.at),
            }
            for key, each in page.items()
            if each is not None
        ]
        folders = [{"Prefix": name} for name, each in page.items() if each is None]
        more = len(entries) > len(page)
        return {
            "Name": request["Bucket"],
            "Prefix": prefix,
            "MaxKeys": limit,
            "KeyCount": len(page),
            "IsTruncated": more,
            **({"Contents": keys} if keys else {}),
            **({"CommonPrefixes": folders} if folders else {}),
            **({"NextContinuationToken": max(page)} if more else {}),
        }

    # --------------------------------------------------------------------------------- presigned

    def presign(self, method: str, params: Mapping[str, Any], seconds: int) -> str:
        """Return an opaque URL for one operation with these parameters."""
        with self.changed:
            token = f"{next(self._numbers):x}{self.random.getrandbits(64):016x}"
            self._presigned[token] = (method, dict(params), self.clock.wall() + seconds)
        host = f"https://{params.get('Bucket', '')}.s3.{self.region}.amazonaws.com"
        return f"{host}/{params.get('Key', '')}?X-Amz-Signature={token}"

    def open_url(self, url: str, body: bytes = b"") -> tuple[int, bytes]:
        """Follow a presigned URL, as a client without credentials does.

        Args:
            url: From `generate_presigned_url`.
            body: What is put, where the URL is for a put.

        Returns:
            HTTP status and body.
        """
        method, params, until = self._presigned.get(url.rpartition("=")[2], ("", {}, 0.0))
        now = self.clock.wall()
        if now >= until:
            return 403, b"AccessDenied"
        params = {**params, "Body": body} if method == "put_object" else params
        request = Request("Presigned", params, 0, now, now)
        try:
            answer = self.carry_out(request, method)
        except Refused as refused:
            return refused.status, refused.code.encode()
        return 200, answer["Body"].read() if "Body" in answer else b""

    # ------------------------------------------------------------------------------------- parts

    def objects(self, request: Request) -> dict[str, Stored]:
        """Return the objects of the request's bucket."""
        return self._bucket(request["Bucket"])

    def check_write(self, request: Request) -> None:
        """Refuse a write that is too fast, whose key is too long, or whose condition fails."""
        stored = self.objects(request).get(request["Key"])
        if len(request["Key"].encode()) > 1_024:
            raise Refused("KeyTooLongError", "Your key is too long")
        self.spend("write", request)
        asked = {"IfMatch", "IfNoneMatch"} & set(request.params)
        if not asked:
            return
        if request.get("IfNoneMatch", "*") != "*":
            raise Refused("NotImplemented", "A header you provided implies functionality.", 501)
        if "IfNoneMatch" in asked and stored is not None:
            raise _precondition()
        if "IfMatch" in asked:
            if stored is None:
                raise _no_key()
            if request["IfMatch"].strip('"') != stored.etag.strip('"'):
                raise _precondition()
        if self.chance(self.knobs.conflicts):
            raise Refused(
                "ConditionalRequestConflict",
                "The conditional request cannot succeed due to a conflicting operation.",
                409,
            )

    def spend(self, kind: str, request: Request, key: str | None = None) -> None:
        """Refuse what is faster than the request's prefix allows."""
        prefix = (request["Key"] if key is None else key).rpartition("/")[0]
        rate = self.knobs.prefix_writes if kind == "write" else self.knobs.prefix_reads
        bucket = self._rates.setdefault((kind, request["Bucket"], prefix), Bucket(rate))
        if not bucket.take(1, request.now):
            raise Refused("SlowDown", "Please reduce your request rate.", 503)

    def _readable(self, request: Request) -> Stored:
        self.spend("read", request)
        stored = self.objects(request).get(request["Key"])
        if stored is None:
            raise _no_key()
        if "IfMatch" in request.params and request["IfMatch"].strip('"') != stored.etag.strip('"'):
            raise _precondition()
        if request.get("IfNoneMatch", "").strip('"') in {stored.etag.strip('"'), "*"}:
            raise Refused("304", "Not Modified", 304)
        return stored

    def _bucket(self, name: str) -> dict[str, Stored]:
        if name not in self._buckets:
            raise Refused("NoSuchBucket", "The specified bucket does not exist", 404)
        return self._buckets[name]


_ABOUT = ("ContentType", "ContentEncoding", "Metadata", "CacheControl", "ServerSideEncryption")


def _described(stored: Stored) -> Answer:
    return {
        "ContentType": "binary/octet-stream",
        "Metadata": {},
        **stored.about,
        "ETag": stored.etag,
        "ContentLength": len(stored.body),
        "LastModified": time_of(stored.at),
    }


def bytes_of(body: Any) -> bytes:
    """Return the bytes of a request's body: bytes, text or a file."""
    content = body.read() if hasattr(body, "read") else body
    return content.encode() if isinstance(content, str) else bytes(content)


def etag_of(body: bytes) -> str:
    """Return the entity tag of an object that was put in one piece."""
    return f'"{md5(body, usedforsecurity=False).hexdigest()}"'


def _span(wanted: str, length: int) -> tuple[int, int]:
    """Return the first and the last byte of a range."""
    found = _RANGE.match(wanted)
    if found is None or found[1] == found[2] == "":
        return 0, length - 1
    if found[1] == "":
        first, last = max(0, length - int(found[2])), length - 1
    else:
        first = int(found[1])
        last = min(int(found[2] or length - 1), length - 1)
    if first >= length or last < first:
        raise Refused("InvalidRange", "The requested range is not satisfiable", 416)
    return first, last


def time_of(at: float) -> datetime:
    """Return a time as answers have it: whole seconds, UTC."""
    return datetime.fromtimestamp(int(at), UTC)


def _no_key() -> Refused:
    return Refused("NoSuchKey", "The specified key does not exist.", 404)


def _precondition() -> Refused:
    return Refused(
        "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", 412
    )
