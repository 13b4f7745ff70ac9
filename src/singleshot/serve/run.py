"""`ssd serve`: load a model, listen, answer until a signal comes."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from singleshot.errors import RequestError
from singleshot.files import read_regular
from singleshot.serve.settings import MEGABYTE, ServeSettings

if TYPE_CHECKING:
    from singleshot.runtime.detector import Detector

TOKEN_VARIABLE = "SINGLESHOT_TOKEN"  # noqa: S105  (a name)
MOST_TOKEN_BYTES = 1000


@dataclass(frozen=True)
class ServeOptions:
    """How to serve.

    Attributes:
        model: a model folder, an exported model or the name of a shipped model; left out, the shipped default.
        host: address to listen on; another than this machine's own needs a token.
        port: port to listen on; 0 takes one that is free.
        token_file: file whose first line clients must send as `Authorization: Bearer TOKEN`; the environment variable
            SINGLESHOT_TOKEN does the same.
        allowed_hosts: names by which clients may address the server, beside localhost, its own name and addresses.
        queue: images that may wait in a burst; more are refused with 503, and under lasting load sooner.
        deadline: seconds after which a request is answered with 504.
        max_body_mb: largest request in megabytes.
        max_megapixels: largest image.
        max_images: images in one request.
        read_timeout: seconds that a client may take to send a request.
        decoders: decoder processes; left out, one a core.
        device: `auto`, `cpu` or `cuda`.
        precision: run the model folder itself in torch, in `fp32` or `bf16`, as in `ssd detect`.
        compiled: run it in torch, compiled first.
        backbone: `PACKAGE.MODULE:FUNCTION`, the code of a model that was trained on a backbone of your own.
    """

    model: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    queue: int = ServeSettings.queue
    deadline: float = ServeSettings.deadline
    max_body_mb: float = ServeSettings.max_body_bytes / MEGABYTE
    max_megapixels: float = ServeSettings.max_megapixels
    max_images: int = ServeSettings.max_images
    read_timeout: float = ServeSettings.read_timeout
    decoders: int | None = None
    device: str = "auto"
    precision: Literal["fp32", "bf16"] | None = None
    compiled: Annotated[bool, Parameter(name="--compile", negative=())] = False
    backbone: str | None = None

    def settings(self) -> ServeSettings:
        """The server's settings, with the token read. Raises RequestError for values out of range."""
        return ServeSettings(
            host=self.host,
            port=self.port,
            allowed_hosts=self.allowed_hosts,
            token=_token(self.token_file),
            max_body_bytes=round(self.max_body_mb * MEGABYTE),
            max_megapixels=self.max_megapixels,
            max_images=self.max_images,
            queue=self.queue,
            deadline=self.deadline,
            read_timeout=self.read_timeout,
            decoders=self.decoders,
        )


def serve_model(options: ServeOptions, *, say: Callable[[str], None]) -> int:
    """Serve until a signal comes.

    Args:
        options: what to serve, and how.
        say: takes the line with the address, and the summary at the end.

    Returns:
        128 + the number of the signal.

    Raises:
        RequestError: a value out of its range, no such model, a port that is taken, or a package is missing.
        ModelError, HashError: the model's folder is not whole.
        MachineError: a decoder could not be started; or the engine has ended, and could not be started again.
    """
    settings = options.settings()
    listener = bind(settings.host, settings.port)
    try:
        from singleshot.serve.app import create_app  # late, as these: `ssd serve --help` is there at once
        from singleshot.serve.http_server import HttpServer

        with detector_in_process(options) as detector:
            if detector.note:
                say(detector.note)
            app = create_app(detector, settings)
            service, metrics = app.state.service, app.state.metrics
            service.warm_up()  # before uvicorn, which would hide why it fails
            logging.basicConfig(level=logging.ERROR, format="ssd: %(message)s")
            address = _address(listener)
            server = HttpServer(app, settings, lambda: say(f"{service.model_name} is served on {address}"))
            server.run([listener])
    finally:
        listener.close()
    say(metrics.summary())
    if service.failure is not None:
        raise service.failure
    return 128 + server.stopped_by if server.stopped_by is not None else 0


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


@contextlib.contextmanager
def detector_in_process(options: ServeOptions) -> Iterator[Detector]:
    """The detector, whose engine is a process of its own until the end of the block. Raises as `serve_model`."""
    from singleshot.runtime.backends import RunOptions, folder_to_run
    from singleshot.runtime.detector import Detector, how_it_runs
    from singleshot.runtime.find_model import find_model
    from singleshot.serve.engine_main import FolderToLoad
    from singleshot.serve.engine_process import EngineProcess

    folder = find_model(options.model)
    run_options = RunOptions(options.device, options.precision, options.compiled, options.backbone)
    engine = EngineProcess(FolderToLoad.of(folder_to_run(folder, run_options), run_options))
    try:
        engine.start()
        detector = Detector(engine, name=options.model or folder.path.name)
        detector.folder, detector.note = folder, how_it_runs(detector.name, folder, run_options)
        yield detector
    finally:
        engine.stop()


def bind(host: str, port: int) -> socket.socket:
    """A socket of this address that does not listen yet.

    Raises:
        RequestError: the port is taken or not allowed, or this machine has no such address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise RequestError(f"--host {host} is no address of this machine: {error.strerror}") from error
    try:
        if os.name != "nt":  # elsewhere it lets two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise RequestError(f"port {port} of {host} is taken by another program: give another --port") from error
        raise RequestError(f"cannot listen on port {port} of {host}: {error.strerror}") from error
    return listener


def _token(file: Path | None) -> str | None:
    """The token in a file or, without one, in the environment; None where there is none."""
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        lines = read_regular(file, MOST_TOKEN_BYTES).decode("ascii").splitlines()
    except (OSError, ValueError) as error:
        raise RequestError(f"--token-file {file} cannot be read as one line of ASCII: {error}") from error
    if len(lines) != 1 or not lines[0].strip():
        raise RequestError(f"--token-file {file} must hold one line, the token; it has {len(lines)}")
    return lines[0].strip()
