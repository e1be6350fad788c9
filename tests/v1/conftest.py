"""The operator of the host's tests."""

from tests.host.conftest import operator

__all__ = ["operator"]
