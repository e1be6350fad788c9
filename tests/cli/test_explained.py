"""How plans, differences, reasons and histories look: data in, text out."""

from __future__ import annotations

from typing import Any

from tests.wadm.manifests import application, component, group, http, manifest, provider, spread
from tests.wadm.simulation import World, host
from trellis_cli.output import Style
from trellis_cli.output.applications import status_data, status_text
from trellis_cli.output.diff import Side, diff_data, diff_text, manifest_changes
from trellis_cli.output.document import Format, render
from trellis_cli.output.history import history_data, history_listing
from trellis_cli.output.plan import host_label, plan_data, plan_lines, plan_text, verdict_summary
from trellis_cli.output.unmet import unmet_of, unmet_text
from trellis_cli.output.why import Asked, Explanation, SpreadFacts, explanation_data, explanation_text
from trellis_wadm.api.messages import (
    ConditionReport,
    DeploymentInfo,
    HistoryReport,
    ScalerReport,
    State,
    StatusReport,
    VersionInfo,
)
from trellis_wadm.catalog import StoredApplication
from trellis_wadm.planner import Observed, StatusType
from trellis_wadm.planner.result import HostVerdict, Placement
from trellis_wadm.preview import Intent, Preview, preview

ID = "N" + "A" * 55
OTHER = "N" + "B" * 55
NAMES = {ID: "crimson-meadow", OTHER: "azure-lake"}


def verdict(host: str, code: str, rule: str = "", reason: str = "") -> HostVerdict:
    return HostVerdict(host, code == "accepted", code, reason or code, rule)


def shown(found: Preview) -> str:
    return plan_text(found, NAMES)


def planned(data: dict[str, Any], stored: dict[str, StoredApplication] | None = None, *names: str) -> Preview:
    world = World.of(*(host(id, zone=zone) for id, zone in ((ID, "a"), (OTHER, "b"))))
    return preview([Intent(data["metadata"]["name"], manifest(data))], stored or {}, world.observed(), 0.0)


def test_a_plan_names_hosts_reasons_and_order() -> None:
    data = application("one", component("c", spread(2, group("east", zone="a"))), provider("http", http("c", ":80")))

    text = shown(planned(data))

    lines = text.splitlines()
    assert lines[0] == "one: deploy version v1"
    assert lines[2] == "Commands, in this order:"
    assert [line.split()[0] for line in lines[3:7]] == ["config", "link", "start", "start"]
    assert "run component one-c on crimson-meadow with up to 2 instances, image file:///c.wasm" in text
    assert text.count("it does not run there") == 2
    assert "crimson-meadow: 2" in text
    assert lines[-1] == "Plan: 4 commands on 2 hosts. Nothing was changed."
    assert "NAAAA" not in text


def test_a_plan_as_data_has_everything() -> None:
    data = application("one", component("c", spread(2, group("far", zone="mars"))))

    found = plan_data(planned(data), NAMES)

    assert (found["changes"], found["possible"], found["settles"]) == (True, False, True)
    assert found["applications"] == [{"name": "one", "deployed_version": None, "planned_version": "v1"}]
    assert found["problems"][0]["code"] == "unsatisfied"
    (placement,) = found["placements"]
    assert placement["summary"] == "0 of 2 hosts: 2 lack zone=mars"
    assert [item["rule"] for item in placement["rejected"]] == ["zone=mars", "zone=mars"]
    assert {item["host_name"] for item in placement["rejected"]} == {"crimson-meadow", "azure-lake"}


def test_a_plan_line_by_line() -> None:
    data = application("one", component("c", spread(1, group("east", zone="a"))))

    (line,) = plan_lines(planned(data), NAMES)

    assert (line["pass"], line["stage"], line["command"], line["host"]) == (1, "start", "ScaleComponent", ID)
    assert (line["host_name"], line["reason"], line["app"]) == ("crimson-meadow", "it does not run there", "one")


def test_a_plan_that_is_refused_says_so() -> None:
    def web(name: str) -> dict[str, Any]:
        return application(name, component("c", spread(1)), provider("http", http("c", "0.0.0.0:8000")))

    one = manifest(web("one"))
    stored = {"one": StoredApplication("one").with_version(one).with_deployed("v1")}

    text = shown(planned(web("two"), stored))

    assert "two: stays undeployed" in text
    assert "Two listeners on one address" in text
    assert "Change one of them, or undeploy the other." in text
    assert "The scheduler is at this already" in text, "application one is not running yet"
    assert text.endswith("Plan: nothing can be done.\n")


def test_no_change_is_one_line() -> None:
    assert plan_text(Preview(), NAMES) == "\nPlan: no change.\n"


def test_long_plans_are_cut_for_people_only() -> None:
    world = World.of(*(host(f"N{i:055d}") for i in range(300)))
    data = application("one", component("c", spread(1, daemon=True)))

    found = preview([Intent("one", manifest(data))], {}, world.observed(), 0.0)

    assert "… and 100 more: -o json has all" in plan_text(found, {})
    assert "and 292 more" in plan_text(found, {})
    assert len(plan_lines(found, {})) == 300


def test_foreign_text_does_not_drive_the_terminal() -> None:
    names = {ID: "evil\x1b[2J", OTHER: "x"}
    data = application("one", component("c", spread(1), image="file:///\x1b]0;x\x07.wasm"))

    assert "\x1b" not in plan_text(planned(data), names)


def test_hosts_of_one_name_are_told_apart_by_their_ids() -> None:
    same = {ID: "twin", OTHER: "twin"}

    assert host_label(ID, same) == "twin (NAAAAAAA)" or host_label(ID, same).startswith("twin (NA")
    assert host_label(ID, NAMES) == "crimson-meadow"
    assert host_label(ID, {}).startswith("NA")


def test_verdicts_are_summed_up() -> None:
    three = [verdict(f"N{i}", "label", "zone=eu") for i in range(3)]
    verdicts = [*three, verdict("N4", "cordoned"), verdict("N5", "label", "gpu=yes")]

    assert verdict_summary(verdicts) == "0 of 5 hosts: 3 lack zone=eu, 1 cordoned, 1 lacks gpu=yes"
    assert verdict_summary([verdict("N1", "accepted")]) == "1 of 1 host"
    assert verdict_summary([]) == "0 hosts: none answers"
    assert verdict_summary([verdict("N1", "new-rule", reason="it is foreign")]) == "0 of 1 host: 1 it is foreign"


BEFORE = application("one", component("c", spread(2)), provider("http", http("c", ":80")))
AFTER = application("one", component("c", spread(5)), component("d", spread(1)), version="v2")


def test_differences_are_found_by_name() -> None:
    changes = {item["path"]: item for item in manifest_changes(BEFORE, AFTER)}

    assert set(changes) == {
        "metadata.annotations.version",
        "spec.components[c].traits[spreadscaler].properties.instances",
        "spec.components[http]",
        "spec.components[d]",
    }
    instances = changes["spec.components[c].traits[spreadscaler].properties.instances"]
    assert (instances["change"], instances["before"], instances["after"]) == ("changed", 2, 5)
    assert changes["spec.components[http]"]["change"] == "removed"
    assert changes["spec.components[d]"]["change"] == "added"


def test_links_are_told_apart_by_what_they_link() -> None:
    other = application(
        "one", component("c", spread(2)), provider("http", http("c", ":81"), http("c", ":82", name="b"))
    )

    paths = [item["path"] for item in manifest_changes(BEFORE, other)]

    assert paths == [
        "spec.components[http].traits[link wasi:http to c].properties.source.config[listen].properties.address",
        "spec.components[http].traits[link wasi:http to c b]",
    ]


def test_what_has_no_name_is_compared_as_it_stands() -> None:
    assert manifest_changes({"a": [1, 2]}, {"a": [2]}) == [
        {"path": "a", "change": "changed", "before": [1, 2], "after": [2]}
    ]
    twice = {"a": [{"type": "x", "v": 1}, {"type": "x", "v": 2}]}
    assert [item["path"] for item in manifest_changes(twice, {"a": [{"type": "x", "v": 1}]})] == ["a[x #2]"]
    assert manifest_changes(twice, twice) == []


def test_a_difference_is_a_unified_diff_with_colours() -> None:
    before, after = Side("v1 (deployed)", BEFORE), Side("app.yaml", AFTER)

    text = diff_text("one", before, after)
    painted = diff_text("one", before, after, Style(True))

    assert text.splitlines()[:2] == ["--- one v1 (deployed)", "+++ one app.yaml"]
    assert "-        instances: 2" in text
    assert "+        instances: 5" in text
    assert "\x1b[31m-        instances: 2\x1b[0m" in painted
    assert diff_text("one", before, before) == ""
    assert diff_text("one", Side("", None), after).startswith("--- /dev/null")
    assert diff_data("one", Side("", None), after)["from"] is None


def report(*conditions: ConditionReport, kind: StatusType = StatusType.FAILED) -> StatusReport:
    scaler = ScalerReport(id="s", kind="SpreadScaler", name="one-c", status=State(type=kind), conditions=conditions)
    return StatusReport(status=State(type=kind), scalers=(scaler,), version="v1")


def test_what_does_not_hold_says_where_since_when_and_what_comes_next() -> None:
    condition = ConditionReport(
        reason="backing-off",
        message=f"Run component one-c on {ID[:8]}: attempt 2 of 6 failed: no such file",
        host=ID,
        since="2026-01-01T00:00:00+00:00",
        next_attempt="2026-01-01T00:01:30+00:00",
    )
    rejected = ConditionReport(reason="rejected-label", message="it has no label zone", host=OTHER)

    found = unmet_of(report(condition, rejected), NAMES, now=1767225680.0)
    text = unmet_text(found)

    assert "backing-off, host crimson-meadow, since 1m20s ago, 2026-01-01T00:00:00+00:00, next attempt in 10s" in text
    assert "azure-lake: it has no label zone" in text
    assert found[0].to_data()["next_attempt"] == "2026-01-01T00:01:30+00:00"
    assert "ago" not in unmet_text(unmet_of(report(condition), NAMES))


def test_a_message_about_several_hosts_names_each_of_them() -> None:
    condition = ConditionReport(reason="reconciling", message=f"Run it on {ID[:8]}, Run it on {OTHER[:8]}")

    (one,) = unmet_of(report(condition), NAMES)

    assert one.message == "Run it on crimson-meadow, Run it on azure-lake"


def test_a_status_has_all_that_is_unmet_in_one_list() -> None:
    condition = ConditionReport(reason="failed", message="Failed to start: gone", host=ID, since="nonsense")
    found = unmet_of(report(condition), NAMES, 0.0)

    text = status_text("one", report(condition), found)

    assert text.splitlines()[0] == "one (version v1): failed"
    assert "Not met:" in text
    assert status_data("one", report(condition), found)["unmet"][0]["host_name"] == "crimson-meadow"


def test_the_messages_of_another_scheduler_are_what_is_unmet() -> None:
    scaler = ScalerReport(
        id="s", kind="SpreadScaler", name="one-c", status=State(type=StatusType.FAILED, message="no host")
    )
    foreign = StatusReport(status=State(type=StatusType.FAILED, message="no host"), scalers=(scaler,))

    (one,) = unmet_of(foreign, {})

    assert (one.part, one.reason, one.message, one.since) == ("one-c", "failed", "no host", None)


def explanation(hypothetical: bool = False) -> Explanation:
    placement = Placement(
        "s",
        "one",
        "one-c",
        "east",
        3,
        {ID: 2},
        (verdict(ID, "accepted", reason=" "), verdict(OTHER, "label", "zone=a")),
    )
    asked = Asked("one-c", "c", False, "spreadscaler", 3, "file:///c.wasm")
    return Explanation(
        "one", "v1", "failed", hypothetical, [(asked, [SpreadFacts(placement, {"zone": "a"}, {ID: 1})])], []
    )


def test_reasons_are_given_host_by_host() -> None:
    text = explanation_text(explanation(), NAMES)

    assert "one (version v1): failed" in text
    assert "one-c: component c, spreadscaler, 3 instances" in text
    assert "spread east (zone=a): 2 of 3 placed; fits 1 of 2 hosts: 1 lacks zone=a" in text
    rows = [line.split() for line in text.splitlines() if "meadow" in line or "lake" in line]
    assert rows[0][:4] == ["crimson-meadow", "accepted", "2", "1"]
    assert rows[1][:4] == ["azure-lake", "rejected", "-", "-"]
    assert "is not deployed; if it were" in explanation_text(explanation(hypothetical=True), NAMES)


def test_reasons_as_data() -> None:
    data = explanation_data(explanation(), NAMES)

    (spread_data,) = data["components"][0]["spreads"]
    assert (spread_data["wanted"], spread_data["placed"]) == (3, 2)
    assert [(h["host_name"], h["accepted"], h["placed"], h["running"], h["rule"]) for h in spread_data["hosts"]] == [
        ("crimson-meadow", True, 2, 1, None),
        ("azure-lake", False, 0, 0, "zone=a"),
    ]


def test_a_history_is_numbered_as_rollback_counts() -> None:
    found = HistoryReport(
        versions=(
            VersionInfo(version="v1", deployed=False, put_at="2026-01-01T00:00:00+00:00", put_by="ada@desk"),
            VersionInfo(version="v2", deployed=True, deployed_at="2026-01-01T01:00:00+00:00"),
        ),
        deployments=(DeploymentInfo(version="v2", at="2026-01-01T01:00:00+00:00"),),
    )

    listing = history_listing(found, now=1767232800.0)
    table = render(listing, Format.TABLE)

    assert [line.split() for line in table.splitlines()[1:]] == [
        ["1", "v1", "-", "2h0m", "ago", "-", "ada@desk"],
        ["2", "v2", "deployed", "-", "1h0m", "ago", "-"],
    ]
    data = history_data("one", found)
    assert [item["number"] for item in data["revisions"]] == [1, 2]
    assert data["deployments"] == [{"version": "v2", "at": "2026-01-01T01:00:00+00:00", "by": None}]


def test_a_lattice_without_hosts_is_a_problem_of_the_plan() -> None:
    data = application("one", component("c", spread(1)))

    text = plan_text(preview([Intent("one", manifest(data))], {}, Observed(), 0.0), {})

    assert "nowhere (0 hosts: none answers)" in text
