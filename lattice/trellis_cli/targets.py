"""Which lattice a command talks to and as whom: options, environment and contexts laid over one another. Pure.

The laws of this file: an option beats `TRELLIS_*`, that beats what v1's environment says, that beats a context, that
beats the running `trellis up`, that beats the default. Who we are comes from one place alone, the first that says
anything of it: half a user of one and half of another would be nobody. A context that nobody asked for is left
aside, whole, once something above it names a server: its credentials are not for that one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from trellis_lattice.errors import RequestInvalid

__all__ = ["FIELDS", "SECRETS", "Layer", "Value", "environment_layers", "resolve", "v1_timeout", "variables"]

FIELDS: Mapping[str, str] = {
    "nats_url": "TRELLIS_NATS_URL",
    "lattice": "TRELLIS_LATTICE",
    "creds": "TRELLIS_NATS_CREDS",
    "nats_user": "TRELLIS_NATS_USER",
    "nats_password": "TRELLIS_NATS_PASSWORD",
    "nats_token": "TRELLIS_NATS_TOKEN",
    "nats_jwt": "TRELLIS_NATS_JWT",
    "nats_seed": "TRELLIS_NATS_SEED",
    "tls_ca": "TRELLIS_TLS_CA",
    "tls_cert": "TRELLIS_TLS_CERT",
    "tls_key": "TRELLIS_TLS_KEY",
    "tls_first": "TRELLIS_TLS_FIRST",
    "js_domain": "TRELLIS_JS_DOMAIN",
    "control_prefix": "TRELLIS_CONTROL_PREFIX",
}
"""What there is to know, and the variable for each."""
SECRETS = frozenset({"nats_password", "nats_token", "nats_jwt", "nats_seed"})
_IDENTITY = ("creds", "nats_user", "nats_password", "nats_token", "nats_jwt", "nats_seed")
_V1 = {
    "WASMCLOUD_LATTICE": "lattice",
    "WASH_CTL_CREDS": "creds",
    "WASMCLOUD_CTL_JWT": "nats_jwt",
    "WASMCLOUD_CTL_SEED": "nats_seed",
    "WASMCLOUD_JS_DOMAIN": "js_domain",
    "WASMCLOUD_CTL_TOPIC_PREFIX": "control_prefix",
}
_V1_SERVER = ("WASMCLOUD_CTL_HOST", "WASMCLOUD_CTL_PORT")
_V1_TIMEOUT = "WASMCLOUD_CTL_TIMEOUT_MS"


@dataclass(frozen=True, slots=True)
class Value:
    """One setting and where it comes from, for people."""

    value: str
    origin: str


Layer = Mapping[str, Value]
"""What one place says, by the names in `FIELDS`."""


def variables() -> Iterator[str]:
    """Every variable that says something about the connection."""
    yield from FIELDS.values()
    yield from _V1
    yield from _V1_SERVER
    yield from ("TRELLIS_CONTEXT", _V1_TIMEOUT)


def environment_layers(environ: Mapping[str, str]) -> tuple[Layer, Layer]:
    """Ours, and v1's (lattice-protocol 8.1). An empty variable says nothing."""
    ours = {name: Value(environ[key], key) for name, key in FIELDS.items() if environ.get(key)}
    v1 = {name: Value(environ[key], key) for key, name in _V1.items() if environ.get(key)}
    host, port = (environ.get(key) for key in _V1_SERVER)
    if host or port:
        used = " and ".join(key for key in _V1_SERVER if environ.get(key))
        v1["nats_url"] = Value(f"nats://{host or '127.0.0.1'}:{port or 4222}", used)
    return ours, v1


def v1_timeout(environ: Mapping[str, str]) -> float | None:
    """Seconds, from v1's milliseconds. Raises `RequestInvalid`."""
    text = environ.get(_V1_TIMEOUT)
    if not text:
        return None
    if not text.isdigit() or int(text) == 0:
        raise RequestInvalid(f"{_V1_TIMEOUT} is {text!r}; it has to be a number of milliseconds.")
    return int(text) / 1000


def resolve(asked: Sequence[Layer], implied: Sequence[Layer], default: Layer) -> dict[str, Value]:
    """The effective values. `asked`: what was said for this command; `implied`: what is true unless it says otherwise.

    An implied layer that names a server is used only if none above it does.
    """
    chosen: dict[str, Value] = {}
    identified = False
    for number, layer in enumerate((*asked, *implied)):
        if number >= len(asked) and "nats_url" in chosen and "nats_url" in layer:
            continue
        for name, value in layer.items():
            if name not in chosen and not (identified and name in _IDENTITY):
                chosen[name] = value
        identified = identified or any(name in layer for name in _IDENTITY)
    return {**default, **chosen}
