"""What machines start with: infra/terraform's own template, rendered without Terraform."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path

from cloudfn.providers.aws.infra.workspace import modules_folder

_JSON = re.compile(r"\$\{jsonencode\(\{(.*?)\}\)\}")
_NAME = re.compile(r"\$\{([a-z0-9_]+)\}")
_DEFAULT = re.compile(r"^ *(\w+) += optional\(\w+, (\"[^\"]*\"|\d+)\)", re.MULTILINE)


def module_folder() -> Path:
    """Return the folder of Terraform's module that makes machines.

    Raises:
        NotFoundError: This installation came without.
    """
    return modules_folder() / "modules" / "machine_class"


def defaults(folder: Path) -> dict[str, str | int]:
    """Return what the module's variable `boot` says where nobody says otherwise."""
    text = (folder / "variables.tf").read_text()
    block = text[text.index('variable "boot"') :]
    return {name: json.loads(value) for name, value in _DEFAULT.findall(block)}


def agent_module() -> str:
    """Return the module that machines run, where nobody says otherwise."""
    return str(defaults(module_folder())["module"])


def planner_handler() -> str:
    """Return the function that AWS Lambda calls for the planner, where nobody says otherwise."""
    text = (modules_folder() / "modules" / "planner" / "variables.tf").read_text()
    block = text[text.index('variable "handler"') :]
    return str(json.loads(block[block.index('= "', block.index("default")) + 2 :].split("\n")[0]))


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
