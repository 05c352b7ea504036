"""How a container drives an ASGI application, over a socket whose other end is the test."""
# mypy: ignore-errors

import asyncio
import socket

from cloudfn.wire.web import encode_event, read_event
from cloudfn.worker.web.asgi import answer

SCOPE = {"type": "http", "headers": [], "path": "/"}


async def visit(app):
    """Answer one request; return what its gateway hears, and what was complained about."""
    ours, theirs = socket.socketpair()
    complaints = []
    answering = asyncio.create_task(answer(theirs, lambda _: (app, {}), complaints.append))
    reader, writer = await asyncio.open_connection(sock=ours)
    writer.write(encode_event({"type": "cloudfn.scope", "scope": SCOPE, "of": ""}))
    writer.write(encode_event({"type": "http.request", "body": b"", "more_body": False}))
    heard = []
    while (event := await read_event(reader)) is not None:
        heard.append(event)
    writer.close()
    await answering
    return heard, complaints


async def waiting_for_the_end(_scope, receive, send):
    """Answer while a task looks out for the client's leaving, as frameworks do."""
    await receive()
    looking = asyncio.create_task(receive())
    for _ in range(3):
        await asyncio.sleep(0)  # it really waits
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})
    looking.cancel()


def test_an_application_may_leave_while_a_task_of_it_waits_for_the_client():
    heard, complaints = asyncio.run(visit(waiting_for_the_end))

    assert [event["type"] for event in heard] == ["http.response.start", "http.response.body"]
    assert complaints == []
