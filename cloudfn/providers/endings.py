"""What the ledger itself says of inputs that no container ended. Pure."""

from __future__ import annotations

from cloudfn.model.ids import input_id
from cloudfn.wire.messages import encode_json


def cancelled_payload(call_id: str) -> bytes:
    """Return the outcome of an input that was cancelled while it waited."""
    message = f"The input was cancelled (call {call_id})."
    return encode_json({"error": "RemoteError", "message": message, "hint": None})


def lost_payload(call_id: str, index: int, reason: str) -> bytes:
    """Return the outcome of an input that was lost too often."""
    message = f"Input {input_id(call_id, index)} is given up: {reason}."
    return encode_json({"error": "InputLost", "message": message, "hint": None})
