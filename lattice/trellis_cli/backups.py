"""What a lattice keeps, as one document: `backup` reads its buckets, `restore` puts them back.

The laws of this file: nothing that somebody changed is overwritten unless that is asked for; every write names the
revision it is based on; a restore that was cut short can be run again.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trellis_lattice import subjects
from trellis_lattice.bus.connection import Connection
from trellis_lattice.bus.kv import modify
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.errors import Conflict, NotFound, RequestInvalid

__all__ = ["Restored", "decode", "encode", "read_state", "write_state"]

_FORMAT = "trellis-backup/1"
_APPLICATIONS = "wadm_manifests"
_LEASE = "lease."
"""Leases die with their holders."""

State = Mapping[str, Mapping[str, bytes]]
"""Values by bucket and key."""


@dataclass
class Restored:
    """What became of each `bucket/key`."""

    written: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def encode(lattice: str, state: State) -> str:
    """The document, in JSON."""
    buckets = {
        name: {key: base64.b64encode(value).decode() for key, value in sorted(entries.items())}
        for name, entries in state.items()
    }
    return json.dumps({"format": _FORMAT, "lattice": lattice, "buckets": buckets}, indent=1) + "\n"


def decode(text: str) -> tuple[str, dict[str, dict[str, bytes]]]:
    """Lattice and state. Raises `RequestInvalid` if that is no backup."""
    try:
        document = json.loads(text)
        if document["format"] != _FORMAT:
            raise RequestInvalid(f"This backup is of the format {document['format']!r}, not {_FORMAT!r}.")
        state = {
            str(name): {str(key): base64.b64decode(value, validate=True) for key, value in entries.items()}
            for name, entries in document["buckets"].items()
        }
        return str(document["lattice"]), state
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequestInvalid("This is not a backup of a lattice.", remedy="Make one: trellis backup FILE") from error


def buckets_of(lattice: str) -> tuple[str, ...]:
    """Where a lattice keeps its state; the applications of all lattices share one bucket."""
    return (
        subjects.lattice_bucket(lattice),
        subjects.config_bucket(lattice),
        subjects.trellis_bucket(lattice),
        _APPLICATIONS,
    )


async def read_state(connection: Connection, lattice: str, *, deadline: float) -> dict[str, dict[str, bytes]]:
    """Everything that is kept of the lattice."""
    state: dict[str, dict[str, bytes]] = {}
    for name in buckets_of(lattice):
        try:
            bucket = await open_bucket(connection, name, deadline=deadline, create=False)
        except NotFound:
            continue
        entries = await bucket.entries(deadline=deadline)
        values = {key: entry.value for key, entry in entries.items()}
        state[name] = {key: value for key, value in values.items() if key in _keys(name, values, lattice)}
    return state


def _keys(bucket: str, values: Mapping[str, bytes], lattice: str) -> set[str]:
    """What of a bucket belongs to the lattice. Of `a-b` only the list tells whether `b` is an application of `a`."""
    if bucket == _APPLICATIONS:
        return {lattice, *(f"{lattice}-{name}" for name in _names(values.get(lattice)))}
    return {key for key in values if not key.startswith(_LEASE)}


def _names(value: bytes | None) -> list[str]:
    try:
        names = json.loads(value or b"[]")
    except ValueError:
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _with_names(names: list[str]) -> Callable[[bytes | None], bytes]:
    """Adds names to the list of a lattice's applications: others may have been deployed meanwhile."""
    return lambda old: json.dumps(sorted({*_names(old), *names})).encode()


async def write_state(
    connection: Connection, lattice: str, state: Mapping[str, Any], *, force: bool, deadline: float
) -> Restored:
    """Puts back what is missing; what differs only with `force`. Raises `RequestInvalid` for foreign buckets."""
    allowed = buckets_of(lattice)
    if foreign := [name for name in state if name not in allowed]:
        raise RequestInvalid(f"This backup has what is not of lattice `{lattice}`: {', '.join(foreign)}.")
    done = Restored()
    for name, entries in state.items():
        bucket = await open_bucket(connection, name, deadline=deadline)
        for key, value in entries.items():
            if key not in _keys(name, entries, lattice) or (name == _APPLICATIONS and key == lattice):
                continue
            there = await bucket.get(key, deadline=deadline)
            if there is not None and there.value == value:
                done.unchanged.append(f"{name}/{key}")
            elif there is not None and not force:
                done.refused.append(f"{name}/{key}")
            else:
                try:
                    revision = there.revision if there is not None else 0
                    await bucket.put(key, value, deadline=deadline, expected=revision)
                except Conflict:
                    done.refused.append(f"{name}/{key}")
                else:
                    done.written.append(f"{name}/{key}")
        if name == _APPLICATIONS and lattice in entries:
            # Last: whoever is listed is there.
            await modify(bucket, lattice, _with_names(_names(entries[lattice])), deadline=deadline)
    return done
