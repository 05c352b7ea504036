"""Apps and their functions as clients see them: plain data. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cloudfn.control.operations import Fields
from cloudfn.errors import Error
from cloudfn.model.cls import shown_name
from cloudfn.providers.catalog import AppRecord, FunctionRecord, RevisionRecord


def app_json(
    app: AppRecord, functions: Sequence[FunctionRecord], containers: int, urls: Mapping[str, Any]
) -> Fields:
    """Return an app of a list, with how many containers it has and where it answers requests."""
    return {
        "app_id": app.app_id,
        "name": app.name,
        "state": app.state,
        "revision": app.revision,
        "created": app.created,
        "stopped": app.stopped,
        "containers": containers,
        "functions": [shown_name(function.name) for function in functions],
        "function_ids": [function.function_id for function in functions],
        "tags": dict(app.tags),
        "urls": urls,
    }


def history_json(app: AppRecord, revisions: Iterable[RevisionRecord]) -> Fields:
    """Return the revisions of an app."""
    return {
        "revisions": [
            {
                "number": revision.number,
                "created": revision.created,
                "live": revision.number == app.revision,
                "rollback_of": revision.rollback_of,
                "labels": dict(revision.spec.labels),
            }
            for revision in revisions
        ]
    }


def variant_json(
    record: FunctionRecord,
    settings_of: Callable[[FunctionRecord], Fields],
    stats: Mapping[str, int],
) -> Fields:
    """Return a variant of a function, with the settings in force and its figures."""
    assert record.variant is not None
    try:
        settings = settings_of(record)["settings"]
    except Error:  # it does not fit what is deployed now
        settings = None
    return {
        "function_id": record.function_id,
        "name": record.shown,
        "parameters": record.variant.parameters,
        "options": record.variant.options,
        "settings": settings,
        "stats": stats,
    }
