"""What a manifest of a volume says, and what a commit makes of it. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from json import dumps, loads

from cloudfn.errors import DataLossError
from cloudfn.providers.volumes import VolumeFile


@dataclass(frozen=True, slots=True)
class Manifest:
    """One state of a volume."""

    #: by path
    files: Mapping[str, VolumeFile] = field(default_factory=dict)
    #: contents that no file has any more, and since when, in seconds since the epoch
    gone: Mapping[str, float] = field(default_factory=dict)
    #: requests that were carried out, and when
    requests: Mapping[str, float] = field(default_factory=dict)

    def committed(
        self, puts: Iterable[VolumeFile], removes: Iterable[str], request: str, now: float
    ) -> Manifest:
        """Return the state after a commit, unless it has been carried out."""
        if request in self.requests:
            return self
        files, gone = dict(self.files), dict(self.gone)
        new = {file.path: file for file in puts}
        for path in [*removes, *new]:
            if (old := files.pop(path, None)) is not None:
                gone[old.key] = now
        return Manifest(files | new, gone, {**self.requests, request: now})

    def without(self, keys: Collection[str], late: float) -> Manifest:
        """Return this state after contents were deleted, and without requests up to a time."""
        return Manifest(
            self.files,
            {key: at for key, at in self.gone.items() if key not in keys},
            {request: at for request, at in self.requests.items() if at > late},
        )


def pack(manifest: Manifest) -> bytes:
    """Return a manifest as bytes, compressed."""
    data = {
        "files": {
            path: [file.key, file.size, file.mtime, file.mode]
            for path, file in manifest.files.items()
        },
        "gone": dict(manifest.gone),
        "requests": dict(manifest.requests),
    }
    return zlib.compress(dumps(data, separators=(",", ":")).encode())


def unpack(data: bytes, volume_id: str) -> Manifest:
    """Return the manifest that `pack` wrote.

    Raises:
        DataLossError: It is none.
    """
    try:
        found = loads(zlib.decompress(data))
        files = {path: VolumeFile(path, *rest) for path, rest in found["files"].items()}
        return Manifest(files, found["gone"], found["requests"])
    except (ValueError, TypeError, KeyError, AttributeError, zlib.error) as error:
        raise DataLossError(
            f"The list of the files of {volume_id} cannot be read.",
            hint="Restore the environment's table to an earlier time.",
        ) from error
