"""A client that only looks: what opening an App would leave at the engine is named, not made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloudfn import errors
from cloudfn.sdk.client import Client
from cloudfn.sdk.twins import Steps


class Onlooker:
    """Stands in for a client while a deploy is only foreseen.

    Args:
        engine: Is asked what there is.
        bundles: Where sources go in place of the engine's folder.
    """

    def __init__(self, engine: Client, bundles: Path) -> None:
        self._engine = engine
        self._bundles = bundles
        #: kind and name of objects that would be made
        self.missing: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def ready(self) -> Steps[Any]:
        """See `Client`."""
        welcome = yield from self._engine.ready()
        return welcome._replace(bundles=str(self._bundles))

    def ask(self, op: str, **fields: Any) -> Steps[dict[str, Any]]:
        """See `Client`."""
        if op == "secret_store":
            fields["keep"] = False
        if op != "object_open" or not fields["object_id"]:
            return (yield from self._engine.ask(op, **fields))
        try:
            return (yield from self._engine.ask(op, **{**fields, "object_id": None}))
        except errors.NotFoundError:
            self.missing.append((fields["kind"], fields["name"]))
            return {"object_id": fields["object_id"], "name": fields["name"], "created": 0.0}
