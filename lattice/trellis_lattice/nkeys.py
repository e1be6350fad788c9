"""nkeys: ed25519 keys as NATS and wasmCloud write them (lattice-protocol 9.5). Pure.

An nkey is a role byte and 32 bytes of an ed25519 key, with a CRC-16, in base32: a public key has 56 characters
and begins with the letter of its role, a seed has 58 and begins with `S` and that letter. The law of this file:
a seed is never part of an error, nor of what `repr` shows.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from trellis_lattice.errors import RequestInvalid

__all__ = ["KeyPair", "Role", "decode", "encode", "role_of"]

_SEED = 18 << 3


class Role(Enum):
    """What a key is for; the value is the byte that makes its letter."""

    HOST = 13 << 3
    """`N`: a host of a lattice, a NATS server."""
    CLUSTER = 2 << 3
    OPERATOR = 14 << 3
    ACCOUNT = 0
    USER = 20 << 3
    COMPONENT = 12 << 3
    """`M`"""
    PROVIDER = 21 << 3
    """`V`"""
    CURVE = 23 << 3
    """`X`: an x25519 key, for sealing; it signs nothing."""

    @property
    def letter(self) -> str:
        return base64.b32encode(bytes([self.value])).decode()[0]


_ROLES = {role.value: role for role in Role}


def encode(raw: bytes) -> str:
    """Role byte(s) and key as text, with checksum."""
    return base64.b32encode(raw + _crc16(raw).to_bytes(2, "little")).rstrip(b"=").decode("ascii")


def decode(text: str, what: str) -> bytes:
    """The bytes without their checksum. Raises `RequestInvalid`, which calls them `what`."""
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError) as error:
        raise RequestInvalid(f"This is not {what}: it is not base32.") from error
    if len(raw) < 4 or _crc16(raw[:-2]).to_bytes(2, "little") != raw[-2:] or encode(raw[:-2]) != text:
        raise RequestInvalid(f"This is not {what}: its checksum is wrong.", remedy="Was it copied completely?")
    return raw[:-2]


def role_of(public: str) -> Role:
    """The role of a public key. Raises `RequestInvalid` if it is none."""
    raw = decode(public, "a public nkey")
    role = _ROLES.get(raw[0])
    if role is None or len(raw) != 33:
        raise RequestInvalid(
            "This is not a public nkey.", remedy="A public key has 56 characters; a seed begins with S."
        )
    return role


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key of one role, and the secret that proves it."""

    role: Role
    public: str
    seed: str = field(repr=False)

    @classmethod
    def from_bytes(cls, role: Role, secret: bytes) -> KeyPair:
        """The key made of 32 random bytes."""
        if len(secret) != 32:
            raise RequestInvalid(f"A key is made of 32 bytes, not of {len(secret)}.")
        public = _public(role, secret)
        head = bytes([_SEED | role.value >> 5, (role.value & 31) << 3])
        return cls(role, encode(bytes([role.value]) + public), encode(head + secret))

    @classmethod
    def from_seed(cls, text: str) -> KeyPair:
        """The key that a seed (`S…`, 58 characters) means. Raises `RequestInvalid`, never showing the seed."""
        raw = decode(text.strip(), "the seed of a key")
        role = _ROLES.get((raw[0] & 7) << 5 | raw[1] >> 3)
        if raw[0] & 0xF8 != _SEED or role is None or len(raw) != 34:
            raise RequestInvalid("This is not the seed of a key.", remedy="A seed starts with S and has 58 characters.")
        return cls.from_bytes(role, raw[2:])

    def sign(self, message: bytes) -> bytes:
        """The ed25519 signature, 64 bytes. Raises `RequestInvalid` for a curve key."""
        if self.role is Role.CURVE:
            raise RequestInvalid("A curve key (X…) seals and opens; it cannot sign.")
        return bytes(_signing_key(decode(self.seed, "the seed of a key")[2:]).sign(message).signature)


def _public(role: Role, secret: bytes) -> bytes:
    if role is Role.CURVE:
        from nacl.public import PrivateKey

        return bytes(PrivateKey(secret).public_key)
    return bytes(_signing_key(secret).verify_key)


def _signing_key(secret: bytes) -> Any:
    from nacl.signing import SigningKey  # libsodium is loaded only where something is signed

    return SigningKey(secret)


def _crc16(data: bytes) -> int:
    """CRC-16/XMODEM, as nkeys use it."""
    return binascii.crc_hqx(data, 0)
