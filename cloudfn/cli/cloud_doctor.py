"""Asks a cloud what `cloudfn doctor` judges; a port that does not answer is a finding itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from cloudfn import errors
from cloudfn.cli import cloud_diagnosis as judge
from cloudfn.providers.findings import Finding, failed, unanswered

if TYPE_CHECKING:
    from cloudfn.cli.session import Session
    from cloudfn.providers.account import Account
    from cloudfn.providers.base import Cloud
    from cloudfn.providers.catalog import Catalog

#: a bundle that there is not
_NO_BUNDLE = "0" * 64


def examine(session: Session) -> Iterator[Finding]:
    """Check an environment in a cloud, from here."""
    try:
        account, now = session.host.open_account(session.settings), session.host.clock.wall()
    except errors.Error as error:
        yield failed("provider", error)
        return
    if account is None:
        yield from _examine(session, None)
        return
    try:
        access = _judged("credentials", lambda: account.check_access(now))
        yield from access
        if all(each.level != "fail" for each in access):
            yield from _examine(session, account)
    finally:
        account.close()


def _examine(session: Session, account: Account | None) -> Iterator[Finding]:
    from cloudfn.model.ids import mint

    try:
        cloud = session.host.open_cloud(session.settings, mint("cl"))
    except errors.Error as error:
        yield failed("environment", error)
        return
    now = session.host.clock.wall()
    try:
        table = _judged("table", lambda: _table(cloud))
        yield from table
        if table[0].level != "ok":
            return  # nothing can be said without it
        for check, ask in _CHECKS:
            yield from _judged(check, lambda ask=ask: ask(cloud, now))  # type: ignore[misc]
        if account is not None:
            yield from _judged("leavings", lambda: _leavings(cloud, account))
    finally:
        cloud.close()


def _table(cloud: Cloud) -> Iterator[Finding]:
    apps = cloud.catalog.apps()
    yield Finding("table", "ok", f"answers; {len(apps)} apps")


def _bucket(cloud: Cloud, _now: float) -> Iterator[Finding]:
    cloud.depot.has_bundle(_NO_BUNDLE)
    yield Finding("bucket", "ok", "answers")


def _queues(cloud: Cloud, _now: float) -> Iterable[Finding]:
    queues, live = cloud.doorbells.functions(), live_functions(cloud.catalog)
    return judge.check_queues(queues, live, cloud.ledger.pools())


def _planner(cloud: Cloud, now: float) -> Iterator[Finding]:
    waiting = sum(cloud.ledger.counts(pool).pending for pool in cloud.ledger.pools())
    yield judge.check_planner(led=cloud.leadership.led(now), waiting=waiting)


def _machines(cloud: Cloud, now: float) -> Iterable[Finding]:
    from cloudfn.wire.version import code_version

    rows, instances = cloud.machines.list(), cloud.fleet.instances()
    return judge.check_machines(rows, instances, code_version(), now)


def _images(cloud: Cloud, _now: float) -> Iterable[Finding]:
    return judge.check_images(cloud.images.list(), used_images(cloud.catalog))


def _clients(cloud: Cloud, now: float) -> Iterator[Finding]:
    yield judge.check_clients(cloud.presence.list(), now)


_CHECKS = (
    ("bucket", _bucket),
    ("queues", _queues),
    ("planner", _planner),
    ("machines", _machines),
    ("images", _images),
    ("clients", _clients),
)


def _leavings(cloud: Cloud, account: Account) -> Iterable[Finding]:
    functions = {
        each.function_id
        for app in cloud.catalog.apps()
        for each in cloud.catalog.functions(app.app_id)
    }
    mailboxes = {address for row in cloud.presence.list() for address in row.addresses}
    return account.check_leavings(functions, mailboxes)


def live_functions(catalog: Catalog) -> dict[str, str]:
    """Return the functions of live revisions by id, each as APP/FUNCTION."""
    from cloudfn.model.cls import shown_name

    found: dict[str, str] = {}
    for app in catalog.apps():
        revision = catalog.revision(app.app_id, app.revision)
        if revision is not None:
            for each in catalog.functions(app.app_id):
                if revision.spec.function(each.name) is not None:
                    found[each.function_id] = f"{app.name or app.app_id}/{shown_name(each.name)}"
    return found


def used_images(catalog: Catalog) -> dict[str, str]:
    """Return the digests of images that live revisions name, with an app of each."""
    from cloudfn.control.deploy.images import users_of_images

    return {digest: min(apps) for (_, digest), apps in users_of_images(catalog).items() if apps}


def _judged(check: str, ask: Callable[[], Iterable[Finding]]) -> list[Finding]:
    try:
        return list(ask())
    except errors.Error as error:
        return [unanswered(check, error)]
