"""Links and named configuration, as the whole lattice shares them in two JetStream buckets.

The laws of this file: this host's copy is what the watches have reported, never what someone asked for; a
write is revision-checked and shows here only when the watch reports it (lattice-protocol 3.5); what cannot be
read is logged and treated as empty, so that one bad record harms nobody else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from trellis_lattice.bus.connection import Connection
from trellis_lattice.bus.kv import Change, KeyValueBucket, Watch, modify
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.config import ConfigMap, decode_config, encode_config, overlay
from trellis_lattice.control.claims import CLAIMS_PREFIX, ComponentClaims, StoredClaims, claims_key, read_claims
from trellis_lattice.errors import Conflict, RequestInvalid
from trellis_lattice.links import ComponentSpec, Link, LinkId, LinkTable, check_link, put_link, remove_link, stored_spec
from trellis_lattice.subjects import bucket_key, component_key, config_bucket, lattice_bucket

__all__ = ["SharedState"]

_log = logging.getLogger("trellis.host")

_COMPONENT = "COMPONENT_"


class SharedState:
    """Made by `open`. `on_links(new or changed, removed)` and `on_config(name)` tell of changes, synchronously."""

    def __init__(self, data: KeyValueBucket, configs: KeyValueBucket) -> None:
        self._data = data
        self._configs = configs
        self._watches: list[Watch] = []
        self._stored: dict[str, ConfigMap] = {}
        self._revisions: dict[str, int] = {}
        """Of the links of each source, as they are known: what is older is not taken."""
        self.links = LinkTable()
        self.claims: dict[str, StoredClaims] = {}
        """By key, of everything signed that ever ran in the lattice."""
        self.on_links: Callable[[list[Link], list[Link]], None] = lambda changed, removed: None
        self.on_config: Callable[[str], None] = lambda name: None

    @classmethod
    async def open(cls, connection: Connection, lattice: str, *, deadline: float) -> SharedState:
        """Opens both buckets, creating them if missing, and reads what is there."""
        self = cls(
            await open_bucket(connection, lattice_bucket(lattice), deadline=deadline),
            await open_bucket(connection, config_bucket(lattice), deadline=deadline),
        )
        try:
            for bucket, on_change in ((self._data, self._on_data), (self._configs, self._on_config)):
                self._watches.append(await bucket.watch(on_change, deadline=deadline))
            for watch in self._watches:
                await watch.synced(deadline=deadline)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def aclose(self) -> None:
        watches, self._watches = self._watches, []
        for watch in watches:
            await watch.aclose()

    # links --------------------------------------------------------------------------------------------

    def links_at(self, workload: str) -> list[Link]:
        """Every link that starts or ends at a component or provider."""
        return [*self.links.of_source(workload), *self.links.of_target(workload)]

    async def put_link(self, link: Link, *, deadline: float) -> None:
        """Raises `Conflict` (v1's rule, lattice-protocol 4.2) and `ConfigError` for configs that do not exist."""
        check_link(link)
        await self._check_configs((*link.source_config, *link.target_config), deadline=deadline)

        def change(record: bytes | None) -> bytes:
            spec = _spec(record)
            return spec.model_copy(update={"links": put_link(spec.links, link)}).to_json()

        await modify(self._data, component_key(link.source_id), change, deadline=deadline)

    async def delete_link(self, id: LinkId, *, deadline: float) -> tuple[bool, Link | None]:
        """Whether the source has a record at all, and the link that was removed."""
        existed, removed = False, None

        def change(record: bytes | None) -> bytes | None:
            nonlocal existed, removed
            existed = record is not None
            spec = _spec(record)
            links, removed = remove_link(spec.links, id)
            return spec.model_copy(update={"links": links}).to_json() if removed is not None else record

        await modify(self._data, component_key(id.source_id), change, deadline=deadline)
        return existed, removed

    async def remember_image(self, component: str, image: str, *, deadline: float) -> None:
        """Writes the record of a component that has none yet (lattice-protocol 3.2)."""
        if component in self._revisions:
            return
        try:
            record = ComponentSpec(url=image).to_json()
            await self._data.put(component_key(component), record, deadline=deadline, expected=0)
        except Conflict:
            _log.debug("Somebody else has written the record of %s", component)

    async def refresh_links(self, source: str, *, deadline: float) -> None:
        """Reads the links of one source now, where waiting for the watch would be too late."""
        entry = await self._data.get(component_key(source), deadline=deadline)
        if entry is not None and entry.revision > self._revisions.get(source, 0):
            self._on_data(Change(entry.key, entry.value, entry.revision))

    def _on_data(self, change: Change) -> None:
        if change.key.startswith(CLAIMS_PREFIX):
            self._on_claims(change)
        if not change.key.startswith(_COMPONENT):
            return  # what older hosts wrote
        source = change.key.removeprefix(_COMPONENT)
        if change.value is None:
            self._revisions.pop(source, None)
        else:
            self._revisions[source] = change.revision
        try:
            links = _spec(change.value).links
        except RequestInvalid as error:
            _log.warning("The links of %s cannot be read: %s", source, error)
            return
        changed, removed = self.links.replace(source, links)
        if changed or removed:
            self.on_links(changed, removed)

    # claims -------------------------------------------------------------------------------------------

    async def put_claims(self, claims: ComponentClaims, *, deadline: float) -> None:
        """Stores what the signature of a component says."""
        key, record = claims_key(claims.subject), claims.to_json()
        await modify(self._data, key, lambda old: record, deadline=deadline)

    def _on_claims(self, change: Change) -> None:
        self.claims.pop(change.key, None)
        if change.value is not None:
            try:
                self.claims[change.key] = read_claims(change.key, change.value)
            except RequestInvalid as error:
                _log.warning("The claims under %.200s cannot be read: %s", change.key, error)

    # configuration ------------------------------------------------------------------------------------

    def config(self, names: Iterable[str]) -> ConfigMap:
        """The maps called `names` laid over each other. Raises `ConfigError` naming those that do not exist."""
        return overlay(names, self._stored)

    def known_config(self, names: Iterable[str]) -> ConfigMap:
        """As `config`, but what was deleted while in use counts as empty (lattice-protocol 3.6)."""
        return overlay([name for name in names if name in self._stored], self._stored)

    async def refresh_config(self, names: Iterable[str], *, deadline: float) -> None:
        """Reads configs that the watch has not reported yet."""
        for name in names:
            if name not in self._stored and (values := await self.get_config(name, deadline=deadline)) is not None:
                self._stored.setdefault(name, values)  # the watch may have been faster, and is newer

    async def get_config(self, name: str, *, deadline: float) -> ConfigMap | None:
        entry = await self._configs.get(bucket_key(name), deadline=deadline)
        return decode_config(entry.value, name) if entry is not None else None

    async def put_config(self, name: str, values: ConfigMap, *, deadline: float) -> None:
        await self._configs.put(bucket_key(name), encode_config(values), deadline=deadline)

    async def delete_config(self, name: str, *, deadline: float) -> None:
        await self._configs.delete(bucket_key(name), deadline=deadline, purge=True)

    async def _check_configs(self, names: tuple[str, ...], *, deadline: float) -> None:
        await self.refresh_config(names, deadline=deadline)
        missing = [name for name in names if name not in self._stored]
        if missing:
            raise RequestInvalid(
                f"Failed to validate configuration and secrets. Configuration {missing[0]} not found in config store. ",
                config=missing[0],
            )

    def _on_config(self, change: Change) -> None:
        try:
            values = None if change.value is None else decode_config(change.value, change.key)
        except RequestInvalid as error:
            _log.warning("Config %s cannot be read: %s", change.key, error)
            return
        if values is None:
            self._stored.pop(change.key, None)
        else:
            self._stored[change.key] = values
        self.on_config(change.key)


def _spec(record: bytes | None) -> ComponentSpec:
    return stored_spec(record) if record is not None else ComponentSpec()
