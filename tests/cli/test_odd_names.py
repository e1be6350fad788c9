"""Names that are none, typed by somebody: a reason and an exit code, and no more than can be read."""

from __future__ import annotations

import pytest

from trellis_cli.manifests import is_source
from trellis_cli.output.document import Format
from trellis_cli.output.failure import render_failure
from trellis_lattice.errors import NotFound, RequestInvalid
from trellis_lattice.subjects import check_config_name, check_id, check_lattice, check_token

LONG = "x" * 10_000


def test_a_name_that_no_file_can_have_is_no_file() -> None:
    assert not is_source(LONG)
    assert not is_source("a\0b")


def test_what_was_typed_is_repeated_as_far_as_it_can_be_recognized() -> None:
    _, text = render_failure(NotFound(f"No host is called {LONG!r}.", remedy=f"There is {LONG}."), Format.TABLE)
    assert len(text) < 500
    assert "No host is called 'xxx" in text
    out, _ = render_failure(NotFound(LONG), Format.JSON)
    assert LONG in out


@pytest.mark.parametrize("name", ["", "a.b", "a b", "*", ">", "a\nb", LONG])
def test_a_name_that_is_none_is_refused_in_few_words(name: str) -> None:
    for check in (check_config_name, check_id, check_lattice, check_token):
        with pytest.raises(RequestInvalid) as refused:
            check(name)
        assert len(refused.value.message) < 200
        assert refused.value.remedy
