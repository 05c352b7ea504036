"""What a Docker container sees of the blobs: its own, in folders of its own. Thin I/O.

What it may read is linked into a folder that it cannot write to; what it writes lies in another
one, under names that the daemon takes them over from. Both are beside the blobs, so that neither
costs a copy.
"""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

from cloudfn.errors import Error
from cloudfn.providers.local.blobs import INPUTS, RESULTS, LocalBlobs
from cloudfn.wire.messages import BlobRef, is_blob

_log = logging.getLogger(__name__)
_READABLE = 0o044


class View:
    """The blobs of one container.

    Args:
        blobs: All blobs.
        container_id: The container.
        owner: (uid, gid) that it runs as.
    """

    def __init__(self, blobs: LocalBlobs, container_id: str, owner: tuple[int, int]) -> None:
        self._blobs = blobs
        #: directory of what it writes, as it names it
        self.outbox = f"{RESULTS}{container_id}"
        self._inbox = f"{INPUTS}{container_id}"
        #: how often something was shown, by call
        self._shown: dict[str, int] = {}
        #: the container runs as our own user
        self._is_ours = owner[0] == os.getuid()
        for root in (blobs.fast, blobs.durable):
            inbox, outbox = root / self._inbox, root / self.outbox
            # Where the other one is mounted, in the eyes of the container.
            (inbox / self.outbox).mkdir(mode=0o755, parents=True, exist_ok=True)
            inbox.chmod(0o755)
            outbox.mkdir(mode=0o700, exist_ok=True)
            if not self._is_ours:
                os.chown(outbox, *owner)

    def folders(self, target: str, *, durable: bool) -> list[tuple[str, str, bool]]:
        """Return (folder, where the container sees it, whether read-only) for one root."""
        root = self._blobs.root(durable=durable)
        return [
            (str(root / self._inbox), target, True),
            (str(root / self.outbox), f"{target}/{self.outbox}", False),
        ]

    def show(self, payload: bytes) -> None:
        """Let the container read a blob, if there is one; otherwise it will say what it lacks."""
        with suppress(Error, OSError):
            ref = BlobRef.decode(payload)
            source = self._blobs.path(ref)
            if not self._is_ours:
                # Nobody else gets to it: the directories above are private.
                source.chmod(source.stat().st_mode | _READABLE)
            target = self._target(ref)
            target.parent.mkdir(mode=0o755, exist_ok=True)
            self._shown[target.parent.name] = self.shown(target.parent.name) + 1
            os.link(source, target, follow_symlinks=False)

    def hide(self, payload: bytes) -> None:
        """The container needs a blob no more."""
        with suppress(Error, OSError):
            target = self._target(BlobRef.decode(payload))
            target.unlink()
            target.parent.rmdir()

    def shown(self, call_id: str) -> int:
        """Return how often something of a call was shown."""
        return self._shown.get(call_id, 0)

    def hide_call(self, call_id: str, shown: int | None = None) -> None:
        """The container needs no blobs of a call that it made any more.

        Args:
            call_id: The call.
            shown: Do nothing where something was shown since `shown` said this.
        """
        if shown is not None and shown != self.shown(call_id):
            return
        if self._shown.pop(call_id, None) is None:
            return
        for root in (self._blobs.fast, self._blobs.durable):
            shutil.rmtree(root / self._inbox / call_id, ignore_errors=True)

    def owns(self, payload: bytes) -> bool:
        """Whether the container wrote this one itself."""
        try:
            return BlobRef.decode(payload).name.startswith(f"{self.outbox}/")
        except Error:
            return False

    def may_send(self, payload: bytes) -> bool:
        """Whether the container may hand a payload over as its own."""
        return not is_blob(payload) or self.owns(payload)

    def close(self) -> None:
        """The container is gone."""
        for root in (self._blobs.fast, self._blobs.durable):
            for name in (self._inbox, self.outbox):
                shutil.rmtree(root / name, ignore_errors=True)

    def _target(self, ref: BlobRef) -> Path:
        return self._blobs.root(durable=ref.durable) / self._inbox / ref.name
