"""What `trellis doctor` says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from trellis_cli.output.document import Report
from trellis_cli.output.style import PLAIN, Style, clean

__all__ = ["DiagnosisLine", "doctor_document"]

_MARKS = {"ok": "ok", "warning": "warning", "error": "error"}


class DiagnosisLine(Protocol):
    """What is shown of one finding."""

    @property
    def level(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def remedy(self) -> str | None: ...


def doctor_document(
    url: str, lattice: str, findings: Sequence[DiagnosisLine], fixed: Mapping[str, int], style: Style = PLAIN
) -> Report:
    """Every finding on a line, its remedy below."""
    lines = []
    for finding in findings:
        mark = _MARKS[finding.level].ljust(8)
        painted = (
            style.green(mark) if finding.level == "ok" else style.state(mark.strip()) + " " * (8 - len(mark.strip()))
        )
        lines.append(f"{painted}{clean(finding.message)}")
        if finding.remedy:
            lines.append(f"        {clean(finding.remedy)}")
    data = {
        "nats_url": url,
        "lattice": lattice,
        "findings": [
            {"level": one.level, "code": one.code, "message": one.message, "remedy": one.remedy} for one in findings
        ],
        "fixed": [{"stream": name, "replicas": number} for name, number in fixed.items()],
    }
    return Report(data, text="\n".join(lines) + "\n", names=[one.code for one in findings if one.level != "ok"])
