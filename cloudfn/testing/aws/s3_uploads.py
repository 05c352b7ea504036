"""Fake S3: multipart uploads. What nobody completes or aborts stays, invisible and billed.

From "Uploading and copying objects using multipart upload" and "Amazon S3 multipart upload limits".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import md5
from random import Random

from cloudfn.testing.aws.knobs import S3Knobs
from cloudfn.testing.aws.s3 import S3Buckets, Stored, bytes_of, etag_of, time_of
from cloudfn.testing.aws.service import Answer, Refused, Request
from cloudfn.testing.clock import FakeClock

_MOST_PARTS = 10_000


@dataclass(slots=True)
class _Upload:
    bucket: str
    key: str
    begun_at: float
    parts: dict[int, Stored] = field(default_factory=dict)


class S3(S3Buckets):
    """All buckets of an account, and uploads to them; made like `S3Buckets`."""

    def __init__(
        self, clock: FakeClock, random: Random, region: str, account: str, knobs: S3Knobs
    ) -> None:
        super().__init__(clock, random, region, account, knobs)
        self._uploads: dict[str, _Upload] = {}

    def leftovers(self, bucket: str) -> int:
        """Return the bytes of uploads that were neither completed nor aborted."""
        uploads = [each for each in self._uploads.values() if each.bucket == bucket]
        return sum(len(part.body) for upload in uploads for part in upload.parts.values())

    def create_multipart_upload(self, request: Request) -> Answer:
        self.objects(request)
        self.spend("write", request)
        upload_id = f"upload-{self.random.getrandbits(96):024x}"
        self._uploads[upload_id] = _Upload(request["Bucket"], request["Key"], request.now)
        return {"Bucket": request["Bucket"], "Key": request["Key"], "UploadId": upload_id}

    def upload_part(self, request: Request) -> Answer:
        upload = self._upload(request)
        if not 1 <= request["PartNumber"] <= _MOST_PARTS:
            raise Refused("InvalidArgument", "Part number must be an integer between 1 and 10000")
        self.spend("write", request)
        body = bytes_of(request.get("Body", b""))
        upload.parts[request["PartNumber"]] = Stored(body, etag_of(body), request.now)
        return {"ETag": etag_of(body)}

    def complete_multipart_upload(self, request: Request) -> Answer:
        upload = self._upload(request)
        named = request.get("MultipartUpload", {}).get("Parts", [])
        numbers = [each["PartNumber"] for each in named]
        if not named:
            raise Refused("MalformedXML", "The XML you provided was not well-formed.")
        if numbers != sorted(set(numbers)):
            raise Refused("InvalidPartOrder", "The list of parts was not in ascending order.")
        for each in named:
            part = upload.parts.get(each["PartNumber"])
            if part is None or part.etag.strip('"') != each.get("ETag", "").strip('"'):
                raise Refused("InvalidPart", "One or more of the parts could not be found.")
        parts = [upload.parts[number] for number in numbers]
        if any(len(part.body) < self.knobs.part for part in parts[:-1]):
            raise Refused("EntityTooSmall", "Your proposed upload is smaller than the minimum.")
        self.check_write(request)
        digests = b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)
        etag = f'"{md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"'
        body = b"".join(part.body for part in parts)
        self.objects(request)[upload.key] = Stored(body, etag, request.now)
        del self._uploads[request["UploadId"]]
        return {"Bucket": upload.bucket, "Key": upload.key, "ETag": etag}

    def abort_multipart_upload(self, request: Request) -> None:
        self._upload(request)
        del self._uploads[request["UploadId"]]

    def list_multipart_uploads(self, request: Request) -> Answer:
        self.objects(request)
        prefix = request.get("Prefix", "")
        found = [
            {"UploadId": name, "Key": upload.key, "Initiated": time_of(upload.begun_at)}
            for name, upload in self._uploads.items()
            if upload.bucket == request["Bucket"] and upload.key.startswith(prefix)
        ]
        return {
            "Bucket": request["Bucket"],
            "IsTruncated": False,
            **({"Uploads": found} if found else {}),
        }

    def list_parts(self, request: Request) -> Answer:
        upload = self._upload(request)
        found = [
            {
                "PartNumber": number,
                "Size": len(part.body),
                "ETag": part.etag,
                "LastModified": time_of(part.at),
            }
            for number, part in sorted(upload.parts.items())
        ]
        return {
            "Bucket": upload.bucket,
            "Key": upload.key,
            "UploadId": request["UploadId"],
            "IsTruncated": False,
            **({"Parts": found} if found else {}),
        }

    def _upload(self, request: Request) -> _Upload:
        self.objects(request)
        upload = self._uploads.get(request["UploadId"])
        if upload is None or (upload.bucket, upload.key) != (request["Bucket"], request["Key"]):
            raise Refused("NoSuchUpload", "The specified multipart upload does not exist.", 404)
        return upload
