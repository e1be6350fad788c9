"""Options of a host about what it may run and where that comes from; names as in wasmCloud v1 where it has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trellis_cli.settings import docker_config

if TYPE_CHECKING:
    from trellis_host.settings import ImageSettings, PolicySettings

__all__ = [
    "AllowLatest",
    "AllowedInsecure",
    "ConfigService",
    "PolicyChanges",
    "PolicyTimeout",
    "PolicyTopic",
    "RegistryConfig",
    "Sources",
]

AllowLatest = Annotated[
    bool,
    typer.Option(
        "--allow-latest",
        metavar="",
        help="Also run images tagged latest, or not tagged.",
        envvar="TRELLIS_ALLOW_LATEST",
    ),
]
AllowedInsecure = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed-insecure",
        metavar="REGISTRY",
        help="Ask this registry (host:port) without TLS; may be repeated.",
        envvar="TRELLIS_ALLOWED_INSECURE",
    ),
]
RegistryConfig = Annotated[
    Path | None,
    typer.Option(
        "--registry-config",
        metavar="FILE",
        help="Logins at registries; default: Docker's ~/.docker/config.json.",
        envvar="TRELLIS_REGISTRY_CONFIG",
    ),
]
PolicyTopic = Annotated[
    str | None,
    typer.Option(
        "--policy-topic",
        metavar="SUBJECT",
        help="Ask the policy service there what may run.",
        envvar="TRELLIS_POLICY_TOPIC",
    ),
]
PolicyChanges = Annotated[
    str | None,
    typer.Option(
        "--policy-changes-topic",
        metavar="SUBJECT",
        help="Where its decisions are changed later.",
        envvar="TRELLIS_POLICY_CHANGES_TOPIC",
    ),
]
PolicyTimeout = Annotated[
    int,
    typer.Option(
        "--policy-timeout-ms",
        metavar="MS",
        help="How long one decision may take.",
        envvar="TRELLIS_POLICY_TIMEOUT_MS",
        min=1,
        max=60_000,
    ),
]
ConfigService = Annotated[
    bool,
    typer.Option(
        "--config-service-enabled",
        metavar="",
        help="Ask the lattice's config service for credentials at the start.",
        envvar="TRELLIS_CONFIG_SERVICE_ENABLED",
    ),
]


@dataclass(frozen=True, slots=True)
class Sources:
    """The options together. `environ` may hold one more login, in v1's variables `OCI_REGISTRY…`."""

    allow_latest: bool = False
    allowed_insecure: tuple[str, ...] = ()
    registry_config: Path | None = None
    policy_topic: str | None = None
    policy_changes_topic: str | None = None
    policy_timeout_ms: int = 1000
    config_service: bool = False

    def images(self, environ: Mapping[str, str]) -> ImageSettings:
        """Which images may be fetched, and with what credentials."""
        from trellis_host.settings import ImageSettings
        from trellis_lattice.control.registry import RegistryCredential

        credentials = {}
        if registry := environ.get("OCI_REGISTRY"):
            user, password = environ.get("OCI_REGISTRY_USER"), environ.get("OCI_REGISTRY_PASSWORD")
            credentials[registry] = RegistryCredential(username=user, password=password)
        return ImageSettings(
            allow_latest=self.allow_latest,
            allowed_insecure=frozenset(name.lower() for name in self.allowed_insecure),
            credentials=credentials,
            docker_config=self.registry_config or docker_config(environ),
        )

    def policy(self) -> PolicySettings | None:
        """Who decides what may run, if anybody does."""
        from trellis_host.settings import PolicySettings

        if self.policy_topic is None:
            return None
        return PolicySettings(self.policy_topic, self.policy_changes_topic, self.policy_timeout_ms / 1000)

    def arguments(self) -> list[str]:
        """The command-line arguments that mean these options."""
        arguments = ["--allow-latest"] if self.allow_latest else []
        for registry in self.allowed_insecure:
            arguments += ["--allowed-insecure", registry]
        if self.policy_topic is not None:
            arguments += ["--policy-topic", self.policy_topic]
        return arguments
