"""Drives the Terraform binary."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

from cloudfn.errors import ExecutionError, InvalidError
from cloudfn.providers.aws.infra.events import Event, Planned, Problem, Summary, parse

#: state in S3 is locked by a file beside it from this version on
OLDEST = (1, 11)
#: a plan that would change something
_CHANGES = 2

Report = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Run:
    """What a run of Terraform came to."""

    planned: tuple[Planned, ...]
    summary: Summary | None

    @property
    def drift(self) -> tuple[str, ...]:
        """What others changed and the plan would change back.

        Of the rest that differs from the state, AWS itself filled in most.
        """
        changed = {each.address for each in self.planned if not each.drift}
        return tuple(e.address for e in self.planned if e.drift and e.address in changed)


class Terraform:
    """Terraform in one folder.

    Args:
        folder: With the root module.
        environ: Variables that it gets; credentials are found as the AWS command line finds them.
        binary: Its path, or its name on the PATH.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str], binary: str = "terraform") -> None:
        found = which(binary, path=environ.get("PATH", os.defpath))
        if found is None:
            raise InvalidError(
                f"There is no {binary} here.",
                hint="Install Terraform 1.11 or newer: https://developer.hashicorp.com/terraform/install.",
            )
        self._binary = found
        self._folder = folder
        self._environ = {**environ, "TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "TF_CLI_ARGS": "-no-color"}

    def version(self) -> tuple[int, ...]:
        """Return its version.

        Raises:
            InvalidError: It is too old, or is no Terraform.
        """
        told = self._answer(["version", "-json"])
        # The oldest ones say it in words all the same.
        found = re.search(r'(?:"terraform_version": *"|Terraform v)(\d+)\.(\d+)\.(\d+)', told)
        if found is None:
            raise InvalidError(f"{self._binary} does not say which version it is.")
        version = tuple(map(int, found.groups()))
        if version[:2] < OLDEST:
            raise InvalidError(
                f"Terraform {'.'.join(found.groups())} is too old.", hint="cloudfn needs 1.11 or newer."
            )
        return version

    def init(self, backend: Mapping[str, str], report: Report) -> None:
        """Fetch the provider, and connect to the state."""
        options = [f"-backend-config={name}={value}" for name, value in backend.items()]
        self._run(["init", "-json", "-reconfigure", "-upgrade", *options], report)

    def plan(
        self, variables: Mapping[str, str], report: Report, *, save: Path | None = None
    ) -> Run:
        """Say what `apply` would do."""
        saved = [f"-out={save}"] if save is not None else []
        return self._run(["plan", "-json", "-detailed-exitcode", *saved, *_vars(variables)], report)

    def apply(
        self, variables: Mapping[str, str], report: Report, *, planned: Path | None = None
    ) -> Run:
        """Make it so; with a saved plan, exactly that."""
        what = [str(planned)] if planned is not None else _vars(variables)
        return self._run(["apply", "-json", "-auto-approve", *what], report)

    def destroy(self, variables: Mapping[str, str], report: Report) -> Run:
        """Remove everything."""
        return self._run(["destroy", "-json", "-auto-approve", *_vars(variables)], report)

    def has_resources(self) -> bool:
        """Whether there is anything that `destroy` would remove."""
        told = json.loads(self._answer(["show", "-json"]) or "{}")
        root = told.get("values", {}).get("root_module", {})
        return bool(root.get("resources") or root.get("child_modules"))

    def outputs(self) -> dict[str, Any]:
        """Return the values of the root module's outputs, by name; nothing before an apply."""
        told = json.loads(self._answer(["output", "-json"]) or "{}")
        return {name: each["value"] for name, each in told.items()}

    def _answer(self, arguments: Sequence[str]) -> str:
        done = subprocess.run(
            [self._binary, *arguments],
            cwd=self._folder,
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ExecutionError(
                f"terraform {arguments[0]} failed: {_last(done.stderr) or _last(done.stdout)}",
                hint="`cloudfn infra init` makes a folder ready.",
            )
        return done.stdout

    def _run(self, arguments: Sequence[str], report: Report) -> Run:
        planned: list[Planned] = []
        summary: Summary | None = None
        problems: list[Problem] = []
        # In the terminal's process group: Ctrl-C reaches Terraform too, which then ends what it is at
        # and saves its state. We wait for that.
        process = subprocess.Popen(
            [self._binary, *arguments],
            cwd=self._folder,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        with process:
            for event in _events(process):
                report(event)
                match event:
                    case Planned():
                        planned.append(event)
                    case Summary():
                        summary = event
                    case Problem(severity="error"):
                        problems.append(event)
                    case _:
                        pass
        allowed = (0, _CHANGES) if "-detailed-exitcode" in arguments else (0,)
        if process.returncode not in allowed:
            raise _failure(arguments[0], problems)
        return Run(tuple(planned), summary)


def _events(process: subprocess.Popen[str]) -> Iterator[Event]:
    assert process.stdout is not None
    interrupted = False
    while True:
        try:
            line = process.stdout.readline()
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            continue
        if not line:
            break
        event = parse(line)
        if event is not None:
            yield event
    if interrupted:
        process.wait()
        raise KeyboardInterrupt


def _failure(command: str, problems: Sequence[Problem]) -> ExecutionError:
    if not problems:
        return ExecutionError(
            f"terraform {command} failed.", hint="Its output above says more."
        )
    first = problems[0]
    place = first.address or first.where
    text = f"terraform {command} failed{f' at {place}' if place else ''}: {first.summary}"
    more = len(problems) - 1
    return ExecutionError(
        text + (f" (and {more} more)" if more else ""), hint=first.detail.strip() or None
    )


def _vars(variables: Mapping[str, str]) -> list[str]:
    return [f"-var={name}={value}" for name, value in variables.items()]


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
