"""What a module's source imports, found without running it."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_IMPORT_LINE = re.compile(rb"(?:^|[;:])[ \t\f]*(?:import|from)\b([^\r\n]*)", re.MULTILINE)
_WORD = re.compile(rb"[\w\x80-\xff]+")
#: sources whose imports are remembered: a process that collects again mostly meets the same ones
_REMEMBERED = 1024


def words_of_imports(source: bytes) -> set[bytes] | None:
    """All words on lines that look like imports; None where only a parse can tell."""
    if b"import_module" in source or b"__import__" in source:
        return None
    lines = _IMPORT_LINE.findall(source)
    if any(line.rstrip().endswith(b"\\") for line in lines):
        return None
    return {word for line in lines for word in _WORD.findall(line)}


@lru_cache(_REMEMBERED)
def local_imports(source: bytes, package: str) -> frozenset[str]:
    """The dotted names that a module's source imports, made absolute; empty if it does not parse.

    `from a import b` gives `a.b`, as `b` may be a module. `package` is the module's package, ""
    for a module at the top.
    """
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    # Only a source that names these functions is worth a walk over its expressions.
    has_calls = b"import_module" in source or b"__import__" in source
    nodes = ast.walk(tree) if has_calls else _statements(tree)
    return frozenset(name for node in nodes for name in _names(node, package))


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        yield node
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            children = getattr(node, field, None)
            # A lambda and a conditional expression have a body as well, which is no list.
            if isinstance(children, list):
                pending += children


def _names(node: ast.AST, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = _absolute(node.module or "", node.level, package)
        if base is None:
            return []
        named = [alias.name for alias in node.names if alias.name != "*"]
        return [f"{base}.{name}" if base else name for name in named] or [base]
    if isinstance(node, ast.Call):
        return _called_names(node, package)
    return []


def _called_names(call: ast.Call, package: str) -> list[str]:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name not in {"import_module", "__import__"} or not call.args:
        return []
    argument = call.args[0]
    if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
        return []
    written = argument.value
    absolute = _absolute(
        written.lstrip("."), len(written) - len(written.lstrip(".")), _anchor(call, package)
    )
    return [absolute] if absolute else []


def _anchor(call: ast.Call, package: str) -> str:
    given = [each.value for each in call.keywords if each.arg == "package"] or call.args[1:2]
    if given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str):
        return given[0].value
    return package


def _absolute(name: str, level: int, package: str) -> str | None:
    if level == 0:
        return name
    parts = package.split(".") if package else []
    if level > len(parts):
        return None
    return ".".join([*parts[: len(parts) - level + 1], *([name] if name else [])])
