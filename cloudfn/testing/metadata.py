"""An instance metadata service of one machine, as strict about tokens as the real one."""

from __future__ import annotations

import os
import threading
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_TOKEN = "X-aws-ec2-metadata-token"  # noqa: S105 - the name of a header


class StubMetadata:
    """Answers below `endpoint` what `values` says, by path behind `/latest/meta-data/`.

    Args:
        values: What there is; may be changed at any time.
    """

    def __init__(self, values: dict[str, str] | None = None) -> None:
        self.values = {
            "instance-id": "i-0123456789abcdef0",
            "instance-type": "c7i.large",
            "instance-life-cycle": "on-demand",
            "placement/availability-zone": "eu-central-1a",
            "placement/region": "eu-central-1",
            "local-ipv4": "10.0.0.7",
            **(values or {}),
        }
        #: answers that are refused before the next one is given, whatever is asked
        self.failures = 0
        self._tokens: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        serve = partial(self._server.serve_forever, poll_interval=0.01)
        self._thread = threading.Thread(target=serve, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def forget_tokens(self) -> None:
        """Let all tokens have expired."""
        self._tokens.clear()

    def close(self) -> None:
        """Answer nothing any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                if self.path != "/latest/api/token" or not self.headers.get(
                    f"{_TOKEN}-ttl-seconds"
                ):
                    self._say(HTTPStatus.BAD_REQUEST)
                    return
                token = os.urandom(8).hex()
                stub._tokens.add(token)
                self._say(HTTPStatus.OK, token)

            def do_GET(self) -> None:
                if stub.failures:
                    stub.failures -= 1
                    self._say(HTTPStatus.SERVICE_UNAVAILABLE)
                elif self.headers.get(_TOKEN) not in stub._tokens:
                    self._say(HTTPStatus.UNAUTHORIZED)
                else:
                    found = stub.values.get(self.path.removeprefix("/latest/meta-data/"))
                    self._say(HTTPStatus.NOT_FOUND if found is None else HTTPStatus.OK, found or "")

            def _say(self, status: HTTPStatus, text: str = "") -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None: ...

        return Handler
