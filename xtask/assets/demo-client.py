"""The client of `cargo xtask demo`, on the Python SDK. usage: demo-client.py SERVER ARGS..."""

import os
import sys

import anyio
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters


async def attempt(call, *args, **more):
    """What fails is part of the demonstration: the agent shows it, the client goes on."""
    try:
        return await call(*args, **more)
    except Exception:
        return None


async def progress(done, total, message=None):
    pass


async def main():
    server = StdioServerParameters(command=sys.argv[1], args=sys.argv[2:], env=dict(os.environ))
    async with Client(server) as client:
        await client.list_tools()
        for word in ("one", "two", "three"):
            await client.call_tool("echo", {"message": f"hello {word}"})
        await client.call_tool("add", {"a": 20, "b": 22})
        # Slow, with progress notifications on the way.
        await client.call_tool("slow", {"seconds": 1.0, "steps": 5}, progress_callback=progress)
        await attempt(client.call_tool, "fail", {})
        await attempt(client.call_tool, "no-such-tool", {})
        # A message of a megabyte, twenty calls at once, and one that the client gives up.
        await client.call_tool("echo", {"message": "x" * (1 << 20)})
        async with anyio.create_task_group() as group:
            for i in range(20):
                group.start_soon(client.call_tool, "echo", {"message": f"concurrent {i}"})
        with anyio.move_on_after(0.3):
            await client.call_tool("slow", {"seconds": 2.0, "steps": 2})


anyio.run(main)
