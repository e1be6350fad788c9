"""How an error looks: a sentence and its remedy for people, one JSON document for programs."""

from __future__ import annotations

import json
import re
from typing import Any

from trellis_cli.output.document import Format
from trellis_cli.output.style import PLAIN, Style, clean
from trellis_lattice.errors import InvocationFailed, TrellisError

__all__ = ["failure_data", "render_failure"]

_SHOWN_FRAMES = 12
_ENDLESS = re.compile(r"\S{1000,}")
_SHOWN_CHARACTERS = 100
"""Of a word that is longer than anything that makes sense."""


def failure_data(error: TrellisError) -> dict[str, Any]:
    """`{"success": false, "error", "code", "remedy", …fields}`; `remedy` is null where there is none."""
    data: dict[str, Any] = {"success": False, "error": error.message, "code": error.code, "remedy": error.remedy}
    fields = {key: value for key, value in error.fields.items() if value is not None}
    return {**data, "fields": fields} if fields else data


def render_failure(error: TrellisError, format: Format, style: Style = PLAIN) -> tuple[str, str]:
    """(text for standard output, text for standard error)."""
    if format in (Format.JSON, Format.JSONL):
        indent = 2 if format is Format.JSON else None
        return json.dumps(failure_data(error), indent=indent, ensure_ascii=False, default=str) + "\n", ""
    if format is Format.YAML:
        import yaml

        plain = json.loads(json.dumps(failure_data(error), default=str))
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), ""
    lines = [f"{style.red('error:')} {_readable(error.message)}"]
    if isinstance(error, InvocationFailed):
        lines += _backtrace(error, style)
    if error.remedy:
        lines.append(_readable(error.remedy))
    return "", "\n".join(lines) + "\n"


def _readable(text: str) -> str:
    """What somebody typed is repeated as far as it can be recognized."""
    return clean(_ENDLESS.sub(lambda word: f"{word[0][:_SHOWN_CHARACTERS]}…", text), keep_lines=True)


def _backtrace(error: InvocationFailed, style: Style) -> list[str]:
    frames = error.fields.get("backtrace")
    if isinstance(frames, str):
        frames = frames.splitlines()
    if not isinstance(frames, list | tuple):
        return []
    shown = [style.dim(f"    {clean(str(frame))}") for frame in frames[:_SHOWN_FRAMES]]
    hidden = len(frames) - len(shown)
    return [*shown, style.dim(f"    … {hidden} more frames")] if hidden > 0 else shown
