"""A server on the Python SDK whose tools spend their time in one way each.

Each answers what it took, by the clocks of the thread that worked, as the fixture's tools do. With --linger
the server lives on after the end of its input.
"""
import atexit
import json
import mmap
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from functools import cache

from mcp.server import MCPServer

mcp = MCPServer("sdk-faults", log_level="CRITICAL")
GROUPS = "/sys/fs/cgroup"
# One for all calls: to empty it would be to wait for the disk.
SCRATCH = tempfile.TemporaryFile(dir="/tmp", buffering=0)


class Had:
    """What a thread has had of CPUs since it was made."""

    def __init__(self):
        self.began = self.now()

    @staticmethod
    def now():
        with open("/proc/thread-self/schedstat") as file:
            waited = int(file.read().split()[1])
        return time.thread_time_ns(), waited, time.monotonic_ns()

    def answer(self, throttled=0, stalled=0):
        cpu, waited, wall = (now - then for now, then in zip(self.now(), self.began))
        took = {
            "cpu_ns": cpu,
            "waited_ns": waited,
            "throttled_ns": throttled,
            "stalled_ns": stalled,
            "wall_ns": wall,
        }
        return json.dumps({f"mcpsonar.tests/{key}": value for key, value in took.items()})


def spin(ms):
    until = time.thread_time() + ms / 1000
    while time.thread_time() < until:
        pass


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    return thread


class Group:
    """A control group of this process's own (separate hierarchies)."""

    def __init__(self, controller, **limits):
        self.root = f"{GROUPS}/{controller}"
        self.path = f"{self.root}/mcp-fixture-py-{os.getpid()}"
        with open("/proc/self/cgroup") as file:
            lines = [line.strip().split(":", 2) for line in file]
        self.home = next((path for _, names, path in lines if names == controller), "/")
        os.mkdir(self.path)
        for name, value in limits.items():
            self.write(f"{self.path}/{name.replace('__', '.')}", value)

    @staticmethod
    def write(path, value):
        with open(path, "w") as file:
            file.write(str(value))

    def enter(self):
        self.write(f"{self.path}/cgroup.procs", os.getpid())

    def throttled_ns(self):
        with open(f"{self.path}/cpu.stat") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("throttled_time "))

    def leave(self):
        self.write(f"{self.root}{self.home}/cgroup.procs", os.getpid())


@cache
def group(controller):
    """One for all calls, entered by the first, gone with the process."""
    if controller == "cpu":
        made = Group(controller, cpu__cfs_period_us=20000, cpu__cfs_quota_us=2000)
    else:
        made = Group(controller, memory__limit_in_bytes=16 << 20)
    atexit.register(lambda: (made.leave(), os.rmdir(made.path)))
    made.enter()
    return made


@mcp.tool()
def echo(message: str) -> str:
    return f"Echo: {message}"


@mcp.tool()
def big(bytes: int) -> str:
    return "x" * bytes


@mcp.tool()
async def slow(ms: int, steps: int) -> str:
    import asyncio

    await asyncio.sleep(ms / 1000)
    return "slow done"


@mcp.tool()
def burn(ms: int) -> str:
    had = Had()
    spin(ms)
    return had.answer()


@mcp.tool()
def hold(ms: int) -> str:
    had = Had()
    time.sleep(ms / 1000)
    return had.answer()


@mcp.tool()
def lock(ms: int) -> str:
    had = Had()
    mutex, held = threading.Lock(), threading.Event()

    def holder():
        with mutex:
            held.set()
            time.sleep(ms / 1000)

    thread = in_thread(holder)
    held.wait()
    with mutex:
        pass
    thread.join()
    return had.answer()


@cache
def disk():
    """A file past the page cache, so that time is not spent on copies, and aligned room to write from."""
    path, flags = f"/tmp/mcp-fixture-py-{os.getpid()}", os.O_WRONLY | os.O_CREAT
    try:
        file = os.open(path, flags | os.O_DIRECT)
    except OSError:
        file = os.open(path, flags)
    os.unlink(path)
    return file, mmap.mmap(-1, 16 << 20)


@mcp.tool()
def fsync(ms: int) -> str:
    (file, block), at, had = disk(), 0, Had()
    until = time.monotonic() + ms / 1000
    while time.monotonic() < until:
        os.pwrite(file, block, at % (64 << 20))
        os.fsync(file)
        at += len(block)
    return had.answer()


@mcp.tool()
def starve(ms: int) -> str:
    had = Had()
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    competitors = [subprocess.Popen(["timeout", "60", "sh", "-c", "while :; do :; done"]) for _ in range(3)]
    spin(ms)
    for competitor in competitors:
        competitor.terminate()
        competitor.wait()
    os.sched_setaffinity(0, allowed)
    return had.answer()


@mcp.tool()
def shell(ms: int) -> str:
    had = Had()
    subprocess.run(["sleep", str(ms / 1000)], check=True)
    return had.answer()


@mcp.tool()
def fetch(ms: int) -> str:
    had = Had()
    listener = socket.create_server(("127.0.0.1", 0))

    def answers():
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            time.sleep(ms / 1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    thread = in_thread(answers)
    with socket.create_connection(listener.getsockname()) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: upstream.test\r\n\r\n")
        connection.recv(4096)
    thread.join()
    listener.close()
    return had.answer()


@mcp.tool()
def lookup(ms: int) -> str:
    had = Had()
    server = socket.socket(type=socket.SOCK_DGRAM)
    server.bind(("127.77.53.2", 53))

    def answers():
        question, client = server.recvfrom(512)
        time.sleep(ms / 1000)
        answer = bytearray(question)
        # A response with one answer (RFC 1035, section 4.1).
        answer[2], answer[7] = 0x81, 1
        server.sendto(bytes(answer) + b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x09", client)

    thread = in_thread(answers)
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.connect(server.getsockname())
        client.send(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04slow\x04test\0\0\x01\0\x01")
        client.recv(512)
    thread.join()
    server.close()
    return had.answer()


@mcp.tool()
def throttle(ms: int) -> str:
    # Never left, as below.
    cpu, had = group("cpu"), Had()
    before = cpu.throttled_ns()
    spin(ms)
    return had.answer(cpu.throttled_ns() - before)


def without_memory_ns():
    """For how long somebody on this host lacked memory so far."""
    with open("/proc/pressure/memory") as file:
        some = next(line for line in file if line.startswith("some"))
    return int(some.rsplit("total=")[1]) * 1000


@mcp.tool()
def reclaim(ms: int) -> str:
    had = Had()
    block, at = b"\xa5" * (1 << 20), 0
    until = time.monotonic() + ms / 1000
    # Never left: to move takes longer than a call.
    group("memory")
    before = without_memory_ns()
    while time.monotonic() < until:
        os.pwrite(SCRATCH.fileno(), block, at % (64 << 20))
        at += len(block)
    return had.answer(stalled=without_memory_ns() - before)


mcp.run()
# As servers do whose threads nobody has told to end.
while "--linger" in sys.argv:
    time.sleep(60)
