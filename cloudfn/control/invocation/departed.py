"""Ends what vanished clients have left; a part of the planner's tick."""

from __future__ import annotations

from collections.abc import Sequence

from cloudfn.control.invocation.apps import close_app, stop_pools
from cloudfn.control.invocation.ending import cancel
from cloudfn.control.stores.stores import Stores
from cloudfn.model.variant import base_id
from cloudfn.providers.base import Cloud
from cloudfn.providers.catalog import AppRecord
from cloudfn.providers.presence import ClientRow

#: seconds that a client may need from opening an app until it says that it owns it, and by which
#: clocks may differ
_OPENING = 600.0
#: seconds after which an app that was stopped is looked at no more
_STOPPING = 3_600.0
#: part of a lease that a client has to say that it is there after somebody has looked for it, more
#: than is between two of its words: where the service failed for longer than a lease, or its clock
#: is slow, it is only late
_DOUBT = 1 / 2


def end_departed(cloud: Cloud, stores: Stores, grace: float, now: float) -> int:
    """End the transient calls, apps and objects of clients whose lease is over.

    One is doubted first, and ended when somebody looks again and it has said nothing. Calls of
    detached apps are finished first, and the row of their client stays until then. An app
    that nobody has said to own is one whose client ended while it opened it; one that is stopped
    and has doorbells, one whose client ended while it stopped it. Done again, or by several at
    once, it comes to the same end.

    Args:
        cloud: Where they are.
        stores: Deletes objects; see `open_stores`.
        grace: Seconds of a client's lease.
        now: Seconds since the epoch.

    Returns:
        How many clients are gone for good.
    """
    # Before the rows: an app that is owned by now must not look like one that is not.
    apps = cloud.catalog.apps(stopped=True)
    _finish_stops(cloud, apps, now)
    opened = {a.app_id for a in apps if a.state == "ephemeral" and a.created <= now - _OPENING}
    rows = cloud.presence.list()
    for app_id in opened.difference(*(row.owned for row in rows)):
        close_app(cloud, app_id, now)
    silent = [row for row in rows if row.lease_until <= now]
    for row in silent:
        if row.doubted is None:
            cloud.presence.doubt(row.client_id, row.lease_until, now)
    latest = now - _DOUBT * grace
    gone = [row for row in silent if row.doubted is not None and row.doubted <= latest]
    return sum(_end(cloud, stores, row, now) for row in gone)


def _finish_stops(cloud: Cloud, apps: Sequence[AppRecord], now: float) -> None:
    """End what belongs to stopped apps and should have ended with them; doorbells go last."""
    stopped = [app for app in apps if app.stopped is not None and now - app.stopped <= _STOPPING]
    there = set(cloud.doorbells.functions()) if stopped else ()
    for app in stopped:
        if any(each.function_id in there for each in cloud.catalog.everything(app.app_id)):
            stop_pools(cloud, app.app_id)


def _end(cloud: Cloud, stores: Stores, row: ClientRow, now: float) -> bool:
    left = _end_calls(cloud, row)
    for owned in row.owned:
        if owned.startswith("ap-"):
            app = cloud.catalog.app(owned)
            if app is not None and app.state == "ephemeral":
                close_app(cloud, owned, now)
        elif not owned.startswith("fc-"):  # named calls go on without their client
            stores.registry.delete(owned)
    return not left and cloud.presence.remove(row.client_id, row.lease_until)


def _end_calls(cloud: Cloud, row: ClientRow) -> int:
    """End a client's transient calls; return how many are to be finished first."""
    left = 0
    for record in cloud.ledger.open_calls() if row.addresses else ():
        spec = record.spec
        if spec.durable or spec.reply not in row.addresses:
            continue
        if record.finished < record.known and _is_detached(cloud, spec.function_id):
            left += 1
            continue
        cancel(cloud, spec.call_id)
        cloud.ledger.forget(spec.call_id)
    return left


def _is_detached(cloud: Cloud, function_id: str) -> bool:
    function = cloud.catalog.function(base_id(function_id))
    app = cloud.catalog.app(function.app_id) if function else None
    return app is not None and app.state == "detached"
