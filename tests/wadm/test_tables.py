"""Numbers, names and states that must equal v1's, and the small pure parts beside the planner."""

from __future__ import annotations

import hashlib
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wadm.manifests import application, component, configs, group, http, link, manifest, provider, spread
from trellis_lattice.control.host import HostInventory
from trellis_lattice.errors import Conflict, NotFound, PeerMisbehaved
from trellis_wadm import backoff, naming, quantities
from trellis_wadm.backoff import Policy
from trellis_wadm.catalog import StoredApplication
from trellis_wadm.journal import Journal
from trellis_wadm.ledger import Ledger
from trellis_wadm.manifest.listeners import clash, listeners
from trellis_wadm.picture import CORDON_LABEL, Picture
from trellis_wadm.planner import Owned, StatusType, desired_of
from trellis_wadm.planner.commands import PutConfig, ScaleComponent, StartProvider
from trellis_wadm.planner.spread import compute_spread
from trellis_wadm.planner.status import aggregate


@pytest.mark.parametrize(
    ("instances", "weights", "shares"),
    [
        (7, [40, 30], [4, 3]),
        (10, [100, 100], [5, 5]),
        (7, [None, None], [4, 3]),
        (5, [40, 40, 20], [2, 2, 1]),
        (5, [40, 40], [3, 2]),
        (5, [20, 40, 40], [1, 2, 2]),
        (0, [1, 2], [0, 0]),
        (9001, [80, 20], [7201, 1800]),
        (3, [0, 1], [0, 3]),
    ],
)
def test_shares(instances: int, weights: list[int | None], shares: list[int]) -> None:
    assert compute_spread(instances, weights) == shares


@pytest.mark.parametrize(
    ("app", "name", "id"),
    [
        ("my-app", "echo.wasm", "my_app-echo_wasm"),
        ("App", "Kv Store", "app-kv_store"),
        ("a_b", "ä", "a_b-_"),
    ],
)
def test_names(app: str, name: str, id: str) -> None:
    assert naming.owned_name(app, name) == id
    assert naming.secret_name(app, name) == f"SECRET_{id}"


def test_the_id_of_a_scaler_is_a_digest_of_what_identifies_it() -> None:
    data = application("app", component("c", spread(3), config=configs({"x": {"a": "b"}, "theirs": None})))
    (workload,) = desired_of([manifest(data)]).all_workloads()

    expected = hashlib.sha256(b"SpreadScalerappcapp-cfile:///c.wasmapp-xtheirs").hexdigest()
    assert workload.id == expected
    resized = application(
        "app", component("c", spread(9, group("g")), config=configs({"x": {"a": "z"}, "theirs": None}))
    )
    assert next(desired_of([manifest(resized)]).all_workloads()).id == expected


def test_secrets_become_references() -> None:
    secrets = [{"name": "pw", "properties": {"policy": "vault", "key": "prod/pw", "field": "f"}}]
    data = application("app", component("c", spread(1), secrets=secrets))
    policy = {"backend": "nats-kv", "role": "x"}
    data["spec"]["policies"] = [{"name": "vault", "type": "policy.secret.wasmcloud.dev/v1alpha1", "properties": policy}]

    desired = desired_of([manifest(data)])

    (config,) = desired.all_configs()
    assert config.name == "SECRET_app-pw"
    assert config.properties is not None
    assert {k: v for k, v in config.properties.items() if k != "policy"} == {
        "name": "pw",
        "type": "secret.wasmcloud.dev/v1alpha1",
        "backend": "nats-kv",
        "key": "prod/pw",
        "field": "f",
    }
    assert json.loads(config.properties["policy"]) == {
        "type": "properties.secret.wasmcloud.dev/v1alpha1",
        "properties": {"role": "x"},
    }
    assert next(desired.all_workloads()).config == ("SECRET_app-pw",)


def test_annotations_become_limits_and_travel_with_the_component() -> None:
    notes = {"trellis.dev/max-memory": "64MiB", "trellis.dev/timeout": "1.5s", "trellis.dev/allowed-hosts": "a.b"}
    data = application("app", {**component("c", spread(1)), "annotations": notes})

    (workload,) = desired_of([manifest(data)]).all_workloads()

    assert workload.limits == {"max_memory_limit": "67108864", "max_execution_time": "1500"}
    assert notes.items() <= workload.annotations.items()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("64MiB", 64 * 2**20),
        ("1.5GB", 1_500_000_000),
        ("10", 10),
        ("0", None),
        ("MiB", None),
        ("-1", None),
        ("1 KiB", 1024),
    ],
)
def test_sizes(text: str, value: int | None) -> None:
    assert quantities.parse_bytes(text) == value


@pytest.mark.parametrize(("text", "value"), [("500ms", 0.5), ("2m", 120), ("1h", 3600), ("5", None), ("0s", None)])
def test_times(text: str, value: float | None) -> None:
    assert quantities.parse_seconds(text) == value


ORDER = ["failed", "undeployed", "waiting", "reconciling", "unhealthy", "deployed"]


@pytest.mark.parametrize(("one", "other"), list(itertools.product(ORDER, ORDER)))
def test_the_worst_state_is_that_of_the_whole(one: str, other: str) -> None:
    worst = min(one, other, key=ORDER.index)
    assert aggregate([StatusType(one), StatusType(other)]) == worst


def test_nothing_at_all_is_undeployed() -> None:
    assert aggregate([]) is StatusType.UNDEPLOYED


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**80 - 1))
def test_made_up_versions_sort_by_time(milliseconds: int, random: int) -> None:
    version = naming.ulid(milliseconds, random)

    assert len(version) == 26
    assert version <= naming.ulid(milliseconds + 1, 0) or milliseconds == 2**48 - 1


class TestListeners:
    @pytest.mark.parametrize(
        ("one", "other", "clashes"),
        [
            ({"address": "0.0.0.0:80"}, {"address": "0.0.0.0:80"}, True),
            ({"address": "0.0.0.0:80"}, {"address": "0.0.0.0:81"}, False),
            ({"address": "127.0.0.1:80"}, {"address": "localhost:80"}, True),
            ({"address": "127.0.0.1:80"}, {"address": "10.0.0.1:80"}, False),
            ({"address": "0.0.0.0:80"}, {"address": "10.0.0.1:80"}, True),
            ({"ADDRESS": "0.0.0.0:80", "path": "/a"}, {"address": "0.0.0.0:80", "path": "/b"}, False),
            ({"address": "0.0.0.0:80", "host": "A.example"}, {"address": "0.0.0.0:80", "host": "a.example"}, True),
            ({"port": "8000"}, {"address": "127.0.0.1:8000"}, True),
            ({}, {"address": "0.0.0.0:8000"}, True),
            ({"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0"}, False),
        ],
    )
    def test_two_routes(self, one: dict[str, str], other: dict[str, str], clashes: bool) -> None:
        found = []
        for i, settings in enumerate((one, other)):
            trait = link("c", "wasi:http", ["incoming-handler"], source={"listen": settings})
            data = application(f"app{i}", component("c", spread(1)), provider("h", trait))
            found += listeners(manifest(data))

        assert (clash(*found) is not None) is clashes

    def test_a_default_address_counts(self) -> None:
        trait = link("c", "wasi:http", ["incoming-handler"])
        server = provider("h", trait, config=configs({"d": {"default_address": "127.0.0.1:9"}}))

        (listener,) = listeners(manifest(application("app", component("c", spread(1)), server)))

        assert listener.address == "127.0.0.1:9"

    def test_what_stands_in_a_foreign_config_is_not_guessed(self) -> None:
        trait = http("c", "x")
        trait["properties"]["source"]["config"] = [{"name": "theirs"}]

        assert not list(listeners(manifest(application("app", component("c", spread(1)), provider("h", trait)))))


class TestCatalog:
    def test_records_survive_the_store(self) -> None:
        app = StoredApplication("app").with_version(manifest(application("app", component("c", spread(1)))))
        app = app.with_deployed("v1")

        again = StoredApplication.decode("app", app.encode())

        assert again == app
        assert again.deployed is not None
        assert again.without("v1") == StoredApplication("app", {}, None)

    @pytest.mark.parametrize(
        "payload", [b"", b"x", b"[]", b"{}", b'{"manifests":[]}', b'{"manifests":{},"deployed_version":1}']
    )
    def test_a_broken_record_is_said_to_be_one(self, payload: bytes) -> None:
        with pytest.raises(PeerMisbehaved):
            StoredApplication.decode("app", payload)

    def test_versions_are_found(self) -> None:
        app = StoredApplication("app")
        for version in ("v1", "v2"):
            app = app.with_version(manifest(application("app", component("c", spread(1)), version=version)))

        assert (app.resolve(None), app.resolve("latest"), app.resolve("v1")) == ("v2", "v2", "v1")
        with pytest.raises(NotFound):
            app.resolve("v3")
        with pytest.raises(Conflict):
            app.with_version(manifest(application("app", component("c", spread(1)), version="v1")))

    def test_an_unreadable_manifest_is_none(self) -> None:
        assert StoredApplication("app", {"v1": {"kind": 1}}, "v1").deployed is None


class TestLedger:
    def test_it_survives_the_store(self) -> None:
        ledger = Ledger(Owned(frozenset({("a", "b", "c", "d", "e")}), frozenset({"x"})), frozenset({"NA"}))

        assert Ledger.decode(ledger.encode()) == ledger

    @given(st.binary(max_size=50))
    def test_anything_else_is_empty(self, payload: bytes) -> None:
        assert Ledger.decode(payload) == Ledger()


class TestBackoff:
    @given(st.lists(st.floats(0, 1000), max_size=20), st.integers(1, 8))
    def test_attempts_are_bounded(self, waits: list[float], limit: int) -> None:
        policy, attempt, now, sent = Policy(limit=limit), None, 0.0, 0
        for wait in waits:
            now += wait
            verdict = backoff.judge(attempt, "command", now, policy)
            if isinstance(verdict, backoff.Ready):
                sent += 1
                attempt = backoff.failed(backoff.sent(attempt, "command", now, policy), "no", now)
            elif isinstance(verdict, backoff.Failed):
                assert sent == limit

        assert sent <= limit

    def test_waits_are_capped(self) -> None:
        assert [Policy().delay(n) for n in (1, 2, 3, 6, 7, 1000)] == [0.5, 1, 2, 16, 30, 30]

    def test_what_cannot_succeed_is_not_tried_again(self) -> None:
        attempt = backoff.failed(backoff.sent(None, "command", 0.0, Policy()), "no component", 1.0, final=True)

        assert backoff.judge(attempt, "command", 1e6, Policy()) == backoff.Failed("no component", 0.0)
        assert backoff.judge(attempt, "another", 1.0, Policy()) == backoff.Ready()


class TestJournal:
    SCALE = ScaleComponent("NA", "c", "image", 2)
    START = StartProvider("NA", "p", "image")

    def test_reported_failures_are_counted_once(self) -> None:
        journal = Journal(Policy())
        journal.sent(self.SCALE, "app", 0.0)
        journal.sent(self.START, "app", 0.0)

        for _ in range(2):
            journal.scale_failed("NA", "c", 2, "no", 1.0)
            journal.start_failed("NA", "p", "image", "no", 1.0)
        journal.scale_failed("NB", "c", 2, "no", 1.0)

        assert [attempt.failures for attempt in journal.attempts.values()] == [1, 1]

    def test_a_failure_of_an_older_command_does_not_count(self) -> None:
        journal = Journal(Policy())
        journal.sent(self.SCALE, "app", 0.0)

        journal.scale_failed("NA", "c", 1, "no", 1.0)
        journal.failed(ScaleComponent("NA", "c", "image", 1), "no", 1.0)

        assert journal.attempts["component/NA/c/image"].pending

    def test_it_forgets(self) -> None:
        journal = Journal(Policy())
        config = PutConfig("x", {})
        for command in (self.SCALE, self.START, config):
            journal.sent(command, "app", 0.0)

        journal.forget_host("NA")
        assert set(journal.attempts) == {"config/x"}
        journal.forget_application("app")
        assert set(journal.attempts) == {"config/x"}, "what is under way is not sent twice"
        journal.failed(config, "no", 1.0)
        journal.forget_application("app")
        assert not journal.attempts
        journal.sent(config, None, 0.0)
        journal.keep_only({}, 1.0)
        journal.keep_only({}, 30.0)
        assert journal.attempts["config/x"].settled
        journal.keep_only({}, 31.0)
        assert not journal.attempts

    def test_what_does_not_last_is_a_failure(self) -> None:
        policy, now, sent = Policy(limit=3, lasting=30.0), 0.0, 0
        journal = Journal(policy)
        for _ in range(50):
            now += 10.0
            if isinstance(
                backoff.judge(journal.attempts.get("component/NA/c/image"), self.SCALE, now, policy), backoff.Ready
            ):
                journal.sent(self.SCALE, "app", now)
                sent += 1
                journal.keep_only({}, now)
            else:
                journal.keep_only({"component/NA/c/image": self.SCALE}, now)

        assert sent == 3


class TestPicture:
    def inventory(self, id: str, **labels: str) -> HostInventory:
        return HostInventory(host_id=id, friendly_name=id, labels=labels, components=(), providers=())

    def test_a_host_is_known_once_its_inventory_was_read(self) -> None:
        reasons: list[str] = []
        picture = Picture(reasons.append)

        picture.saw_beat("NA", False, 0.0)
        assert picture.to_ask(0.0) == ["NA"]
        assert not picture.world()[0]["NA"].known
        picture.saw_inventory(self.inventory("NA", **{CORDON_LABEL: "true"}), 0.1)

        assert picture.to_ask(100.0) == [], "its beats tell that it lives"
        host = picture.world()[0]["NA"]
        assert (host.known, host.live, host.cordoned) == (True, True, True)
        assert reasons

    def test_a_host_without_beats_is_asked_now_and_then(self) -> None:
        picture = Picture(lambda reason: None)
        picture.found_host("NA", 0.0)
        picture.saw_inventory(self.inventory("NA"), 0.0)

        assert picture.to_ask(1.0) == []
        assert picture.next_check(99.0) == 1.5
        assert picture.to_ask(1.5) == ["NA"]
        picture.no_answer("NA", False, 1.5)
        assert picture.hosts["NA"].live
        picture.no_answer("NA", False, 20.0)
        assert not picture.hosts["NA"].live

    def test_a_host_that_nobody_answers_for_is_gone_and_comes_back(self) -> None:
        picture = Picture(lambda reason: None)
        picture.saw_beat("NA", False, 0.0)
        picture.saw_inventory(self.inventory("NA"), 0.0)

        picture.no_answer("NA", True, 1.0)
        assert not picture.world()[0]["NA"].live
        picture.saw_beat("NA", True, 2.0)

        host = picture.world()[0]["NA"]
        assert (host.live, host.known, host.draining) == (True, False, True)

    def test_hosts_that_are_long_gone_are_forgotten(self) -> None:
        picture = Picture(lambda reason: None)
        picture.saw_beat("NA", False, 0.0)
        picture.lost_host("NA", 1.0)

        picture.forget_old(100.0)
        assert "NA" in picture.hosts
        picture.forget_old(1000.0)
        assert "NA" not in picture.hosts
