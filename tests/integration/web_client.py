"""HTTP clients for tests of web functions, and the environment that these run in."""

import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from cloudfn.sdk.client import using
from tests.integration.conformance_world import PATIENCE, World, opened_world
from tests.integration.web_program import app


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        # What the daemon is started with.
        patch.setenv("CLOUDFN_LIMIT_WEB_PENDING", "3")
        patch.setenv("CLOUDFN_LIMIT_WEB_BODY", str(40 << 20))
        with opened_world() as opened, using(opened.client):
            yield opened


@pytest.fixture(scope="module")
def running(world: World) -> Iterator[World]:
    with app.run(client=world.client):
        yield world


def get(function, path="", **how):
    return httpx.get(function.get_web_url() + path, timeout=PATIENCE, **how)


def raw(function, method, path, body=None):
    return raw_url(method, function.get_web_url() + path, body)


def text(world, function, source="stdout"):
    pages = world.client.subscribe("logs", app=app.app_id, source=source)
    entries = [entry for page in pages for entry in page["entries"]]
    return "".join(e["text"] for e in entries if e["function"].startswith(function))


def websocket_url(function, path=""):
    return "ws" + function.get_web_url().removeprefix("http") + path


@contextmanager
def raw_url(method, url, body=None):
    """A response whose body is read by hand."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body)
        yield connection.getresponse()
    finally:
        connection.close()


@contextmanager
def raw_socket(function, path):
    url = urlsplit(function.get_web_url())
    with socket.create_connection((url.hostname, url.port), timeout=PATIENCE) as connection:
        connection.sendall(f"GET {url.path}{path} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode())
        yield connection
