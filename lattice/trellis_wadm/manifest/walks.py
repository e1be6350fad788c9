"""What all rules share: the draft of a finding, and walks over the parts of a manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from trellis_wadm.manifest.findings import Level, Path
from trellis_wadm.manifest.model import Component, LinkProperties, LinkTrait, Manifest

__all__ = ["Draft", "Rule", "components", "indexed", "links"]


class Draft(NamedTuple):
    """A finding before its line is known."""

    code: str
    path: Path
    message: str
    remedy: str | None = None
    level: Level = Level.ERROR


Rule = Callable[[Manifest, Any], Iterator[Draft]]
"""The decoded manifest and the plain data it came from."""


def components(manifest: Manifest) -> Iterator[tuple[Path, Component]]:
    for i, component in enumerate(manifest.spec.components):
        yield ("spec", "components", i), component


def links(manifest: Manifest) -> Iterator[tuple[Path, Component, LinkProperties]]:
    for path, component in components(manifest):
        for t, trait in enumerate(component.traits or ()):
            if isinstance(trait, LinkTrait):
                yield (*path, "traits", t), component, trait.properties


def indexed(path: Path, items: Sequence[Any]) -> Iterator[tuple[Path, Any]]:
    for i, item in enumerate(items):
        yield (*path, i), item
