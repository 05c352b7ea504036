"""The daemon dies under its web functions: connections break, addresses stay."""

import http.client
import json
import os
import signal
import socket
import sys
import threading

import httpx
import pytest

from tests.failure.daemon_fixtures import PATIENCE, World, ended, wait_for, world
from tests.integration.web_client import raw_url

__all__ = ["world"]
pytestmark = pytest.mark.integration

SITE = """
import asyncio


@app.function(scaledown_window=2)
@cloudfn.asgi_app()
def site():
    async def application(scope, receive, send):
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        while os.path.exists(HERE + "/hold"):
            await asyncio.sleep(0.005)
        await send({"type": "http.response.body", "body": b" and done"})

    return application
"""


def test_a_killed_daemon_breaks_connections_and_keeps_the_address(world: World) -> None:
    world.deploy(SITE)
    url = world.ask("app_list")["apps"][0]["urls"]["site"]
    world.hold()
    with raw_url("GET", url) as answer:
        assert answer.read1(100) == b"begun"
        worker = world.ask("container_list")["containers"][0]["pid"]
        world.kill()
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    assert ended(worker)
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    world.release()
    assert world.ask("app_list")["apps"][0]["urls"]["site"] == url
    assert httpx.get(url, timeout=PATIENCE).text == "begun and done"


def test_a_taken_port_is_told_and_another_one_serves(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        world.set(CLOUDFN_WEB_PORT=port)
        printed = world.run_script(world.write(SITE), json.dumps({}))
        url = world.ask("app_list")["apps"][0]["urls"]["site"]
    assert f"Port {port} of the web gateway is taken" in printed
    assert f":{port}/" not in url
    assert httpx.get(url, timeout=PATIENCE).text == "begun and done"


def test_requests_wait_for_a_container_while_others_die(world: World) -> None:
    world.deploy(SITE)
    url = world.ask("app_list")["apps"][0]["urls"]["site"]
    world.hold()
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(httpx.get(url, timeout=PATIENCE)))
        for _ in range(3)
    ]
    with raw_url("GET", url) as broken:
        assert broken.read1(100) == b"begun"
        victim = world.ask("container_list")["containers"][0]["pid"]
        for thread in threads:
            thread.start()
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(http.client.IncompleteRead):
            broken.read()
        world.release()
        for thread in threads:
            thread.join(PATIENCE)
    assert [answer.text for answer in answers] == ["begun and done"] * 3


def test_serve_goes_on_with_a_new_daemon(world: World) -> None:
    path = world.write(SITE, "site.py", app="site")
    child = world.spawn_process([sys.executable, "-u", "-m", "cloudfn", "serve", str(path)])
    assert child.stdout is not None
    url = next(line for line in child.stdout if "site → " in line).split("→ ")[1].strip()
    assert httpx.get(url, timeout=PATIENCE).text == "begun and done"
    world.kill()

    def answers() -> bool:
        try:
            return httpx.get(url, timeout=PATIENCE).text == "begun and done"
        except httpx.TransportError:
            return False

    wait_for("an answer of the next daemon", answers)
    child.send_signal(signal.SIGINT)
    assert child.wait(PATIENCE) == 130
