"""The record of one application, as v1 stores it, and what may be done to it (lattice-protocol 7.1, 7.2). Pure.

`{"manifests": {version: manifest, … in order of arrival}, "deployed_version": version or null}`
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from trellis_lattice.errors import Conflict, NotFound, PeerMisbehaved, RequestInvalid, TrellisError
from trellis_wadm.manifest.model import Manifest
from trellis_wadm.planner.conflicts import find_conflicts
from trellis_wadm.planner.desired import desired_of, unresolved_references, workload_id

__all__ = ["StoredApplication", "check_deploy", "check_undeploy", "dependents"]


@dataclass(frozen=True, slots=True)
class StoredApplication:
    """All versions of one application, and which of them is deployed."""

    name: str
    manifests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    deployed_version: str | None = None

    @classmethod
    def decode(cls, name: str, payload: bytes) -> StoredApplication:
        """Raises `PeerMisbehaved` if the record is not one."""
        try:
            data = json.loads(payload)
            manifests, deployed = data["manifests"], data.get("deployed_version")
            if not isinstance(manifests, dict) or not (deployed is None or isinstance(deployed, str)):
                raise TypeError
            return cls(name, manifests, deployed)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise PeerMisbehaved(f"The stored record of application '{name}' cannot be read.", name=name) from None

    def encode(self) -> bytes:
        record = {"manifests": self.manifests, "deployed_version": self.deployed_version}
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()

    @property
    def latest(self) -> str | None:
        """The version that was put last."""
        return next(reversed(list(self.manifests)), None)

    def manifest(self, version: str | None) -> Manifest | None:
        """A version as a manifest; None if there is none, or another tool stored something unreadable."""
        data = self.manifests.get(version) if version is not None else None
        try:
            return Manifest.model_validate(data) if data is not None else None
        except ValidationError:
            return None

    @property
    def deployed(self) -> Manifest | None:
        return self.manifest(self.deployed_version)

    def resolve(self, version: str | None) -> str:
        """The version meant by a name, `latest` or None. Raises `NotFound`."""
        wanted = self.latest if version in (None, "latest") else version
        if wanted is None or wanted not in self.manifests:
            known = ", ".join(self.manifests) or "none"
            raise NotFound(
                f"Application '{self.name}' has no version '{version}'.", remedy=f"It has: {known}.", name=self.name
            )
        return wanted

    def with_version(self, manifest: Manifest, *, replacing: bool = False) -> StoredApplication:
        """With one more version, or another content of one. Raises `Conflict` if it is there and not to be replaced."""
        version = manifest.version or ""
        if version in self.manifests and not replacing:
            raise Conflict(
                f"Manifest version {version} already exists.",
                remedy="Change metadata.annotations.version, or leave it out to get a new one each time.",
                name=self.name,
            )
        return replace(self, manifests={**self.manifests, version: manifest.to_wire()})

    def with_deployed(self, version: str | None) -> StoredApplication:
        return replace(self, deployed_version=version)

    def without(self, version: str) -> StoredApplication:
        """Without one version; if that was deployed, nothing is."""
        left = {name: data for name, data in self.manifests.items() if name != version}
        deployed = None if self.deployed_version == version else self.deployed_version
        return replace(self, manifests=left, deployed_version=deployed)


def check_deploy(candidate: Manifest, stored: Mapping[str, StoredApplication]) -> None:
    """Refuses what could not hold beside what is deployed. Raises `Conflict` or `RequestInvalid`."""
    others = {name: app.deployed for name, app in stored.items() if name != candidate.name and app.deployed is not None}
    deployed = {name: manifest for name, manifest in others.items() if manifest is not None}
    known = {name: manifest for name, app in stored.items() if (manifest := app.manifest(app.latest)) is not None}
    known |= {**deployed, candidate.name: candidate}
    problems = unresolved_references(candidate, known)
    if problems:
        raise RequestInvalid(problems[0], remedy="Put that application first, with the annotation of shared ones.")
    _check_ids(candidate, deployed, known)
    before, after = desired_of(deployed.values(), known), desired_of([*deployed.values(), candidate], known)
    settled = {scaler.id for app in before.applications.values() for scaler in app.scalers}
    for conflict in find_conflicts(after, settled).values():
        if conflict.app == candidate.name:
            raise Conflict(conflict.message, remedy="Change one of them, or undeploy the other.", app=conflict.other)


def _check_ids(candidate: Manifest, deployed: Mapping[str, Manifest], known: Mapping[str, Manifest]) -> None:
    taken = {
        workload_id(manifest, component, known): name
        for name, manifest in deployed.items()
        for component in manifest.spec.components
        if component.properties.application is None
    }
    for component in candidate.spec.components:
        identifier = workload_id(candidate, component, known)
        if component.properties.application is None and identifier in taken:
            raise Conflict(
                f"Component identifier '{identifier}' is already deployed in a different application "
                f"'{taken[identifier]}'.",
                remedy="Choose another properties.id, or leave it out.",
                name=candidate.name,
            )


def dependents(name: str, stored: Mapping[str, StoredApplication]) -> list[str]:
    """Deployed applications that use components of this one."""
    found = []
    for other, app in sorted(stored.items()):
        manifest = app.deployed if other != name else None
        references = [component.properties.application for component in manifest.spec.components] if manifest else []
        if any(reference is not None and reference.name == name for reference in references):
            found.append(other)
    return found


def check_undeploy(name: str, stored: Mapping[str, StoredApplication]) -> None:
    """Refuses to take away what other applications use. Raises `Conflict`."""
    users = dependents(name, stored)
    if users:
        listed = ", ".join(f"'{user}'" for user in users)
        error: TrellisError = Conflict(
            f"Application '{name}' is used by: {listed}.", remedy="Undeploy these first.", name=name, used_by=users
        )
        raise error
