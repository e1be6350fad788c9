"""How two manifests differ: as a unified diff for people, change by change for programs."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trellis_cli.output.style import PLAIN, Style, clean

__all__ = ["Side", "diff_data", "diff_text", "manifest_changes"]

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Side:
    """One of two manifests: what it is called, and its data; None if there is none."""

    label: str
    manifest: Mapping[str, Any] | None


def manifest_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`{path, change, before, after}` of each value that was `added`, `removed` or `changed`.

    Parts of lists are told apart by their names, traits by what they are about, so that an insertion is one change.
    """
    return list(_differences("", before, after))


def _differences(path: str, before: Any, after: Any) -> Iterator[dict[str, Any]]:
    if before is _MISSING or after is _MISSING:
        change = "added" if before is _MISSING else "removed"
        given = None if before is _MISSING else before, None if after is _MISSING else after
        yield {"path": path, "change": change, "before": given[0], "after": given[1]}
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*before, *(key for key in after if key not in before)]:
            here = f"{path}.{key}" if path else str(key)
            yield from _differences(here, before.get(key, _MISSING), after.get(key, _MISSING))
    elif _is_named(before) and _is_named(after):
        mine, theirs = _by_name(before), _by_name(after)
        for name in [*mine, *(name for name in theirs if name not in mine)]:
            yield from _differences(f"{path}[{name}]", mine.get(name, _MISSING), theirs.get(name, _MISSING))
    elif before != after:
        yield {"path": path, "change": "changed", "before": before, "after": after}


def _is_named(items: object) -> bool:
    return isinstance(items, list) and all(
        isinstance(item, Mapping) and ("name" in item or "type" in item) for item in items
    )


def _by_name(items: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for item in items:
        name = base = _name(item)
        number = 1
        while name in found:
            number += 1
            name = f"{base} #{number}"
        found[name] = item
    return found


def _name(item: Mapping[str, Any]) -> str:
    """What tells an item of a list from the others."""
    if "name" in item:
        return str(item["name"])
    properties = item.get("properties")
    if not isinstance(properties, Mapping) or "target" not in properties:
        return str(item.get("type"))
    target = properties["target"]
    named = target.get("name") if isinstance(target, Mapping) else target
    about = f"{properties.get('namespace')}:{properties.get('package')}"
    link = f" {properties['name']}" if properties.get("name", "default") != "default" else ""
    return f"link {about} to {named}{link}"


def diff_data(name: str, before: Side, after: Side) -> dict[str, Any]:
    """What `-o json` says of one application."""
    return {
        "name": name,
        "from": before.label if before.manifest is not None else None,
        "to": after.label if after.manifest is not None else None,
        "changes": manifest_changes(before.manifest or {}, after.manifest or {}),
    }


def diff_text(name: str, before: Side, after: Side, style: Style = PLAIN) -> str:
    """A unified diff of both as YAML; empty if they are the same."""
    lines = list(difflib.unified_diff(_yaml(before), _yaml(after), lineterm=""))[2:]
    if not lines:
        return ""
    labels = [clean(f"{name} {side.label}" if side.manifest is not None else "/dev/null") for side in (before, after)]
    head = [style.bold(f"--- {labels[0]}"), style.bold(f"+++ {labels[1]}")]
    return "".join(f"{line}\n" for line in [*head, *(_painted(clean(line), style) for line in lines)])


def _painted(line: str, style: Style) -> str:
    if line.startswith("+"):
        return style.green(line)
    if line.startswith("-"):
        return style.red(line)
    return style.dim(line) if line.startswith("@@") else line


def _yaml(side: Side) -> list[str]:
    import yaml

    if side.manifest is None:
        return []
    text: str = yaml.safe_dump(dict(side.manifest), sort_keys=False, allow_unicode=True, width=100)
    return text.splitlines()
