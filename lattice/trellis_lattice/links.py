"""Links: which target answers what a source imports (lattice-protocol 3.2 and 4). Pure.

The laws of this file: a link is directional and carries no version; of two links that say something about the
same interface of one source under one name, the later one counts; storage identity is (source, target,
namespace, package, name), identity for deletion leaves out the target.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from trellis_lattice.errors import Conflict, NotFound, RequestInvalid
from trellis_lattice.wire import ConfigNames, Id, Ref, WireModel

__all__ = [
    "CONFLICT",
    "ComponentSpec",
    "Link",
    "LinkId",
    "LinkTable",
    "check_link",
    "put_link",
    "remove_link",
    "stored_spec",
]

CONFLICT = (
    "link already exists with different target, consider deleting the existing link or using a different link name"
)
"""The text v1 clients and tests look for."""

_Word = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_-]+$")]


class LinkId(WireModel):
    """What identifies a link for whoever deletes it."""

    source_id: Id
    name: _Word = "default"
    wit_namespace: _Word
    wit_package: _Word

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.source_id, self.name, self.wit_namespace, self.wit_package


class Link(WireModel):
    """`source_id` calls `target` over the interfaces of one package, under a link name.

    The config names are for the source's and the target's side; a component ignores both.
    """

    source_id: Id
    target: Id
    name: _Word = "default"
    wit_namespace: _Word
    wit_package: _Word
    interfaces: Annotated[tuple[_Word, ...], Field(min_length=1, max_length=256)]
    source_config: ConfigNames = ()
    target_config: ConfigNames = ()

    @property
    def id(self) -> LinkId:
        return LinkId(
            source_id=self.source_id, name=self.name, wit_namespace=self.wit_namespace, wit_package=self.wit_package
        )

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """Identity in storage."""
        return self.source_id, self.target, self.wit_namespace, self.wit_package, self.name

    @property
    def interface_names(self) -> tuple[str, ...]:
        """`ns:pkg/iface` of everything this link is about."""
        return tuple(f"{self.wit_namespace}:{self.wit_package}/{name}" for name in self.interfaces)

    def overlaps(self, other: Link) -> bool:
        """Whether both decide where some import goes."""
        return self.id == other.id and bool(set(self.interfaces) & set(other.interfaces))


class ComponentSpec(WireModel):
    """The record under `COMPONENT_<id>`: all links with that source, component or provider.

    `url` is empty if a link was put before the workload ever started. `foreign` are links of other hosts that this
    one cannot read: they are left alone, and written back as they were.
    """

    url: Ref = ""
    links: Annotated[tuple[Link, ...], Field(max_length=4096)] = ()
    foreign: Annotated[tuple[Any, ...], Field(exclude=True, max_length=4096)] = ()

    @model_validator(mode="before")
    @classmethod
    def _set_foreign_aside(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or not isinstance(data.get("links"), list | tuple):
            return data
        links: list[Link] = []
        foreign: list[Any] = list(data.get("foreign", ()))
        for each in data["links"]:
            try:
                links.append(Link.model_validate(each))
            except ValidationError:
                foreign.append(each)
        return {**data, "links": links, "foreign": foreign}

    def to_json(self) -> bytes:
        data = self.to_data()
        data["links"] += self.foreign
        return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


@lru_cache(maxsize=16)
def stored_spec(record: bytes) -> ComponentSpec:
    """A record as it is stored. The host and the scheduler of one process read each of them, one after the other.

    Raises `RequestInvalid`.
    """
    return ComponentSpec.from_json(record)


def put_link(links: Sequence[Link], new: Link) -> tuple[Link, ...]:
    """The links of one source with `new` among them; one of the same storage identity is replaced in place.

    Raises `Conflict` if another target already answers one of the interfaces under that name.
    """
    for link in links:
        if link.target != new.target and link.overlaps(new):
            raise Conflict(CONFLICT, existing=link.target, source=link.source_id, name=link.name)
    if any(link.key == new.key for link in links):
        return tuple(new if link.key == new.key else link for link in links)
    return (*links, new)


def remove_link(links: Sequence[Link], id: LinkId) -> tuple[tuple[Link, ...], Link | None]:
    """The links without the first one that `id` means, and that one."""
    for index, link in enumerate(links):
        if link.id == id:
            return (*links[:index], *links[index + 1 :]), link
    return tuple(links), None


class LinkTable:
    """Who answers what, for every source of a lattice. Replaced source by source as records change."""

    def __init__(self) -> None:
        self._links: dict[str, tuple[Link, ...]] = {}
        self._targets: dict[str, dict[str, dict[str, Link]]] = {}

    def replace(self, source: str, links: Iterable[Link]) -> tuple[list[Link], list[Link]]:
        """Sets the links of one source; returns (new or changed ones, removed ones)."""
        old = {link.key: link for link in self._links.get(source, ())}
        new = {link.key: link for link in links}
        self._links[source] = tuple(new.values())
        table: dict[str, dict[str, Link]] = {}
        for link in new.values():
            table.setdefault(link.name, {}).update(dict.fromkeys(link.interface_names, link))
        self._targets[source] = table
        if not new:
            del self._links[source], self._targets[source]
        changed = [link for key, link in new.items() if old.get(key) != link]
        return changed, [link for key, link in old.items() if key not in new]

    def find(self, source: str, interface: str, name: str = "default") -> Link | None:
        """The link for `ns:pkg/iface` (without version), if there is one."""
        return self._targets.get(source, {}).get(name, {}).get(interface)

    def resolve(self, source: str, interface: str, name: str = "default") -> Link:
        """As `find`, but raises `NotFound` that says which link to make."""
        link = self.find(source, interface, name)
        if link is not None:
            return link
        namespace, _, rest = interface.partition(":")
        package, _, short = rest.partition("/")
        there = sorted(
            {f"{n} → {link.target}" for n, by in self._targets.get(source, {}).items() for link in by.values()}
        )
        raise NotFound(
            f"{source} has no link named {name!r} for {interface}.",
            remedy=f"Make one: trellis link put {source} TARGET {namespace} {package} --interface {short}"
            + (f" --link-name {name}" if name != "default" else "")
            + (f" (it has: {', '.join(there[:8])})" if there else ""),
            source=source,
            interface=interface,
            name=name,
        )

    def table(self, source: str) -> Mapping[str, Mapping[str, str]]:
        """link name → `ns:pkg/iface` → target, for one source."""
        return {
            name: {interface: link.target for interface, link in by.items()}
            for name, by in self._targets.get(source, {}).items()
        }

    def of_source(self, source: str) -> tuple[Link, ...]:
        return self._links.get(source, ())

    def of_target(self, target: str) -> list[Link]:
        return [link for links in self._links.values() for link in links if link.target == target]

    def all(self) -> list[Link]:
        """Every link, by source."""
        return [link for source in sorted(self._links) for link in self._links[source]]


def check_link(link: Link) -> Link:
    """Refuses what no order of puts could make sense of."""
    if link.source_id == link.target:
        raise RequestInvalid(f"{link.source_id} cannot be linked to itself.", source=link.source_id)
    return link
