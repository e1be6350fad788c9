"""A provider that takes its time."""

import asyncio

from trellis_provider_sdk import Provider, provides, u64


@provides("test:waiter/provider@0.1.0")
class Waiter(Provider):
    """Answers after as many milliseconds as it is asked to wait."""

    async def wait(self, ms: u64) -> u64:
        await asyncio.sleep(ms / 1000)
        return ms
