"""MCP servers and clients with faults, for pictures of the dashboards. Standard library only.

usage: workload.py SECONDS      runs clients of three servers for so long
       workload.py server NAME  is one of the servers, over stdio

files    is well: fast tools, resources, now and then an error
search   is slow: an upstream that takes its time, more and more CPU, errors, a leak
notes    breaks the protocol: prints to stdout, answers unknown ids, and dies with calls in flight
"""

import json
import random
import subprocess
import sys
import threading
import time

TOOLS = {
    "files": ["read_file", "list_directory", "stat"],
    "search": ["web_search", "rank", "summarize"],
    "notes": ["add_note", "find_note"],
}
leaked = []


def serve(name):
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message:
            answer(name, message["id"], message["method"], message.get("params", {}))


def answer(name, ident, method, params):
    if method == "initialize":
        info = {"name": name, "version": "1.0"}
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
            time.sleep(random.choice([0.02, 0.1, 0.3, 1.2]))
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
        version = random.choice(["2025-06-18", "2025-11-25"])
        client = {"name": f"{name}-client", "version": "1.0"}
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


def main():
    until = time.monotonic() + float(sys.argv[1])
    clients = [("files", 0.05), ("files", 0.1), ("search", 0.2), ("search", 0.4), ("notes", 0.1)]
    threads = [threading.Thread(target=client, args=(name, pause, until)) for name, pause in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    serve(sys.argv[2]) if sys.argv[1] == "server" else main()
