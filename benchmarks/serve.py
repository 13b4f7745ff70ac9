"""Throughput of `ssd serve` beside `Detector.stream` on the same files, in turn, client and server on one machine.

    python benchmarks/serve.py --model MODEL --data FOLDER [--rounds 5] [--seconds 10] [--connections 8] [--json FILE]

The client is one thread that sends prepared bytes on connections that stay open, so it takes little of the processor.
`Detector.stream` is what `ssd detect` does with a folder: it decodes and detects. Where other programs run, too,
compare the processor's time for an image: several processes get more of a busy machine than one process does.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import selectors
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from serve_process import Connection, Server, post, running

from singleshot import Detector
from singleshot.data.images import IMAGE_SUFFIXES


@dataclass(frozen=True)
class Load:
    """What a client saw.

    Attributes:
        rate: answers of status 200 a second.
        p50: median milliseconds of an answer of status 200.
        p99: 99 of 100 came sooner, in milliseconds.
        statuses: how many answers of each status.
        server_ms: processor milliseconds of the server, an answer.
        client_ms: the same of the client.
    """

    rate: float
    p50: float
    p99: float
    statuses: dict[int, int]
    server_ms: float
    client_ms: float


@dataclass(frozen=True)
class Round:
    """One after the other.

    Attributes:
        stream_rate: images a second of `Detector.stream`.
        stream_ms: its processor milliseconds an image.
        served: the same files through the server.
    """

    stream_rate: float
    stream_ms: float
    served: Load

    def __str__(self) -> str:
        served = self.served
        return (
            f"stream {self.stream_rate:.1f} images/s, served {served.rate:.1f} ({served.rate / self.stream_rate:.2f} "
            f"times); p50 {served.p50:.0f} ms, p99 {served.p99:.0f} ms, statuses {served.statuses}; processor ms an "
            f"image: stream {self.stream_ms:.1f}, server {served.server_ms:.1f}, client {served.client_ms:.1f}"
        )


def processor_seconds(server: Server) -> float:
    """Processor time of a server and all below it; decoders that have ended are not counted."""
    times = [psutil.Process(number).cpu_times() for number in (server.process.pid, *server.children())]
    return sum(each.user + each.system for each in times)


def load(server: Server, requests: Sequence[bytes], *, connections: int, seconds: float) -> Load:
    """Send requests on some connections, a new one as soon as an answer has come."""
    following, selector = itertools.cycle(requests), selectors.DefaultSelector()
    before, own = processor_seconds(server), time.process_time()
    sent: dict[Connection, float] = {}
    for connection in [Connection(server.port) for _ in range(connections)]:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        sent[connection] = time.perf_counter()
        connection.socket.sendall(next(following))
    start = time.perf_counter()
    statuses, times = Counter[int](), list[float]()
    while (now := time.perf_counter()) - start < seconds:
        for key, _ in selector.select(1):
            connection = key.data
            status = connection.read().status
            statuses[status] += 1
            if status == 200:
                times.append(1000 * (time.perf_counter() - sent[connection]))
            sent[connection] = time.perf_counter()
            connection.socket.sendall(next(following))
    costs = (processor_seconds(server) - before, time.process_time() - own)
    for connection in sent:
        connection.close()
    times.sort()
    server_ms, client_ms = (1000 * cost / statuses.total() for cost in costs)
    p99 = times[int(0.99 * len(times))]
    return Load(len(times) / (now - start), statistics.median(times), p99, dict(statuses), server_ms, client_ms)


def stream(detector: Detector, files: Sequence[Path], seconds: float) -> tuple[float, float]:
    """Images a second of `Detector.stream`, and processor milliseconds an image."""
    start, processor, count = time.perf_counter(), time.process_time(), 0
    for _ in detector.stream(itertools.cycle(files)):
        count += 1
        if time.perf_counter() - start > seconds:
            break
    return count / (time.perf_counter() - start), 1000 * (time.process_time() - processor) / count


def main() -> None:
    """Print each round, and the median of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    images = (path for path in options.data.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    files = sorted(images)[: options.files]
    requests = [post("/v1/detect", path.read_bytes()) for path in files]
    detector = Detector.load(options.model, score=0.5)
    stream(detector, files, 2)
    rounds = []
    with running(*(["--model", options.model] if options.model else [])) as server:
        load(server, requests, connections=options.connections, seconds=2)
        for number in range(1, options.rounds + 1):
            streamed = stream(detector, files, options.seconds)
            served = load(server, requests, connections=options.connections, seconds=options.seconds)
            rounds.append(Round(*streamed, served))
            print(f"round {number}: {rounds[-1]}", flush=True)
    ratio = statistics.median(each.served.rate / each.stream_rate for each in rounds)
    print(f"{len(files)} files, {options.connections} connections, {os.cpu_count()} cores: {ratio:.2f} times (median)")
    if options.json is not None:
        options.json.write_text(json.dumps({"ratio": ratio, "rounds": [asdict(each) for each in rounds]}, indent=1))


if __name__ == "__main__":
    main()
