"""One SSH connection to a machine whose host keys are known beforehand."""

from __future__ import annotations

import os
import socket
from base64 import b64decode
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from subprocess import Popen
from types import TracebackType
from typing import IO, Any, Self

from cloudfn import errors
from cloudfn.errors import AuthError, InvalidError
from cloudfn.providers.reach import Way

#: seconds until there is a connection, and until the other side has said who it is
_PATIENCE = 20.0
_CHUNK = 32 << 10
#: seconds between signs of life
_KEEPALIVE = 30
#: seconds between looks at a channel that says nothing: its end alone may not wake us
_LOOK = 1.0
#: what a command without an exit status ended with: the connection was lost, or a signal came
_LOST = 255


@dataclass(frozen=True, slots=True)
class Size:
    """Of a terminal, in characters."""

    columns: int
    rows: int


class KeyPair:
    """A key for one visit; its private part never leaves this process."""

    def __init__(self) -> None:
        # Takes 0.2 s to import, which local commands do not have.
        from io import StringIO

        import paramiko
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        private = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
        )
        self.key: Any = paramiko.Ed25519Key.from_private_key(StringIO(private.decode()))

    @property
    def public_line(self) -> str:
        """As in `authorized_keys`."""
        return f"{self.key.get_name()} {self.key.get_base64()} cloudfn"


class SshConnection:
    """An open connection, to be closed.

    Args:
        way: How to get to the machine.
        machine_id: Which it is, for messages.
        host_keys: Lines as in `ssh_host_*_key.pub`, as the machine's agent told them.
        user: Whom to be there.
        keys: Whom to be here.

    Raises:
        AuthError: The machine is another one than its agent said, or does not let us in.
        ConnectionError: It cannot be reached.
        InvalidError: No host key of it is known.
    """

    def __init__(
        self, way: Way, machine_id: str, host_keys: Sequence[str], user: str, keys: KeyPair
    ) -> None:
        import paramiko

        known = _parsed(host_keys)
        if not known:
            raise InvalidError(
                f"No host key of {machine_id} is known, so that nobody can tell whether it is it.",
                hint="Its agent tells them when it has joined; see `cloudfn machine list`.",
            )
        self._transport: Any = None
        self._proxy: Popen[bytes] | None = None
        try:
            self._transport = paramiko.Transport(self._open(way, machine_id))
            options = self._transport.get_security_options()
            kinds = {key.get_name() for key in known}
            options.key_types = [kind for kind in options.key_types if _plain(kind) in kinds]
            self._transport.banner_timeout = _PATIENCE
            self._transport.start_client(timeout=_PATIENCE)
            shown = self._transport.get_remote_server_key()
            if shown not in known:
                raise AuthError(
                    f"{machine_id} shows a host key that its agent does not have:"
                    f" {shown.get_name()} {shown.fingerprint}.",
                    hint="Somebody may be in between: do not go on.",
                )
            self._transport.auth_publickey(user, keys.key)
            # Who says nothing for long is cut off on the way.
            self._transport.set_keepalive(_KEEPALIVE)
        except paramiko.AuthenticationException as error:
            self.close()
            raise AuthError(
                f"{machine_id} does not let {user} in: {error}",
                hint="The key that was sent is good for a minute; try again.",
            ) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            self.close()
            raise errors.ConnectionError(
                f"There is no SSH connection to {machine_id}: {str(error) or type(error).__name__}",
                hint="See whether it runs: `cloudfn machine list`.",
            ) from error
        except AuthError:
            self.close()
            raise

    def _open(self, way: Way, machine_id: str) -> socket.socket:
        if not way.command:
            return socket.create_connection((way.address, way.port), timeout=_PATIENCE)
        sock, self._proxy = _proxied(way.command, machine_id)
        return sock

    def run(
        self, command: str, out: Callable[[bytes], object], err: Callable[[bytes], object]
    ) -> int:
        """Run a command; return its exit status, 255 where the connection was lost."""
        channel = self._transport.open_session(timeout=_PATIENCE)
        channel.exec_command(command)
        channel.shutdown_write()
        _pass_on(channel, out, err)
        return _status(channel)

    def shell(
        self,
        size: Callable[[], Size],
        stdin: IO[bytes],
        out: Callable[[bytes], object],
        resized: IO[bytes] | None = None,
    ) -> int:
        """Be the terminal of a shell there until it ends; return its exit status.

        The caller has put its own terminal into raw mode.

        Args:
            size: Asks how large the terminal is.
            stdin: What is typed; has to be a file of the operating system.
            out: Shows what the shell says.
            resized: A pipe in which there is something whenever `size` may have changed.
        """
        import select

        channel = self._transport.open_session(timeout=_PATIENCE)
        now = size()
        channel.get_pty("xterm-256color", now.columns, now.rows)
        channel.invoke_shell()
        reading: list[Any] = [channel, stdin, *([] if resized is None else [resized])]
        while True:
            ready, _, _ = select.select(reading, [], [])
            if resized is not None and resized in ready:
                os.read(resized.fileno(), _CHUNK)
                now = size()
                channel.resize_pty(now.columns, now.rows)
            if channel in ready:
                data = channel.recv(_CHUNK)
                if not data:
                    return _status(channel)
                out(data)
            if stdin in ready:
                # Not through a buffer, in which something could stay behind.
                typed = os.read(stdin.fileno(), _CHUNK)
                if not typed:
                    channel.shutdown_write()
                    reading.remove(stdin)
                else:
                    channel.sendall(typed)

    def close(self) -> None:
        """Hang up. Idempotent."""
        if self._transport is not None:
            self._transport.close()
        if self._proxy is not None:
            self._proxy.terminate()
            self._proxy.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _proxied(command: Sequence[str], machine_id: str) -> tuple[socket.socket, Popen[bytes]]:
    """Start a command whose input and output are the other end of a socket."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            # In a group of its own: Ctrl-C in a shell is for the machine, not for the proxy.
            end = theirs.fileno()
            process = Popen(list(command), stdin=end, stdout=end, start_new_session=True)
        except FileNotFoundError:
            ours.close()
            raise errors.ConnectionError(
                f"There is no {command[0]} here to reach {machine_id} with.",
                hint="Install it, or use the machine's private address: --direct.",
            ) from None
    return ours, process


def _parsed(lines: Sequence[str]) -> list[Any]:
    """Return the keys that lines name; what is no key is left out."""
    import paramiko

    found = []
    for line in lines:
        parts = line.split()
        with suppress(IndexError, ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType):
            found.append(
                paramiko.PKey.from_type_string(parts[0], b64decode(parts[1], validate=True))
            )
    return found


def _plain(kind: str) -> str:
    """Return which keys a signature algorithm is for: RSA has several."""
    return "ssh-rsa" if kind.startswith("rsa-sha2-") else kind


def _pass_on(channel: Any, out: Callable[[bytes], object], err: Callable[[bytes], object]) -> None:
    import select

    while True:
        over = channel.eof_received or channel.closed
        while channel.recv_ready():
            out(channel.recv(_CHUNK))
        while channel.recv_stderr_ready():
            err(channel.recv_stderr(_CHUNK))
        if over:
            return
        select.select([channel], [], [], _LOOK)


def _status(channel: Any) -> int:
    status = channel.recv_exit_status()
    return _LOST if status < 0 else int(status)
