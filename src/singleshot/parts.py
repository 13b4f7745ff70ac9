"""Parts of a job that several machines share: `2/4` is the second of four."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from singleshot.errors import RequestError


@dataclass(frozen=True)
class Part:
    """One of `count` parts; `number` is 1..count."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def holds(self, name: str) -> bool:
        """Whether a file of this name belongs to the part, by its BLAKE2b hash (8 bytes, big-endian) modulo `count`.

        Each name belongs to exactly one part, whatever other files there are: machines need not see the same list.
        """
        digest = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1


def parse_part(text: str) -> Part:
    """`2/4` as a part.

    Raises:
        RequestError: not of this form.
    """
    numbers = [int(word) if word.isascii() and word.isdecimal() and len(word) < 10 else 0 for word in text.split("/")]
    if len(numbers) != 2 or not 1 <= numbers[0] <= numbers[1]:
        raise RequestError(f"--part is such as 2/4, the second of four, got {text!r}")
    return Part(*numbers)
