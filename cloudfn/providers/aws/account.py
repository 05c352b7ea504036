"""An AWS account in one region, as far as people ask about its environments."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from cloudfn.errors import Error
from cloudfn.providers.aws.checks import check_access, check_leavings
from cloudfn.providers.aws.clients import Access, Clients
from cloudfn.providers.aws.outputs import environments, read_outputs
from cloudfn.providers.findings import Finding, failed
from cloudfn.settings import Settings


def open_account(settings: Settings) -> AwsAccount:
    """Return the account that credentials here lead to; asks nothing."""
    return AwsAccount(Clients(Access(region=settings.region)), settings.environment)


class AwsAccount:
    """The `Account` port.

    Args:
        clients: Of the account.
        environment: Which environment is asked about.
    """

    def __init__(self, clients: Clients, environment: str) -> None:
        self._clients = clients
        self._environment = environment

    def environments(self) -> list[str]:
        return environments(self._clients.of("ssm"))

    def check_access(self, now: float) -> Iterator[Finding]:
        try:
            region = self._clients.region
        except Error as error:
            yield failed("credentials", error)
            return
        yield from check_access(self._clients, self._environment, region, now)

    def check_leavings(
        self, functions: Collection[str], mailboxes: Collection[str]
    ) -> Iterator[Finding]:
        ssm = self._clients.of("ssm")
        outputs = read_outputs(ssm, self._environment, self._clients.region)
        yield from check_leavings(self._clients, outputs, functions, mailboxes)
        yield Finding(
            "infrastructure",
            "ok",
            "`cloudfn infra doctor` checks permissions, quotas, drift and lost machines",
        )

    def close(self) -> None:
        self._clients.close()
