"""A function with a URL: an ASGI application, without any package beside cloudfn.

    cloudfn run examples/web_hello.py
    cloudfn serve examples/web_hello.py      # and edit it while it runs

It greets whoever asks, counts down as a stream of server-sent events, and says who started it up.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs
from urllib.request import urlopen

import cloudfn

Send = Callable[[dict[str, Any]], Awaitable[None]]

app = cloudfn.App("web-hello")


@app.function(scaledown_window=10)
@cloudfn.concurrent(max_inputs=10)
@cloudfn.asgi_app()
def hello() -> Callable[..., Awaitable[None]]:
    """Return the application; that happens once in each container."""
    state = {"requests": 0}

    async def application(scope: dict[str, Any], _receive: object, send: Send) -> None:
        if scope["type"] != "http":
            return
        state["requests"] += 1
        query = parse_qs(scope["query_string"].decode())
        if scope["path"].endswith("/countdown"):
            await count_down(int(query["from"][0]), send)
        else:
            name = query.get("name", ["world"])[0]
            await answer({"hello": name, "requests": state["requests"]}, send)

    return application


async def answer(value: dict[str, Any], send: Send) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


async def count_down(start: int, send: Send) -> None:
    """Send a number at a time: clients see each as soon as it is sent."""
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(start, 0, -1):
        event = f"data: {number}\n\n".encode()
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await asyncio.sleep(0.1)
    await send({"type": "http.response.body", "body": b"data: lift-off\n\n"})


@app.local_entrypoint()
def main(name: str = "there") -> None:
    url = hello.get_web_url()
    print(f"{url} answers:")
    for who in (name, "again"):
        with urlopen(f"{url}?name={who}") as response:
            print(response.read().decode())
    with urlopen(f"{url}/countdown?from=3") as response:
        for line in response:
            if text := line.decode().strip():
                print(text)
