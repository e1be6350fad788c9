"""Signed components: what is believed of a signature, and where it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures import components
from tests.host.signing import ISSUER, SUBJECT, signed, token
from tests.host.support import Operator, eventually, image, running_host
from trellis_host.runtime.claims import read_signature, read_token, without_token
from trellis_lattice.control import claims, host
from trellis_lattice.errors import Denied
from trellis_lattice.nkeys import KeyPair, Role

NOW = 1_000_000.0
V1_TOKEN = (
    b"eyJ0eXAiOiJqd3QiLCJhbGciOiJFZDI1NTE5In0.eyJqdGkiOiJTakI1Zm05NzRTanU5V01nVFVjaHNiIiwiaWF0IjoxNjQ0ODQzNzQzLCJpc3Mi"
    b"OiJBQ09KSk42V1VQNE9ERDc1WEVCS0tUQ0NVSkpDWTVaS1E1NlhWS1lLNEJFSldHVkFPT1FIWk1DVyIsInN1YiI6Ik1CQ0ZPUE02SlcyQVBKTFhKRD"
    b"NaNU80Q043Q1BZSjJCNEZUS0xKVVI1WVI1TUlUSVU3SEQzV0Q1Iiwid2FzY2FwIjp7Im5hbWUiOiJFY2hvIiwiaGFzaCI6IjRDRUM2NzNBN0RDQ0VB"
    b"NkE0MTY1QkIxOTU4MzJDNzkzNjQ3MUNGN0FCNDUwMUY4MzdGOEQ2NzlGNDQwMEJDOTciLCJ0YWdzIjpbXSwiY2FwcyI6WyJ3YXNtY2xvdWQ6aHR0cH"
    b"NlcnZlciJdLCJyZXYiOjQsInZlciI6IjAuMy40IiwicHJvdiI6ZmFsc2V9fQ.ZWyD6VQqzaYM1beD2x9Fdw4o_Bavy3ZG703Eg4cjhyJwUKLDUiVPVh"
    b"qHFE6IXdV4cW6j93YbMT6VGq5iBDWmAg"
)
"""Made by v1's tools, valid."""


def test_a_token_that_v1_made() -> None:
    read = read_token(V1_TOKEN, "echo")
    assert (read.wascap.name, read.wascap.ver, read.sub[:4]) == ("Echo", "0.3.4", "MBCF")
    with pytest.raises(Denied):
        read_token(V1_TOKEN.replace(b"ZWyD6", b"ZWyE6"), "echo")


@pytest.mark.parametrize("section", [b"jwt", b"wasmcloud_jwt"])
def test_a_signature_says_who_and_what(section: bytes) -> None:
    plain = components.echo()
    wasm = signed(plain, section=section, exp=1_000_060, nbf=999_000)
    signature = read_signature(wasm, "echo", NOW)

    assert without_token(wasm) == without_token(plain)
    assert signature is not None
    assert signature.in_event(NOW) == {
        "call_alias": "echo",
        "issuer": ISSUER.public,
        "tags": ["a", "b"],
        "name": "Echo",
        "version": "0.3.4",
        "revision": 4,
        "not_before_human": "16m 40s ago",
        "expires_human": "in 1m",
    }
    assert signature.in_policy_request(NOW) == {
        "publicKey": SUBJECT.public,
        "issuer": ISSUER.public,
        "issuedAt": "1",
        "expiresAt": 1_000_060,
        "expired": False,
    }
    assert read_signature(plain, "echo", NOW) is None


OTHER = KeyPair.from_bytes(Role.ACCOUNT, b"o" * 32)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"exp": 999_999}, "expired 1s ago"),
        ({"nbf": 1_000_001}, "not valid yet, but in 1s"),
        ({"key": OTHER}, "were not signed by who they say"),
        ({"iss": "nobody"}, "were not signed by who they say"),
        ({"iss": ""}, "cannot be read: iss"),
        ({"exp": "soon"}, "cannot be read: exp"),
        ({"wascap": None}, "cannot be read: wascap"),
        ({"wascap": {"hash": "00"}}, "of other code"),
    ],
)
def test_what_is_not_valid_says_why(change: dict[str, Any], why: str) -> None:
    with pytest.raises(Denied, match=why):
        read_signature(signed(components.echo(), **change), "echo", NOW)


def test_code_that_was_changed_after_it_was_signed() -> None:
    wasm = bytearray(signed(components.echo()))
    body = bytes(wasm)
    at = body.rindex(b"\0", 0, body.index(b"wasmcloud_jwt") - 6)  # some byte of the code
    wasm[at] ^= 1
    with pytest.raises(Denied, match="changed after it was signed"):
        read_signature(bytes(wasm), "echo", NOW)
    with pytest.raises(Denied, match="changed after it was signed"):
        read_signature(signed(components.echo()) + b"\0", "echo", NOW)
    old = signed(components.echo(), wascap_revision=2, wascap={"hash": "not looked at"})
    assert read_signature(old, "echo", NOW) is not None


def test_tokens_that_are_none() -> None:
    for text in (b"", b"a.b", b"a.b.c", b"\xff.\xff.\xff", b"a" * 70_000, token({}, header={"alg": "none"})):
        with pytest.raises(Denied):
            read_token(text, "echo")


@given(st.binary(max_size=200).map(lambda data: b"\0asm\x0d\0\1\0" + data) | st.binary(max_size=64))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    for wasm in (data, data + b"jwt"):
        try:
            read_signature(wasm, "x", NOW)
        except Denied:
            continue


def test_stored_claims_in_every_shape_of_v1() -> None:
    component = b'{"call_alias":"","iss":"A","name":"echo","rev":"0","sub":"M1","tags":"a,b","version":"1"}'
    read = claims.read_claims("CLAIMS_M1", component)
    assert isinstance(read, claims.ComponentClaims)
    assert read.tags == ("a", "b")
    assert read.listed() == {
        "call_alias": "", "iss": "A", "issuer": "A", "name": "echo", "rev": "0", "revision": "0", "sub": "M1",
        "subject": "M1", "tags": "a,b", "version": "1",
    }  # fmt: skip
    provider = b'{"issuer":"A","name":"http","revision":"1","subject":"V1","version":"2","config_schema":"{}"}'
    listed = claims.read_claims("CLAIMS_V1", provider).listed()
    assert listed["config_schema"] == "{}"
    assert "tags" not in listed


async def test_a_signed_component_shows_everywhere(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    reference = image(tmp_path, "echo", signed(components.echo()))
    async with running_host(nats_server, lattice, tmp_path) as one:
        await operator.scale(one, "echo", reference)
        scaled = await operator.heard("component_scaled", component_id="echo")
        await eventually(lambda: one.shared.claims)
        inventory = (await operator.ask(host.GET, to=one.state.host_id)).unwrap()
        listed = (await operator.ask(claims.GET)).unwrap()

    assert scaled.data["public_key"] == SUBJECT.public
    assert scaled.data["claims"]["name"] == "Echo"
    assert [(each.name, each.revision) for each in inventory.components] == [("Echo", 4)]
    assert [each["sub"] for each in listed] == [SUBJECT.public]


async def test_an_expired_component_does_not_start(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path) as one:
        await operator.scale(one, "echo", image(tmp_path, "echo", signed(components.echo(), exp=5)))
        failed = await operator.heard("component_scale_failed", component_id="echo")

    assert isinstance(failed.event.exception, Denied)  # type: ignore[union-attr]
    assert "expired" in failed.data["error"]
