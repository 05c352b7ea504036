"""Conformance 1.3, 2.12, 2.16: web functions over real HTTP, behind the gateway."""
# ruff: noqa: TID251, ASYNC240 - this is user code as well

import asyncio
import http.client
import http.server
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve

import cloudfn
from cloudfn.exception import AlreadyExistsError, InvalidError
from cloudfn.sdk.client import using
from tests.integration.conformance_world import World, opened_world, wait_for

pytestmark = pytest.mark.integration

PATIENCE = 30.0
app = cloudfn.App("Web_App")


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


# ------------------------------------------------------------------------------ the user's program


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def port():
    """Return the port of the client's choice; here the module may be imported anew."""
    return int(os.environ["TEST_PORT"])


async def read_body(receive):
    body = b""
    while True:
        event = await receive()
        if event["type"] != "http.request":
            raise ConnectionError
        body += event.get("body", b"")
        if not event.get("more_body"):
            return body


async def reply(send, body, status=200, headers=()):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def reply_json(send, value):
    await reply(send, json.dumps(value).encode(), headers=[(b"content-type", b"application/json")])


async def file_appears(path):
    deadline = time.monotonic() + PATIENCE
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise RuntimeError("nobody made the file")
        await asyncio.sleep(0.005)


def query(scope):
    return scope["query_string"].decode()


def header_of(scope, name):
    return [value.decode() for found, value in scope["headers"] if found == name]


async def on_websocket(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"].endswith("/denied"):
        await send({"type": "websocket.http.response.start", "status": 418, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"no tea"})
        return
    protocols = scope["subprotocols"]
    await send({"type": "websocket.accept", "subprotocol": protocols[0] if protocols else None})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            print(f"websocket left with {event['code']}")
            return
        if event.get("text") == "close":
            await send({"type": "websocket.close", "code": 4000, "reason": "as asked"})
            return
        answer = {"type": "websocket.send"}
        if event.get("text") is not None:
            answer["text"] = event["text"].upper()
        else:
            answer["bytes"] = event["bytes"][::-1]
        await send(answer)


async def stream_until_told(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"first ", "more_body": True})
    await file_appears(f"{query(scope)}/go")
    await send({"type": "http.response.body", "body": b"second", "more_body": False})


async def wait_for_disconnect(scope, receive, send):
    Path(query(scope), "here").touch()
    while (await receive())["type"] != "http.disconnect":
        pass
    Path(query(scope), "left").touch()


async def echo_stream(scope, receive, send):
    """Answer each piece of the body as it comes."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        event = await receive()
        await send({"type": "http.response.body", "body": event["body"], "more_body": True})
        if not event.get("more_body"):
            break
    await send({"type": "http.response.body", "body": b""})


async def send_much(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(int(query(scope))):
        await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def fail(scope, receive, send):
    raise ValueError("a bug of the user's")


async def say_pid_and_wait(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    Path(query(scope), "pid").write_text(str(os.getpid()))
    Path(query(scope), "here").touch()
    await asyncio.sleep(PATIENCE)


async def answer_early(scope, receive, send):
    await reply(send, b"no need to read that", status=403)


async def send_headers(scope, receive, send):
    twice = [(b"x-a", b"1"), (b"x-a", b"2"), (b"set-cookie", b"c=1"), (b"set-cookie", b"d=2")]
    hop = [(b"connection", b"close, x-gone"), (b"x-gone", b"yes")]
    await reply(send, b"", status=299, headers=twice + hop)


async def tell(scope, receive, send):
    body = await read_body(receive)
    told = {
        "method": scope["method"],
        "path": scope["path"],
        "root_path": scope["root_path"],
        "query": query(scope),
        "body": len(body),
        "client": scope["client"][0],
        "started": scope["state"].get("started"),
        "forwarded": header_of(scope, b"x-forwarded-for"),
        "prefix": header_of(scope, b"x-forwarded-prefix"),
        "connection": header_of(scope, b"connection"),
        "secret": header_of(scope, b"x-secret"),
        "hello": header_of(scope, b"x-hello"),
        "main_thread": threading.current_thread() is threading.main_thread(),
        "pid": os.getpid(),
    }
    await reply_json(send, told)


async def live(receive, send, state):
    await receive()
    print("lifespan: startup")
    state["started"] = "yes"
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("lifespan: shutdown")
    await send({"type": "lifespan.shutdown.complete"})


ROUTES = {
    "/stream": stream_until_told,
    "/wait": wait_for_disconnect,
    "/echo-stream": echo_stream,
    "/much": send_much,
    "/fails": fail,
    "/dies": say_pid_and_wait,
    "/early": answer_early,
    "/headers": send_headers,
}


@app.function()
@cloudfn.concurrent(max_inputs=20)
@cloudfn.asgi_app()
def asgi():
    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            await live(receive, send, scope["state"])
        elif scope["type"] == "websocket":
            await on_websocket(scope, receive, send)
        else:
            path = scope["path"].removeprefix(scope["root_path"])
            await ROUTES.get(path, tell)(scope, receive, send)

    return application


@app.function()
@cloudfn.fastapi_endpoint(docs=True)
def square(x: int, times: int = 1):
    return {"square": x * x * times}


@app.function()
@cloudfn.fastapi_endpoint(method="post", label="my-poster")
async def poster(item: dict):
    return item


@app.function(max_containers=1, timeout=60)
@cloudfn.asgi_app()
def narrow():
    async def application(scope, receive, send):
        if scope["type"] != "http":
            return
        folder = query(scope)
        if folder:
            Path(folder, "here").touch()
            await file_appears(f"{folder}/go")
        await reply(send, str(os.getpid()).encode())

    return application


@app.function(timeout=1, max_containers=1)
@cloudfn.asgi_app()
def slow():
    async def application(scope, receive, send):
        if scope["type"] != "http":
            return
        if scope["path"].endswith("/begun"):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        if not scope["path"].endswith("/quick"):
            try:
                await asyncio.sleep(PATIENCE)
            finally:
                print("cancelled")
        await reply(send, str(os.getpid()).encode())

    return application


@app.function()
@cloudfn.asgi_app()
def broken():
    raise RuntimeError("cannot make an application")


@app.function()
@cloudfn.wsgi_app()
def wsgi():
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/fails":
            raise ValueError("a bug of the user's")
        if environ["PATH_INFO"] == "/stream":
            start_response("200 OK", [("Content-Type", "text/plain")])
            folder = environ["QUERY_STRING"]

            def pieces():
                yield b"first "
                while not os.path.exists(f"{folder}/go"):
                    time.sleep(0.005)
                yield b"second"

            return pieces()
        body = environ["wsgi.input"].read()
        told = {name: environ.get(name) for name in ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING",
                "REQUEST_METHOD", "CONTENT_TYPE", "HTTP_X_HELLO", "REMOTE_ADDR")}  # fmt: skip
        told["body"] = len(body)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(told).encode()]

    return application


@app.cls(scaledown_window=2)
class Greeter:
    @cloudfn.enter()
    def prepare(self):
        print("enter")
        self.greeting = "hello"

    @cloudfn.exit()
    def clean_up(self):
        print("exit")

    @cloudfn.asgi_app()
    def site(self):
        async def application(scope, receive, send):
            if scope["type"] == "lifespan":
                await live(receive, send, scope["state"])
            else:
                await reply(send, f"{self.greeting} {os.getpid()}".encode())

        return application

    @cloudfn.fastapi_endpoint(label="greet")
    def greet(self, name: str):
        return f"{self.greeting} {name}"

    @cloudfn.method()
    def pid(self):
        return os.getpid()


PORT = free_port()


@app.function(env={"TEST_PORT": str(PORT)})
@cloudfn.web_server(PORT)
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            if self.path == "/chunks":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n")
                return
            told = {"path": self.path, "host": self.headers["x-forwarded-host"],
                    "prefix": self.headers["x-forwarded-prefix"]}  # fmt: skip
            self.answer(json.dumps(told).encode())

        def do_POST(self):
            if self.headers.get("transfer-encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers["content-length"]))
            self.answer(body.upper())

        def answer(self, body):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    started = http.server.ThreadingHTTPServer(("127.0.0.1", port()), Handler)
    threading.Thread(target=started.serve_forever, daemon=True).start()


SOCKET_PORT = free_port()


@app.function(env={"TEST_PORT": str(SOCKET_PORT)})
@cloudfn.web_server(SOCKET_PORT)
def sockets():
    def answer(connection):
        for message in connection:
            if message == "close":
                connection.close(4001, "as asked")
            connection.send(message.upper() if isinstance(message, str) else message[::-1])

    started = serve(answer, "127.0.0.1", port(), subprotocols=["chat"], max_size=None)
    threading.Thread(target=started.serve_forever, daemon=True).start()


@app.function(startup_timeout=20)
@cloudfn.web_server(1, startup_timeout=0.2)
def deaf():
    """Start nothing."""


@app.function()
def plain():
    return "plain"


# ------------------------------------------------------------------------------------- the client


def get(function, path="", **how):
    return httpx.get(function.get_web_url() + path, timeout=PATIENCE, **how)


def raw(function, method, path, body=None):
    return raw_url(method, function.get_web_url() + path, body)


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


def text(world, function, source="stdout"):
    pages = world.client.subscribe("logs", app=app.app_id, source=source)
    entries = [entry for page in pages for entry in page["entries"]]
    return "".join(e["text"] for e in entries if e["function"].startswith(function))


def websocket_url(function, path=""):
    return "ws" + function.get_web_url().removeprefix("http") + path


# --------------------------------------------------------------------------------------- requests


def test_a_request_reaches_the_application_with_its_path_headers_and_body(running):
    answer = httpx.post(
        asgi.get_web_url() + "/some/path?q=1",
        content=b"abc",
        headers={"x-hello": "there", "x-forwarded-for": "10.0.0.1", "connection": "x-secret",
                 "x-secret": "for the next hop alone"},
        timeout=PATIENCE,
    )  # fmt: skip
    told = answer.json()
    assert told.pop("pid") > 0
    assert told == {
        "method": "POST",
        "path": "/web-app-asgi-dev/some/path",
        "root_path": "/web-app-asgi-dev",
        "query": "q=1",
        "body": 3,
        "client": "127.0.0.1",
        "started": "yes",
        "forwarded": ["10.0.0.1, 127.0.0.1"],
        "prefix": ["/web-app-asgi-dev"],
        "connection": [],
        "secret": [],
        "hello": ["there"],
        "main_thread": True,
    }


def test_a_url_without_a_path_is_the_root(running):
    assert get(asgi).json()["path"] == "/web-app-asgi-dev/"


def test_the_label_can_be_the_host_instead_of_the_path(running):
    url = urlsplit(asgi.get_web_url())
    answer = httpx.get(
        f"http://{url.netloc}/x", headers={"host": f"web-app-asgi-dev.localhost:{url.port}"}
    )
    assert answer.json()["path"] == "/x"
    assert answer.json()["root_path"] == ""


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_every_method_passes(running, method):
    assert httpx.request(method, asgi.get_web_url()).json()["method"] == method


def test_head_has_headers_and_no_body(running):
    answer = httpx.head(asgi.get_web_url())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == b""


def test_headers_of_a_response_pass_but_for_those_between_two_hops(running):
    answer = get(asgi, "/headers")
    assert answer.status_code == 299
    assert answer.headers.get_list("x-a") == ["1", "2"]
    assert answer.headers.get_list("set-cookie") == ["c=1", "d=2"]
    assert "x-gone" not in answer.headers


def test_requests_can_share_a_connection(running):
    with httpx.Client(timeout=PATIENCE) as client:
        pids = {client.get(asgi.get_web_url()).json()["pid"] for _ in range(5)}
    assert len(pids) == 1


def test_a_response_streams_as_it_is_made(running, tmp_path):
    with raw(asgi, "GET", f"/stream?{tmp_path}") as answer:
        assert answer.read1(100) == b"first "
        (tmp_path / "go").touch()
        assert answer.read() == b"second"


def test_a_request_streams_as_it_is_sent(running):
    url = urlsplit(asgi.get_web_url())
    connection = http.client.HTTPConnection(url.netloc, timeout=PATIENCE)
    connection.putrequest("POST", url.path + "/echo-stream")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    connection.send(b"5\r\nfirst\r\n")
    # http.client reads an answer only after the request; the bytes come before its end.
    received = b""
    while b"first" not in received:
        received += connection.sock.recv(1000)
    connection.send(b"6\r\nsecond\r\n0\r\n\r\n")
    while b"second" not in received:
        received += connection.sock.recv(1000)
    connection.close()


def test_large_bodies_pass_both_ways_without_piling_up(running):
    daemon = running.ask("status")["pid"]
    before = resident(daemon)
    size = 16 << 20
    answer = httpx.post(
        asgi.get_web_url(), content=(bytes(1 << 20) for _ in range(16)), timeout=PATIENCE
    )
    assert answer.json()["body"] == size
    with raw(asgi, "GET", "/much?32") as answer:
        received = len(answer.read(1 << 20))
        # Whoever does not read holds the container up, not the gateway's memory.
        assert resident(daemon) - before < 12 << 20
        while piece := answer.read(1 << 20):
            received += len(piece)
    assert received == 32 << 20


def resident(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_an_answer_before_the_end_of_the_body_arrives(running):
    with raw(asgi, "POST", "/early", bytes(8 << 20)) as answer:
        assert answer.status == 403
        assert answer.read() == b"no need to read that"


def test_a_body_over_the_limit_is_refused(running):
    # The connection may be gone before all of it is sent.
    url = urlsplit(asgi.get_web_url())
    connection = http.client.HTTPConnection(url.netloc, timeout=PATIENCE)
    connection.putrequest("POST", url.path)
    connection.putheader("Content-Length", str(50 << 20))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_what_an_application_raises_is_a_500_and_in_the_logs(running):
    answer = get(asgi, "/fails")
    assert answer.status_code == 500
    assert "app logs" in answer.text
    wait_for("the traceback", lambda: "a bug of the user's" in text(running, "asgi", "stderr"))
    assert get(asgi).status_code == 200


def test_each_request_leaves_a_line_in_the_log(running):
    get(asgi, "/seen?token=secret")
    lines = wait_for(
        "the line",
        lambda: [x for x in text(running, "asgi", "system").splitlines() if "/seen" in x],
    )
    assert lines[0].startswith("GET /web-app-asgi-dev/seen 200 ")
    assert "secret" not in lines[0]


# --------------------------------------------------------------------------------------- addresses


def test_an_unknown_label_is_a_404(running):
    url = urlsplit(asgi.get_web_url())
    assert httpx.get(f"http://{url.netloc}/nothing-here").status_code == 404
    assert httpx.get(f"http://{url.netloc}/").status_code == 404


def test_a_host_that_is_not_this_machine_is_refused(running):
    answer = httpx.get(asgi.get_web_url(), headers={"host": "evil.example"})
    assert answer.status_code == 421


def test_a_length_and_chunks_together_are_no_two_requests(running):
    url = urlsplit(asgi.get_web_url())
    request = (
        f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 4\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        "0\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    with socket.create_connection((url.hostname, url.port), timeout=PATIENCE) as connection:
        connection.sendall(request.encode())
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert received.count(b"HTTP/1.1 ") == 1


def test_huge_headers_are_refused(running):
    url = urlsplit(asgi.get_web_url())
    with socket.create_connection((url.hostname, url.port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nx-huge: " + b"x" * 66_000)
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_functions_know_their_urls(running):
    assert asgi.get_web_url() == asgi.web_url
    assert asgi.get_web_url().endswith("/web-app-asgi-dev")
    assert poster.get_web_url().endswith("/my-poster-dev")
    assert plain.get_web_url() is None
    listed = next(a for a in running.ask("app_list")["apps"] if a["app_id"] == app.app_id)
    assert listed["urls"]["asgi"] == asgi.get_web_url()


def test_two_apps_cannot_have_the_same_label(running):
    other = cloudfn.App("other")

    @other.function(serialized=True)
    @cloudfn.asgi_app(label="my-poster")
    def thief():
        """Return nothing."""

    with pytest.raises(AlreadyExistsError, match=r"my-poster-dev.*poster.*Web_App"), other.run():
        pass


# ----------------------------------------------------------------------------------------- calling


def test_web_functions_can_be_called_here_and_not_there(running):
    assert square.local(3) == {"square": 9}
    for call in (
        lambda: square.remote(3),
        lambda: square.spawn(3),
        lambda: list(square.map([3])),
        lambda: square.remote_gen(3),
    ):
        with pytest.raises(InvalidError, match="webhook function cannot be invoked"):
            call()


def test_a_function_that_is_looked_up_refuses_calls_as_well(running):
    with pytest.raises(InvalidError, match="webhook function cannot be invoked"):
        running.client.request("settings_get", function_id=square.object_id) and looked_up().remote(
            3
        )


def looked_up():
    function = cloudfn.Function("square")
    function._app_name = app.app_id
    return function


# --------------------------------------------------------------------------------------- endpoints


def test_an_endpoint_takes_its_arguments_from_the_query(running):
    assert get(square, "?x=4").json() == {"square": 16}
    assert get(square, "?x=4&times=2").json() == {"square": 32}
    assert get(square, "?x=four").status_code == 422
    assert httpx.post(square.get_web_url()).status_code == 405


def test_an_endpoint_takes_a_body(running):
    assert httpx.post(poster.get_web_url(), json={"a": 1}).json() == {"a": 1}


def test_an_endpoint_describes_itself_where_it_should(running):
    assert get(square, "/docs").status_code == 200
    assert get(poster, "/docs").status_code == 404


# -------------------------------------------------------------------------------------- websockets


def test_a_websocket_talks_both_ways(running):
    with connect(websocket_url(asgi), subprotocols=["chat"], max_size=None) as socket_:
        assert socket_.subprotocol == "chat"
        socket_.send("hello")
        assert socket_.recv(PATIENCE) == "HELLO"
        socket_.send(b"abc")
        assert socket_.recv(PATIENCE) == b"cba"
        socket_.send("x" * (3 << 20))
        assert socket_.recv(PATIENCE) == "X" * (3 << 20)
        socket_.send("close")
        with pytest.raises(ConnectionClosed) as closed:
            socket_.recv(PATIENCE)
        assert closed.value.rcvd.code == 4000
        assert closed.value.rcvd.reason == "as asked"


def test_an_application_sees_a_websocket_leave(running):
    with connect(websocket_url(asgi)) as socket_:
        socket_.send("hello")
        assert socket_.recv(PATIENCE) == "HELLO"
    wait_for("its end", lambda: "websocket left with 1000" in text(running, "asgi"))


def test_a_websocket_can_be_denied(running):
    with pytest.raises(InvalidStatus) as denied, connect(websocket_url(asgi, "/denied")):
        pass
    assert denied.value.response.status_code == 418


# --------------------------------------------------------------------------- containers and queues


def test_a_client_that_leaves_is_noticed(running, tmp_path):
    with raw_socket(asgi, f"/wait?{tmp_path}"):
        wait_for("the request", (tmp_path / "here").exists)
    wait_for("the application to see it", (tmp_path / "left").exists)


@contextmanager
def raw_socket(function, path):
    url = urlsplit(function.get_web_url())
    with socket.create_connection((url.hostname, url.port), timeout=PATIENCE) as connection:
        connection.sendall(f"GET {url.path}{path} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode())
        yield connection


def test_requests_wait_in_order_and_too_many_are_turned_away(running, tmp_path):
    assert get(narrow).status_code == 200
    answers = []

    def ask(path=""):
        answers.append(get(narrow, path))

    first = threading.Thread(target=ask, args=(f"?{tmp_path}",))
    first.start()
    wait_for("the first request", (tmp_path / "here").exists)
    others = [threading.Thread(target=ask) for _ in range(3)]
    for thread in others:
        thread.start()
    stats = lambda: running.ask("stats", function_id=narrow.object_id)  # noqa: E731
    wait_for("three that wait", lambda: stats()["backlog"] == 3)
    refused = get(narrow)
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    (tmp_path / "go").touch()
    for thread in [first, *others]:
        thread.join(PATIENCE)
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.text for answer in answers}) == 1


def test_a_client_that_gives_up_waiting_leaves_the_queue(running, tmp_path):
    with raw_socket(narrow, f"?{tmp_path}"):
        wait_for("the request", (tmp_path / "here").exists)
        stats = lambda: running.ask("stats", function_id=narrow.object_id)  # noqa: E731
        with raw_socket(narrow, ""):
            wait_for("one that waits", lambda: stats()["backlog"] == 1)
        wait_for("nobody waits", lambda: stats()["backlog"] == 0)
        (tmp_path / "go").touch()
    assert get(narrow).status_code == 200


def test_one_container_has_as_many_requests_as_it_has_slots(running, tmp_path):
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(get(asgi, f"/stream?{tmp_path}")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    wait_for(
        "eight at once",
        lambda: running.ask("stats", function_id=asgi.object_id)["num_running_inputs"] >= 8,
    )
    assert len(running.containers("asgi")) == 1
    (tmp_path / "go").touch()
    for thread in threads:
        thread.join(PATIENCE)
    assert {answer.text for answer in answers} == {"first second"}


def test_a_request_over_the_timeout_is_a_504_and_the_container_lives(running):
    before = get(slow, "/quick").text
    assert get(slow).status_code == 504
    wait_for("its end", lambda: "cancelled" in text(running, "slow"))
    assert get(slow, "/quick").text == before


def test_an_answer_that_has_begun_breaks_off_at_the_timeout(running):
    with raw(slow, "GET", "/begun") as answer, pytest.raises(http.client.IncompleteRead):
        answer.read()


def test_a_container_that_dies_breaks_its_answers_and_nobody_elses(running, tmp_path):
    with raw(asgi, "GET", f"/dies?{tmp_path}") as answer:
        assert answer.read1(100) == b"begun"
        wait_for("its pid", (tmp_path / "here").exists)
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    assert get(asgi).status_code == 200


def test_a_container_that_dies_before_it_answers_is_a_502(running, tmp_path):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(get(narrow, f"?{tmp_path}")))
    thread.start()
    wait_for("the request", (tmp_path / "here").exists)
    os.kill(running.containers("narrow")[0]["pid"], signal.SIGKILL)
    thread.join(PATIENCE)
    assert answers[0].status_code == 502
    assert not (tmp_path / "go").exists()
    assert get(narrow).status_code == 200


def test_a_function_that_cannot_start_is_a_500_with_a_hint(running):
    answer = get(broken)
    assert answer.status_code == 500
    assert "No container of broken can start" in answer.text
    assert "cannot make an application" in text(running, "broken", "stderr")


# -------------------------------------------------------------------------------------------- WSGI


def test_a_wsgi_application_gets_its_environment(running):
    answer = httpx.post(
        wsgi.get_web_url() + "/a%20b?q=1", content=b"x" * 100_000,
        headers={"x-hello": "there", "content-type": "text/plain"}, timeout=PATIENCE,
    )  # fmt: skip
    assert answer.json() == {
        "SCRIPT_NAME": "/web-app-wsgi-dev",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "q=1",
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "text/plain",
        "HTTP_X_HELLO": "there",
        "REMOTE_ADDR": "127.0.0.1",
        "body": 100_000,
    }


def test_a_wsgi_body_of_unknown_length_ends(running):
    answer = httpx.post(wsgi.get_web_url(), content=iter([b"abc", b"def"]), timeout=PATIENCE)
    assert answer.json()["body"] == 6


def test_a_wsgi_response_streams(running, tmp_path):
    with raw(wsgi, "GET", f"/stream?{tmp_path}") as answer:
        assert answer.read1(100) == b"first "
        (tmp_path / "go").touch()
        assert answer.read() == b"second"


def test_what_a_wsgi_application_raises_is_a_500(running):
    assert get(wsgi, "/fails").status_code == 500
    assert get(wsgi).status_code == 200


# ----------------------------------------------------------------------------------------- classes


def test_methods_of_a_class_answer_requests_in_its_containers(running):
    greeter = Greeter()
    assert greeter.site.get_web_url().endswith("/web-app-greeter-site-dev")
    assert greeter.greet.get_web_url().endswith("/greet-dev")
    assert greeter.pid.get_web_url() is None
    assert get(greeter.site).text == f"hello {greeter.pid.remote()}"
    assert get(greeter.greet, "?name=you").json() == "hello you"
    with pytest.raises(InvalidError, match="webhook function cannot be invoked"):
        greeter.greet.remote("you")


def test_hooks_and_lifespans_are_called_from_outside_to_inside(running):
    """C116 for web functions: enter, startup, requests, shutdown, exit."""
    get(Greeter().site)
    wait_for("its end", lambda: "exit" in text(running, "Greeter"))
    printed = text(running, "Greeter").split("\n")
    end = printed.index("exit")
    assert printed[end - 3 : end + 1] == [
        "enter",
        "lifespan: startup",
        "lifespan: shutdown",
        "exit",
    ]


# ----------------------------------------------------------------------------------------- servers


def test_requests_pass_to_a_server_that_the_function_starts(running):
    url = urlsplit(server.get_web_url())
    assert get(server, "/some/path?q=1").json() == {
        "path": "/some/path?q=1",
        "host": url.netloc,
        "prefix": "/web-app-server-dev",
    }
    assert get(server).json()["path"] == "/"
    assert get(server, "/chunks").text == "firstsecond"
    assert httpx.post(server.get_web_url(), content=b"abc").text == "ABC"
    assert httpx.post(server.get_web_url(), content=iter([b"abc", b"def"])).text == "ABCDEF"
    assert len(running.containers("server")) == 1


def test_websockets_pass_to_a_server(running):
    with connect(websocket_url(sockets), subprotocols=["chat"], max_size=None) as socket_:
        assert socket_.subprotocol == "chat"
        socket_.send("hello")
        assert socket_.recv(PATIENCE) == "HELLO"
        socket_.send(b"abc")
        assert socket_.recv(PATIENCE) == b"cba"
        socket_.send("x" * 300_000)
        assert socket_.recv(PATIENCE) == "X" * 300_000
        socket_.send("close")
        with pytest.raises(ConnectionClosed) as closed:
            socket_.recv(PATIENCE)
    assert closed.value.rcvd.code == 4001


def test_a_server_that_does_not_listen_is_a_500(running):
    assert get(deaf).status_code == 500
    assert "did not accept connections at port 1" in text(running, "deaf", "stderr")


def test_a_server_has_one_container_and_many_slots():
    assert server.spec.autoscaler.max_containers == 1
    assert server.spec.slots == 100


# ----------------------------------------------------------------------------------------- deploys

DEPLOYED = """
    import asyncio, os, cloudfn
    app = cloudfn.App("deployed-web")

    @app.function()
    @cloudfn.asgi_app()
    def site():
        async def application(scope, receive, send):
            if scope["type"] != "http":
                return
            await send({{"type": "http.response.start", "status": 200, "headers": []}})
            await send({{"type": "http.response.body", "body": b"{word} ", "more_body": True}})
            folder = scope["query_string"].decode()
            while folder and not os.path.exists(folder + "/go"):
                await asyncio.sleep(0.01)
            await send({{"type": "http.response.body", "body": b"done"}})
        return application
"""


def deploy(world, word, *options):
    path = world.write(DEPLOYED.format(word=word), "deployed_web.py")
    return json.loads(world.cli("deploy", path, "--json", *options).stdout)


@pytest.mark.parametrize("strategy", ["rolling", "recreate"])
def test_a_deploy_lets_requests_finish_or_cuts_them(world, strategy, tmp_path):
    url = deploy(world, "old")["urls"]["site"]
    assert url.endswith("/deployed-web-site")
    try:
        with raw_url("GET", f"{url}?{tmp_path}") as answer:
            assert answer.read1(100) == b"old "
            assert deploy(world, "new", "--strategy", strategy)["urls"]["site"] == url
            assert httpx.get(url, timeout=PATIENCE).text == "new done"
            (tmp_path / "go").touch()
            if strategy == "rolling":
                assert answer.read() == b"done"
            else:
                with pytest.raises(http.client.IncompleteRead):
                    answer.read()
    finally:
        world.cli("app", "stop", "deployed-web", "--yes")
    assert httpx.get(url).status_code == 404


# ------------------------------------------------------------------------------------------- serve

SERVED = """
    import cloudfn
    import helper_of_served

    app = cloudfn.App("served")

    @app.function()
    @cloudfn.wsgi_app()
    def site():
        def application(environ, start_response):
            start_response("200 OK", [])
            return [helper_of_served.WORD.encode()]
        return application
"""


def test_serve_takes_up_changes_and_only_changes(world):
    """C155."""
    path = world.write(SERVED, "served.py")
    helper = world.write("WORD = 'one'", "helper_of_served.py")
    child = world.start(sys.executable, "-u", "-m", "cloudfn", "serve", path)
    said = Said(child)
    url = said.until("site → ").split("→ ")[1].strip()
    said.until("Serving")
    assert httpx.get(url, timeout=PATIENCE).text == "one"
    helper.write_text("WORD = 'one'")
    helper.write_text("WORD = 'two'")
    said.until("Reloaded as revision v2")
    assert httpx.get(url, timeout=PATIENCE).text == "two"
    helper.write_text("WORD = 'three")
    said.until("SyntaxError")
    said.until("the old one goes on")
    assert httpx.get(url, timeout=PATIENCE).text == "two"
    helper.touch()
    helper.write_text("WORD = 'four'")
    # Neither a new time nor the wrong text made a revision.
    said.until("Reloaded as revision v3")
    assert httpx.get(url, timeout=PATIENCE).text == "four"
    child.send_signal(signal.SIGINT)
    rest = said.rest()
    assert child.wait(PATIENCE) == 130
    assert "Traceback" not in rest
    assert httpx.get(url).status_code == 404


def test_serve_ends_by_itself_after_its_time(world):
    path = world.write(SERVED, "served.py")
    world.write("WORD = 'one'", "helper_of_served.py")
    done = world.cli("serve", path, "--timeout", "0.1")
    assert "Serving ended" in done.stderr


class Said:
    """What a process says on stderr, line by line."""

    def __init__(self, child):
        self._child = child

    def until(self, words):
        """Return the first line from here on that has these words."""
        for line in self._child.stderr:
            if words in line:
                return line
        raise AssertionError(f"it never said {words!r}")

    def rest(self):
        return self._child.stderr.read()
