"""Conformance 1.3, 2.16: requests over real HTTP: paths, headers, bodies, addresses, websockets."""

import http.client
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import cloudfn
from cloudfn.exception import AlreadyExistsError, InvalidError
from tests.integration.conformance_world import PATIENCE, wait_for
from tests.integration.web_client import get, raw, running, text, websocket_url, world
from tests.integration.web_program import app, asgi, plain, poster, square

__all__ = ["running", "world"]
pytestmark = pytest.mark.integration


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
