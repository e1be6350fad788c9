"""No bytes break a decoder: what it cannot read it refuses, in the errors of the house.

`make fuzz-deep` goes on from here, led by coverage.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.decoders import DECODERS, Decoder
from trellis_lattice.errors import TrellisError

_SPLICES = (
    b"",
    b"\x00",
    b"\xff" * 9,
    b"null",
    b'"',
    b"[" * 300,
    b"{",
    b"-1",
    b"1e999",
    b"\xf0\x9f\x98\x80",
    b"\\ud800",
    b".",
    b"*",
    b">",
)


@st.composite
def altered(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A valid input with a few parts cut out, repeated or replaced."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 24)))
        part = draw(st.one_of(st.sampled_from(_SPLICES), st.binary(max_size=8), st.just(data[start:end] * 2)))
        data = data[:start] + part + data[end:]
    return data


def survives(decode: Callable[[bytes], object], data: bytes) -> None:
    """Any other error is the decoder's fault, and fails the test."""
    with contextlib.suppress(TrellisError):
        decode(data)


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)
@given(data=st.data())
def test_whatever_comes_is_read_or_refused(decoder: Decoder, data: st.DataObject) -> None:
    choices = [st.binary(max_size=200), *([altered(decoder.seeds)] if decoder.seeds else [])]
    survives(decoder.decode, data.draw(st.one_of(choices)))


@pytest.mark.parametrize("decoder", [each for each in DECODERS if each.seeds], ids=lambda decoder: decoder.name)
def test_the_seeds_are_valid(decoder: Decoder) -> None:
    """Otherwise what is made of them would only reach the first line of a decoder."""
    for seed in decoder.seeds:
        decoder.decode(seed)
