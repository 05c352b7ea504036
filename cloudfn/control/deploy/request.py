"""What clients send that want an app opened, or marked."""

from __future__ import annotations

from typing import Any

from cloudfn.control.deploy.plan import DeployRequest
from cloudfn.errors import InvalidError
from cloudfn.providers.catalog import RevisionSpec


def parse_request(fields: dict[str, Any]) -> DeployRequest:
    """Return what an `app_open` asks for; raises InvalidError for what makes no sense."""
    state = fields.get("state", "ephemeral")
    if state not in ("ephemeral", "detached", "deployed"):
        raise InvalidError(f"An app cannot be opened as {state!r}.")
    return DeployRequest(
        name=fields["name"],
        state=state,
        spec=RevisionSpec.from_json(fields["revision"]),
        strategy=fields.get("strategy") or "rolling",
        keep_overrides=bool(fields.get("keep_overrides")),
        app_id=fields.get("app_id"),
    )


def parse_tags(fields: dict[str, Any]) -> dict[str, str]:
    """Return the tags that an app is to have."""
    return {str(name): str(value) for name, value in fields["tags"].items()}
