"""Links, their conflicts, and who answers an import; named configuration."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis_lattice import config
from trellis_lattice.errors import ConfigError, Conflict, NotFound, RequestInvalid
from trellis_lattice.links import ComponentSpec, Link, LinkId, LinkTable, put_link, remove_link


def make(target: str = "kv", name: str = "default", interfaces: tuple[str, ...] = ("store",), **more: str) -> Link:
    fields = {"source_id": "app", "wit_namespace": "wasi", "wit_package": "keyvalue", **more}
    return Link(target=target, name=name, interfaces=interfaces, **fields)


@pytest.mark.parametrize("other_target", [False, True])
@pytest.mark.parametrize("other_name", [False, True])
@pytest.mark.parametrize("interfaces", [("store",), ("store", "atomics"), ("atomics",)])
def test_only_another_target_for_the_same_interface_under_the_same_name_conflicts(
    other_target: bool, other_name: bool, interfaces: tuple[str, ...]
) -> None:
    old = make()
    new = make("kv2" if other_target else "kv", "second" if other_name else "default", interfaces)
    if other_target and not other_name and "store" in interfaces:
        with pytest.raises(Conflict) as caught:
            put_link((old,), new)
        assert caught.value.message == (
            "link already exists with different target, consider deleting the existing link or using a different "
            "link name"
        )
    else:
        replaces = not other_target and not other_name
        assert put_link((old,), new) == ((new,) if replaces else (old, new))


def test_put_again_replaces_in_place() -> None:
    links = (make(), make("kv2", "second"))
    new = Link(**{**make().model_dump(), "interfaces": ("atomics",), "target_config": ("cfg",)})
    assert put_link(links, new) == (new, links[1])


def test_delete_removes_the_first_that_is_meant() -> None:
    links = (make("kv", interfaces=("store",)), make("kv2", interfaces=("atomics",)))
    left, gone = remove_link(links, make().id)
    assert (left, gone) == (links[1:], links[0])
    assert remove_link(links, make(name="other").id) == (links, None)


LINKS = st.builds(
    make,
    target=st.sampled_from(["t1", "t2"]),
    name=st.sampled_from(["default", "x"]),
    interfaces=st.lists(st.sampled_from(["store", "atomics", "batch"]), min_size=1, unique=True).map(tuple),
)


@given(st.lists(LINKS, max_size=8))
def test_after_any_puts_every_interface_has_one_target(puts: list[Link]) -> None:
    links: tuple[Link, ...] = ()
    for link in puts:
        try:
            links = put_link(links, link)
        except Conflict:
            continue
        assert link in links
    decided = [(link.name, interface) for link in links for interface in link.interface_names]
    assert len(decided) == len(set(decided))
    table = LinkTable()
    table.replace("app", links)
    for link in links:
        for interface in link.interface_names:
            assert table.resolve("app", interface, link.name).target == link.target


def test_the_table_says_what_changed() -> None:
    table = LinkTable()
    one, two = make(), make("kv2", "second")
    assert table.replace("app", [one, two]) == ([one, two], [])
    assert table.replace("app", [one, two]) == ([], [])
    changed = Link(**{**two.model_dump(), "target_config": ("cfg",)})
    assert table.replace("app", [changed]) == ([changed], [one])
    assert table.of_target("kv2") == [changed]
    assert table.of_source("app") == (changed,)
    assert table.all() == [changed]
    assert table.table("app") == {"second": {"wasi:keyvalue/store": "kv2"}}
    assert table.replace("app", []) == ([], [changed])
    assert table.all() == []


def test_the_later_link_wins() -> None:
    table = LinkTable()
    table.replace("app", [make("kv"), make("kv2")])
    assert table.resolve("app", "wasi:keyvalue/store").target == "kv2"


def test_a_missing_link_says_how_to_make_one() -> None:
    table = LinkTable()
    table.replace("app", [make(name="cache")])
    with pytest.raises(NotFound) as caught:
        table.resolve("app", "wasi:keyvalue/store")
    assert "app has no link named 'default' for wasi:keyvalue/store" in caught.value.message
    assert "trellis link put app TARGET wasi keyvalue --interface store" in str(caught.value)
    assert "cache → kv" in str(caught.value)


def test_the_stored_record() -> None:
    golden = {
        "url": "ghcr.io/x/echo:1",
        "links": [
            {
                "source_id": "app-echo",
                "target": "app-kv",
                "name": "default",
                "wit_namespace": "wasi",
                "wit_package": "keyvalue",
                "interfaces": ["store"],
                "source_config": [],
                "target_config": ["kv-cfg"],
            }
        ],
    }
    spec = ComponentSpec.from_json(json.dumps(golden))
    assert json.loads(spec.to_json()) == golden
    assert ComponentSpec.from_json(b'{"url":""}').links == ()
    for broken in (b"", b"[]", b'{"links":1}', b'{"url":7}'):
        with pytest.raises(RequestInvalid):
            ComponentSpec.from_json(broken)


def test_links_that_cannot_be_read_are_left_alone() -> None:
    mine = make().to_data()
    foreign = [{**mine, "name": "with.dots"}, {**mine, "interfaces": []}, 7, {}]
    spec = ComponentSpec.from_json(json.dumps({"url": "r", "links": [foreign[0], mine, *foreign[1:]]}))
    assert [link.to_data() for link in spec.links] == [mine]
    more = spec.model_copy(update={"links": put_link(spec.links, make("kv2", "second"))})
    assert json.loads(more.to_json())["links"] == [mine, make("kv2", "second").to_data(), *foreign]
    assert ComponentSpec.from_json(more.to_json()) == more


def test_a_link_id_has_a_default_name() -> None:
    assert LinkId(source_id="app", wit_namespace="wasi", wit_package="keyvalue") == make().id


MAPS = st.dictionaries(st.sampled_from("abc"), st.text(max_size=3))


@given(st.lists(MAPS, max_size=4))
def test_the_rightmost_config_wins(maps: list[dict[str, str]]) -> None:
    stored = {f"c{n}": values for n, values in enumerate(maps)}
    merged = config.overlay(stored, stored)
    for key in "abc":
        values = [values[key] for values in maps if key in values]
        assert merged.get(key) == (values[-1] if values else None)


def test_missing_configs_and_secrets_are_named() -> None:
    with pytest.raises(ConfigError, match=r"Config x, y do not exist"):
        config.overlay(["a", "x", "y"], {"a": {}})
    with pytest.raises(ConfigError, match="SECRET_pw"):
        config.overlay(["SECRET_pw"], {"SECRET_pw": {}})


@given(MAPS)
def test_config_survives_storage(values: dict[str, str]) -> None:
    assert config.decode_config(config.encode_config(values), "c") == values


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"a":1}', b'{"a":null}', b"\xff"])
def test_what_is_no_config_is_refused(payload: bytes) -> None:
    with pytest.raises(RequestInvalid, match="config data should be a map of string -> string"):
        config.decode_config(payload, "c")


@pytest.mark.parametrize("name", ["SECRET_x", "SECRETS", "a.b", ""])
def test_reserved_and_impossible_config_names(name: str) -> None:
    with pytest.raises(RequestInvalid):
        config.check_user_name(name)
