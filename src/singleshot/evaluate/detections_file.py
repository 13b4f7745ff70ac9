"""Read files of detections: COCO results, our own JSON, or VOC devkit text.

Images are matched to the data set by file name or id, classes by name (COCO: by category id). An unknown image or class
is an error. An image of the set that the file does not mention has no detections; a note says how many there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from singleshot.errors import DataError, RequestError, UnknownNameError
from singleshot.files import finite_number, parse_json, read_lines, read_regular
from singleshot.types import Annotations, Detections

LIMIT_BYTES = 2**32
FIRST = 0
"""Label of a detection whose class does not matter."""
LARGEST_NUMBER = 1e15
"""Areas of boxes up to here are finite in float32; a larger number is refused as if it were infinite."""


class Row(NamedTuple):
    """One detection: position of its image in the set, label, score, and box in pixels."""

    image: int
    label: int
    score: float
    box_xyxy: Sequence[float]


def read_detections(
    path: Path | str,
    annotations: Annotations,
    *,
    on_note: Callable[[str], None] = lambda _text: None,
    any_class: bool = False,
) -> list[Detections]:
    """The detections of each image of the set, in the set's order, best first.

    Args:
        path: a `.json` file (COCO results are a list, our own an object), a devkit file such as
            `comp4_det_test_car.txt`, a folder of such files, or a glob for them (quote it: `"dets/comp4_*.txt"`).
        annotations: the set they belong to. COCO ids are its `category_ids`, boxes are in its pixels.
        on_note: called with a line about images that the file does not mention.
        any_class: classes do not matter: names and ids that the set does not have count as its first class.

    Raises:
        RequestError: there is nothing at `path`.
        DataError: unreadable, or an unknown image or class, or a value that is not a finite number; says where.
    """
    path = Path(path)
    names = SetNames(annotations, any_class=any_class)
    if path.suffix.lower() == ".json" and path.is_file():
        rows, mentioned = _read_json(path, names)
    else:
        rows = [row for file in _devkit_files(path) for row in _devkit_rows(file, names)]
        mentioned = {row.image for row in rows}
    missing = [file for i, file in enumerate(annotations.files) if i not in mentioned]
    if missing:
        on_note(
            f"{len(missing)} of {len(annotations)} images are not in {path.name}: counted as without detections "
            f"({', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''})"
        )
    return _by_image(rows, annotations)


def _by_image(rows: list[Row], annotations: Annotations) -> list[Detections]:
    """Rows sorted into one `Detections` an image, best first; equal scores keep the file's order."""
    images = np.array([row.image for row in rows], np.int64)
    labels = np.array([row.label for row in rows], np.int64)
    scores = np.array([row.score for row in rows], np.float32)
    boxes = np.array([row.box_xyxy for row in rows], np.float32).reshape(-1, 4)
    order = np.lexsort((-scores, images))
    ends = np.searchsorted(images[order], np.arange(len(annotations) + 1))
    return [
        Detections(boxes[of_image], scores[of_image], labels[of_image], annotations.class_names)
        for of_image in (order[begin:end] for begin, end in pairwise(ends))
    ]


class SetNames:
    """Finds the images and classes of a set by the names that files of detections give them."""

    def __init__(self, annotations: Annotations, *, any_class: bool = False) -> None:
        self.class_names = annotations.class_names
        self._labels = {name: label for label, name in enumerate(annotations.class_names)}
        self._categories = {category: label for label, category in enumerate(annotations.category_ids)}
        self._any_class = any_class
        self._ids = _unique(_plain_id(identity) for identity in annotations.ids)
        self._stems = _unique(Path(file).stem for file in annotations.files)
        self._file_names = _unique(Path(file).name for file in annotations.files)
        self._files = _unique(annotations.files)

    def image_by_id(self, identity: object, where: str) -> int:
        """Of a COCO image id or a VOC id, whatever its leading zeros, else of a file's stem."""
        text = str(_whole(identity))
        image = self._ids.get(_plain_id(text), self._stems.get(text))
        if image is None:
            raise DataError(f"{where}: image {repr(identity)[:60]} is not in the data set; is it the right split?")
        return image

    def image_by_file(self, file: str, where: str) -> int:
        """Of a path, relative to the set or not: the longest ending that names one image."""
        parts = Path(file.replace("\\", "/")).parts
        for begin in range(len(parts)):
            image = self._files.get("/".join(parts[begin:]))
            if image is not None:
                return image
        image = self._file_names.get(parts[-1]) if parts else None
        if image is None:
            raise DataError(f"{where}: image {file[:200]!r} is not in the data set; is it the right split?")
        return image

    def label(self, class_name: object, where: str) -> int:
        """Of a class's name."""
        label = self._labels.get(str(class_name), FIRST if self._any_class else None)
        if label is None:
            raise DataError(f"{where}: {UnknownNameError('class', str(class_name), self._labels)}")
        return label

    def label_by_category(self, category: object, where: str) -> int:
        """Of a COCO category id."""
        number = _whole(category)
        label = self._categories.get(number) if isinstance(number, int) else None
        if label is not None:
            return int(label)
        if self._any_class:
            return FIRST
        known = ", ".join(map(str, [*self._categories][:5]))
        raise DataError(f"{where}: category_id {repr(category)[:60]} is not in the data set (it has {known} ...)")

    def label_of_devkit(self, file: Path) -> int:
        """Of the class that `comp4_det_test_car.txt` is about: the longest class name that the stem ends with."""
        if self._any_class:
            return FIRST
        fitting = [name for name in self.class_names if file.stem == name or file.stem.endswith(f"_{name}")]
        if not fitting:
            known = ", ".join(self.class_names[:5])
            raise DataError(f"{file}: expected comp4_det_test_CLASS.txt, CLASS one of the set's ({known} ...)")
        return self._labels[max(fitting, key=len)]


def _whole(identity: object) -> object:
    """`1.0` and `"1"` are the id 1, as pandas and JSON keys write it."""
    if isinstance(identity, float) and identity.is_integer():
        return int(identity)
    if isinstance(identity, str) and identity.isascii() and identity.isdigit() and len(identity) < 19:
        return int(identity) if str(int(identity)) == identity else identity
    return None if isinstance(identity, bool) else identity


def _plain_id(identity: str) -> str:
    """`000012` and `12` are the same image."""
    return (identity.lstrip("0") or "0") if identity.isascii() and identity.isdigit() else identity


def _unique(names: Iterable[str]) -> dict[str, int]:
    """Position of each name; names that occur twice name nothing."""
    listed = list(names)
    counts = Counter(listed)
    return {name: i for i, name in enumerate(listed) if counts[name] == 1}


def _read_json(path: Path, names: SetNames) -> tuple[list[Row], set[int]]:
    """COCO results (a list) or our own document (an object), and the images it mentions."""
    try:
        document = parse_json(read_regular(path, LIMIT_BYTES))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    if isinstance(document, list):
        rows = [_coco_row(entry, names, f"{path}, result {number}") for number, entry in enumerate(document, 1)]
        return rows, {row.image for row in rows}
    if isinstance(document, dict) and isinstance(document.get("images"), list):
        return _our_rows(document["images"], path, names)
    raise DataError(
        f'{path}: expected a list of COCO results or an object with "images", got {type(document).__name__}; '
        "a COCO instances file holds ground-truth boxes, not detections"
    )


def _coco_row(entry: Any, names: SetNames, where: str) -> Row:
    """{"image_id", "category_id", "bbox": [left, top, width, height], "score"} a detection."""
    image = names.image_by_id(_field(entry, "image_id", where), where)
    label = names.label_by_category(_field(entry, "category_id", where), where)
    left, top, width, height = _numbers(_field(entry, "bbox", where), 4, f"{where}, bbox")
    (score,) = _numbers([_field(entry, "score", where)], 1, f"{where}, score")
    return Row(image, label, score, (left, top, left + width, top + height))


def _our_rows(documents: list[Any], path: Path, names: SetNames) -> tuple[list[Row], set[int]]:
    """{"file", "detections": [{"box": [left, top, right, bottom], "label", "score"}]} an image."""
    rows: list[Row] = []
    mentioned: set[int] = set()
    for document in documents:
        file = str(_field(document, "file", f"{path}, images"))
        image = names.image_by_file(file, str(path))
        if image in mentioned:
            raise DataError(f"{path}: image {file!r} is there twice")
        mentioned.add(image)
        entries = _field(document, "detections", f"{path}, {file}")
        if not isinstance(entries, list):
            raise DataError(f'{path}, {file}: "detections" must be a list, got {type(entries).__name__}')
        for number, entry in enumerate(entries, 1):
            where = f"{path}, {file}, detection {number}"
            label = names.label(_field(entry, "label", where), where)
            box = _numbers(_field(entry, "box", where), 4, f"{where}, box")
            (score,) = _numbers([_field(entry, "score", where)], 1, f"{where}, score")
            rows.append(Row(image, label, score, box))
    return rows, mentioned


def _field(entry: Any, name: str, where: str) -> Any:
    """A field of a JSON object, which must be there."""
    if not isinstance(entry, dict) or name not in entry:
        raise DataError(f'{where}: "{name}" is missing')
    return entry[name]


def _numbers(values: Any, count: int, where: str) -> list[float]:
    """So many finite numbers."""
    if not isinstance(values, list) or len(values) != count:
        raise DataError(f"{where}: expected {count} numbers, got {str(values)[:60]}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST_NUMBER:
            raise DataError(f"{where}: expected a finite number, got {repr(value)[:40]}")
    return [float(value) for value in values]


def _devkit_files(path: Path) -> list[Path]:
    """The text files that a path, a folder or a glob names."""
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(path.glob("*.txt"))
    else:
        files = sorted(path.parent.glob(path.name)) if any(sign in path.name for sign in "*?[") else []
    if not files:
        wanted = "COCO results or our JSON (.json), or VOC devkit text such as comp4_det_test_car.txt"
        raise RequestError(f"no detections at {path}: expected {wanted}")
    return files


def _devkit_rows(file: Path, names: SetNames) -> Iterator[Row]:
    """`id score left top right bottom` a line; the class is the end of the file's name."""
    label = names.label_of_devkit(file)
    try:
        lines = read_lines(file, LIMIT_BYTES)
    except ValueError as error:
        raise DataError(f"{file}: not UTF-8 text ({error})") from error
    for number, line in enumerate(lines, 1):
        where = f"{file}, line {number}"
        words = line.split()
        if not words:
            continue
        if len(words) != 6:
            raise DataError(f"{where}: expected `id score left top right bottom`, got {len(words)} words")
        score, *box = (finite_number(word, where, largest=LARGEST_NUMBER) for word in words[1:])
        yield Row(names.image_by_id(words[0], where), label, score, box)
