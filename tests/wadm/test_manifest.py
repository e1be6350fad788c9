"""Verdicts about manifests: what is refused, where, and with which remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wadm.manifests import (
    application,
    component,
    configs,
    group,
    http,
    link,
    policy,
    provider,
    spread,
    with_policies,
)
from trellis_wadm.manifest import Finding, Level, Parsed, errors, parse_data, parse_manifests, path_text
from trellis_wadm.manifest.placement import PlacementPolicy, placement_of
from trellis_wadm.manifest.source import MAX_BYTES

ROOT = Path(__file__).parents[2]


def codes(parsed: Parsed, level: Level | None = None) -> list[str]:
    return [finding.code for finding in parsed.findings if level is None or finding.level is level]


def only(text: str) -> Finding:
    """The one error of a manifest."""
    (finding,) = errors(parse_manifests(text)[0].findings)
    return finding


HELLO = """\
apiVersion: core.oam.dev/v1beta1
kind: Application
metadata:
  name: hello-world
  annotations:
    version: v0.0.1
    description: says hello
spec:
  components:
    - name: hello
      type: component
      properties:
        image: file:///hello.wasm
      traits:
        - type: spreadscaler
          properties:
            instances: 4
    - name: http
      type: capability
      properties:
        image: ghcr.io/wasmcloud/http-server:0.23.2
      traits:
        - type: link
          properties:
            target:
              name: hello
            namespace: wasi
            package: http
            interfaces: [incoming-handler]
            source:
              config:
                - name: listen
                  properties:
                    address: 127.0.0.1:8000
"""


def test_an_ordinary_manifest_has_no_findings() -> None:
    (parsed,) = parse_manifests(HELLO)

    assert parsed.ok
    assert parsed.findings == ()
    assert parsed.manifest is not None
    assert (parsed.manifest.name, parsed.manifest.version) == ("hello-world", "v0.0.1")
    hello, server = parsed.manifest.spec.components
    assert hello.scaler is not None
    assert hello.scaler.properties.instances == 4
    assert server.links[0].interfaces == ["incoming-handler"]
    assert server.links[0].name == "default"


def test_json_is_read_like_yaml_also_with_tabs() -> None:
    (yaml,) = parse_manifests(HELLO)
    assert yaml.manifest is not None
    (parsed,) = parse_manifests(json.dumps(yaml.manifest.to_wire(), indent="\t"))

    assert parsed.manifest == yaml.manifest
    assert parsed.ok


def test_the_stored_form_is_canonical_and_reads_back_the_same() -> None:
    data = application(
        "app",
        {
            "name": "c",
            "type": "actor",
            "properties": {"image": "x"},
            "traits": [
                {"type": "spreadscaler", "properties": {"replicas": 2}},
                {
                    "type": "linkdef",
                    "properties": {
                        "target": "kv",
                        "namespace": "wasi",
                        "package": "keyvalue",
                        "interfaces": ["store"],
                        "target_config": configs({"bucket": {"a": "b"}}),
                        "source_config": configs({"mine": {"c": "d"}}),
                    },
                },
            ],
        },
        provider("kv"),
    )
    parsed = parse_data(data)
    assert parsed.manifest is not None

    wire = parsed.manifest.to_wire()

    first = wire["spec"]["components"][0]
    assert first["type"] == "component"
    assert first["traits"][0]["properties"] == {"instances": 2}
    assert first["traits"][1]["properties"]["target"] == {"name": "kv", "config": configs({"bucket": {"a": "b"}})}
    assert first["traits"][1]["properties"]["source"] == {"config": configs({"mine": {"c": "d"}})}
    assert parse_data(wire).manifest == parsed.manifest
    assert codes(parsed, Level.WARNING) == ["deprecated-key", "deprecated-key"]


class TestText:
    """What is wrong with the text itself."""

    def test_bad_syntax_names_line_column_and_remedy(self) -> None:
        finding = only(HELLO.replace("  name: hello-world", "  name: hello: world"))

        assert (finding.code, finding.line) == ("yaml-syntax", 4)
        assert "mapping values are not allowed" in finding.message
        assert finding.remedy is not None
        assert "quote" in finding.remedy

    def test_tabs_are_named(self) -> None:
        finding = only(HELLO.replace("  name: hello-world", "\tname: hello-world"))

        assert finding.remedy == "Indent with spaces; YAML does not allow tabs there."

    def test_a_key_given_twice_names_both_lines(self) -> None:
        finding = only(HELLO.replace("kind: Application", "kind: Application\nkind: Other"))

        assert (finding.code, finding.line) == ("duplicate-key", 3)
        assert "first on line 2" in finding.message

    def test_several_documents_are_told_apart(self) -> None:
        good, bad = parse_manifests(HELLO + "---\n" + HELLO.replace("name: hello-world", "name: bad name"))

        assert good.ok
        (finding,) = errors(bad.findings)
        assert (finding.code, finding.document) == ("bad-name", 1)
        assert finding.line == HELLO.count("\n") + 1 + 4

    def test_an_alias_is_followed(self) -> None:
        text = HELLO.replace("name: hello-world", "name: &n hello-world").replace("says hello", "*n")
        (parsed,) = parse_manifests(text)

        assert parsed.manifest is not None
        assert parsed.manifest.description == "hello-world"

    def test_aliases_cannot_explode(self) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]

        assert only("\n".join(lines)).code == "too-complex"

    def test_an_alias_of_itself_is_refused(self) -> None:
        assert only("a: &a [*a]").code == "too-complex"

    def test_depth_is_bounded(self) -> None:
        assert only("[" * 5000).code in ("yaml-syntax", "too-complex")

    def test_size_is_bounded(self) -> None:
        assert only("#" * (MAX_BYTES + 1)).code == "too-large"

    @pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n---\n"])
    def test_emptiness_is_named(self, text: str) -> None:
        assert only(text).code == "empty"

    def test_bytes_must_be_text(self) -> None:
        (parsed,) = parse_manifests(b"kind: \xff\xfe")

        assert codes(parsed) == ["not-utf-8"]

    @pytest.mark.parametrize("text", ["just text", "- a\n- b\n", "42", "null: 1", "[]", "{}"])
    def test_something_else_is_not_a_manifest(self, text: str) -> None:
        parsed = parse_manifests(text)[0]

        assert not parsed.ok
        assert parsed.manifest is None

    @pytest.mark.parametrize("word", ["yes", "on", "2024-01-01", "1:30", "0o", "~x"])
    def test_words_are_text_as_in_yaml_1_2(self, word: str) -> None:
        (parsed,) = parse_manifests(
            HELLO.replace("address: 127.0.0.1:8000", f"address: 127.0.0.1:8000\n{' ' * 20}k: {word}")
        )

        assert parsed.ok, parsed.findings

    @given(st.text(max_size=200) | st.binary(max_size=200))
    def test_nothing_makes_it_raise(self, text: str | bytes) -> None:
        for parsed in parse_manifests(text):
            assert parsed.ok or errors(parsed.findings)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["metadata", "spec", "name", "components", "traits", "properties", "type", "target", "x"]
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=20,
        )
    )
    def test_no_data_makes_it_raise(self, data: Any) -> None:
        parsed = parse_data({"apiVersion": "v", "kind": "Application", "metadata": data, "spec": data})
        assert parsed.ok or errors(parsed.findings)


class TestKeys:
    """What v1 rejects is rejected, what v1 ignores is warned of."""

    @pytest.mark.parametrize(
        ("old", "new", "line", "remedy"),
        [
            ("kind: Application", "kind: Application\nspecs: {}", 3, "Did you mean 'spec'?"),
            ("image: file:///hello.wasm", "imag: file:///hello.wasm", 13, "Did you mean 'image'?"),
            ("        - type: spreadscaler", "        - type: spreadscaler\n          color: red", 16, "Known there:"),
            ("instances: 4", "instances: 4\n            spreads: []", 18, "Did you mean 'spread'?"),
            ("- name: listen", "- name: listen\n                  value: x", 33, "Known there:"),
        ],
    )
    def test_unknown_keys_that_v1_rejects(self, old: str, new: str, line: int, remedy: str) -> None:
        found = errors(parse_manifests(HELLO.replace(old, new, 1))[0].findings)

        (finding,) = [one for one in found if one.code == "unknown-key"]
        assert finding.line == line
        assert finding.remedy is not None
        assert remedy in finding.remedy

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("    - name: hello\n", "    - name: hello\n      comment: x\n"),
            ("  name: hello-world", "  name: hello-world\n  lables: {}"),
            ("            namespace: wasi", "            namespace: wasi\n            timeout: 5s"),
            ("              name: hello\n", "              name: hello\n              note: x\n"),
        ],
    )
    def test_unknown_keys_that_v1_ignores(self, old: str, new: str) -> None:
        (parsed,) = parse_manifests(HELLO.replace(old, new, 1))

        assert parsed.ok
        assert codes(parsed) == ["unknown-key"]

    @pytest.mark.parametrize(
        ("old", "new", "code"),
        [
            ("  annotations:\n    version: v0.0.1\n    description: says hello\n", "", "missing-key"),
            ("version: v0.0.1", "version: 0.1", "not-text"),
            ("instances: 4", "instances: four", "bad-value"),
            ("instances: 4", "instances: -1", "bad-value"),
            ("instances: 4", "instances: true", "bad-value"),
            ("instances: 4", "instances: 4294967296", "bad-value"),
            ("instances: 4", "weight: 4", "missing-key"),
            ("type: component", "type: module", "bad-type"),
            ("            interfaces: [incoming-handler]\n", "", "missing-key"),
            ("interfaces: [incoming-handler]", "interfaces: incoming-handler", "bad-value"),
            ("address: 127.0.0.1:8000", "port: 8000", "not-text"),
        ],
    )
    def test_what_does_not_fit_the_schema(self, old: str, new: str, code: str) -> None:
        assert old in HELLO
        (parsed,) = parse_manifests(HELLO.replace(old, new, 1))

        assert code in [finding.code for finding in errors(parsed.findings)]
        assert all(finding.line for finding in parsed.findings)
        assert not parsed.ok

    def test_a_number_where_text_belongs_is_to_be_quoted(self) -> None:
        assert only(HELLO.replace("version: v0.0.1", "version: 0.1")).remedy == 'Write it in quotes: "0.1".'


def simple(*parts: dict[str, Any], **metadata: Any) -> Parsed:
    return parse_data(application("app", *parts, **metadata))


class TestRules:
    """The verdicts of v1's fixtures, and our own rules."""

    @pytest.mark.parametrize(
        ("parsed", "code", "text"),
        [
            (parse_data(application("bad name", component("c", spread(1)))), "bad-name", "should match regex"),
            (parse_data(application("bäd", component("c", spread(1)))), "bad-name", "should match regex"),
            (parse_data(application("app", version="latest")), "version-latest", "latest is not allowed in wadm"),
            (simple(annotations={"-bad": "x"}), "bad-label", "Invalid OAM annotation"),
            (simple(labels={"1.2/x": "x"}), "bad-label", "Invalid OAM label"),
            (simple(labels={"app.oam.io/": "x"}), "bad-label", "Invalid OAM label"),
            (simple(component("ui", spread(1)), component("ui", spread(1))), "duplicate-component", "manifest: ui"),
            (simple(provider("a", id="x"), provider("b", id="x")), "duplicate-id", "identifier in manifest: x"),
            (
                simple(component("a", spread(1), id="x"), component("b", spread(1), id="x")),
                "duplicate-id",
                "identifier in manifest: x",
            ),
            (simple(component("c", spread(1), id="a.b")), "bad-id", "a.b"),
            (
                simple(
                    component(
                        "c", spread(1), {**link("httpclyent", "wasi:http", ["outgoing-handler"]), "type": "linkdef"}
                    )
                ),
                "missing-target",
                "missing from the manifest: [httpclyent]",
            ),
            (
                simple(component("c", spread(1), link("kv"), link("kv")), provider("kv")),
                "duplicate-link",
                "wasi:keyvalue/store",
            ),
            (
                simple(
                    component(
                        "c", spread(1), link("kv", interfaces=["store", "atomics"]), link("r", interfaces=["atomics"])
                    ),
                    provider("kv"),
                    provider("r"),
                ),
                "duplicate-link",
                "atomics",
            ),
            (simple({"name": "c", "type": "capability", "properties": {}}), "missing-image", "must have either"),
            (simple(provider("p", image="  ")), "missing-image", "is empty"),
            (
                simple(provider("p", application={"name": "a", "component": "b"})),
                "image-and-application",
                "cannot have both",
            ),
            (
                simple(
                    component("c", spread(1), link("p", to={"x": {"a": "b"}})),
                    component("d", spread(1), link("p", to={"x": {"a": "b"}})),
                    provider("p"),
                ),
                "duplicate-config",
                "Duplicate link config name found: 'x'",
            ),
            (
                simple(
                    component("c", spread(1), config=configs({"x": {"a": "1"}})),
                    component("d", spread(1), config=configs({"x": {"a": "2"}})),
                ),
                "config-differs",
                "twice with different properties",
            ),
            (simple(component("c", spread(1), config=configs({"a.b": None}))), "bad-config-name", "a.b"),
            (
                simple(
                    component("c", spread(1)),
                    component("d", spread(1)),
                    provider("h", http("c", "0.0.0.0:80", "one")),
                    provider("i", http("d", "0.0.0.0:80", "two")),
                ),
                "address-in-use",
                "both want every request to 0.0.0.0:80",
            ),
            (
                simple(
                    component("c", spread(1)),
                    component("d", spread(1)),
                    provider("h", http("c", "0.0.0.0:80", "one")),
                    provider("i", http("d", "127.0.0.1:80", "two")),
                ),
                "address-in-use",
                "overlap",
            ),
            (simple(component("c", spread(3, group("a", 0), group("b", 0)))), "zero-weight", "no weight"),
            (simple(component("c", spread(3, group("a"), group("a")))), "duplicate-spread", "two spreads named 'a'"),
            (
                simple({**component("c", spread(1)), "annotations": {"trellis.dev/max-memory": "much"}}),
                "bad-annotation",
                "'much' is not a value",
            ),
            (
                simple({**component("c", spread(1)), "annotations": {"trellis.dev/allowed-hosts": "a b"}}),
                "bad-annotation",
                "not a value",
            ),
            (
                simple(
                    component("c", spread(1), {"type": "magic", "properties": {"namespace": "wasi", "package": "x"}})
                ),
                "custom-link",
                "missing 'target'",
            ),
            (simple(component("c", spread(1), spread(2))), "several-scalers", "different things"),
            (simple(component("c", spread(1), spread(1, daemon=True))), "several-scalers", "different things"),
            (simple(component("a.b", spread(1)), component("A_b", spread(1))), "duplicate-id", "'app-a_b'"),
            (simple(component("a", spread(1), id="app-b"), component("b", spread(1))), "duplicate-id", "'app-b'"),
            (
                simple(component("c", spread(1), config=configs({"x.y": {"a": "1"}, "x_y": {"a": "2"}}))),
                "config-differs",
                "does not tell apart",
            ),
            (
                simple(
                    component("c", spread(1), link("kv", to={"one": {"a": "1"}}), link("kv", interfaces=["atomics"])),
                    provider("kv"),
                ),
                "link-differs",
                "with different configs",
            ),
            (
                simple(component("c", spread(1, group("a", **{"trellis.dev/draining": "true"})))),
                "spread-unsatisfiable",
                "take nothing new",
            ),
            (
                simple(component("c", spread(1, group("a", zone="1"), group("b", zone="1", rack="2"), daemon=True))),
                "spread-shadowed",
                "fits 'a' before it",
            ),
            (simple(component("c", spread(1, group("a", 0), group("b", 0)))), "zero-weight", "no weight at all"),
        ],
    )
    def test_errors(self, parsed: Parsed, code: str, text: str) -> None:
        found = [finding for finding in errors(parsed.findings) if finding.code == code]

        assert found, parsed.findings
        assert text in found[0].message
        assert found[0].path

    @pytest.mark.parametrize(
        ("parsed", "expected"),
        [
            (
                simple(component("c", spread(1), link("p", "wasi:keyvalue", ["atomic"])), provider("p")),
                ["unknown-interface"],
            ),
            (simple(component("c", spread(1), link("p", "wasi:keyvalues")), provider("p")), ["unknown-package"]),
            (
                simple(component("c", spread(1), link("p", "wasmcloud:postgres", ["query"])), provider("p")),
                ["unknown-package"],
            ),
            (simple(component("c", spread(1), link("p", "my:own", ["thing"])), provider("p")), []),
            (simple(component("c", {"type": "customscaler", "properties": {"x": 1}})), ["no-scaler"]),
            (simple(component("c", spread(1), spread(1))), ["several-scalers"]),
            (
                simple(component("c", spread(1, group("a", zone="1"), group("b", rack="2"), daemon=True))),
                ["spread-overlap"],
            ),
            (
                simple({**component("c", spread(1)), "annotations": {"trellis.dev/max-memry": "1MiB"}}),
                ["unknown-annotation"],
            ),
        ],
    )
    def test_warnings(self, parsed: Parsed, expected: list[str]) -> None:
        assert parsed.ok
        assert codes(parsed) == expected

    @pytest.mark.parametrize(
        "parsed",
        [
            simple(component("c", spread(9001))),
            simple(component("c", spread(1), link("kv"), link("kv", interfaces=["atomics"])), provider("kv")),
            simple(component("c", spread(1), link("kv"), link("kv", name="other")), provider("kv")),
            simple(
                component("c", spread(1)),
                component("d", spread(1)),
                provider(
                    "h",
                    http("c", "0.0.0.0:80", "one", path="/a"),
                    http("d", "0.0.0.0:80", "two", name="second", path="/b"),
                ),
            ),
            simple(annotations={"experimental.wasmcloud.dev/shared": "true"}, labels={"app.oam.io/name": "x"}),
            simple(
                {
                    **component("c", spread(1)),
                    "annotations": {
                        "trellis.dev/allowed-hosts": "api.example.com, *.example.org:8443, 127.0.0.1:9000",
                        "trellis.dev/max-memory": "64MiB",
                        "trellis.dev/timeout": "1.5s",
                        "team": "x",
                    },
                }
            ),
        ],
    )
    def test_valid(self, parsed: Parsed) -> None:
        assert errors(parsed.findings) == []

    def test_a_dangling_link_is_a_warning_and_an_error(self) -> None:
        parsed = simple(component("c", spread(1), link("nowhere")))

        assert codes(parsed) == ["dangling-link", "missing-target"]

    def test_shared_references_are_bare(self) -> None:
        reference = {"application": {"name": "edge", "component": "http"}}
        parsed = simple(
            {
                "name": "h",
                "type": "capability",
                "properties": {**reference, "config": configs({"a": {"b": "c"}})},
                "traits": [spread(1)],
            }
        )

        assert [finding.code for finding in errors(parsed.findings)] == ["shared-component", "shared-component"]
        assert simple({"name": "h", "type": "capability", "properties": reference}).ok

    @pytest.mark.parametrize(
        ("policies", "code"),
        [
            ([], "secret-policy"),
            ([{"name": "vault", "type": "other", "properties": {"backend": "x"}}], "secret-policy"),
            ([{"name": "vault", "type": "policy.secret.wasmcloud.dev/v1alpha1", "properties": {}}], "secret-policy"),
            ([{"name": "vault", "type": "policy.secret.wasmcloud.dev/v1alpha1", "properties": {"backend": "x"}}], None),
        ],
    )
    def test_secrets_need_a_policy_with_a_backend(self, policies: list[dict[str, Any]], code: str | None) -> None:
        secrets = [{"name": "pw", "properties": {"policy": "vault", "key": "k"}}]
        data = application("app", component("c", spread(1), secrets=secrets))
        data["spec"]["policies"] = policies

        assert [finding.code for finding in errors(parse_data(data).findings)] == ([code] if code else [])

    def test_a_policy_without_backend_is_fine_as_long_as_no_secret_uses_it(self) -> None:
        data = application("app", component("c", spread(1)))
        data["spec"]["policies"] = [{"name": "p", "type": "policy.secret.wasmcloud.dev/v1alpha1"}]

        assert parse_data(data).ok

    def test_findings_come_in_the_order_of_lines(self) -> None:
        text = HELLO.replace("version: v0.0.1", "version: latest").replace("name: hello-world", "name: 'a b'")
        lines = [finding.line for finding in parse_manifests(text)[0].findings]

        assert lines == sorted(lines, key=lambda line: line or 0)
        assert len(lines) == 2


@pytest.mark.parametrize("path", sorted((ROOT / "wadm-manifests").glob("*.yaml")), ids=lambda path: path.name)
def test_the_manifests_we_ship_have_no_findings(path: Path) -> None:
    for parsed in parse_manifests(path.read_bytes()):
        assert parsed.ok
        assert parsed.findings == ()


class TestPlacementPolicies:
    """What `spec.policies` says about placement, and what it must not say."""

    def parsed(self, *policies: dict[str, Any]) -> Parsed:
        data = application("app", component("c", spread(1)), component("d", spread(1)))
        return parse_data(with_policies(data, *policies))

    def test_they_are_read(self) -> None:
        general = policy("all", rebalance="even", max_moves="3")
        special = policy("one", update="recreate", update_parallel="2", components="d")
        parsed = self.parsed(special, general)

        assert parsed.manifest is not None
        assert parsed.ok, parsed.findings
        assert placement_of(parsed.manifest) == {
            "c": PlacementPolicy(even=True, max_moves=3),
            "d": PlacementPolicy(recreate=True, parallel=2),
        }

    def test_a_manifest_without_any_has_the_default(self) -> None:
        parsed = self.parsed()

        assert parsed.manifest is not None
        assert placement_of(parsed.manifest) == {}
        assert PlacementPolicy() == PlacementPolicy(even=False, max_moves=1, recreate=False, parallel=1)

    @pytest.mark.parametrize(
        ("policies", "code", "place", "text"),
        [
            ([policy(rebalance="evn")], "bad-policy-value", "spec.policies[0].properties.rebalance", "never, even"),
            ([policy(update="blue-green")], "bad-policy-value", "spec.policies[0].properties.update", "recreate"),
            ([policy(max_moves="0")], "bad-policy-value", "spec.policies[0].properties.max-moves", "from 1 to 1000"),
            (
                [policy(update_parallel="two")],
                "bad-policy-value",
                "spec.policies[0].properties.update-parallel",
                "1000",
            ),
            (
                [policy(rebalanse="even")],
                "unknown-policy-property",
                "spec.policies[0].properties.rebalanse",
                "rebalance",
            ),
            ([policy(components="c,x")], "policy-component", "spec.policies[0].properties.components", "c, d"),
            ([policy("a"), policy("b")], "several-policies", "spec.policies[1]", "Keep one"),
            (
                [policy("a", components="c"), policy("b", components="d, c")],
                "several-policies",
                "spec.policies[1].properties.components",
                "Keep one",
            ),
            (
                [{**policy(), "type": "policy.placement.trellis.dev/v1"}],
                "unknown-policy",
                "spec.policies[0]",
                "v1alpha1",
            ),
        ],
    )
    def test_what_is_wrong_is_an_error_with_place_and_remedy(
        self, policies: list[dict[str, Any]], code: str, place: str, text: str
    ) -> None:
        parsed = self.parsed(*policies)

        (finding,) = errors(parsed.findings)
        assert (finding.code, path_text(finding.path)) == (code, place)
        assert finding.remedy is not None
        assert text in finding.remedy

    def test_policies_of_others_are_left_alone(self) -> None:
        assert self.parsed({"name": "x", "type": "policy.other.example/v1", "properties": {"any": "thing"}}).ok
