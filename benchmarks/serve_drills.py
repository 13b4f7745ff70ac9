"""Drills of a server: what it does when clients, images or processes misbehave.

    python benchmarks/serve_drills.py [NAME ...]     all, in full; each prints a line, and exits with 1 at a fault
    python benchmarks/serve_drills.py overload --seconds 60

Each drill starts a server of its own, with the model in the package. `tests/test_serve_drills.py` runs small samples.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import serve_load
from PIL import Image
from serve_process import Connection, Server, ask, get, post, running

from singleshot.photographs import PHOTOGRAPHS
from singleshot.serve.open_inference import HEADER_LENGTH

PHOTOGRAPH = next(photograph.path for photograph in PHOTOGRAPHS if photograph.name == "chelsea")
MODEL = "ssd320-lite"
LEAKING = str(Path(__file__).with_name("leaking_server.py"))
MEGABYTE = 2**20


@dataclass(frozen=True)
class Outcome:
    """What a drill gave: figures in words, and what went wrong."""

    figures: str
    faults: tuple[str, ...]


class Faults(list[str]):
    """What went wrong so far."""

    def require(self, holds: bool, otherwise: str) -> None:
        """Add a fault unless the condition holds."""
        if not holds:
            self.append(otherwise)

    def require_healthy(self, server: Server, *, engines: int = 0) -> None:
        """Add a fault unless the server is alive, ready, detects, and has told of so many engines' ends alone."""
        for path in ("live", "ready"):
            status = ask(server.port, get(f"/v2/health/{path}")).status
            self.require(status == 200, f"/v2/health/{path} is {status} afterwards")
        status = ask(server.port, post("/v1/detect", PHOTOGRAPH.read_bytes())).status
        self.require(status == 200, f"an image gets {status} afterwards")
        log = server.errors.read_text()
        ends = [line for line in log.splitlines() if line.startswith("ssd: the engine ended (SIG")]
        self.require(len(ends) == len(log.splitlines()) == engines, f"the server wrote: {log[:2000]}")


def overload(*, seconds: float = 600, times: float = 10, model: str = MODEL, queue: int | None = None) -> Outcome:
    """Ten times as many requests as the server can answer, after as many as it can."""
    image, faults = PHOTOGRAPH, Faults()
    limit = [] if queue is None else ["--queue", str(queue)]
    with running("--model", model, *limit) as server:

        def load(rate: float, seconds: float) -> dict[str, object]:
            script, options = str(Path(serve_load.__file__)), ["--image", str(image), "--rate", str(rate)]
            command = [sys.executable, script, str(server.port), *options, "--seconds", str(seconds)]
            run = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
            return dict(json.loads(run.stdout))

        load(0, min(5, seconds))
        rate = float(str(load(0, max(5, min(20, seconds / 4)))["rate"]))
        usual, much = load(rate, max(10, min(60, seconds / 4))), load(times * rate, seconds)
        faults.require_healthy(server)

    def quantile(result: dict[str, object], status: str = "200") -> float:
        return float(result["milliseconds"][status]["0.99"]) if status in result["milliseconds"] else 0.0  # type: ignore[index,operator]

    at_capacity, at_overload = quantile(usual), quantile(much)
    faults.require(at_overload <= 2 * at_capacity, f"p99 {at_overload} ms, at capacity {at_capacity} ms")
    faults.require(set(much["answers"]) <= {"0", "200", "503"}, f"answers {much['answers']}")  # type: ignore[call-overload]
    faults.require(not much["answers"]["0"], f"{much['answers']} have no answer")  # type: ignore[index]
    faults.require(not much["without_retry"], "503 without Retry-After")
    return Outcome(
        f"{Path(model).name}: capacity {rate:.0f} images/s; p99 {at_capacity:.0f} ms at capacity "
        f"({usual['answers']}, {usual['rate']}/s), {at_overload:.0f} ms at {times:g} times that for {seconds:.0f} s "
        f"({much['answers']}, {much['lost']} not sent, {much['rate']}/s; of the 503s {quantile(much, '503'):.0f} ms)",
        tuple(faults),
    )


def huge_bodies(*, times: int = 20, megabytes: int = 200) -> Outcome:
    """Bodies above the limit: by their length, in chunks, compressed, in multipart; and images of too many pixels."""
    faults, statuses = Faults(), Counter[str]()
    bomb = io.BytesIO()
    Image.new("L", (10_000, 10_000)).save(bomb, "PNG")
    with running() as server:
        ask(server.port, post("/v1/detect", PHOTOGRAPH.read_bytes()))
        with peak_memory(server) as growth:
            for _ in range(times):
                whole = get("/v1/detect", "Content-Length: 10000000000").replace(b"GET", b"POST")
                statuses[f"10 GB by its length {ask(server.port, whole).status}"] += 1
                statuses[f"{megabytes} MB in chunks {_send_chunks(server, megabytes)}"] += 1
                gzip = post("/v1/detect", bytes(1000), "Content-Encoding: gzip")
                statuses[f"gzip {ask(server.port, gzip).status}"] += 1
                parts = b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + bytes(21_000_000)
                multipart = post("/v1/detect", parts, "Content-Type: multipart/form-data; boundary=b")
                statuses[f"21 MB in multipart {_status_of_large(server, multipart)}"] += 1
                statuses[f"100 megapixels in {len(bomb.getvalue()) // 1000} kB " + str(
                    ask(server.port, post("/v1/detect", bomb.getvalue())).status)] += 1  # fmt: skip
        grown = growth() / MEGABYTE
        faults.require_healthy(server)
    refused = all(text.endswith((" 413", " 415")) for text in statuses)
    faults.require(refused, f"not all were refused: {dict(statuses)}")
    faults.require(grown < 100, f"memory grew by {grown:.0f} MB")
    return Outcome(f"{dict(statuses)}; memory grew by at most {grown:.0f} MB", tuple(faults))


def _send_chunks(server: Server, megabytes: int) -> int:
    """Send a chunked body until there is an answer; its status."""
    with Connection(server.port) as connection:
        connection.socket.sendall(get("/v1/detect", "Transfer-Encoding: chunked").replace(b"GET", b"POST"))
        with contextlib.suppress(OSError):
            for _ in range(megabytes * 10):
                connection.socket.sendall(b"%x\r\n" % 100_000 + bytes(100_000) + b"\r\n")
            connection.socket.sendall(b"0\r\n\r\n")
        return _read_status(connection)


def _status_of_large(server: Server, request: bytes) -> int:
    """The status of a request whose answer may come before its end."""
    with Connection(server.port) as connection:
        with contextlib.suppress(OSError):
            connection.socket.sendall(request)
        return _read_status(connection)


def _read_status(connection: Connection) -> int:
    """Status of the answer; 0 where the connection was closed without."""
    try:
        return connection.read().status
    except OSError:
        return 0


@contextlib.contextmanager
def peak_memory(server: Server) -> Iterator[Callable[[], int]]:
    """Watch the memory of a server; the function gives by how many bytes it grew at most."""
    before, peak, done = server.memory(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            peak[0] = max(peak[0], server.memory())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: max(0, peak[0] - before)
    finally:
        done.set()
        thread.join()


def stalled(*, clients: int = 500, read_timeout: float = 20) -> Outcome:
    """Clients that connect and send nothing, half a head, or half a body; health and detection go on."""
    faults, slowest = Faults(), 0.0
    body = post("/v1/detect", PHOTOGRAPH.read_bytes())
    beginnings = (b"", body[:40], body[: len(body) // 2])
    with running("--read-timeout", str(read_timeout)) as server, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(Connection(server.port, read_timeout + 30)) for _ in range(clients)]
        for number, connection in enumerate(connections):
            connection.socket.sendall(beginnings[number % 3])
        end = time.monotonic() + read_timeout * 0.8
        while time.monotonic() < end:
            start = time.monotonic()
            status = ask(server.port, get("/v2/health/ready")).status
            faults.require(status == 200, f"health {status}")
            slowest = max(slowest, time.monotonic() - start)
            status = ask(server.port, body).status
            faults.require(status == 200, f"detection {status}")
            time.sleep(0.1)
        closed = sum(_ends(connection) for connection in connections)
        faults.require(closed == clients, f"{clients - closed} of {clients} were not closed")
        faults.require_healthy(server)
    figures = f"{clients} stalled clients: health 200, slowest {1000 * slowest:.0f} ms; {closed} closed by the deadline"
    return Outcome(figures, tuple(faults))


def _ends(connection: Connection) -> bool:
    """Whether the server answers 408 or nothing, and closes."""
    received = b""
    try:
        while part := connection.socket.recv(65_536):
            received += part
    except TimeoutError:
        return False
    except OSError:
        pass
    return not received or received.startswith(b"HTTP/1.1 408")


def disconnects(*, clients: int = 1000) -> Outcome:
    """Clients that go away: amid the head, amid the body, or as soon as all is sent."""
    faults = Faults()
    body = post("/v1/detect", PHOTOGRAPH.read_bytes())
    with running() as server:
        ask(server.port, body)
        open_before = _open_files(server)
        start = time.monotonic()
        for number in range(clients):
            cut = (len(body), len(body), 30, len(body) // 2)[number % 4]
            with Connection(server.port) as connection:
                connection.socket.sendall(body[:cut])
                if number % 2:  # a reset instead of an end
                    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            time.sleep(0.005)  # so that the queue is never full for long
        sent = time.monotonic() - start
        while (waiting := _waiting(server)) and time.monotonic() < start + sent + 30:
            time.sleep(0.05)
        settled = time.monotonic() - start - sent
        faults.require(not waiting, f"{waiting} images still wait")
        time.sleep(0.5)
        left = _open_files(server) - open_before
        faults.require(left <= 5, f"{left} more open files")
        answers = _statuses(server)
        faults.require("500" not in answers, f"answers {answers}")
        faults.require_healthy(server)
    figures = f"{clients} gone within {sent:.1f} s: nothing waits {settled:.2f} s later, {max(0, left)} files left open"
    return Outcome(f"{figures}; counted {answers}", tuple(faults))


def _waiting(server: Server) -> int:
    metrics = ask(server.port, get("/metrics")).body.decode()
    line = next(line for line in metrics.splitlines() if line.startswith("singleshot_images_waiting "))
    return int(float(line.split()[1]))


def _statuses(server: Server) -> dict[str, int]:
    from fuzz_serve import statuses

    return statuses(ask(server.port, get("/metrics")).body.decode())


def _open_files(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def stop_in_flight(*, times: int = 10, requests: int = 50) -> Outcome:
    """SIGTERM while 50 requests are in flight: all are answered."""
    faults, ends = Faults(), Counter[int]()
    answers = Counter[int]()
    body = post("/v1/detect", PHOTOGRAPH.read_bytes())
    for _ in range(times):
        with running("--queue", "64") as server, contextlib.ExitStack() as stack:
            connections = [stack.enter_context(Connection(server.port)) for _ in range(requests)]
            for connection in connections:
                connection.socket.sendall(body)
            server.process.send_signal(signal.SIGTERM)
            answers.update(_read_status(connection) for connection in connections)
            server.process.wait(60)
            ends[server.process.returncode] += 1
            log = server.errors.read_text()
            faults.require(not log, f"the server wrote: {log[:1000]}")
    faults.require(set(answers) == {200}, f"answers {dict(answers)}")
    faults.require(set(ends) == {143}, f"exit status {dict(ends)}")
    return Outcome(
        f"{times} x SIGTERM with {requests} in flight: answers {dict(answers)}, exit status {dict(ends)}", tuple(faults)
    )


def killed_decoders(*, kills: int = 100) -> Outcome:
    """SIGKILL of a decoder while clients ask: at most its image is not answered, and the server is ready again."""
    faults = Faults()
    with running() as server:
        answers, longest = _kill_under_load(server, "ssd-decoder", [signal.SIGKILL] * kills)
        faults.require_healthy(server)
    faults.require(longest <= 10, f"ready again after {longest:.1f} s")
    faults.require(set(answers) <= {200, 422, 503}, f"answers {dict(answers)}")
    lost = sum(answers.values()) - answers[200]
    faults.require(lost <= kills, f"{lost} images not answered after {kills} kills")
    return Outcome(
        f"{kills} killed decoders among {sum(answers.values())} requests: answers {dict(answers)}; all decoders and an "
        f"answer again after at most {longest:.2f} s",
        tuple(faults),
    )


def killed_engines(*, kills: int = 100, within: float = 10) -> Outcome:
    """The engine's process is killed, crashes or aborts while clients ask: its images are detected by the next one.

    Args:
        kills: how often.
        within: seconds in which the server must be ready and answer again.
    """
    faults = Faults()
    numbers = [(signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)[number % 3] for number in range(kills)]
    with running("--deadline", str(3 * within)) as server:
        answers, longest = _kill_under_load(server, "ssd-engine", numbers, most_seconds=3 * within)
        faults.require_healthy(server, engines=kills)
        engines = len(processes_named(server, "ssd-engine"))
        faults.require(engines == 1, f"{engines} engines are left")
    faults.require(longest <= within, f"ready again after {longest:.1f} s")
    faults.require(set(answers) <= {200, 500, 503}, f"answers {dict(answers)}")
    lost = sum(answers.values()) - answers[200]
    faults.require(lost <= kills, f"{lost} images not answered after {kills} kills")
    return Outcome(
        f"{kills} engines ended by SIGKILL, SIGSEGV and SIGABRT in turn among {sum(answers.values())} requests: "
        f"answers {dict(answers)}; ready and an answer again after at most {longest:.2f} s",
        tuple(faults),
    )


def _kill_under_load(
    server: Server, name: str, numbers: Sequence[int], *, most_seconds: float = 30
) -> tuple[Counter[int], float]:
    """Send signals to processes of this name, one after another, while two clients ask.

    Returns:
        Their answers by status, and the longest time until the server was ready, detected, and had all processes again.
    """
    answers, longest = Counter[int](), 0.0
    body, done = post("/v1/detect", PHOTOGRAPH.read_bytes()), threading.Event()

    def ask_again_and_again() -> None:
        with Connection(server.port) as connection:
            while not done.is_set():
                answers[connection.ask(body).status] += 1

    clients = [threading.Thread(target=ask_again_and_again) for _ in range(2)]
    for client in clients:
        client.start()
    for number in numbers:
        processes = processes_named(server, name)
        os.kill(processes[0], number)
        start = time.monotonic()
        while processes[0] in processes_named(server, name) and time.monotonic() < start + most_seconds:
            time.sleep(0.01)
        while time.monotonic() < start + most_seconds:
            if ask(server.port, get("/v2/health/ready")).status == 200 and ask(server.port, body).status == 200:
                break
            time.sleep(0.01)
        while len(processes_named(server, name)) < len(processes) and time.monotonic() < start + most_seconds:
            time.sleep(0.01)
        longest = max(longest, time.monotonic() - start)
    done.set()
    for client in clients:
        client.join()
    return answers, longest


def processes_named(server: Server, name: str) -> list[int]:
    """The processes below the server that are called so."""
    numbers = list[int]()
    for number in server.children():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{number}/comm").read_text().strip() == name:
                numbers.append(number)
    return numbers


def leak(*, requests: int = 100_000, warm_up: int = 2000, leaking: bool = False) -> Outcome:
    """Requests of every kind, one after another on four connections: the memory does not grow.

    Args:
        requests: how many.
        warm_up: how many before the memory is measured first.
        leaking: serve with a model that keeps every image, to show that the drill sees it.
    """
    faults = Faults()
    command = (LEAKING,) if leaking else ("-m", "singleshot", "serve")
    with running(command=command) as server:
        answers = _ask_all_kinds(server, warm_up)
        before, start = server.memory(), time.monotonic()
        answers += _ask_all_kinds(server, requests)
        grown, seconds = (server.memory() - before) / MEGABYTE, time.monotonic() - start
        faults.require_healthy(server)
    faults.require(grown <= 50, f"memory grew by {grown:.0f} MB")
    faults.require(set(answers) <= {200, 400, 404, 415, 422}, f"answers {dict(answers)}")
    memory = f"{before / MEGABYTE:.0f} MB after the first {warm_up}"
    return Outcome(
        f"{requests} requests in {seconds:.0f} s: {memory}, then {grown:+.1f} MB; {dict(answers)}", tuple(faults)
    )


def _ask_all_kinds(server: Server, count: int) -> Counter[int]:
    """Requests of all kinds, good and bad, on four connections."""
    kinds, answers, lock = _kinds(), Counter[int](), threading.Lock()

    def work(first: int) -> None:
        own = Counter[int]()
        connection = Connection(server.port)
        for number in range(first, count, 4):
            own[connection.ask(kinds[number % len(kinds)]).status] += 1
            if number % 100 < 4:
                connection.close()
                connection = Connection(server.port)
        connection.close()
        with lock:
            answers.update(own)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _kinds() -> list[bytes]:
    photograph = PHOTOGRAPH.read_bytes()
    small = io.BytesIO()
    Image.open(PHOTOGRAPH).resize((64, 48)).save(small, "PNG")
    infer = f"/v2/models/{MODEL}/infer"
    image = {"name": "IMAGE", "datatype": "BYTES", "shape": [1]}
    text = json.dumps({"inputs": [{**image, "data": [base64.b64encode(photograph).decode()]}]}).encode()
    packed = struct.pack("<I", len(photograph)) + photograph
    head = json.dumps({"inputs": [{**image, "parameters": {"binary_data_size": len(packed)}}]}).encode()
    form = b'--b\r\nContent-Disposition: form-data; name="a"; filename="%d"\r\n\r\n%s\r\n'
    parts = b"".join(form % (number, small.getvalue()) for number in range(3)) + b"--b--\r\n"
    return [
        post("/v1/detect", photograph),
        post("/v1/detect?score=0.05&classes=cat", photograph),
        post("/v1/detect", small.getvalue()),
        post("/v1/detect", parts, "Content-Type: multipart/form-data; boundary=b"),
        post("/v1/detect", photograph[:20_000]),
        post("/v1/detect", b"<html>"),
        post("/v1/detect?score=x", photograph),
        post(infer, text),
        post(infer, head + packed, f"{HEADER_LENGTH}: {len(head)}"),
        post(infer, text[:1000]),
        get("/v1/model"),
        get("/nothing"),
    ]


def traversal() -> Outcome:
    """Paths and names that lead out of the folders, in fifty encodings: nothing of the machine is ever told."""
    faults, answers = Faults(), Counter[int]()
    photograph = PHOTOGRAPH.read_bytes()
    with running() as server:
        for path in traversals():
            raw = path.encode("latin-1", errors="replace")
            request = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % raw
            answer = ask(server.port, request)
            answers[answer.status] += 1
            faults.require(answer.status in {400, 404, 405}, f"{path}: {answer.status}")
            faults.require(b"root:" not in answer.body and b"import " not in answer.body, f"{path}: told a file")
        for name in (b"../../etc/passwd", b"/etc/passwd", b"..\\..\\a", b"a\0b", b"%2e%2e%2f", b"C:\\a", b"\xff\xfe"):
            form = b'--b\r\nContent-Disposition: form-data; name="a"; filename="%s"\r\n\r\n%s\r\n--b--\r\n'
            body = post("/v1/detect", form % (name, photograph), "Content-Type: multipart/form-data; boundary=b")
            status = ask(server.port, body).status
            answers[status] += 1
            faults.require(status in {200, 400}, f"a file called {name!r}: {status}")
        faults.require_healthy(server)
    return Outcome(f"{sum(answers.values())} paths and names: {dict(answers)}", tuple(faults))


def traversals() -> list[str]:
    """Paths to a file outside, in encodings that servers got wrong."""
    ups = [
        "../", "..%2f", "..%2F", "%2e%2e/", "%2e%2e%2f", "%252e%252e%252f", "..%252f", "....//", "..../", "..;/",
        "..%5c", "..\\", "%2e%2e%5c", "..%c0%af", "%c0%ae%c0%ae/", "..%ef%bc%8f", "..%u2215", "%uff0e%uff0e/",
        ".%2e/", "%2e./", "..%00/", "..%0d%0a/", "..%09/", "./../", "//../",
    ]  # fmt: skip
    places = ("/static/", f"/v2/models/{MODEL}/")
    paths = [place + 8 * up + "etc/passwd" for up in ups for place in places]
    return [
        *paths,
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "//etc/passwd",
        "/static/../app.py",
        "/static/file:///etc/passwd",
    ]


def foreign_hosts() -> Outcome:
    """Requests under another name, or from pages of another origin, are refused before anything is done."""
    faults, answers = Faults(), Counter[int]()
    names = [
        "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1",
        "127.0.0.2", "[::2]", "169.254.169.254", "", "local host", "localhost@evil.example", "evil.example#localhost",
    ]  # fmt: skip
    with running() as server:
        for name in names:
            status = ask(server.port, post("/v1/detect", PHOTOGRAPH.read_bytes(), host=name)).status
            answers[status] += 1
            faults.require(status in {400, 421}, f"Host {name!r}: {status}")
        for origin in (
            "http://evil.example",
            "https://localhost.evil.example",
            "null",
            f"http://localhost:{server.port + 1}",
        ):
            answer = ask(server.port, post("/v1/detect", PHOTOGRAPH.read_bytes(), f"Origin: {origin}"))
            answers[answer.status] += 1
            faults.require(answer.status == 403, f"Origin {origin}: {answer.status}")
            faults.require("access-control-allow-origin" not in answer.headers, f"Origin {origin} is allowed")
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request(
            "OPTIONS", "/v1/detect", headers={"Host": "localhost", "Access-Control-Request-Method": "POST"}
        )
        preflight = connection.getresponse()
        faults.require(preflight.status == 405, f"a preflight gets {preflight.status}")
        connection.close()
        faults.require_healthy(server)
    return Outcome(
        f"{len(names)} hosts, 4 origins: {dict(answers)}; a preflight gets {preflight.status}", tuple(faults)
    )


DRILLS: dict[str, Callable[..., Outcome]] = {
    "bodies": huge_bodies,
    "stalled": stalled,
    "disconnects": disconnects,
    "stop": stop_in_flight,
    "decoders": killed_decoders,
    "engine": killed_engines,
    "traversal": traversal,
    "hosts": foreign_hosts,
    "overload": overload,
    "leak": leak,
}


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*DRILLS, []], metavar="NAME", help=", ".join(DRILLS))
    parser.add_argument("--seconds", type=float, help="of the overload")
    parser.add_argument("--model", help="of the overload")
    parser.add_argument("--requests", type=int, help="of the leak")
    parser.add_argument("--leaking", action="store_true", help="the leak with a model that leaks")
    options = parser.parse_args()
    failed = False
    for name in options.names or DRILLS:
        given = {
            "overload": {"seconds": options.seconds, "model": options.model},
            "leak": {"requests": options.requests},
        }.get(name, {})
        settings = {key: value for key, value in given.items() if value is not None}
        if name == "leak" and options.leaking:
            settings["leaking"] = True
        outcome = DRILLS[name](**settings)
        print(f"{name}: {outcome.figures}", *(f"  FAULT {fault}" for fault in outcome.faults), sep="\n", flush=True)
        failed = failed or bool(outcome.faults)
    return failed


if __name__ == "__main__":
    sys.exit(main())
