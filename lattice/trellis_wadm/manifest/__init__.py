"""OAM manifests: text to model, with findings that name place and remedy."""

from trellis_wadm.manifest.findings import Finding, Level, errors, path_text
from trellis_wadm.manifest.model import Component, Manifest
from trellis_wadm.manifest.parse import Parsed, parse_data, parse_manifests

__all__ = [
    "Component",
    "Finding",
    "Level",
    "Manifest",
    "Parsed",
    "errors",
    "parse_data",
    "parse_manifests",
    "path_text",
]
