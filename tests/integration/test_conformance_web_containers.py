"""Conformance 2.12, 2.16: containers behind web functions: slots, queues, ends, kinds of apps."""

import http.client
import os
import signal
import threading
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from cloudfn.exception import InvalidError, NotFoundError
from cloudfn.model.variant import Variant, base_id
from tests.integration.conformance_world import PATIENCE, wait_for
from tests.integration.web_client import get, raw, raw_socket, running, text, websocket_url, world
from tests.integration.web_program import (
    Busy,
    Greeter,
    Sized,
    asgi,
    broken,
    deaf,
    narrow,
    server,
    slow,
    sockets,
    wsgi,
)

__all__ = ["running", "world"]
pytestmark = pytest.mark.integration


# --------------------------------------------------------------------------- containers and queues


def test_a_client_that_leaves_is_noticed(running, tmp_path):
    with raw_socket(asgi, f"/wait?{tmp_path}"):
        wait_for("the request", (tmp_path / "here").exists)
    wait_for("the application to see it", (tmp_path / "left").exists)


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


def test_requests_and_inputs_share_the_slots_of_a_container(running, tmp_path):
    busy = Busy()
    calls = [busy.hold.spawn(str(tmp_path)) for _ in range(3)]
    stats = lambda: running.ask("stats", function_id=busy.hold.object_id)  # noqa: E731
    wait_for("three that run", lambda: stats()["num_running_inputs"] == 3)
    pid = get(busy.site).text
    assert list(busy.count.remote_gen(3)) == [0, 1, 2]
    (tmp_path / "go").touch()
    assert {str(call.get(timeout=PATIENCE)) for call in calls} == {pid}


def test_parameters_of_a_class_stand_in_the_query(running):
    url = Sized(size=3).page.get_web_url()
    assert httpx.get(f"{url}?size=3", timeout=PATIENCE).text == "size 3, plain"
    assert httpx.get(f"{url}?size=4&bold=true", timeout=PATIENCE).text == "size 4, bold"
    told = Sized(size=3).told
    assert told.remote() == "size 3, plain"
    # Two sets of values, and the method shares the containers of its own.
    pools = {c["function_name"] for c in running.containers() if "Sized" in c["function_name"]}
    assert len(pools) == 2
    # What a client called is known by its id; what only a request named is not.
    visited = Variant({"size": 4, "bold": True}).id_for(base_id(told.object_id))
    assert running.ask("function_lookup", function_id=told.object_id)["name"] == "Sized.*"
    with pytest.raises(NotFoundError):
        running.ask("function_lookup", function_id=visited)
    refused = httpx.get(url)
    assert refused.status_code == 400
    assert "Missing required parameter: size" in refused.text
    assert httpx.get(f"{url}?size=big").status_code == 400


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
