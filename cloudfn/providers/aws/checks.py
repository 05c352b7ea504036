"""Whether an environment on AWS can be used from here, and what lies in it that nobody needs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from email.utils import parsedate_to_datetime

from cloudfn.errors import Error, PermissionDeniedError
from cloudfn.model.variant import base_id
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import explained
from cloudfn.providers.aws.infra.preflight import identity
from cloudfn.providers.aws.keys import load_key
from cloudfn.providers.aws.outputs import Outputs, read_outputs
from cloudfn.providers.findings import Finding, Level, failed, some, unanswered

#: seconds by which this machine's clock may be wrong: AWS refuses requests at 300
_SKEW, _SKEW_REFUSED = 30.0, 300.0


def check_access(
    clients: ClientSource, environment: str, region: str, now: float
) -> Iterator[Finding]:
    """Check who we are, this machine's clock, and whether the environment is there for us.

    Nothing comes after the first finding that fails: what follows needs it.

    Args:
        clients: Of the account.
        environment: Its name.
        region: Where calls go to.
        now: Seconds since the epoch, by this machine's clock.
    """
    try:
        who = identity(clients)
    except Error as error:
        yield failed("credentials", error)
        return
    yield Finding("credentials", "ok", f"{who.arn} in {region}")
    yield check_clock(who.date, now)
    try:
        outputs = read_outputs(clients.of("ssm"), environment, region, who.account_id)
    except Error as error:
        yield failed("environment", error)
        return
    classes = ", ".join(sorted(outputs.machines)) or "none"
    yield Finding("environment", "ok", f"{environment}, with the machine classes {classes}")
    yield _check_key(clients, environment)


def check_clock(date: str, now: float) -> Finding:
    """Compare this machine's clock with the time in an answer. Pure.

    Args:
        date: As in HTTP; empty: it was not told.
        now: Seconds since the epoch.
    """
    if not date:
        return Finding("clock", "ok", "AWS did not say what time it is")
    skew = now - parsedate_to_datetime(date).timestamp()
    text = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} AWS"
    if abs(skew) < _SKEW:
        return Finding("clock", "ok", "as AWS's")
    level: Level = "warn" if abs(skew) < _SKEW_REFUSED else "fail"
    return Finding("clock", level, text, "Set it, for example by NTP: leases go by it.")


def check_leavings(
    clients: ClientSource,
    outputs: Outputs,
    functions: Collection[str],
    mailboxes: Collection[str],
) -> Iterator[Finding]:
    """Look for mailboxes and parameters that nobody needs any more.

    Args:
        clients: Of the account.
        outputs: Of the environment.
        functions: Ids of all functions that apps have.
        mailboxes: Addresses of clients that are there.
    """
    prefix = f"{outputs.queues.prefix}reply-"
    try:
        lost = sorted(set(_queues(clients, prefix)) - set(mailboxes))
    except Error as error:
        yield unanswered("mailboxes", error)
    else:
        yield _leavings(
            "mailboxes",
            lost,
            "of clients that are gone",
            "The planner removes them within 15 minutes of its next wake; they cost nothing.",
        )
    try:
        unknown = sorted(_unknown_pools(clients, outputs.environment, functions))
    except Error as error:
        yield unanswered("parameters", error)
    else:
        hint = f"Remove them: `aws ssm delete-parameters --names {' '.join(unknown[:10])}`."
        yield _leavings("parameters", unknown, "of pools that no app has", hint)


def _check_key(clients: ClientSource, environment: str) -> Finding:
    try:
        load_key(clients.of("ssm"), environment)
    except PermissionDeniedError:
        text = "the environment's key may not be read: you can deploy, and not call"
        return Finding("key", "warn", text, "Calling takes the role `invoker`.")
    except Error as error:
        return failed("key", error)
    return Finding("key", "ok", "can be read")


def _leavings(check: str, names: list[str], what: str, hint: str) -> Finding:
    if not names:
        return Finding(check, "ok", f"none {what}")
    return Finding(check, "warn", f"{len(names)} {what}: {some(names)}", hint)


def _queues(clients: ClientSource, prefix: str) -> Iterator[str]:
    with explained("sqs", "ListQueues", f"queues {prefix}*"):
        # Of more than 1,000 queues SQS gives the rest only where the size of a page is named.
        pages = clients.of("sqs").get_paginator("list_queues")
        for page in pages.paginate(QueueNamePrefix=prefix, PaginationConfig={"PageSize": 1_000}):
            yield from (url.rpartition("/")[2] for url in page.get("QueueUrls", ()))


def _unknown_pools(
    clients: ClientSource, environment: str, functions: Collection[str]
) -> Iterator[str]:
    pools = f"/cloudfn/{environment}/pools"
    with explained("ssm", "GetParametersByPath", pools):
        pages = clients.of("ssm").get_paginator("get_parameters_by_path")
        for page in pages.paginate(Path=pools, Recursive=True):
            for parameter in page["Parameters"]:
                name = parameter["Name"].removeprefix(f"{pools}/").partition("/")[0]
                if base_id(name.replace(".", "+")) not in functions:
                    yield parameter["Name"]
