"""DynamoDB's attribute values: what they are, how they compare, how large they are. Pure.

From "Supported data types and naming rules in Amazon DynamoDB" and "DynamoDB item sizes and
formats".
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any

from cloudfn.testing.aws.dynamodb_syntax import Path
from cloudfn.testing.aws.service import Refused

Value = Mapping[str, Any]
Item = dict[str, Any]

#: bytes of an item with the names of its attributes
LARGEST_ITEM = 400 * 1024
#: levels of lists and maps within each other
DEEPEST = 32

_TYPES = frozenset({"S", "N", "B", "BOOL", "NULL", "L", "M", "SS", "NS", "BS"})
_NUMBERS = Context(prec=38, traps=[InvalidOperation, Inexact])
_SETS = {"SS": "string", "NS": "number", "BS": "binary"}


def invalid(message: str) -> Refused:
    """Return DynamoDB's refusal of a request."""
    return Refused("ValidationException", message)


def type_of(value: Value) -> str:
    """Return which type a value has."""
    return next(iter(value))


def number(text: str) -> Decimal:
    """Return a number of up to 38 digits."""
    try:
        found = _NUMBERS.create_decimal(text)
    except Inexact:
        raise invalid("Attempting to store more than 38 significant digits in a Number") from None
    except InvalidOperation:
        raise invalid("The parameter cannot be converted to a numeric value: " + text) from None
    if not found.is_finite():
        raise invalid("The parameter cannot be converted to a numeric value: " + text)
    return found


def number_value(found: Decimal) -> Item:
    """Return a number as DynamoDB writes it: plain digits, no zeros behind."""
    text = format(_NUMBERS.normalize(found), "f")
    return {"N": "0" if found == 0 else text}


def add(left: Decimal, right: Decimal) -> Decimal:
    """Return a sum."""
    try:
        return _NUMBERS.add(left, right)
    except Inexact:
        raise invalid(
            "Number overflow. Attempting to store a number with too many digits"
        ) from None


def checked(value: Value, depth: int = 0) -> Item:
    """Return a copy of a value as it is stored, or refuse it."""
    kinds = set(value) & _TYPES
    if len(kinds) != 1 or len(value) != 1:
        raise invalid(
            "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
        )
    if depth > DEEPEST:
        raise invalid("Nesting Levels have exceeded supported limits")
    kind, content = next(iter(value.items()))
    match kind:
        case "N":
            return number_value(number(content))
        case "NULL" if content is not True:
            raise invalid("One or more parameter values were invalid: Null must be true")
        case "L":
            return {"L": [checked(each, depth + 1) for each in content]}
        case "M":
            return {"M": {name: checked(each, depth + 1) for name, each in content.items()}}
        case "SS" | "NS" | "BS":
            return {kind: _checked_set(kind, content)}
        case _:
            return {kind: content}


def _checked_set(kind: str, content: list[Any]) -> list[Any]:
    if not content:
        raise invalid(
            f"One or more parameter values were invalid: An {_SETS[kind]} set  may not be empty"
        )
    if kind == "NS":
        content = [number_value(number(each))["N"] for each in content]
    if len(set(content)) < len(content):
        raise invalid(
            "One or more parameter values were invalid: Input collection contains duplicates"
        )
    return list(content)


def canonical(value: Value) -> Any:
    """Return what equal values have in common, hashable."""
    kind, content = next(iter(value.items()))
    match kind:
        case "N":
            return kind, number(content)
        case "NS":
            return kind, frozenset(map(number, content))
        case "SS" | "BS":
            return kind, frozenset(content)
        case "L":
            return kind, tuple(canonical(each) for each in content)
        case "M":
            return kind, frozenset((name, canonical(each)) for name, each in content.items())
        case _:
            return kind, content


def order(value: Value) -> Any:
    """Return what values of one scalar type are sorted by: numbers, or bytes."""
    kind, content = next(iter(value.items()))
    if kind == "N":
        return number(content)
    return content.encode() if kind == "S" else bytes(content)


def size(value: Value) -> int:
    """Return the bytes that a value takes."""
    kind, content = next(iter(value.items()))
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return _size_of_number(content)
        case "B":
            return len(content)
        case "SS" | "NS" | "BS":
            return sum(size({kind[0]: each}) for each in content)
        case "L":
            return 3 + sum(size(each) + 1 for each in content)
        case "M":
            return 3 + sum(len(name.encode()) + size(each) + 1 for name, each in content.items())
        case _:
            return 1


def _size_of_number(text: str) -> int:
    digits = len(_NUMBERS.normalize(number(text)).as_tuple().digits)
    return (digits + 1) // 2 + 1 + text.startswith("-")


def item_size(item: Mapping[str, Value]) -> int:
    """Return the bytes that an item takes, with the names of its attributes."""
    return sum(len(name.encode()) + size(value) for name, value in item.items())


def look_up(item: Mapping[str, Value], path: Path) -> Value | None:
    """Return what is at a place of an item, or None."""
    found: Any = {"M": item}
    for part in path.parts:
        if isinstance(part, str):
            found = found["M"].get(part) if "M" in found else None
        else:
            elements = found.get("L", ())
            found = elements[part] if part < len(elements) else None
        if found is None:
            return None
    return found  # type: ignore[no-any-return]  # as nested as its path


def overlap(paths: list[Path]) -> bool:
    """Say whether one of the paths leads to another one, or into it."""
    parts = sorted((path.parts for path in paths), key=lambda each: list(map(str, each)))
    return any(
        left[: len(right)] == right[: len(left)]
        for index, left in enumerate(parts)
        for right in parts[index + 1 :]
    )


def projected(item: Mapping[str, Value], paths: list[Path]) -> Item:
    """Return the parts of an item that a projection names."""
    found: Item = {}
    for path in paths:
        value = look_up(item, path)
        if value is None:
            continue
        place: Any = found
        for part, following in zip(path.parts, path.parts[1:], strict=False):
            empty: Item = {"M": {}} if isinstance(following, str) else {"L": []}
            place = _step(place, part, empty)
        _step(place, path.parts[-1], dict(value))
    return found


def _step(place: Any, part: str | int, value: Item) -> Any:
    """Put a value at a part unless there is one; return what is inside of it."""
    if isinstance(part, str):
        value = place.setdefault(part, value)
    else:
        # Elements keep their order, not their numbers: as DynamoDB returns them.
        place.append(value)
    return next(iter(value.values()))
