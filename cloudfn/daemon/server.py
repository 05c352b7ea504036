"""The daemon's server: accepts clients, greets them, and serves their messages until it leaves."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from pathlib import Path
from typing import Any

from cloudfn.control.stores.later import Later
from cloudfn.control.stores.operations import DictOperations, QueueOperations, SecretOperations
from cloudfn.daemon.desk import DURABLE, FAST
from cloudfn.daemon.engine import Engine
from cloudfn.daemon.housekeeping import Housekeeping
from cloudfn.daemon.lifecycle import identity, peer_is_us
from cloudfn.daemon.operations.apps import AppOperations
from cloudfn.daemon.operations.calls import CallOperations
from cloudfn.daemon.operations.containers import ContainerOperations
from cloudfn.daemon.operations.daemon import DaemonOperations
from cloudfn.daemon.operations.functions import FunctionOperations
from cloudfn.daemon.operations.images import ImageOperations
from cloudfn.daemon.operations.output import OutputOperations
from cloudfn.daemon.operations.schedules import ScheduleOperations
from cloudfn.daemon.operations.stores import ObjectOperations, VolumeOperations
from cloudfn.daemon.operations.table import Operations
from cloudfn.daemon.session import Session
from cloudfn.errors import AuthError, DataLossError, Error
from cloudfn.wire.messages import PROTOCOL, Delivered, Kind, Submit, Taken, decode_json
from cloudfn.wire.replies import error_json
from cloudfn.wire.version import code_version, code_written

_log = logging.getLogger(__name__)

#: seconds that running inputs have when the daemon leaves for a newer one
DRAIN_GRACE = 5.0
_ACCEPTS_PER_TURN = 64
#: clients at a time that one Docker container may have here
_MOST_IN_A_CELL = 64
#: seconds until the next try when there are no descriptors left for clients
_ACCEPT_PAUSE = 0.2


class Server:
    """Serves the clients of one environment. Single-threaded."""

    def __init__(self, loop: asyncio.AbstractEventLoop, engine: Engine, key: bytes) -> None:
        self._loop = loop
        self._engine = engine
        self._key = key
        self._sessions: set[Session] = set()
        self._listener: socket.socket | None = None
        self._socket_path: Path | None = None
        self._socket_identity: tuple[int, int] | None = None
        self._started = engine.clock.wall()
        self._apps = AppOperations(engine)
        stores = engine.stores
        self._operations = Operations(
            [
                self._apps,
                FunctionOperations(engine),
                CallOperations(engine),
                ContainerOperations(engine),
                OutputOperations(engine),
                ObjectOperations(engine),
                DictOperations(stores.dicts, engine.clock),
                QueueOperations(stores.queues, engine.clock, stores.awaited),
                SecretOperations(stores.secrets, engine.clock),
                VolumeOperations(engine),
                ScheduleOperations(engine),
                ImageOperations(engine),
                DaemonOperations(engine, self._facts, self.shut_down),
            ]
        )
        self._house = Housekeeping(
            loop, engine, self._apps, self._sessions, self._can_be_found, self.shut_down
        )
        self._leaving = False
        self.done: asyncio.Future[None] = loop.create_future()

    def serve(self, listener: socket.socket, path: Path) -> None:
        """Take up what the ledger holds, and begin to accept clients."""
        engine = self._engine
        # Results that died on their way: their containers died with the daemon.
        engine.blobs.sweep(
            lambda name: not name.startswith("ta-"), older_than=0.0, now=engine.clock.wall()
        )
        for app in engine.apps.restore(engine.ledger.pools()):
            self._house.orphaned(app.app_id)
        if (engine.place.state_dir / "images").exists():
            engine.images.clear_up()
        engine.calls.adopt_orphans()
        engine.stores.recover()
        engine.schedules.start(app.app_id for app in engine.catalog.apps())
        for pool in engine.agent.pools():
            engine.agent.kick(pool.spec.pool)
        engine.delayed()
        engine.planner.poke()
        engine.desk.admit = self._admit
        if engine.desk.had_cells:
            engine.cells.end_leftovers()
        self._listener, self._socket_path = listener, path
        self._socket_identity = identity(path)
        self._loop.add_reader(listener, self._accept)
        self._house.start()

    def _facts(self) -> dict[str, Any]:
        return {
            "version": code_version(),
            "protocol": PROTOCOL,
            "started": self._started,
            "clients": len(self._sessions),
        }

    def shut_down(self, mode: str) -> None:
        """Leave: `drain` lets running inputs finish for a moment, `now` hands them back."""
        if self._leaving:
            return
        self._leaving = True
        self._house.stop()
        _log.info("leaving (%s)", mode)
        self._engine.agent.intake = False
        self._stop_listening()
        deadline = self._engine.clock.monotonic() + (DRAIN_GRACE if mode == "drain" else 0.0)
        self._loop.call_soon(self._drain, deadline)

    def _drain(self, deadline: float) -> None:
        busy = any(container.busy for container in self._engine.agent.containers())
        if busy and self._engine.clock.monotonic() < deadline:
            self._loop.call_later(0.02, self._drain, deadline)
            return
        self._engine.close()
        for session in list(self._sessions):
            session.close()
        if not self.done.done():
            self.done.set_result(None)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        if self._socket_path is not None:
            if self._can_be_found():
                self._socket_path.unlink(missing_ok=True)
            self._socket_path = None

    def _can_be_found(self) -> bool:
        """Whether clients that look for a daemon find this one: the name still leads to us."""
        return self._socket_path is None or identity(self._socket_path) == self._socket_identity

    def _accept(self) -> None:
        assert self._listener is not None
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # It stays readable: without a pause we would do nothing but fail.
                _log.warning("cannot accept a client: %s", error)
                self._loop.remove_reader(self._listener)
                self._loop.call_later(_ACCEPT_PAUSE, self._accept_again)
                return
            if not peer_is_us(sock):
                sock.close()
                continue
            self._sessions.add(Session(self._loop, sock, self._key, self))

    def _admit(self, sock: socket.socket, container_id: str) -> None:
        """Take a client that came through the socket of one Docker container's own."""
        if self._leaving or sum(s.home == container_id for s in self._sessions) >= _MOST_IN_A_CELL:
            sock.close()
            return
        view = self._engine.desk.view(container_id)
        self._sessions.add(Session(self._loop, sock, self._key, self, container_id, view))

    def _accept_again(self) -> None:
        if self._listener is not None:
            self._loop.add_reader(self._listener, self._accept)

    # What sessions tell (SessionOwner)

    def on_hello(self, session: Session, hello: dict[str, Any]) -> dict[str, Any] | None:
        """Greet a client, or leave for it when it is newer than this daemon."""
        if self._leaving or self._is_newer(session):
            session.send_json(Kind.WELCOME, {"restarting": True})
            session.flush()
            if not self._leaving:
                _log.info("a newer client (%s) is here", session.version)
                self.shut_down("drain")
            return None
        if int(hello.get("protocol") or 0) > PROTOCOL:
            error = {"type": "VersionError", "message": "The daemon is older than this client.",
                     "hint": "Run `cloudfn daemon stop`."}  # fmt: skip
            session.send_json(Kind.WELCOME, {"error": error})
            return None
        engine = self._engine
        blobs = {"fast": str(engine.blobs.fast), "durable": str(engine.blobs.durable)}
        if session.view is not None:
            blobs = {"fast": FAST, "durable": DURABLE, "outbox": session.view.outbox}
        return {
            "version": code_version(),
            "pid": os.getpid(),
            "blobs": blobs,
            "bundles": str(engine.place.state_dir / "bundles"),
            "limits": {"map_window": engine.settings.limits.map_window},
        }

    def _is_newer(self, session: Session) -> bool:
        """Whether the client runs newer code: a newer version, or a later text of the same one.

        Of any two clients at most one is newer: they cannot replace each other's daemon in turns.
        """
        if session.container_id is not None:
            return False
        version, _, digest = session.version.partition("+")
        ours, _, our_digest = code_version().partition("+")
        if _numbers(version) != _numbers(ours):
            return _numbers(version) > _numbers(ours)
        if digest == our_digest:
            return False
        return (session.written, digest) > (code_written(), our_digest)

    def on_message(self, session: Session, kind: int, body: bytes) -> None:
        """Serve one message."""
        try:
            match kind:
                case Kind.SUBMIT:
                    self._engine.calls.submit(session, Submit.decode(body))
                case Kind.DELIVERED:
                    self._engine.calls.delivered(session, Delivered.decode(body))
                case Kind.TAKEN:
                    self._engine.streams.taken(session, Taken.decode(body))
                case Kind.REQUEST:
                    self._request(session, decode_json(body))
                case _:
                    raise DataLossError(f"A message of unknown kind {kind}.")
        except (AuthError, DataLossError):
            raise
        except Exception:  # noqa: BLE001 - one client's message must not end the daemon
            _log.exception("a message of kind %s failed", kind)
            session.close()

    def _request(self, session: Session, fields: dict[str, Any]) -> None:
        number = fields.get("id")
        try:
            reply = self._operations.answer(session, fields)
        except Error as error:
            session.send_json(Kind.REPLY, {"id": number, "error": error_json(error)})
            return
        except Exception as error:  # noqa: BLE001 - nor may one request
            _log.exception("operation %s failed", fields.get("op"))
            body = {"type": "InternalError", "message": f"The daemon failed: {error!r}",
                    "hint": "See `cloudfn daemon logs`; please report this."}  # fmt: skip
            session.send_json(Kind.REPLY, {"id": number, "error": body})
            return
        if isinstance(reply, Later):
            reply.then(lambda told: session.send_json(Kind.REPLY, {"id": number, **told}))
        else:
            session.send_json(Kind.REPLY, {"id": number, **reply})

    def on_drained(self, session: Session) -> None:
        """A client that had much to read has read it."""
        self._engine.calls.drained(session)

    def on_closed(self, session: Session) -> None:
        """A client is gone."""
        self._sessions.discard(session)
        self._engine.output.unsubscribe(session)
        self._engine.images.closed(session)
        self._engine.calls.closed(session)
        self._engine.stores.closed(session)
        for app_id, owner in list(self._apps.owners.items()):
            if owner is session:
                self._apps.owners[app_id] = None
                self._house.orphaned(app_id)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
