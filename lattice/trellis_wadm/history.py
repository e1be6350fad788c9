"""When versions of an application came and when each was deployed, and by whom as far as they said. Pure.

One record for each application in the lattice's own bucket, beside v1's record of its manifests, which v1's tools
rewrite without what they do not know. What they did is missing here; nothing but `trellis app history` and
`trellis app rollback` depends on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trellis_lattice.errors import NotFound

__all__ = ["MAX_DEPLOYMENTS", "Act", "Deployment", "History", "chosen_version", "history_key"]

MAX_DEPLOYMENTS = 200
"""Deployments that are remembered of one application; the oldest are forgotten."""
MAX_BY = 200
"""Longest name of whoever did something."""
_NUMBER = re.compile(r"#?([0-9]{1,6})")


def history_key(name: str) -> str:
    """Where the record of an application is in the lattice's own bucket."""
    return f"history.{name}"


@dataclass(frozen=True, slots=True)
class Act:
    """When something was done, in seconds since 1970, and by whom; empty if they did not say."""

    at: float
    by: str = ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """`version` became the one that is to run; None: it was undeployed."""

    version: str | None
    act: Act


@dataclass(frozen=True, slots=True)
class History:
    """`puts` by version, `deployments` from the oldest to the newest."""

    puts: Mapping[str, Act] = field(default_factory=dict)
    deployments: tuple[Deployment, ...] = ()

    def with_put(self, version: str, act: Act) -> History:
        return replace(self, puts={**self.puts, version: act})

    def with_deployed(self, version: str | None, act: Act) -> History:
        """Deploying again what is deployed is nothing new."""
        if self.deployments and self.deployments[-1].version == version:
            return self
        kept = self.deployments[-MAX_DEPLOYMENTS + 1 :]
        return replace(self, deployments=(*kept, Deployment(version, act)))

    def only(self, versions: Collection[str]) -> History:
        """Without versions that are not stored any more. When these were deployed stays known."""
        return replace(self, puts={version: act for version, act in self.puts.items() if version in versions})

    def last_deployed(self, version: str) -> Act | None:
        """When a version was deployed last."""
        return next((one.act for one in reversed(self.deployments) if one.version == version), None)

    def encode(self) -> bytes:
        record = {
            "puts": {version: _act_data(act) for version, act in self.puts.items()},
            "deployments": [{"version": one.version, **_act_data(one.act)} for one in self.deployments],
        }
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, payload: bytes | None) -> History:
        """What can be read of a record."""
        try:
            record = json.loads(payload) if payload else {}
        except (ValueError, RecursionError):
            return cls()
        if not isinstance(record, dict):
            return cls()
        puts, deployments = record.get("puts"), record.get("deployments")
        return cls(
            {version: act for version, item in _items(puts) if (act := _act(item)) is not None},
            tuple(one for item in (deployments if isinstance(deployments, list) else ()) if (one := _deployment(item))),
        )


def _act_data(act: Act) -> dict[str, Any]:
    return {"at": round(act.at, 3), "by": act.by} if act.by else {"at": round(act.at, 3)}


def _items(value: object) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _act(item: object) -> Act | None:
    at, by = (item.get("at"), item.get("by", "")) if isinstance(item, dict) else (None, "")
    sound = isinstance(at, int | float) and not isinstance(at, bool) and 0 <= at < 2**40 and isinstance(by, str)
    return Act(float(at), by[:MAX_BY]) if sound and at is not None else None


def _deployment(item: object) -> Deployment | None:
    act = _act(item)
    version = item.get("version") if isinstance(item, dict) else None
    return Deployment(version, act) if act is not None and isinstance(version, str | None) else None


def chosen_version(
    to: str | None, stored: Collection[str], deployed: str | None, deployments: Collection[str | None]
) -> str:
    """The version that a rollback goes to.

    `to`: a version's name, or its number in `stored` (from 1, in the order in which they were put; `#3` is a number
    even where a version is called `3`); None: the one that was deployed before the one that is, or the last one if
    none is. `deployments` from the oldest to the newest. Raises `NotFound`.
    """
    known = list(stored)
    if to is None:
        for version in reversed(list(deployments)):
            if version is not None and version != deployed and version in known:
                return version
        raise NotFound(
            "It is not known which version was deployed before.", remedy="Name one: --to VERSION or --to NUMBER."
        )
    if to in known:
        return to
    number = _NUMBER.fullmatch(to)
    if number is not None and 1 <= int(number[1]) <= len(known):
        return known[int(number[1]) - 1]
    listed = ", ".join(f"{i} {version}" for i, version in enumerate(known, 1))
    raise NotFound(f"There is no version {to!r}.", remedy=f"There are: {listed or 'none'}.")
