"""Read YOLO: a `data.yaml`, or folders `images/` and `labels/`; a text file an image, a line an object.

A line is `class cx cy width height` in fractions of the displayed image; the image's header gives the size. A line with
more numbers is an outline (`class x1 y1 x2 y2 ...`) and becomes its bounding box. An image without a text file is
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
from singleshot.files import LIST_LIMIT_BYTES, read_lines, read_list, read_regular

YAML_LIMIT_BYTES = 2**20
YAML_LIMIT_DEPTH = 20
_YAML_KEYS = re.compile(rb"^(train|val)\s*:", re.MULTILINE)
_SPLITS = ("train", "val", "test")
_CLASS_FILES = ("classes.txt", "labels/classes.txt", "obj.names")


@dataclass(frozen=True)
class YoloSet:
    """Root, class names by number (empty: none are given), and the folders or lists of each split."""

    root: Path
    names: dict[int, str]
    sources: dict[str, tuple[Path, ...]]


def yolo_set(path: Path) -> YoloSet:
    """Read the yaml, or find the folders.

    Raises:
        DataError: the yaml is not YOLO's, or a split's folder or list does not exist.
    """
    file = yaml_file(path)
    if file is not None:
        return _from_yaml(file)
    names = next((dict(enumerate(read_list(path / name))) for name in _CLASS_FILES if (path / name).is_file()), {})
    inside = sorted(entry for entry in (path / "images").iterdir() if entry.is_dir())
    return YoloSet(path, names, {entry.name: (entry,) for entry in inside} or {"": (path / "images",)})


def yaml_file(path: Path) -> Path | None:
    """The yaml of a set: the path itself, `data.yaml`, or the only yaml of the folder with the key train or val."""
    if path.is_file():
        return path
    files = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
    named = [file for file in files if file.stem == "data"]
    with_splits = [file for file in files if _YAML_KEYS.search(file.read_bytes()[:YAML_LIMIT_BYTES])]
    return (named or with_splits)[0] if named or len(with_splits) == 1 else None


def yolo_images(dataset: YoloSet, split: str) -> list[Path]:
    """The images of a split: those of a folder in alphabetical order, those of a list in its order."""
    images: list[Path] = []
    for source in dataset.sources[split]:
        if not source.is_dir():
            images += [_listed(source, line) for line in read_list(source)]
        else:
            images += sorted(file for file in source.rglob("*") if is_image(file.name) and file.is_file())
    return images


def read_yolo(path: Path, *, split: str | None = None) -> ReadResult:
    """The ground truth of a split, or of all splits, and the faults of the files.

    Raises:
        DataError: as `yolo_set`, or the class names cannot be read.
        UnknownNameError: no such split.
    """
    dataset = yolo_set(path)
    if split is not None and split not in dataset.sources:
        raise UnknownNameError("split", split, [name for name in dataset.sources if name])
    wanted = list(dataset.sources) if split is None else [split]
    images = list(dict.fromkeys(file for name in wanted for file in yolo_images(dataset, name)))
    sizes = sizes_or_reasons(images)
    builder, faults = AnnotationBuilder(), list[Fault]()
    names = dataset.names or _numbered_names(dataset)
    for file, size in zip(images, sizes, strict=True):
        name = _relative(file, dataset.root)
        if isinstance(size, str):
            faults.append(Fault("unreadable image" if file.is_file() else "missing image", name, size))
            size = (0, 0)
        builder.add_image(name, file.stem, width=size[0], height=size[1])
        label_file = _label_file(file)
        if label_file.is_file():
            _add_labels(builder, label_file, _relative(label_file, dataset.root), size, names, faults)
    faults += _labels_without_image(images, dataset.root)
    return builder.finish(faults, format_name="yolo", root=dataset.root, class_names=tuple(names.values()))


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
    """Refuses aliases, by which a few lines expand to gigabytes."""

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
    """The folder or list that a split names; some exporters write `../train/images` for a folder beside the yaml."""
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


def _listed(source: Path, line: str) -> Path:
    """Path of an image that a list names, relative to the list's folder or its parent."""
    name = line.replace("\\", "/")
    beside = source.parent / name
    return beside if beside.is_file() or not (source.parent.parent / name).is_file() else source.parent.parent / name


def _label_file(image: Path) -> Path:
    """`images/train/a.jpg` -> `labels/train/a.txt`, by the last folder `images` of the path; without one `a.txt`."""
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
    """Add the objects of one label file."""
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


def _numbered_names(dataset: YoloSet) -> dict[int, str]:
    """Names for a set that gives none: `class 0` to the highest number of all splits."""
    highest = -1
    for split in dataset.sources:
        for image in yolo_images(dataset, split):
            file = _label_file(image)
            words = [line.split()[0] for line in read_list(file)] if file.is_file() else []
            highest = max([highest, *(int(word) for word in words if word.isdecimal() and len(word) < 5)])
    return {number: f"class {number}" for number in range(highest + 1)}


def _parse(line: str) -> tuple[int, tuple[float, float, float, float]]:
    """Class number, and box as fractions: left, top, right, bottom."""
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
    """Label files without an image."""
    expected = {_label_file(image) for image in images}
    folders = sorted({file.parent for file in expected if file.parent.name != "" and "labels" in file.parts})
    return [
        Fault("missing image", _relative(file, root), "labels an image that is not there")
        for folder in folders
        for file in sorted(folder.glob("*.txt"))
        if file not in expected and file.name != "classes.txt"
    ]
