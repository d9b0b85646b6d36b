"""An OTLP collector that is not ours, and what it got held against the MCP semantic conventions.

collect FOLDER         listens on a port of its own, prints it, and keeps every request as a file
speak REVISION SERVER  an MCP client over stdio that asks for this revision, as plain as can be
websocket              an MCP client over a WebSocket, with the server that it starts
websocket-server       that server: prints its port, and ends with its client
traces FOLDER          the ids of the traces that it got
check FOLDER CALLS...  the requests of a folder against conventions.json, and against the lines of
                       `mcpsonar trace --json` that tell of the same calls
"""

import collections
import gzip
import http.server
import itertools
import json
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
TABLE = json.loads((HERE / "conventions.json").read_text())


def collect(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    number = itertools.count()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            signal = {"/v1/traces": "traces", "/v1/metrics": "metrics"}.get(self.path)
            good = signal and self.headers["content-type"] == "application/x-protobuf"
            if good:
                name = f"{signal}-{next(number):06}"
                part = folder / f"{name}.part"
                part.write_bytes(body)
                part.rename(folder / name)
            self.send_response(200 if good else 400)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def speak(revision, server):
    process = subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    ids = itertools.count(1)

    def say(message):
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        process.stdin.flush()

    def ask(method, params):
        mine = next(ids)
        say({"id": mine, "method": method, "params": params})
        for line in process.stdout:
            if json.loads(line).get("id") == mine:
                return

    client = {"name": "speaker", "version": "1"}
    ask("initialize", {"protocolVersion": revision, "capabilities": {}, "clientInfo": client})
    say({"method": "notifications/initialized"})
    context = f"00-{'5' * 32}-{'6' * 16}-01"
    ask("tools/call", {"name": "echo", "arguments": {"message": "m"}, "_meta": {"traceparent": context}})
    ask("tools/call", {"name": "fail", "arguments": {}})
    ask("tools/call", {"name": "error", "arguments": {}})
    ask("tools/call", {"name": "no such tool", "arguments": {}})
    ask("no/such/method", {})
    ask("resources/read", {"uri": "memo://no?secret=1"})
    ask("tools/call", {"name": "slow", "arguments": {"ms": 20}, "_meta": {"progressToken": "p"}})
    process.stdin.close()
    process.wait()


def websocket():
    """Neither end is ours: the library compresses messages by default, as servers in the wild do."""
    from websockets.sync.client import connect

    server = subprocess.Popen([sys.executable, __file__, "websocket-server"], stdout=subprocess.PIPE)
    port = int(server.stdout.readline())
    ids = itertools.count(1)
    with connect(f"ws://127.0.0.1:{port}/mcp", subprotocols=["mcp"]) as connection:

        def say(message):
            connection.send(json.dumps({"jsonrpc": "2.0", **message}))

        def ask(method, params):
            mine = next(ids)
            say({"id": mine, "method": method, "params": params})
            for text in connection:
                message = json.loads(text)
                if message.get("method") == "roots/list":
                    say({"id": message["id"], "result": {"roots": []}})
                elif message.get("id") == mine:
                    return

        client = {"name": "socket-speaker", "version": "1"}
        ask("initialize", {"protocolVersion": "2025-06-18", "capabilities": {"roots": {}}, "clientInfo": client})
        say({"method": "notifications/initialized"})
        for tool in ("echo", "fail", "error", "roots"):
            ask("tools/call", {"name": tool, "arguments": {"message": "m" * 2000}})
        ask("resources/read", {"uri": "memo://no?secret=1"})
    server.wait(timeout=30)


def websocket_server():
    from websockets.sync.server import serve

    def converse(connection):
        for text in connection:
            message = json.loads(text)
            if "id" in message and "method" in message:
                reply = answer(connection, message["method"], message.get("params", {}))
                connection.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], **reply}))
        server.shutdown()

    def answer(connection, method, params):
        if method == "initialize":
            info = {"name": "socket-server", "version": "1"}
            return {"result": {"protocolVersion": params["protocolVersion"], "capabilities": {}, "serverInfo": info}}
        name = params.get("name")
        if name == "error" or method == "resources/read":
            return {"error": {"code": -32000 if name else -32002, "message": "secret"}}
        if name == "roots":
            connection.send(json.dumps({"jsonrpc": "2.0", "id": "r1", "method": "roots/list"}))
            connection.recv()
        return {"result": {"content": [{"type": "text", "text": "secret"}], "isError": name == "fail"}}

    with serve(converse, "127.0.0.1", 0, subprotocols=["mcp"]) as server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()


def value(any_value):
    kind = any_value.WhichOneof("value")
    raw = getattr(any_value, kind)
    if kind == "array_value":
        return "array", [value(one)[1] for one in raw.values]
    return kind.removesuffix("_value"), raw


def attributes(pairs):
    found = {pair.key: value(pair.value) for pair in pairs}
    assert len(found) == len(pairs), f"a name twice: {sorted(pair.key for pair in pairs)}"
    return found


def documented():
    """Names of our own, as docs/otlp.md has them."""
    page = (HERE / "otlp.md").read_text()
    return set(re.findall(r"^\| `([a-z0-9_.]+)` \|", page, re.M))


OWN = documented()
RESOURCE = re.compile(r"^(service|process|container|k8s|host|os|deployment)\.")


def expected(rule, call, fails):
    """Whether an attribute must be there, and which value it must have if that is known."""
    code, target = call["error_code"], call["request_id"]
    web = call["transport"] in ("http", "sse")
    protocol = "http" if web else "websocket" if call["transport"] == "websocket" else None
    modern = (call["protocol_version"] or "") >= TABLE["without_sessions"]
    session = call["session"] if web and not modern else None
    return {
        "required": (True, None),
        "fails": (fails is not None, fails),
        "code": (code is not None, str(code)),
        "tool": (call["tool"] is not None, call["tool"]),
        "prompt": (call["prompt"] is not None, call["prompt"]),
        "resource": (call["resource"] is not None, call["resource"]),
        "id": (target is not None, target if isinstance(target, str) else str(target)),
        "tools/call": (call["method"] == "tools/call", "execute_tool"),
        "version": (call["protocol_version"] is not None, call["protocol_version"]),
        "session": (session is not None, session),
        "protocol": (protocol is not None, protocol),
        "http": (web, None),
        "server_address": (call["server_address"] is not None, None),
        "client_address": (call["client_address"] is not None, None),
    }[rule]


def failure(call, role):
    outcome, code = call["outcome"], call["error_code"]
    if outcome in ("ok", "pending"):
        return None
    if outcome == "rpc_error":
        return None if role == "mcp.server" and code in TABLE["callers_fault"] else str(code if code is not None else "_OTHER")
    if outcome == "http_error":
        return str(call["http_status"] or "_OTHER")
    return outcome


def check_span(span, call, role):
    table = TABLE["spans"][role]
    assert type(span).SpanKind.Name(span.kind) == table["kind"], span.kind
    target = call["tool"] or call["prompt"]
    assert span.name == (f"{call['method']} {target}" if target else call["method"]), span.name
    assert span.trace_id.hex() == call["trace_id"]
    assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
    found = attributes(span.attributes)
    fails = failure(call, role)
    assert (span.status.code == 2) == (fails is not None), f"status {span.status.code}, but {fails}"
    assert span.status.code != 1 and not span.status.message
    for name, (kind, rule) in table["attributes"].items():
        must, exact = expected(rule, call, fails)
        assert (name in found) == must, f"{name} is {'there' if name in found else 'missing'}"
        if must:
            assert found[name][0] == kind, f"{name} is {found[name]}"
            assert exact is None or found[name][1] == exact, f"{name} is {found[name]}, not {exact}"
    assert found["network.transport"][1] == call["network_transport"]
    for name in found.keys() - table["attributes"].keys():
        assert name in OWN, f"{name} is in no convention and not documented"
    for event in span.events:
        assert re.match(r"notifications/|_OTHER$", event.name), event.name
        assert span.start_time_unix_nano <= event.time_unix_nano <= span.end_time_unix_nano, "an event outside"
    # Nothing that the fixtures say is to be found, but for names.
    assert "secret" not in str(span)
    return found


def check_process(owner):
    """Of a process that lived long enough to be asked everything is there that the host tells of any."""
    if "process.linux.cgroup" in owner:
        for name, (kind, form) in TABLE["process"].items():
            assert name in owner, f"{name} is missing: {sorted(owner)}"
            assert owner[name][0] == kind, f"{name} is {owner[name]}"
            assert form is None or re.fullmatch(form, owner[name][1]), f"{name} is {owner[name]}"


def requests(folder, signal, kind):
    for path in sorted(pathlib.Path(folder).glob(f"{signal}-*")):
        if path.suffix != ".part":
            request = kind()
            request.ParseFromString(path.read_bytes())
            yield request


def check_traces(folder, calls):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans, owners = {}, {}
    for request in requests(folder, "traces", ExportTraceServiceRequest):
        for of_resource in request.resource_spans:
            owner = attributes(of_resource.resource.attributes)
            assert owner["service.name"][1] and owner["host.name"][1] and owner["os.type"] == ("string", "linux")
            assert all(RESOURCE.match(name) for name in owner), sorted(owner)
            check_process(owner)
            for scope in of_resource.scope_spans:
                assert scope.scope.name == "mcpsonar" and scope.scope.version
                for span in scope.spans:
                    assert span.span_id.hex() not in spans, f"two spans share an id: {span.name}"
                    spans[span.span_id.hex()], owners[span.span_id.hex()] = span, owner
    told = collections.Counter()
    for call in calls:
        ends = {"client": call["client_span_id"], "server": call["server_span_id"]}
        asks, answers = ("client", "server") if call["direction"] == "client_to_server" else ("server", "client")
        for end, role in ((asks, "mcp.client"), (answers, "mcp.server")):
            if ends[end] is None:
                continue
            span = spans.pop(ends[end], None)
            assert span is not None, f"no span of the {end}: {call}"
            try:
                check_span(span, call, role)
                if role == "mcp.server" and ends[asks]:
                    assert span.parent_span_id.hex() == ends[asks], "it is no child of the caller's span"
                owner = owners[ends[end]]
                if call[end] and call[end]["pid"]:
                    assert owner["process.pid"] == ("int", call[end]["pid"]), owner
            except AssertionError as error:
                raise AssertionError(f"{error}\nof {role} in {json.dumps(call)}\n{span}") from error
            told[role, call["outcome"]] += 1
            told["revision", call["protocol_version"]] += 1
            told["transport", call["transport"]] += 1
            told["direction", call["direction"]] += 1
            told["events"] += bool(span.events)
            told["parent", span.trace_id.hex() == "5" * 32 and role == "mcp.client"] += 1
    # What is left is what servers waited for.
    for span in spans.values():
        found = attributes(span.attributes)
        assert found["mcpsonar.upstream.kind"][1] in ("connection", "lookup", "process"), span
        assert span.parent_span_id, span
        told["upstream"] += 1
    return told


def check_metrics(folder):
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    page = (HERE / "metrics.md").read_text()
    table, told = TABLE["metrics"], collections.Counter()
    last = None
    for last in requests(folder, "metrics", ExportMetricsServiceRequest):
        pass
    for of_resource in last.resource_metrics if last else []:
        owner = attributes(of_resource.resource.attributes)
        assert owner["service.name"][1], owner
        for metric in (metric for scope in of_resource.scope_metrics for metric in scope.metrics):
            assert f"### {metric.name}\n" in page, f"{metric.name} is not documented"
            data = getattr(metric, metric.WhichOneof("data"))
            if not metric.name.startswith("mcp."):
                continue
            assert metric.unit == table["unit"] and metric.WhichOneof("data") == "histogram", metric
            _, end, what, _ = metric.name.split(".")
            allowed = set(table[what]) | (set(table["of_client"]) if end == "client" else set())
            for point in data.data_points:
                assert list(point.explicit_bounds) == table["buckets"], metric.name
                assert sum(point.bucket_counts) == point.count and len(point.bucket_counts) == 15
                found = attributes(point.attributes)
                assert found.keys() <= allowed, f"{metric.name}: {found.keys() - allowed}"
                if what == "operation":
                    assert found["mcp.method.name"][0] == "string"
                told[metric.name] += point.count
    return told


def traces(folder):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    every = (
        span.trace_id.hex()
        for request in requests(folder, "traces", ExportTraceServiceRequest)
        for of_resource in request.resource_spans
        for scope in of_resource.scope_spans
        for span in scope.spans
    )
    print(json.dumps(sorted(set(every))))


def check(folder, *files):
    calls = [json.loads(line) for file in files for line in open(file)]
    calls = [call for call in calls if "call" in call]
    told = check_traces(folder, calls)
    points = check_metrics(folder)
    for end in ("client", "server"):
        name = f"mcp.{end}.operation.duration"
        spans = sum(count for key, count in told.items() if key[0] == f"mcp.{end}")
        assert not points or points[name] == spans, f"{points[name]} measured, {spans} spans: {name}"
    lines = {" ".join(map(str, key)) if isinstance(key, tuple) else key: count for key, count in told.items()}
    print(json.dumps({**lines, **points}))


if __name__ == "__main__":
    command, *words = sys.argv[1:]
    if command == "speak":
        speak(words[0], words[1:])
    elif command == "websocket":
        websocket()
    elif command == "websocket-server":
        websocket_server()
    else:
        {"collect": collect, "check": check, "traces": traces}[command](*words)
