"""Where a component may send requests."""

from __future__ import annotations

import pytest

from trellis_host.wasi import HttpGrants
from trellis_lattice.errors import RequestInvalid


@pytest.mark.parametrize(
    ("grants", "scheme", "authority", "allowed"),
    [
        ([], "https", "example.com", False),
        (["example.com"], "https", "example.com", True),
        (["example.com"], "https", "EXAMPLE.com.", True),
        (["example.com"], "http", "example.com:80", True),
        (["example.com"], "http", "example.com:8080", False),
        (["example.com:8080"], "http", "example.com:8080", True),
        (["example.com:8080"], "http", "example.com", False),
        (["example.com:*"], "http", "example.com:1", True),
        (["https://example.com"], "http", "example.com", False),
        (["https://example.com/"], "https", "example.com:443", True),
        (["example.com"], "https", "evil-example.com", False),
        (["example.com"], "https", "example.com.evil.org", False),
        (["*.example.com"], "https", "api.example.com", True),
        (["*.example.com"], "https", "example.com", False),
        (["*.example.com"], "https", ".example.com", False),
        (["*"], "http", "anything:9", True),
        (["http://*"], "https", "anything", False),
        (["example.com"], "https", "example.com@evil.org", False),
        (["example.com"], "https", "example.com:443@evil.org", False),
        (["example.com"], "ftp", "example.com", False),
        (["[::1]:8080"], "http", "[::1]:8080", True),
        (["example.com:*"], "http", "example.com:99999", False),
    ],
)
def test_only_what_is_granted(grants: list[str], scheme: str, authority: str, allowed: bool) -> None:
    assert HttpGrants(grants).allows(scheme, authority) is allowed


@pytest.mark.parametrize("grant", ["", "ftp://x", "a b", "x:0", "x:99999", "x/path", "*.*", "a@b"])
def test_a_grant_that_names_no_hosts_is_refused(grant: str) -> None:
    with pytest.raises(RequestInvalid):
        HttpGrants([grant])
