"""Parse the lines of YOLO's label files: `class cx cy width height`, in fractions of the displayed image.

Other tools write more numbers, which all give an upright box:

    5, 6 numbers behind the class           the box, a confidence of automatic labelling, the number of a track
    8 numbers (4 corners)                   an oriented box
    6 or more, an even number               an outline, x1 y1 x2 y2 ...
    4 and the key points of a pose          where the yaml states their shape (`kpt_shape`)
"""

from __future__ import annotations

from typing import NamedTuple

PLAIN, CONFIDENCE, OUTLINE, POSE = "", "confidence", "outline", "pose"
_OF_PIXELS = 2.0
"""Fractions above 1 are of boxes that stick out a little; no box of fractions has a number of this size."""


class LabelledBox(NamedTuple):
    """One line: class number; left, top, right, bottom as fractions; PLAIN, CONFIDENCE, OUTLINE or POSE."""

    label: int
    box: tuple[float, float, float, float]
    kind: str


def parse_line(line: str, *, pose_numbers: int = 0) -> LabelledBox:
    """The box of a line.

    Args:
        line: as it stands in the file.
        pose_numbers: how many numbers of key points follow each box; 0: none.

    Raises:
        ValueError: it is not of these forms, or its numbers are pixels; one line that quotes it.
    """
    words = line.split()
    try:
        label, *numbers = map(float, words)
    except ValueError:
        raise ValueError(f"expected numbers, got {line.strip()[:60]!r}") from None
    if not (label.is_integer() and 0 <= label < 1e6):
        raise ValueError(f"expected a class number from 0, got {words[0][:20]!r}")
    kind = _kind(numbers, pose_numbers)
    if kind is None:
        raise ValueError(f"expected class cx cy width height, got {len(words)} numbers: {line.strip()[:60]!r}")
    coordinates = numbers if kind == OUTLINE else numbers[:4]
    if max(coordinates) >= _OF_PIXELS:
        raise ValueError(f"numbers above 1: fractions of the image are expected, got {line.strip()[:60]!r}")
    if kind == OUTLINE:
        x, y = coordinates[::2], coordinates[1::2]
        return LabelledBox(int(label), (min(x), min(y), max(x), max(y)), kind)
    x_centre, y_centre, width, height = coordinates
    box = (x_centre - width / 2, y_centre - height / 2, x_centre + width / 2, y_centre + height / 2)
    return LabelledBox(int(label), box, kind)


def _kind(numbers: list[float], pose_numbers: int) -> str | None:
    """What the numbers behind the class are; None: neither."""
    count = len(numbers)
    if pose_numbers and count == 4 + pose_numbers:
        return POSE
    if count == 4:
        return PLAIN
    with_track = count == 6 and numbers[5] >= _OF_PIXELS and numbers[5].is_integer()
    if (count == 5 and 0 <= numbers[4] <= 1) or with_track:
        return CONFIDENCE
    return OUTLINE if count >= 6 and count % 2 == 0 else None


def is_label_line(line: str) -> bool:
    """Whether a line is a label of YOLO's, or would be one if its numbers were no pixels."""
    try:
        parse_line(line)
    except ValueError as error:
        return str(error).startswith("numbers above 1")
    return True
