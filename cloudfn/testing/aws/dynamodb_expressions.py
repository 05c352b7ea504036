"""What DynamoDB's expressions mean: conditions of an item, and what an update makes of it. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from cloudfn.testing.aws.dynamodb_syntax import (
    Action,
    And,
    Between,
    Compare,
    Function,
    In,
    Literal,
    Not,
    Or,
    Path,
    Sum,
)
from cloudfn.testing.aws.dynamodb_values import (
    Item,
    Value,
    add,
    canonical,
    checked,
    invalid,
    look_up,
    number,
    number_value,
    order,
    overlap,
    type_of,
)

_ORDERED: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SCALARS = frozenset({"S", "N", "B"})


def holds(tree: Any, item: Mapping[str, Value]) -> bool:
    """Say whether a condition holds for an item; an item that is not there is empty."""
    match tree:
        case And(left, right):
            return holds(left, item) and holds(right, item)
        case Or(left, right):
            return holds(left, item) or holds(right, item)
        case Not(term):
            return not holds(term, item)
        case Compare(sign, left, right):
            return compares(sign, _operand(left, item), _operand(right, item))
        case Between(operand, low, high):
            found = _operand(operand, item)
            return compares(">=", found, _operand(low, item)) and compares(
                "<=", found, _operand(high, item)
            )
        case In(operand, options):
            found = _operand(operand, item)
            return any(compares("=", found, _operand(each, item)) for each in options)
        case Function(name, arguments):
            return _function(name, arguments, item)
        case _:
            raise AssertionError(tree)


def compares(sign: str, left: Value | None, right: Value | None) -> bool:
    """Compare two values; what is not there equals nothing, and has no order."""
    if sign in {"=", "<>"}:
        both = left is not None and right is not None
        same = both and canonical(left or {}) == canonical(right or {})
        return same if sign == "=" else not same
    if left is None or right is None or type_of(left) != type_of(right):
        return False
    return type_of(left) in _SCALARS and _ORDERED[sign](order(left), order(right))


def _operand(operand: Any, item: Mapping[str, Value]) -> Value | None:
    match operand:
        case Literal(value):
            return value
        case Path():
            return look_up(item, operand)
        case Function("size", (path,)):
            found = look_up(item, path)
            if found is None or type_of(found) in {"N", "BOOL", "NULL"}:
                return None
            return {"N": str(len(next(iter(found.values()))))}
        case _:
            raise AssertionError(operand)


def _function(name: str, arguments: tuple[Any, ...], item: Mapping[str, Value]) -> bool:
    if not isinstance(arguments[0], Path) and name != "contains":
        raise invalid(
            "Invalid ConditionExpression: Operator or function requires a document path; operator"
            f" or function: {name}"
        )
    found = _operand(arguments[0], item)
    if name == "attribute_exists":
        return found is not None
    if name == "attribute_not_exists":
        return found is None
    second = _operand(arguments[1], item)
    if found is None or second is None:
        return False
    if name == "attribute_type":
        return type_of(found) == second.get("S")
    return _contains(found, second) if name == "contains" else _begins(found, second)


def _begins(found: Value, start: Value) -> bool:
    kind = type_of(start)
    if kind not in {"S", "B"}:
        raise invalid(
            "Invalid ConditionExpression: Incorrect operand type for operator or function; operator"
            f" or function: begins_with, operand type: {kind}"
        )
    return type_of(found) == kind and found[kind].startswith(start[kind])


def _contains(found: Value, part: Value) -> bool:
    kind, wanted = type_of(found), type_of(part)
    if kind == wanted and kind in {"S", "B"}:
        return part[kind] in found[kind]
    if kind == f"{wanted}S":
        return canonical(part)[1] in canonical(found)[1]
    return kind == "L" and canonical(part) in canonical(found)[1]


# ---------------------------------------------------------------------------------------- updates


def updated(item: Mapping[str, Value], actions: list[Action]) -> Item:
    """Return what an update makes of an item.

    Every right side sees the item as it was before.

    Raises:
        Refused: The update makes no sense for this item.
    """
    check_actions(actions)
    after = deepcopy(dict(item))
    news = [(action, _new_value(action, item)) for action in actions]
    for action, value in news:
        if action.verb != "REMOVE" and value is not None:
            _put(after, action.path, value)
    # Elements of a list go from the back, as their numbers are those of the item before.
    gone = [action.path for action, value in news if value is None]
    for path in sorted(gone, key=lambda each: [_rank(part) for part in each.parts], reverse=True):
        _remove(after, path)
    return after


def check_actions(actions: list[Action]) -> None:
    """Refuse an update of which two parts touch the same place."""
    if overlap([action.path for action in actions]):
        raise invalid(
            "Invalid UpdateExpression: Two document paths overlap with each other; must remove or"
            " rewrite one of these paths"
        )


def _rank(part: str | int) -> tuple[int, int, str]:
    return (0, part, "") if isinstance(part, int) else (1, 0, part)


def _new_value(action: Action, item: Mapping[str, Value]) -> Item | None:
    """Return what will be at the place; None: nothing."""
    match action.verb:
        case "SET":
            return checked(_evaluated(action.operand, item))
        case "ADD":
            return _added(look_up(item, action.path), checked(action.operand.value))
        case "DELETE":
            return _deleted(look_up(item, action.path), checked(action.operand.value))
        case _:
            return None


def _evaluated(operand: Any, item: Mapping[str, Value]) -> Value:
    match operand:
        case Sum(sign, left, right):
            first, second = _evaluated(left, item), _evaluated(right, item)
            if "N" not in first or "N" not in second:
                raise invalid("An operand in the update expression has an incorrect data type")
            change = number(second["N"])
            change = change if sign == "+" else change.copy_negate()
            return number_value(add(number(first["N"]), change))
        case Function("if_not_exists", (path, default)):
            found = look_up(item, path)
            return found if found is not None else _evaluated(default, item)
        case Function("list_append", (left, right)):
            first, second = _evaluated(left, item), _evaluated(right, item)
            if "L" not in first or "L" not in second:
                raise invalid("An operand in the update expression has an incorrect data type")
            return {"L": [*first["L"], *second["L"]]}
        case _:
            found = _operand(operand, item)
            if found is None:
                raise invalid(
                    "The provided expression refers to an attribute that does not exist in the item"
                )
            return found


def _added(before: Value | None, operand: Item) -> Item:
    kind = type_of(operand)
    if kind not in {"N", "SS", "NS", "BS"} or (before is not None and kind not in before):
        raise invalid("An operand in the update expression has an incorrect data type")
    if before is None:
        return operand
    if kind == "N":
        return number_value(add(number(before["N"]), number(operand["N"])))
    return {kind: [*before[kind], *(each for each in operand[kind] if each not in before[kind])]}


def _deleted(before: Value | None, operand: Item) -> Item | None:
    kind = type_of(operand)
    if kind not in {"SS", "NS", "BS"} or (before is not None and kind not in before):
        raise invalid("An operand in the update expression has an incorrect data type")
    left = [each for each in (before or {}).get(kind, ()) if each not in operand[kind]]
    return {kind: left} if left else None


def _parent(item: Item, path: Path) -> Any:
    found = look_up(item, Path(path.parts[:-1])) if len(path.parts) > 1 else {"M": item}
    kind = "M" if isinstance(path.parts[-1], str) else "L"
    return None if found is None else found.get(kind)


def _put(item: Item, path: Path, value: Item) -> None:
    place, part = _parent(item, path), path.parts[-1]
    if place is None:
        raise invalid("The document path provided in the update expression is invalid for update")
    if isinstance(part, int) and part >= len(place):
        place.append(value)
    else:
        place[part] = value


def _remove(item: Item, path: Path) -> None:
    place, part = _parent(item, path), path.parts[-1]
    if place is None:
        if len(path.parts) > 1 and look_up(item, Path(path.parts[:-1])) is None:
            raise invalid(
                "The document path provided in the update expression is invalid for update"
            )
    elif isinstance(part, str):
        place.pop(part, None)
    elif part < len(place):
        del place[part]
