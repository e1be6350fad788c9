"""Asks a policy service what may run here (lattice-protocol 1.10).

The laws of this file: no answer is a refusal; the same question is asked once, and its answer kept until the service
changes it; what was permitted and no longer is, is stopped; nothing a service sends ends the host.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from trellis_host.settings import PolicySettings
from trellis_lattice.bus.connection import Connection, Message, Subscription
from trellis_lattice.control.policy import (
    ComponentRequest,
    InvocationRequest,
    Kind,
    PolicyDecision,
    PolicyHost,
    PolicyRequest,
    ProviderRequest,
)
from trellis_lattice.errors import Denied, RequestInvalid, TrellisError
from trellis_lattice.subjects import check_token

__all__ = ["PolicyService"]

_log = logging.getLogger("trellis.policy")

MAX_DECISIONS = 4096


@dataclass(frozen=True, slots=True)
class _Decided:
    request: PolicyRequest
    permitted: bool
    message: str


class PolicyService:
    """One host's view of the service. `host` says who asks; `revoked` is told what may no longer run."""

    def __init__(
        self,
        connection: Connection,
        settings: PolicySettings,
        host: Callable[[], PolicyHost],
        *,
        new_id: Callable[[], str],
        revoked: Callable[[PolicyRequest], None],
    ) -> None:
        for subject in (settings.subject, settings.changes_subject):
            for token in subject.split(".") if subject is not None else ():
                check_token(token, "subject of a policy service")
        self._connection = connection
        self._settings = settings
        self._host = host
        self._new_id = new_id
        self._revoked = revoked
        self._decided: OrderedDict[str, _Decided] = OrderedDict()
        self._questions: dict[str, str] = {}
        """Request id → question, of what is decided."""
        self._asking: dict[str, asyncio.Task[_Decided]] = {}
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Listens for changes, if there is a subject for them."""
        if self._settings.changes_subject is not None:
            self._subscription = await self._connection.subscribe(self._settings.changes_subject, self._changed)

    async def aclose(self) -> None:
        if self._subscription is not None:
            await self._subscription.unsubscribe()
        for task in tuple(self._asking.values()):
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def permit(self, kind: Kind, body: InvocationRequest | ComponentRequest | ProviderRequest, what: str) -> None:
        """Returns if it may be. Raises `Denied`, also if the service does not answer."""
        request = PolicyRequest(request_id=self._new_id(), kind=kind, request=body, host=self._host())
        question = request.question()
        decided = self._decided.get(question)
        if decided is None:
            decided = await self._ask(question, request, what)
        if not decided.permitted:
            raise Denied(
                f"Policy does not permit {what}: {decided.message or 'no reason was given'}.",
                remedy="Ask who runs the policy service of this lattice.",
                request_id=decided.request.request_id,
            )

    async def _ask(self, question: str, request: PolicyRequest, what: str) -> _Decided:
        """Those who have the same question at the same time share one answer."""
        task = self._asking.get(question)
        if task is None:
            task = self._asking[question] = asyncio.create_task(self._request(question, request), name="policy")
            task.add_done_callback(lambda _: self._asking.pop(question, None))
        try:
            return await asyncio.shield(task)
        except TrellisError as error:
            raise Denied(
                f"Policy could not be asked whether {what} is permitted, so it is not: {error.message}",
                remedy=f"Check the policy service at {self._settings.subject}.",
            ) from None

    async def _request(self, question: str, request: PolicyRequest) -> _Decided:
        deadline = asyncio.get_running_loop().time() + self._settings.timeout
        answer = await self._connection.request(self._settings.subject, request.to_json(), deadline=deadline)
        decision = PolicyDecision.from_json(answer.data)
        decided = _Decided(request, decision.permitted, decision.message or "")
        self._keep(question, decided)
        return decided

    def _keep(self, question: str, decided: _Decided) -> None:
        self._decided[question] = decided
        self._questions[decided.request.request_id] = question
        while len(self._decided) > MAX_DECISIONS:
            _, oldest = self._decided.popitem(last=False)
            self._questions.pop(oldest.request.request_id, None)

    def _changed(self, message: Message) -> None:
        try:
            decision = PolicyDecision.from_json(message.data)
        except RequestInvalid as error:
            _log.warning("A change of policy cannot be read: %s", error)
            return
        question = self._questions.get(decision.request_id)
        if question is None:
            return  # of another host, or forgotten: it is asked again when it matters
        before = self._decided[question]
        self._decided[question] = _Decided(before.request, decision.permitted, decision.message or "")
        if before.permitted and not decision.permitted:
            _log.warning("Policy no longer permits %s: %s", before.request.kind, decision.message)
            self._revoked(before.request)
