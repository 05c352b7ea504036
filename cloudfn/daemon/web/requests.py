"""What becomes of a request's address and headers on its way to a container, and back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from cloudfn.errors import InvalidError
from cloudfn.model.cls import ParameterSpec, encoded

Headers = list[tuple[bytes, bytes]]
Scope = dict[str, Any]

#: between two hops only, as RFC 9110 has them
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}
_OF_HOSTS = b".localhost"
_LOOPBACK = frozenset({b"127.0.0.1", b"localhost", b"[::1]", b""})
#: fields of a scope that apps get as they are
_KEPT = ("type", "http_version", "method", "scheme", "query_string", "client", "server",
         "subprotocols")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: a label, and how much of the path names it."""

    label: str
    root_path: str


def target_of(scope: Scope, *, any_host: bool) -> Target | None:
    """Return where a request goes; None for a host that is not this machine.

    A page of another origin can have its own name point to this machine, and would so reach what
    listens here. `any_host`: whoever set the gateway's address wants to be reached by other names.
    """
    host = header(scope["headers"], b"host").lower()
    name = host.rpartition(b":")[0] if _has_port(host) else host
    if name.endswith(_OF_HOSTS):
        return Target(name.removesuffix(_OF_HOSTS).decode("latin-1"), "")
    if name not in _LOOPBACK and not any_host:
        return None
    label = scope["path"].split("/", 2)[1] if scope["path"].startswith("/") else ""
    return Target(label, f"/{label}")


def for_container(scope: Scope, root_path: str) -> Scope:
    """Return the scope of a request as plain data for a container."""
    path, raw_path = scope["path"], scope.get("raw_path") or scope["path"].encode()
    if path == root_path:
        path, raw_path = f"{path}/", raw_path + b"/"
    kept = {name: scope[name] for name in _KEPT if name in scope}
    return {
        **kept,
        "path": path,
        "raw_path": raw_path,
        "root_path": root_path,
        "headers": _forwarded(scope, root_path),
    }


def parameters_in(query: bytes, declared: Mapping[str, ParameterSpec]) -> dict[str, Any]:
    """Return the values of a class's parameters that a query gives, as `encoded` has them.

    Raises:
        InvalidError: One is not of its parameter's type.
    """
    found = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    given = {name: found[name] for name in declared if name in found}
    return encoded({name: _value(name, declared[name], text) for name, text in given.items()})


def _value(name: str, parameter: ParameterSpec, text: str) -> str | int | bool | bytes:
    if parameter.type == "str":
        return text
    if parameter.type == "bytes":
        return text.encode()
    if parameter.type == "bool" and text.lower() in _TRUTHS:
        return _TRUTHS[text.lower()]
    try:
        if parameter.type == "int":
            return int(text)
    except ValueError:
        pass
    raise InvalidError(
        f"The parameter {name} is of type {parameter.type}, and {text!r} is not.",
        hint="Parameters of the class stand in the query of the URL.",
    )


def from_container(headers: Iterable[Sequence[bytes]]) -> Headers:
    """Return the headers of a response without those that are between two hops."""
    pairs = [(bytes(name).lower(), bytes(value)) for name, value in headers]
    return _end_to_end(pairs)


def header(headers: Iterable[Sequence[bytes]], name: bytes) -> bytes:
    """Return a header's first value, or nothing."""
    return next((bytes(value) for found, value in headers if found.lower() == name), b"")


def body_length(headers: Iterable[Sequence[bytes]]) -> int:
    """Return the length of the body that a request announces; 0 for none."""
    text = header(headers, b"content-length")
    return int(text) if text.isdigit() else 0


def _forwarded(scope: Scope, root_path: str) -> Headers:
    headers = _end_to_end([(name.lower(), value) for name, value in scope["headers"]])
    chain = header(headers, b"x-forwarded-for")
    client = str((scope.get("client") or ("",))[0]).encode()
    headers = [pair for pair in headers if pair[0] != b"x-forwarded-for"]
    headers.append((b"x-forwarded-for", b", ".join(part for part in (chain, client) if part)))
    for name, value in (
        (b"x-forwarded-proto", scope.get("scheme", "http").encode()),
        (b"x-forwarded-host", header(headers, b"host")),
        (b"x-forwarded-prefix", root_path.encode()),
    ):
        if value and not header(headers, name):
            headers.append((name, value))
    return headers


def _end_to_end(headers: Headers) -> Headers:
    named = {
        part.strip().lower()
        for name, value in headers
        if name == b"connection"
        for part in value.split(b",")
    }
    chunked = any(name == b"transfer-encoding" for name, _ in headers)
    dropped = _HOP_BY_HOP | named | ({b"content-length"} if chunked else set())
    return [pair for pair in headers if pair[0] not in dropped]


def _has_port(host: bytes) -> bool:
    return b":" in host and not host.endswith(b"]")
