"""What becomes of an item in a put, update, delete or check of DynamoDB. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudfn.testing.aws import dynamodb_syntax as syntax
from cloudfn.testing.aws import dynamodb_values as values
from cloudfn.testing.aws.dynamodb_expressions import check_actions, holds, updated
from cloudfn.testing.aws.dynamodb_tables import Schema
from cloudfn.testing.aws.dynamodb_values import Item, invalid

_LEGACY = frozenset(
    {
        "AttributeUpdates",
        "AttributesToGet",
        "ConditionalOperator",
        "Expected",
        "KeyConditions",
        "QueryFilter",
        "ScanFilter",
        "Segment",
        "TotalSegments",
    }
)


@dataclass(frozen=True, slots=True)
class Write:
    """One write, read from a request and not yet carried out."""

    kind: str
    key: Item
    condition: Any
    actions: list[syntax.Action]
    #: of a put
    item: Item | None
    #: whether a refusal says what is there
    tells: bool

    def allowed(self, before: Item | None) -> bool:
        """Say whether the condition holds."""
        return self.condition is None or holds(self.condition, before or {})

    def after(self, before: Item | None) -> Item | None:
        """Return what will be there.

        Raises:
            Refused: The update makes no sense, or the item becomes too large.
        """
        match self.kind:
            case "Put":
                return self.item
            case "Delete":
                return None
            case "ConditionCheck":
                return before
            case _:
                return self._updated(before)

    def _updated(self, before: Item | None) -> Item:
        item = updated({**self.key, **(before or {})}, self.actions)
        if values.item_size(item) > values.LARGEST_ITEM:
            raise invalid("Item size to update has exceeded the maximum allowed size")
        return item


def read_write(kind: str, params: Mapping[str, Any], schema: Schema) -> Write:
    """Read a write from a request.

    Args:
        kind: Put, Update, Delete or ConditionCheck.
        params: Of the request, or of one part of a transaction.
        schema: Of the table.

    Raises:
        Refused: It cannot be carried out whatever is there.
    """
    names = substitutes_of(params)
    condition = params.get("ConditionExpression")
    tree = None if condition is None else syntax.condition(condition, names)
    actions: list[syntax.Action] = []
    item: Item | None = None
    if kind == "Put":
        item = {name: values.checked(value) for name, value in params["Item"].items()}
        schema.check(item, alone=False)
        key = schema.key_of(item)
        if values.item_size(item) > values.LARGEST_ITEM:
            raise invalid("Item size has exceeded the maximum allowed size")
    else:
        schema.check(params["Key"], alone=True)
        key = {name: values.checked(value) for name, value in params["Key"].items()}
    if kind == "Update" and "UpdateExpression" in params:
        actions = syntax.update(params["UpdateExpression"], names)
        check_actions(actions)
        _check_key_untouched(actions, schema)
    names.finish()
    tells = params.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
    return Write(kind, key, tree, actions, item, tells)


def substitutes_of(params: Mapping[str, Any]) -> syntax.Substitutes:
    """Return what `#x` and `:x` stand for in a request."""
    if legacy := _LEGACY & set(params):
        raise NotImplementedError(f"The fake of dynamodb has no {', '.join(sorted(legacy))}.")
    given = params.get("ExpressionAttributeValues", {})
    checked = {name: values.checked(value) for name, value in given.items()}
    return syntax.Substitutes(params.get("ExpressionAttributeNames", {}), checked)


def _check_key_untouched(actions: list[syntax.Action], schema: Schema) -> None:
    for action in actions:
        if action.path.parts[0] in schema.names:
            raise invalid(
                "One or more parameter values were invalid: Cannot update attribute"
                f" {action.path.parts[0]}. This attribute is part of the key"
            )


def touched(actions: list[syntax.Action], item: Item | None) -> Item:
    """Return what UPDATED_OLD and UPDATED_NEW show of an item."""
    return values.projected(item or {}, [action.path for action in actions])
