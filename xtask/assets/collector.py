"""A collector with faults, for pictures of the dashboards. Standard library only.

usage: collector.py      prints its port, and takes OTLP over HTTP without looking into it

It refuses one request in thirty, and is out of order for 20 seconds of each minute.
"""

import http.server
import random
import time

BEGAN = time.monotonic()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        away = (time.monotonic() - BEGAN) % 60 > 40
        self.send_response(503 if away else 400 if random.random() < 1 / 30 else 200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
