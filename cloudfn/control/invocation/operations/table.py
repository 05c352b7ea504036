"""The table of a cloud's operations."""

from __future__ import annotations

from cloudfn.control import operations
from cloudfn.control.invocation.conversation import Conversation
from cloudfn.control.operations import Fields
from cloudfn.errors import UnimplementedError

#: operations of a daemon that make no sense where machines come and go → why, what to do instead
_LOCAL_ONLY = {
    "app_terminal": (
        "Containers on a cloud do not see your terminal.",
        "Interactive runs need `--provider local`.",
    ),
    "image_push": (
        "Images of a cloud are in its own registry, from their build on.",
        "`cloudfn image list` shows them; `--provider local` pushes to other registries.",
    ),
    "image_pull": (
        "Images of a cloud are in its own registry, from their build on.",
        "`cloudfn image build FILE` brings one there; `--provider local` pulls from others.",
    ),
    "shutdown": (
        "A cloud has no daemon.",
        "`cloudfn daemon` is for `--provider local`; `cloudfn planner status` tells of a cloud.",
    ),
    "status": (
        "A cloud has no daemon.",
        "`cloudfn daemon` is for `--provider local`; `cloudfn planner status` tells of a cloud.",
    ),
    "web_url": (
        "Functions on a cloud do not answer HTTP requests yet.",
        "Web functions need `--provider local`.",
    ),
}


class Operations(operations.Operations[Conversation, Fields]):
    """Answers requests; that blocks as long as it takes."""

    def unknown(self, name: str) -> UnimplementedError:
        """Return the error for an operation that there is not on a cloud."""
        unknown = f"A cloud does not know the operation {name!r}.", None
        message, hint = _LOCAL_ONLY.get(name, unknown)
        return UnimplementedError(message, hint=hint)
