"""Findings of validation, as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from trellis_cli.output.style import PLAIN, Style, clean

__all__ = ["FindingLine", "findings_text"]


class FindingLine(Protocol):
    """What is shown of one finding."""

    @property
    def level(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def remedy(self) -> str | None: ...
    @property
    def line(self) -> int | None: ...
    @property
    def column(self) -> int | None: ...


def findings_text(name: str, findings: Sequence[FindingLine], style: Style = PLAIN) -> str:
    """`file:line:column: error[code]: message`, so that editors can jump there, with the remedy below."""
    lines = []
    for finding in findings:
        place = f"{clean(name)}:{finding.line}:{finding.column}" if finding.line is not None else clean(name)
        level = style.state(str(finding.level))
        lines.append(f"{style.bold(place)}: {level}[{finding.code}]: {clean(finding.message)}")
        if finding.remedy:
            lines.append(f"    {clean(finding.remedy)}")
    return "".join(f"{line}\n" for line in lines)
