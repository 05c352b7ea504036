"""What the user declares about web functions, and how they are named in URLs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cloudfn.errors import InvalidError

Kind = Literal["endpoint", "asgi", "wsgi", "server"]
#: characters of one part of a host's name
LABEL_MAX = 63
VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
#: what labels of apps end with that are not deployed
DEV_SUFFIX = "-dev"
_LABEL_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
#: requests that the one container of a server takes at once, unless the user says how many
SERVER_SLOTS = 100


@dataclass(frozen=True, slots=True)
class WebSpec:
    """How one function, or one method of a class, answers HTTP requests."""

    #: endpoint: the function is a FastAPI route; asgi, wsgi: it returns an app; server: it starts
    #: a server that listens on `port`
    kind: Kind
    #: the method of the class; empty for a function
    of: str = ""
    #: the name in its URL, instead of app and function
    label: str | None = None
    #: of an endpoint: the HTTP method
    method: str = "GET"
    #: of an endpoint: whether /docs describes it
    docs: bool = False
    port: int = 0
    #: of a server: seconds until it accepts connections
    startup_timeout: float = 5.0

    def __post_init__(self) -> None:
        if self.label is not None:
            check_label(self.label)
        if self.method not in VERBS:
            raise InvalidError(f"`method` must be one of {', '.join(VERBS)}, not {self.method!r}.")
        if self.kind != "server":
            return
        if isinstance(self.port, bool) or not isinstance(self.port, int):
            raise InvalidError(f"`port` must be an int, not {type(self.port).__name__}.")
        if not 1 <= self.port <= 65_535:
            raise InvalidError(f"`port` must be between 1 and 65535, not {self.port}.")
        if not self.startup_timeout > 0:
            raise InvalidError(
                f"`startup_timeout` must be greater than 0, not {self.startup_timeout}."
            )


def check_label(label: object) -> None:
    """Raise InvalidError unless a label can be a part of a host's name."""
    if not isinstance(label, str):
        raise InvalidError(f"`label` must be a string, not {type(label).__name__}.")
    if (
        not 1 <= len(label) <= LABEL_MAX
        or not _LABEL_CHARACTERS.issuperset(label)
        or label.startswith("-")
        or label.endswith("-")
    ):
        raise InvalidError(
            f"Invalid web label {label!r}.",
            hint=f"Use 1 to {LABEL_MAX} lower-case letters, digits and '-', none at the ends.",
        )


def label_of(web: WebSpec, app: str, function: str, *, deployed: bool) -> str:
    """Return the name that a web function has in its URL.

    Args:
        web: What was declared.
        app: The name of the app.
        function: The name of the function, or of the class.
        deployed: Whether the app is; labels of others end with `-dev`.
    """
    suffix = "" if deployed else DEV_SUFFIX
    if web.label is not None:
        return _fitting(web.label, suffix)
    name = f"{function.removesuffix('.*')}-{web.of}" if web.of else function
    return _fitting(_cleaned(f"{app}-{name}"), suffix)


def _cleaned(name: str) -> str:
    """Return a name with what a label cannot have replaced by '-'."""
    mapped = "".join(c if c in _LABEL_CHARACTERS else "-" for c in name.lower())
    return "-".join(part for part in mapped.split("-") if part) or "app"


def _fitting(label: str, suffix: str) -> str:
    """Return a label of at most `LABEL_MAX` characters; one that is cut says so by a digest."""
    if len(label) + len(suffix) <= LABEL_MAX:
        return label + suffix
    from hashlib import blake2b

    digest = "-" + blake2b(label.encode(), digest_size=4).hexdigest()
    return label[: LABEL_MAX - len(digest) - len(suffix)].rstrip("-") + digest + suffix
