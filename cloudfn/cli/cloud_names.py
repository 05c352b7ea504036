"""Names in a cloud, for shells that complete them: soon, or none at all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from cloudfn.cli.session import Session
    from cloudfn.providers.base import Cloud

T = TypeVar("T")

#: seconds that somebody who presses Tab waits
_PATIENCE = 2.0


def apps(session: Session) -> dict[str, list[str]]:
    """Return the names of deployed apps, each with those of its functions."""
    from cloudfn.model.cls import shown_name

    return ask(
        session,
        lambda cloud: {
            app.name: [shown_name(each.name) for each in cloud.catalog.functions(app.app_id)]
            for app in cloud.catalog.apps()
            if app.name
        },
        {},
    )


def images(session: Session) -> list[str]:
    """Return the ids of images."""
    return ask(session, lambda cloud: [f"im-{each.digest}" for each in cloud.images.list()], [])


def machines(session: Session) -> list[str]:
    """Return the ids of machines that have joined."""
    return ask(session, lambda cloud: [row.report.machine_id for row in cloud.machines.list()], [])


def containers(session: Session) -> list[str]:
    """Return the ids of containers that run, as machines told them."""
    return ask(
        session,
        lambda cloud: [
            container.container_id
            for row in cloud.machines.list()
            for pool in row.report.pools.values()
            for container in pool.containers
        ],
        [],
    )


def ask(session: Session, question: Callable[[Cloud], T], otherwise: T) -> T:
    """Return the answer of a cloud, or something else where there is none in time.

    Whatever is wrong, credentials or the network: a shell shows no names then, and no error.
    """
    from cloudfn.model.ids import mint

    found: list[T] = []

    def look() -> None:
        with suppress(Exception):
            found.append(question(session.host.open_cloud(session.settings, mint("cl"))))

    # Its requests have patience of their own, which nobody here shares; it ends with the process.
    thread = Thread(target=look, name="completion", daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return found[0] if found else otherwise
