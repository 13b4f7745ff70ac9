"""What a server may be told: where it listens, whom it answers, and its limits."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field

from singleshot.errors import RequestError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class ServeSettings:
    """Where a server listens, whom it answers, and its limits.

    Attributes:
        host: address or name to listen on; another than this machine's own (loopback) needs a token.
        port: 0 takes any that is free.
        allowed_hosts: names by which clients may address the server, beside the usual ones, see `hosts.py`.
        token: what clients send as `Authorization: Bearer TOKEN`; None: none is asked for.
        max_body_bytes: largest request.
        max_held_bytes: of all requests together that are being read or wait.
        max_megapixels: largest image.
        max_images: images in one request.
        queue: images that may wait in a burst, beside those in work; more are refused with 503, see `service.py`.
        deadline: seconds after which a request is answered with 504.
        read_timeout: seconds that a client may take to send the head of a request, and to send its body.
        keep_alive: seconds that a connection may be idle.
        decode_timeout: seconds after which the decoder of an image is killed.
        decoders: decoder processes; None: one a core.
        drain: seconds between the signal to stop and the end of listening, in which it says that it is not ready.
        max_connections: open connections; more are closed at once.

    Raises:
        RequestError: a value out of its range; a host that is not this machine's own without a token.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    allowed_hosts: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)
    max_body_bytes: int = 20 * MEGABYTE
    max_held_bytes: int = 400 * MEGABYTE
    max_megapixels: float = 50.0
    max_images: int = 16
    queue: int = 64
    deadline: float = 30.0
    read_timeout: float = 20.0
    keep_alive: float = 30.0
    decode_timeout: float = 10.0
    decoders: int | None = None
    drain: float = 0.5
    max_connections: int = 900

    def __post_init__(self) -> None:
        least = {"max_body_bytes": 1, "max_images": 1, "queue": 1, "max_connections": 1, "max_held_bytes": 1}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise RequestError(f"{name} is a whole number from {smallest}, got {getattr(self, name)}")
        for name in ("max_megapixels", "deadline", "read_timeout", "keep_alive", "decode_timeout"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise RequestError(f"{name} is a number above 0, got {value}")
        if not (math.isfinite(self.drain) and self.drain >= 0):
            raise RequestError(f"drain is a number of seconds from 0, got {self.drain}")
        if self.decoders is not None and self.decoders < 1:
            raise RequestError(f"decoders is a whole number from 1, got {self.decoders}")
        if not 0 <= self.port <= 65535:
            raise RequestError(f"a port lies between 0 and 65535, got {self.port}")
        if self.max_images > self.queue:
            raise RequestError(f"a request of {self.max_images} images would never fit into a queue of {self.queue}")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.strip()):
            raise RequestError("a token is one line of printable ASCII characters")
        if not self.on_loopback and self.token is None:
            raise RequestError(
                f"{self.host} can be reached from other machines, which needs a token: --token-file FILE, or the "
                "environment's SINGLESHOT_TOKEN"
            )

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"
