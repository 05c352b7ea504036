"""What machines start with: infra/terraform's own template, rendered without Terraform."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path

import cloudfn
from cloudfn.errors import InvalidError

#: beside the package in a source tree, inside it where it was installed from a wheel
_PLACES = ("../infra/terraform/modules/machine_class", "infra/terraform/modules/machine_class")
_JSON = re.compile(r"\$\{jsonencode\(\{(.*?)\}\)\}")
_NAME = re.compile(r"\$\{([a-z0-9_]+)\}")
_DEFAULT = re.compile(r"^ *(\w+) += optional\(\w+, (\"[^\"]*\"|\d+)\)", re.MULTILINE)


def module_folder() -> Path:
    """Return the folder of Terraform's module that makes machines.

    Raises:
        InvalidError: This installation came without.
    """
    package = Path(cloudfn.__file__).parent
    for each in _PLACES:
        if (found := (package / each).resolve()).is_dir():
            return found
    raise InvalidError(
        "infra/terraform is missing beside cloudfn.",
        hint="Run it from a source tree, or install a wheel that was built from one.",
    )


def defaults(folder: Path) -> dict[str, str | int]:
    """Return what the module's variable `boot` says where nobody says otherwise."""
    text = (folder / "variables.tf").read_text()
    block = text[text.index('variable "boot"') :]
    return {name: json.loads(value) for name, value in _DEFAULT.findall(block)}


def rendered(folder: Path, values: Mapping[str, str | int]) -> str:
    """Return the user-data of a class, as Terraform would render it."""
    boot = base64.b64encode((folder / "boot.py").read_bytes()).decode()
    template = (folder / "user-data.yaml.tftpl").read_text()
    return render(template, {**values, "boot_py": boot})


def render(template: str, values: Mapping[str, str | int]) -> str:
    """Replace names, and `jsonencode` of an object of names: what the template makes use of.

    Raises:
        KeyError: A name has no value.
    """

    def encoded(found: re.Match[str]) -> str:
        pairs = (each.split("=") for each in found.group(1).split(","))
        told = {key.strip(): values[name.strip()] for key, name in pairs}
        return json.dumps(dict(sorted(told.items())), separators=(",", ":"))

    text = _JSON.sub(encoded, template)
    return _NAME.sub(lambda found: str(values[found.group(1)]), text)
