"""The server of `cargo xtask demo`, on the Python SDK."""

import asyncio

from mcp.server import MCPServer
from mcp.server.mcpserver import Context

server = MCPServer("demo-server", log_level="CRITICAL")


@server.tool()
def echo(message: str) -> str:
    return f"Echo: {message}"


@server.tool()
def add(a: int, b: int) -> int:
    return a + b


@server.tool()
def fail() -> str:
    raise ValueError("this tool always fails")


@server.tool()
async def slow(seconds: float, steps: int, ctx: Context) -> str:
    for step in range(steps):
        await asyncio.sleep(seconds / steps)
        await ctx.report_progress(step + 1, steps)
    return "done"


server.run("stdio")
