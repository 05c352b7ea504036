"""The user's own folder with an environment's Terraform: an example to change, and our modules.

    main.tf, variables.tf, …   the user's, from an example; never written again
    cloudfn/                   the modules of this version of cloudfn; written by each `init`
    cloudfn.auto.tfvars.json   region and environment
    backend.json               where the state is
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cloudfn
from cloudfn.errors import InvalidError, NotFoundError

#: what a new folder may begin as
EXAMPLES = ("minimal", "gpu", "spot", "existing-vpc")
_MODULES = "cloudfn"
_VALUES = "cloudfn.auto.tfvars.json"
_BACKEND = "backend.json"
_SOURCE = re.compile(r'source(\s*)=(\s*)"\.\./\.\."')
#: resources that refuse to be destroyed, by the module that they are in
_PROTECTED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "store": (("aws_dynamodb_table", "ledger"), ("aws_s3_bucket", "data")),
    "registry": (("aws_ecr_repository", "images"),),
}


@dataclass(frozen=True, slots=True)
class Workspace:
    """One folder."""

    folder: Path
    environment: str
    region: str
    #: what `terraform init` is told of the state: bucket, key, region
    backend: Mapping[str, str]

    @classmethod
    def at(cls, folder: Path) -> Workspace:
        """Return what was made in a folder.

        Raises:
            NotFoundError: Nothing was.
            InvalidError: Its files are no JSON, or lack something.
        """
        try:
            values = json.loads((folder / _VALUES).read_text())
            backend = json.loads((folder / _BACKEND).read_text())
            return cls(folder, values["environment"], values["region"], backend)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(
                f"{folder} holds no environment.",
                hint="`cloudfn infra init` makes one; --dir names its folder.",
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidError(
                f"{folder}: {_VALUES} or {_BACKEND} makes no sense ({error!r}).",
                hint="`cloudfn infra init` writes both anew.",
            ) from None

    def prepare(self, example: str) -> bool:
        """Write the folder, or bring its modules up to date; return whether it is new.

        Raises:
            InvalidError: There is no such example, the folder holds something else, or nothing
                can be written there.
        """
        try:
            return self._prepare(example)
        except OSError as error:
            raise InvalidError(
                f"{self.folder} cannot be written: {error}.", hint="Name another folder: --dir."
            ) from error

    def _prepare(self, example: str) -> bool:
        if example not in EXAMPLES:
            raise InvalidError(
                f"There is no example {example!r}.", hint=f"There are: {', '.join(EXAMPLES)}."
            )
        source = modules_folder()
        fresh = not (self.folder / "main.tf").exists()
        known = (self.folder / _MODULES).exists() or (self.folder / _VALUES).exists()
        if not known and any(self.folder.glob("*.tf")):
            raise InvalidError(
                f"{self.folder} holds Terraform files that are not cloudfn's.",
                hint="Name an empty folder: --dir.",
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_modules(source)
        if fresh:
            # The one that tells whether they are all there comes last.
            files = (source / "examples" / example).glob("*.tf")
            for path in sorted(files, key=lambda each: (each.name == "main.tf", each.name)):
                text = _SOURCE.sub(rf'source\1=\2"./{_MODULES}"', path.read_text())
                (self.folder / path.name).write_text(text)
        _write_json(
            self.folder / _VALUES, {"environment": self.environment, "region": self.region}
        )
        _write_json(self.folder / _BACKEND, dict(self.backend))
        return fresh

    def _write_modules(self, source: Path) -> None:
        part = self.folder / f".{_MODULES}.part"
        shutil.rmtree(part, ignore_errors=True)
        unwanted = shutil.ignore_patterns("examples", "tests", ".terraform*")
        shutil.copytree(source, part, ignore=unwanted)
        shutil.rmtree(self.folder / _MODULES, ignore_errors=True)
        part.rename(self.folder / _MODULES)

    @contextmanager
    def unprotected(self) -> Iterator[None]:
        """While open, what holds data may be destroyed."""
        try:
            for path, resources in self._overrides():
                path.write_text("\n".join(_override(*each) for each in resources))
            yield
        finally:
            self.protect()

    def protect(self) -> None:
        """Have what holds data refuse to be destroyed, whoever was killed in the middle of that."""
        for path, _ in self._overrides():
            path.unlink(missing_ok=True)

    def _overrides(self) -> Iterator[tuple[Path, Sequence[tuple[str, str]]]]:
        for module, resources in _PROTECTED.items():
            yield self.folder / _MODULES / "modules" / module / "destroy_override.tf", resources


def modules_folder() -> Path:
    """Return cloudfn's Terraform: beside the package in a checkout, inside it once installed.

    Raises:
        NotFoundError: This installation carries none.
    """
    package = Path(cloudfn.__file__).parent
    for folder in (package / "_terraform", package.parent / "infra" / "terraform"):
        if (folder / "modules").is_dir():
            return folder
    raise NotFoundError(
        "This installation of cloudfn lacks its Terraform modules.",
        hint="Install a release, or run from a checkout.",
    )


def _override(kind: str, name: str) -> str:
    return (
        f'resource "{kind}" "{name}" {{\n  lifecycle {{\n    prevent_destroy = false\n  }}\n}}\n'
    )


def _write_json(path: Path, value: Mapping[str, str]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
