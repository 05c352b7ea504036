"""What goes to containers, and how builds of images are doing: what to print of it. Pure.

Takes the messages of progress that the SDK hands on before it opens an App.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudfn.cli import moments
from cloudfn.cli.sizes import size

#: how builders say which step they are at
_STEP = re.compile(r"\[\s*(?:\S+ +)?(\d+)/(\d+)\]")


@dataclass(slots=True)
class _Building:
    step: str = ""
    last: str = ""


class Builds:
    """The builds that are under way.

    Args:
        live: Somebody looks at a line that changes: the output of builds is not printed as well.
    """

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._building: dict[str, _Building] = {}

    def take(self, message: Mapping[str, Any]) -> list[str]:
        """Take a message; return the lines to print."""
        if message.get("event") == "files":
            count, what = message["files"], str(message["what"]).capitalize()
            return [f"{what}: {count} file{'s'[: count != 1]}, {size(message['size'])}."]
        if message.get("event") != "image":
            return []
        image_id = str(message["image_id"])
        state = message.get("state")
        if state == "building":
            self._building[image_id] = _Building()
            users = ", ".join(message.get("functions", ()))
            return [] if self._live else [f"Building image {image_id} of {users}."]
        if state is not None:
            self._building.pop(image_id, None)
        if state == "built":
            time, room = moments.span(message["seconds"]), size(message["size"])
            return [f"✓ Image {image_id} built in {time}, {room}."]
        lines = [str(line) for line in message.get("lines", ())]
        self._follow(image_id, lines)
        return [] if self._live else [f"  {line}" for line in lines]

    def line(self) -> str | None:
        """Return what to show while images are built; None when none is."""
        for image_id, building in self._building.items():
            parts = [f"Building image {image_id}{building.step}", building.last]
            return " · ".join(part for part in parts if part)
        return None

    def _follow(self, image_id: str, lines: list[str]) -> None:
        building = self._building.get(image_id)
        if building is None:
            return
        for line in lines:
            step = _STEP.search(line)
            if step is not None:
                building.step = f" ({step[1]} of {step[2]} steps)"
            if line.strip():
                building.last = line.strip()
