"""What lines of a Dockerfile say: its instructions, and what they copy of their context. Pure."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from cloudfn.errors import InvalidError

_DIRECTIVE = re.compile(r"#\s*(syntax|escape|check)\s*=\s*(\S+)", re.IGNORECASE)
_HERE = re.compile(r"<<-?\s*([\"']?)(\w+)\1")
_WORD = re.compile(r"\s*(\w+)\s+(.*)", re.DOTALL)
_FLAGS = re.compile(r"((?:--\S+\s+)*)(.*)", re.DOTALL)
_MOUNT = re.compile(r"--mount=(\S*)")
_ELSEWHERE = re.compile(r"(?:[a-z]+://|git@)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Copy:
    """A COPY or ADD that takes something from its context.

    Attributes:
        word: `COPY` or `ADD`.
        flags: Its flags as they stand, with a space behind them.
        sources: What it takes: paths as they stand, and addresses.
        target: Where to.
        as_words: It is written as a JSON array.
    """

    word: str
    flags: str
    sources: tuple[str, ...]
    target: str
    as_words: bool


def instructions(text: str) -> Iterator[str]:
    """Yield the instructions of a Dockerfile, each with its continuation lines; no comments.

    Raises:
        InvalidError: Its lines do not go on with a backslash.
    """
    pending: list[str] = []
    rest = iter(_without_directives(text.splitlines()))
    for line in rest:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        pending.append(line)
        if line.rstrip().endswith("\\"):
            continue
        for _, end in _HERE.findall(line) if _may_have_document(pending[0]) else ():
            for inner in rest:
                pending.append(inner)
                if inner.lstrip("\t") == end:
                    break
        yield "\n".join(pending)
        pending = []
    if pending:
        yield "\n".join(pending)


def word_of(instruction: str) -> tuple[str, str]:
    """Return the name of an instruction in capitals, and the rest of it; both "" for no such."""
    found = _WORD.fullmatch(instruction)
    return (found[1].upper(), found[2]) if found is not None else ("", "")


def flags_of(rest: str) -> tuple[str, str]:
    """Split what follows an instruction's name into its flags and what comes after them."""
    found = _FLAGS.fullmatch(rest)
    assert found is not None
    return found[1], found[2]


def joined(instruction: str) -> str:
    """Return an instruction as one line."""
    return re.sub(r"\\\s*\n\s*", " ", instruction).strip()


def has_document(text: str) -> bool:
    """Whether a here-document follows."""
    return _HERE.search(text) is not None


def copy_of(instruction: str) -> Copy | None:
    """Return what an instruction copies from its context; None if it does nothing of the sort."""
    word, rest = word_of(instruction)
    if word not in ("COPY", "ADD") or has_document(rest):
        return None
    flags, rest = flags_of(joined(rest))
    if "--from=" in flags:
        return None
    as_words = rest.startswith("[")
    *sources, target = json.loads(rest) if as_words else rest.split()
    return Copy(word, flags, tuple(sources), target, as_words)


def mounts_of(rest: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the `--mount` flags of a RUN that bind something of its context, and their options."""
    for mount in _MOUNT.finditer(rest):
        given = dict(each.partition("=")[::2] for each in mount[1].split(","))
        if given.get("type") == "bind" and "from" not in given:
            given["source"] = given.pop("source", given.pop("src", "/"))
            yield mount[0], given


def is_elsewhere(source: str) -> bool:
    """Whether the source of an ADD is an address rather than a path."""
    return _ELSEWHERE.match(source) is not None


def within(source: str) -> str:
    """Return a path of a context without what means nothing; "" for all of it."""
    return posixpath.normpath(f"/{source}").lstrip("/")


def copied(text: str) -> list[str]:
    """Return the paths, or patterns of them, that a Dockerfile takes from its context.

    Those with variables in them may be anything: they count as "", which is everything.
    """
    found: list[str] = []
    for instruction in instructions(text):
        copy = copy_of(instruction)
        sources = list(copy.sources) if copy is not None else []
        word, rest = word_of(instruction)
        if word == "RUN":
            sources += [given["source"] for _, given in mounts_of(rest)]
        found += ["" if "$" in each else within(each) for each in sources if not is_elsewhere(each)]
    return found


def _may_have_document(first: str) -> bool:
    return word_of(first)[0] in ("RUN", "COPY", "ADD")


def _without_directives(found: list[str]) -> list[str]:
    """Return lines without the directives at their top; a frontend would have to be downloaded."""
    for number, line in enumerate(found):
        directive = _DIRECTIVE.match(line.strip())
        if directive is None:
            return found[number:]
        if directive[1].lower() == "escape" and directive[2] != "\\":
            raise InvalidError(
                "A Dockerfile with another `# escape` than the backslash cannot be built.",
                hint="Take the directive out of it.",
            )
    return []
