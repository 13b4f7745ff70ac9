"""Label files: their text, and coordinates as the shortest numbers that read back as the same float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def as_text(value: np.floating) -> str:
    """The shortest decimal of a float32, without exponent.

    >>> as_text(np.float32(12.3)), as_text(np.float32(5))
    ('12.3', '5')
    """
    return np.format_float_positional(value, trim="-")


def as_number(value: np.floating) -> float | int:
    """The same as a JSON number; a whole one has no decimal point.

    >>> as_number(np.float32(12.3)), as_number(np.float32(5))
    (12.3, 5)
    """
    number = float(str(value))
    return int(number) if number.is_integer() else number


def write_text(path: Path, text: str) -> None:
    """Write a file of a folder that is not yet in its place: `replaced_folder` flushes all of it at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
