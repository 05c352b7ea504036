"""Volumes as clients ask for them: what is committed, listed, found and changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cloudfn.control.operations import Fields
from cloudfn.control.stores.registry import Registry
from cloudfn.errors import InvalidError, NotFoundError
from cloudfn.model.function import FunctionSpec
from cloudfn.model.volume import volume_path
from cloudfn.providers.objects import ObjectKind
from cloudfn.providers.volumes import StagedFile, VolumeFile, Volumes


class VolumeDesk:
    """Answers questions about volumes."""

    def __init__(self, volumes: Volumes, registry: Registry) -> None:
        self.volumes = volumes
        self._registry = registry

    def list(self, fields: Fields, _now: float) -> Fields:
        """Return files and folders below a path, or the file that it is."""
        files = self.volumes.files(self.id_of(fields))
        path = volume_path(fields["path"])
        found = entries(files, path, recursive=bool(fields.get("recursive")))
        return {"entries": found, "found": bool(found) or not path}

    def locate(self, fields: Fields, _now: float) -> Fields:
        """Return the local file with the content of a path; null when there is none."""
        volume_id, path = self.id_of(fields), volume_path(fields["path"])
        for file in self.volumes.files(volume_id):
            if file.path == path:
                return {"file": str(self.volumes.content(volume_id, file.key))}
        return {"file": None}

    def link(self, fields: Fields, now: float) -> Fields:
        """Return an address of a file for anybody; null when there is no such file."""
        volume_id, path = self.id_of(fields), volume_path(fields["path"])
        seconds = int(fields["seconds"])
        if seconds < 1:
            raise InvalidError("A link has to last for a second at least.")
        files = self.volumes.files(volume_id)
        file = next((each for each in files if each.path == path), None)
        if file is None:
            _check_no_folder(files, path)
            return {"url": None}
        if not file.size:
            raise InvalidError(f"{path} is empty: there is nothing to link to.")
        link = self.volumes.link(volume_id, file, seconds)
        if link is None:
            raise InvalidError(
                "Volumes on one machine have no address at which others could read them.",
                hint="Copy the file with `cloudfn volume get`; --provider aws has links.",
            )
        return {"url": link.url, "until": now + seconds, "temporary": link.temporary}

    def usage(self, fields: Fields, _now: float) -> Fields:
        """Return how many files there are, and their bytes."""
        files = self.volumes.files(self.id_of(fields))
        return {"files": len(files), "bytes": sum(file.size for file in files)}

    def stage(self, fields: Fields, _now: float) -> Fields:
        """Return a folder for the files of one request."""
        folder = self.volumes.stage(self.id_of(fields)) / _plain(fields["request"])
        folder.mkdir(mode=0o700, exist_ok=True)
        return {"folder": str(folder)}

    def put(self, fields: Fields, now: float) -> Fields:
        """Commit staged files; without `force` the paths that exist are told, and nothing done."""
        volume_id, request = self.id_of(fields), _plain(fields["request"])
        folder = self.volumes.stage(volume_id) / request
        puts = [
            StagedFile(volume_path(path), folder / _plain(name), int(mtime), int(mode) & 0o777)
            for path, name, mtime, mode in fields["files"]
        ]
        known = {file.path for file in self.volumes.files(volume_id)}
        existing = sorted({each.path for each in puts} & known)
        if existing and not fields.get("force"):
            return {"existing": existing}
        _check_places(known, [each.path for each in puts])
        self._commit(volume_id, puts, [], request, now)
        shutil.rmtree(folder, ignore_errors=True)
        return {"existing": []}

    def remove(self, fields: Fields, now: float) -> Fields:
        """Remove a file, or a folder with `recursive`; tells whether there was one."""
        volume_id, path = self.id_of(fields), volume_path(fields["path"])
        known = [file.path for file in self.volumes.files(volume_id)]
        inside = [each for each in known if not path or each.startswith(f"{path}/")]
        if inside and not fields.get("recursive"):
            raise InvalidError(f"{path or '/'} is a directory.", hint="Use recursive=True.")
        doomed = inside + [each for each in known if each == path]
        self._commit(volume_id, [], doomed, _plain(fields["request"]), now)
        return {"found": bool(doomed)}

    def copy(self, fields: Fields, now: float) -> Fields:
        """Copy files within a volume; tells the first source that is not there."""
        volume_id, request = self.id_of(fields), _plain(fields["request"])
        files = self.volumes.files(volume_id)
        sources = [volume_path(each) for each in fields["sources"]]
        target = volume_path(fields["target"])
        into = (
            len(sources) > 1
            or str(fields["target"]).endswith("/")
            or not target
            or any(file.path.startswith(f"{target}/") for file in files)
        )
        pairs: list[tuple[VolumeFile, str]] = []
        for source in sources:
            base = f"{target}/{source.rpartition('/')[2]}".strip("/") if into else target
            found = [file for file in files if file.path == source]
            inside = [file for file in files if file.path.startswith(f"{source}/")]
            if not found and not inside:
                return {"missing": source}
            if inside and not fields.get("recursive"):
                raise InvalidError(f"{source} is a directory.", hint="Use recursive=True.")
            pairs += [(file, base) for file in found]
            pairs += [(file, f"{base}{file.path[len(source) :]}") for file in inside]
        _check_places({file.path for file in files}, [path for _, path in pairs])
        folder = self.volumes.stage(volume_id) / request
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        puts = []
        for number, (file, path) in enumerate(pairs):
            staged = folder / str(number)
            os.link(self.volumes.content(volume_id, file.key), staged)
            puts.append(StagedFile(path, staged, file.mtime, file.mode))
        self._commit(volume_id, puts, [], request, now)
        shutil.rmtree(folder, ignore_errors=True)
        return {"missing": None}

    def check(self, functions: Iterable[FunctionSpec]) -> None:
        """Raise NotFoundError where a function mounts what there is not."""
        for function in functions:
            for mount in function.volumes:
                if not self._registry.knows(mount.object_id):
                    raise NotFoundError(
                        f"The volume {mount.name or mount.object_id} of function {function.name} "
                        "is gone.",
                        hint="Make it again, and deploy the app again.",
                    )

    def expire(self, now: float, patience: float) -> None:
        """Drop what had its time."""
        self.volumes.expire(now, patience)

    def knows(self, volume_id: str) -> bool:
        """Whether there is such a volume."""
        return self._registry.knows(volume_id)

    def id_of(self, fields: Fields) -> str:
        """Return the id of the volume that fields name; raises NotFoundError when it is gone."""
        return self._registry.record(fields["volume"], ObjectKind.VOLUME).object_id

    def _commit(
        self,
        volume_id: str,
        puts: Sequence[StagedFile],
        removes: Sequence[str],
        request: str,
        now: float,
    ) -> None:
        if puts or removes:
            self.volumes.commit(volume_id, puts, removes, request=request, now=now)


def entries(files: Sequence[VolumeFile], path: str, *, recursive: bool) -> list[list[Any]]:
    """Return [path, "file" or "dir", mtime in seconds, bytes] of what lies below a path."""
    found: dict[str, list[Any]] = {}
    prefix = f"{path}/" if path else ""
    for file in files:
        if file.path == path:
            return [[file.path, "file", file.mtime // 10**9, file.size]]
        if not file.path.startswith(prefix):
            continue
        parts = file.path[len(prefix) :].split("/")
        for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
            folder = prefix + "/".join(parts[:depth])
            entry = found.setdefault(folder, [folder, "dir", 0, 0])
            entry[2] = max(entry[2], file.mtime // 10**9)
        if recursive or len(parts) == 1:
            found[file.path] = [file.path, "file", file.mtime // 10**9, file.size]
    return sorted(found.values())


def _check_no_folder(files: Sequence[VolumeFile], path: str) -> None:
    if any(not path or file.path.startswith(f"{path}/") for file in files):
        raise InvalidError(
            f"{path or '/'} is a directory; only a file has a link.",
            hint="Pack it into one file first, for example with tar.",
        )


def _check_places(known: set[str], paths: Sequence[str]) -> None:
    """Raise InvalidError where a path would be a file and a folder at once."""
    taken = known | set(paths)
    folders = {
        "/".join(parts[:depth])
        for parts in (each.split("/") for each in taken)
        for depth in range(1, len(parts))
    }
    for path in paths:
        if not path:
            raise InvalidError("The volume itself is no file.", hint="Name a path in it.")
        if path in folders:
            raise InvalidError(
                f"{path} is a directory in the volume.",
                hint="Remove it first, or use another path.",
            )
        parts = path.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in taken:
                raise InvalidError(
                    f"{'/'.join(parts[:depth])} is a file in the volume.",
                    hint="Remove it first, or use another path.",
                )


def _plain(name: str) -> str:
    """Return a name that leads nowhere else."""
    if not name or Path(name).name != name or name in (".", ".."):
        raise InvalidError(f"{name!r} is no name.")
    return name
