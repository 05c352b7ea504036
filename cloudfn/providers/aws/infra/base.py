"""What makes and removes the base of an environment, on which deploys and the planner build."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cloudfn.errors import InvalidError
from cloudfn.providers.aws.infra.events import Event
from cloudfn.providers.aws.infra.terraform import Run
from cloudfn.providers.aws.infra.workspace import Workspace
from cloudfn.providers.findings import Finding

Report = Callable[[Event], None]

_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,18}[a-z0-9])?")


def check_name(environment: str) -> None:
    """See whether an environment on AWS can be called so: names of everything begin with it.

    Raises:
        InvalidError: It cannot, as Terraform's modules say, too.
    """
    if not _NAME.fullmatch(environment):
        raise InvalidError(
            f"{environment!r} is no name of an environment on AWS.",
            hint="Take 1 to 20 small letters, digits and hyphens, a letter first and no hyphen"
            " last.",
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which environment, and where its folder and its state are."""

    folder: Path
    environment: str
    region: str | None = None
    profile: str | None = None
    state_bucket: str | None = None


class Base(Protocol):
    """One environment's base, by whoever made it."""

    def init(self, example: str, report: Report) -> Workspace:
        """Make ready what it is described in.

        Raises:
            InvalidError: Nobody can describe it: this and the next two.
        """
        ...

    def plan(self, report: Report) -> Run:
        """Say what `apply` would do."""
        ...

    def apply(self, report: Report) -> Run:
        """Make it as it is described."""
        ...

    def ensure_removable(self) -> None:
        """See, before anything is ended, that `remove` can begin.

        Raises:
            Error: It cannot: this is not its folder, or there is no Terraform.
        """
        ...

    def remove(self, report: Report) -> None:
        """Remove it with all data. Once more, after a failure, goes on."""
        ...

    def forget(self, report: Report) -> None:
        """Forget that there was one; the last that happens."""
        ...

    def check(self, outputs: Mapping[str, Any] | None, report: Report) -> Iterator[Finding]:
        """Check what it stands on, and whether it is as it was made.

        Args:
            outputs: Where everything is; None: nobody says.
            report: Hears what goes on.
        """
        ...
