"""A daemon for the SDK's tests: the real protocol over a real socket, an engine of a few dicts."""

import contextlib
import os
import socket
import threading
from pathlib import Path

from cloudfn.model.call import Status
from cloudfn.sdk.connection import Connection
from cloudfn.sdk.function import Function
from cloudfn.sdk.starter import Starter, environment_key, prepare_state_dir
from cloudfn.settings import Settings
from cloudfn.wire import codec
from cloudfn.wire.exceptions import pack_exception
from cloudfn.wire.frames import Decoder, Encoder, derive_key
from cloudfn.wire.messages import (
    Ack,
    BlobRef,
    Delivered,
    Kind,
    Outcomes,
    Submit,
    decode_json,
    encode_json,
    is_blob,
)

PLAIN = codec.PickleContext("tests")
TIMEOUT = 20.0


class Call:
    def __init__(self, header):
        self.function = header["function"]
        self.kind = header["kind"]
        self.payloads = []
        self.outcomes = {}
        self.sealed = False
        self.cancelled = False
        self.delivered = set()
        #: (connection, ref, indices of interest)
        self.watchers = []


class FakeDaemon:
    """Runs inputs at once, in the thread of their connection; tests tell it how to misbehave."""

    def __init__(self, settings, functions, window=100):
        self.settings = settings
        self.functions = functions
        self.window = window
        self.calls = {}
        self.runs = []
        self.requests = []
        self.released = []
        self.hellos = 0
        self.most_outstanding = 0
        #: each returns True to have the message lost and the connection dropped
        self.lose_submit = lambda number: False
        self.lose_outcomes = lambda number: False
        self.submits = 0
        self.pushes = 0
        #: how many submissions are refused for want of room, each followed by an invitation
        self.refusals = 0
        self.restarting = 0
        #: a submission is acknowledged after its outcomes
        self.late_acks = False
        #: the error that every submission is answered with
        self.rejection = None
        self.answers = {}
        self.key = None
        #: outcomes wait until it is set
        self.open_gate = threading.Event()
        self.open_gate.set()
        self.submitted = threading.Event()
        self._connections = []
        self._lock = threading.RLock()

    def start(self):
        prepare_state_dir(self.settings)
        state = self.settings.state_dir
        self._listener = socket.socket(socket.AF_UNIX)
        folder = os.open(state, os.O_PATH | os.O_DIRECTORY)
        self._listener.bind(f"/proc/self/fd/{folder}/daemon.sock")
        os.chmod(state / "daemon.sock", 0o600)
        os.close(folder)
        self._listener.listen(16)
        self.key = self.key or environment_key(state)
        self.blobs = {"fast": str(state / "fast"), "durable": str(state / "durable")}
        for folder in self.blobs.values():
            os.makedirs(folder, exist_ok=True)
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        (self.settings.state_dir / "daemon.sock").unlink(missing_ok=True)
        self.open_gate.set()
        self.drop()

    def drop(self):
        """Cut all connections off."""
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()

    def say(self, kind, told):
        """Send a message to the client that came last."""
        self._connections[-1].send(kind, encode_json(told))

    def client(self):
        return Connection(self.settings, starter=Starter(self.settings, start=False))

    def function(self, name, client):
        return Function.from_name("app", name, client=client)

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            connection = _Connection(self, sock)
            with self._lock:
                self._connections.append(connection)
            threading.Thread(target=connection.serve, daemon=True).start()


class _Connection:
    def __init__(self, daemon, sock):
        self.daemon = daemon
        self.sock = sock
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.refs = {}
        self.lock = threading.RLock()
        self.closed = False

    def close(self):
        self.closed = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def serve(self):
        try:
            while True:
                data = self.sock.recv(1 << 16)
                if not data:
                    return
                self.decoder.feed(data)
                while (message := self.decoder.pop()) is not None:
                    with self.daemon._lock:
                        if self.closed:
                            return  # what was on its way is lost
                        self.on_message(*message)
        except Exception:  # noqa: BLE001 - a test may make anything of it
            self.close()

    def send(self, kind, body):
        with self.lock:
            self.sock.sendall(self.encoder.frame(kind, body))

    def on_message(self, kind, body):
        if kind == Kind.HELLO:
            self.greet(decode_json(body))
        elif kind == Kind.SUBMIT:
            self.submit(Submit.decode(body))
        elif kind == Kind.DELIVERED:
            delivered = Delivered.decode(body)
            if delivered.ref in self.refs:
                self.daemon.calls[self.refs[delivered.ref]].delivered.update(delivered.indices)
        elif kind == Kind.REQUEST:
            self.request(decode_json(body))

    def greet(self, hello):
        daemon = self.daemon
        daemon.hellos += 1
        if daemon.restarting:
            daemon.restarting -= 1
            self.send(Kind.WELCOME, encode_json({"restarting": True}))
            self.close()
            return
        nonce = os.urandom(16)
        facts = {
            "protocol": 1,
            "nonce": nonce.hex(),
            "blobs": daemon.blobs,
            "bundles": str(daemon.settings.state_dir / "bundles"),
            "limits": {"map_window": daemon.window},
        }
        self.send(Kind.WELCOME, encode_json(facts))
        theirs = bytes.fromhex(hello["nonce"])
        self.decoder.secure(derive_key(daemon.key, b"client", theirs, nonce))
        self.encoder.secure(derive_key(daemon.key, b"daemon", theirs, nonce))

    def submit(self, message):
        daemon = self.daemon
        daemon.submits += 1
        if daemon.lose_submit(daemon.submits):
            raise ConnectionAbortedError
        if message.header is not None:
            self.refs[message.ref] = message.header["call"]
            daemon.calls.setdefault(message.header["call"], Call(message.header))
        call = daemon.calls[self.refs[message.ref]]
        known = len(call.payloads)
        if daemon.rejection:
            told = {"event": "rejected", "ref": message.ref, "error": daemon.rejection}
            self.send(Kind.EVENT, encode_json(told))
            return
        if daemon.refusals:
            daemon.refusals -= 1
            self.send(Kind.ACK, Ack(message.ref, known, refused=True).encode())
            if call.kind in (1, 3):
                self.send(Kind.ACK, Ack(message.ref, known).encode())
            return
        if message.first > known:
            self.send(Kind.ACK, Ack(message.ref, known).encode())
            return
        fresh = message.payloads[known - message.first :]
        call.payloads += fresh
        call.sealed = call.sealed or message.sealed
        daemon.most_outstanding = max(
            daemon.most_outstanding, len(call.payloads) - len(call.outcomes)
        )
        daemon.submitted.set()
        if daemon.late_acks:
            self.finish(message.ref, call, known, fresh)
        if call.kind:
            self.send(Kind.ACK, Ack(message.ref, len(call.payloads)).encode())
        if daemon.late_acks:
            return
        threading.Thread(
            target=self.finish, args=(message.ref, call, known, fresh), daemon=True
        ).start()

    def finish(self, ref, call, known, fresh):
        self.daemon.open_gate.wait(TIMEOUT)
        with self.daemon._lock:
            for index, payload in enumerate(fresh, known):
                if index not in call.outcomes:
                    call.outcomes[index] = self.run(call, payload)
            if self.daemon.lose_outcomes(self.daemon.pushes):
                self.daemon.pushes += 1
                self.close()
                return
            self.daemon.pushes += 1
            fresh_indices = range(known, known + len(fresh))
            for connection, watched, wanted in [*call.watchers, (self, ref, fresh_indices)]:
                connection.push(watched, call, [i for i in fresh_indices if i in wanted])

    def run(self, call, payload):
        daemon = self.daemon
        daemon.runs.append(payload)
        if is_blob(payload):
            blob = BlobRef.decode(payload)
            folder = daemon.blobs["durable" if blob.durable else "fast"]
            payload = (Path(folder) / blob.name).read_bytes()
            assert len(payload) == blob.size
        args, kwargs = codec.loads(payload)
        try:
            result = daemon.functions[call.function](*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - it is the outcome
            return int(Status.RAISED), pack_exception(error, PLAIN)
        if isinstance(result, Ended):
            return int(result.status), encode_json(result.told)
        return int(Status.RETURNED), codec.dumps(result, PLAIN)

    def push(self, ref, call, indices):
        found = [(i, *call.outcomes[i]) for i in indices if i in call.outcomes]
        if not found:
            return
        try:
            self.send(Kind.OUTCOMES, Outcomes(ref, *zip(*found, strict=True)).encode())
        except OSError:
            return

    def request(self, fields):
        daemon = self.daemon
        daemon.requests.append(fields)
        op = fields["op"]
        reply, then = {}, None
        if op in daemon.answers:
            reply = daemon.answers[op](fields)
        elif op == "function_lookup":
            reply = self.look_up(fields["name"])
        elif op in ("call_resume", "call_attach"):
            reply, then = self.take_up(fields)
        elif op == "call_release":
            daemon.released.append(self.refs.get(fields["ref"]))
        elif op == "call_info":
            call = daemon.calls[fields["call"]]
            reply = {
                "known": len(call.payloads),
                "finished": len(call.outcomes),
                "sealed": call.sealed,
            }
        elif op == "call_cancel":
            call = daemon.calls[fields["call"]]
            told = encode_json({"error": "RemoteError", "message": "it was cancelled"})
            for index in range(len(call.payloads)):
                call.outcomes.setdefault(index, (int(Status.CANCELLED), told))
        self.send(Kind.REPLY, encode_json({"id": fields["id"], **reply}))
        if then is not None:
            then()

    def look_up(self, name):
        if name not in self.daemon.functions:
            error = {"type": "NotFoundError", "message": f"no {name}", "hint": "deploy it"}
            return {"error": error}
        spec = {"module": "tests", "is_generator": name.startswith("gen")}
        return {"function_id": name, "name": name, "app_id": "ap-1", "spec": spec}

    def take_up(self, fields):
        call = self.daemon.calls.get(fields["call"])
        if call is None:
            if fields["op"] == "call_resume":
                return {"known": 0, "refused": False, "unknown": True}, None
            return {"error": {"type": "NotFoundError", "message": "no such call"}}, None
        self.refs[fields["ref"]] = fields["call"]
        owned = {i for first, last in fields.get("have", []) for i in range(first, last + 1)}
        end = fields.get("end")
        wanted = range(fields.get("start") or 0, len(call.payloads) if end is None else end)
        reply = {
            "known": len(call.payloads),
            "refused": False,
            "sealed": call.sealed,
            "expired": call.cancelled,
        }
        call.watchers.append((self, fields["ref"], wanted))
        return reply, lambda: self.push(fields["ref"], call, [i for i in wanted if i not in owned])


class Ended:
    """What a function of a test returns to end in another way than by returning or raising."""

    def __init__(self, status, told):
        self.status = status
        self.told = told


def daemon_settings(root):
    return Settings(environment="main", root=Path(root))
