"""Subjects and ids: what is built can be parsed, and nothing else gets through."""

from __future__ import annotations

import nkeys
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis_lattice import ids, subjects
from trellis_lattice.errors import Conflict, NotFound, RequestInvalid

WORD = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
TOKEN = st.text(min_size=1, max_size=80).filter(
    lambda t: not any(c.isspace() or c in ".*>" or ord(c) < 32 or ord(c) == 127 for c in t)
)
PREFIX = st.lists(WORD, min_size=1, max_size=4).map(".".join)


@given(PREFIX, WORD, TOKEN, TOKEN, st.none() | TOKEN)
def test_control_subjects(prefix: str, lattice: str, noun: str, verb: str, argument: str | None) -> None:
    built = subjects.control(lattice, noun, verb, argument, prefix=prefix)
    assert subjects.parse_control(built, prefix=prefix) == subjects.ControlSubject(lattice, noun, verb, argument)


@given(PREFIX, WORD, TOKEN)
def test_event_subjects(prefix: str, lattice: str, name: str) -> None:
    built = subjects.event(lattice, name, prefix=prefix)
    assert subjects.parse_event(built, prefix=prefix) == subjects.EventSubject(lattice, name)


@given(PREFIX, WORD, TOKEN, st.none() | TOKEN)
def test_wadm_subjects(prefix: str, lattice: str, operation: str, name: str | None) -> None:
    built = subjects.wadm(lattice, operation, name, prefix=prefix)
    assert subjects.parse_wadm(built, prefix=prefix) == subjects.WadmSubject(lattice, operation, name)


@given(WORD, WORD)
def test_beat_subjects(lattice: str, host: str) -> None:
    assert subjects.parse_beat(subjects.beat(lattice, host)) == (lattice, host)


@given(WORD, st.from_regex(r"[-/_=A-Za-z0-9]{1,20}(\.[-/_=A-Za-z0-9]{1,20}){0,3}", fullmatch=True))
def test_stored_values(bucket: str, key: str) -> None:
    assert subjects.parse_kv(subjects.kv_subject(bucket, key)) == (bucket, key)


@given(st.text(max_size=80))
def test_parsing_never_raises(text: str) -> None:
    for prefix in ("", "wasmbus.ctl.v1.", "wasmbus.evt.", "wadm.api.", "trellis.v1.", "$KV."):
        for parse in (
            subjects.parse_control,
            subjects.parse_event,
            subjects.parse_wadm,
            subjects.parse_beat,
            subjects.parse_kv,
        ):
            parse(prefix + text)


def test_the_subjects_of_v1() -> None:
    assert subjects.control("default", "host", "ping") == "wasmbus.ctl.v1.default.host.ping"
    assert subjects.control("default", "component", "scale", "NDX") == "wasmbus.ctl.v1.default.component.scale.NDX"
    assert subjects.event("default", "host_started") == "wasmbus.evt.default.host_started"
    assert subjects.events("default") == "wasmbus.evt.default.*"
    assert subjects.wadm("default", "deploy", "app") == "wadm.api.default.model.deploy.app"
    assert subjects.beat("default", "NDX") == "trellis.v1.default.beat.NDX"
    assert subjects.lattice_bucket("default") == "LATTICEDATA_default"
    assert subjects.config_bucket("default") == "CONFIGDATA_default"
    assert subjects.component_key("app-echo") == "COMPONENT_app-echo"
    assert subjects.kv_subject("LATTICEDATA_default", "COMPONENT_x") == "$KV.LATTICEDATA_default.COMPONENT_x"


@pytest.mark.parametrize("bad", ["", "a.b", "a b", "*", ">", "a>", "ü", "a\n", "x" * 65])
def test_names_that_would_change_a_subject_are_refused(bad: str) -> None:
    for build in (
        lambda: subjects.control(bad, "host", "ping"),
        lambda: subjects.event(bad, "host_started"),
        lambda: subjects.wadm(bad, "list"),
        lambda: subjects.beat(bad, "N"),
        lambda: subjects.lattice_bucket(bad),
        lambda: subjects.component_key(bad * 2),
    ):
        with pytest.raises(RequestInvalid):
            build()


@pytest.mark.parametrize("bad", ["", "a.b", "a b", "*", ">", "a\r\nPUB x 0", "x" * 300])
def test_tokens_that_would_change_a_subject_are_refused(bad: str) -> None:
    with pytest.raises(RequestInvalid):
        subjects.control("default", "config", "put", bad)
    with pytest.raises(RequestInvalid):
        subjects.check_config_name(bad)


@given(st.binary(min_size=32, max_size=32))
def test_host_keys_are_nkeys(seed: bytes) -> None:
    key = ids.HostKey.from_bytes(seed)
    assert len(key.id) == 56
    assert key.id.startswith("N")
    assert len(key.seed) == 58
    assert key.seed.startswith("SN")
    theirs = nkeys.from_seed(bytearray(key.seed.encode()))
    assert theirs.public_key.decode() == key.id
    assert ids.HostKey.from_seed(key.seed) == key
    assert ids.encode_public_key(ids.decode_public_key(key.id)) == key.id
    assert ids.decode_seed(key.seed) == seed
    assert key.seed not in repr(key)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 55), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_a_mistyped_key_is_noticed(seed: bytes, place: int, letter: str) -> None:
    key = ids.HostKey.from_bytes(seed)
    mistyped = key.id[:place] + letter + key.id[place + 1 :]
    assert ids.is_host_id(mistyped) is (mistyped == key.id)


@pytest.mark.parametrize("text", ["", "N", "SN", "x" * 56, "ü" * 56, "N" * 56, "=" * 58])
def test_what_is_no_key_is_refused_without_being_shown(text: str) -> None:
    for parse in (ids.decode_public_key, ids.HostKey.from_seed):
        with pytest.raises(RequestInvalid) as caught:
            parse(text)
        assert not text or len(text) < 3 or text not in str(caught.value)


@given(st.integers(min_value=0))
def test_friendly_names_have_three_parts(random: int) -> None:
    adjective, noun, number = ids.friendly_name(random).split("-")
    assert adjective.isalpha()
    assert noun.isalpha()
    assert 1000 <= int(number) <= 9999


HOSTS = [("NABC1", "calm-lake-1000"), ("NABC2", "calm-hill-2000"), ("NXYZ", "bold-lake-3000")]


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("NXYZ", "NXYZ"),
        ("nx", "NXYZ"),
        ("NABC1", "NABC1"),
        ("calm-hill-2000", "NABC2"),
        ("hill", "NABC2"),
        ("3000", "NXYZ"),
    ],
)
def test_a_host_is_found_by_what_people_type(text: str, id: str) -> None:
    assert ids.match(text, HOSTS) == id


@pytest.mark.parametrize(
    ("text", "error"), [("NABC", Conflict), ("lake", Conflict), ("zzz", NotFound), ("  ", NotFound)]
)
def test_what_could_mean_none_or_several_is_refused(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        ids.match(text, HOSTS)
    with pytest.raises(NotFound):
        ids.match(text, [])
