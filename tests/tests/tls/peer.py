"""HTTPS by the standard library: a server of MCP and of something else, and clients of it.

    server CERT KEY          prints its port; ends with its standard input
    calls PORT NUMBER        a connection each; prints the port and the id of every call
    load PORT                connections until the standard input ends; prints how many, which failed, and the longest's seconds
    kept PORT                a connection and a call, and for each line of the standard input one more
    late PORT NUMBER         as calls, but has no TLS library until the standard input ends
    api PORT NUMBER          requests that are JSON and no MCP
"""
import json
import sys
import threading
import time


def context():
    import ssl

    it = ssl.create_default_context()
    # The certificate is the test's own.
    it.check_hostname = False
    it.verify_mode = ssl.CERT_NONE
    return it


class Client:
    def __init__(self, port):
        from http.client import HTTPSConnection

        self.connection = HTTPSConnection("127.0.0.1", port, context=context(), timeout=20)
        self.connection.connect()
        self.port = self.connection.sock.getsockname()[1]

    def post(self, path, body):
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        self.connection.request("POST", path, json.dumps(body), headers)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())

    def call(self, number):
        params = {"name": "echo", "arguments": {"text": "x" * (number % 50)}}
        request = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
        status, answer = self.post("/mcp", request)
        if status != 200 or answer["id"] != number:
            raise ValueError(f"call {number} was answered with {status} {answer}")
        print(json.dumps({"port": self.port, "id": number}), flush=True)

    def close(self):
        self.connection.close()


def serve(certificate, key):
    import ssl
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/mcp":
                result = {"content": [{"type": "text", "text": "done"}]}
                answer = {"jsonrpc": "2.0", "id": request["id"], "result": result}
            else:
                answer = {"items": [request], "id": 1}
            answer = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

        def finish_request(self, request, address):
            # The handshake in the connection's own thread.
            request = tls.wrap_socket(request, server_side=True)
            super().finish_request(request, address)
            request.close()

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


def calls(port, number):
    for index in range(number):
        client = Client(port)
        client.call(index)
        client.close()


def load(port):
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    done, failed, longest, told = 0, [], 0, sys.stdout
    sys.stdout = open("/dev/null", "w")
    while not ended.is_set():
        began = time.monotonic()
        try:
            client = Client(port)
            client.call(done)
            client.close()
            done += 1
        except Exception as error:
            failed.append(repr(error))
        longest = max(longest, time.monotonic() - began)
    print(json.dumps({"done": done, "failed": failed, "longest": longest}), file=told, flush=True)


def kept(port):
    client = Client(port)
    client.call(0)
    for number, _ in enumerate(sys.stdin, 1):
        client.call(number)


def main():
    mode, arguments = sys.argv[1], sys.argv[2:]
    if mode == "server":
        return serve(*arguments)
    numbers = [int(argument) for argument in arguments]
    if mode == "late":
        assert "ssl" not in sys.modules and "_ssl" not in sys.modules
        print("{}", flush=True)
        sys.stdin.read()
        mode = "calls"
    if mode == "api":
        client = Client(numbers[0])
        for index in range(numbers[1]):
            client.post("/v1/items", {"id": index, "method": "tools", "name": "echo"})
        return None
    return {"calls": calls, "load": load, "kept": kept}[mode](*numbers)


main()
