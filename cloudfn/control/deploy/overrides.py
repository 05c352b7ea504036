"""Changes of a function's autoscaler settings between deploys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cloudfn.model.function import AutoscalerSettings
from cloudfn.providers.catalog import Catalog, Override


def update_override(
    catalog: Catalog,
    function_id: str,
    declared: AutoscalerSettings,
    changes: Mapping[str, int | None],
    *,
    now: float,
    by: str,
) -> tuple[AutoscalerSettings, Override]:
    """Merge changes onto a function's override, whole or not at all.

    Args:
        catalog: Where overrides are kept.
        function_id: The function, or a variant.
        declared: Its settings without an override.
        changes: The settings to change, by name; the others stay as they are.
        now: Seconds since the epoch.
        by: Who changes them.

    Returns:
        The settings in force from now on, and the override that makes them so.

    Raises:
        InvalidError: A setting is unknown, or they make no sense together.
        ConflictError: Somebody else changed them at the same time.
    """
    present = catalog.override(function_id)
    merged = {**(dict(present.changes) if present else {}), **changes}
    settings = declared.merged(merged)
    version = present.version if present else 0
    return settings, catalog.set_override(function_id, merged, expected=version, now=now, by=by)


def updated_json(settings: AutoscalerSettings, override: Override) -> dict[str, Any]:
    """Return what `update_override` returned as plain data."""
    return {
        "settings": asdict(settings),
        "version": override.version,
        "updated": override.updated,
        "updated_by": override.updated_by,
    }
