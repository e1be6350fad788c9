"""Serves HTTP to components (docs/providers.md has its configuration)."""

from .connection import Bounds
from .ingress import Ingress
from .provider import HttpServer

__all__ = ["Bounds", "HttpServer", "Ingress"]
