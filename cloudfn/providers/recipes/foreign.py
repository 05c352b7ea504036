"""Users' own Dockerfiles, made to fit into ours: contexts, variables, the last stage. Pure.

Our build context holds each folder under a name of its own, so that what COPY and ADD take from
"the" context has to be looked up there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence

from cloudfn.model.dockerfile import (
    copy_of,
    flags_of,
    has_document,
    is_elsewhere,
    joined,
    mounts_of,
    within,
    word_of,
)
from cloudfn.providers.recipes import lines

#: where in the build context a path of the user's context is
Place = Callable[[str], str]


def fitted(instruction: str, place: Place, env: Mapping[str, str], secrets: Sequence[str]) -> str:
    """Return an instruction that means the same in our build context.

    Args:
        instruction: One instruction.
        place: Where paths of its own context are.
        env: Variables for the commands of RUN alone.
        secrets: Ids of secrets whose variables those see as well.
    """
    copy = copy_of(instruction)
    if copy is not None:
        moved = [each if is_elsewhere(each) else place(within(each)) for each in copy.sources]
        words = [*moved, copy.target]
        text = json.dumps(words, ensure_ascii=False) if copy.as_words else " ".join(words)
        return f"{copy.word} {copy.flags}{text}"
    word, rest = word_of(instruction)
    if word != "RUN":
        return instruction
    for flag, given in mounts_of(rest):
        given["source"] = place(within(given["source"]))
        options = ",".join(f"{k}={v}" if v else k for k, v in given.items())
        rest = rest.replace(flag, f"--mount={options}", 1)
    flags, command = flags_of(rest)
    if (env or secrets) and not has_document(rest) and not command.lstrip().startswith("["):
        return lines.run_line(flags + joined(command), env=env, secrets=secrets)
    return f"RUN {rest}"


def named_last_stage(found: Sequence[str], name: str) -> tuple[list[str], str]:
    """Return instructions whose last stage has a name, and that name: the user's or ours."""
    last = max(i for i, each in enumerate(found) if word_of(each)[0] == "FROM")
    stage = joined(found[last])
    own = re.search(r"\sAS\s+(\S+)\s*$", stage, re.IGNORECASE)
    if own is not None:
        return list(found), own[1]
    return [*found[:last], f"{stage} AS {name}", *found[last + 1 :]], name


def has_stage(found: Sequence[str]) -> bool:
    """Whether there is a FROM among instructions."""
    return any(word_of(each)[0] == "FROM" for each in found)
