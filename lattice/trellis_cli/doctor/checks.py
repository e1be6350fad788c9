"""What `trellis doctor` judges: each check is one function from facts to findings, and stands in `CHECKS`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from trellis_cli.doctor.facts import Facts

__all__ = ["CHECKS", "Diagnosis", "diagnose"]

_DAY = 86_400.0
_NEARLY_FULL = 0.8
_SLOW = 0.25
_CLOCK = 5.0
"""Seconds; the clocks of hosts are known to about two."""
_COPIES = 3
_LEAST_PAYLOAD = 1024 * 1024
_LEAST_ROOM = 1024**3


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One finding. `level`: `ok`, `warning` or `error`; `code` is stable."""

    level: str
    code: str
    message: str
    remedy: str | None = None


Check = Callable[[Facts], Iterator[Diagnosis]]


def diagnose(facts: Facts) -> list[Diagnosis]:
    """All findings, in the order of the checks."""
    return [finding for check in CHECKS for finding in check(facts)]


def nats(facts: Facts) -> Iterator[Diagnosis]:
    """NATS answers, and soon."""
    if facts.unreachable is not None:
        yield Diagnosis("error", "nats-unreachable", facts.unreachable.message, facts.unreachable.remedy)
    elif facts.round_trip > _SLOW:
        message = f"NATS at {facts.url} needs {facts.round_trip * 1000:.0f} ms for an answer."
        yield Diagnosis("warning", "nats-slow", message, "Use a server, or a leaf node, nearer to this machine.")
    else:
        server = f"{facts.server.get('server_name', '')} {facts.server.get('version', '')}".strip()
        yield Diagnosis("ok", "nats", f"NATS {server} at {facts.url} answers in {facts.round_trip * 1000:.1f} ms.")


def certificate(facts: Facts) -> Iterator[Diagnosis]:
    """The server's TLS certificate lasts."""
    if facts.certificate_until is None:
        return
    days = (facts.certificate_until - facts.now) / _DAY
    if days < 14:
        message = f"The TLS certificate of NATS expires in {max(0, int(days))} days."
        yield Diagnosis("error" if days < 2 else "warning", "certificate-expires", message, "Renew it on the server.")
    else:
        yield Diagnosis("ok", "certificate", f"The TLS certificate of NATS lasts for {int(days)} days.")


def pings(facts: Facts) -> Iterator[Diagnosis]:
    """The server notices clients that are frozen."""
    if facts.pings is None:
        return
    if facts.pings < 2:
        yield Diagnosis(
            "warning",
            "nats-pings-rarely",
            "The NATS server seldom asks its clients whether they live: a frozen host keeps getting its share of the "
            "calls, and fails them, for minutes.",
            'Set `ping_interval: "1s"` and `ping_max: 2` in its configuration.',
        )
    else:
        yield Diagnosis("ok", "nats-pings", "The NATS server notices frozen hosts within seconds.")


def payload(facts: Facts) -> Iterator[Diagnosis]:
    """Messages of the usual size pass."""
    limit = facts.server.get("max_payload")
    if isinstance(limit, int) and limit < _LEAST_PAYLOAD:
        message = f"NATS takes messages of {limit} bytes at most; lattices expect {_LEAST_PAYLOAD}."
        yield Diagnosis("warning", "nats-max-payload", message, "Set `max_payload: 1MB` in its configuration.")


def jetstream(facts: Facts) -> Iterator[Diagnosis]:
    """JetStream is there and has room."""
    if facts.no_jetstream is not None:
        yield Diagnosis("error", "no-jetstream", facts.no_jetstream.message, facts.no_jetstream.remedy)
    if facts.account is None:
        return
    tight = False
    limits = facts.account.get("limits") or {}
    for what, used, most in (
        ("storage", facts.account.get("storage", 0), limits.get("max_storage", -1)),
        ("memory", facts.account.get("memory", 0), limits.get("max_memory", -1)),
        ("streams", facts.account.get("streams", 0), limits.get("max_streams", -1)),
    ):
        if most > 0 and used >= _NEARLY_FULL * most:
            tight = True
            message = (
                f"JetStream uses {used} of the {most} {'' if what == 'streams' else 'bytes of '}{what} it may use."
            )
            level = "error" if used >= most else "warning"
            yield Diagnosis(level, "jetstream-nearly-full", message, "Raise the limits of the account, or make room.")
    if not tight:
        yield Diagnosis("ok", "jetstream", f"JetStream keeps {facts.account.get('storage', 0)} bytes.")


def streams(facts: Facts) -> Iterator[Diagnosis]:
    """What a lattice keeps is there, on enough servers."""
    missing = [stream.name for stream in facts.streams if stream.info is None]
    if missing and facts.hosts:
        message = f"JetStream has no {', '.join(missing)}, although hosts run."
        yield Diagnosis("warning", "stream-missing", message, "Hosts make them when they start: see their logs.")
    few = 0
    for stream in facts.streams:
        if stream.info is None:
            continue
        there = stream.info["config"].get("num_replicas", 1)
        if (stream.info.get("cluster") or {}).get("name") and there < _COPIES:
            few += 1
            message = f"{stream.name} is kept on {there} NATS server(s) of a cluster; {_COPIES} are wanted."
            yield Diagnosis("warning", "few-replicas", message, "trellis doctor --fix")
        behind = [one["name"] for one in (stream.info.get("cluster") or {}).get("replicas", ()) if _is_behind(one)]
        if behind:
            message = f"The copy of {stream.name} on {', '.join(behind)} is not current."
            yield Diagnosis("warning", "replica-behind", message, "See whether that NATS server runs and keeps up.")
    if facts.streams and not few and not missing:
        yield Diagnosis("ok", "streams", "What the lattice keeps is there, on as many servers as it should.")


def _is_behind(replica: dict[str, object]) -> bool:
    return replica.get("offline") is True or replica.get("current") is False


def hosts(facts: Facts) -> Iterator[Diagnosis]:
    """There are hosts."""
    if facts.unreachable is not None:
        return
    if not facts.hosts:
        yield Diagnosis(
            "error", "no-hosts", f"No host answers in lattice `{facts.lattice}`.", "trellis up, or trellis host run"
        )
        return
    yield Diagnosis("ok", "hosts", f"{len(facts.hosts)} host(s) answer in lattice `{facts.lattice}`.")


def versions(facts: Facts) -> Iterator[Diagnosis]:
    """Hosts and this command are of one version; others are said to be others."""
    older = sorted(
        {f"{host.name} ({host.version})" for host in facts.hosts if host.ours and host.version != facts.version}
    )
    if older:
        message = f"Of another version than this command ({facts.version}): {', '.join(older)}."
        yield Diagnosis("warning", "version-skew", message, "Upgrade one after the other: docs/production.md")
    foreign = sorted(host.name for host in facts.hosts if not host.ours)
    if foreign:
        message = (
            f"Hosts of another make (wasmCloud v1): {', '.join(foreign)}. Links between them and ours carry no calls."
        )
        yield Diagnosis("warning", "foreign-hosts", message, "Keep applications on hosts of one kind, by labels.")


def clocks(facts: Facts) -> Iterator[Diagnosis]:
    """The clocks of the hosts agree with ours."""
    for host in facts.hosts:
        if host.clock is not None and abs(host.clock) > _CLOCK:
            way = "ahead of" if host.clock > 0 else "behind"
            message = f"The clock of {host.name} is, or was when it started, {abs(host.clock):.0f} s {way} ours."
            yield Diagnosis("warning", "clock-skew", message, "Run an NTP client on every machine.")


def identities(facts: Facts) -> Iterator[Diagnosis]:
    """No two processes are the same host."""
    for beats in facts.beats:
        if len(beats.boots) > 1:
            message = f"{len(beats.boots)} processes say that they are host {beats.host}."
            yield Diagnosis("error", "duplicate-host", message, "Give each its own --data-dir, or end all but one.")


def scheduler(facts: Facts) -> Iterator[Diagnosis]:
    """Somebody schedules."""
    if facts.unreachable is not None or not facts.hosts:
        return
    if facts.scheduler is None or not facts.scheduler_renews:
        held = (
            f"host {facts.scheduler} held the lease and no longer renews it"
            if facts.scheduler
            else "nobody holds the lease"
        )
        yield Diagnosis(
            "error", "no-scheduler", f"No application is scheduled: {held}.", "See the logs of the hosts; start one."
        )
        return
    known = {host.id: host.name for host in facts.hosts}
    yield Diagnosis("ok", "scheduler", f"{known.get(facts.scheduler, facts.scheduler)} schedules applications.")


def permissions(facts: Facts) -> Iterator[Diagnosis]:
    """We may do what we tried."""
    for what, subject in facts.refusals:
        verb = "publish to" if what == "publish" else "subscribe to"
        yield Diagnosis(
            "warning",
            "not-permitted",
            f"This user of NATS may not {verb} {subject}.",
            "Permit it in the NATS account; docs/production.md lists what commands need.",
        )


def telemetry(facts: Facts) -> Iterator[Diagnosis]:
    """Traces arrive."""
    local = facts.local
    if local.otlp and not local.otlp_reached:
        message = f"Nobody listens at {local.otlp}, where traces are to go."
        yield Diagnosis(
            "warning", "otlp-unreachable", message, "Start the collector, or unset OTEL_EXPORTER_OTLP_ENDPOINT."
        )


def machine(facts: Facts) -> Iterator[Diagnosis]:
    """This machine can run a host."""
    local = facts.local
    if local.engine is not None:
        yield Diagnosis("error", "engine", f"No component can run here: {local.engine.message}", local.engine.remedy)
    for path in local.unwritable:
        yield Diagnosis("error", "not-writable", f"{path} cannot be written.", "Name another with --data-dir.")
    if local.free_bytes is not None and local.free_bytes < _LEAST_ROOM:
        message = f"Only {local.free_bytes // 1024**2} MB are free at {local.data_dir}."
        yield Diagnosis("warning", "disk-nearly-full", message, "Make room: state and compiled code are kept there.")
    if local.engine is None and not local.unwritable:
        yield Diagnosis("ok", "machine", "This machine can run hosts.")


CHECKS: Sequence[Check] = (
    nats,
    certificate,
    pings,
    payload,
    jetstream,
    streams,
    hosts,
    versions,
    clocks,
    identities,
    scheduler,
    permissions,
    telemetry,
    machine,
)
