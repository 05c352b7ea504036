"""What `cloudfn doctor` looks at in a cloud. Each check takes what it judges, and is pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from cloudfn.model.variant import base_id
from cloudfn.providers.findings import Finding, some
from cloudfn.providers.fleet import Instance, InstanceState
from cloudfn.providers.images import BuiltImage
from cloudfn.providers.machines import MachineRow
from cloudfn.providers.presence import ClientRow

#: seconds in which a machine has certainly booted, and a vanished client been dealt with
_BOOTED, _DEPARTED = 900.0, 900.0
_MIB = 1 << 20
_AWAKE = "Have it look: `cloudfn planner status` says what it thinks, `cloudfn planner run` plans."


def check_planner(*, led: bool, waiting: int) -> Finding:
    """Judge whether somebody plans.

    Args:
        led: Somebody does just now.
        waiting: Inputs that wait.
    """
    if led:
        return Finding("planner", "ok", "plans")
    if not waiting:
        return Finding("planner", "ok", "asleep; it is woken when something is to do")
    text = f"nobody plans, and {waiting} inputs wait; it is woken each minute"
    return Finding("planner", "warn", text, _AWAKE)


def check_machines(
    rows: Sequence[MachineRow], instances: Sequence[Instance], version: str, now: float
) -> Iterator[Finding]:
    """Judge machines by what they said, and by what their provider says.

    Args:
        rows: What agents said.
        instances: What there is.
        version: Of cloudfn, here.
        now: Seconds since the epoch.
    """
    heard = [row for row in rows if row.lease_until > now]
    silent = [row for row in rows if row.lease_until <= now]
    known = {row.report.machine_id for row in rows}
    mute = [
        each.machine_id
        for each in instances
        if each.machine_id not in known
        and each.state is not InstanceState.ENDING
        and each.launched is not None
        and now - each.launched > _BOOTED
    ]
    warm = {each.machine_id for each in instances if each.state is InstanceState.WARM}
    booting = len({each.machine_id for each in instances} - known - set(mute) - warm)
    text = f"{len(heard)} heard, {booting} on their way"
    yield Finding("machines", "ok", f"{text}, {len(warm)} warm" if warm else text)
    if silent:
        lost = some(row.report.machine_id for row in silent)
        hint = "What they held runs elsewhere; the planner ends them. See `cloudfn machine list`."
        yield Finding("machines", "warn", f"not heard any more: {lost}", hint)
    if mute:
        text = f"their agents never joined: {some(mute)}"
        hint = "See /var/log/cloud-init-output.log there: `aws ec2 get-console-output`."
        yield Finding("machines", "warn", text, hint)
    others = sorted({row.report.version for row in heard} - {version, ""})
    if others:
        text = f"run version {', '.join(others)}, this command is {version}"
        hint = "`cloudfn infra apply` brings this version to new machines; drain the old ones."
        yield Finding("machines", "warn", text, hint)
    troubles = {
        pool: report.trouble
        for row in heard
        for pool, report in row.report.pools.items()
        if report.trouble
    }
    for pool, trouble in sorted(troubles.items()):
        yield Finding("pool", "fail", f"{pool} cannot be run: {trouble}", "Deploy it again.")


def check_queues(
    queues: Collection[str], live: Mapping[str, str], unfinished: Collection[str]
) -> Iterator[Finding]:
    """Judge queues of functions.

    Args:
        queues: Ids of functions that have one.
        live: Functions of live revisions by id, with names.
        unfinished: Pools with inputs that are not finished.
    """
    busy = {base_id(pool.rpartition("@")[0]) for pool in unfinished}
    lost = sorted(set(queues) - live.keys() - busy)
    missing = sorted(name for function_id, name in live.items() if function_id not in queues)
    if lost:
        text = f"of functions that no live revision has: {some(lost)}"
        hint = "They cost nothing, and go with their app, or with `cloudfn destroy`."
        yield Finding("queues", "warn", text, hint)
    if missing:
        text = f"missing of {some(missing)}: their inputs wait for the planner's next look"
        yield Finding("queues", "fail", text, "`cloudfn app rollover APP` makes them again.")
    if not lost and not missing:
        yield Finding("queues", "ok", f"{len(queues)}, one for each function")


def check_images(images: Sequence[BuiltImage], used: Mapping[str, str]) -> Iterator[Finding]:
    """Judge what the registry has.

    Args:
        images: Those that are there.
        used: Digests that live revisions name, with an app of each.
    """
    there = {each.digest for each in images}
    missing = [f"im-{digest} of {app}" for digest, app in used.items() if digest not in there]
    unused = [each for each in images if each.digest not in used]
    if missing:
        text = f"not there: {some(missing)}"
        yield Finding("images", "fail", text, "Deploy the app again: that builds it.")
    if unused:
        size = sum(each.size for each in unused) / _MIB
        text = f"{len(unused)} that no live revision names ({size:,.0f} MiB)"
        yield Finding("images", "warn", text, "`cloudfn image prune` removes them.")
    if not missing and not unused:
        yield Finding("images", "ok", f"{len(used)}, all of live revisions")


def check_clients(rows: Sequence[ClientRow], now: float) -> Finding:
    """Judge whether vanished clients are dealt with."""
    gone = [row.client_id for row in rows if now - row.lease_until > _DEPARTED]
    if gone:
        text = f"vanished, and not dealt with: {some(gone)}"
        return Finding("clients", "warn", text, f"The planner ends what they left. {_AWAKE}")
    here = sum(row.lease_until > now for row in rows)
    return Finding("clients", "ok", f"{here} here")
