"""A client on the Python SDK that writes what really happened, as seen between the SDK and its transport.

client.py TRUTH auto|legacy|modern [--call TOOL JSON] -- CMD ARGS... | URL
A URL is spoken to over Streamable HTTP, one that ends in /sse over the transport of 2024-11-05.
"""
import json
import os
import sys
import time
from contextlib import asynccontextmanager

import anyio
import mcp_types as T
from mcp.client import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

split = sys.argv.index("--")
(truth_path, mode), only, command = sys.argv[1:3], sys.argv[3:split], sys.argv[split + 1 :]
truth = open(truth_path, "a", buffering=1)
flying = {}
over_http = command[0].startswith("http")
# The SDK takes no larger event than 1 MiB, and some servers say a result twice.
large = 400 << 10 if over_http else 1 << 20


def tap(item, ours):
    """Notes one message that we send (ours) or get."""
    message = getattr(item, "message", None)
    if message is None:
        return
    m = getattr(message, "root", message).model_dump(by_alias=True, exclude_none=True)
    now = time.monotonic_ns()
    if "method" in m and "id" in m:
        flying[ours, json.dumps(m["id"])] = (m, now)
    elif m.get("method") == "notifications/cancelled":
        end((ours, json.dumps(m["params"]["requestId"])), "cancelled", None, now)
    elif "id" in m:
        code = m.get("error", {}).get("code")
        failed = (m.get("result") or {}).get("isError")
        end((not ours, json.dumps(m["id"])), "rpc_error" if "error" in m else "tool_error" if failed else "ok", code, now)


def end(key, outcome, code, now):
    if key not in flying:
        return
    m, start = flying.pop(key)
    tool = m["params"]["name"] if m["method"] == "tools/call" else None
    line = dict(client_pid=os.getpid(), method=m["method"], tool=tool, id=m["id"], outcome=outcome, code=code)
    line |= dict(mono_start_ns=start, latency_us=(now - start) / 1e3 if key[0] else None)
    truth.write(json.dumps(line | dict(direction="client_to_server" if key[0] else "server_to_client")) + "\n")


class Tapped:
    """A stream of the transport with an ear on it."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    async def send(self, item):
        tap(item, True)
        await self.inner.send(item)

    async def receive(self):
        item = await self.inner.receive()
        tap(item, False)
        return item

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self):
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *why):
        return await self.inner.__aexit__(*why)


def streams():
    if not over_http:
        return stdio_client(StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ)))
    return sse_client(command[0]) if command[0].endswith("/sse") else streamable_http_client(command[0])


@asynccontextmanager
async def transport():
    async with streams() as (read, write, *_):
        yield Tapped(read), Tapped(write)


async def sampling(ctx, params):
    return T.CreateMessageResult(role="assistant", content=T.TextContent(type="text", text="sampled"), model="none")


async def elicit(ctx, params):
    return T.ElicitResult(action="decline")


async def progress(done, total, message=None):
    pass


async def attempt(work):
    """Errors are in the truth; here they are none of our business."""
    try:
        await work
    except Exception as e:
        print(f"{type(e).__name__}: {e}"[:200], file=sys.stderr)


async def session(c):
    names = {t.name for t in (await c.list_tools()).tools}
    if only:
        return await attempt(c.call_tool(only[1], json.loads(only[2])))
    for n in range(3):
        await attempt(c.call_tool("echo", {"message": f"hello {n} \u00e9\u4e16 \"q\"\n"}))
    await attempt(c.call_tool("nope", {}))
    for name in ("fail", "noisy"):
        if name in names:
            await attempt(c.call_tool(name, {}))
    slow = ("slow", {"ms": 200, "steps": 4}) if "slow" in names else ("trigger-long-running-operation", {"duration": 1, "steps": 4})
    await attempt(c.call_tool(*slow, progress_callback=progress))
    if mode == "legacy":
        await attempt(c.send_ping())
    if "trigger-sampling-request" in names:
        await attempt(c.call_tool("trigger-sampling-request", {"prompt": "hi", "maxTokens": 5}))
    await attempt(c.call_tool("echo", {"message": "x" * large}))
    async with anyio.create_task_group() as group:
        for n in range(30):
            group.start_soon(attempt, c.call_tool("echo", {"message": f"c{n}"}))
    with anyio.move_on_after(0.15):
        await c.call_tool(slow[0], {"ms": 1500, "steps": 2} if slow[0] == "slow" else {"duration": 2, "steps": 2})
    await anyio.sleep(0.2)
    await attempt(c.call_tool("echo", {"message": "after"}))


async def main():
    wanted = {"modern": "2026-07-28"}.get(mode, mode)
    async with Client(transport(), mode=wanted, sampling_callback=sampling, elicitation_callback=elicit) as c:
        await session(c)


anyio.run(main)
