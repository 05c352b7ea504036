"""What a plan would do, as plain data for people. Pure."""

from __future__ import annotations

from typing import Any

from cloudfn.control.deploy.plan import (
    AddRevision,
    ClearOverrides,
    CreateApp,
    Nothing,
    Plan,
    Step,
    StopApp,
    SwitchPools,
)
from cloudfn.model.cls import shown_name

_NAMES: dict[type[Step], str] = {
    Nothing: "nothing",
    CreateApp: "create_app",
    ClearOverrides: "clear_overrides",
    AddRevision: "add_revision",
    SwitchPools: "switch_pools",
    StopApp: "stop_app",
}


def plan_json(plan: Plan, cut_short: int | None = None) -> dict[str, Any]:
    """Return a plan's steps in words, and whose settings that were changed by hand it drops.

    Args:
        plan: What a deploy would do.
        cut_short: The live version, where its deploy ended in the middle and is completed now.
    """
    if cut_short is not None:
        does = f"Complete version {cut_short}, whose deploy ended in the middle."
        return {
            "app": plan.app,
            "changed": True,
            "steps": [{"step": "complete", "does": does}],
            "dropped_overrides": [],
        }
    cleared = [step for step in plan.steps if isinstance(step, ClearOverrides)]
    return {
        "app": plan.app,
        "changed": plan.changed,
        "steps": [{"step": _NAMES[type(step)], "does": step.sentence} for step in plan.steps],
        "dropped_overrides": [shown_name(name) for step in cleared for name in step.functions],
    }
