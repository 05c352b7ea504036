"""The language of DynamoDB's expressions, read into trees. Pure.

From "Using expressions in DynamoDB", "Condition and filter expressions, operators, and functions"
and "Update expressions". What cloudfn uses of it: no PartiQL, no legacy conditions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudfn.testing.aws.dynamodb_words import RESERVED
from cloudfn.testing.aws.service import Refused


@dataclass(frozen=True, slots=True)
class Path:
    """A place in an item: names of attributes, and numbers of elements."""

    parts: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Literal:
    """A value of the request, in DynamoDB's form."""

    value: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a condition, or of the right side of SET."""

    name: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """`left operator right`."""

    operator: str
    left: Any
    right: Any


@dataclass(frozen=True, slots=True)
class Between:
    """`operand BETWEEN low AND high`, both included."""

    operand: Any
    low: Any
    high: Any


@dataclass(frozen=True, slots=True)
class In:
    """`operand IN (…)`."""

    operand: Any
    options: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class And:
    """Both."""

    left: Any
    right: Any


@dataclass(frozen=True, slots=True)
class Or:
    """One of them, or both."""

    left: Any
    right: Any


@dataclass(frozen=True, slots=True)
class Not:
    """Not so."""

    term: Any


@dataclass(frozen=True, slots=True)
class Sum:
    """`left + right` or `left - right`, on the right side of SET."""

    operator: str
    left: Any
    right: Any


@dataclass(frozen=True, slots=True)
class Action:
    """One part of an update: SET, REMOVE, ADD or DELETE."""

    verb: str
    path: Path
    operand: Any = None


@dataclass(slots=True)
class Substitutes:
    """What `#x` and `:x` stand for in one request; each has to be used by some expression."""

    names: Mapping[str, str]
    values: Mapping[str, Any]
    used: set[str] = field(default_factory=set)

    def name(self, token: str) -> str:
        """Return the attribute that `#x` stands for."""
        self.used.add(token)
        if token not in self.names:
            raise _invalid(
                "An expression attribute name used in the document path is not defined;"
                f" attribute name: {token}"
            )
        return self.names[token]

    def value(self, token: str) -> Mapping[str, Any]:
        """Return the value that `:x` stands for."""
        self.used.add(token)
        if token not in self.values:
            raise _invalid(
                "An expression attribute value used in expression is not defined;"
                f" attribute value: {token}"
            )
        found: Mapping[str, Any] = self.values[token]
        return found

    def finish(self) -> None:
        """Refuse what no expression used."""
        for kind, known in (("Names", self.names), ("Values", self.values)):
            if left := sorted(set(known) - self.used):
                raise _invalid(
                    f"Value provided in ExpressionAttribute{kind} unused in expressions: keys:"
                    f" {{{', '.join(left)}}}"
                )


CONDITIONS = {
    "attribute_exists": 1,
    "attribute_not_exists": 1,
    "attribute_type": 2,
    "begins_with": 2,
    "contains": 2,
}
_TOKEN = re.compile(
    r"\s*(?:(?P<name>\#\w+)|(?P<value>:\w+)|(?P<word>[A-Za-z_]\w*)|(?P<number>\d+)"
    r"|(?P<sign><>|<=|>=|[=<>().,\[\]+-]))"
)
_COMPARATORS = frozenset({"=", "<>", "<", "<=", ">", ">="})
_KEYWORDS = frozenset({"AND", "OR", "NOT", "BETWEEN", "IN", "SET", "REMOVE", "ADD", "DELETE"})


def _invalid(message: str) -> Refused:
    return Refused("ValidationException", message)


@dataclass(slots=True)
class _Reader:
    """Reads tokens from the left."""

    kind: str
    tokens: list[str]
    substitutes: Substitutes
    at: int = 0

    @property
    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def is_word(self, word: str) -> bool:
        return self.next.upper() == word

    def take(self, *expected: str) -> str:
        token = self.next
        if expected and token.upper() not in expected:
            raise self.wrong(token)
        self.at += 1
        return token

    def wrong(self, token: str) -> Refused:
        shown = token or "<EOF>"
        near = " ".join(self.tokens[max(0, self.at - 1) : self.at + 2])
        return _invalid(f'Invalid {self.kind}: Syntax error; token: "{shown}", near: "{near}"')

    def finish(self) -> None:
        if self.next:
            raise self.wrong(self.next)

    # --------------------------------------------------------------------------------- operands

    def path(self) -> Path:
        parts: list[str | int] = [self.part()]
        while self.next in {".", "["}:
            if self.take() == ".":
                parts.append(self.part())
                continue
            number = self.take()
            if not number.isdecimal():
                raise self.wrong(number)
            parts.append(int(number))
            self.take("]")
        return Path(tuple(parts))

    def part(self) -> str:
        token = self.take()
        if token.startswith("#"):
            return self.substitutes.name(token)
        if not (token[:1].isalpha()):
            raise self.wrong(token)
        if token.upper() in RESERVED:
            raise _invalid(
                f"Invalid {self.kind}: Attribute name is a reserved keyword; reserved keyword:"
                f" {token}"
            )
        return token

    def operand(self) -> Any:
        if self.next.startswith(":"):
            return Literal(self.substitutes.value(self.take()))
        if self.next == "size" and self.tokens[self.at + 1 : self.at + 2] == ["("]:
            self.take()
            return Function("size", self.arguments(1, self.path))
        return self.path()

    def arguments(self, count: int, read: Callable[[], Any]) -> tuple[Any, ...]:
        self.take("(")
        found = [read()]
        while self.next == ",":
            self.take()
            found.append(read())
        self.take(")")
        if len(found) != count:
            raise _invalid(
                f"Invalid {self.kind}: Incorrect number of operands for operator or function;"
                f" number of operands: {len(found)}"
            )
        return tuple(found)

    # ------------------------------------------------------------------------------- conditions

    def condition(self) -> Any:
        left = self.conjunction()
        while self.is_word("OR"):
            self.take()
            left = Or(left, self.conjunction())
        return left

    def conjunction(self) -> Any:
        left = self.negation()
        while self.is_word("AND"):
            self.take()
            left = And(left, self.negation())
        return left

    def negation(self) -> Any:
        if self.is_word("NOT"):
            self.take()
            return Not(self.negation())
        if self.next == "(":
            self.take()
            inner = self.condition()
            self.take(")")
            return inner
        return self.predicate()

    def predicate(self) -> Any:
        if self.next in CONDITIONS and self.tokens[self.at + 1 : self.at + 2] == ["("]:
            name = self.take()
            return Function(name, self.arguments(CONDITIONS[name], self.operand))
        left = self.operand()
        if self.next in _COMPARATORS:
            return Compare(self.take(), left, self.operand())
        if self.is_word("BETWEEN"):
            self.take()
            low = self.operand()
            self.take("AND")
            return Between(left, low, self.operand())
        self.take("IN")
        self.take("(")
        options = [self.operand()]
        while self.next == ",":
            self.take()
            options.append(self.operand())
        self.take(")")
        return In(left, tuple(options))

    # ---------------------------------------------------------------------------------- updates

    def actions(self) -> Iterator[Action]:
        seen: set[str] = set()
        while self.next:
            verb = self.take("SET", "REMOVE", "ADD", "DELETE").upper()
            if verb in seen:
                raise _invalid(
                    f'Invalid UpdateExpression: The "{verb}" section can only be used once in an'
                    " update expression;"
                )
            seen.add(verb)
            yield self.action(verb)
            while self.next == ",":
                self.take()
                yield self.action(verb)

    def action(self, verb: str) -> Action:
        path = self.path()
        if verb == "REMOVE":
            return Action(verb, path)
        if verb == "SET":
            self.take("=")
            return Action(verb, path, self.sum())
        operand = self.operand()
        if not isinstance(operand, Literal):
            raise self.wrong(self.next)
        return Action(verb, path, operand)

    def sum(self) -> Any:
        left = self.term()
        if self.next in {"+", "-"}:
            return Sum(self.take(), left, self.term())
        return left

    def term(self) -> Any:
        if self.next in {"if_not_exists", "list_append"}:
            name = self.take()
            arguments = self.arguments(2, self.term)
            if name == "if_not_exists" and not isinstance(arguments[0], Path):
                raise self.wrong(name)
            return Function(name, arguments)
        if self.next == "(":
            self.take()
            inner = self.sum()
            self.take(")")
            return inner
        return self.operand()


def condition(text: str, substitutes: Substitutes, kind: str = "ConditionExpression") -> Any:
    """Return the tree of a condition, a filter or a key condition."""
    reader = _open(text, substitutes, kind)
    tree = reader.condition()
    reader.finish()
    return tree


def update(text: str, substitutes: Substitutes) -> list[Action]:
    """Return the actions of an update expression."""
    return list(_open(text, substitutes, "UpdateExpression").actions())


def projection(text: str, substitutes: Substitutes) -> list[Path]:
    """Return the paths of a projection expression."""
    reader = _open(text, substitutes, "ProjectionExpression")
    paths = [reader.path()]
    while reader.next == ",":
        reader.take()
        paths.append(reader.path())
    reader.finish()
    return paths


def _open(text: str, substitutes: Substitutes, kind: str) -> _Reader:
    if not text.strip():
        raise _invalid(f"Invalid {kind}: The expression can not be empty;")
    if len(text.encode()) > 4_096:
        raise _invalid(
            f"Invalid {kind}: Expression size has exceeded the maximum allowed size; expression"
            f" size: {len(text.encode())}"
        )
    tokens: list[str] = []
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None:
            raise _invalid(f'Invalid {kind}: Syntax error; token: "{text[at:].strip()[0]}"')
        tokens.append(found[0].strip())
        at = found.end()
    return _Reader(kind, tokens, substitutes)
