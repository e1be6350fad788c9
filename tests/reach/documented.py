"""The configurations of docs/production.md, as they stand there: what the tests run is what people copy."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```\w+ (name|file)=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def documented(name: str) -> str:
    """The block ```` ```conf name=NAME ```` or ```` ```ini file=NAME ````."""
    text = (ROOT / "docs/production.md").read_text()
    return next(body for _, key, body in _BLOCK.findall(text) if key == name)
