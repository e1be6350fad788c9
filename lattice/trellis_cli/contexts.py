"""Saved ways to reach a lattice: our own contexts, those of the `nats` command, and those of wash.

The laws of this file: foreign contexts are read and never written; a file of ours is readable by its user alone; a
name means our own context first, then that of `nats`, then that of wash, and `nats/NAME` or `wash/NAME` mean that one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trellis_cli.settings import config_dir, user_config
from trellis_cli.targets import FIELDS, Layer, Value
from trellis_lattice.errors import ConfigError, Conflict, NotFound, RequestInvalid

__all__ = ["Context", "ContextStore"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_NATS = {
    "url": "nats_url",
    "creds": "creds",
    "user": "nats_user",
    "password": "nats_password",
    "token": "nats_token",
    "user_jwt": "nats_jwt",
    "user_seed": "nats_seed",
    "ca": "tls_ca",
    "cert": "tls_cert",
    "key": "tls_key",
    "jetstream_domain": "js_domain",
}
_WASH = {
    "lattice": "lattice",
    "lattice_prefix": "lattice",
    "ctl_credsfile": "creds",
    "ctl_jwt": "nats_jwt",
    "ctl_seed": "nats_seed",
    "ctl_tls_ca_file": "tls_ca",
    "js_domain": "js_domain",
}


@dataclass(frozen=True, slots=True)
class Context:
    """`kind`: `trellis`, `nats` or `wash`. `values` by the names in `targets.FIELDS`."""

    kind: str
    name: str
    path: Path
    values: Mapping[str, str]

    @property
    def title(self) -> str:
        return self.name if self.kind == "trellis" else f"{self.kind}/{self.name}"

    def layer(self) -> Layer:
        return {name: Value(value, f"context {self.title}") for name, value in self.values.items()}


def _own(data: Mapping[str, Any], folder: Path) -> dict[str, str]:
    return {name: str(data[name]) for name in FIELDS if data.get(name)}


def _of_nats(data: Mapping[str, Any], folder: Path) -> dict[str, str]:
    values = {ours: str(data[theirs]) for theirs, ours in _NATS.items() if data.get(theirs)}
    if data.get("tls_first") is True:
        values["tls_first"] = "true"
    if data.get("nkey"):
        values["nats_seed"] = _seed_in(Path(os.path.expanduser(str(data["nkey"]))))
    return values


def _seed_in(path: Path) -> str:
    """The `nats` command keeps nkey seeds in files of their own."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise ConfigError(f"The nkey file {path} cannot be read: {error.strerror}.") from error
    seed = next((line.strip() for line in lines if line.strip().startswith("S")), None)
    if seed is None:
        raise ConfigError(f"There is no seed in the nkey file {path}.")
    return seed


def _of_wash(data: Mapping[str, Any], folder: Path) -> dict[str, str]:
    values = {ours: str(data[theirs]) for theirs, ours in _WASH.items() if data.get(theirs)}
    if data.get("ctl_host") or data.get("ctl_port"):
        values["nats_url"] = f"nats://{data.get('ctl_host') or '127.0.0.1'}:{data.get('ctl_port') or 4222}"
    if data.get("ctl_tls_first") is True:
        values["tls_first"] = "true"
    return values


_Reader = Callable[[Mapping[str, Any], Path], dict[str, str]]


class ContextStore:
    """The contexts of one user, whose home and configuration folders `environ` names."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        home = Path(environ.get("HOME") or Path.home())
        own, nats = config_dir(environ), user_config(environ) / "nats"
        self._folder = own / "contexts"
        self._selection = own / "context"
        self._nats_selection = nats / "context.txt"
        self._wash = home / ".wash" / "contexts"
        self._sources: dict[str, tuple[Path, _Reader]] = {
            "trellis": (self._folder, _own),
            "nats": (nats / "context", _of_nats),
            "wash": (self._wash, _of_wash),
        }

    def list(self) -> list[Context]:
        """All that can be read; a broken file is left out here, and named by `get`."""
        found = []
        for kind, (folder, _) in self._sources.items():
            for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
                if kind != "wash" or path.stem != "index":
                    try:
                        found.append(self._read(kind, path.stem))
                    except ConfigError:
                        continue
        return found

    def get(self, name: str) -> Context:
        """The context that `name` means. Raises `NotFound`, `ConfigError`."""
        kind, slash, rest = name.partition("/")
        kinds = (kind,) if slash and kind in self._sources else tuple(self._sources)
        short = rest if len(kinds) == 1 else name
        for candidate in kinds:
            if _NAME.fullmatch(short) and (self._sources[candidate][0] / f"{short}.json").is_file():
                return self._read(candidate, short)
        raise NotFound(f"There is no context `{name}`.", remedy="List: trellis ctx list", name=name[:80])

    def own(self, name: str) -> Context:
        """Our own context of that name. Raises `NotFound`."""
        if not _NAME.fullmatch(name) or not (self._folder / f"{name}.json").is_file():
            raise NotFound(f"There is no context `{name}` of ours.", remedy="List: trellis ctx list")
        return self._read("trellis", name)

    @property
    def selected(self) -> str | None:
        """What `trellis ctx use` chose."""
        return _first_line(self._selection)

    def foreign_selection(self) -> Context | None:
        """What the `nats` command, or else wash, has selected, if it can be read."""
        wash = _first_line(self._wash / "default") or self._wash_index()
        for kind, name in (("nats", _first_line(self._nats_selection)), ("wash", wash)):
            if name and _NAME.fullmatch(name) and (self._sources[kind][0] / f"{name}.json").is_file():
                try:
                    return self._read(kind, name)
                except ConfigError:
                    continue
        return None

    def select(self, name: str | None) -> None:
        """Makes that context the one for every command; None: none. Raises `NotFound`."""
        if name is None:
            self._selection.unlink(missing_ok=True)
        else:
            _write(self._selection, self.get(name).title + "\n")

    def save(self, name: str, values: Mapping[str, str], *, replace: bool) -> Context:
        """Keeps a context of our own. Raises `Conflict` if it exists, or (`replace`) `NotFound` if it does not."""
        if not _NAME.fullmatch(name):
            raise RequestInvalid(f"{name[:80]!r} is no name for a context.", remedy="Use letters, digits, `_.-`.")
        path = self._folder / f"{name}.json"
        if path.exists() and not replace:
            raise Conflict(f"There is a context `{name}` already.", remedy=f"Change it: trellis ctx edit {name}")
        if replace and not path.exists():
            raise NotFound(f"There is no context `{name}` of ours.", remedy=f"Make it: trellis ctx new {name}")
        _write(path, json.dumps(dict(values), indent=2) + "\n")
        return self._read("trellis", name)

    def delete(self, name: str) -> None:
        """Raises `NotFound`; foreign ones are not ours to delete."""
        path = self.own(name).path
        if self.selected == name:
            self.select(None)
        path.unlink()

    def _wash_index(self) -> str | None:
        try:
            index = json.loads((self._wash / "index.json").read_text())
        except (OSError, ValueError):
            return None
        return str(index["name"]) if isinstance(index, dict) and "name" in index else None

    def _read(self, kind: str, name: str) -> Context:
        folder, read = self._sources[kind]
        path = folder / f"{name}.json"
        try:
            data = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"The context file {path} cannot be read: {error}.") from error
        if not isinstance(data, dict):
            raise ConfigError(f"The context file {path} does not hold an object.")
        return Context(kind, name, path, read(data, folder))


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text().strip().splitlines()[0].strip() or None
    except (OSError, IndexError):
        return None


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        fresh.replace(path)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.", remedy="Name another folder with TRELLIS_CONFIG_DIR."
        ) from error
