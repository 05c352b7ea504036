"""The gateway's place: its port, kept over restarts, and uvicorn, imported when it is needed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

from cloudfn.daemon.web.doors import Door
from cloudfn.errors import ExecutionError
from cloudfn.settings import Web

if TYPE_CHECKING:
    from cloudfn.daemon.web.proxy import Proxy

_log = logging.getLogger(__name__)

#: where free ports are looked for: below those that systems hand out to outgoing connections
_FIRST_PORT = 8_700
_PORTS = 1_000
_BACKLOG = 1_024
#: bytes of a request's line and headers
_HEAD_LIMIT = 64 << 10
#: seconds that a client may keep an idle connection
_KEEP_ALIVE = 75
#: bytes of one message of a websocket
_MESSAGE_LIMIT = 16 << 20


class Gateway:
    """Listens for HTTP on this machine from the first door on.

    Args:
        state_dir: Where its port is kept.
        settings: Where it listens.
        proxy: Makes the application that answers.
    """

    def __init__(self, state_dir: Path, settings: Web, proxy: Callable[[], Proxy]) -> None:
        self._kept = state_dir / "web.port"
        self._settings = settings
        self._proxy = proxy
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._task: asyncio.Task[None] | None = None
        #: what users should know of the port: it is not the one that it was
        self.notice: str | None = None

    def listen(self) -> None:
        """Begin to listen, unless it does already. Connections wait until the server is up.

        Raises:
            ExecutionError: No port is free, or uvicorn is missing.
        """
        if self._socket is not None:
            return
        try:
            self._socket = self._bound()
        except OSError as error:
            raise ExecutionError(
                f"The web gateway cannot listen on {self._settings.host}: {error.strerror}.",
                hint="Choose another port with CLOUDFN_WEB_PORT, then `cloudfn daemon stop`.",
            ) from None
        self._socket.listen(_BACKLOG)
        self._socket.setblocking(False)  # noqa: FBT003
        self._task = asyncio.get_running_loop().create_task(self._serve(self._socket))

    def url(self, door: Door) -> str:
        """Return the address of a door."""
        host, port = self._settings.host, 0 if self._socket is None else self._port(self._socket)
        shown = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared
        return f"http://{shown}:{port}/{door.label}"

    def close(self) -> None:
        """Listen no more, and leave who is connected."""
        if self._task is not None:
            self._task.cancel()
        if self._server is not None:
            self._server.close()
        if self._socket is not None:
            self._socket.close()

    async def _serve(self, listener: socket.socket) -> None:
        import uvicorn
        from uvicorn.server import ServerState

        app: Any = self._proxy()
        config = uvicorn.Config(
            app,
            http="h11",
            ws="websockets-sansio",
            ws_max_size=_MESSAGE_LIMIT,
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level=logging.CRITICAL,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE,
            h11_max_incomplete_event_size=_HEAD_LIMIT,
        )
        config.load()
        state = ServerState()
        protocol: Any = config.http_protocol_class
        # Not uvicorn's own loop: it would wake an idle daemon ten times a second, and take its
        # signals.
        self._server = await asyncio.get_running_loop().create_server(
            lambda: protocol(config=config, server_state=state, app_state={}), sock=listener
        )
        _log.info("web functions at port %d", self._port(listener))

    def _bound(self) -> socket.socket:
        """Return a socket that is bound to the kept port, or to the wished one, or a free one."""
        kept = self._kept_port()
        wished = self._settings.port or kept
        if wished is not None:
            try:
                bound = self._bind(wished)
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
            else:
                self._keep(wished)
                return bound
        bound = self._bind_free()
        port = self._port(bound)
        if wished is None:
            self._keep(port)
        else:
            self.notice = (
                f"Port {wished} of the web gateway is taken by another program: "
                f"URLs have port {port} until the daemon starts again."
            )
            _log.warning("%s", self.notice)
        return bound

    def _bind_free(self) -> socket.socket:
        first = crc32(str(self._kept).encode())
        for step in range(_PORTS):
            with contextlib.suppress(OSError):
                return self._bind(_FIRST_PORT + (first + step) % _PORTS)
        return self._bind(0)

    def _bind(self, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._settings.host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((self._settings.host, port))
        except (OSError, OverflowError):
            bound.close()
            raise
        return bound

    def _port(self, bound: socket.socket) -> int:
        port: int = bound.getsockname()[1]
        return port

    def _kept_port(self) -> int | None:
        try:
            text = self._kept.read_text().strip()
        except OSError:
            return None
        return int(text) if text.isdigit() and 0 < int(text) < 65_536 else None

    def _keep(self, port: int) -> None:
        try:
            self._kept.write_text(f"{port}\n")
        except OSError as error:
            _log.warning("the web gateway's port cannot be kept: %s", error)
