"""What became of the commands that were sent, kept for as long as it matters. Synchronous; times are arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from trellis_lattice.control.host import HostInventory
from trellis_wadm import backoff
from trellis_wadm.backoff import Attempt, Policy
from trellis_wadm.planner.commands import Command, ScaleComponent, StartProvider, command_host, command_key
from trellis_wadm.refusals import MAX_ERROR, MAX_REFUSALS, Refusal

__all__ = ["Journal"]

SILENT = "it ended before it ran, and nothing was heard of the reason"


class Journal:
    """Attempts by command key. Forgets whatever no plan asks for any more."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._attempts: dict[str, Attempt] = {}
        self._apps: dict[str, str | None] = {}
        self._acknowledged: dict[str, float] = {}

    @property
    def attempts(self) -> Mapping[str, Attempt]:
        return dict(self._attempts)

    def sent(self, command: Command, app: str | None, now: float) -> None:
        """A command goes out."""
        key = command_key(command)
        policy = backoff.policy_for(command, self._policy)
        self._attempts[key] = backoff.sent(self._attempts.get(key), command, now, policy)
        self._apps[key] = app
        self._acknowledged.pop(key, None)

    def acknowledged(self, command: Command, now: float) -> None:
        """A host has taken it: from now on its inventory shows what becomes of it."""
        key = command_key(command)
        attempt = self._attempts.get(key)
        if attempt is not None and attempt.pending and attempt.command == command:
            self._acknowledged[key] = now

    def saw_inventory(self, inventory: HostInventory, asked: float, now: float) -> None:
        """The answer to a question of that time. A start that it shows nowhere has failed, though nobody heard why."""
        if inventory.starting is None:
            return
        host, starting = inventory.host_id, set(inventory.starting)
        running = {c.id: c.image_ref for c in inventory.components} | {p.id: p.image_ref for p in inventory.providers}
        for key, at in list(self._acknowledged.items()):
            command = self._attempts[key].command
            if command.host != host or at >= asked or command.id in starting:
                continue
            del self._acknowledged[key]
            if running.get(command.id) != command.image:
                self.failed(command, SILENT, now)

    def failed(self, command: Command, error: str, now: float, *, final: bool = False) -> None:
        """It was refused, or nobody answered; `final` if trying again cannot help."""
        key = command_key(command)
        attempt = self._attempts.get(key)
        self._acknowledged.pop(key, None)
        if attempt is not None and attempt.command == command:
            self._attempts[key] = backoff.failed(attempt, error, now, final=final)

    def scale_failed(self, host: str, id: str, count: int, error: str, now: float, *, final: bool = False) -> None:
        """A host reports that a component could not be scaled."""
        sent = [attempt for attempt in self._attempts.values() if attempt.pending and _scales(attempt, host, id, count)]
        if sent:
            self.failed(max(sent, key=lambda attempt: attempt.at).command, error, now, final=final)

    def start_failed(self, host: str, id: str, image: str, error: str, now: float, *, final: bool = False) -> None:
        """A host reports that a provider could not be started."""
        attempt = self._attempts.get(f"provider/{host}/{id}")
        command = attempt.command if attempt else None
        if attempt and isinstance(command, StartProvider) and command.image == image:
            self._start_failed(attempt, error, now, final)

    def _start_failed(self, attempt: Attempt, error: str, now: float, final: bool) -> None:
        if attempt.pending:
            self.failed(attempt.command, error, now, final=final)
        elif attempt.error == SILENT:
            # The inventory was quicker than the event, which knows the reason.
            self._attempts[command_key(attempt.command)] = replace(attempt, error=error, final=final)

    def keep_only(self, wanted: Mapping[str, Command], now: float) -> None:
        """Notes what the world shows by now, and forgets that once it has lasted."""
        for key, attempt in list(self._attempts.items()):
            if key in wanted:
                continue
            if attempt.pending:
                self._attempts[key] = backoff.settled(attempt, now)
                self._acknowledged.pop(key, None)
            elif not attempt.settled or now - attempt.at >= self._policy.lasting:
                self._drop(key)

    def refusals(self, boot: Callable[[str], int | None]) -> tuple[Refusal, ...]:
        """The starts that failed for good, for a later leader; `boot` tells which process of a host runs."""
        found = [
            Refusal(
                command, self._apps.get(key), (attempt.error or "")[:MAX_ERROR], attempt.failures, attempt.final, at
            )
            for key, attempt in sorted(self._attempts.items())
            if self._failed_for_good(attempt) and isinstance(command := attempt.command, ScaleComponent | StartProvider)
            for at in (boot(command.host),)
        ]
        return tuple(found[:MAX_REFUSALS])

    def _failed_for_good(self, attempt: Attempt) -> bool:
        return not attempt.pending and not attempt.settled and (attempt.final or attempt.failures >= self._policy.limit)

    def restore(self, refusals: Iterable[Refusal], now: float) -> None:
        """What an earlier leader noted; what was heard since counts for more."""
        for refusal in refusals:
            if refusal.key in self._attempts:
                continue
            attempt = Attempt(refusal.command, refusal.failures, now, False, refusal.error, now, final=refusal.final)
            self._attempts[refusal.key] = attempt
            self._apps[refusal.key] = refusal.app

    def forget(self, key: str) -> None:
        """Whether the command arrived is unknown, and waited for no longer."""
        if key in self._attempts:
            self._drop(key)

    def forget_host(self, host: str) -> None:
        """A host started anew: nothing that was sent to it before counts."""
        for key, attempt in list(self._attempts.items()):
            if command_host(attempt.command) == host:
                self._drop(key)

    def forget_application(self, app: str) -> None:
        """An application was deployed again: its failures are to be tried anew."""
        for key in [key for key, owner in self._apps.items() if owner == app and not self._attempts[key].pending]:
            self._drop(key)

    def _drop(self, key: str) -> None:
        del self._attempts[key]
        self._apps.pop(key, None)
        self._acknowledged.pop(key, None)


def _scales(attempt: Attempt, host: str, id: str, count: int) -> bool:
    command = attempt.command
    return isinstance(command, ScaleComponent) and (command.host, command.id, command.count) == (host, id, count)
