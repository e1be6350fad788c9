"""Asks the lattice's config service, when the host starts, for what it should know besides (lattice-protocol 1.9)."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from trellis_host.runtime.registries import Registries
from trellis_lattice.bus.connection import Connection
from trellis_lattice.control.supplemental import SupplementalConfig, SupplementalRequest, supplemental_subject
from trellis_lattice.errors import TrellisError

__all__ = ["ask_config_service"]

_log = logging.getLogger("trellis.host")


async def ask_config_service(
    connection: Connection, lattice: str, labels: Mapping[str, str], registries: Registries, *, deadline: float
) -> None:
    """Adds the credentials it answers. A service that fails is logged and ignored, as v1 does."""
    try:
        request = SupplementalRequest(labels=dict(labels)).to_json()
        answer = await connection.request(supplemental_subject(lattice), request, deadline=deadline)
        config = SupplementalConfig.from_json(answer.data)
        registries.put(config.registry_credentials or {})
    except TrellisError as error:
        _log.warning("The config service gave nothing: %s", error)
