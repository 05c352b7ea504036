"""Containers' own calls: sockets of this machine, and behind them the client's side of the cloud.

What containers ask is answered by the same code as what programs on laptops ask, in threads; what
is about the container itself is answered here.
"""

from __future__ import annotations

import logging
import os
import socket
from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

from cloudfn.agent.container import Container
from cloudfn.control.invocation.caller import Caller
from cloudfn.control.invocation.conversation import Conversation
from cloudfn.control.invocation.front import Front
from cloudfn.control.operations import Fields
from cloudfn.control.stores.later import Later
from cloudfn.daemon.desk import DURABLE, FAST
from cloudfn.daemon.lifecycle import listen, peer_is_us
from cloudfn.daemon.session import Session
from cloudfn.errors import (
    AuthError,
    DataLossError,
    Error,
    InternalError,
    NotFoundError,
    PermissionDeniedError,
)
from cloudfn.machine.engine import Engine
from cloudfn.model import ids
from cloudfn.providers.local.blobs import LocalBlobs
from cloudfn.providers.local.views import View
from cloudfn.wire.messages import (
    PROTOCOL,
    BlobRef,
    Delivered,
    Items,
    Kind,
    Outcomes,
    Submit,
    Taken,
    decode_json,
    is_blob,
)
from cloudfn.wire.replies import error_json
from cloudfn.wire.texts import from_text
from cloudfn.wire.version import code_version

_log = logging.getLogger(__name__)

#: clients at a time that one container may have here
_MOST_OF_ONE = 64
#: fields of requests and answers that hold payloads as texts
_PAYLOADS = ("values", "entries", "items")


class ContainerFiles:
    """Payloads on a machine as one container sees them; see `control.invocation.caller.Files`.

    Args:
        loop: The loop that the view belongs to.
        blobs: All of them.
        view: What a Docker container sees; None: it sees all.
    """

    def __init__(self, loop: AbstractEventLoop, blobs: LocalBlobs, view: View | None) -> None:
        self._loop = loop
        self._blobs = blobs
        self._view = view

    def path(self, ref: BlobRef) -> Path:
        """Return where the file of a payload is, or is to be."""
        return self._blobs.place(ref)

    def drop(self, ref: BlobRef) -> None:
        """The container's file of a payload is needed no more. Idempotent."""
        if self._view is not None:
            self._loop.call_soon_threadsafe(self._view.hide, ref.encode())
        self._blobs.delete(ref)


class _Talk:
    """One client in a container: its socket, its conversation, and the inputs that it spoke of."""

    def __init__(self) -> None:
        self.conversation: Conversation | None = None
        #: number of an input that makes calls → (call id, index)
        self.parents: dict[int, tuple[str, int]] = {}


class Sockets:
    """Serves the clients in containers. Single-threaded, on the loop.

    Args:
        loop: The loop.
        engine: Has the containers.
        key: What keys of containers are derived from.
        open_front: Gives the client's side of the cloud, when it is first needed.
        map_window: Inputs of a map that a container may have out.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        engine: Engine,
        key: bytes,
        open_front: Callable[[], Front],
        map_window: int,
    ) -> None:
        self._loop = loop
        self._engine = engine
        self._key = key
        self._open_front = open_front
        self._map_window = map_window
        self._front: Front | None = None
        self._talks: dict[Session, _Talk] = {}
        self._listener: socket.socket | None = None
        self._path: Path | None = None
        engine.desk.admit = self._admit

    def serve(self, path: Path) -> None:
        """Listen for containers that are processes of this machine."""
        self._listener, self._path = listen(path), path
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """End all conversations."""
        if self._listener is not None and self._path is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._path.unlink(missing_ok=True)
        for session in list(self._talks):
            session.close()
        if self._front is not None:
            self._front.close()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if peer_is_us(sock):
            self._begin(Session(self._loop, sock, self._key, self))
        else:
            sock.close()

    def _admit(self, sock: socket.socket, container_id: str) -> None:
        """Take a client that came through the socket of one Docker container's own."""
        if sum(session.home == container_id for session in self._talks) >= _MOST_OF_ONE:
            sock.close()
            return
        view = self._engine.desk.view(container_id)
        self._begin(Session(self._loop, sock, self._key, self, container_id, view))

    def _begin(self, session: Session) -> None:
        self._talks[session] = _Talk()

    # What sessions tell (SessionOwner)

    def on_hello(self, session: Session, hello: dict[str, Any]) -> dict[str, Any] | None:
        """Greet a client, which has to be in a container of this machine."""
        container = self._engine.agent.container(session.container_id or "")
        if container is None or int(hello.get("protocol") or 0) > PROTOCOL:
            error = AuthError("Only containers of this machine speak to its agent.")
            session.send_json(Kind.WELCOME, {"error": error_json(error)})
            session.flush()
            return None
        if self._front is None:
            self._front = self._open_front()
        self._engine.logs.printing.called(container.spec.app_id)
        talk, view = self._talks[session], cast(View | None, session.view)
        caller = Caller(
            ContainerFiles(self._loop, self._engine.blobs, view),
            container.container_id,
            container.container_id,
            talk.parents.get,
            self._waits,
            lambda: container.spec.function.secrets,
        )
        talk.conversation = self._front.converse(caller, partial(self._hear, session))
        blobs: Fields = {
            "fast": str(self._engine.blobs.fast),
            "durable": str(self._engine.blobs.durable),
        }
        if view is not None:
            blobs = {"fast": FAST, "durable": DURABLE, "outbox": view.outbox}
        return {
            "version": code_version(),
            "pid": os.getpid(),
            "blobs": blobs,
            "bundles": "",
            "limits": {"map_window": self._map_window},
        }

    def on_message(self, session: Session, kind: int, body: bytes) -> None:
        """Serve one message."""
        talk = self._talks.get(session)
        if talk is None or talk.conversation is None:
            return
        try:
            match kind:
                case Kind.SUBMIT:
                    self._submit(session, talk, Submit.decode(body))
                case Kind.DELIVERED:
                    talk.conversation.delivered(Delivered.decode(body))
                case Kind.TAKEN:
                    talk.conversation.taken(Taken.decode(body))
                case Kind.REQUEST:
                    self._request(session, talk.conversation, decode_json(body))
                case _:
                    raise DataLossError(f"A message of unknown kind {kind}.")
        except (AuthError, DataLossError):
            raise
        except Exception:  # noqa: BLE001 - one container's message must not end the agent
            _log.exception("a message of kind %s failed", kind)
            session.close()

    def on_drained(self, session: Session) -> None:
        """A client that had much to read has read it; nothing was kept back."""

    def on_closed(self, session: Session) -> None:
        """A client is gone: what it alone wanted ends."""
        talk = self._talks.pop(session, None)
        if talk is not None and talk.conversation is not None and self._front is not None:
            talk.conversation.close()

    # Calls

    def _submit(self, session: Session, talk: _Talk, message: Submit) -> None:
        conversation = talk.conversation
        assert conversation is not None
        header = message.header
        if header is not None and header.get("parent"):
            self._note_parent(session, talk, header["parent"])
        view = session.view
        if view is not None and any(map(is_blob, message.payloads)):
            try:
                payloads = [self._taken_in(session, each) for each in message.payloads]
            except Error as error:
                body = {"event": "rejected", "ref": message.ref, "error": error_json(error)}
                session.send_json(Kind.EVENT, body)
                return
            message = message._replace(payloads=payloads)
        conversation.submit(message)

    def _taken_in(self, session: Session, payload: bytes) -> bytes:
        """Return a payload that a Docker container sent, out of its reach."""
        if not is_blob(payload):
            return payload
        assert session.view is not None
        if not session.view.may_send(payload):
            raise PermissionDeniedError("A container sends a payload that it did not write.")
        # Under no call's name: its own is for the front to know, and names are only to be unique.
        folder = f"sent-{session.container_id}"
        ref = self._engine.blobs.adopt(BlobRef.decode(payload), folder, durable=False)
        return ref.encode()

    def _note_parent(self, session: Session, talk: _Talk, seq: int) -> None:
        """An input makes a call: threads will ask which input that is."""
        container = self._container(session)
        held = None if container is None else container.held
        for old in [old for old in talk.parents if held is None or held.find(old) is None]:
            del talk.parents[old]
        claim = None if held is None else held.find(seq)
        if claim is not None:
            talk.parents[seq] = claim.call_id, claim.index

    def _container(self, session: Session) -> Container | None:
        return self._engine.agent.container(session.container_id or "")

    def _waits(self, seq: int, change: int) -> None:
        self._loop.call_soon_threadsafe(self._engine.waits, seq, change)

    # What the front says, from any thread

    def _hear(self, session: Session, kind: Kind, body: bytes) -> None:
        self._loop.call_soon_threadsafe(self._tell, session, kind, body)

    def _tell(self, session: Session, kind: Kind, body: bytes) -> None:
        if session.view is not None:
            if kind == Kind.OUTCOMES:
                session.show(Outcomes.decode(body).payloads)
            elif kind == Kind.ITEMS:
                session.show(Items.decode(body).payloads)
        session.send(kind, body)

    # Requests

    def _request(self, session: Session, conversation: Conversation, fields: Fields) -> None:
        number = fields.get("id")

        def answer(told: Fields) -> None:
            if session.view is not None:
                session.show(_payloads(told))
            session.send_json(Kind.REPLY, {"id": number, **told})

        try:
            if session.view is not None:
                _check_sent(session, fields)
            told = self._own_answer(session, fields)
        except Error as error:
            answer({"error": error_json(error)})
            return
        except (KeyError, TypeError, ValueError) as error:
            answer({"error": error_json(InternalError(f"A malformed request: {error!r}"))})
            return
        if isinstance(told, Later):
            told.then(answer)
        elif told is not None:
            answer(told)
        else:
            conversation.request(fields, partial(self._back, answer))

    def _back(self, answer: Callable[[Fields], None], told: Fields) -> None:
        self._loop.call_soon_threadsafe(answer, told)

    def _own_answer(self, session: Session, fields: Fields) -> Fields | Later | None:
        """Answer what is about the container itself; None: it is for the front."""
        container_id, spaces = session.container_id, self._engine.workspaces
        match fields.get("op"):
            case "input_current":
                return self._current(session, int(fields["seq"]))
            case "volume_mounts":
                return {"mounts": spaces.mounts(container_id, fields["volume"])}
            case "volume_commit":
                return spaces.commit(container_id, fields["volume"])
            case "volume_reload":
                return spaces.reload(container_id, fields["volume"])
            case _:
                return None

    def _current(self, session: Session, seq: int) -> Fields:
        container = self._container(session)
        claim = None if container is None else container.held.find(seq)
        if claim is None:
            raise NotFoundError("No container holds that input any more.")
        return {
            "call": claim.call_id,
            "index": claim.index,
            "input_id": ids.input_id(claim.call_id, claim.index),
            "attempt": claim.counters.attempt,
        }


def _payloads(fields: Fields) -> list[bytes]:
    """Return the payloads in a request or an answer."""
    found: list[bytes] = []

    def look(value: object) -> None:
        if isinstance(value, str):
            with suppress(ValueError):  # whoever reads it will say so
                found.append(from_text(value))
        elif isinstance(value, list):
            for each in value:
                look(each)

    for name in _PAYLOADS:
        look(fields.get(name))
    return found


def _check_sent(session: Session, fields: Fields) -> None:
    """Raise PermissionDeniedError where a request names a file that the container did not write."""
    view = session.view
    assert view is not None
    if fields.get("op") not in ("dict_put", "queue_put"):
        return
    if not all(view.may_send(payload) for payload in _payloads(fields) if is_blob(payload)):
        raise PermissionDeniedError("A container sends a payload that it did not write.")
