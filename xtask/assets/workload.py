"""MCP servers and clients with faults, for pictures of the dashboards. Standard library only.

usage: workload.py SECONDS      runs clients of three servers for so long
       workload.py server NAME  is one of the servers, over stdio

files    is well: fast tools, resources, now and then an error
search   is slow: an upstream that takes its time, CPU that its control group has not enough of, errors, and a
         leak until the kernel ends it for that
notes    breaks the protocol: prints to stdout, answers unknown ids, and dies with calls in flight
reports  does nothing for half a minute, and then answers

All say of themselves that they are shop-files and so on.
"""

import http.server
import json
import os
import pathlib
import random
import subprocess
import sys
import threading
import time
import urllib.request

TOOLS = {
    "files": ["read_file", "list_directory", "stat"],
    "search": ["web_search", "rank", "summarize"],
    "notes": ["add_note", "find_note"],
    "reports": ["quarterly_report"],
}
# How all of them are called, so that pictures can leave others on the host out.
OURS = "shop-"
# What search may use, in both versions of control groups: files and what is written to them.
GROUP = "mcpsonar-workload"
LIMITS = {
    "memory.max": 64 << 20,
    "memory.limit_in_bytes": 64 << 20,
    "cpu.max": "30000 100000",
    "cpu.cfs_quota_us": 30000,
}
leaked = []


def serve(name):
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message:
            answer(name, message["id"], message["method"], message.get("params", {}))


def answer(name, ident, method, params):
    if method == "initialize":
        info = {"name": f"{OURS}{name}", "version": "1.0"}
        return reply(ident, {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}, "resources": {}}, "serverInfo": info})
    if method == "tools/list":
        return reply(ident, {"tools": [{"name": tool, "inputSchema": {"type": "object"}} for tool in TOOLS[name]]})
    if method == "resources/read":
        time.sleep(random.expovariate(40))
        return reply(ident, {"contents": [{"uri": params["uri"], "text": "x" * 200}]})
    if method != "tools/call":
        return reply(ident, {})
    tool = params["name"]
    if tool not in TOOLS[name]:
        return print(json.dumps({"jsonrpc": "2.0", "id": ident, "error": {"code": -32602, "message": "no such tool"}}), flush=True)
    failed = False
    if name == "search":
        failed = random.random() < 0.15
        if tool == "web_search":
            urllib.request.urlopen(os.environ["UPSTREAM"]).read()
        elif tool == "rank":
            end = time.process_time() + random.uniform(0.02, 0.2)
            while time.process_time() < end:
                pass
            leaked.append(bytearray(300_000))
        else:
            time.sleep(random.expovariate(8))
    elif name == "notes":
        if random.random() < 0.05:
            print("debug: about to answer", flush=True)
        if random.random() < 0.02:
            print(json.dumps({"jsonrpc": "2.0", "id": 10**9, "result": {}}), flush=True)
        if random.random() < 0.01:
            sys.exit(3)
        time.sleep(random.expovariate(100))
    elif name == "reports":
        time.sleep(30)
    else:
        time.sleep(random.expovariate(300))
        failed = random.random() < 0.01
    return reply(ident, {"content": [{"type": "text", "text": "done"}], "isError": failed})


def reply(ident, result):
    print(json.dumps({"jsonrpc": "2.0", "id": ident, "result": result}), flush=True)


class Session:
    """One client with its server."""

    def __init__(self, name):
        command = [sys.executable, __file__, "server", name]
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.name, self.ident = name, 0
        if name == "search":
            for group in groups():
                (group / "cgroup.procs").write_text(str(self.server.pid))
        version = random.choice(["2025-06-18", "2025-11-25"])
        client = {"name": f"{OURS}{name}-client", "version": "1.0"}
        self.call("initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": client})
        self.send({"method": "notifications/initialized"})
        self.call("tools/list", {})

    def send(self, message):
        self.server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.server.stdin.flush()

    def call(self, method, params):
        self.ident += 1
        self.send({"id": self.ident, "method": method, "params": params})
        for line in self.server.stdout:
            if line.startswith("{") and json.loads(line).get("id") == self.ident:
                return True
        return False

    def cancel(self):
        """A call that nobody waits for."""
        self.ident += 1
        self.send({"id": self.ident, "method": "tools/call", "params": {"name": random.choice(TOOLS[self.name])}})
        self.send({"method": "notifications/cancelled", "params": {"requestId": self.ident, "reason": "the user left"}})

    def close(self):
        self.server.stdin.close()
        self.server.wait()


def client(name, pause, until):
    session = Session(name)
    while time.monotonic() < until:
        time.sleep(random.expovariate(1 / pause))
        chance = random.random()
        try:
            if chance < 0.02 and name == "search":
                session.cancel()
                going = True
            elif chance < 0.03:
                going = session.call("tools/call", {"name": "no_such_tool"})
            elif chance < 0.25 and name == "files":
                going = session.call("resources/read", {"uri": "file:///etc/hostname"})
            else:
                # The same few questions again and again: a cache could have answered.
                arguments = {"query": random.randrange(5)}
                going = session.call("tools/call", {"name": random.choice(TOOLS[name]), "arguments": arguments})
        except BrokenPipeError:
            going = False
        if not going:
            session.server.wait()
        if not going or chance > 0.997:
            session.close() if going else None
            session = Session(name)
    session.close()


def groups():
    """Control groups with limits, as far as this host lets us make them. They stay: the next run has the same."""
    root = pathlib.Path("/sys/fs/cgroup")
    for hierarchy in (root, root / "memory", root / "cpu"):
        group = hierarchy / GROUP
        try:
            group.mkdir(exist_ok=True)
            files = [group / name for name in LIMITS if (group / name).exists()]
            for file in files:
                file.write_text(str(LIMITS[file.name]))
            if files:
                yield group
        except OSError:
            continue


class Upstream(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(random.choice([0.02, 0.1, 0.3, 1.2]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def main():
    until = time.monotonic() + float(sys.argv[1])
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    os.environ["UPSTREAM"] = f"http://127.0.0.1:{upstream.server_address[1]}/"
    clients = [("files", 0.05), ("files", 0.1), ("search", 0.2), ("search", 0.4), ("notes", 0.1), ("reports", 5)]
    threads = [threading.Thread(target=client, args=(name, pause, until)) for name, pause in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    serve(sys.argv[2]) if sys.argv[1] == "server" else main()
