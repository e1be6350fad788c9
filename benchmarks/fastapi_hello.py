"""What the whole stack is measured against: the smallest asynchronous FastAPI application."""

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

app = FastAPI()


@app.get("/", response_class=PlainTextResponse)
async def hello() -> str:
    """The same answer as the component's."""
    return "Hello from C!\n"
