"""What the stored applications ask for, read once and not on every pass. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from trellis_wadm.catalog import StoredApplication
from trellis_wadm.manifest.model import Manifest
from trellis_wadm.planner.desired import Desired, desired_of

__all__ = ["Wishes"]


class Wishes:
    """Remembers what it made of the records it saw last. Records are never changed in place."""

    def __init__(self) -> None:
        self._seen: dict[str, StoredApplication] = {}
        self._read: dict[str, tuple[StoredApplication, Manifest | None, Manifest | None]] = {}
        self._desired = Desired()

    def of(self, applications: Mapping[str, StoredApplication]) -> Desired:
        """The same as `desired_of` for what is deployed; the latest versions resolve references to shared ones."""
        if len(applications) == len(self._seen) and all(
            self._seen.get(name) is app for name, app in applications.items()
        ):
            return self._desired
        self._seen = dict(applications)
        read = {name: self._manifests(name, app) for name, app in applications.items()}
        self._read = read
        deployed = [manifest for _, manifest, _ in read.values() if manifest is not None]
        latest = {name: manifest for name, (_, _, manifest) in read.items() if manifest is not None}
        self._desired = desired_of(deployed, latest)
        return self._desired

    def _manifests(
        self, name: str, app: StoredApplication
    ) -> tuple[StoredApplication, Manifest | None, Manifest | None]:
        known = self._read.get(name)
        if known is not None and known[0] is app:
            return known
        latest = app.manifest(app.latest)
        return app, latest if app.deployed_version == app.latest else app.deployed, latest
