"""What user code in a container may ask of a front, and what becomes of it when it leaves."""

import threading
from pathlib import Path

import pytest

from cloudfn import settings
from cloudfn.control.invocation.caller import Caller
from cloudfn.control.invocation.client import PrivateFolder
from cloudfn.control.invocation.front import Front
from cloudfn.errors import ServiceError
from cloudfn.model.call import CallKind, Status
from cloudfn.model.function import FunctionSpec
from cloudfn.providers.base import Place
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.testing.cloud import MemoryCloud
from cloudfn.testing.memory_presence import MemoryPresence
from cloudfn.wire.messages import Ack, BlobRef, Kind, Submit


class Talk:
    """A front, a function, and a container that speaks."""

    def __init__(self, folder: Path, presence: MemoryPresence | None = None) -> None:
        self.world = MemoryCloud(folder)
        self.world.presence = presence or self.world.presence
        place = Place(settings.load({}), "i-1", folder)
        self.cloud = self.world.open("i-1")
        spec = RevisionSpec("b", "m", (FunctionSpec("f", "m", "f"),), "python", runtime="docker")
        app = self.cloud.catalog.create_app("app", "deployed", spec, 1.0)
        self.function_id = self.cloud.catalog.functions(app.app_id)[0].function_id
        self.front = Front(self.cloud, place)
        self.heard: list[tuple[Kind, bytes]] = []
        self.news = threading.Condition()
        self.waits: list[tuple[int, int]] = []
        self.talk = self.front.converse(
            Caller(
                PrivateFolder(folder),
                "ta-1",
                "ta-1",
                {7: ("fc-parent", 3)}.get,
                lambda seq, change: self.waits.append((seq, change)),
            ),
            self.hear,
        )

    def hear(self, kind: Kind, body: bytes) -> None:
        with self.news:
            self.heard.append((kind, body))
            self.news.notify_all()

    def ask(self, op: str, **fields: object) -> dict[str, object]:
        answers: list[dict[str, object]] = []

        def answer(told: dict[str, object]) -> None:
            with self.news:
                answers.append(told)
                self.news.notify_all()

        self.talk.request({"op": op, **fields}, answer)
        with self.news:
            assert self.news.wait_for(lambda: answers, 10.0)
        return answers[0]

    def submit(self, call: str, kind: CallKind = CallKind.MAP, parent: int | None = None) -> None:
        header = {"call": call, "function": self.function_id, "kind": int(kind), "parent": parent}
        self.talk.submit(Submit(1, 0, [b"\x80"], header, sealed=True))
        with self.news:
            assert self.news.wait_for(lambda: self.heard, 10.0)


@pytest.fixture
def talk(tmp_path):
    talk = Talk(tmp_path)
    yield talk
    talk.front.close()


def test_a_call_is_kept_with_the_input_that_made_it_which_waits(talk):
    talk.submit("fc-1", parent=7)

    assert talk.heard == [(Kind.ACK, Ack(1, 1).encode())]
    assert talk.cloud.ledger.call("fc-1").spec.parent == ("fc-parent", 3)
    assert talk.waits == [(7, 1)]


def test_an_input_that_does_not_run_there_is_nobodys_parent(talk):
    talk.submit("fc-1", parent=8)

    assert talk.cloud.ledger.call("fc-1").spec.parent is None
    assert talk.waits == []


def test_what_a_container_waited_for_ends_with_it(talk):
    talk.submit("fc-1", parent=7)

    talk.talk.close()

    assert talk.front.crew.settle(10.0)
    assert talk.cloud.ledger.call("fc-1") is None
    assert talk.waits == [(7, 1), (7, -1)]


def test_what_it_spawned_goes_on_without_it(talk):
    talk.submit("fc-1", CallKind.SPAWN)

    talk.talk.close()

    assert talk.front.crew.settle(10.0)
    assert talk.cloud.ledger.statuses("fc-1") == [Status.PENDING]


def test_inputs_of_a_call_that_was_never_opened_are_refused(talk):
    talk.talk.submit(Submit(9, 0, [b"\x80"]))

    (kind, body) = talk.heard[0]
    assert kind == Kind.EVENT
    assert b"rejected" in body


@pytest.mark.parametrize("op", ["app_open", "secret_store", "call_list", "image_build"])
def test_containers_may_not_ask_for_everything(talk, op):
    assert talk.ask(op)["error"]["type"] == "PermissionDeniedError"


def test_containers_may_not_hand_on_secrets_that_their_function_does_not_name(talk):
    told = talk.ask(
        "function_bind",
        function_id=talk.function_id,
        parameters={},
        options={"secrets": [{"name": "token", "object_id": "st-1", "required_keys": []}]},
    )
    assert told["error"]["type"] == "PermissionDeniedError"


def test_a_container_finds_a_function_although_the_catalog_fails_for_a_while(talk):
    talk.cloud.catalog.fail_next("deployed", ServiceError("the table is away"))

    told = talk.ask("function_lookup", app="app", name="f")

    assert told["function_id"] == talk.function_id


def test_a_malformed_request_is_the_askers_fault(talk):
    assert talk.ask("call_info")["error"]["type"] == "InvalidError"


def test_what_nobody_knows_is_said_with_a_way_out(talk):
    assert talk.ask("container_exec")["error"]["hint"]


def test_a_payload_whose_name_leads_elsewhere_is_refused(tmp_path):
    from cloudfn.errors import DataLossError

    with pytest.raises(DataLossError, match="elsewhere"):
        PrivateFolder(tmp_path).path(BlobRef("../../etc/passwd", 1, durable=True))


def test_a_client_whose_calls_cannot_be_ended_leaves_its_row_for_who_ends_them(talk, caplog):
    talk.submit("fc-1")
    for _ in range(100):
        talk.cloud.ledger.fail_next("cancel", ServiceError("the table is away"))

    talk.talk.close()
    talk.front.close(patience=0.0)

    (row,) = talk.cloud.presence.list()
    assert talk.cloud.ledger.call("fc-1").spec.reply in row.addresses
    assert "when its lease is over" in caplog.text


class Deaf(MemoryPresence):
    """Answers who wants to go as late as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()

    def remove(self, client_id: str, lease_until: float | None = None) -> bool:
        self.answers.wait()
        return super().remove(client_id, lease_until)


def test_a_client_goes_although_nobody_answers_that_it_leaves(tmp_path, caplog):
    presence = Deaf()
    talk = Talk(tmp_path, presence)
    talk.submit("fc-1", CallKind.SPAWN)
    talk.front.calls.reply()  # it is there

    talk.front.close(patience=0.1)

    assert "when its lease is over" in caplog.text
    assert "Traceback" not in caplog.text
    presence.answers.set()
