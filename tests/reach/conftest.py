"""Certificates and users for the servers of these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from .pki import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A CA of this test alone."""
    return Authority.make(tmp_path / "ca")


@pytest.fixture
def other_authority(tmp_path: Path) -> Authority:
    """Another, which signed nothing that counts."""
    return Authority.make(tmp_path / "other-ca")
