"""Web functions: what is declared, how it is named, what becomes of headers, events and masks."""

import asyncio
import json
import pickle
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cloudfn
from cloudfn.daemon.web.answer import Answer, Broken
from cloudfn.daemon.web.requests import for_container, from_container, target_of
from cloudfn.errors import DataLossError, InvalidError, UnimplementedError
from cloudfn.model.function import FunctionSpec
from cloudfn.model.web import LABEL_MAX, WebSpec, check_label, label_of
from cloudfn.wire.web import encode_event, read_event
from cloudfn.worker.web.sockets import masked

# ------------------------------------------------------------------------------------ declarations


def declared(decorator, **options):
    app = cloudfn.App("app")

    def function():
        """Return nothing."""

    return app.function(serialized=True, **options)(decorator(function))


def test_a_web_function_survives_as_json():
    spec = declared(cloudfn.fastapi_endpoint(method="post", label="me", docs=True)).spec
    assert spec.web == (WebSpec("endpoint", label="me", method="POST", docs=True),)
    assert FunctionSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    ("decorate", "text"),
    [
        (lambda: cloudfn.asgi_app(label="No Label"), "Invalid web label 'No"),
        (lambda: cloudfn.asgi_app(label="-x"), "Invalid web label '-x'"),
        (lambda: cloudfn.fastapi_endpoint(method="FETCH"), "`method` must be one of"),
        (lambda: cloudfn.web_server(0), "between 1 and 65535"),
        (lambda: cloudfn.web_server("80"), "must be an int"),
        (lambda: cloudfn.web_server(80, startup_timeout=0), "greater than 0"),
        (lambda: cloudfn.asgi_app(lambda: None), "Did you forget parentheses"),
    ],
)
def test_values_that_make_no_sense_are_refused_at_once(decorate, text):
    with pytest.raises(InvalidError, match=text):
        decorate()


@pytest.mark.parametrize("option", [{"custom_domains": ["x.org"]}, {"requires_proxy_auth": True}])
def test_options_of_clouds_are_refused_and_empty_ones_pass(option):
    with pytest.raises(UnimplementedError, match=next(iter(option))):
        cloudfn.asgi_app(**option)
    cloudfn.asgi_app(custom_domains=[], requires_proxy_auth=False)


def test_a_function_has_one_web_decorator():
    with pytest.raises(InvalidError, match="two web decorators"):
        declared(lambda raw: cloudfn.asgi_app()(cloudfn.wsgi_app()(raw)))


def test_web_functions_are_not_retried_nor_batched():
    with pytest.raises(InvalidError, match="`retries` cannot be set on the web function"):
        declared(cloudfn.asgi_app(), retries=1)
    with pytest.raises(InvalidError, match="`@batched` cannot be used on the web function"):
        declared(lambda raw: cloudfn.asgi_app()(cloudfn.batched(max_batch_size=2, wait_ms=1)(raw)))


def test_what_makes_an_application_takes_no_arguments():
    def takes(one):
        return one

    with pytest.raises(InvalidError, match="cannot have arguments"):
        cloudfn.asgi_app()(takes)
    assert cloudfn.fastapi_endpoint()(takes) is takes


def test_a_server_gets_one_container_and_says_so_where_more_were_wished():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert declared(cloudfn.web_server(80)).spec.autoscaler.max_containers == 1
    with pytest.warns(cloudfn.exception.UserWarning, match="one container at most"):
        spec = declared(cloudfn.web_server(80), max_containers=5, min_containers=2).spec
    assert (spec.autoscaler.min_containers, spec.autoscaler.max_containers) == (1, 1)


def test_a_handle_that_travelled_still_refuses_calls():
    function = declared(cloudfn.asgi_app())
    function.bind("fu-1", "ap-1", "module", None, None)
    with pytest.raises(InvalidError, match="webhook function cannot be invoked"):
        pickle.loads(pickle.dumps(function)).remote()


def test_offline_runs_have_no_urls_and_call_locally(cloudfn_offline):
    app = cloudfn.App("offline")

    @app.function(serialized=True)
    @cloudfn.asgi_app()
    def site():
        return "the application"

    with app.run():
        assert site.get_web_url() is None
        assert site.local() == "the application"


# ------------------------------------------------------------------------------------------ labels


@pytest.mark.parametrize(
    ("web", "function", "deployed", "label"),
    [
        (WebSpec("asgi"), "f", True, "my-app-f"),
        (WebSpec("asgi"), "f", False, "my-app-f-dev"),
        (WebSpec("asgi"), "Some_Function.x", True, "my-app-some-function-x"),
        (WebSpec("asgi", of="page"), "Site.*", True, "my-app-site-page"),
        (WebSpec("asgi", label="mine"), "f", True, "mine"),
        (WebSpec("asgi", label="mine"), "f", False, "mine-dev"),
    ],
)
def test_labels_are_made_of_app_and_function(web, function, deployed, label):
    assert label_of(web, "My_App", function, deployed=deployed) == label


@given(st.text(max_size=80), st.text(max_size=80), st.booleans())
def test_every_name_makes_a_label_that_a_host_can_have(app, function, deployed):
    label = label_of(WebSpec("asgi"), app, function, deployed=deployed)
    check_label(label)
    assert len(label) <= LABEL_MAX


def test_long_names_that_differ_at_the_end_have_different_labels():
    labels = {label_of(WebSpec("asgi"), "a" * 64, f"{'b' * 60}{n}", deployed=True) for n in "xy"}
    assert len(labels) == 2


# ---------------------------------------------------------------------------------------- requests


def scope(path="/label/x", host=b"127.0.0.1:80", **more):
    headers = [(b"host", host), *more.pop("headers", [])]
    return {"type": "http", "path": path, "headers": headers, "scheme": "http", **more}


@pytest.mark.parametrize(
    ("path", "host", "target"),
    [
        ("/label/x", b"127.0.0.1:80", ("label", "/label")),
        ("/label", b"localhost", ("label", "/label")),
        ("/", b"[::1]:80", ("", "/")),
        ("/x", b"label.localhost:80", ("label", "")),
        ("/x", b"LABEL.LocalHost", ("label", "")),
    ],
)
def test_a_request_is_for_a_label_in_its_path_or_host(path, host, target):
    found = target_of(scope(path, host), any_host=False)
    assert (found.label, found.root_path) == target


@pytest.mark.parametrize("host", [b"evil.example", b"localhost.evil.example", b"127.0.0.2"])
def test_other_hosts_are_refused_unless_the_gateway_was_opened(host):
    assert target_of(scope(host=host), any_host=False) is None
    assert target_of(scope(host=host), any_host=True).label == "label"


def test_the_root_ends_with_a_slash():
    told = for_container(scope("/label", raw_path=b"/label"), "/label")
    assert (told["path"], told["raw_path"]) == ("/label/", b"/label/")


def test_what_is_between_two_hops_stays_there():
    hop = [(b"Connection", b"close, X-Gone"), (b"x-gone", b"1"), (b"te", b"trailers")]
    told = for_container(scope(headers=[*hop, (b"X-Kept", b"2")], client=("10.1.1.1", 5)), "/label")
    names = [name for name, _ in told["headers"]]
    assert b"x-kept" in names
    assert not {b"connection", b"x-gone", b"te"} & set(names)


def test_a_body_has_one_length_or_none():
    both = [(b"content-length", b"3"), (b"transfer-encoding", b"chunked")]
    told = for_container(scope(headers=both), "/label")
    assert not {b"content-length", b"transfer-encoding"} & {name for name, _ in told["headers"]}
    assert from_container([(b"Content-Length", b"3")]) == [(b"content-length", b"3")]


# ----------------------------------------------------------------------------------------- answers


def passed_on(events, kind="http"):
    sent = []

    async def send(event):
        sent.append(event)

    async def run():
        answer = Answer({"type": kind}, send)
        for event in events:
            await answer.pass_on(event)
        return answer

    return asyncio.run(run()), sent


START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"x"}


@pytest.mark.parametrize(
    ("kind", "events"),
    [
        ("http", [BODY]),
        ("http", [START, START]),
        ("http", [START, {"type": "websocket.accept"}]),
        ("websocket", [{"type": "websocket.send", "text": "x"}]),
        ("http", [{"type": "nonsense"}]),
    ],
)
def test_events_out_of_turn_break_an_answer(kind, events):
    with pytest.raises(Broken):
        passed_on([dict(event) for event in events], kind)


def test_nothing_follows_a_complete_answer():
    answer, sent = passed_on([dict(START), dict(BODY), dict(BODY), {"type": "nonsense"}])
    assert answer.complete
    assert len(sent) == 2


def test_an_application_that_failed_is_a_500_once():
    answer, sent = passed_on([{"type": "cloudfn.failed"}, {"type": "cloudfn.failed"}])
    assert answer.status == 500
    assert [event["type"] for event in sent] == [START["type"], BODY["type"]]


# ------------------------------------------------------------------------------------------ events


def read_back(data):
    async def read():
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await read_event(reader), await read_event(reader)

    return asyncio.run(read())


plain = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary())


@given(
    st.dictionaries(st.sampled_from(["a", "c", "headers"]), st.lists(plain)),
    st.binary(),
    st.sampled_from(["body", "bytes"]),
)
def test_events_come_back_as_they_were_sent(fields, raw, name):
    event = {"type": "some.event", **fields, name: raw}
    assert read_back(encode_event(event)) == (event, None)


@given(st.text())
def test_texts_of_any_length_come_back(text):
    event = {"type": "websocket.send", "text": text.encode(errors="replace").decode()}
    assert read_back(encode_event(event))[0] == event


@given(st.binary(min_size=1, max_size=60))
def test_what_is_no_event_is_noticed(data):
    try:
        event, _ = read_back(data)
    except DataLossError:
        return
    assert event is None or isinstance(event["type"], str)


def test_an_event_that_is_cut_short_is_the_end():
    assert read_back(encode_event({"type": "x", "body": b"abc"})[:-1]) == (None, None)


def test_what_is_no_plain_data_cannot_be_sent():
    with pytest.raises(InvalidError, match="cannot be sent"):
        encode_event({"type": "x", "status": object()})


@given(st.binary(max_size=70), st.binary(min_size=4, max_size=4))
def test_a_mask_twice_is_none(data, mask):
    assert masked(masked(data, mask), mask) == data
    assert masked(data, mask) == bytes(b ^ mask[i % 4] for i, b in enumerate(data))
