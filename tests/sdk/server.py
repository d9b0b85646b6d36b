"""A server on the Python SDK.

server.py [http|sse PORT [--json] [--stateless] [--tls CERT KEY]]
"""
import asyncio
import sys

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


if len(sys.argv) == 1:
    mcp.run()
else:
    import uvicorn

    kind, port, *options = sys.argv[1:]
    tls = {}
    if "--tls" in options:
        at = options.index("--tls")
        tls = dict(ssl_certfile=options[at + 1], ssl_keyfile=options[at + 2])
    plain = dict(json_response="--json" in options, stateless_http="--stateless" in options)
    app = mcp.sse_app() if kind == "sse" else mcp.streamable_http_app(**plain)
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning", **tls)
