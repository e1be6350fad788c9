"""Ids of hosts (nkeys), friendly names, and finding one by its beginning. Pure.

An nkey is a role byte and an ed25519 key, with a CRC-16, in base32 (lattice-protocol 9.5): a server's public
key starts with `N` (56 characters), its seed with `SN` (58).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from trellis_lattice.errors import Conflict, NotFound, RequestInvalid
from trellis_lattice.nkeys import decode, encode

__all__ = [
    "HostKey",
    "decode_public_key",
    "decode_seed",
    "encode_public_key",
    "encode_seed",
    "friendly_name",
    "is_host_id",
    "match",
    "short",
]

_SEED = 18 << 3
_SERVER = 13 << 3
SHORT_LENGTH = 8


def encode_public_key(key: bytes) -> str:
    """`N…`, 56 characters, from a 32-byte ed25519 public key."""
    return encode(bytes([_SERVER]) + _sized(key))


def decode_public_key(text: str) -> bytes:
    """The 32 bytes of a server's public key. Raises `RequestInvalid`."""
    raw = decode(text, "the id of a host")
    if raw[0] != _SERVER or len(raw) != 33:
        raise RequestInvalid("This is not the id of a host.", remedy="A host's id starts with N and has 56 characters.")
    return raw[1:]


def encode_seed(seed: bytes) -> str:
    """`SN…`, 58 characters, from 32 bytes."""
    return encode(bytes([_SEED | _SERVER >> 5, (_SERVER & 31) << 3]) + _sized(seed))


def decode_seed(text: str) -> bytes:
    """The 32 bytes of a server's seed. Raises `RequestInvalid`, never showing the seed."""
    raw = decode(text, "the seed of a host")
    if raw[:2] != bytes([_SEED | _SERVER >> 5, (_SERVER & 31) << 3]) or len(raw) != 34:
        raise RequestInvalid(
            "This is not the seed of a host.", remedy="A host's seed starts with SN and has 58 characters."
        )
    return raw[2:]


def _sized(key: bytes) -> bytes:
    if len(key) != 32:
        raise RequestInvalid(f"An ed25519 key has 32 bytes, this one {len(key)}.")
    return key


def is_host_id(text: str) -> bool:
    """Whether this is a complete host id with a right checksum."""
    try:
        decode_public_key(text)
    except RequestInvalid:
        return False
    return True


@dataclass(frozen=True, slots=True)
class HostKey:
    """A host's identity: its id, and the secret that proves it."""

    id: str
    seed: str = field(repr=False)

    @classmethod
    def from_bytes(cls, seed: bytes) -> HostKey:
        """The key made of 32 random bytes."""
        from nacl.signing import SigningKey  # ed25519 is all we need of it, and only a host needs that

        return cls(encode_public_key(bytes(SigningKey(_sized(seed)).verify_key)), encode_seed(seed))

    @classmethod
    def from_seed(cls, text: str) -> HostKey:
        """The key that `--host-seed` names."""
        return cls.from_bytes(decode_seed(text))


_ADJECTIVE_LIST = (
    "amber ancient autumn bold brave bright broad calm clear copper crimson crisp damp dark dawn deep dry early "
    "fair fine firm floral fresh frosty gentle gilded golden green hidden high holy icy ivory jade keen late lively "
    "lone lucid mellow mild misty morning mossy muddy noble nimble ochre old olive patient plain proud pure quick "
    "quiet rapid red restless rough rustic sandy shy silent silver small snowy soft solemn solid spring still "
    "stony strong summer sunny swift tall tidy twilight upright vast violet wandering warm wild winter wise young"
)
_NOUN_LIST = (
    "acorn alder apple arbor ash aspen bark beech berry birch blossom bough bramble branch brook bud bush cedar "
    "cherry clay cliff clover cloud creek dew dune elder elm fern field fir fjord flower fog forest frost garden "
    "glade glen grass grove hazel heath hedge hill holly ivy juniper lake larch laurel leaf lichen lily linden "
    "maple marsh meadow mist moon moor moss mountain oak orchard path peak pear petal pine plum pond poplar rain "
    "reed ridge river root rose rowan rush sage seed shade shore sky snow sorrel spruce star stem stone stream "
    "sun thicket thistle thorn thyme tree vale vine water wave wheat willow wind wood yew"
)
_ADJECTIVES = _ADJECTIVE_LIST.split()
_NOUNS = _NOUN_LIST.split()


def friendly_name(random: int) -> str:
    """`adjective-noun-number` chosen by any non-negative integer, e.g. `crimson-meadow-4211`."""
    random, number = divmod(abs(random), 9000)
    random, noun = divmod(random, len(_NOUNS))
    return f"{_ADJECTIVES[random % len(_ADJECTIVES)]}-{_NOUNS[noun]}-{number + 1000}"


def short(id: str) -> str:
    """The beginning of an id, enough to tell things apart in a table."""
    return id[:SHORT_LENGTH]


def match(text: str, known: Iterable[tuple[str, str]], what: str = "host") -> str:
    """The one id that `text` means, of `known` (id, friendly name) pairs.

    An exact id wins, then an exact name, then the beginning of an id, then a part of a name; case does not
    count. Raises `NotFound` (listing what there is) or `Conflict` (listing what it could mean).
    """
    pairs = list(known)
    wanted = text.strip().casefold()
    tests = (
        [id for id, _ in pairs if id.casefold() == wanted],
        [id for id, name in pairs if name.casefold() == wanted],
        [id for id, _ in pairs if id.casefold().startswith(wanted)],
        [id for id, name in pairs if wanted in name.casefold()],
    )
    for found in tests if wanted else ():
        if len(found) == 1:
            return found[0]
        if found:
            raise Conflict(
                f"{text!r} could mean {len(found)} {what}s: {_listed(pairs, set(found))}.",
                remedy="Give more of the id.",
                candidates=found[:20],
            )
    there = f"There are: {_listed(pairs)}." if pairs else f"There is no {what} at all."
    raise NotFound(f"No {what} is called {text!r}.", remedy=there, name=text[:80])


def _listed(pairs: list[tuple[str, str]], only: set[str] | None = None, limit: int = 8) -> str:
    names = [f"{short(id)} ({name})" if name else short(id) for id, name in pairs if only is None or id in only]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
