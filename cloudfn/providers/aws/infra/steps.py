"""`cloudfn infra`: init, plan, apply, destroy, as steps that say what they do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudfn.errors import Error, InvalidError
from cloudfn.providers.aws.clients import Access, Clients
from cloudfn.providers.aws.errors import explained
from cloudfn.providers.aws.infra import leftovers, preflight, state
from cloudfn.providers.aws.infra.bundle import build_bundle
from cloudfn.providers.aws.infra.events import Event, Said
from cloudfn.providers.aws.infra.terraform import Run, Terraform
from cloudfn.providers.aws.infra.workspace import Workspace
from cloudfn.providers.findings import Finding

Report = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which environment, and where its folder and its state are."""

    folder: Path
    environment: str
    region: str | None = None
    profile: str | None = None
    state_bucket: str | None = None


class Infra:
    """An environment in an AWS account, as Terraform and we make it.

    Args:
        wanted: Which one.
        environ: Variables for Terraform; credentials are found in them or in the files of AWS.
        cache: Private folder for wheels and bundles.
        make_key: Has the environment's key made, once; see `providers.aws.keys`.
    """

    def __init__(
        self,
        wanted: Wanted,
        environ: Mapping[str, str],
        cache: Path,
        make_key: Callable[[Clients, str], object],
    ) -> None:
        self._wanted = wanted
        self._environ = dict(environ)
        self._cache = cache
        self._make_key = make_key

    def init(self, example: str, report: Report) -> Workspace:
        """Make the bucket for state and the folder, and have Terraform fetch its provider."""
        clients = self._clients(self._wanted.region)
        who, region = preflight.identity(clients), clients.region
        bucket = self._wanted.state_bucket or state.bucket_name(who.account_id, region)
        made = state.ensure_bucket(clients.of("s3"), bucket, region)
        report(Said(f"State is in s3://{bucket}{' (new)' if made else ''}"))
        backend = {
            "bucket": bucket,
            "key": state.state_key(self._wanted.environment),
            "region": region,
        }
        workspace = Workspace(self._wanted.folder, self._wanted.environment, region, backend)
        if workspace.prepare(example):
            report(Said(f"{workspace.folder} is made from the example {example}: change it freely"))
        self._terraform(workspace).init(workspace.backend, report)
        return workspace

    def plan(self, report: Report) -> Run:
        """Say what `apply` would do."""
        workspace = self._workspace()
        return self._terraform(workspace).plan(self._variables(report), report)

    def apply(self, report: Report) -> Run:
        """Make it so, and see that the environment has its key."""
        workspace = self._workspace()
        run = self._terraform(workspace).apply(self._variables(report), report)
        self._make_key(self._clients(workspace.region), workspace.environment)
        return run

    def destroy(self, report: Report) -> list[leftovers.Leftover]:
        """Remove everything, with all data; return what is there nevertheless."""
        workspace = self._workspace()
        clients, environment = self._clients(workspace.region), workspace.environment

        def say(text: str) -> None:
            report(Said(text))

        leftovers.quieten(clients, environment, say)
        variables = {**self._variables(report), "protect": "false"}
        with workspace.unprotected():
            terraform = self._terraform(workspace)
            # What is protected has to learn first that it is not any more.
            terraform.apply(variables, report)
            leftovers.quieten(clients, environment, say)
            terraform.destroy(variables, report)
        leftovers.sweep(clients, environment, say)
        gone = state.forget_state(
            clients.of("s3"), workspace.backend["bucket"], workspace.backend["key"]
        )
        say(f"The state is forgotten{', and its bucket is gone' if gone else ''}")
        return leftovers.remaining(clients, environment)

    def outputs(self) -> dict[str, Any]:
        """Return where everything is, from the parameter that laptops read."""
        environment, region = self._named()
        name = f"/cloudfn/{environment}/outputs"
        with explained("ssm", "GetParameter", name):
            told = self._clients(region).of("ssm").get_parameter(Name=name)
        return dict(json.loads(told["Parameter"]["Value"]))

    def doctor(self, report: Report) -> Iterator[Finding]:
        """Check Terraform, credentials, permissions, quotas, drift and orphans."""
        environment, region = self._named()
        clients = self._clients(region)
        try:
            who = preflight.identity(clients)
        except Error as error:
            yield Finding("credentials", "fail", error.message, error.hint or "")
            return
        yield Finding("credentials", "ok", f"{who.arn} in {clients.region}")
        yield preflight.check_permissions(clients, who.arn)
        yield from self._check_terraform(report)
        yield from self._check_outputs(clients)
        lost = leftovers.orphans(clients, environment)
        hint = f"End them: `aws ec2 terminate-instances --instance-ids {' '.join(lost)}`."
        yield (
            Finding("orphans", "fail", f"machines that belong to no group: {', '.join(lost)}", hint)
            if lost
            else Finding("orphans", "ok", "every machine belongs to a group")
        )

    def _check_terraform(self, report: Report) -> Iterator[Finding]:
        try:
            workspace = self._workspace()
            terraform = self._terraform(workspace)
            version = ".".join(map(str, terraform.version()))
            yield Finding("terraform", "ok", version)
            run = terraform.plan(self._variables(report), report)
        except Error as error:
            yield Finding("terraform", "fail", error.message, error.hint or "")
            return
        if run.drift:
            text = f"changed by others: {', '.join(run.drift)}"
            yield Finding("drift", "warn", text, "`cloudfn infra apply` changes it back.")
        elif run.summary is None or run.summary.empty:
            yield Finding("drift", "ok", "what is there is what the folder says")
        else:
            text = (
                f"{run.summary.add} to add, {run.summary.change} to change,"
                f" {run.summary.remove} to remove"
            )
            yield Finding("drift", "warn", text, "See `cloudfn infra plan`.")

    def _check_outputs(self, clients: Clients) -> Iterator[Finding]:
        try:
            outputs = self.outputs()
        except Error as error:
            hint = "Make it: `cloudfn infra apply`."
            yield Finding("environment", "fail", error.message, hint)
            return
        yield Finding("environment", "ok", f"made with bundle {outputs['bundle_sha256'][:12]}")
        for spot in (False, True):
            wanted = self._wanted_vcpus(clients, outputs, spot=spot)
            yield from preflight.check_quotas(clients, wanted, spot=spot)

    def _wanted_vcpus(
        self, clients: Clients, outputs: Mapping[str, Any], *, spot: bool
    ) -> dict[str, int]:
        classes = [
            each
            for each in outputs["machines"].values()
            if (each["purchase"] == "spot") == spot and each["max_machines"]
        ]
        names = sorted({name for each in classes for name in each["instance_types"]})
        sizes = preflight.vcpus(clients, names) if names else {}
        wanted: dict[str, int] = {}
        for each in classes:
            largest = max(each["instance_types"], key=lambda name: sizes.get(name, 0))
            family = preflight.family_of(largest)
            count = sizes.get(largest, 0) * int(each["max_machines"])
            wanted[family] = wanted.get(family, 0) + count
        return wanted

    def _workspace(self) -> Workspace:
        workspace = Workspace.at(self._wanted.folder)
        for what, named, there in (
            ("environment", self._wanted.environment, workspace.environment),
            ("region", self._wanted.region or workspace.region, workspace.region),
        ):
            if named != there:
                raise InvalidError(
                    f"{workspace.folder} is of {what} {there}, not {named}.",
                    hint="Name another folder (--dir), or leave the option away.",
                )
        return workspace

    def _named(self) -> tuple[str, str | None]:
        """Return environment and region, without a folder where both are named."""
        region = self._wanted.region
        if region is None and (self._wanted.folder / "backend.json").exists():
            region = self._workspace().region
        return self._wanted.environment, region

    def _variables(self, report: Report) -> dict[str, str]:
        bundle = build_bundle(self._cache, lambda text: report(Said(text)))
        return {"bundle": str(bundle)}

    def _terraform(self, workspace: Workspace) -> Terraform:
        environ = dict(self._environ)
        if self._wanted.profile is not None:
            environ["AWS_PROFILE"] = self._wanted.profile
        terraform = Terraform(workspace.folder, environ)
        terraform.version()
        return terraform

    def _clients(self, region: str | None) -> Clients:
        return Clients(Access(region=region, profile=self._wanted.profile))
