"""Shows what `cloudfn deploy` would do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cloudfn.cli import terminal

if TYPE_CHECKING:
    from cloudfn.sdk.app import App
    from cloudfn.sdk.app_opening import Opening
    from cloudfn.sdk.client import Client

_SIGNS = {"put": "+", "open": "+", "build": "+", "keep": "=", "remove": "-"}


def show(app: App, client: Client, name: str | None, how: Opening, *, as_json: bool) -> None:
    """Print what a deploy would do."""
    from cloudfn.sdk.app_opening import deployed_name, foreseen
    from cloudfn.sdk.twins import run

    wanted = deployed_name(name or app.name)
    told = run(foreseen(client, wanted, how, app.module_name, app.declared_functions))
    if as_json:
        terminal.print_json(told)
        return
    for line in _lines(told):
        terminal.print_text(line)
    terminal.say("Nothing was done: this was a dry run.")


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    steps = [each["does"] for each in told["steps"]]
    numbered = [f"{number}. {step}" for number, step in enumerate(steps, 1)]
    yield from numbered if told["changed"] else steps
    yield from _part("images", [_image(each) for each in told["images"]])
    yield from _part(
        "objects that are made", [f"+ {each['kind']} {each['name']}" for each in told["objects"]]
    )
    queues = [f"{_SIGNS[each['action']]} {each['function_name']}" for each in told["queues"]]
    yield from _part("queues", queues)
    yield from _part("schedules", [_schedule(each) for each in told["schedules"]])
    yield from _part("settings that are dropped", [f"- {e}" for e in told["dropped_overrides"]])


def _part(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield f"{title}:"
        yield from (f"  {line}" for line in lines)


def _image(image: Mapping[str, Any]) -> str:
    users = ", ".join(image["functions"])
    fate = "is built" if image["action"] == "build" else f"is there: {image['reference']}"
    platform = f" for {image['platform']}" if image["platform"] else ""
    return f"{_SIGNS[image['action']]} {image['image_id']}{platform} of {users} {fate}"


def _schedule(schedule: Mapping[str, Any]) -> str:
    zone = "" if schedule["kind"] == "period" else f" {schedule['timezone']}"
    what = f"{_SIGNS[schedule['action']]} {schedule['function_name']}: {schedule['when']}{zone}"
    changes = [f"{name}={value}" for name, value in schedule["changes"].items()]
    sets = f" sets {', '.join(changes)}" if changes else ""
    return f"{what}{sets}, by {schedule['fired_by']}"
