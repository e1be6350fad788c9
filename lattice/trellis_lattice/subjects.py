"""Every subject of the control plane, built and parsed (lattice-protocol 1.2, 2.1, 3.1, 7.1). Pure.

The laws of this file: `parse_x(build_x(...))` gives the arguments back; a name that would change the meaning
of a subject (dot, wildcard, blank, overlong) is refused with `RequestInvalid` before it gets near the bus;
parsing never raises: a foreign subject is `None`.

    <ctl>.v1.<lattice>.<noun>.<verb>[.<host or name>]      control operations
    <evt>.<lattice>.<event>                                 events
    <wadm>.<lattice>.model.<operation>[.<name>]             applications
    trellis.v1.<lattice>.beat.<host>                        liveness, ours
    trellis.v1.<lattice>.probe.<host>                       the same, asked for
    $KV.<bucket>.<key>                                      state in JetStream
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from trellis_lattice.errors import RequestInvalid

__all__ = [
    "CONTROL_PREFIX",
    "DEFAULT_LATTICE",
    "EVENT_PREFIX",
    "WADM_PREFIX",
    "ControlSubject",
    "EventSubject",
    "WadmSubject",
    "beat",
    "beats",
    "bucket_key",
    "check_config_name",
    "check_id",
    "check_lattice",
    "check_token",
    "component_key",
    "config_bucket",
    "control",
    "event",
    "events",
    "kv_stream",
    "kv_subject",
    "lattice_bucket",
    "parse_beat",
    "parse_control",
    "parse_event",
    "parse_kv",
    "parse_wadm",
    "probe",
    "trellis_bucket",
    "wadm",
    "wadm_all",
]

CONTROL_PREFIX = "wasmbus.ctl"
EVENT_PREFIX = "wasmbus.evt"
WADM_PREFIX = "wadm.api"
DEFAULT_LATTICE = "default"

_WORD = re.compile(r"[A-Za-z0-9_-]+")
"""What may name a lattice, a component or a provider: also legal in bucket names and keys."""
_CONFIG_NAME = re.compile(r"[A-Za-z0-9_=/-]+")
_TOKEN = re.compile(r"[^\s.*>\x00-\x1f\x7f]+")
_PREFIX = re.compile(r"[^\s.*>\x00-\x1f\x7f]+(?:\.[^\s.*>\x00-\x1f\x7f]+)*")

MAX_LATTICE = 64
MAX_ID = 128
MAX_CONFIG_NAME = 255
MAX_TOKEN = 255


def _checked(pattern: re.Pattern[str], text: str, what: str, limit: int, allowed: str) -> str:
    if not isinstance(text, str) or len(text) > limit or not pattern.fullmatch(text):
        shown = text if len(str(text)) <= 80 else f"{str(text)[:77]}…"
        article = "an" if what[0] in "aeio" else "a"
        raise RequestInvalid(
            f"{shown!r} is not {article} {what}.",
            remedy=f"Use 1 to {limit} characters of {allowed}.",
            name=str(text)[:80],
        )
    return text


def check_lattice(name: str) -> str:
    """The name of a lattice: letters, digits, `_`, `-`, at most 64."""
    return _checked(_WORD, name, "lattice name", MAX_LATTICE, "letters, digits, `_` and `-`")


def check_id(text: str, what: str = "component or provider id") -> str:
    """The id of a component, provider or host: letters, digits, `_`, `-`, at most 128."""
    return _checked(_WORD, text, what, MAX_ID, "letters, digits, `_` and `-`")


def check_config_name(name: str) -> str:
    """The name of a named configuration: as a key, but without dots (lattice-protocol 1.2)."""
    return _checked(_CONFIG_NAME, name, "config name", MAX_CONFIG_NAME, "letters, digits, `_`, `-`, `/` and `=`")


def check_token(text: str, what: str = "subject token") -> str:
    """Anything that may stand between two dots of a subject."""
    return _checked(_TOKEN, text, what, MAX_TOKEN, "anything but dots, blanks, `*` and `>`")


def _check_prefix(prefix: str) -> str:
    return _checked(_PREFIX, prefix, "subject prefix", MAX_TOKEN, "dot-separated tokens without blanks, `*` and `>`")


def _tokens_after(subject: str, prefix: str) -> list[str] | None:
    """The tokens of `subject` behind `prefix`, if all of them are sound."""
    if not subject.startswith(f"{prefix}."):
        return None
    tokens = subject[len(prefix) + 1 :].split(".")
    return tokens if all(len(t) <= MAX_TOKEN and _TOKEN.fullmatch(t) for t in tokens) else None


@dataclass(frozen=True, slots=True)
class ControlSubject:
    """`<prefix>.v1.<lattice>.<noun>.<verb>[.<argument>]`; the argument is a host id or a config name."""

    lattice: str
    noun: str
    verb: str
    argument: str | None = None


def control(lattice: str, noun: str, verb: str, argument: str | None = None, *, prefix: str = CONTROL_PREFIX) -> str:
    """The subject of one control operation."""
    head = f"{_check_prefix(prefix)}.v1.{check_lattice(lattice)}.{check_token(noun)}.{check_token(verb)}"
    return head if argument is None else f"{head}.{check_token(argument)}"


def parse_control(subject: str, *, prefix: str = CONTROL_PREFIX) -> ControlSubject | None:
    tokens = _tokens_after(subject, f"{prefix}.v1")
    if tokens is None or len(tokens) not in (3, 4) or not _is(_WORD, tokens[0], MAX_LATTICE):
        return None
    return ControlSubject(*tokens)


@dataclass(frozen=True, slots=True)
class EventSubject:
    """`<prefix>.<lattice>.<event>`"""

    lattice: str
    event: str


def event(lattice: str, name: str, *, prefix: str = EVENT_PREFIX) -> str:
    """The subject that events called `name` are published on."""
    return f"{_check_prefix(prefix)}.{check_lattice(lattice)}.{check_token(name, 'event name')}"


def events(lattice: str, *, prefix: str = EVENT_PREFIX) -> str:
    """The subject to subscribe to for every event of a lattice."""
    return f"{_check_prefix(prefix)}.{check_lattice(lattice)}.*"


def parse_event(subject: str, *, prefix: str = EVENT_PREFIX) -> EventSubject | None:
    tokens = _tokens_after(subject, prefix)
    if tokens is None or len(tokens) != 2 or not _is(_WORD, tokens[0], MAX_LATTICE):
        return None
    return EventSubject(*tokens)


@dataclass(frozen=True, slots=True)
class WadmSubject:
    """`<prefix>.<lattice>.model.<operation>[.<name>]`"""

    lattice: str
    operation: str
    name: str | None = None


def wadm(lattice: str, operation: str, name: str | None = None, *, prefix: str = WADM_PREFIX) -> str:
    """The subject of one operation on applications."""
    head = f"{_check_prefix(prefix)}.{check_lattice(lattice)}.model.{check_token(operation)}"
    return head if name is None else f"{head}.{check_token(name, 'application name')}"


def wadm_all(lattice: str, *, prefix: str = WADM_PREFIX) -> str:
    """The subject to subscribe to for every application operation of a lattice."""
    return f"{_check_prefix(prefix)}.{check_lattice(lattice)}.model.>"


def parse_wadm(subject: str, *, prefix: str = WADM_PREFIX) -> WadmSubject | None:
    tokens = _tokens_after(subject, prefix)
    if tokens is None or len(tokens) not in (3, 4) or tokens[1] != "model":
        return None
    if not _is(_WORD, tokens[0], MAX_LATTICE):
        return None
    return WadmSubject(tokens[0], *tokens[2:])


def beat(lattice: str, host: str) -> str:
    """The subject a host's liveness beats go out on."""
    return f"trellis.v1.{check_lattice(lattice)}.beat.{check_id(host, 'host id')}"


def beats(lattice: str) -> str:
    """The subject to subscribe to for the beats of every host."""
    return f"trellis.v1.{check_lattice(lattice)}.beat.*"


def probe(lattice: str, host: str) -> str:
    """The subject on which a host is asked whether it lives; it answers with a beat."""
    return f"trellis.v1.{check_lattice(lattice)}.probe.{check_id(host, 'host id')}"


def parse_beat(subject: str) -> tuple[str, str] | None:
    """(lattice, host) of a beat's subject."""
    tokens = _tokens_after(subject, "trellis.v1")
    if tokens is None or len(tokens) != 3 or tokens[1] != "beat":
        return None
    if not _is(_WORD, tokens[0], MAX_LATTICE) or not _is(_WORD, tokens[2], MAX_ID):
        return None
    return tokens[0], tokens[2]


def lattice_bucket(lattice: str) -> str:
    """The bucket of a lattice's components, their links, and claims."""
    return f"LATTICEDATA_{check_lattice(lattice)}"


def config_bucket(lattice: str) -> str:
    """The bucket of a lattice's named configuration."""
    return f"CONFIGDATA_{check_lattice(lattice)}"


def trellis_bucket(lattice: str) -> str:
    """The bucket of what v1 does not know: leases, and whatever else is ours alone."""
    return f"TRELLIS_{check_lattice(lattice)}"


def component_key(source: str) -> str:
    """The key under which the links of `source` are kept (lattice-protocol 3.2)."""
    return f"COMPONENT_{check_id(source)}"


_BUCKET = re.compile(r"[A-Za-z0-9_-]+")
_KEY = re.compile(r"(?!\.)[-/_=.A-Za-z0-9]+(?<!\.)")
MAX_BUCKET = 128
MAX_KEY = 1024


def kv_stream(bucket: str) -> str:
    """The stream behind a bucket."""
    return f"KV_{_checked(_BUCKET, bucket, 'bucket name', MAX_BUCKET, 'letters, digits, `_` and `-`')}"


def bucket_key(key: str) -> str:
    """`key`, if JetStream allows it as a key."""
    if ".." in key:
        raise RequestInvalid(f"{key[:80]!r} is not a key.", remedy="A key has no empty part between two dots.")
    return _checked(_KEY, key, "key", MAX_KEY, "letters, digits and `-/_=.`, no dot at either end")


def kv_subject(bucket: str, key: str) -> str:
    """The subject of one key of a bucket."""
    kv_stream(bucket)
    return f"$KV.{bucket}.{bucket_key(key)}"


def parse_kv(subject: str) -> tuple[str, str] | None:
    """(bucket, key) of the subject of a stored value."""
    if not subject.startswith("$KV."):
        return None
    bucket, dot, key = subject[4:].partition(".")
    sound = _is(_BUCKET, bucket, MAX_BUCKET) and _is(_KEY, key, MAX_KEY) and ".." not in key
    return (bucket, key) if dot and sound else None


def _is(pattern: re.Pattern[str], text: str, limit: int) -> bool:
    return len(text) <= limit and pattern.fullmatch(text) is not None
