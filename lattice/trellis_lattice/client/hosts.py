"""Hosts: which there are, what they run, their labels, their end."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from trellis_lattice.client.asking import QUIET, TIMEOUT, Asking, deadline_in
from trellis_lattice.client.parts import gather_parts
from trellis_lattice.control import host, label
from trellis_lattice.control.host import HostInfo, HostInventory, Stays, StopHost
from trellis_lattice.control.label import Label, LabelKey
from trellis_lattice.control.parts import PART
from trellis_lattice.errors import TOO_LARGE, DeadlineExceeded, PeerMisbehaved, RequestInvalid, Unavailable
from trellis_lattice.events import HostStopped, LatticeEvent
from trellis_lattice.ids import match, short

__all__ = ["Hosts"]


class Hosts(Asking):
    """What is asked of hosts."""

    async def hosts(
        self, *, timeout: float = TIMEOUT, expect: Collection[str] = (), quiet: float | None = QUIET
    ) -> list[HostInfo]:
        """Every host that answers, oldest first; empty if there is none.

        Ends when all hosts of `expect` (ids) have answered; without that when `quiet` seconds brought no further
        answer (None: wait for the whole `timeout`).
        """
        answers = await self._ask_all(host.PING, None, timeout, expect, lambda answer: answer.id, quiet)
        return sorted({answer.id: answer for answer in answers}.values(), key=lambda h: (-h.uptime_seconds, h.id))

    async def find_host(self, text: str, *, timeout: float = TIMEOUT) -> HostInfo:
        """The host that an id, the beginning of one, or a (part of a) friendly name means.

        Raises `NotFound`, `Conflict`; `Unavailable` if there is no host at all.
        """
        found = await self.hosts(timeout=timeout)
        if not found:
            raise self._no_host()
        by_id = {info.id: info for info in found}
        return by_id[match(text, [(info.id, info.friendly_name) for info in found])]

    async def inventory(self, host_id: str, *, timeout: float = TIMEOUT) -> HostInventory:
        """What a host runs. In parts, if it is too much for one message."""
        deadline = deadline_in(timeout)
        try:
            answer = await self._ask(host.GET, None, host_id, timeout)
        except RequestInvalid as error:
            if error.fields.get("reason") != TOO_LARGE:
                raise
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            return await gather_parts(lambda request: self._ask(PART, request, host_id, left), host_id)
        if answer is None:
            raise PeerMisbehaved(f"Host {short(host_id)} answered without an inventory.", host=host_id)
        return answer

    async def inventories(self, *, timeout: float = TIMEOUT, expect: Collection[str] = ()) -> list[HostInventory]:
        """What every host runs. A host that goes away meanwhile is left out."""
        deadline = deadline_in(timeout)
        found = await self.hosts(timeout=timeout, expect=expect)
        left = max(0.1, deadline - asyncio.get_running_loop().time())
        answers = await asyncio.gather(
            *(self.inventory(info.id, timeout=left) for info in found), return_exceptions=True
        )
        inventories = []
        for answer in answers:
            if isinstance(answer, HostInventory):
                inventories.append(answer)
            elif not isinstance(answer, Unavailable | DeadlineExceeded):
                raise answer
        return inventories

    async def stop_host(
        self, host_id: str, *, grace: float | None = None, timeout: float = TIMEOUT, wait: float | None = None
    ) -> str:
        """Asks a host to stop, giving it `grace` seconds to finish what is under way.

        With `wait` (seconds) it returns when the host has said goodbye.
        """
        request = StopHost(host_id=host_id, timeout=None if grace is None else round(grace * 1000))
        if wait is None:
            return await self._command(host.STOP, request, host_id, timeout)

        def outcome(event: LatticeEvent) -> HostStopped | None:
            data = event.event
            return data if event.source == host_id and isinstance(data, HostStopped) else None

        async with self.events() as feed:
            message = await self._command(host.STOP, request, host_id, timeout)
            await self._outcome(feed, outcome, host.STOP.name, host_id, wait)
            return message

    async def tell_staying(self, host_id: str, workloads: Collection[str], *, timeout: float = TIMEOUT) -> None:
        """Tells a host that is about to leave which of its workloads (ids) nobody will move: not to wait for them."""
        await self._command(host.STAYS, Stays(workloads=tuple(sorted(workloads))), host_id, timeout)

    async def put_label(self, host_id: str, key: str, value: str, *, timeout: float = TIMEOUT) -> str:
        return await self._command(label.PUT, Label(key=key, value=value), host_id, timeout)

    async def delete_label(self, host_id: str, key: str, *, timeout: float = TIMEOUT) -> str:
        return await self._command(label.DEL, LabelKey(key=key), host_id, timeout)
