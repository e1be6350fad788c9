"""The application API that v1's tools know (`wadm.api.<lattice>.model.*`): a server and a typed client."""

from trellis_wadm.api.client import WadmClient
from trellis_wadm.api.messages import (
    ApplicationSummary,
    ConditionReport,
    DeleteResult,
    DeploymentInfo,
    DeployResult,
    HistoryReport,
    PutResult,
    ScalerReport,
    StatusReport,
    VersionInfo,
)
from trellis_wadm.api.server import WadmServer

__all__ = [
    "ApplicationSummary",
    "ConditionReport",
    "DeleteResult",
    "DeployResult",
    "DeploymentInfo",
    "HistoryReport",
    "PutResult",
    "ScalerReport",
    "StatusReport",
    "VersionInfo",
    "WadmClient",
    "WadmServer",
]
