"""What the CLI says: data in, text out."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trellis_cli.exits import ExitCode, exit_code
from trellis_cli.labels import parse_labels
from trellis_cli.output import (
    Column,
    Format,
    Listing,
    Report,
    Style,
    age,
    align,
    clean,
    duration,
    parse_duration,
    render,
    render_failure,
)
from trellis_cli.output.findings import findings_text
from trellis_cli.output.style import width
from trellis_cli.output.trace import trace_text, tree
from trellis_cli.output.up import Overview, overview_text
from trellis_cli.terminal import Terminal
from trellis_cli.up.backoff import RestartPolicy
from trellis_cli.up.supervisor import HostState
from trellis_lattice.errors import (
    Conflict,
    DeadlineExceeded,
    Denied,
    InvocationFailed,
    NotFound,
    RequestInvalid,
    TrellisError,
    Unavailable,
)

HOSTS = Listing(
    key="hosts",
    columns=(
        Column("host", narrow=True),
        Column("host id", wide=True),
        Column("state", state=True),
        Column("n", right=True),
    ),
    rows=(("NAAA…", "NAAAAAAA", "ready", "1"), ("NB", "NBBBBBBB", "down", "20")),
    items=({"id": "NAAAAAAA", "n": 1}, {"id": "NBBBBBBB", "n": 20}),
    names=("NAAAAAAA", "NBBBBBBB"),
    empty="No host.",
)
EMPTY = Listing("hosts", HOSTS.columns, (), (), ())


def test_a_table_is_aligned_and_has_no_trailing_blanks() -> None:
    assert render(HOSTS, Format.TABLE) == "HOST    STATE    N\nNAAA…   ready    1\nNB      down    20\n"
    assert render(HOSTS, Format.WIDE).splitlines()[0] == "HOST ID    STATE    N"
    assert render(EMPTY, Format.TABLE) == ""


def test_json_is_one_document_with_success_first() -> None:
    document = json.loads(render(HOSTS, Format.JSON))
    assert list(document) == ["success", "hosts"]
    assert document["hosts"] == [{"id": "NAAAAAAA", "n": 1}, {"id": "NBBBBBBB", "n": 20}]
    assert json.loads(render(EMPTY, Format.JSON)) == {"success": True, "hosts": []}
    assert json.loads(render(Report({"a": 1}), Format.JSON, success=False)) == {"success": False, "a": 1}


def test_other_formats() -> None:
    assert yaml.safe_load(render(HOSTS, Format.YAML)) == json.loads(render(HOSTS, Format.JSON))
    assert [json.loads(line)["n"] for line in render(HOSTS, Format.JSONL).splitlines()] == [1, 20]
    assert render(HOSTS, Format.NAME) == "NAAAAAAA\nNBBBBBBB\n"
    assert render(Report({"a": 1}, text="hello"), Format.TABLE) == "hello\n"
    assert render(Report({"a": 1}), Format.TABLE) == ""


def test_colours_do_not_move_columns() -> None:
    plain, painted = render(HOSTS, Format.TABLE), render(HOSTS, Format.TABLE, Style(True))
    assert "\x1b[32mready\x1b[0m" in painted
    for code in ("0", "1", "31", "32"):
        painted = painted.replace(f"\x1b[{code}m", "")
    assert painted == plain


@given(st.lists(st.lists(st.text(max_size=12), min_size=3, max_size=3), min_size=1, max_size=6))
def test_columns_start_at_the_same_place_whatever_is_in_them(rows: list[list[str]]) -> None:
    lines = align([["a", "b", "c"], *rows, ["x" * 20, "y" * 20, "z"]]).split("\n")
    assert len(lines) == len(rows) + 3
    starts = {width(line[: line.index("z")]) for line in lines if line.startswith("x" * 20)}
    assert starts == {
        max(20, *(width(clean(row[0])) for row in rows)) + max(20, *(width(clean(row[1])) for row in rows)) + 6
    }


@given(st.text())
def test_cleaned_text_cannot_drive_a_terminal(text: str) -> None:
    cleaned = clean(text, keep_lines=True)
    assert not any((ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) <= 0x9F for c in cleaned)
    assert "\n" not in clean(text)


def test_foreign_text_in_tables_is_cleaned() -> None:
    listing = Listing("x", (Column("a"),), (("\x1b[2Jgone\nnext",),), ({},), ("\x1b]0;t\x07",))
    assert "\x1b" not in render(listing, Format.TABLE)
    assert len(render(listing, Format.TABLE).splitlines()) == 2
    assert "\x1b" not in render(listing, Format.NAME)


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("2m", 120), ("1m30s", 90), ("500ms", 0.5), ("7", 7), ("1.5", 1.5), ("1 h", 3600)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "-1s", "abc", "5x", "s", "31d", "1s2", "nan"])
def test_what_is_not_a_duration(text: str) -> None:
    with pytest.raises(RequestInvalid):
        parse_duration(text)


def test_times_are_written() -> None:
    assert [age(s) for s in (0.4, 59, 61, 601, 3700, 90000)] == ["0s", "59s", "1m1s", "10m", "1h1m", "1d1h"]
    assert [duration(n) for n in (870, 12_400, 3_070_000, 1_250_000_000)] == ["870 ns", "12.4 µs", "3.07 ms", "1.25 s"]


def test_an_error_is_a_sentence_and_a_remedy() -> None:
    error = NotFound("There is no `x`.", remedy="Try y.", name="x")
    out, err = render_failure(error, Format.TABLE)
    assert (out, err) == ("", "error: There is no `x`.\nTry y.\n")
    out, err = render_failure(error, Format.JSON)
    assert err == ""
    assert json.loads(out) == {
        "success": False,
        "error": "There is no `x`.",
        "code": "not-found",
        "remedy": "Try y.",
        "fields": {"name": "x"},
    }


def test_a_trap_shows_where() -> None:
    error = InvocationFailed("`c` trapped.", backtrace=[f"frame {n}" for n in range(20)])
    _, err = render_failure(error, Format.TABLE)
    assert "    frame 0\n" in err
    assert "… 8 more frames" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("x"), 3),
        (DeadlineExceeded("x"), 4),
        (Unavailable("x"), 5),
        (Unavailable("x", maybe_executed=True), 1),
        (Denied("x"), 6),
        (Conflict("x"), 1),
        (RequestInvalid("x"), 1),
        (TrellisError("x"), 1),
    ],
)
def test_exit_codes(error: TrellisError, code: int) -> None:
    assert exit_code(error) == code
    assert {c.name: int(c) for c in ExitCode}["INTERRUPTED"] == 130


def test_labels() -> None:
    assert parse_labels(["zone=a", "disk=ssd,gpu=", "note=a=b"]) == {
        "zone": "a",
        "disk": "ssd",
        "gpu": "",
        "note": "a=b",
    }
    for bad in ("zone", "=a", "hostcore.os=x", ""):
        with pytest.raises(RequestInvalid):
            parse_labels([bad])


def test_pauses_grow_and_end() -> None:
    policy = RestartPolicy(first=0.2, longest=2.0, settled=30.0, attempts=6)
    assert [policy.pause(n) for n in range(1, 8)] == [0.2, 0.4, 0.8, 1.6, 2.0, 2.0, None]
    assert policy.failures(5, ran=1.0) == 6
    assert policy.failures(5, ran=31.0) == 1


@dataclass
class FakeSpan:
    span_id: str
    parent_id: str
    name: str
    start: int
    end: int
    host: str = "NHOST"
    status: str = "unset"
    message: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)


def test_a_trace_is_a_tree_in_time_order() -> None:
    spans = [
        FakeSpan("c", "b", "store.get", 3_000_000, 4_000_000, attributes={"trellis.route": "local"}),
        FakeSpan("d", "b", "store.set", 5_000_000, 6_000_000, status="error", message="refused"),
        FakeSpan("a", "outside", "GET /", 0, 10_000_000, attributes={"http.response.status_code": 200}),
        FakeSpan("e", "a", "after", 9_500_000, 9_900_000),
        FakeSpan("b", "a", "handle", 1_000_000, 9_000_000, host="NOTHER"),
    ]
    text = trace_text("4bf92f", spans, {"NHOST": "red-fox-1"})
    lines = text.splitlines()
    assert lines[0] == "trace 4bf92f: 5 spans on 2 hosts, 10.0 ms"
    assert [line.split("  ")[0].rstrip() for line in lines[1:3]] == ["GET /", "├─ handle"]
    assert lines[3].startswith("│  ├─ store.get")
    assert lines[4].startswith("│  └─ store.set")
    assert lines[5].startswith("└─ after")
    assert "refused" in lines[4]
    assert "red-fox-1" in lines[1]


@given(
    st.lists(
        st.builds(
            FakeSpan,
            st.sampled_from("abcdef"),
            st.sampled_from("abcdefg"),
            st.text(max_size=3),
            st.integers(0, 100),
            st.integers(0, 100),
        ),
        max_size=12,
    )
)
def test_every_span_is_shown_once_even_in_a_circle(spans: list[FakeSpan]) -> None:
    shown = [span.span_id for _, _, span in tree(spans)]
    assert sorted(shown) == sorted({span.span_id for span in spans})
    trace_text("t", spans, {})


@dataclass
class FakeFinding:
    level: str
    code: str
    message: str
    remedy: str | None = None
    line: int | None = None
    column: int | None = None


def test_findings_are_where_editors_look_for_them() -> None:
    text = findings_text(
        "a.yaml",
        [FakeFinding("error", "missing-key", "No name.", "Add one.", 3, 7), FakeFinding("warning", "w", "Hm.")],
    )
    assert text == "a.yaml:3:7: error[missing-key]: No name.\n    Add one.\na.yaml: warning[w]: Hm.\n"


def test_the_block_of_up() -> None:
    overview = Overview("default", ("nats://127.0.0.1:4222", "ready"))
    overview.hosts["host-1"] = HostState("host-1", "ready", "N" + "A" * 55, "red-fox-1", 42, 1)
    overview.facts = {"http": "http://127.0.0.1:8000/"}
    text = overview_text(overview)
    assert "red-fox-1 NAAAAAAAAA…" in text
    assert "process 42, restarts: 1" in text
    assert "http://127.0.0.1:8000/" in text
    assert not text.endswith("\n")


class Glass(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_sign_of_waiting_is_gone_with_the_first_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out, err = Glass(), Glass()
    terminal = Terminal(Format.TABLE, False, out, err)
    terminal.passing("Waiting …")
    terminal.emit(HOSTS)
    terminal.passing("Waiting …")
    assert err.getvalue() == "Waiting …\r\x1b[K"
    assert out.getvalue() == render(HOSTS, Format.TABLE)


def test_nobody_waits_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    err = io.StringIO()
    terminal = Terminal(Format.TABLE, False, io.StringIO(), err)
    terminal.passing("Waiting …")
    terminal.settle()
    assert err.getvalue() == ""
