"""A load of requests at a given rate, whatever the server does with them: arrivals do not wait for answers.

    python benchmarks/serve_load.py PORT --rate 100 --seconds 10

The arrivals are a Poisson process. A request takes a connection that is free, or opens one. Its time runs from its
arrival to the last byte of its answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from serve_process import post

MOST_CONNECTIONS = 800
"""Arrivals that find as many in use are lost, and counted."""
GRACE_SECONDS = 60


@dataclass(eq=False)
class Load:
    """What became of the requests of a load.

    Attributes:
        seconds: how long it lasted.
        answers: how many had each status; 0: no answer.
        lost: arrivals for which no connection was free.
        times: seconds to each answer, by status.
        without_retry: answers of 503 that have no Retry-After.
    """

    seconds: float
    answers: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    times: dict[int, list[float]] = field(default_factory=dict)
    without_retry: int = 0

    def quantile(self, share: float, status: int = 200) -> float:
        """Seconds within which this share of the answers of a status came; 0 where there are none."""
        times = sorted(self.times.get(status, []))
        return times[min(len(times) - 1, int(share * len(times)))] if times else 0.0

    @property
    def rate(self) -> float:
        """Images detected a second."""
        return self.answers[200] / self.seconds

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return {
            "rate": round(self.rate, 1),
            "answers": {str(status): count for status, count in sorted(self.answers.items())},
            "lost": self.lost,
            "milliseconds": {
                str(status): {str(share): round(1000 * self.quantile(share, status), 1) for share in (0.5, 0.9, 0.99)}
                for status in sorted(self.times)
            },
            "without_retry": self.without_retry,
        }


class _Client(asyncio.Protocol):
    """A connection that has at most one request at a time."""

    def __init__(self, release: Callable[[_Client], None]) -> None:
        self._release = release
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        """Send a request: status and head of its answer, or 0 where the connection is closed."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._received.clear()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Some bytes of the answer."""
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end]).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        if len(self._received) < end + 4 + length or self._answer is None or self._answer.done():
            return
        self._answer.set_result((int(head.split()[1]), head))
        assert self._transport is not None
        if b"connection: close" in head:
            self._transport.close()
        elif not self._transport.is_closing():
            self._release(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """The server closed it."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((0, b""))

    @property
    def open(self) -> bool:
        """Whether it can be used."""
        return self._transport is not None and not self._transport.is_closing()


async def send_load(port: int, request: bytes, *, rate: float, seconds: float, seed: int = 0) -> Load:
    """Send a request `rate` times a second.

    Args:
        port: of 127.0.0.1.
        request: its bytes.
        rate: arrivals a second.
        seconds: how long.
        seed: of the arrivals.
    """
    loop, generator, load = asyncio.get_running_loop(), random.Random(seed), Load(seconds)
    free: list[_Client] = []
    tasks: set[asyncio.Task[None]] = set()

    async def request_once(arrival: float) -> None:
        client = next((client for client in iter(lambda: free.pop() if free else None, None) if client.open), None)
        try:
            if client is None:
                _, client = await loop.create_connection(lambda: _Client(free.append), "127.0.0.1", port)
            status, head = await client.ask(request)
        except OSError:
            status, head = 0, b""
        load.answers[status] += 1
        load.times.setdefault(status, []).append(loop.time() - arrival)
        if status == 503 and b"retry-after" not in head:
            load.without_retry += 1

    start = arrival = loop.time()
    while (arrival := arrival + generator.expovariate(rate)) < start + seconds:
        if (wait := arrival - loop.time()) > 0:
            await asyncio.sleep(wait)
        if len(tasks) >= MOST_CONNECTIONS:
            load.lost += 1
            continue
        task = asyncio.create_task(request_once(arrival))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        await asyncio.wait(tasks, timeout=GRACE_SECONDS)
    load.answers[0] += len(tasks)
    return load


async def capacity(port: int, request: bytes, *, seconds: float, clients: int = 8) -> float:
    """Answers of 200 a second to clients that each ask again as soon as they are answered."""
    loop, done = asyncio.get_running_loop(), 0
    end = loop.time() + seconds

    async def ask_again_and_again() -> None:
        nonlocal done
        _, client = await loop.create_connection(lambda: _Client(lambda _client: None), "127.0.0.1", port)
        while loop.time() < end:
            status, _ = await client.ask(request)
            if status != 200:
                raise RuntimeError(f"expected status 200, got {status}")
            done += 1

    start = time.perf_counter()
    await asyncio.gather(*(ask_again_and_again() for _ in range(clients)))
    return done / (time.perf_counter() - start)


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=float, required=True, help="arrivals a second; 0: clients that wait")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--image", type=Path, required=True)
    options = parser.parse_args()
    request = post("/v1/detect", options.image.read_bytes())
    if options.rate == 0:
        print(json.dumps({"rate": asyncio.run(capacity(options.port, request, seconds=options.seconds))}))
        return 0
    load = send_load(options.port, request, rate=options.rate, seconds=options.seconds, seed=options.seed)
    print(json.dumps(asyncio.run(load).to_dict()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
