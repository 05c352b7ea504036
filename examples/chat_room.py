"""A chat room: a websocket for each who is in it, all in one container.

    cloudfn run examples/chat_room.py
    cloudfn serve examples/chat_room.py      # and come in with a browser's WebSocket

A socket takes a slot for as long as it is open, so `max_inputs` is how many fit in.
"""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from websockets.sync.client import connect

import cloudfn

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

app = cloudfn.App("chat-room")


@app.function(max_containers=1, timeout=3600)
@cloudfn.concurrent(max_inputs=100)
@cloudfn.asgi_app()
def room() -> Callable[..., Awaitable[None]]:
    present: dict[str, Send] = {}

    async def tell_all(text: str) -> None:
        for send in list(present.values()):
            await send({"type": "websocket.send", "text": text})

    async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            return
        name = parse_qs(scope["query_string"].decode())["name"][0]
        await receive()  # websocket.connect
        await send({"type": "websocket.accept"})
        present[name] = send
        await tell_all(f"{name} came in, {len(present)} are here")
        while (event := await receive())["type"] == "websocket.receive":
            await tell_all(f"{name}: {event['text']}")
        del present[name]
        await tell_all(f"{name} left")

    return application


@app.local_entrypoint()
def main(text: str = "is anybody here?") -> None:
    url = "ws" + room.get_web_url().removeprefix("http")
    with connect(f"{url}?name=north") as north:
        print(north.recv())
        with connect(f"{url}?name=south") as south:
            print(north.recv())
            south.recv()
            north.send(text)
            print("south reads", south.recv())
            print("north reads", north.recv())
        print(north.recv())
