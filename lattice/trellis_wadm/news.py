"""What an event of the lattice means for the reconciler's picture and its journal. Pure; times are arguments."""

from __future__ import annotations

from trellis_lattice.errors import Denied, NotFound, RequestInvalid
from trellis_lattice.events import (
    ComponentScaleFailed,
    HealthCheckFailed,
    HealthCheckPassed,
    HealthCheckStatus,
    HostHeartbeat,
    HostStarted,
    HostStopped,
    LatticeEvent,
    ProviderStarted,
    ProviderStartFailed,
)
from trellis_lattice.events.envelope import Failure
from trellis_wadm.journal import Journal
from trellis_wadm.picture import Picture

__all__ = ["hear"]


def hear(event: LatticeEvent, picture: Picture, journal: Journal, now: float) -> None:
    """An event only says where to look again; reasons of failures are in no inventory, so they are noted."""
    data, host = event.event, event.source
    if isinstance(data, HostStopped):
        picture.lost_host(host, now)
        return
    if isinstance(data, HostHeartbeat):
        picture.found_host(host, now)
        return
    if isinstance(data, HealthCheckFailed | HealthCheckPassed | HealthCheckStatus):
        # A status says that a check was made, not how it ended.
        if not isinstance(data, HealthCheckStatus):
            picture.saw_health(host, data.provider_id, isinstance(data, HealthCheckPassed))
        return
    if isinstance(data, HostStarted):
        # Whatever was sent to the process that ran under this id before is void.
        journal.forget_host(host)
        picture.found_host(host, now)
    elif isinstance(data, ProviderStarted):
        picture.saw_health(host, data.provider_id, True)
    elif isinstance(data, ComponentScaleFailed):
        final = _is_final(data)
        journal.scale_failed(host, data.component_id, data.max_instances, data.error, now, final=final)
    elif isinstance(data, ProviderStartFailed):
        final = _is_final(data)
        journal.start_failed(host, data.provider_id, data.provider_ref, data.error, now, final=final)
    picture.touch(host, f"{event.kind} from {host}")


def _is_final(failure: Failure) -> bool:
    """Whether a start that failed would fail again. Not so for a file that is missing: it may still come."""
    error = failure.exception
    if isinstance(error, NotFound):  # an import that nobody provides, a provider that is not installed
        return not error.fields.keys().isdisjoint(("imports", "reference"))
    return isinstance(error, RequestInvalid | Denied)
