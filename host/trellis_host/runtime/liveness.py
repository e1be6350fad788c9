"""placeholder"""


class Liveness:
    def __init__(self, *a):
        pass

    async def start(self):
        pass

    async def run(self):
        import asyncio

        await asyncio.Event().wait()

    async def aclose(self):
        pass
