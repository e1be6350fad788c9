"""Error-codes, Trellis errors and HTTP status codes."""

from __future__ import annotations

import pytest

from trellis_host.wasi.http.error_codes import code_of, http_failure, status_of
from trellis_lattice.errors import (
    DeadlineExceeded,
    Denied,
    InvocationFailed,
    NotFound,
    Overloaded,
    TrellisError,
    Unavailable,
    from_wire,
)
from trellis_lattice.http import ERROR_CODE
from trellis_lattice.wit.values import Case

NAMES = [name for name, _ in ERROR_CODE.cases]


def test_there_are_39_codes_each_once() -> None:
    assert len(set(NAMES)) == len(NAMES) == 39


@pytest.mark.parametrize("name", NAMES)
def test_a_code_survives_the_way_over_the_lattice(name: str) -> None:
    error = http_failure(name, "why")
    code = code_of(from_wire(error.to_wire()))
    if name in ("HTTP-request-trailer-size", "HTTP-response-header-size", "HTTP-response-trailer-size"):
        assert code.name == "connection-terminated"  # their size is not known
    else:
        assert code.name == name


@pytest.mark.parametrize("name", NAMES)
def test_every_code_has_an_error_status(name: str) -> None:
    assert 400 <= status_of(Case(name)) <= 599


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (DeadlineExceeded("x"), "HTTP-response-timeout"),
        (Denied("x"), "HTTP-request-denied"),
        (NotFound("x"), "destination-not-found"),
        (Overloaded("x"), "destination-unavailable"),
        (Unavailable("x"), "destination-unavailable"),
        (Unavailable("x", maybe_executed=True), "connection-terminated"),
        (InvocationFailed("x"), "internal-error"),
    ],
)
def test_families_have_their_code(error: TrellisError, name: str) -> None:
    assert code_of(error).name == name
