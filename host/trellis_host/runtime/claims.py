"""Signed components: the JWT that v1's tools embed, read and verified. Pure: the time is an argument.

The token stands in a custom section `wasmcloud_jwt` (older: `jwt`); it is signed by its issuer's nkey (ed25519), and
since revision 3 it carries the SHA-256 of the component without such sections. Format and rules are those of
wasmCloud's `wascap` 0.16. What is not WebAssembly at all counts as unsigned: the engine says what is wrong with it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trellis_lattice.control.claims import ComponentClaims
from trellis_lattice.control.host import uptime_human
from trellis_lattice.errors import Denied, RequestInvalid
from trellis_lattice.nkeys import decode

__all__ = ["Signature", "Token", "read_signature", "read_token", "without_token"]

_SECTIONS = (b"jwt", b"wasmcloud_jwt")
_MIN_HASHED_REVISION = 3
_MAX_TOKEN = 64 * 1024
_MAX_DEPTH = 64
_CUSTOM, _CORE_MODULE, _COMPONENT = 0, 1, 4

_Text = Annotated[str, Field(max_length=4096)]


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    name: _Text | None = None
    hash: _Text = ""
    tags: Annotated[tuple[_Text, ...], Field(max_length=1024)] | None = None
    rev: int | None = None
    ver: _Text | None = None
    call_alias: _Text | None = None


class Token(BaseModel):
    """The claims of a component, as the JWT has them."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    iss: Annotated[_Text, Field(min_length=1)]
    sub: Annotated[_Text, Field(min_length=1)]
    iat: Annotated[int, Field(ge=0)] = 0
    exp: Annotated[int, Field(ge=0)] | None = None
    nbf: Annotated[int, Field(ge=0)] | None = None
    wascap: _Metadata
    wascap_revision: int = 0


@dataclass(frozen=True, slots=True)
class Signature:
    """Who signed a component, as what, and for how long (seconds since 1970)."""

    claims: ComponentClaims
    issued_at: int
    not_before: int | None
    expires: int | None
    revision: int

    def in_event(self, now: float) -> dict[str, Any]:
        """As `component_scaled` tells it (lattice-protocol 2.2)."""
        return {
            "call_alias": self.claims.call_alias,
            "issuer": self.claims.issuer,
            "tags": list(self.claims.tags),
            "name": self.claims.name,
            "version": self.claims.version,
            "revision": self.revision,
            "not_before_human": _relative(self.not_before, now, "immediately"),
            "expires_human": _relative(self.expires, now, "never"),
        }

    def in_policy_request(self, now: float) -> dict[str, Any]:
        """As a policy service is told it (lattice-protocol 1.10)."""
        return {
            "publicKey": self.claims.subject,
            "issuer": self.claims.issuer,
            "issuedAt": str(self.issued_at),
            "expiresAt": self.expires,
            "expired": self.expires is not None and self.expires < now,
        }


def read_signature(wasm: bytes, image: str, now: float) -> Signature | None:
    """The verified signature of a component; None if it has none. `now`: seconds since 1970.

    Raises `Denied` if it has one that is not valid: malformed, forged, of other bytes, expired, not valid yet.
    """
    if not any(name in wasm for name in _SECTIONS):
        return None
    try:
        token = _find_token(memoryview(wasm), 0)
    except _NotWasm:
        return None
    if token is None:
        return None
    claims = read_token(token, image)
    if claims.exp is not None and claims.exp < now:
        raise _invalid(image, f"expired {_relative(claims.exp, now, '')}", "Sign it again.")
    if claims.nbf is not None and now < claims.nbf:
        raise _invalid(image, f"are not valid yet, but {_relative(claims.nbf, now, '')}", "Wait, or sign it again.")
    if claims.wascap_revision >= _MIN_HASHED_REVISION and _digest(wasm) != claims.wascap.hash.upper():
        raise _invalid(image, "are of other code: it was changed after it was signed", "Sign what you run.")
    about = claims.wascap
    stored = ComponentClaims(
        call_alias=about.call_alias or "",
        issuer=claims.iss,
        name=about.name or "",
        revision=str(about.rev or 0),
        subject=claims.sub,
        tags=about.tags or (),
        version=about.ver or "",
    )
    return Signature(stored, claims.iat, claims.nbf, claims.exp, about.rev or 0)


def _digest(wasm: bytes) -> str | None:
    """What a token's hash must be; None for what only began as WebAssembly."""
    try:
        return hashlib.sha256(without_token(wasm)).hexdigest().upper()
    except _NotWasm:
        return None


def without_token(wasm: bytes) -> bytes:
    """The component as its hash is made: without tokens, every size in its shortest form.

    Raises `ValueError` if this is not WebAssembly.
    """
    return _stripped(memoryview(wasm), 0)


def read_token(token: bytes, image: str) -> Token:
    """The claims in a JWT whose signature is right. Raises `Denied`; says nothing about time or code."""
    parts = token.split(b".")
    if len(parts) != 3 or len(token) > _MAX_TOKEN:
        raise _invalid(image, "are not a JWT", "Sign it with v1's tools.")
    try:
        header, claims, signature = json.loads(_base64(parts[0])), _base64(parts[1]), _base64(parts[2])
        if not isinstance(header, dict) or (header.get("typ"), header.get("alg")) != ("jwt", "Ed25519"):
            raise _invalid(image, "are signed in a way that this host does not know", "Use ed25519 nkeys.")
        read = Token.model_validate_json(claims)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _invalid(image, f"cannot be read: {place}: {first['msg']}", "Sign it again.") from None
    except (ValueError, RecursionError):
        raise _invalid(image, "cannot be read", "Sign it again.") from None
    if not _signed_by(read.iss, b".".join(parts[:2]), signature):
        raise _invalid(image, f"were not signed by who they say, {read.iss[:80]}", "Do not run it.")
    return read


def _signed_by(issuer: str, message: bytes, signature: bytes) -> bool:
    from nacl.exceptions import CryptoError  # libsodium is loaded only where something is signed
    from nacl.signing import VerifyKey

    try:
        VerifyKey(decode(issuer, "the issuer")[1:]).verify(message, signature)
    except (CryptoError, RequestInvalid, ValueError, TypeError):
        return False
    return True


def _base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError from error


def _relative(stamp: int | None, now: float, without: str) -> str:
    if stamp is None:
        return without
    seconds = min(abs(int(stamp - now)), 2**53)
    return f"in {uptime_human(seconds)}" if stamp > now else f"{uptime_human(seconds)} ago"


def _invalid(image: str, why: str, remedy: str) -> Denied:
    return Denied(f"The claims embedded in {image} {why}.", remedy=remedy, image=image)


# sections of WebAssembly -------------------------------------------------------------------------------


class _NotWasm(ValueError):
    """These bytes are not WebAssembly."""


def _sections(wasm: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(id, content) of a module's or component's sections."""
    if bytes(wasm[:4]) != b"\0asm" or len(wasm) < 8:
        raise _NotWasm
    at = 8
    while at < len(wasm):
        id = wasm[at]
        size, at = _leb(wasm, at + 1)
        if at + size > len(wasm):
            raise _NotWasm
        yield id, wasm[at : at + size]
        at += size


def _nested(wasm: memoryview, id: int, depth: int) -> bool:
    return wasm[6] == 1 and id in (_CORE_MODULE, _COMPONENT) and depth < _MAX_DEPTH


def _find_token(wasm: memoryview, depth: int) -> bytes | None:
    for id, content in _sections(wasm):
        if _nested(wasm, id, depth):
            inner = _find_token(content, depth + 1)
            if inner is not None:
                return inner
        elif id == _CUSTOM:
            name, rest = _custom(content)
            if name == b"jwt" or (name == b"wasmcloud_jwt" and depth == 0):
                return bytes(rest[: _MAX_TOKEN + 1])
    return None


def _stripped(wasm: memoryview, depth: int) -> bytes:
    parts = [bytes(wasm[:8])]
    for id, content in _sections(wasm):
        if id == _CUSTOM and _custom(content)[0] in _SECTIONS:
            continue
        body = _stripped(content, depth + 1) if _nested(wasm, id, depth) else content
        parts += (bytes((id,)), _to_leb(len(body)), bytes(body))
    return b"".join(parts)


def _custom(content: memoryview) -> tuple[bytes, memoryview]:
    length, at = _leb(content, 0)
    if at + length > len(content):
        raise _NotWasm
    return bytes(content[at : at + length]), content[at + length :]


def _leb(data: memoryview, at: int) -> tuple[int, int]:
    """An unsigned 32-bit number in LEB128, and where it ends."""
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _NotWasm


def _to_leb(value: int) -> bytes:
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
