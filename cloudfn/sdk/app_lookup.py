"""Finds an App that the engine knows, and tells of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from cloudfn.errors import NotFoundError, UnimplementedError
from cloudfn.sdk.client import Client, default_client
from cloudfn.sdk.twins import Blocking, Steps

if TYPE_CHECKING:
    from cloudfn.sdk.records import FunctionCurrentStats


def find(
    name: str,
    client: Client | None,
    environment: str | None,
    create: bool = False,  # noqa: FBT001, FBT002
) -> Steps[dict[str, Any]]:
    """Return the engine's record of an app.

    Args:
        name: The name of a deployed app, or the id of any that lives.
        client: The engine; the environment's when omitted.
        environment: Another environment than the one that is set.
        create: Deploy an app without functions where there is none of the name.

    Raises:
        NotFoundError: There is none.
    """
    engine = client or default_client(environment)
    found = yield from _listed(engine, name)
    if found is None and create and not name.startswith("ap-"):
        yield from _create(engine, name)
        found = yield from _listed(engine, name)
    if found is None:
        raise NotFoundError(
            f"There is no deployed app {name!r}.",
            hint="`cloudfn app list` lists those that there are.",
        )
    return found


def stats_of(
    app_id: str, client: Client | None, environment: str | None
) -> Steps[FunctionCurrentStats]:
    """Return the figures of this moment over all functions of an app."""
    from cloudfn.sdk.records import FunctionCurrentStats

    engine = client or default_client(environment)
    record = yield from find(app_id, client, environment)
    replies = []
    for function_id in record["function_ids"]:
        told = yield from engine.ask("stats", function_id=function_id)
        replies.append(told)
    return FunctionCurrentStats.from_replies(replies)


def check_times(since: object, until: object) -> None:
    """Raise UnimplementedError where statistics of the past are asked for."""
    if since is not None or until is not None:
        raise UnimplementedError(
            "Statistics of the past are not kept.",
            hint="`cloudfn call list` shows calls, `cloudfn app logs APP -s system` decisions.",
        )


def _listed(engine: Client, name: str) -> Steps[dict[str, Any] | None]:
    told = yield from engine.ask("app_list", all=False)
    for record in told["apps"]:
        if record["app_id"] == name or (record["name"], record["state"]) == (name, "deployed"):
            return record  # type: ignore[no-any-return]
    return None


def _create(engine: Client, name: str) -> Steps[None]:
    from pathlib import Path

    from cloudfn.model.names import check_characters
    from cloudfn.sdk import bundle, interpreter

    check_characters("App", name)
    welcome = yield from engine.ready()
    nothing = bundle.empty()
    yield Blocking(lambda: bundle.store(nothing, Path(welcome.bundles), durable=True))
    revision = {
        "bundle": nothing.digest,
        "module": "",
        "functions": [],
        "interpreter": sys.executable,
        "python_version": interpreter.python_version(),
    }
    yield from engine.ask(
        "app_open",
        name=name,
        state="deployed",
        revision=revision,
        strategy="rolling",
        keep_overrides=False,
    )
