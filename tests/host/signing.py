"""Signs components as v1's tools do: a JWT in a custom section, over the hash of everything else."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from trellis_host.runtime.claims import without_token
from trellis_lattice.nkeys import KeyPair, Role

__all__ = ["ISSUER", "SUBJECT", "signed", "token"]

ISSUER = KeyPair.from_bytes(Role.ACCOUNT, b"i" * 32)
SUBJECT = KeyPair.from_bytes(Role.COMPONENT, b"s" * 32)


def token(claims: dict[str, Any], *, key: KeyPair = ISSUER, header: dict[str, Any] | None = None) -> bytes:
    """A JWT."""

    def segment(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    head = header if header is not None else {"typ": "jwt", "alg": "Ed25519"}
    parts = segment(json.dumps(head).encode()) + b"." + segment(json.dumps(claims).encode())
    return parts + b"." + segment(key.sign(parts))


def signed(wasm: bytes, *, section: bytes = b"wasmcloud_jwt", key: KeyPair = ISSUER, **claims: Any) -> bytes:
    """The component with claims that are valid, but for what `claims` says."""
    about = {
        "name": "Echo",
        "hash": hashlib.sha256(without_token(wasm)).hexdigest().upper(),
        "tags": ["a", "b"],
        "rev": 4,
        "ver": "0.3.4",
        "call_alias": "echo",
        "prov": False,
    }
    whole = {"jti": "x", "iat": 1, "iss": ISSUER.public, "sub": SUBJECT.public, "wascap": about, "wascap_revision": 3}
    body = bytes((len(section),)) + section + token({**whole, **claims}, key=key)
    size = len(body)
    return wasm + b"\0" + bytes((size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14)) + body
