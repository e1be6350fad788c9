"""YAML or JSON text to plain data that still knows its lines and columns.

The laws of this file: scalars mean what YAML 1.2 says (`yes` and `2024-01-01` are text), because v1 reads
manifests so; a key given twice is an error that names both places; text, nesting and the number of values
(aliases expanded) are bounded; nothing raises, every complaint is a finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trellis_wadm.manifest.findings import Finding, Level, Path, path_text

if TYPE_CHECKING:
    import yaml

__all__ = ["MAX_BYTES", "Document", "read_documents"]

MAX_BYTES = 1024 * 1024
"""Longest manifest file: v1 stores a manifest in one NATS message, whose usual limit this is."""
_MAX_DOCUMENTS = 256
_MAX_VALUES = 200_000
_MAX_DEPTH = 64

_PREFIX = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_OCTAL = re.compile(r"0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: Mapping[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


@dataclass(frozen=True)
class Document:
    """One document of a file: plain data, where each path of it stands, and what was wrong with it.

    `data` is None if the text could not be read.
    """

    data: Any
    index: int = 0
    positions: Mapping[Path, tuple[int, int]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def locate(self, path: Path) -> tuple[int | None, int | None]:
        """Line and column of a path, or of the nearest thing around it that exists."""
        for length in range(len(path), -1, -1):
            if (place := self.positions.get(path[:length])) is not None:
                return place
        return None, None

    def finding(self, level: Level, code: str, path: Path, message: str, remedy: str | None = None) -> Finding:
        """A finding with the line and column of its path."""
        line, column = self.locate(path)
        return Finding(level, code, message, path, remedy, line, column, self.index)


def read_documents(text: str | bytes) -> tuple[Document, ...]:
    """Every document of a YAML or JSON text, in order; empty documents are left out.

    At least one document comes back: where nothing could be read, one that carries the finding.
    """
    if isinstance(text, str):
        text = text.encode("utf-8", "surrogatepass")
    if len(text) > MAX_BYTES:
        return (
            _unreadable(
                "too-large",
                f"The manifest has {len(text)} bytes; the limit is {MAX_BYTES}.",
                "Split it into several applications.",
            ),
        )
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        return (_unreadable("not-utf-8", f"Byte {error.start} is not UTF-8.", "Save the file as UTF-8.", line, 1),)
    if decoded.lstrip().startswith(("{", "[")):
        # JSON may be indented with tabs, YAML may not; inside a JSON string a bare tab is illegal anyway.
        decoded = decoded.replace("\t", " ")
    documents = tuple(_compose(decoded))
    return documents or (_unreadable("empty", "The manifest is empty.", "Expected an OAM application.", 1, 1),)


def _unreadable(
    code: str,
    message: str,
    remedy: str | None,
    line: int | None = None,
    column: int | None = None,
    index: int = 0,
) -> Document:
    finding = Finding(Level.ERROR, code, message, (), remedy, line, column, index)
    return Document(None, index, {}, (finding,))


def _compose(text: str) -> Iterator[Document]:
    """The node graph of each document, built into data; stops at the first syntax error."""
    import yaml  # a host that is never given a manifest need not load it

    index = 0
    loader_class: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        loader = loader_class(text)
    except yaml.YAMLError as error:
        yield _syntax(error, text, index)
        return
    try:
        while index < _MAX_DOCUMENTS and loader.check_node():
            node = loader.get_node()
            if node.id == "scalar" and node.value == "":
                continue
            yield _Builder(index).document(node)
            index += 1
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        yield _syntax(error, text, index)
    finally:
        loader.dispose()


def _syntax(error: Exception, text: str, index: int) -> Document:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        problem = "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        return _unreadable("yaml-syntax", f"This is not YAML or JSON: {problem[:200]}.", None, None, None, index)
    problem = getattr(error, "problem", None) or "it cannot be read"
    context = getattr(error, "context", None)
    line = text.splitlines()[mark.line] if mark.line < len(text.splitlines()) else ""
    message = f"This is not YAML or JSON: {context + ': ' if context else ''}{problem}."
    return _unreadable("yaml-syntax", message, _remedy(problem, line), mark.line + 1, mark.column + 1, index)


def _remedy(problem: str, line: str) -> str:
    indentation = line[: len(line) - len(line.lstrip())]
    if "\t" in indentation or "'\\t'" in problem:
        return "Indent with spaces; YAML does not allow tabs there."
    if "mapping values are not allowed" in problem:
        return "Check the indentation of this line, and quote a value that contains ': '."
    if "undefined alias" in problem:
        return "Define the anchor with & before it is used with *, or quote the text."
    if "cannot start any token" in problem:
        return "Quote the value."
    return "Check indentation, quotes and brackets here and on the line above."


class _TooBig(Exception):
    """More values or deeper nesting than any manifest needs."""


class _Builder:
    """Turns the nodes of one document into data, noting positions and findings on the way."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._positions: dict[Path, tuple[int, int]] = {}
        self._findings: list[Finding] = []
        self._values = 0

    def document(self, node: yaml.Node) -> Document:
        try:
            data = self._build(node, (), ())
        except _TooBig as error:
            mark = node.start_mark
            return _unreadable("too-complex", str(error), "Use fewer aliases.", mark.line + 1, 1, self._index)
        return Document(data, self._index, self._positions, tuple(self._findings))

    def _build(self, node: Any, path: Path, around: tuple[int, ...]) -> Any:
        self._values += 1
        if self._values > _MAX_VALUES:
            raise _TooBig(f"The manifest has more than {_MAX_VALUES} values once its aliases are expanded.")
        if len(around) > _MAX_DEPTH or id(node) in around:
            raise _TooBig(f"The manifest is nested more than {_MAX_DEPTH} levels deep, or an alias contains itself.")
        self._positions.setdefault(path, _place(node))
        inside = (*around, id(node))
        if node.id == "mapping":
            return self._mapping(node, path, inside)
        if node.id == "sequence":
            return [self._build(item, (*path, i), inside) for i, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path, inside: tuple[int, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.id != "scalar":
                self._complain("key-not-text", path, key_node, "A key must be text.", None)
                continue
            key = str(key_node.value)
            here = (*path, key)
            if key in result:
                first = self._positions[here][0]
                message = (
                    f"The key '{key}' is given twice in {path_text(path) or 'the document'}: first on line {first}."
                )
                self._complain("duplicate-key", here, key_node, message, "Remove one of them.")
                continue
            self._positions[here] = _place(key_node)
            result[key] = self._build(value_node, here, inside)
        return result

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        tag = node.tag.removeprefix(_PREFIX)
        if tag == node.tag and node.tag != "!":
            self._complain("unknown-tag", path, node, f"The YAML tag {node.tag} has no meaning here.", "Remove it.")
            return node.value
        if node.style not in (None, "") or tag == "str":
            return node.value
        return _plain(node.value)

    def _complain(self, code: str, path: Path, node: yaml.Node, message: str, remedy: str | None) -> None:
        line, column = _place(node)
        self._findings.append(Finding(Level.ERROR, code, message, path, remedy, line, column, self._index))


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _plain(text: str) -> Any:
    """A scalar without quotes, as the core schema of YAML 1.2 reads it."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) <= 40:
        if _INT.fullmatch(text):
            return int(text)
        if _HEX.fullmatch(text) or _OCTAL.fullmatch(text):
            return int(text, 0)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text
