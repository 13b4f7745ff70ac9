"""Class names of TensorFlow's detectors: `.txt` with a name a line, `.pbtxt` with items; ids may have holes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from singleshot.data.class_names import COCO_CLASSES
from singleshot.errors import ModelError
from singleshot.files import read_regular
from singleshot.weights.classes import COCO_COUNTS, COCO_GAPS

LARGEST = 2**22
"""Bytes of a label map; that of Open Images' 601 classes has 40 thousand."""
NO_CLASS = {"", "???", "n/a", "background", "__background__"}
"""What stands on a line whose id no class has, in lower case."""
_NUMBERED = re.compile(r"(\d{1,6})[\s:,]+(\S.*)")
_ITEM = re.compile(r"item\s*+(?::\s*+)?\{([^{}]*)\}")
_FIELD = re.compile(r"""(id|name|display_name)\s*:\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|(\d{1,6}))""")

Names = tuple[str | None, ...]
"""A name for each id, None for one that no class has."""


def read_label_map(path: Path, count: int) -> Names:
    """The names in a label file.

    Args:
        path: a `.pbtxt`, or a text file with a name a line.
        count: how many ids the detector has, without background.

    Raises:
        ModelError: it cannot be read, or it is of another detector.
    """
    try:
        text = read_regular(path, LARGEST).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as a label map: {error}") from None
    if path.suffix == ".pbtxt":
        return _of_items(text, count, str(path))
    return names_of_lines(text.splitlines(), count, str(path))


def names_of_lines(lines: Sequence[str], count: int, origin: str) -> Names:
    """The names on the lines of a text file, the first of which may be the background's.

    Lines that all begin with a number give the id themselves, from 0 or from 1 as the numbers tell.

    Raises:
        ModelError: another number of lines than of ids.
    """
    lines = [line.strip() for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    numbered = [_NUMBERED.fullmatch(line) for line in lines if line]
    if numbered and all(numbered):
        by_id = {int(match[1]): match[2].strip() for match in numbered if match}
        first = 1 if 0 not in by_id or by_id[0].lower() in NO_CLASS else 0
        return _of_ids({number - first: name for number, name in by_id.items()}, count, origin)
    if len(lines) == count + 1 and lines[0].lower() in NO_CLASS:
        lines = lines[1:]
    if len(lines) != count:
        raise ModelError(
            f"{origin} has {len(lines)} lines, the detector {count} ids: expected {count} names, or {count + 1} of "
            "which the first is ??? for background"
        )
    return _different(tuple(None if line.lower() in NO_CLASS else line for line in lines), origin)


def default_names(count: int) -> tuple[Names, str]:
    """Names of a detector that has none, and what to say of them."""
    if count == COCO_COUNTS[1]:
        real = iter(COCO_CLASSES)
        return tuple(None if number in COCO_GAPS else next(real) for number in range(1, count + 1)), (
            f"class names: COCO's, by the number of ids, {count}; give others with --labels FILE"
        )
    if count == COCO_COUNTS[0]:
        return COCO_CLASSES, f"class names: COCO's, by their number, {count}; give others with --labels FILE"
    numbered = "class 1" if count == 1 else f"class 1 ... class {count}"
    return tuple(f"class {number}" for number in range(1, count + 1)), (
        f"class names: {numbered}, as the file has none; give them with --labels FILE or --classes"
    )


def _of_items(text: str, count: int, origin: str) -> Names:
    text = re.sub(r"(?m)#.*$", "", text)
    by_id: dict[int, str] = {}
    for item in _ITEM.findall(text):
        fields = {name: double or single or number for name, double, single, number in _FIELD.findall(item)}
        if not fields.get("id", "").isdecimal() or not (fields.get("display_name") or fields.get("name")):
            raise ModelError(f"{origin}: an item without id or name: {' '.join(item.split())[:80]!r}")
        by_id[int(fields["id"])] = fields.get("display_name") or fields["name"]
    if not by_id:
        raise ModelError(f"{origin} holds no items such as item {{ id: 1 name: 'car' }}")
    return _of_ids({number - 1: name for number, name in by_id.items() if number > 0}, count, origin)


def _of_ids(by_place: Mapping[int, str], count: int, origin: str) -> Names:
    if not by_place or max(by_place) >= count or min(by_place) < 0:
        raise ModelError(f"{origin} has ids up to {max(by_place, default=-1) + 1}, the detector {count}")
    names = (by_place.get(place, "") for place in range(count))
    return _different(tuple(None if name.lower() in NO_CLASS else name for name in names), origin)


def _different(names: Names, origin: str) -> Names:
    known = [name for name in names if name is not None]
    twice = next((name for name in known if known.count(name) > 1), None)
    if not known or twice is not None:
        raise ModelError(f"{origin} has {f'two ids named {twice}' if twice else 'no names'}: each class needs its own")
    return names
