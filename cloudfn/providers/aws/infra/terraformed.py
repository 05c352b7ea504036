"""The base as Terraform makes it, in a folder of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cloudfn.errors import Error, InvalidError, NotFoundError
from cloudfn.providers.aws.clients import Clients
from cloudfn.providers.aws.infra import leftovers, preflight, state
from cloudfn.providers.aws.infra.base import Report, Wanted, check_name
from cloudfn.providers.aws.infra.bundle import build_bundle
from cloudfn.providers.aws.infra.events import Said
from cloudfn.providers.aws.infra.terraform import Run, Terraform
from cloudfn.providers.aws.infra.workspace import Workspace
from cloudfn.providers.aws.outputs import read_outputs
from cloudfn.providers.findings import Finding


class TerraformBase:
    """The `Base` port on Terraform.

    Args:
        wanted: Which environment, and where its folder is.
        environ: Variables for Terraform; credentials are found in them or in the files of AWS.
        cache: Private folder for wheels and bundles.
        clients: Of the account.
        make_key: Has the environment's key made, once; by which key of KMS.
    """

    def __init__(
        self,
        wanted: Wanted,
        environ: Mapping[str, str],
        cache: Path,
        clients: Clients,
        make_key: Callable[[Clients, str, str | None], object],
    ) -> None:
        self._wanted = wanted
        self._environ = dict(environ)
        self._cache = cache
        self._clients = clients
        self._make_key = make_key

    def init(self, example: str, report: Report) -> Workspace:
        check_name(self._wanted.environment)
        clients, known = self._clients, self._known_backend()
        who, region = preflight.identity(clients), clients.region
        bucket = self._wanted.state_bucket or known.get("bucket")
        bucket = bucket or state.bucket_name(who.account_id, region)
        backend = {
            "bucket": bucket,
            "key": state.state_key(self._wanted.environment),
            "region": region,
        }
        workspace = Workspace(self._wanted.folder, self._wanted.environment, region, backend)
        if workspace.prepare(example):
            report(Said(f"{workspace.folder} is made from the example {example}: change it freely"))
        terraform = self._terraform(workspace)
        made = state.ensure_bucket(clients.of("s3"), bucket, region, who.arn.split(":")[1])
        report(Said(f"State is in s3://{bucket}{' (new)' if made else ''}"))
        terraform.init(workspace.backend, report)
        return workspace

    def plan(self, report: Report) -> Run:
        workspace = self._workspace()
        workspace.protect()
        return self._terraform(workspace).plan(self._variables(report), report)

    def apply(self, report: Report) -> Run:
        workspace = self._workspace()
        workspace.protect()
        run = self._terraform(workspace).apply(self._variables(report), report)
        ssm, region = self._clients.of("ssm"), workspace.region
        outputs = read_outputs(ssm, workspace.environment, region)
        self._make_key(self._clients, workspace.environment, outputs.kms_key)
        return run

    def ensure_removable(self) -> None:
        workspace = self._workspace()
        bucket = workspace.backend["bucket"]
        if not state.exists(self._clients.of("s3"), bucket):
            raise NotFoundError(f"the bucket of its state, {bucket}, is gone.")
        # Only a folder that is ready, here, can say so.
        self._terraform(workspace).has_resources()

    def remove(self, report: Report) -> None:
        workspace = self._workspace()
        if not self._terraform(workspace).has_resources():
            report(Said("Terraform has removed everything already"))
            return
        variables = {**self._variables(report), "protect": "false"}
        with workspace.unprotected():
            terraform = self._terraform(workspace)
            # What is protected has to learn first that it is not any more.
            terraform.apply(variables, report)
            # That made again what was quiet.
            leftovers.quieten(
                self._clients, workspace.environment, lambda text: report(Said(text))
            )
            terraform.destroy(variables, report)

    def forget(self, report: Report) -> None:
        backend = self._workspace().backend
        gone = state.forget_state(self._clients.of("s3"), backend["bucket"], backend["key"])
        report(Said(f"The state is forgotten{', and its bucket is gone' if gone else ''}"))

    def check(self, outputs: Mapping[str, Any] | None, report: Report) -> Iterator[Finding]:
        yield from self._check_terraform(report)
        if outputs is None:
            return
        classes = outputs["machines"].values()
        names = sorted({name for each in classes for name in each["instance_types"]})
        try:
            sizes = preflight.vcpus(self._clients, names)
        except Error as error:
            yield Finding("instance types", "warn", f"not known: {error.message}", error.hint or "")
            return
        yield preflight.check_types(names, sizes, self._clients.region)
        for spot in (False, True):
            wanted = _wanted_vcpus(sizes, classes, spot=spot)
            yield from preflight.check_quotas(self._clients, wanted, spot=spot)

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

    def _known_backend(self) -> Mapping[str, str]:
        """Return where the state of the folder's environment is; nothing if it holds none.

        Raises:
            InvalidError: It holds another environment.
        """
        try:
            Workspace.at(self._wanted.folder)
        except (NotFoundError, InvalidError):
            return {}  # to be written, or written anew
        return self._workspace().backend

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


def _wanted_vcpus(
    sizes: Mapping[str, int], machines: Iterable[Mapping[str, Any]], *, spot: bool
) -> dict[str, int]:
    wanted: dict[str, int] = {}
    for each in machines:
        if (each["purchase"] == "spot") == spot and each["max_machines"]:
            largest = max(each["instance_types"], key=lambda name: sizes.get(name, 0))
            family = preflight.family_of(largest)
            count = sizes.get(largest, 0) * int(each["max_machines"])
            wanted[family] = wanted.get(family, 0) + count
    return wanted
