"""Any text as a key of a JetStream bucket, and back. Pure.

JetStream allows letters, digits and `-/_=.`, no dot at either end and none doubled. Keys of that alphabet stay
as they are (but for `=`), so that other clients of the bucket see them under the same name. Other bytes of the
UTF-8 text become `=` and two hexadecimal digits; the empty key is `=`.
"""

from __future__ import annotations

import re

__all__ = ["MAX_ENCODED", "decode_key", "encode_key"]

MAX_ENCODED = 1024
"""Longest encoded key, in characters (`subjects.MAX_KEY`)."""

_PLAIN = re.compile(r"[-/_A-Za-z0-9]+(?:\.[-/_A-Za-z0-9]+)*")
_ESCAPED = re.compile(r"=(?:([0-9A-F]{2}))")
_KEPT = frozenset(b"-/_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_DOT = 0x2E


def encode_key(key: str) -> str:
    """The key in the bucket."""
    if _PLAIN.fullmatch(key):
        return key
    if not key:
        return "="
    data = key.encode("utf-8", "surrogatepass")
    last = len(data) - 1
    parts: list[str] = []
    for index, byte in enumerate(data):
        inner_dot = byte == _DOT and 0 < index < last and data[index - 1] != _DOT
        parts.append(chr(byte) if byte in _KEPT or inner_dot else f"={byte:02X}")
    return "".join(parts)


def decode_key(encoded: str) -> str | None:
    """The key that `encode_key` made this of; None if it made none such (another client wrote it)."""
    if "=" not in encoded:
        return encoded
    if encoded == "=":
        return ""
    try:
        data = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), encoded).encode("latin-1")
        key = data.decode("utf-8", "surrogatepass")
    except UnicodeError:
        return None
    return key if encode_key(key) == encoded else None
