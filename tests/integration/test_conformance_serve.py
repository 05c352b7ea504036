"""Conformance 2.14, 2.16: web functions that are deployed anew, and `cloudfn serve`."""

import http.client
import json
import re
import signal
import sys

import httpx
import pytest

from tests.integration.conformance_world import PATIENCE, world
from tests.integration.web_client import raw_url

__all__ = ["world"]
pytestmark = pytest.mark.integration

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
    import sys
    import cloudfn
    import helper_of_served

    app = cloudfn.App("served")

    @app.function()
    @cloudfn.wsgi_app()
    def site():
        def application(environ, start_response):
            print("asked", file=sys.stderr)
            start_response("200 OK", [])
            return [helper_of_served.WORD.encode()]
        return application
"""


def test_serve_takes_up_changes_and_only_changes(world):
    """C155."""
    path = world.write(SERVED, "served.py")
    helper = world.write("WORD = 'one'", "helper_of_served.py")
    child = world.start(sys.executable, "-u", "-m", "cloudfn", "serve", path, "--timestamps")
    said = Said(child)
    url = said.until("site → ").split("→ ")[1].strip()
    said.until("Serving")
    assert httpx.get(url, timeout=PATIENCE).text == "one"
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", said.until("  asked"))
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
