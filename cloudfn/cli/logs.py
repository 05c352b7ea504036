"""Printing the output of containers: the options that choose entries, and how an entry looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from cloudfn.cli import moments, terminal
from cloudfn.cli.options import complete_container
from cloudfn.cli.session import Session

DEFAULT_TAIL = 100
_SOURCES = ("stdout", "stderr", "system")
_KEYS = ("at", "container", "app", "function", "call", "input", "source", "text")

FollowOption = Annotated[
    bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
]
SinceOption = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="From this time on: 30m, 2h, 1d ago, or ISO 8601."),
]
UntilOption = Annotated[str | None, typer.Option(metavar="TIME", help="Up to this time.")]
TailOption = Annotated[
    int | None,
    typer.Option(
        "--tail",
        "-n",
        min=1,
        help=f"The last N entries; {DEFAULT_TAIL} when nothing else is said.",
        show_default=False,
    ),
]
SearchOption = Annotated[str | None, typer.Option(metavar="TEXT", help="Only with this text.")]
SourceOption = Annotated[
    str | None,
    typer.Option("--source", "-s", metavar="|".join(_SOURCES), help="Only from this source."),
]
TimestampsOption = Annotated[
    bool, typer.Option("--timestamps", "-t", help="Put the time before each line.")
]


CallOption = Annotated[
    str | None, typer.Option("--call", "--function-call", help="Only of this call.")
]
ContainerOption = Annotated[
    str | None,
    typer.Option(help="Only of this container.", autocompletion=complete_container),
]
ShowFunctionOption = Annotated[
    bool, typer.Option("--show-function-id", help="Put the function's id before each line.")
]
ShowCallOption = Annotated[
    bool, typer.Option("--show-function-call-id", help="Put the call's id before each line.")
]
ShowContainerOption = Annotated[
    bool, typer.Option("--show-container-id", help="Put the container's id before each line.")
]


@dataclass(frozen=True, slots=True)
class Margin:
    """What stands before each line of an entry; nothing by default."""

    timestamps: bool = False
    #: ids of functions by their names; None: they are not shown
    functions: Mapping[str, str] | None = None
    calls: bool = False
    containers: bool = False

    def of(self, entry: Mapping[str, Any]) -> str:
        """Return the margin of an entry; what an entry has none of is a dash."""
        function = str(entry.get("function", ""))
        columns = []
        if self.timestamps:
            columns.append(moments.stamp(float(entry.get("at", 0.0))))
        if self.functions is not None:
            # The app may have had it in an earlier revision only.
            columns.append(self.functions.get(function, function))
        if self.calls:
            columns.append(str(entry.get("call", "")))
        if self.containers:
            columns.append(str(entry.get("container", "")))
        return "".join(f"{column or '-'}  " for column in columns)


@dataclass(frozen=True, slots=True)
class LogRequest:
    """Which entries are wanted; `scope` names the app, container or call."""

    follow: bool = False
    #: all that there are, instead of the last few
    everything: bool = False
    since: str | None = None
    until: str | None = None
    tail: int | None = None
    search: str | None = None
    source: str | None = None
    scope: Mapping[str, str | None] = field(default_factory=dict)

    def fields(self, now: float) -> dict[str, Any]:
        """Return the fields of the engine's `logs` operation.

        Raises:
            BadParameter: The options contradict each other or make no sense (exit code 2).
        """
        ranged = self.since is not None or self.until is not None
        if self.follow and ranged:
            raise typer.BadParameter("--follow shows what comes; leave --since and --until away.")
        if self.source is not None and self.source not in _SOURCES:
            raise typer.BadParameter(f"{self.source!r} is none of {', '.join(_SOURCES)}.")
        since, until = bounds(self.since, self.until, now)
        if self.everything and self.tail is not None:
            raise typer.BadParameter("--all shows all entries; leave --tail away.")
        unlimited = self.tail is not None or ranged or self.everything
        tail = self.tail if unlimited else DEFAULT_TAIL
        return {
            "app": None,
            "function": None,
            "container": None,
            "call": None,
            **self.scope,
            "source": self.source,
            "tail": tail,
            "since": since,
            "until": until,
            "search": self.search,
            "follow": self.follow,
        }


def print_logs(session: Session, request: LogRequest, margin: Margin, *, as_json: bool) -> None:
    """Print what `request` asks for, each entry to the stream that it came from."""
    if as_json and request.follow:
        raise typer.BadParameter("--json is one document; it cannot --follow.")
    entries = _entries(session, request.fields(session.host.clock.wall()))
    if as_json:
        documents = terminal.choose_keys(entries, _KEYS)
        if margin.functions is not None:
            for each in documents:
                each["function_id"] = margin.functions.get(each["function"])
        terminal.print_json(documents)
        return
    for entry in entries:
        print_entry(entry, margin)


def print_entry(entry: Mapping[str, Any], margin: Margin) -> None:
    """Print one entry, as it came, to stdout or stderr."""
    stream = sys.stdout if entry.get("source") == "stdout" else sys.stderr
    text = text_of(entry, margin)
    if terminal.is_terminal(stream):
        text = terminal.clean(text, colours=True)
    stream.write(text)
    stream.flush()


def text_of(entry: Mapping[str, Any], margin: Margin) -> str:
    """Return an entry's text; what the engine itself says is a line of its own."""
    text = str(entry.get("text", ""))
    if entry.get("source") == "system" and not text.endswith("\n"):
        text = f"{text}\n"
    before = margin.of(entry)
    if not before:
        return text
    lines = text.removesuffix("\n").split("\n")
    return "\n".join(before + line for line in lines) + ("\n" if text.endswith("\n") else "")


def _entries(session: Session, fields: dict[str, Any]) -> Iterator[Mapping[str, Any]]:
    for message in session.client.subscribe("logs", **fields):
        yield from message.get("entries", ())


def bounds(since: str | None, until: str | None, now: float) -> tuple[float | None, float | None]:
    """Return what --since and --until say, in seconds since the epoch.

    Raises:
        BadParameter: One is no time, or they leave no time between them (exit code 2).
    """
    first, last = _moment("--since", since, now), _moment("--until", until, now)
    if first is not None and last is not None and first > last:
        raise typer.BadParameter("--since is after --until.")
    return first, last


def _moment(option: str, text: str | None, now: float) -> float | None:
    if text is None:
        return None
    try:
        return moments.parse_moment(text, now)
    except ValueError:
        raise typer.BadParameter(
            f"{option} {text!r} is neither a time span (30m, 2h, 1d) nor an ISO 8601 time."
        ) from None
