"""The web decorators: below `@app.function`, or on methods of a class.

They leave their value on what they decorate, and `App.function` and `App.cls` read it there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from cloudfn import errors
from cloudfn.errors import InvalidError, UnimplementedError
from cloudfn.model import cls
from cloudfn.model.concurrency import Concurrency
from cloudfn.model.web import SERVER_SLOTS, WebSpec
from cloudfn.sdk.declaration import check_parentheses
from cloudfn.sdk.slots import is_method

if TYPE_CHECKING:
    from cloudfn.model.function import FunctionSpec

T = TypeVar("T", bound=Callable[..., Any])

_WEB = "__cloudfn_web__"


def fastapi_endpoint(
    _forgotten: Any = None,
    /,
    *,
    method: str = "GET",
    label: str | None = None,
    custom_domains: Sequence[str] | None = None,
    docs: bool = False,
    requires_proxy_auth: bool = False,
) -> Callable[[T], T]:
    """Make a function the handler of one HTTP route, with FastAPI's rules for its arguments.

    FastAPI has to be installed where the function runs.

    Args:
        method: The HTTP method that it answers.
        label: Its name in the URL; app and function when omitted.
        custom_domains: Not available: the gateway listens on this machine.
        docs: Describe it under /docs.
        requires_proxy_auth: Not available: the gateway listens on this machine.

    Raises:
        InvalidError: A value makes no sense, or there is another web decorator.
        UnimplementedError: Something was asked for that does not exist here.
    """
    _refuse("fastapi_endpoint", _forgotten, custom_domains, requires_proxy_auth)
    return _marker(WebSpec("endpoint", label=label, method=str(method).upper(), docs=docs))


def asgi_app(
    _forgotten: Any = None,
    /,
    *,
    label: str | None = None,
    custom_domains: Sequence[str] | None = None,
    requires_proxy_auth: bool = False,
) -> Callable[[T], T]:
    """Serve the ASGI application that a function without arguments returns.

    Args:
        label: Its name in the URL; app and function when omitted.
        custom_domains: Not available: the gateway listens on this machine.
        requires_proxy_auth: Not available: the gateway listens on this machine.

    Raises:
        InvalidError: A value makes no sense, or there is another web decorator.
        UnimplementedError: Something was asked for that does not exist here.
    """
    _refuse("asgi_app", _forgotten, custom_domains, requires_proxy_auth)
    return _marker(WebSpec("asgi", label=label))


def wsgi_app(
    _forgotten: Any = None,
    /,
    *,
    label: str | None = None,
    custom_domains: Sequence[str] | None = None,
    requires_proxy_auth: bool = False,
) -> Callable[[T], T]:
    """Serve the WSGI application that a function without arguments returns.

    Args:
        label: Its name in the URL; app and function when omitted.
        custom_domains: Not available: the gateway listens on this machine.
        requires_proxy_auth: Not available: the gateway listens on this machine.

    Raises:
        InvalidError: A value makes no sense, or there is another web decorator.
        UnimplementedError: Something was asked for that does not exist here.
    """
    _refuse("wsgi_app", _forgotten, custom_domains, requires_proxy_auth)
    return _marker(WebSpec("wsgi", label=label))


def web_server(
    port: int,
    *,
    startup_timeout: float = 5.0,
    label: str | None = None,
    custom_domains: Sequence[str] | None = None,
    requires_proxy_auth: bool = False,
) -> Callable[[T], T]:
    """Pass requests on to the HTTP server that a function without arguments starts.

    The function returns once it has started the server, in a thread or another process. All
    containers share this machine's ports, so there is one container at most; it takes up to 100
    requests at once, unless `@concurrent` says how many.

    Args:
        port: Where the server listens, on 127.0.0.1 or all addresses.
        startup_timeout: Seconds that it may take to accept connections.
        label: Its name in the URL; app and function when omitted.
        custom_domains: Not available: the gateway listens on this machine.
        requires_proxy_auth: Not available: the gateway listens on this machine.

    Raises:
        InvalidError: A value makes no sense, or there is another web decorator.
        UnimplementedError: Something was asked for that does not exist here.
    """
    _refuse("web_server", None, custom_domains, requires_proxy_auth)
    return _marker(WebSpec("server", label=label, port=port, startup_timeout=startup_timeout))


def web_of(raw: Any) -> WebSpec | None:
    """Return what a web decorator said of a function or method."""
    value: WebSpec | None = getattr(raw, _WEB, None)
    return value


def webs_of(raw: Any) -> list[WebSpec]:
    """Return what web decorators said of a function, or of the methods of a class."""
    if not isinstance(raw, type):
        web = web_of(raw)
        return [] if web is None else [web]
    found = {name: web_of(cls.raw(member)) for name, member in cls.members(raw).items()}
    return [replace(web, of=name) for name, web in found.items() if web is not None]


def with_web(spec: FunctionSpec, webs: Iterable[WebSpec]) -> FunctionSpec:
    """Return a function or class as one that answers requests.

    Raises:
        InvalidError: It has options that web functions cannot have.
    """
    webs = tuple(webs)
    if not webs:
        return spec
    if spec.retries is not None:
        raise InvalidError(
            f"`retries` cannot be set on the web function {spec.name}.",
            hint="A request is never run twice: leave `retries` away, and let the client retry.",
        )
    if spec.batching is not None:
        raise InvalidError(
            f"`@batched` cannot be used on the web function {spec.name}.",
            hint="Call a batched function from it with `.remote.aio(…)`.",
        )
    if not any(web.kind == "server" for web in webs):
        return replace(spec, web=webs)
    most = spec.autoscaler.max_containers
    if most is None or most > 1:
        if most is not None:
            _warn_of_ports(spec.name)
        changes: dict[str, int | None] = {
            "max_containers": 1,
            "min_containers": min(1, spec.autoscaler.min_containers),
        }
        spec = replace(spec, autoscaler=spec.autoscaler.merged(changes))
    return replace(spec, web=webs, concurrency=spec.concurrency or Concurrency(SERVER_SLOTS))


def check_installed(specs: Iterable[FunctionSpec]) -> None:
    """Raise InvalidError where an endpoint needs FastAPI and this interpreter has none."""
    from importlib.util import find_spec

    names = [spec.name for spec in specs if any(web.kind == "endpoint" for web in spec.web)]
    if names and find_spec("fastapi") is None:
        raise InvalidError(
            f"{', '.join(names)}: `@fastapi_endpoint` needs FastAPI, which is not installed.",
            hint="Install it where the function runs, `pip install fastapi`, or use `@asgi_app()`.",
        )


def _marker(web: WebSpec) -> Callable[[T], T]:
    def decorate(raw: T) -> T:
        if isinstance(raw, type) or not hasattr(raw, "__code__"):
            raise InvalidError(
                f"A web decorator cannot stand above what makes a {type(raw).__name__}.",
                hint="Swap the decorators: it comes below `@app.function()` and `@cloudfn.method`, "
                "right above the `def`.",
            )
        if web_of(raw) is not None:
            raise InvalidError(
                f"{raw.__qualname__} has two web decorators.",
                hint="Leave one of them away; an ASGI app can have as many routes as you like.",
            )
        if web.kind != "endpoint" and _takes_arguments(raw):
            raise InvalidError(
                f"The web function {raw.__qualname__} cannot have arguments.",
                hint="It is called once, when its container starts; requests go to what it makes.",
            )
        setattr(raw, _WEB, web)
        if is_method(raw):
            spec = cls.MethodSpec(is_async=cls.is_coroutine_function(raw), is_web=True)
            cls.mark_method(raw, spec)
        return raw

    return decorate


def _takes_arguments(raw: Any) -> bool:
    """Whether a function, or a method beside `self`, has arguments without defaults."""
    code = raw.__code__
    without_default = code.co_argcount - len(raw.__defaults__ or ()) - is_method(raw)
    keywords = code.co_kwonlyargcount - len(raw.__kwdefaults__ or {})
    return bool(without_default > 0 or keywords > 0)


def _refuse(
    decorator: str, forgotten: Any, custom_domains: Any, requires_proxy_auth: object
) -> None:
    check_parentheses(f"cloudfn.{decorator}", forgotten)
    if custom_domains:
        raise UnimplementedError(
            "`custom_domains` means nothing on one machine.",
            hint="Put a reverse proxy with your domain in front of the gateway.",
        )
    if requires_proxy_auth:
        raise UnimplementedError(
            "`requires_proxy_auth` is not available: the gateway listens on this machine alone.",
            hint="Check a header in your application, or let a reverse proxy do it.",
        )


def _warn_of_ports(name: str) -> None:
    import warnings

    warnings.warn(
        f"{name} starts a server on a port of this machine, so it gets one container at most, "
        "whatever `max_containers` says.",
        errors.UserWarning,
        stacklevel=4,
    )
