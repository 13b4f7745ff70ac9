"""Read YOLO: a `data.yaml`, or folders `images/` and `labels/`; a text file an image, a line an object.

A line is `class cx cy width height`, fractions of the image as displayed; pixels come from its header. A line of more
numbers is an outline (`class x1 y1 x2 y2 ...`) and becomes the box around it. An image without a text file is
background.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

from singleshot.data.builder import AnnotationBuilder, ReadResult
from singleshot.data.faults import Fault
from singleshot.data.images import is_image, sizes_or_reasons
from singleshot.errors import DataError, UnknownNameError
from singleshot.files import read_lines, read_regular

YAML_LIMIT_BYTES = 2**20
YAML_LIMIT_DEPTH = 20
LIST_LIMIT_BYTES = 2**28
_YAML_KEYS = re.compile(rb"^(train|val)\s*:", re.MULTILINE)
_SPLITS = ("train", "val", "test")
_CLASS_FILES = ("classes.txt", "labels/classes.txt", "obj.names")


@dataclass(frozen=True)
class YoloSet:
    """Where a set lies: its root, class names by number (empty where none are given), sources of each split."""

    root: Path
    names: dict[int, str]
    sources: dict[str, tuple[Path, ...]]


def yolo_set(path: Path) -> YoloSet:
    """What the yaml, or the folders, say.

    Raises:
        DataError: the yaml is not YOLO's, or a split's images are not there.
    """
    file = yaml_file(path)
    if file is not None:
        return _from_yaml(file)
    names = next((_class_file(path / name) for name in _CLASS_FILES if (path / name).is_file()), {})
    inside = sorted(entry for entry in (path / "images").iterdir() if entry.is_dir())
    return YoloSet(path, names, {entry.name: (entry,) for entry in inside} or {"": (path / "images",)})


def yaml_file(path: Path) -> Path | None:
    """The yaml of a set: the path itself, `data.yaml`, or the only yaml of the folder that names images."""
    if path.is_file():
        return path
    found = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
    named = [file for file in found if file.stem == "data"]
    ours = [file for file in found if _YAML_KEYS.search(file.read_bytes()[:YAML_LIMIT_BYTES])]
    return (named or ours)[0] if named or len(ours) == 1 else None


def yolo_images(place: YoloSet, split: str) -> list[Path]:
    """The images of a split, in alphabetical order, or in the order of the list that names them."""
    images: list[Path] = []
    for source in place.sources[split]:
        if not source.is_dir():
            images += [_listed(source, line.strip()) for line in _lines(source) if line.strip()]
        else:
            images += sorted(file for file in source.rglob("*") if is_image(file.name) and file.is_file())
    return images


def read_yolo(path: Path, *, split: str | None = None) -> ReadResult:
    """The ground-truth boxes of a split, or of all splits, with the faults met on the way.

    Raises:
        DataError: the set cannot be found.
        UnknownNameError: no such split.
    """
    place = yolo_set(path)
    if split is not None and split not in place.sources:
        raise UnknownNameError("split", split, [name for name in place.sources if name])
    wanted = list(place.sources) if split is None else [split]
    images = list(dict.fromkeys(file for name in wanted for file in yolo_images(place, name)))
    sizes = sizes_or_reasons(images)
    builder, faults = AnnotationBuilder(), list[Fault]()
    names = place.names or _numbered_names(place)
    for file, size in zip(images, sizes, strict=True):
        name = _relative(file, place.root)
        if isinstance(size, str):
            faults.append(Fault("unreadable image" if file.is_file() else "missing image", name, size))
            size = (0, 0)
        builder.add_image(name, file.stem, width=size[0], height=size[1])
        label_file = _label_file(file)
        if label_file.is_file():
            _add_labels(builder, label_file, _relative(label_file, place.root), size, names, faults)
    faults += _labels_without_image(images, place.root)
    return builder.finish(faults, format_name="yolo", root=place.root, class_names=tuple(names.values()))


def _from_yaml(file: Path) -> YoloSet:
    try:
        text = read_regular(file, YAML_LIMIT_BYTES).decode("utf-8-sig")
        if _depth(text) > YAML_LIMIT_DEPTH:
            raise DataError(f"{file}: nested too deep")
        content = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError(f"{file}: not yaml: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(content, dict) or not any(content.get(split) for split in _SPLITS):
        raise DataError(f"{file}: expected YOLO's keys train, val, test and names")
    base = file.parent / _path_text(file, "path", content.get("path") or "")
    if not base.is_dir():
        base = file.parent  # a path of the machine that wrote it
    sources = {
        split: tuple(_source(file, base, _path_text(file, split, item)) for item in _as_list(content[split]))
        for split in _SPLITS
        if content.get(split)
    }
    return YoloSet(file.parent, _yaml_names(content.get("names"), file), sources)


class _PlainLoader(yaml.SafeLoader):
    """Without aliases: a few lines of them stand for gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("aliases (*name) are not read")
        return super().compose_node(parent, index)


def _path_text(file: Path, key: str, value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise DataError(f"{file}: {key} must be a path, got {str(value)[:60]!r}")
    return value


def _depth(text: str) -> int:
    """How deep brackets nest at most; the yaml parser takes quadratic time over them."""
    steps = (1 if bracket in "[{" else -1 for bracket in re.findall(r"[\[\]{}]", text))
    return max(accumulate(steps), default=0)


def _as_list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _source(file: Path, base: Path, item: str) -> Path:
    """The folder or list that a split names; exporters write `../train/images` for a folder beside the yaml."""
    bare = item.replace("\\", "/").removeprefix("../")
    for folder in (base / item, base / bare, file.parent / item, file.parent / bare):
        if folder.exists():
            return folder
    raise DataError(f"{file}: {item!r} is neither a folder nor a list of images (looked beside {base})")


def _yaml_names(value: Any, file: Path) -> dict[int, str]:
    pairs = (
        list(enumerate(value)) if isinstance(value, list) else list(value.items()) if isinstance(value, dict) else []
    )
    if not pairs or not all(isinstance(number, int) and isinstance(name, (str, int)) for number, name in pairs):
        raise DataError(f"{file}: expected `names`, a list of class names or numbers with names")
    names = {number: str(name) for number, name in sorted(pairs)}
    if len(set(names.values())) != len(names):
        raise DataError(f"{file}: two classes have the same name")
    return names


def _class_file(path: Path) -> dict[int, str]:
    lines = [line.strip() for line in _lines(path)]
    return dict(enumerate(line for line in lines if line))


def _lines(path: Path) -> list[str]:
    try:
        return read_lines(path, LIST_LIMIT_BYTES)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from None


def _listed(source: Path, line: str) -> Path:
    """An image that a list names, relative to the list's folder or the one above."""
    name = line.replace("\\", "/")
    beside = source.parent / name
    return beside if beside.is_file() or not (source.parent.parent / name).is_file() else source.parent.parent / name


def _label_file(image: Path) -> Path:
    """`images/train/a.jpg` is labelled by `labels/train/a.txt`; without an `images` above it, by `a.txt` beside it."""
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i].lower() == "images":
            return Path(*parts[:i], "labels", *parts[i + 1 : -1], image.stem + ".txt")
    return image.with_suffix(".txt")


def _relative(file: Path, root: Path) -> str:
    try:
        return Path(os.path.relpath(file, root)).as_posix()
    except ValueError:  # another drive
        return file.absolute().as_posix()


def _add_labels(
    builder: AnnotationBuilder, file: Path, name: str, size: tuple[int, int], names: dict[int, str], faults: list[Fault]
) -> None:
    """Add the objects of one text file."""
    try:
        lines = read_lines(file, LIST_LIMIT_BYTES)
    except (OSError, ValueError) as error:
        faults.append(Fault("malformed", name, f"not a text file: {error}"))
        return
    for number, line in enumerate((line for line in lines if line.strip()), 1):
        try:
            label, box = _parse(line)
        except ValueError as error:
            faults.append(Fault("malformed", name, str(error), number))
            continue
        if label not in names:
            faults.append(Fault("unknown class", name, f"class {label}; the set names {len(names)} classes", number))
            continue
        width, height = (side or 1 for side in size)
        pixels = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
        builder.add_box(pixels, names[label], number=number)


def _numbered_names(place: YoloSet) -> dict[int, str]:
    """Names for classes that have none, from the numbers in all splits: `class 0` to the highest."""
    highest = -1
    for split in place.sources:
        for image in yolo_images(place, split):
            file = _label_file(image)
            words = [line.split()[0] for line in _lines(file) if line.strip()] if file.is_file() else []
            highest = max([highest, *(int(word) for word in words if word.isdecimal() and len(word) < 5)])
    return {number: f"class {number}" for number in range(highest + 1)}


def _parse(line: str) -> tuple[int, tuple[float, float, float, float]]:
    """Class number and box as fractions, left, top, right, bottom."""
    try:
        label, *numbers = (float(word) for word in line.split())
    except ValueError:
        raise ValueError(f"expected numbers, got {line.strip()[:60]!r}") from None
    if not (label.is_integer() and 0 <= label < 1e6):
        raise ValueError(f"expected a class number from 0, got {line.split(maxsplit=1)[0][:20]!r}")
    if len(numbers) == 4:
        x, y, width, height = numbers
        return int(label), (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if len(numbers) >= 6 and len(numbers) % 2 == 0:
        return int(label), (min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2]))
    raise ValueError(f"expected class cx cy width height, got {len(numbers) + 1} numbers")


def _labels_without_image(images: list[Path], root: Path) -> list[Fault]:
    """Text files that label no image of the set."""
    expected = {_label_file(image) for image in images}
    folders = sorted({file.parent for file in expected if file.parent.name != "" and "labels" in file.parts})
    return [
        Fault("missing image", _relative(file, root), "labels an image that is not there")
        for folder in folders
        for file in sorted(folder.glob("*.txt"))
        if file not in expected and file.name != "classes.txt"
    ]
