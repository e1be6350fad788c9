"""Key-value buckets in NATS JetStream (docs/providers.md has its configuration)."""

from .provider import KeyValueNats

__all__ = ["KeyValueNats"]
