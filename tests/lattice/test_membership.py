"""Who is alive: the rules with a clock of our own, and beats over a real server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis_lattice import subjects
from trellis_lattice.bus.beats import BeatPublisher, HostStatus, MembershipWatcher
from trellis_lattice.bus.connection import Connection, ConnectionSettings, Message
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings
from trellis_lattice.bus.membership import Beat, Change, ChangeKind, Membership, Probe, Timing
from trellis_lattice.ids import HostKey

K = ChangeKind
INT = st.integers(0, 2**63 - 1)


@given(INT, INT, INT, st.floats(0, 1), st.booleans(), st.booleans(), st.floats(0, 1))
def test_beats_survive_the_wire_and_are_short(
    boot: int, sequence: int, revision: int, load: float, draining: bool, leaving: bool, memory: float
) -> None:
    host = HostKey.from_bytes(bytes(32)).id
    beat = Beat(host, boot, sequence, revision, round(load, 2), draining, leaving, round(memory, 2))
    assert Beat.decode(beat.encode(), host) == beat
    assert len(beat.encode()) < 200


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_payload_breaks_the_decoder(payload: bytes) -> None:
    Beat.decode(payload, "N")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[]",
        b'{"boot":1}',
        b'{"boot":true,"seq":1}',
        b'{"boot":1,"seq":-1}',
        b'{"boot":1,"seq":1,"load":2}',
        b'{"boot":1,"seq":1,"mem":"much"}',
        b'{"boot":1,"seq":1,"flags":1}',
        b'{"boot":1,"seq":1,"x":"' + b"x" * 500 + b'"}',
    ],
)
def test_what_is_no_beat_is_ignored(payload: bytes) -> None:
    assert Beat.decode(payload, "N") is None


def kinds(changes: list[Change]) -> list[ChangeKind]:
    return [change.kind for change in changes]


class Clock:
    """Ticks a membership as its watcher does, and collects what it says."""

    def __init__(self) -> None:
        self.members = Membership(Timing(suspect_after=1.5, gone_after=2.5, tick=0.25))
        self.now = 100.0
        self.sequence = 0

    def beat(self, boot: int = 1, revision: int = 0, **flags: bool) -> list[ChangeKind]:
        self.sequence += 1
        return kinds(self.members.hear(Beat("N", boot, self.sequence, revision, **flags), self.now))

    def run(self, seconds: float) -> list[ChangeKind]:
        said: list[ChangeKind] = []
        for _ in range(round(seconds / 0.25)):
            self.now += 0.25
            said += kinds(self.members.tick(self.now))
        return said


def test_a_silent_host_is_suspect_and_then_gone() -> None:
    clock = Clock()
    assert clock.beat() == [K.JOINED]
    assert clock.run(1.25) == []
    assert clock.run(0.25) == [K.SUSPECT]
    assert clock.run(0.75) == []
    assert clock.run(0.25) == [K.GONE]
    assert clock.members.members == {}
    assert clock.run(10) == []
    assert clock.beat() == [K.JOINED]


def test_one_lost_beat_makes_suspect_not_gone() -> None:
    clock = Clock()
    clock.beat()
    assert clock.run(2) == [K.SUSPECT]
    assert clock.beat() == [K.RECOVERED]
    for _ in range(5):
        assert clock.run(1) == []
        assert clock.beat() == []


def test_changes_of_state_are_told_once() -> None:
    clock = Clock()
    clock.beat()
    assert clock.beat(revision=1) == [K.UPDATED]
    assert clock.beat(revision=1) == []
    assert clock.beat(revision=1, draining=True) == [K.UPDATED]
    clock.run(2)
    assert clock.beat(revision=2, draining=True) == [K.RECOVERED, K.UPDATED]


def test_a_restart_is_noticed_and_beats_of_the_old_process_are_ignored() -> None:
    clock = Clock()
    clock.beat(boot=1, revision=7)
    assert clock.beat(boot=2) == [K.RESTARTED]
    assert clock.beat(boot=1, revision=9) == []
    assert clock.members.members["N"].beat.boot == 2


def test_beats_that_overtook_each_other_are_ignored() -> None:
    clock = Clock()
    clock.beat()
    clock.sequence += 5
    clock.beat(revision=3)
    clock.sequence -= 3
    assert clock.beat(revision=2) == []
    assert clock.members.members["N"].beat.revision == 3


def test_a_goodbye_counts_at_once_and_late_beats_do_not_undo_it() -> None:
    clock = Clock()
    clock.beat(boot=5)
    assert clock.beat(boot=5, leaving=True) == [K.LEFT]
    assert clock.beat(boot=5) == []
    assert clock.beat(boot=6) == [K.JOINED]
    assert clock.beat(boot=6, leaving=True) == [K.LEFT]
    clock.run(3)
    assert clock.beat(boot=1) == [K.JOINED]


def test_a_goodbye_of_a_stranger_is_no_news() -> None:
    assert Clock().beat(leaving=True) == []


def test_nobody_is_gone_because_we_could_not_hear() -> None:
    clock = Clock()
    clock.beat()
    clock.run(1)
    clock.members.deaf(clock.now)
    assert clock.run(30) == []
    clock.members.hearing(clock.now)
    assert clock.run(0.25) == []
    assert clock.run(1) == [K.SUSPECT]
    assert clock.run(0.25) == [K.GONE]


def test_nobody_is_gone_because_we_were_held_up() -> None:
    clock = Clock()
    clock.beat()
    clock.run(0.5)
    clock.now += 30
    assert clock.run(0.25) == []
    assert clock.beat() == []
    assert clock.run(1.25) == []


@given(st.lists(st.tuples(st.floats(0.01, 1.9), st.integers(0, 3)), max_size=20))
def test_a_host_that_beats_often_enough_is_never_gone(pauses: list[tuple[float, int]]) -> None:
    members = Membership(Timing(suspect_after=1.5, gone_after=2.5, tick=0.25))
    now, ticked = 0.0, 0.0
    said = members.hear(Beat("N", 1, 0), now)
    for sequence, (pause, revision) in enumerate(pauses, 1):
        now += pause
        while ticked + 0.25 <= now:
            ticked += 0.25
            said += members.tick(ticked)
        said += members.hear(Beat("N", 1, sequence, revision), now)
    assert kinds(said)[0] is K.JOINED
    assert K.GONE not in kinds(said)


# Questions


def suspect(clock: Clock) -> Probe:
    """Makes the host of this clock suspect, and gives the question to it."""
    clock.beat()
    assert clock.run(1.5) == [K.SUSPECT]
    (probe,) = clock.members.suspects(clock.now)
    assert (probe.host, probe.boot, probe.asked) == ("N", 1, clock.now)
    return probe


def test_a_suspect_is_asked_once_and_its_word_settles_it() -> None:
    clock = Clock()
    probe = suspect(clock)
    assert clock.members.suspects(clock.now) == []
    assert clock.beat() == [K.RECOVERED]
    assert clock.members.absent(probe, clock.now) == []
    assert clock.members.unanswered(probe, clock.now) == []
    assert clock.run(1.5) == [K.SUSPECT]
    assert len(clock.members.suspects(clock.now)) == 1


def test_only_those_who_want_to_know_ask() -> None:
    clock = Clock()
    clock.beat()
    clock.run(1.5)
    assert clock.members.suspects(clock.now, lambda host: False) == []
    assert len(clock.members.suspects(clock.now, lambda host: host == "N")) == 1


def test_who_has_nobody_listening_is_gone_at_once() -> None:
    clock = Clock()
    probe = suspect(clock)
    assert kinds(clock.members.absent(probe, clock.now)) == [K.GONE]
    assert clock.members.absent(probe, clock.now) == []
    assert clock.run(5) == []
    assert clock.beat() == [K.JOINED]


def test_who_does_not_answer_is_gone_within_two_seconds_of_its_last_beat() -> None:
    clock = Clock()
    heard = clock.now
    probe = suspect(clock)
    assert probe.until == heard + 2.0
    assert kinds(clock.members.unanswered(probe, probe.until)) == [K.GONE]


def test_an_answer_of_the_next_process_is_news_and_the_question_is_void() -> None:
    clock = Clock()
    probe = suspect(clock)
    assert clock.beat(boot=2) == [K.RESTARTED]
    assert clock.members.absent(probe, clock.now) == []


def test_a_process_whose_clock_went_back_is_met_when_the_old_one_is_gone() -> None:
    clock = Clock()
    clock.beat(boot=600_000)
    for _ in range(3):
        assert clock.run(0.5) in ([], [K.SUSPECT])
        assert clock.beat(boot=1) == []
    assert clock.run(1.0) == [K.GONE]
    assert clock.beat(boot=1) == [K.JOINED]


def test_who_did_something_for_us_is_gone_in_time_also_if_it_was_never_heard() -> None:
    clock = Clock()
    clock.members.expect("N", clock.now)
    assert clock.run(1.25) == []
    assert clock.run(0.25) == [K.SUSPECT]
    (probe,) = clock.members.suspects(clock.now)
    assert kinds(clock.members.absent(probe, clock.now)) == [K.GONE]
    clock.members.expect("N", clock.now)
    assert clock.run(1) == []
    clock.members.expect("N", clock.now)
    assert clock.beat() == [K.JOINED]
    assert clock.beat() == []


def test_nobody_is_condemned_while_we_cannot_hear() -> None:
    clock = Clock()
    probe = suspect(clock)
    clock.members.deaf(clock.now)
    assert clock.members.suspects(clock.now) == []
    assert clock.members.doubt(clock.now) == []
    assert clock.members.absent(probe, clock.now) == []
    assert clock.members.unanswered(probe, clock.now) == []
    clock.members.hearing(clock.now)
    assert kinds(clock.members.absent(probe, clock.now)) == [K.GONE]


def test_a_hint_asks_those_that_are_quiet_and_no_more_than_some() -> None:
    members = Membership(Timing())
    for n in range(20):
        members.hear(Beat(f"N{n}", 1, 1), n * 0.1)
    probes = members.doubt(2.0)
    assert [probe.host for probe in probes] == [f"N{n}" for n in range(8)]
    assert members.doubt(2.1) == []
    assert [probe.host for probe in members.doubt(2.25)] == [f"N{n}" for n in range(8, 16)]


def test_a_hint_condemns_nobody_who_is_only_slow_to_answer() -> None:
    members = Membership(Timing())
    members.hear(Beat("N", 1, 1), 0.0)
    (probe,) = members.doubt(0.5)
    assert members.unanswered(probe, probe.until) == []
    assert kinds(members.absent(probe, probe.until)) == [K.GONE]


@given(st.lists(st.tuples(st.floats(0.01, 1.9), st.floats(0.0, 0.2), st.booleans()), min_size=1, max_size=30))
def test_a_host_that_answers_is_never_gone_whatever_beats_are_lost(spells: list[tuple[float, float, bool]]) -> None:
    """Beats are lost; questions are not, and are answered in time."""
    members, now, ticked, sequence = Membership(Timing()), 0.0, 0.0, 1
    said = members.hear(Beat("N", 1, 1), now)
    for pause, answer_after, lost in spells:
        now += pause
        while ticked + 0.25 <= now:
            ticked += 0.25
            said += members.tick(ticked)
            for probe in members.suspects(ticked) + members.doubt(ticked):
                sequence += 1
                said += members.hear(Beat("N", 1, sequence), ticked + answer_after)
                said += members.absent(probe, ticked + answer_after)
                said += members.unanswered(probe, probe.until)
        if not lost:
            sequence += 1
            said += members.hear(Beat("N", 1, sequence), now)
    assert K.GONE not in kinds(said)
    assert kinds(said).count(K.JOINED) == 1


@given(st.floats(0.0, 1.0), st.sampled_from(["killed", "frozen"]))
def test_a_dead_host_is_gone_in_time_wherever_the_ticks_fall(phase: float, how: str) -> None:
    members, now = Membership(Timing()), phase
    members.hear(Beat("N", 1, 1), phase)
    asked: list[Probe] = []
    while "N" in members.members:
        now += 0.25
        members.tick(now)
        asked += members.suspects(now)
        for probe in asked:
            if how == "killed":
                members.absent(probe, now)
            elif now >= probe.until:
                members.unanswered(probe, now)
    assert now - phase <= (1.5 if how == "killed" else 2.25)


class Log:
    """Collects changes and waits for one."""

    def __init__(self) -> None:
        self.changes: asyncio.Queue[Change] = asyncio.Queue()

    def __call__(self, change: Change) -> None:
        self.changes.put_nowait(change)

    async def until(self, kind: ChangeKind) -> Change:
        async with asyncio.timeout(20):
            while (change := await self.changes.get()).kind is not kind:
                pass
        return change


def soon(seconds: float = 10.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_beats_over_the_lattice(connection: Connection, lattice: str) -> None:
    log, status = Log(), [HostStatus(revision=1, load=0.5)]
    watcher = MembershipWatcher(connection, lattice, log, interval=0.1)
    await watcher.start()
    publisher = BeatPublisher(connection, lattice, "NA", 7, lambda: status[0], interval=0.1)
    publisher.start()
    joined = await log.until(K.JOINED)
    assert (joined.host, joined.beat.boot, joined.beat.revision, joined.beat.load) == ("NA", 7, 1, 0.5)
    await watcher.complete(deadline=soon())
    status[0] = HostStatus(revision=2, draining=True)
    publisher.changed()
    updated = await log.until(K.UPDATED)
    assert (updated.beat.revision, updated.beat.draining) == (2, True)
    await publisher.aclose()
    assert (await log.until(K.LEFT)).host == "NA"
    assert watcher.membership.members == {}
    await watcher.aclose()


async def test_what_is_no_beat_makes_no_member(connection: Connection, lattice: str) -> None:
    log = Log()
    watcher = MembershipWatcher(connection, lattice, log)
    await watcher.start()
    await connection.publish(f"trellis.v1.{lattice}.beat.NA", b"nonsense")
    await connection.publish(f"trellis.v1.{lattice}.beat.NC", Beat("NC", 1, 1).encode())
    assert (await log.until(K.JOINED)).host == "NC"
    assert set(watcher.membership.members) == {"NC"}
    await watcher.aclose()


async def test_a_host_that_stops_beating_is_gone(connection: Connection, lattice: str) -> None:
    log = Log()
    timing = Timing(suspect_after=0.1, gone_after=0.2, tick=0.02)
    watcher = MembershipWatcher(connection, lattice, log, timing=timing)
    await watcher.start()
    await connection.publish(f"trellis.v1.{lattice}.beat.NA", Beat("NA", 1, 1).encode())
    await log.until(K.JOINED)
    await log.until(K.SUSPECT)
    await log.until(K.GONE)
    await watcher.aclose()


async def test_a_quiet_host_is_asked_and_says_that_it_lives(connection: Connection, lattice: str) -> None:
    log = Log()
    publisher = BeatPublisher(connection, lattice, "NA", 7, HostStatus, interval=60.0)
    timing = Timing(suspect_after=0.1, answer_after=20, gone_after=30, tick=0.02)
    watcher = MembershipWatcher(connection, lattice, log, timing=timing)
    await watcher.start()
    publisher.start()
    await log.until(K.JOINED)
    await log.until(K.SUSPECT)
    assert (await log.until(K.RECOVERED)).beat.sequence > 1
    await publisher.aclose()
    await log.until(K.LEFT)
    await watcher.aclose()


async def test_a_host_whose_connection_ended_is_gone_without_waiting(
    connection: Connection, lattice: str, nats_server: str
) -> None:
    theirs = await Connection.connect(ConnectionSettings(urls=(nats_server,)), timeout=5)
    log = Log()
    timing = Timing(suspect_after=1000, gone_after=2000, tick=0.02, doubt_after=0.0, answer_within=0.05)
    watcher = MembershipWatcher(connection, lattice, log, timing=timing)
    await watcher.start()
    await connection.flush(deadline=asyncio.get_running_loop().time() + 5)  # their only beat must not come before
    publisher = BeatPublisher(theirs, lattice, "NA", 7, HostStatus, interval=60.0)
    publisher.start()
    await log.until(K.JOINED)
    await theirs.aclose()
    gone = asyncio.create_task(log.until(K.GONE))
    while not gone.done():  # the server may still be closing their connection
        watcher.doubt()
        await asyncio.wait((gone,), timeout=0.01)
    assert (await gone).host == "NA"
    await watcher.aclose()
    await publisher.aclose()


async def test_a_host_that_was_away_says_so_at_once(tmp_path: Path) -> None:
    server = await EmbeddedNats.start(NatsServerSettings(tmp_path))
    settings = NatsServerSettings(tmp_path, port=int(server.url.rpartition(":")[2]))
    connection = await Connection.connect(ConnectionSettings(urls=(server.url,)), timeout=5)
    heard: asyncio.Queue[Beat] = asyncio.Queue()

    def hear(message: Message) -> None:
        beat = Beat.decode(message.data, "NA")
        assert beat is not None
        heard.put_nowait(beat)

    await connection.subscribe(subjects.beat("default", "NA"), hear)
    publisher = BeatPublisher(connection, "default", "NA", 1, HostStatus, interval=3600.0)
    publisher.start()
    async with asyncio.timeout(20):
        first = await heard.get()
        await server.stop()
        server = await EmbeddedNats.start(settings)
        assert (await heard.get()).sequence > first.sequence
    await publisher.aclose()
    await connection.aclose()
    await server.stop()


async def test_nats_that_goes_away_kills_nobody(tmp_path: Path) -> None:
    server = await EmbeddedNats.start(NatsServerSettings(tmp_path))
    settings = NatsServerSettings(tmp_path, port=int(server.url.rpartition(":")[2]))
    connection = await Connection.connect(ConnectionSettings(urls=(server.url,)), timeout=5)
    log, lost, back = Log(), asyncio.Event(), asyncio.Event()
    connection.listen(lambda up: back.set() if up else lost.set())
    watcher = MembershipWatcher(
        connection, "default", log, timing=Timing(suspect_after=0.3, gone_after=0.5, tick=0.02), interval=0.05
    )
    await watcher.start()
    publisher = BeatPublisher(connection, "default", "NA", 1, HostStatus, interval=0.05)
    publisher.start()
    await log.until(K.JOINED)
    await server.stop()
    async with asyncio.timeout(20):
        await lost.wait()
    heard = watcher.membership.members["NA"].beat.sequence
    server = await EmbeddedNats.start(settings)
    async with asyncio.timeout(20):
        await back.wait()
        while watcher.membership.members["NA"].beat.sequence <= heard:
            await asyncio.sleep(0.01)
    assert log.changes.empty()
    await publisher.aclose()
    await watcher.aclose()
    await connection.aclose()
    await server.stop()
