"""Throughput of `ssd serve` beside `Detector.stream` on the same files, in turn, client and server on one machine.

    python benchmarks/serve.py --model MODEL --data FOLDER [--rounds 5] [--seconds 10] [--connections 8] [--json FILE]

The client is one process with one thread and sends prepared bytes on connections that stay open, so it takes little of
the processor. `Detector.stream` is what `ssd detect` does with a folder: it decodes, detects and draws nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from singleshot import Detector
from singleshot.data.images import IMAGE_SUFFIXES

HEAD = "POST /v1/detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n"


@dataclass(frozen=True)
class Load:
    """What a client saw.

    Attributes:
        rate: answers of status 200 a second.
        p50: median milliseconds of an answer of status 200.
        p99: 99 of 100 came sooner, in milliseconds.
        statuses: how many answers of each status.
    """

    rate: float
    p50: float
    p99: float
    statuses: dict[str, int]


@contextmanager
def server(model: str | None, *flags: str) -> Iterator[tuple[int, int]]:
    """A running `ssd serve`: its process and port."""
    command = [
        sys.executable,
        "-m",
        "singleshot",
        "serve",
        "--port",
        "0",
        *(["--model", model] if model else []),
        *flags,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.search(r":(\d+)/", line)
        if address is None:
            raise SystemExit(f"the server did not start: {line}")
        yield process.pid, int(address[1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


class Connection:
    """One connection that stays open, with one request in work."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.started, self._answer = 0.0, b""

    def send(self, request: bytes) -> None:
        """Begin a request."""
        self.started, self._answer = time.perf_counter(), b""
        self.socket.sendall(request)

    def receive(self) -> str | None:
        """The status, once the whole answer is there."""
        part = self.socket.recv(65_536)
        if not part:
            raise ConnectionError("the server closed the connection")
        self._answer += part
        head, end, body = self._answer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        if not end or length is None or len(body) < int(length[1]):
            return None
        return head[9:12].decode()


def load(port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> Load:
    """Send requests on some connections, a new one as soon as an answer has come."""
    following = itertools.cycle(requests)
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        connection = Connection(port)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(next(following))
    start = time.perf_counter()
    statuses: dict[str, int] = {}
    times = []
    while (now := time.perf_counter()) - start < seconds:
        for key, _ in selector.select(1):
            connection = key.data
            if (status := connection.receive()) is not None:
                statuses[status] = statuses.get(status, 0) + 1
                if status == "200":
                    times.append(time.perf_counter() - connection.started)
                connection.send(next(following))
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    milliseconds = sorted(1000 * duration for duration in times) or [0.0]
    place = min(len(milliseconds) - 1, int(0.99 * len(milliseconds)))
    return Load(len(times) / (now - start), statistics.median(milliseconds), milliseconds[place], statuses)


def processor_seconds(process: int) -> float:
    """Processor time of a process and all below it so far, on Linux; decoders that ended are not counted."""
    if not Path("/proc/self/stat").exists():
        return float("nan")
    fields = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields[int(folder.name)] = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
    tree = {process}
    while more := {pid for pid, field in fields.items() if int(field[1]) in tree} - tree:
        tree |= more
    ticks = sum(int(fields[pid][11]) + int(fields[pid][12]) for pid in tree if pid in fields)
    return ticks / os.sysconf("SC_CLK_TCK")


def stream_rate(detector: Detector, files: Sequence[Path], seconds: float) -> tuple[float, float]:
    """Images a second of `Detector.stream`, and processor milliseconds an image."""
    start, count, processor = time.perf_counter(), 0, time.process_time()
    for _ in detector.stream(itertools.cycle(files)):
        count += 1
        if time.perf_counter() - start > seconds:
            break
    return count / (time.perf_counter() - start), 1000 * (time.process_time() - processor) / count


def main() -> None:
    """Print both rates of each round, their ratio, and the processor's time in the server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.data.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)[
        : arguments.files
    ]
    requests = [HEAD.format(len(content)).encode() + content for content in map(Path.read_bytes, files)]
    detector = Detector.load(arguments.model, score=0.5)
    stream_rate(detector, files, 2)
    rounds = []
    with server(arguments.model) as (process, port):
        load(port, requests, connections=arguments.connections, seconds=2)
        for number in range(arguments.rounds):
            streamed, stream_cost = stream_rate(detector, files, arguments.seconds)
            own, before = time.process_time(), processor_seconds(process)
            seen = load(port, requests, connections=arguments.connections, seconds=arguments.seconds)
            rounds.append((streamed, seen))
            count = max(1, sum(seen.statuses.values()))
            costs = 1000 * (processor_seconds(process) - before) / count, 1000 * (time.process_time() - own) / count
            print(
                f"round {number + 1}: stream {streamed:.1f} images/s, served {seen.rate:.1f}, "
                f"{seen.rate / streamed:.2f} times; p50 {seen.p50:.0f} ms, p99 {seen.p99:.0f} ms; {seen.statuses}; "
                f"processor ms an image: stream {stream_cost:.1f}, server {costs[0]:.1f}, client {costs[1]:.1f}",
                flush=True,
            )
    ratio = statistics.median(seen.rate / streamed for streamed, seen in rounds)
    print(
        f"{len(files)} files, {arguments.connections} connections, {os.cpu_count()} cores: {ratio:.2f} times (median)"
    )
    if arguments.json is not None:
        figures = [{"stream": streamed, **asdict(seen)} for streamed, seen in rounds]
        arguments.json.write_text(json.dumps({"ratio": ratio, "rounds": figures}, indent=1))


if __name__ == "__main__":
    main()
