"""Programs for images that need nothing else: two of a few machine instructions, for x86-64."""

from __future__ import annotations

import io
import struct
import tarfile

_BASE, _HEADERS = 0x400000, 120
_TEXT = b"hello from a container\n"
_EXIT = bytes.fromhex("b83c00000031ff0f05")  # exit(0)
_PAUSE = bytes.fromhex("b8220000000f05")  # pause()


def archive() -> bytes:
    """Return a tar archive with `/hello`, which says so, and `/wait`, which does so."""
    with io.BytesIO() as made:
        with tarfile.open(fileobj=made, mode="w") as tar:
            for name, content in (
                ("hello", _program(_write() + _EXIT)),
                ("wait", _program(_PAUSE)),
            ):
                entry = tarfile.TarInfo(name)
                entry.mode, entry.size = 0o755, len(content)
                tar.addfile(entry, io.BytesIO(content))
        return made.getvalue()


def _write() -> bytes:
    """write(1, text, length): the text lies behind the code."""
    length = struct.pack("<I", len(_TEXT))
    start = bytes.fromhex("b801000000bf01000000be")
    size = len(start) + 4 + 1 + len(length) + 2
    address = struct.pack("<I", _BASE + _HEADERS + size + len(_EXIT))
    return start + address + b"\xba" + length + bytes.fromhex("0f05")


def _program(code: bytes) -> bytes:
    size = _HEADERS + len(code) + len(_TEXT)
    entry = _BASE + _HEADERS
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + segment + code + _TEXT
