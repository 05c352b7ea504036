"""What containers may ask of a machine through their own sockets, and what they get to see."""

import asyncio
import os
import socket
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cloudfn.control.invocation.front import Front
from cloudfn.daemon.session import container_key
from cloudfn.machine.printing import Printing
from cloudfn.machine.sockets import Sockets
from cloudfn.model import ids
from cloudfn.model.call import CallKind, Status
from cloudfn.model.function import FunctionSpec
from cloudfn.providers.base import Place
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.providers.ledger import Entry
from cloudfn.providers.local.blobs import LocalBlobs
from cloudfn.providers.local.views import View
from cloudfn.settings import load
from cloudfn.testing.cloud import MemoryCloud
from cloudfn.wire.frames import Decoder, Encoder, derive_key
from cloudfn.wire.messages import (
    PROTOCOL,
    BlobRef,
    Kind,
    Outcomes,
    Submit,
    decode_json,
    encode_json,
)

PATIENCE = 20.0
KEY = b"k" * 32
CONTAINER = "ta-1"
BIG = b"x" * 70_000


class Client:
    """A program in a container, byte by byte."""

    def __init__(self, sock: socket.socket, container: str) -> None:
        self._sock = sock
        self._decoder, self._encoder = Decoder(), Encoder()
        sock.settimeout(PATIENCE)
        nonce = os.urandom(16)
        hello = {"container": container, "protocol": PROTOCOL, "version": "1", "nonce": nonce.hex()}
        self.send(Kind.HELLO, encode_json(hello))
        _, body = self.receive()
        self.welcome = decode_json(body)
        if "error" not in self.welcome:
            key, theirs = container_key(KEY, container), bytes.fromhex(self.welcome["nonce"])
            self._encoder.secure(derive_key(key, b"client", nonce, theirs))
            self._decoder.secure(derive_key(key, b"daemon", nonce, theirs))

    def send(self, kind: Kind, body: bytes) -> None:
        self._sock.sendall(self._encoder.frame(kind, body))

    def receive(self) -> tuple[int, bytes]:
        while (message := self._decoder.pop()) is None:
            data = self._sock.recv(65_536)
            assert data, "the machine has hung up"
            self._decoder.feed(data)
        return message

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        self.send(Kind.REQUEST, encode_json({"id": 1, "op": op, **fields}))
        kind, body = self.receive()
        assert kind == Kind.REPLY
        return decode_json(body)


class World:
    """A machine's sockets, over a cloud in memory, with one container that is one of Docker's."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.get_running_loop()
        self.memory = MemoryCloud(folder / "cloud")
        self.cloud = self.memory.open("i-1")
        self.blobs = LocalBlobs.open(folder / "state", memory=folder)
        self.view = View(self.blobs, CONTAINER, (os.getuid(), os.getgid()))
        container = SimpleNamespace(
            container_id=CONTAINER,
            spec=SimpleNamespace(app_id="ap-1", function=SimpleNamespace(secrets=())),
            held=SimpleNamespace(find=lambda _: None),
        )
        engine = SimpleNamespace(
            agent=SimpleNamespace(container={CONTAINER: container}.get),
            desk=SimpleNamespace(view=lambda _: self.view, admit=None),
            blobs=self.blobs,
            logs=SimpleNamespace(printing=Printing()),
            workspaces=None,
            waits=lambda *_: None,
        )
        place = Place(load({}, environment="main"), "i-1", folder / "cache", on_machine=True)
        self.sockets = Sockets(
            self.loop, cast(Any, engine), KEY, lambda: Front(self.cloud, place), 100
        )
        self._ends: list[socket.socket] = []

    def deploy(self) -> str:
        spec = RevisionSpec("b" * 64, "m", (FunctionSpec("f", "m", "f"),), sys.executable)
        app = self.cloud.catalog.create_app("app", "deployed", spec, 0.0)
        [function] = self.cloud.catalog.functions(app.app_id)
        self.memory.doorbells.open(function.function_id)
        return function.function_id

    def write(self, name: str, data: bytes = BIG) -> BlobRef:
        """Write a file as the container could, or as it could not."""
        ref = BlobRef(name, len(data), durable=False)
        path = self.blobs.place(ref)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return ref

    def shown(self, ref: BlobRef) -> bytes:
        """Return what the container sees of a payload."""
        [(inbox, _, _), _] = self.view.folders("/fast", durable=ref.durable)
        return Path(inbox, ref.name).read_bytes()

    async def connect(self, container: str = CONTAINER) -> Client:
        near, far = socket.socketpair()
        self._ends.append(far)
        self.sockets._admit(near, CONTAINER)
        return await self.away(lambda: Client(far, container))

    async def away(self, work: Callable[[], Any]) -> Any:
        return await self.loop.run_in_executor(None, work)

    def close(self) -> None:
        self.sockets.close()
        for end in self._ends:
            end.close()


@pytest.fixture
def run(tmp_path: Path):
    """Run a story on a loop."""

    def run(story: Any) -> None:
        async def whole() -> None:
            world = World(tmp_path)
            try:
                await story(world)
            finally:
                world.close()

        asyncio.run(whole())

    return run


def submission(function_id: str, call_id: str, payload: bytes) -> bytes:
    header = {"call": call_id, "function": function_id, "kind": int(CallKind.MAP), "parent": None}
    return Submit(7, 0, [payload], header, sealed=True).encode()


def test_a_container_reads_payloads_where_it_sees_them_and_writes_to_one_folder_alone(run):
    async def story(world):
        client = await world.connect()

        assert client.welcome["blobs"]["outbox"] == f"results-{CONTAINER}"
        assert str(world.blobs.fast) not in str(client.welcome)

    run(story)


def test_a_container_that_says_that_it_is_another_one_gets_no_answer(run):
    async def story(world):
        with pytest.raises(AssertionError, match="hung up"):
            await world.connect("ta-2")

    run(story)


def test_arguments_that_a_container_wrote_go_to_the_depot_and_out_of_its_reach(run):
    async def story(world):
        function_id, call_id = world.deploy(), ids.mint("fc")
        client = await world.connect()
        ref = world.write(f"results-{CONTAINER}/a")

        client.send(Kind.SUBMIT, submission(function_id, call_id, ref.encode()))

        kind, _ = await world.away(client.receive)
        assert kind == Kind.ACK
        [claim] = world.cloud.ledger.claim(f"{function_id}@1", 1, 1.0)
        taken = BlobRef.decode(claim.payload)
        assert taken.name == f"sent-{CONTAINER}/a"
        assert world.memory.depot.payloads[taken.name] == BIG
        assert not world.blobs.place(ref).exists()

    run(story)


def test_a_container_cannot_hand_over_files_of_others(run):
    async def story(world):
        function_id, call_id = world.deploy(), ids.mint("fc")
        client = await world.connect()
        secret = world.write("fc-other/secret")

        client.send(Kind.SUBMIT, submission(function_id, call_id, secret.encode()))

        kind, body = await world.away(client.receive)
        assert kind == Kind.EVENT
        assert decode_json(body)["error"]["type"] == "PermissionDeniedError"
        text = b64encode(secret.encode()).decode()
        told = await world.away(lambda: client.ask("dict_put", entries=[[text, text]]))
        assert told["error"]["type"] == "PermissionDeniedError"
        assert world.memory.depot.payloads == {}

    run(story)


def test_a_large_result_of_a_call_is_shown_to_its_container_before_it_hears_of_it(run):
    async def story(world):
        function_id, call_id = world.deploy(), ids.mint("fc")
        client = await world.connect()
        client.send(Kind.SUBMIT, submission(function_id, call_id, b"small"))
        await world.away(client.receive)
        result = BlobRef("fc-x/result", len(BIG), durable=False)
        world.memory.depot.payloads[result.name] = BIG
        [claim] = world.cloud.ledger.claim(f"{function_id}@1", 1, 1.0)
        entry = Entry(claim.seq, claim.fence, Status.RETURNED, result.encode())

        world.cloud.ledger.record([entry])

        kind, body = await world.away(client.receive)
        assert kind == Kind.OUTCOMES
        assert Outcomes.decode(body).payloads == [result.encode()]
        assert world.shown(result) == BIG

    run(story)


@pytest.mark.parametrize(
    ("op", "fields", "error"),
    [
        ("app_stop", {"app": "app"}, "PermissionDeniedError"),
        ("secret_store", {"values": {}}, "PermissionDeniedError"),
        ("input_current", {"seq": 5}, "NotFoundError"),
        ("no_such_thing", {}, "UnimplementedError"),
    ],
)
def test_what_a_container_may_not_ask_for_is_refused(run, op, fields, error):
    async def story(world):
        client = await world.connect()

        told = await world.away(lambda: client.ask(op, **fields))

        assert told["error"]["type"] == error

    run(story)
