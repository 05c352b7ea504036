"""Keeps containers from the metadata services of clouds: one routing rule for each bridge. Linux.

Who can ask such a service is the machine as far as its cloud is concerned. A rule of the kernel's
routing policy refuses what arrives from a bridge for their addresses; it needs no firewall tools,
and stays while the bridge comes and goes. This file is also run as a script in a helper container,
by a daemon that may not set rules itself, so it imports the standard library alone.

Source: rtnetlink(7), linux/fib_rules.h.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from struct import Struct

#: link-local IPv4, where AWS, GCP, Azure and container services have theirs; AWS's for IPv6
PLACES = (
    (socket.AF_INET, "169.254.0.0", 16),
    (socket.AF_INET6, "fd00:ec2::254", 128),
)

_NEW, _DELETE = 32, 33
_REQUEST, _ACK, _EXCLUSIVE, _CREATE = 1, 4, 0x200, 0x400
_DESTINATION, _FROM_INTERFACE, _PRIORITY = 1, 3, 6
_PROHIBIT = 8
_RULE_PRIORITY = 100
#: struct nlmsghdr, fib_rule_hdr, rtattr, and the error of an answer
_MESSAGE = Struct("=IHHII")
_RULE = Struct("=BBBBBBBBI")
_ATTRIBUTE = Struct("=HH")
_ERROR = Struct("=i")
_ANSWER_SIZE = 4096


def refuse(bridge: str) -> None:
    """Refuse what comes from a bridge for a metadata service. Idempotent.

    Raises:
        OSError: The kernel, or our rights, do not allow it.
    """
    for family, address, length in PLACES:
        try:
            _ask(_NEW, _REQUEST | _ACK | _CREATE | _EXCLUSIVE, family, (bridge, address, length))
        except OSError as error:
            without_ipv6 = family == socket.AF_INET6 and error.errno == errno.EAFNOSUPPORT
            if error.errno != errno.EEXIST and not without_ipv6:
                raise


def allow(bridge: str) -> None:
    """Take the rules of a bridge that is gone away. Idempotent; raises OSError as `refuse` does."""
    for family, address, length in PLACES:
        try:
            _ask(_DELETE, _REQUEST | _ACK, family, (bridge, address, length))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EAFNOSUPPORT):
                raise


def is_here(bridge: str) -> bool:
    """Whether this process sees a bridge: that it is in the same network as Docker."""
    return any(name == bridge for _, name in socket.if_nameindex())


def _ask(kind: int, flags: int, family: int, rule: tuple[str, str, int]) -> None:
    bridge, address, length = rule
    body = _RULE.pack(family, length, 0, 0, 0, 0, 0, _PROHIBIT, 0)
    body += _attribute(_FROM_INTERFACE, bridge.encode() + b"\0")
    body += _attribute(_DESTINATION, socket.inet_pton(family, address))
    body += _attribute(_PRIORITY, _RULE_PRIORITY.to_bytes(4, sys.byteorder))
    message = _MESSAGE.pack(_MESSAGE.size + len(body), kind, flags, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.bind((0, 0))
        netlink.send(message)
        number = -_ERROR.unpack_from(netlink.recv(_ANSWER_SIZE), _MESSAGE.size)[0]
    if number:
        raise OSError(number, os.strerror(number))


def _attribute(kind: int, value: bytes) -> bytes:
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + b"\0" * (-size % 4)


if __name__ == "__main__":
    {"refuse": refuse, "allow": allow}[sys.argv[1]](sys.argv[2])
