"""Text to manifests: reads, decodes and validates, and gathers every finding on the way."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from trellis_wadm.manifest.findings import Finding, Level, Path, path_text
from trellis_wadm.manifest.model import Manifest
from trellis_wadm.manifest.rules import validate
from trellis_wadm.manifest.shapes import descend, keys_of, shape_at
from trellis_wadm.manifest.source import Document, read_documents

__all__ = ["Parsed", "parse_data", "parse_manifests"]


@dataclass(frozen=True)
class Parsed:
    """One document: its manifest (None if it could not be decoded) and everything found in it, in order of lines."""

    manifest: Manifest | None
    findings: tuple[Finding, ...]
    index: int = 0

    @property
    def ok(self) -> bool:
        return self.manifest is not None and not any(f.level is Level.ERROR for f in self.findings)


def parse_manifests(text: str | bytes) -> tuple[Parsed, ...]:
    """Every application of a YAML or JSON text, decoded and validated. Never raises for bad input."""
    return tuple(_parse(document) for document in read_documents(text))


def parse_data(data: Any) -> Parsed:
    """The same for a manifest that is data already; findings then have no line."""
    return _parse(Document(data))


def _parse(document: Document) -> Parsed:
    found = list(document.findings)
    manifest: Manifest | None = None
    if document.data is None and not found:
        remedy = "Expected an OAM application."
        found.append(document.finding(Level.ERROR, "empty", (), "The manifest is empty.", remedy))
    if document.data is not None:
        try:
            manifest = Manifest.model_validate(document.data)
        except ValidationError as error:
            found.extend(_decode_findings(document, error))
        found.extend(_unused_keys(document))
    if manifest is not None:
        found.extend(
            document.finding(draft.level, draft.code, draft.path, draft.message, draft.remedy)
            for draft in validate(manifest, document.data)
        )
    found.sort(key=lambda finding: (finding.line or 0, finding.column or 0))
    if any(finding.level is Level.ERROR and finding.code in _FATAL for finding in found):
        manifest = None
    return Parsed(manifest, tuple(found), document.index)


_FATAL = frozenset({"duplicate-key", "key-not-text", "unknown-tag"})
"""Errors of the text itself: what was decoded may not be what was meant."""


def _decode_findings(document: Document, error: ValidationError) -> Iterator[Finding]:
    """One finding for each thing that does not fit the model, in words of the manifest."""
    for item in error.errors(include_url=False, include_context=True):
        path = _data_path(document.data, item["loc"])
        kind, given = item["type"], item["input"]
        place = path_text(path) or "the document"
        if kind == "extra_forbidden":
            yield _unknown_key(document, path, Level.ERROR)
        elif kind == "missing":
            message = f"'{path[-1]}' is missing in {path_text(path[:-1]) or 'the document'}."
            yield document.finding(Level.ERROR, "missing-key", path, message, _HINTS.get(str(path[-1])))
        elif kind == "string_type":
            message = f"{place} must be text, but is {_shown(given)}."
            remedy = f'Write it in quotes: "{given}".' if isinstance(given, int | float) else None
            yield document.finding(Level.ERROR, "not-text", path, message, remedy)
        elif kind in ("literal_error", "union_tag_invalid"):
            message = f"{place} is {_shown(given)}, which is not a type of component."
            yield document.finding(Level.ERROR, "bad-type", path, message, "Use 'component' or 'capability'.")
        else:
            yield document.finding(Level.ERROR, "bad-value", path, f"{place} is {_shown(given)}: {_wanted(item)}.")


_HINTS: Mapping[str, str] = {
    "annotations": "Add 'annotations: {}' at least; 'version' and 'description' belong there.",
    "requirements": "Add 'requirements: {}' to match every host.",
    "instances": "Say how many, e.g. 'instances: 1'.",
    "apiVersion": "Add 'apiVersion: core.oam.dev/v1beta1'.",
    "kind": "Add 'kind: Application'.",
    "interfaces": "List the interfaces of the link, e.g. 'interfaces: [incoming-handler]'.",
}


def _wanted(item: Any) -> str:
    message = str(item["msg"])
    named = {
        "dict_type": "a mapping is expected",
        "model_type": "a mapping is expected",
        "model_attributes_type": "a mapping is expected",
        "list_type": "a list is expected",
        "int_type": "a whole number is expected",
        "greater_than_equal": "it may not be negative",
        "union_tag_not_found": "a mapping with 'type' and 'properties' is expected",
    }
    return named.get(item["type"], message[:1].lower() + message[1:])


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)[:80]


def _data_path(data: Any, loc: Sequence[str | int]) -> Path:
    """pydantic's location without the names of the union members it went through."""
    path: list[str | int] = []
    current = data
    for step in loc:
        exists, below = descend(current, step)
        if not exists and step in ("link", "scaler", "custom") and isinstance(current, Mapping):
            continue
        path.append(step)
        current = below
    return tuple(path)


def _unknown_key(document: Document, path: Path, level: Level) -> Finding:
    key = str(path[-1])
    shape = shape_at(document.data, path[:-1])
    known = keys_of(shape) if shape else ()
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    place = path_text(path[:-1]) or "the document"
    if close:
        remedy = f"Did you mean '{close[0]}'?"
    else:
        remedy = f"Known there: {', '.join(sorted(known))}." if known else "Remove it."
    tail = "" if level is Level.ERROR else ", and is ignored"
    return document.finding(level, "unknown-key", path, f"The key '{key}' is not known in {place}{tail}.", remedy)


def _unused_keys(document: Document) -> Iterator[Finding]:
    """Warnings for keys that v1 lets pass and nobody reads: mostly misspelt ones."""
    for path, value in _walk(document.data, ()):
        shape = shape_at(document.data, path)
        if shape is None or not isinstance(value, Mapping) or shape.model_config.get("extra") != "ignore":
            continue
        for key in value:
            if key not in keys_of(shape):
                yield _unknown_key(document, (*path, key), Level.WARNING)


def _walk(data: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    yield path, data
    items: Iterable[tuple[str | int, Any]] = ()
    if isinstance(data, Mapping):
        items = data.items()
    elif isinstance(data, list):
        items = enumerate(data)
    for key, value in items:
        yield from _walk(value, (*path, key))
