"""Read a CSV: one object a row, `file,x1,y1,x2,y2,label`, in pixels; a row with a file alone is a background image.

A header is optional; with one, the columns may have any order. Files are relative to the folder of the CSV.
"""

from __future__ import annotations

import csv
import stat
from collections.abc import Iterator
from pathlib import Path

from singleshot.data.builder import AnnotationBuilder, ReadResult
from singleshot.data.classes import class_order
from singleshot.data.faults import Fault
from singleshot.data.images import sizes_or_reasons
from singleshot.errors import DataError, UnknownNameError

LONGEST_NAME = 2000  # characters
COLUMNS = ("file", "x1", "y1", "x2", "y2", "label")
_Row = tuple[int, str, list[str], str]  # line, file, four coordinates as text, label


def csv_files(path: Path) -> dict[str, Path]:
    """Split -> its CSV: the file itself, or every CSV of the folder that has these columns."""
    files = [path] if path.is_file() else sorted(path.glob("*.csv"))
    return {file.stem: file for file in files if path.is_file() or is_annotation_table(file)}


def is_annotation_table(file: Path) -> bool:
    """Whether the first row is the header, or a file followed by four numbers or four empty cells."""
    try:
        row = next(_rows(file), [])
    except (DataError, OSError):
        return False
    return _is_header(row) or (len(row) == 6 and all(_number(cell) is not None or not cell for cell in row[1:5]))


def read_csv(path: Path, *, split: str | None = None) -> ReadResult:
    """The ground truth of a CSV, or of all CSVs of a folder.

    Classes have VOC's order where all are VOC's, else the alphabet's.

    Raises:
        DataError: not a table of this form.
        UnknownNameError: no such split.
    """
    files = csv_files(path)
    if split is not None and split not in files:
        raise UnknownNameError("split", split, files)
    root = path.parent if path.is_file() else path
    names = set[str]()
    images: dict[str, list[_Row]] = {}
    for name, file in files.items():
        for row in _parse(file):
            if row[3] and any(row[2]):
                names.add(row[3])
            if split in {None, name}:
                images.setdefault(row[1], []).append(row)
    builder, faults = AnnotationBuilder(), list[Fault]()
    sizes = sizes_or_reasons([root / image for image in images])
    for (image, rows), size in zip(images.items(), sizes, strict=True):
        if isinstance(size, str):
            missing = not (root / image).is_file()
            reason = "no such file" if missing else size.removeprefix(f"{root / image}: ")
            faults.append(Fault("missing image" if missing else "unreadable image", image, reason))
            size = (0, 0)
        builder.add_image(image, Path(image).stem, width=size[0], height=size[1])
        for number, (line, _, cells, label) in enumerate((row for row in rows if any(row[2]) or row[3]), 1):
            box = [_number(cell) for cell in cells]
            if not label or None in box:
                detail = f"line {line}: expected four numbers and a label, got {','.join([*cells, label])[:60]!r}"
                faults.append(Fault("malformed", image, detail, number))
            else:
                builder.add_box([value for value in box if value is not None], label, number=number)
    return builder.finish(faults, format_name="csv", root=root, class_names=class_order(names))


def _rows(file: Path) -> Iterator[list[str]]:
    """Rows with stripped cells; the delimiter is a comma, else the semicolon or tab that the first row uses."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise DataError(f"{file}: not an ordinary file")
        with file.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            delimiter = next((mark for mark in ",;\t" if mark in first), ",")
            for row in csv.reader(stream, delimiter=delimiter):
                yield [cell.strip() for cell in row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{file}: not a CSV: {error}") from None


def _parse(file: Path) -> Iterator[_Row]:
    order = list(range(6))
    for line, row in enumerate(_rows(file), 1):
        if not any(row):
            continue
        if line == 1 and _is_header(row):
            names = [cell.lower() for cell in row]
            order = [names.index(column) for column in COLUMNS]
            continue
        if len(row) not in {1, len(COLUMNS)}:
            raise DataError(f"{file}, line {line}: expected {','.join(COLUMNS)}, got {len(row)} cells")
        cells = [row[i] for i in order] if len(row) > 1 else [row[0], "", "", "", "", ""]
        if not cells[0]:
            raise DataError(f"{file}, line {line}: the row names no image")
        if "\0" in cells[0] or len(cells[0]) > LONGEST_NAME:
            raise DataError(f"{file}, line {line}: no file can have the name {cells[0][:40]!r}...")
        yield line, cells[0].replace("\\", "/"), cells[1:5], cells[5]


def _is_header(row: list[str]) -> bool:
    return sorted(cell.lower() for cell in row) == sorted(COLUMNS)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
