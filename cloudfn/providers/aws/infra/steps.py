"""`cloudfn infra`: init, plan, apply, destroy, as steps that say what they do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from cloudfn.errors import Error, InvalidError, NotFoundError, VersionError
from cloudfn.providers.aws.clients import Access, Clients
from cloudfn.providers.aws.errors import explained
from cloudfn.providers.aws.infra import leftovers, preflight
from cloudfn.providers.aws.infra.base import Base, Report, Wanted
from cloudfn.providers.aws.infra.events import Said
from cloudfn.providers.aws.infra.rehearsed import REHEARSAL, RehearsedBase
from cloudfn.providers.aws.infra.terraform import Run
from cloudfn.providers.aws.infra.terraformed import TerraformBase
from cloudfn.providers.aws.infra.workspace import Workspace
from cloudfn.providers.aws.outputs import parameter, parse_outputs
from cloudfn.providers.findings import Finding


class Infra:
    """An environment in an AWS account: its base, and what deploys and the planner put on it.

    Its outputs say what made the base; without any, Terraform is to make it.

    Args:
        wanted: Which one.
        environ: Variables for Terraform; credentials are found in them or in the files of AWS.
        cache: Private folder for wheels and bundles.
        make_key: Has the environment's key made, once; see `providers.aws.keys`.
        open_clients: Opens an account.
    """

    def __init__(
        self,
        wanted: Wanted,
        environ: Mapping[str, str],
        cache: Path,
        make_key: Callable[[Clients, str, str | None], object],
        open_clients: Callable[[Access], Clients] = Clients,
    ) -> None:
        self._wanted = wanted
        self._environ = environ
        self._cache = cache
        self._make_key = make_key
        self._open_clients = open_clients

    def init(self, example: str, report: Report) -> Workspace:
        """Make the bucket for state and the folder, and have Terraform fetch its provider."""
        return self._base(self._known_outputs()).init(example, report)

    def plan(self, report: Report) -> Run:
        """Say what `apply` would do."""
        return self._base(self._known_outputs()).plan(report)

    def apply(self, report: Report) -> Run:
        """Make it so, and see that the environment has its key."""
        return self._base(self._known_outputs()).apply(report)

    def destroy(self, report: Report) -> list[leftovers.Leftover]:
        """Remove everything, with all data; return what is there nevertheless."""
        clients, environment = self._clients, self._wanted.environment
        outputs = self._known_outputs()
        base = self._base(outputs)

        def say(text: str) -> None:
            report(Said(text))

        try:
            base.ensure_removable()
        except NotFoundError as error:
            raise NotFoundError(
                f"There is no environment {environment!r} in {clients.region}: {error.message}",
                hint="Name another --env, --region or --profile; --dir names a folder.",
            ) from None
        leftovers.quieten(clients, environment, say)
        base.remove(report)
        leftovers.sweep(clients, environment, say)
        base.forget(report)
        return leftovers.remaining(clients, environment, outputs)

    def outputs(self) -> dict[str, Any]:
        """Return where everything is, from the parameter that laptops read.

        Raises:
            NotFoundError: There is no such environment.
            InvalidError: Somebody else than Terraform has written it; VersionError: another one.
        """
        return self._parsed(self._told())

    def doctor(self, report: Report) -> Iterator[Finding]:
        """Check credentials, permissions, the base, quotas, drift and orphans."""
        clients = self._clients
        try:
            region, who = clients.region, preflight.identity(clients)
        except Error as error:
            yield Finding("credentials", "fail", error.message, error.hint or "")
            return
        yield Finding("credentials", "ok", f"{who.arn} in {region}")
        yield preflight.check_permissions(clients, who.arn)
        outputs: Mapping[str, Any] | None = None
        try:
            outputs = self.outputs()
            bundle = str(outputs["bundle_sha256"])[:12]
            yield Finding("environment", "ok", f"made with bundle {bundle}")
        except Error as error:
            hint = "Make it: `cloudfn infra apply`."
            yield Finding("environment", "fail", error.message, hint)
        yield from self._base(outputs).check(outputs, report)
        try:
            lost = leftovers.orphans(clients, self._wanted.environment)
        except Error as error:
            yield Finding("orphans", "warn", f"not known: {error.message}", error.hint or "")
            return
        hint = f"End them: `aws ec2 terminate-instances --instance-ids {' '.join(lost)}`."
        yield (
            Finding("orphans", "fail", f"machines that belong to no group: {', '.join(lost)}", hint)
            if lost
            else Finding("orphans", "ok", "every machine belongs to a group")
        )

    def _told(self) -> str:
        name = parameter(self._wanted.environment)
        with explained("ssm", "GetParameter", name):
            told = self._clients.of("ssm").get_parameter(Name=name)
        return str(told["Parameter"]["Value"])

    def _parsed(self, text: str) -> dict[str, Any]:
        parse_outputs(text, parameter(self._wanted.environment))
        return dict(json.loads(text))

    def _known_outputs(self) -> dict[str, Any] | None:
        try:
            text = self._told()
        except NotFoundError:
            return None
        try:
            return self._parsed(text)
        except (InvalidError, VersionError):
            # What makes no sense is written anew, or removed, without being asked.
            return None

    def _base(self, outputs: Mapping[str, Any] | None) -> Base:
        if outputs is not None and outputs.get("made_by") == REHEARSAL:
            return RehearsedBase(self._clients, outputs)
        return TerraformBase(
            self._wanted, self._environ, self._cache, self._clients, self._make_key
        )

    @cached_property
    def _clients(self) -> Clients:
        """Return clients; where no region is named, that of the folder, if there is one."""
        region = self._wanted.region
        if region is None and (self._wanted.folder / "backend.json").exists():
            region = Workspace.at(self._wanted.folder).region
        return self._open_clients(Access(region=region, profile=self._wanted.profile))
