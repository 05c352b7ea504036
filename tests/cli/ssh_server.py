"""A machine's SSH server in this process: commands run here, shells say what they are told."""

import socket
import subprocess
import threading
from contextlib import suppress

import paramiko


class SshServer:
    """Listens until it is closed, and lets in whose key was admitted.

    Commands run by `sh`, or those of `answers` in their place. A shell says `ready COLUMNS ROWS`,
    each new size, and repeats what is typed; `exit N` ends it.
    """

    def __init__(self):
        self.key = paramiko.ECDSAKey.generate()
        #: lines as in `authorized_keys`
        self.admitted = []
        self.answers = {}
        self._transports = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def host_key(self):
        return f"{self.key.get_name()} {self.key.get_base64()} i-1"

    def answer(self, command):
        text = command.decode()
        return self.answers.get(text, text)

    def close(self):
        self._listening.close()
        for transport in self._transports:
            transport.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                transport = paramiko.Transport(sock)
                transport.add_server_key(self.key)
                self._transports.append(transport)
                with suppress(paramiko.SSHException, EOFError):
                    transport.start_server(threading.Event(), _Session(self))


class _Session(paramiko.ServerInterface):
    def __init__(self, server):
        self._server = server
        self._size = (0, 0)
        self._shells = {}

    def get_allowed_auths(self, username):
        return "publickey"

    def check_auth_publickey(self, username, key):
        known = any(key.get_base64() in line for line in self._server.admitted)
        return paramiko.AUTH_SUCCESSFUL if known else paramiko.AUTH_FAILED

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        threading.Thread(
            target=_run, args=(channel, self._server.answer(command)), daemon=True
        ).start()
        return True

    def check_channel_pty_request(self, channel, term, width, height, *pixels_and_modes):
        self._size = width, height
        return True

    def check_channel_shell_request(self, channel):
        channel.sendall("ready {} {}\r\n".format(*self._size).encode())
        threading.Thread(target=_converse, args=(channel,), daemon=True).start()
        return True

    def check_channel_window_change_request(self, channel, width, height, *pixels):
        channel.sendall(f"size {width} {height}\r\n".encode())
        return True


def _run(channel, command):
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
    channel.sendall(done.stdout)
    channel.sendall_stderr(done.stderr)
    channel.send_exit_status(done.returncode)
    channel.close()


def _converse(channel):
    line = b""
    while typed := channel.recv(1024):
        channel.sendall(typed)
        line += typed
        if line.endswith((b"\r", b"\n")):
            words = line.split()
            line = b""
            if words[:1] == [b"exit"]:
                channel.send_exit_status(int(words[1]))
                break
            if words[:1] == [b"vanish"]:
                channel.get_transport().close()
                return
    channel.close()
