"""Which routes are in force where hosts share a socket, and how they tell each other. All pure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis_lattice.errors import RequestInvalid
from trellis_providers.http_server.announcements import MAX_ANNOUNCEMENT, decode, encode
from trellis_providers.http_server.claims import LINGER, STALE, TICK, Announcement, Claim, Heard, Peers, merge
from trellis_providers.http_server.config import LinkSettings
from trellis_providers.http_server.cors import Cors
from trellis_providers.http_server.routes import Route

ADDRESS = ("0.0.0.0", 8000)


def claim(component: str, path: str | None = None, since: int = 0, provider: str = "http") -> Claim:
    key = (provider, component, "wasi", "http", "default")
    return Claim(Route(key, component, "default", LinkSettings(ADDRESS, None, path)), since)


def components(claims: tuple[Route, ...]) -> dict[str | None, str]:
    return {route.settings.path: route.component for route in claims}


# Merging


def test_routes_of_all_hosts_answer() -> None:
    merged = merge([claim("a", "/a")], [[claim("b", "/b")], [claim("c", "/c")]])
    assert components(merged.routes) == {"/a": "a", "/b": "b", "/c": "c"}
    assert not merged.lost


def test_the_same_link_on_several_hosts_is_one_route() -> None:
    merged = merge([claim("a", since=9)], [[claim("a", since=1)], [claim("a", since=5)]])
    assert components(merged.routes) == {None: "a"}
    assert not merged.lost


def test_the_older_link_keeps_its_requests_and_the_other_is_told_of_both() -> None:
    old, new = claim("old", since=1, provider="p"), claim("new", since=2, provider="q")
    assert components(merge([old], [[new]]).routes) == {None: "old"}
    assert not merge([old], [[new]]).lost
    merged = merge([new], [[old]])
    assert components(merged.routes) == {None: "old"}
    message = merged.lost[new.key].message
    assert "old (provider p)" in message
    assert "new (provider q)" in message


def test_a_link_is_as_old_as_on_the_host_that_has_had_it_for_longest() -> None:
    merged = merge([claim("started again", since=9)], [[claim("other", since=5)], [claim("started again", since=1)]])
    assert components(merged.routes) == {None: "started again"}


def test_what_a_host_left_behind_answers_only_what_nobody_else_wants() -> None:
    gone = [claim("gone", "/x", since=1), claim("gone-too", "/y", since=1)]
    merged = merge([claim("new", "/x", since=2)], [], [gone])
    assert components(merged.routes) == {"/x": "new", "/y": "gone-too"}
    assert not merged.lost


names = st.sampled_from(["a", "b", "c", "d"])
claims_of_a_host = st.dictionaries(names, st.integers(0, 3), max_size=4)
lattices = st.tuples(
    st.dictionaries(names, st.sampled_from([None, "/x", "/y"]), min_size=4, max_size=4),
    st.lists(claims_of_a_host, min_size=1, max_size=4),
)


def claims_of(paths: dict[str, str | None], hosts: list[dict[str, int]]) -> list[list[Claim]]:
    return [[claim(name, paths[name], since) for name, since in host.items()] for host in hosts]


@given(lattices)
def test_all_hosts_decide_the_same(given: tuple[dict[str, str | None], list[dict[str, int]]]) -> None:
    hosts = claims_of(*given)
    results = [
        merge(own, [other for place, other in enumerate(hosts) if place != here]) for here, own in enumerate(hosts)
    ]
    first = components(results[0].routes)
    assert all(components(each.routes) == first for each in results)
    for own, each in zip(hosts, results, strict=True):
        assert set(each.lost) == {one.key for one in own if first[one.pattern[2]] != one.route.component}


@given(lattices)
def test_who_has_given_way_changes_nothing_for_others(
    given: tuple[dict[str, str | None], list[dict[str, int]]],
) -> None:
    own, *others = claims_of(*given)
    merged = merge(own, others)
    kept = [one for one in own if one.key not in merged.lost]
    again = merge(kept, others)
    assert again.routes == merged.routes
    assert not again.lost


@given(lattices)
def test_one_pattern_has_one_route_and_none_is_forgotten(
    given: tuple[dict[str, str | None], list[dict[str, int]]],
) -> None:
    own, *others = claims_of(*given)
    patterns = [route.pattern for route in merge(own, others[:1], others[1:]).routes]
    assert len(patterns) == len(set(patterns))
    assert set(patterns) == {one.pattern for host in (own, *others) for one in host}


# Peers


def heard(peers: Peers, revision: int, *claims: Claim, now: float = 0.0) -> Heard:
    return peers.hear(Announcement("m", revision, claims), now)


def test_an_older_announcement_that_comes_later_changes_nothing() -> None:
    peers = Peers()
    assert heard(peers, 2, claim("a")) is Heard.CHANGED
    assert heard(peers, 1, claim("b")) is Heard.NOTHING
    assert peers.live == [(claim("a"),)]


def test_a_sign_of_life_of_what_was_missed_is_a_reason_to_ask() -> None:
    peers = Peers()
    assert peers.hear(Announcement("m", 1), 0.0) is Heard.ASK
    heard(peers, 1, claim("a"))
    assert peers.hear(Announcement("m", 1), 1.0) is Heard.NOTHING
    assert peers.hear(Announcement("m", 2), 1.0) is Heard.ASK
    assert heard(peers, 2, now=1.0) is Heard.CHANGED
    assert peers.live == [()]


def test_who_leaves_stands_in_nobodys_way_and_is_forgotten() -> None:
    peers = Peers()
    heard(peers, 1, claim("a"))
    assert peers.hear(Announcement("m", 2, leaving=True), 10.0) is Heard.CHANGED
    assert (peers.live, peers.lingering) == ([], [(claim("a"),)])
    assert heard(peers, 1, claim("a"), now=10.1) is Heard.NOTHING
    assert ticked(peers, 10.0, 10.0 + LINGER)
    assert peers.lingering == []


def ticked(peers: Peers, start: float, end: float) -> bool:
    changes = [peers.tick(start + TICK * step) for step in range(round((end - start) / TICK) + 1)]
    return any(changes)


def test_who_falls_silent_stands_in_nobodys_way_and_is_forgotten() -> None:
    peers = Peers()
    heard(peers, 1, claim("a"))
    assert not ticked(peers, 0.0, STALE - TICK)
    assert ticked(peers, STALE, STALE)
    assert (peers.members, peers.lingering) == ((), [(claim("a"),)])
    assert not ticked(peers, STALE + TICK, STALE + LINGER - TICK)
    assert peers.tick(STALE + LINGER)
    assert peers.lingering == []


def test_a_silent_host_that_is_heard_again_is_back() -> None:
    peers = Peers()
    heard(peers, 1, claim("a"))
    ticked(peers, 0.0, STALE)
    assert peers.hear(Announcement("m", 1), STALE + 0.1) is Heard.CHANGED
    assert peers.members == ("m",)


def test_silence_while_we_could_not_listen_is_nobodys_fault() -> None:
    peers = Peers()
    heard(peers, 1, claim("a"))
    peers.tick(0.0)
    assert not peers.tick(60.0)
    assert peers.members == ("m",)


# The wire

texts = st.text(max_size=8)
settings = st.builds(
    LinkSettings,
    address=st.just(ADDRESS),
    host=st.none() | texts,
    path=st.none() | texts,
    timeout=st.floats(0.001, 1e6),
    max_body=st.integers(0, 2**40),
    readonly=st.booleans(),
    cache_control=st.none() | texts,
    keep_alive=st.booleans(),
    cors=st.none()
    | st.builds(
        Cors,
        st.lists(texts, max_size=2).map(tuple),
        st.lists(texts, max_size=2).map(tuple),
        st.lists(texts, max_size=2).map(tuple),
        st.lists(texts, max_size=2).map(tuple),
        st.none() | st.integers(0, 2**31),
    ),
)
links = st.tuples(texts, texts, texts, texts, texts)
any_claims = st.builds(
    lambda key, settings, header, since: Claim(Route(key, key[1], key[4], settings, header), since),
    links,
    settings,
    texts,
    st.integers(0, 2**53),
)
announcements = st.builds(
    Announcement,
    texts,
    st.integers(0, 2**53),
    st.none() | st.lists(any_claims, max_size=3).map(tuple),
    st.lists(texts, max_size=3).map(tuple),
    st.booleans(),
)


@given(announcements)
def test_what_is_announced_is_heard(said: Announcement) -> None:
    assert decode(encode(said), ADDRESS) == said


def test_routes_belong_to_the_address_they_are_heard_at() -> None:
    said = decode(encode(Announcement("m", 1, (claim("a"),))), ("::", 8000))
    assert said is not None
    assert said.claims is not None
    assert said.claims[0].route.settings == replace(claim("a").route.settings, address=("::", 8000))


@given(
    st.binary(max_size=40)
    | st.sampled_from(
        [
            b"[]",
            b"{}",
            b'{"member":1,"revision":1}',
            b'{"member":"m","revision":-1}',
            b'{"member":"m","revision":true}',
            b'{"member":"m","revision":1,"routes":{}}',
            b'{"member":"m","revision":1,"routes":[{}]}',
            b'{"member":"m","revision":1,"routes":[{"link":["a"],"since":1}]}',
            b'{"member":"m","revision":1,"routes":[{"link":["a","b","c","d","e"],"since":1,"path":1}]}',
            b'{"member":"m","revision":1,"routes":[{"link":["a","b","c","d","e"],"since":1,"timeout":NaN}]}',
            b'{"member":"m","revision":1,"routes":[{"link":["a","b","c","d","e"],"since":1,"cors":[]}]}',
            b"[" * 100_000,
            b'{"member":"' + b"m" * MAX_ANNOUNCEMENT + b'","revision":1}',
        ]
    )
)
def test_anything_else_is_nothing(payload: bytes) -> None:
    assert decode(payload, ADDRESS) is None


def test_more_routes_than_can_be_announced_are_refused() -> None:
    many = tuple(claim(f"c{number}", "/" + "x" * 1000 + str(number)) for number in range(600))
    with pytest.raises(RequestInvalid, match="600 routes"):
        encode(Announcement("m", 1, many))
