"""Users' own Dockerfiles, made to fit into ours: contexts, variables, the last stage. Pure.

Our build context holds each folder under a name of its own, so that what COPY and ADD take from
"the" context has to be looked up there.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from cloudfn.errors import InvalidError
from cloudfn.providers.recipes import lines

#: where in the build context a path of the user's context is
Place = Callable[[str], str]

_DIRECTIVE = re.compile(r"#\s*(syntax|escape|check)\s*=\s*(\S+)", re.IGNORECASE)
_HERE = re.compile(r"<<-?\s*([\"']?)(\w+)\1")
_WORD = re.compile(r"\s*(\w+)\s+(.*)", re.DOTALL)
_FLAGS = re.compile(r"((?:--\S+\s+)*)(.*)", re.DOTALL)
_BIND = re.compile(r"--mount=(\S*)")
_ELSEWHERE = re.compile(r"(?:[a-z]+://|git@)", re.IGNORECASE)


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


def fitted(instruction: str, place: Place, env: Mapping[str, str], secrets: Sequence[str]) -> str:
    """Return an instruction that means the same in our build context.

    Args:
        instruction: One instruction.
        place: Where paths of its own context are.
        env: Variables for the commands of RUN alone.
        secrets: Ids of secrets whose variables those see as well.
    """
    found = _WORD.fullmatch(instruction)
    if found is None:
        return instruction
    word, rest = found[1].upper(), found[2]
    if word in ("COPY", "ADD"):
        return _copy(word, rest, place) or instruction
    if word != "RUN":
        return instruction
    rest = _BIND.sub(lambda mount: _bind(mount[0], mount[1], place), rest)
    flags = _FLAGS.fullmatch(rest)
    assert flags is not None
    if (env or secrets) and not _HERE.search(rest) and not flags[2].lstrip().startswith("["):
        command = flags[1] + _joined(flags[2])
        return lines.run_line(command, env=env, secrets=secrets)
    return f"RUN {rest}"


def named_last_stage(found: Sequence[str], name: str) -> tuple[list[str], str]:
    """Return instructions whose last stage has a name, and that name: the user's or ours."""
    last = max(i for i, each in enumerate(found) if re.match(r"\s*FROM\s", each, re.IGNORECASE))
    stage = _joined(found[last])
    own = re.search(r"\sAS\s+(\S+)\s*$", stage, re.IGNORECASE)
    if own is not None:
        return list(found), own[1]
    return [*found[:last], f"{stage} AS {name}", *found[last + 1 :]], name


def has_stage(found: Sequence[str]) -> bool:
    """Whether there is a FROM among instructions."""
    return any(re.match(r"\s*FROM\s", each, re.IGNORECASE) for each in found)


def _copy(word: str, rest: str, place: Place) -> str | None:
    flags = _FLAGS.fullmatch(_joined(rest) if not _HERE.search(rest) else rest)
    assert flags is not None
    if "--from=" in flags[1] or "<<" in flags[2]:
        return None
    if flags[2].startswith("["):
        *sources, target = json.loads(flags[2])
        moved = [_moved(each, place) for each in sources]
        return f"{word} {flags[1]}{json.dumps([*moved, target], ensure_ascii=False)}"
    *sources, target = flags[2].split()
    return f"{word} {flags[1]}{' '.join([*(_moved(each, place) for each in sources), target])}"


def _moved(source: str, place: Place) -> str:
    if _ELSEWHERE.match(source):
        return source
    return place(posixpath.normpath(f"/{source}").lstrip("/"))


def _bind(whole: str, options: str, place: Place) -> str:
    given = dict(each.partition("=")[::2] for each in options.split(","))
    if given.get("type") != "bind" or "from" in given:
        return whole
    source = given.pop("source", given.pop("src", "/"))
    given["source"] = _moved(source, place)
    return "--mount=" + ",".join(f"{k}={v}" if v else k for k, v in given.items())


def _joined(instruction: str) -> str:
    """Return an instruction as one line."""
    return re.sub(r"\\\s*\n\s*", " ", instruction).strip()


def _may_have_document(first: str) -> bool:
    return re.match(r"\s*(?:RUN|COPY|ADD)\s", first, re.IGNORECASE) is not None


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
