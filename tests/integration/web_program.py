"""The web functions that conformance tests send requests to."""
# ruff: noqa: TID251, ASYNC240 - this is a user's program

import asyncio
import http.server
import json
import os
import socket
import threading
import time
from pathlib import Path

from websockets.sync.server import serve

import cloudfn
from tests.integration.conformance_world import PATIENCE

app = cloudfn.App("Web_App")


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


@app.cls(max_containers=1)
@cloudfn.concurrent(max_inputs=4)
class Busy:
    @cloudfn.method()
    def hold(self, folder):
        deadline = time.monotonic() + PATIENCE
        while not os.path.exists(f"{folder}/go"):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return os.getpid()

    @cloudfn.method()
    async def count(self, limit):
        for number in range(limit):
            yield number

    @cloudfn.asgi_app()
    def site(self):
        async def application(scope, receive, send):
            if scope["type"] == "http":
                await reply(send, str(os.getpid()).encode())

        return application


@app.cls()
class Sized:
    size: int = cloudfn.parameter()
    bold: bool = cloudfn.parameter(default=False)

    @cloudfn.method()
    def told(self):
        return f"size {self.size}, {'bold' if self.bold else 'plain'}"

    @cloudfn.wsgi_app()
    def page(self):
        def application(environ, start_response):
            start_response("200 OK", [])
            return [f"size {self.size}, {'bold' if self.bold else 'plain'}".encode()]

        return application


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
