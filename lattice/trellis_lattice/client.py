"""The client side of a lattice: typed calls for every control operation.

    async with await LatticeClient.connect(ConnectionSettings(), "default", timeout=5) as lattice:
        for host in await lattice.hosts():
            print((await lattice.inventory(host.id)).components)

The laws of this file: `timeout` is in seconds and bounds the whole call; whatever goes wrong is a
`TrellisError` that names lattice and host; a refusal by the other side is raised, not returned; a command is
acknowledged when it returns, and done when its event comes (`wait` on the commands that have it).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Self, TypeVar

from trellis_lattice import subjects
from trellis_lattice.bus.connection import Connection, ConnectionSettings, Message
from trellis_lattice.config import ConfigMap
from trellis_lattice.control import (
    Answerers,
    ControlOperation,
    CtlResponse,
    claims,
    component,
    config,
    host,
    label,
    link,
    provider,
)
from trellis_lattice.control import registry as registries
from trellis_lattice.control.component import ComponentAuction, ComponentBid, Prepare, Scale, Update
from trellis_lattice.control.host import HostInfo, HostInventory, StopHost
from trellis_lattice.control.label import Label, LabelKey
from trellis_lattice.control.provider import ProviderAuction, ProviderBid, StartProvider, StopProvider
from trellis_lattice.control.registry import RegistryCredential
from trellis_lattice.errors import DeadlineExceeded, PeerMisbehaved, TrellisError, Unavailable
from trellis_lattice.events import (
    ComponentScaled,
    ComponentScaleFailed,
    LatticeEvent,
    ProviderStarted,
    ProviderStartFailed,
    ProviderStopped,
)
from trellis_lattice.events.feed import EventFeed
from trellis_lattice.ids import match, short
from trellis_lattice.links import Link, LinkId

__all__ = ["LatticeClient"]

Request = TypeVar("Request")
Response = TypeVar("Response")

TIMEOUT = 2.0
"""Seconds for one control operation, as v1's clients have it."""
QUIET = 0.25
"""Seconds without another answer after which a question to all hosts counts as answered."""


class LatticeClient:
    """Calls on one lattice over a connection that others may use too."""

    def __init__(
        self,
        connection: Connection,
        lattice: str = subjects.DEFAULT_LATTICE,
        *,
        control_prefix: str = subjects.CONTROL_PREFIX,
        event_prefix: str = subjects.EVENT_PREFIX,
    ) -> None:
        self.connection = connection
        self.lattice = subjects.check_lattice(lattice)
        self._control_prefix = control_prefix
        self._event_prefix = event_prefix
        self._owns_connection = False

    @classmethod
    async def connect(
        cls,
        settings: ConnectionSettings,
        lattice: str = subjects.DEFAULT_LATTICE,
        *,
        timeout: float = 5.0,
        control_prefix: str = subjects.CONTROL_PREFIX,
        event_prefix: str = subjects.EVENT_PREFIX,
    ) -> Self:
        """A client with a connection of its own, which `aclose` closes. Raises `Unavailable`, `Denied`."""
        subjects.check_lattice(lattice)
        connection = await Connection.connect(settings, timeout=timeout)
        self = cls(connection, lattice, control_prefix=control_prefix, event_prefix=event_prefix)
        self._owns_connection = True
        return self

    async def aclose(self) -> None:
        if self._owns_connection:
            await self.connection.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    # Hosts

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
        """What a host runs."""
        answer = await self._ask(host.GET, None, host_id, timeout)
        if answer is None:
            raise PeerMisbehaved(f"Host {short(host_id)} answered without an inventory.", host=host_id)
        return answer

    async def inventories(self, *, timeout: float = TIMEOUT, expect: Collection[str] = ()) -> list[HostInventory]:
        """What every host runs. A host that goes away meanwhile is left out."""
        deadline = _deadline(timeout)
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

    async def stop_host(self, host_id: str, *, grace: float | None = None, timeout: float = TIMEOUT) -> str:
        """Asks a host to stop, giving it `grace` seconds to finish what is under way."""
        request = StopHost(host_id=host_id, timeout=None if grace is None else round(grace * 1000))
        return await self._command(host.STOP, request, host_id, timeout)

    async def put_label(self, host_id: str, key: str, value: str, *, timeout: float = TIMEOUT) -> str:
        return await self._command(label.PUT, Label(key=key, value=value), host_id, timeout)

    async def delete_label(self, host_id: str, key: str, *, timeout: float = TIMEOUT) -> str:
        return await self._command(label.DEL, LabelKey(key=key), host_id, timeout)

    # Components

    async def auction_component(
        self, ref: str, id: str, constraints: Mapping[str, str] | None = None, *, timeout: float = TIMEOUT
    ) -> list[ComponentBid]:
        """The hosts that would run it; empty if none."""
        request = ComponentAuction(component_ref=ref, component_id=id, constraints=dict(constraints or {}))
        return await self._ask_all(component.AUCTION, request, timeout, (), lambda bid: bid.host_id, QUIET)

    async def scale_component(
        self,
        host_id: str,
        ref: str,
        id: str,
        count: int,
        *,
        annotations: Mapping[str, str] | None = None,
        config: Sequence[str] = (),
        limits: Mapping[str, str] | None = None,
        allow_update: bool = False,
        timeout: float = TIMEOUT,
        wait: float | None = None,
    ) -> ComponentScaled | None:
        """Starts, resizes or stops (`count` 0) a component. With `wait` (seconds) it returns what came of it.

        Raises what made the host fail, `DeadlineExceeded` if nothing came of it in time.
        """
        request = Scale(
            component_ref=ref,
            component_id=id,
            count=count,
            host_id=host_id,
            annotations=None if annotations is None else dict(annotations),
            config=tuple(config),
            allow_update=allow_update,
            component_limits=None if limits is None else dict(limits),
        )

        def outcome(event: LatticeEvent) -> ComponentScaled | None:
            data = event.event
            if event.source == host_id and isinstance(data, ComponentScaleFailed) and data.component_id == id:
                raise data.exception
            mine = isinstance(data, ComponentScaled) and data.component_id == id and data.max_instances == count
            return data if mine and event.source == host_id and isinstance(data, ComponentScaled) else None

        return await self._command_and_wait(component.SCALE, request, host_id, timeout, wait, outcome)

    async def update_component(self, host_id: str, id: str, new_ref: str, *, timeout: float = TIMEOUT) -> str:
        return await self._command(
            component.UPDATE, Update(component_id=id, new_component_ref=new_ref, host_id=host_id), host_id, timeout
        )

    async def prepare_component(self, host_id: str, image: str, *, timeout: float = TIMEOUT) -> str:
        """Asks a host of ours to fetch and compile an image that it may have to run later.

        Acknowledged at once, done in the background; `HostInventory.prepared` lists what is ready. A v1 host
        does not know it and raises.
        """
        request = Prepare(component_ref=image, host_id=host_id)
        return await self._command(component.PREPARE, request, host_id, timeout)

    # Providers

    async def auction_provider(
        self, ref: str, id: str, constraints: Mapping[str, str] | None = None, *, timeout: float = TIMEOUT
    ) -> list[ProviderBid]:
        """The hosts that would run it; empty if none."""
        request = ProviderAuction(provider_ref=ref, provider_id=id, constraints=dict(constraints or {}))
        return await self._ask_all(provider.AUCTION, request, timeout, (), lambda bid: bid.host_id, QUIET)

    async def start_provider(
        self,
        host_id: str,
        ref: str,
        id: str,
        *,
        config: Sequence[str] = (),
        annotations: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
        wait: float | None = None,
    ) -> ProviderStarted | None:
        """Starts a provider; with `wait` (seconds) it returns when it runs. Raises what made it fail."""
        request = StartProvider(
            provider_id=id,
            provider_ref=ref,
            host_id=host_id,
            config=tuple(config),
            annotations=None if annotations is None else dict(annotations),
        )

        def outcome(event: LatticeEvent) -> ProviderStarted | None:
            data = event.event
            if event.source == host_id and isinstance(data, ProviderStartFailed) and data.provider_id == id:
                raise data.exception
            mine = isinstance(data, ProviderStarted) and data.provider_id == id and event.source == host_id
            return data if mine and isinstance(data, ProviderStarted) else None

        return await self._command_and_wait(provider.START, request, host_id, timeout, wait, outcome)

    async def stop_provider(
        self, host_id: str, id: str, *, timeout: float = TIMEOUT, wait: float | None = None
    ) -> ProviderStopped | None:
        """Stops a provider; with `wait` (seconds) it returns when it has stopped."""

        def outcome(event: LatticeEvent) -> ProviderStopped | None:
            data = event.event
            mine = isinstance(data, ProviderStopped) and data.provider_id == id and event.source == host_id
            return data if mine and isinstance(data, ProviderStopped) else None

        request = StopProvider(host_id=host_id, provider_id=id)
        return await self._command_and_wait(provider.STOP, request, host_id, timeout, wait, outcome)

    # Shared state

    async def links(self, *, timeout: float = TIMEOUT) -> list[Link]:
        """Every link of the lattice."""
        return await self._ask(link.GET, None, None, timeout) or []

    async def put_link(self, new: Link, *, timeout: float = TIMEOUT) -> str:
        """Raises `Conflict` if another target answers one of its interfaces, `ConfigError` for a missing config."""
        return await self._command(link.PUT, new, None, timeout)

    async def delete_link(self, id: LinkId, *, timeout: float = TIMEOUT) -> str:
        return await self._command(link.DEL, id, None, timeout)

    async def put_config(self, name: str, values: Mapping[str, str], *, timeout: float = TIMEOUT) -> str:
        return await self._command(config.PUT, dict(values), name, timeout)

    async def config(self, name: str, *, timeout: float = TIMEOUT) -> ConfigMap | None:
        """None if there is no config of that name."""
        return await self._ask(config.GET, None, name, timeout)

    async def delete_config(self, name: str, *, timeout: float = TIMEOUT) -> str:
        return await self._command(config.DEL, None, name, timeout)

    async def claims(self, *, timeout: float = TIMEOUT) -> list[dict[str, str]]:
        return await self._ask(claims.GET, None, None, timeout) or []

    async def put_registries(self, credentials: Mapping[str, RegistryCredential]) -> None:
        """Told to every host; none acknowledges."""
        payload = registries.PUT.encode_request(dict(credentials))
        await self.connection.publish(registries.PUT.subject(self.lattice, prefix=self._control_prefix), payload)

    def events(self) -> EventFeed:
        """Events from the moment the feed is entered on (`async with`)."""
        return EventFeed(self.connection, self.lattice, prefix=self._event_prefix)

    # How

    async def _ask(
        self, operation: ControlOperation[Request, Response], request: Request, argument: str | None, timeout: float
    ) -> Response | None:
        return (await self._call(operation, request, argument, timeout)).unwrap()

    async def _command(
        self, operation: ControlOperation[Request, None], request: Request, argument: str | None, timeout: float
    ) -> str:
        """The message of the acknowledgement."""
        response = await self._call(operation, request, argument, timeout)
        response.unwrap()
        return response.message

    async def _command_and_wait(
        self,
        operation: ControlOperation[Request, None],
        request: Request,
        host_id: str,
        timeout: float,
        wait: float | None,
        outcome: Callable[[LatticeEvent], Response | None],
    ) -> Response | None:
        if wait is None:
            await self._command(operation, request, host_id, timeout)
            return None
        async with self.events() as feed:
            await self._command(operation, request, host_id, timeout)
            try:
                return await feed.wait(outcome, deadline=_deadline(wait))
            except DeadlineExceeded:
                raise DeadlineExceeded(
                    f"Host {short(host_id)} took the command {operation.name}, but nothing came of it in {wait:g} s.",
                    remedy="It may still be working on it: `trellis get hosts` and its log say more.",
                    host=host_id,
                ) from None

    async def _call(
        self, operation: ControlOperation[Request, Response], request: Request, argument: str | None, timeout: float
    ) -> CtlResponse[Response]:
        subject = operation.subject(self.lattice, argument, prefix=self._control_prefix)
        payload = operation.encode_request(request)
        addressed = operation.answerers is Answerers.ADDRESSED
        try:
            message = await self.connection.request(subject, payload, deadline=_deadline(timeout))
        except Unavailable as error:
            if error.fields.get("reason") != "no-answerer":
                raise
            raise (self._host_away(argument) if addressed else self._no_host()) from error
        except DeadlineExceeded as error:
            who = f"Host {short(argument or '')}" if addressed else "The host that was asked"
            raise DeadlineExceeded(
                f"{who} on lattice `{self.lattice}` did not answer {operation.name} within {timeout:g} s.",
                remedy="It may be busy or frozen; try again with a longer timeout.",
                host=argument if addressed else None,
            ) from error
        return operation.decode_response(message.data)

    async def _ask_all(
        self,
        operation: ControlOperation[Request, Response],
        request: Request,
        timeout: float,
        expect: Collection[str],
        who: Callable[[Response], str],
        quiet: float | None,
    ) -> list[Response]:
        """The answers of all hosts. One that cannot be read does not spoil the others."""
        subject = operation.subject(self.lattice, prefix=self._control_prefix)
        missing = set(expect)
        read: list[Response] = []

        def enough(messages: Sequence[Message]) -> bool:
            try:
                answer = operation.decode_response(messages[-1].data).unwrap()
            except (TrellisError, PeerMisbehaved):
                return False
            if answer is not None:
                read.append(answer)
                missing.discard(who(answer))
            return bool(expect) and not missing

        await self.connection.gather(
            subject,
            operation.encode_request(request),
            deadline=_deadline(timeout),
            enough=enough,
            quiet=None if expect else quiet,
        )
        return read

    def _no_host(self) -> Unavailable:
        return Unavailable(
            f"No host answered on lattice `{self.lattice}` ({self.connection.url}).",
            remedy="Start one with `trellis up` or `trellis host run`, or name another lattice with --lattice.",
            retry_after=1.0,
            reason="no-host",
        )

    def _host_away(self, host_id: str | None) -> Unavailable:
        return Unavailable(
            f"Host {short(host_id or '')} is not on lattice `{self.lattice}`.",
            remedy="`trellis get hosts` lists those that are.",
            retry_after=1.0,
            reason="no-host",
            host=host_id,
        )


def _deadline(timeout: float) -> float:
    return asyncio.get_running_loop().time() + timeout
