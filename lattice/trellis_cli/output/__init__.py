"""What the CLI says, as pure functions: data in, text out.

The laws of this package: nothing here reads a clock, a terminal or the environment; whoever calls says how
wide, which format, with or without colour. A document becomes exactly one text, and that text is all that
goes to standard output. Text that came from elsewhere (names, labels, log lines) is stripped of control
characters before it reaches a terminal.
"""

from trellis_cli.output.document import Column, Document, Format, Listing, Report, render
from trellis_cli.output.failure import render_failure
from trellis_cli.output.style import PLAIN, Style, clean
from trellis_cli.output.table import align
from trellis_cli.output.times import age, duration, parse_duration

__all__ = [
    "PLAIN",
    "Column",
    "Document",
    "Format",
    "Listing",
    "Report",
    "Style",
    "age",
    "align",
    "clean",
    "duration",
    "parse_duration",
    "render",
    "render_failure",
]
