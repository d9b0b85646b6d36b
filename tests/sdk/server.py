"""A stdio server on the Python SDK."""
import asyncio

from mcp.server import MCPServer
from mcp.server.mcpserver import Context

mcp = MCPServer("sdk-server", log_level="CRITICAL")


@mcp.tool()
def echo(message: str) -> str:
    return f"Echo: {message}"


@mcp.tool()
def big(bytes: int) -> str:
    return "x" * bytes


@mcp.tool()
def fail() -> str:
    raise ValueError("boom")


@mcp.tool()
async def slow(ms: int, steps: int, ctx: Context) -> str:
    for step in range(steps):
        await asyncio.sleep(ms / 1000 / steps)
        await ctx.report_progress(step + 1, steps)
    return "slow done"


@mcp.tool()
def noisy() -> str:
    print("a stray print to stdout from a tool", flush=True)
    return "printed"


mcp.run()
