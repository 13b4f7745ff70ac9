"""A server of ours as a process, and a client that sends bytes as they are: for drills, benchmarks and their tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

START_SECONDS = 120


@dataclass(frozen=True, eq=False)
class Server:
    """A server that runs.

    Attributes:
        process: what was started.
        port: of 127.0.0.1.
        errors: the file with what it wrote to standard error.
    """

    process: subprocess.Popen[str]
    port: int
    errors: Path

    def children(self) -> list[int]:
        """Ids of all processes below it."""
        import psutil

        return [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]

    def memory(self) -> int:
        """Bytes of memory of the server and of all processes below it; shared pages count once (PSS)."""
        total = 0
        for number in [self.process.pid, *self.children()]:
            with contextlib.suppress(OSError):
                rollup = Path(f"/proc/{number}/smaps_rollup").read_text()
                total += 1024 * int(next(line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")))
        return total

    def stop(self, seconds: float = 60) -> tuple[int, str]:
        """Send SIGTERM; the exit status and the last lines of standard output."""
        self.process.send_signal(signal.SIGTERM)
        lines, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, lines


@contextlib.contextmanager
def running(*arguments: str, command: tuple[str, ...] = ("-m", "singleshot", "serve")) -> Iterator[Server]:
    """A server with these arguments on a free port, until the end of the block.

    Raises:
        RuntimeError: it does not start; with what it wrote.
    """
    with tempfile.NamedTemporaryFile(prefix="ssd-serve-", suffix=".log") as errors:
        process = subprocess.Popen(  # noqa: S603  (our own program)
            [sys.executable, *command, "--port", "0", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        watchdog = threading.Timer(START_SECONDS, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            line = next((line for line in process.stdout if "http://" in line), "")
            if not line:
                raise RuntimeError(f"the server did not start: {Path(errors.name).read_text()}")
            watchdog.cancel()
            yield Server(process, int(line.rstrip("/\n").rpartition(":")[2]), Path(errors.name))
        finally:
            watchdog.cancel()
            process.kill()
            process.communicate()


def post(path: str, body: bytes, *headers: str, host: str = "localhost") -> bytes:
    """The bytes of a POST request."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def get(path: str, *headers: str, host: str = "localhost") -> bytes:
    """The bytes of a GET request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode()


@dataclass(frozen=True)
class Answer:
    """What a server sent: status, headers with small names, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Connection:
    """A connection that is kept open between requests.

    Args:
        port: of 127.0.0.1.
        timeout: seconds that an answer may take.
    """

    def __init__(self, port: int, timeout: float = 60) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> Answer:
        """Send a request and read its answer.

        Raises:
            OSError: the connection was closed, or no answer came in time.
        """
        self.socket.sendall(request)
        return self.read()

    def read(self) -> Answer:
        """Read one answer. Raises as `ask`."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._some()
        head, _, body = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        parts, missing = [body], int(headers.get("content-length", "0")) - len(body)
        while missing > 0:
            parts.append(self._some())
            missing -= len(parts[-1])
        return Answer(int(first.split()[1]), headers, b"".join(parts))

    def _some(self) -> bytes:
        part = self.socket.recv(65_536)
        if not part:
            raise ConnectionError("the server closed the connection")
        return part

    def close(self) -> None:
        """Close it."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ask(port: int, request: bytes, timeout: float = 60) -> Answer:
    """The answer to one request, on a connection of its own. Raises OSError as `Connection.ask`."""
    with Connection(port, timeout) as connection:
        return connection.ask(request)
