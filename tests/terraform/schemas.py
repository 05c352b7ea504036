"""The AWS provider's schema, as JSON, out of a package for Node that was generated from it. Pure.

`@cdktn/provider-aws` has a folder for each resource and data source: `index.js` names attributes and
blocks with their types, `index.d.ts` says which are required and which occur once. What neither says is
which optional attributes the provider fills in, if nobody else does: that is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_ENTRY = re.compile(
    r'^ {8,12}(\w+): \{\n\s+value: (.*),\n\s+isBlock: (\w+),\n\s+type: "(\w+)",\n\s+storageClassType: "(\w+)",',
    re.MULTILINE,
)
_SECTION = re.compile(
    r"^function (\w+)ToHclTerraform\(struct\) \{|^    synthesizeHclAttributes\(\) \{", re.MULTILINE
)
_MAIN = re.compile(
    r"^class \w+ extends cdktn\.Terraform(?:Resource|DataSource|Provider) ", re.MULTILINE
)
_GETTER = re.compile(
    r"^    get \w+\(\) \{\n        return (?:cdktn\.Fn\.tolist\()?this\.get(\w+)Attribute\('(\w+)'\)",
    re.MULTILINE,
)
_COMPUTED_BLOCK = re.compile(r'^        this\._\w+ = new \w+\(this, "(\w+)"', re.MULTILINE)
_INTERFACE = re.compile(r"^export interface (\w+)[^{]*\{(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^    readonly (\w+)(\??): (.*)", re.MULTILINE)

_TYPES: Mapping[str, Any] = {
    "string": "string", "number": "number", "boolean": "bool",
    "stringList": "string", "numberList": "number", "booleanList": "bool",
    "stringMap": "string", "numberMap": "number", "booleanMap": "bool",
}  # fmt: skip
_GETTERS: Mapping[str, Any] = {
    "String": "string", "Number": "number", "Boolean": "bool", "List": ["list", "string"], "NumberList": ["list", "number"],
    "StringMap": ["map", "string"], "NumberMap": ["map", "number"], "BooleanMap": ["map", "bool"],
}  # fmt: skip
_GUESSED_COMPUTED = frozenset({"id", "name", "arn", "region", "tags_all"})


def schema(javascript: str, typescript: str) -> dict[str, Any]:
    """Return one block: `attributes` and `blocks` by name."""
    interfaces = {
        name: {camel: (mark == "", kind) for camel, mark, kind in _FIELD.findall(body)}
        for name, body in _INTERFACE.findall(typescript)
    }
    sections = _sections(javascript)
    main = next(name for name in interfaces if name.endswith("Config"))
    block = _block("", sections, interfaces, main)
    body = javascript[_MAIN.search(javascript).start() :]  # type: ignore[union-attr]
    for getter, name in _GETTER.findall(body):
        if name not in block["attributes"] and name not in block["blocks"]:
            block["attributes"][name] = {"type": _GETTERS.get(getter, "dynamic"), "computed": True}
    for name in _COMPUTED_BLOCK.findall(body):
        if name not in block["attributes"] and name not in block["blocks"]:
            block["attributes"][name] = {"type": "dynamic", "computed": True}
    return block


def _sections(javascript: str) -> dict[str, list[tuple[str, ...]]]:
    """Return the entries of each nested block by the name of its function; the resource's own under ""."""
    starts = [*_SECTION.finditer(javascript)]
    ends = [*(each.start() for each in starts[1:]), len(javascript)]
    return {
        start.group(1) or "": _ENTRY.findall(javascript, start.start(), end)
        for start, end in zip(starts, ends, strict=True)
    }


def _block(section: str, sections: Any, interfaces: Any, interface: str) -> dict[str, Any]:
    attributes, blocks = {}, {}
    for name, value, is_block, nesting, storage in sections[section]:
        camel = re.search(r"(?:this\._|struct!?\.)(\w+)", value).group(1)  # type: ignore[union-attr]
        required, kind = interfaces[interface][camel]
        nested = re.search(r"(?<![\w.])(\w+)ToHclTerraform", value)
        if nested:
            inner = nested.group(1)
            many = "[]" in kind
            entry = {
                "nesting": "single" if nesting == "struct" else nesting,
                "min": int(required and nesting != "struct"),
                "max": 0 if many or nesting == "struct" else 1,
                "block": _block(inner, sections, interfaces, inner[0].upper() + inner[1:]),
            }
            if is_block == "true":
                blocks[name] = entry
            else:
                attributes[name] = {
                    "type": "dynamic",
                    "required": required,
                    "optional": not required,
                }
            continue
        plain = _TYPES.get(storage, "dynamic")
        attributes[name] = {
            "type": plain if nesting == "simple" else [nesting, plain],
            "required": required,
            "optional": not required,
            "computed": not required and not section and name in _GUESSED_COMPUTED,
        }
    return {"attributes": attributes, "blocks": blocks}
