"""`ssd serve` as a process of its own: its address, its signals, clients that stall, and a port that is taken."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from singleshot import Detector
from singleshot.cli.main import EXTRAS, run
from singleshot.photographs import CHELSEA
from singleshot.serve.app import create_app
from singleshot.serve.http_server import HttpServer
from singleshot.serve.run import bind
from singleshot.serve.settings import ServeSettings

COMMAND = [sys.executable, "-m", "singleshot", "serve"]


class Server:
    """A process that serves the shipped model."""

    def __init__(self, *flags: str) -> None:
        command = [*COMMAND, "--port", "0", "--decoders", "1", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.greeting = self.process.stdout.readline()
        address = re.search(r"http://[^:]+:(\d+)", self.greeting)
        assert address is not None, self.process.communicate()
        self.address, self.port = address[0], int(address[1])

    def connect(self, sent: bytes = b"") -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        client.sendall(sent)
        return client

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, errors = self.process.communicate(timeout=120)  # on a machine that is busy
        return self.process.returncode, out, errors


@contextmanager
def serving(*flags: str) -> Iterator[Server]:
    server = Server(*flags)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.communicate()


def answer_of(client: socket.socket) -> bytes:
    """All that the server sends until it closes the connection."""
    content = b""
    with client:
        while part := client.recv(65_536):
            content += part
    return content


def test_signals_clients_and_ports() -> None:
    """One process for all, as each takes seconds to start."""
    with serving("--read-timeout", "2") as server:
        taken = subprocess.run(
            [*COMMAND, "--port", str(server.port)], capture_output=True, text=True, check=False, timeout=60
        )
        assert taken.returncode == 2
        assert taken.stderr.splitlines() == [
            f"ssd: port {server.port} of 127.0.0.1 is taken by another program: give another --port"
        ]

        head = b"POST /v1/detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
        stalled = {name: server.connect(sent) for name, sent in (("head", head), ("body", head + b"\r\n12"), ("", b""))}
        endless = server.connect(head.replace(b"1000", b"10000000000") + b"\r\n")
        assert httpx.get(f"{server.address}/v2/health/ready").json() == {"ready": True}
        answer = answer_of(server.connect(b"nonsense\r\n\r\n"))
        assert (answer[9:12], b"application/problem+json" in answer) == (b"400", True)
        without_host = answer_of(server.connect(b"GET / HTTP/1.0\r\n\r\n"))
        assert (without_host[9:12], json.loads(without_host.partition(b"\r\n\r\n")[2])["status"]) == (b"421", 421)

        chunked = head.replace(b"Content-Length: 1000", b"Transfer-Encoding: chunked") + b"\r\n"
        assert b"4,000 chunks" in answer_of(server.connect(chunked + 5000 * b"1\r\nx\r\n"))
        large = 5000 * (b"258\r\n" + bytes(0x258) + b"\r\n") + b"0\r\n\r\n"
        with server.connect(chunked + large) as client:
            assert client.recv(65_536)[9:12] == b"415"

        start = time.monotonic()
        assert answer_of(stalled["head"]) == b""
        assert answer_of(stalled[""]) == b""
        assert answer_of(stalled["body"])[9:12] == b"408"
        assert endless.recv(65_536)[9:12] == b"413"  # at once; the connection is closed later
        assert time.monotonic() - start < 60
        endless.close()

        image = CHELSEA.path.read_bytes()
        request = head.replace(b"1000", str(len(image)).encode()) + b"\r\n" + image
        clients = [server.connect(request) for _ in range(50)]
        code, out, errors = server.stop()
        answers = [answer_of(client) for client in clients]
        done = [answer for answer in answers if answer[9:12] == b"200"]
        refused = [answer for answer in answers if answer[9:12] == b"503"]  # on a slow machine, or a busy one
        assert len(done) + len(refused) == 50
        assert len(done) >= 16
        assert all(b'"label":"cat"' in answer for answer in done)
        assert code == 128 + signal.SIGTERM
        assert errors == ""
        assert f": {len(done)} answered, {len(refused)} refused for lack of room, 4 wrong or given up" in out


def test_a_second_signal_ends_the_server_at_once() -> None:
    with serving() as server:
        waiting = server.connect(b"POST /v1/detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert httpx.get(f"{server.address}/v2/health/ready").status_code == 503
        assert server.stop(signal.SIGINT)[0] == 128 + signal.SIGINT
        waiting.close()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--host", "0.0.0.0"], "--token-file"),  # noqa: S104
        (["--token-file", "two-lines"], "one line"),
        (["--token-file", "nothing-here"], "nothing-here"),
        (["--host", "192.0.2.1", "--token-file", "token"], "192.0.2.1"),
        (["--queue", "3"], "queue of 3"),
        (["--model", "nothing-here"], "nothing-here"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    flags: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("two-lines").write_text("two\nlines\n")
    Path("token").write_text("secret\n")
    assert run(["serve", "--port", "0", *flags]) == 2
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == 1
    assert expected in errors


def test_without_the_extra_it_is_named() -> None:
    program = (
        "import sys; sys.modules['uvicorn'] = None; from singleshot.cli.main import run; "
        "sys.exit(run(['serve', '--port', '0']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "singleshot[serve]" in done.stderr
    assert {EXTRAS[package] for package in ("starlette", "python_multipart", "prometheus_client", "h11")} == {"serve"}


def test_connections_are_limited() -> None:
    settings = ServeSettings(decoders=1, max_connections=2, drain=0)

    async def run_server() -> None:
        listener = bind("127.0.0.1", 0)
        port = listener.getsockname()[1]
        started = asyncio.Event()
        server = HttpServer(create_app(Detector.load(), settings), settings, started.set)
        serving = asyncio.ensure_future(server.serve([listener]))
        await asyncio.wait_for(started.wait(), 60)
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        assert await asyncio.wait_for(opened[2][0].read(), 10) == b""  # the third is closed
        opened[0][1].close()
        await asyncio.sleep(0.2)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 10))[9:12] == b"200"
        for _, each in (*opened, (reader, writer)):
            each.close()
        server.should_exit = True
        await serving

    asyncio.run(run_server())
