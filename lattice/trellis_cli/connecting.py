"""From the options of a command to a connection: the effective values (`targets`), and what NATS needs of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trellis_cli.contexts import ContextStore
from trellis_cli.settings import DEFAULT_LATTICE, DEFAULT_NATS_URL, Settings, default_data_dir
from trellis_cli.targets import FIELDS, Layer, Value, environment_layers, resolve, variables
from trellis_lattice.errors import NotFound, RequestInvalid

if TYPE_CHECKING:
    from trellis_lattice.bus.connection import ConnectionSettings

__all__ = [
    "Place",
    "Target",
    "connection_settings",
    "environ_of",
    "find_place",
    "find_target",
    "option_layer",
    "without_connection",
]

_FLAGS = {"creds": "--creds", "nats_url": "--nats-url", "lattice": "--lattice"}
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a lattice is: NATS urls, separated by commas, and its name."""

    nats_url: str
    lattice: str


@dataclass(frozen=True, slots=True)
class Target:
    """What is in effect for one command, by the names in `targets.FIELDS`."""

    values: Mapping[str, Value]

    def get(self, name: str) -> str | None:
        value = self.values.get(name)
        return value.value if value is not None else None

    @property
    def place(self) -> Place:
        return Place(self.values["nats_url"].value, self.values["lattice"].value)

    @property
    def control_prefix(self) -> str | None:
        return self.get("control_prefix")

    @property
    def environment(self) -> dict[str, str]:
        """The same for another process: secrets do not belong on a command line."""
        return {FIELDS[name]: value.value for name, value in self.values.items()}

    def connection(self, name: str) -> ConnectionSettings:
        """How to connect. Raises `NotFound` for a file that does not exist, `RequestInvalid`."""
        from trellis_lattice.bus.connection import ConnectionSettings, TlsSettings

        ca, certificate, key = (self._file(name) for name in ("tls_ca", "tls_cert", "tls_key"))
        first = self._flag("tls_first")
        tls = TlsSettings(ca, certificate, key, first) if ca or certificate or key or first else None
        return ConnectionSettings(
            urls=tuple(url.strip() for url in self.place.nats_url.split(",") if url.strip()),
            name=name,
            credentials=self._file("creds"),
            jwt=self.get("nats_jwt"),
            seed=self.get("nats_seed"),
            user=self.get("nats_user"),
            password=self.get("nats_password"),
            token=self.get("nats_token"),
            tls=tls,
            jetstream_domain=self.get("js_domain"),
        )

    def _file(self, name: str) -> Path | None:
        value = self.values.get(name)
        if value is None:
            return None
        path = Path(value.value).expanduser()
        if not path.is_file():
            raise NotFound(f"{value.origin} names {path}, which is no file.", remedy="Correct it or leave it out.")
        return path.absolute()

    def _flag(self, name: str) -> bool:
        value = self.values.get(name)
        if value is None or value.value.lower() in _FALSE:
            return False
        if value.value.lower() not in _TRUE:
            raise RequestInvalid(f"{value.origin} is {value.value!r}.", remedy="Use true or false.")
        return True


def environ_of(settings: Settings) -> Mapping[str, str]:
    """Where the command looks for variables."""
    return os.environ if settings.environ is None else settings.environ


def find_target(settings: Settings, *, asked_only: bool = False) -> Target:
    """What is in effect: options, environment, context, the running `trellis up`, and defaults.

    `asked_only`: without what is only implied (a selected context, a running `trellis up`). Raises `NotFound` for a
    context that does not exist.
    """
    environ = environ_of(settings)
    store = ContextStore(environ)
    ours, v1 = environment_layers(environ)
    asked = [option_layer(settings), ours, v1]
    implied: list[Layer] = []
    if named := settings.context or environ.get("TRELLIS_CONTEXT"):
        asked.append(store.get(named).layer())
    elif not asked_only:
        implied += _implied(store, environ)
    default = {"nats_url": Value(DEFAULT_NATS_URL, "default"), "lattice": Value(DEFAULT_LATTICE, "default")}
    return Target(resolve(asked, implied, default))


def _implied(store: ContextStore, environ: Mapping[str, str]) -> list[Layer]:
    """What the `nats` command or wash have selected counts least: it was not selected for us."""
    from trellis_cli.up.record import running

    layers = [store.get(store.selected).layer()] if store.selected else []
    record = running(default_data_dir(environ))
    if record is not None and record.nats_url:
        origin = "the running `trellis up`"
        layers.append({"nats_url": Value(record.nats_url, origin), "lattice": Value(record.lattice, origin)})
    foreign = store.foreign_selection()
    return [*layers, foreign.layer()] if foreign is not None else layers


def option_layer(settings: Settings) -> Layer:
    """What was said on the command line."""
    layer: dict[str, Value] = {}
    for name in FIELDS:
        given = getattr(settings, name, None)
        if given is not None:
            text = str(given).lower() if isinstance(given, bool) else str(given)
            layer[name] = Value(text, _FLAGS.get(name, "--" + name.replace("_", "-")))
    return layer


def without_connection(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what says how to connect."""
    own = frozenset(variables())
    return {key: value for key, value in environ.items() if key not in own}


def find_place(settings: Settings) -> Place:
    """Where the lattice is."""
    return find_target(settings).place


def connection_settings(settings: Settings, name: str) -> ConnectionSettings:
    """How a command connects to the lattice it means, as a client called `name`."""
    return find_target(settings).connection(name)
