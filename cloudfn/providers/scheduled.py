"""The port of settings that schedules of a provider write by themselves; and what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from json import loads
from typing import NamedTuple, Protocol

from cloudfn.errors import InvalidError
from cloudfn.model.function import AutoscalerSettings
from cloudfn.providers.catalog import Override


@dataclass(frozen=True, slots=True)
class Scheduled:
    """What a schedule of the provider wrote for a pool, without any code of ours."""

    #: autoscaler settings by name; empty where something is wrong
    changes: Mapping[str, int | None]
    #: who wrote it, as far as it says so
    by: str
    #: seconds since the epoch
    written: float
    #: what is wrong with it; empty: nothing
    trouble: str = ""


class ScheduledSettings(Protocol):
    """What schedules wrote. Safe to share between threads; blocks."""

    def read(self) -> Mapping[str, Scheduled]:
        """Return all of an environment by the id of the function or variant; once a minute."""
        ...


class InForce(NamedTuple):
    """Settings, and what is to be said about them."""

    settings: AutoscalerSettings
    #: what was ignored or clamped; empty: nothing
    remark: str = ""


def scheduled(text: str, written: float) -> Scheduled:
    """Read what a schedule wrote. Pure; never fails.

    Args:
        text: JSON with autoscaler settings by name, and perhaps "by".
        written: When it was written, in seconds since the epoch.
    """
    try:
        data = loads(text)
    except (ValueError, RecursionError) as error:
        return Scheduled({}, "", written, f"it is no JSON: {error}")
    if not isinstance(data, dict):
        return Scheduled({}, "", written, "it is no JSON object with settings by name")
    by = str(data.pop("by", ""))
    try:
        # By themselves; whether they fit the declared ones, `in_force` says.
        AutoscalerSettings().merged(data)
    except InvalidError as error:
        return Scheduled({}, by, written, error.message)
    return Scheduled(data, by, written)


def in_force(
    declared: AutoscalerSettings, override: Override | None, wanted: Scheduled | None
) -> InForce:
    """Return the settings in force: of what people and schedules changed, the later counts. Pure.

    Args:
        declared: Those of the decorator.
        override: What people, or the code's own schedules, changed.
        wanted: What a schedule of the provider wrote.
    """
    changes = {} if override is None else dict(override.changes)
    if wanted is None:
        return InForce(declared.merged(changes))
    if wanted.trouble:
        remark = f"what a schedule wrote is ignored: {wanted.trouble}"
        return InForce(declared.merged(changes), remark)
    late = override is not None and override.updated > wanted.written
    merged = {**wanted.changes, **changes} if late else {**changes, **wanted.changes}
    most = merged.get("max_containers", declared.max_containers)
    least = merged.get("min_containers", declared.min_containers) or 0
    if most is None or least <= most:
        return InForce(declared.merged(merged))
    remark = f"min_containers would be {least}; {most}, the maximum, counts"
    return InForce(declared.merged({**merged, "min_containers": most}), remark)
