"""The rows of a table, packed while they are read: Open Images' fourteen million take a gigabyte, not ten.

A row is an object of an image, or names an image alone. Rows with a label and without a box, as `No finding` in
medical sets, are of images without objects, where that label never has a box.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan

from singleshot.data.csv_columns import COLUMNS, ONLY_CLASS, SETS, TEXT, TEXT_OF_CORNERS, VERTICES, Columns
from singleshot.data.csv_text import TableText
from singleshot.data.split_folders import is_split_name
from singleshot.errors import DataError

LONGEST_NAME = 2000  # characters
MOST_SPLITS = 60
NOTHING = {"", "nan", "[]", "{}", "none", "null", "no_box"}
"""What a cell says of an image without a box."""
NO_LABEL, NO_OBJECT = -1, -2
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_REST = re.compile(r"[\s,;:()\[\]{}'\"]*(?:(?:x|y|w|h|left|top|width|height)[\s,;:()\[\]{}'\"]*)*", re.IGNORECASE)


@dataclass
class TableRows:
    """What a table says: images in the order of their first row, and the objects of all of them.

    Attributes:
        text: the table.
        names: of the images.
        sizes: of each image name whose size is stated.
        members: of each image, a bit for each split that its rows name.
        splits: the names of the splits.
        labels: the names of the classes.
        images: of each object, the index of its image.
        lines: of each object, its line in the file.
        classes: of each object, the index of its label; NO_LABEL; or NO_OBJECT, for a row that is none.
        groups: of each object, 1 for one box around many objects.
        boxes: of each object, left, top, right, bottom; nan where it has none.
        malformed: object -> the cells of a row that cannot be understood.
        fractions: coordinates are fractions of the image.
        of_sides: boxes were written as left, top, width, height in one cell, which may be corners.
        remarks: what was guessed, or not read.
    """

    text: TableText
    names: list[str] = field(default_factory=list)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    members: array[int] = field(default_factory=lambda: array("Q"))
    splits: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    images: array[int] = field(default_factory=lambda: array("i"))
    lines: array[int] = field(default_factory=lambda: array("i"))
    classes: array[int] = field(default_factory=lambda: array("i"))
    groups: array[int] = field(default_factory=lambda: array("b"))
    boxes: array[float] = field(default_factory=lambda: array("d"))
    malformed: dict[int, str] = field(default_factory=dict)
    fractions: bool = False
    of_sides: bool = False
    remarks: list[str] = field(default_factory=list)

    def class_names(self) -> set[str]:
        """The names of the classes that have a box, or a row that should have had one."""
        return {self.labels[number] for number in set(self.classes) if number >= 0}


def read_rows(text: TableText, descriptions: dict[str, str]) -> TableRows:
    """Read a table.

    Args:
        text: the table.
        descriptions: names of labels that the table writes otherwise.

    Raises:
        DataError: the columns cannot be told, a row has another number of cells or names no image; says which line.
    """
    reader = _RowReader(TableRows(text), descriptions)
    for number, (line, cells) in enumerate(text.cells()):
        if number or text.columns is None or not text.columns.header:
            reader.add(line, cells)
    return reader.finish()


@dataclass
class _RowReader:
    """Adds row after row, and knows what is only clear when all are read."""

    rows: TableRows
    descriptions: dict[str, str]
    positions: dict[str, int] = field(default_factory=dict)
    label_numbers: dict[str, int] = field(default_factory=dict)
    split_bits: dict[str, int] = field(default_factory=dict)
    no_split: str = ""
    without_box: dict[int, str] = field(default_factory=dict)
    largest: float = 0.0
    whole: bool = True

    def add(self, line: int, cells: list[str]) -> None:
        """Add one row."""
        rows, columns = self.rows, self.rows.text.columns
        where = f"{rows.text.file}, line {line}"
        alone = not any(cells[1:])
        if columns is None and not alone:
            wanted = ",".join(COLUMNS)
            written = rows.text.delimiter.join(cells)[:100]
            raise DataError(f"{where}: expected {wanted}, got {len(cells)} cells: {written}")
        if columns is None or (alone and columns.file == 0):
            self._image(cells[0], where)
            return
        while len(cells) > columns.count and not cells[-1]:
            cells.pop()
        if columns.form == VERTICES and columns.file < len(cells) < columns.count:
            cells += [""] * (columns.count - len(cells))
        if len(cells) != columns.count:
            raise DataError(f"{where}: expected {columns.names}, got {len(cells)} cells")
        image = self._image(cells[columns.file], where)
        if columns.size is not None and rows.names[image] not in rows.sizes:
            size = _whole_size([cells[place] for place in columns.size])
            rows.sizes |= {} if size == (0, 0) else {rows.names[image]: size}
        if columns.split is not None:
            rows.members[image] |= self._split_bit(cells[columns.split])
        self._objects(image, line, cells, columns)

    def _image(self, name: str, where: str) -> int:
        """The index of an image."""
        if not name:
            raise DataError(f"{where}: the row names no image")
        if "\0" in name or len(name) > LONGEST_NAME:
            raise DataError(f"{where}: no file can have the name {name[:40]!r}...")
        position = self.positions.setdefault(name, len(self.positions))
        if position == len(self.rows.names):
            self.rows.names.append(name)
            self.rows.members.append(0)
        return position

    def _split_bit(self, word: str) -> int:
        """The bit of a split; 0 for none."""
        name = SETS.get(word.upper(), word)
        if not name or self.no_split:
            return 0
        if not is_split_name(name) or len(self.split_bits) == MOST_SPLITS:
            self.no_split = name
        return self.split_bits.setdefault(name, 1 << len(self.split_bits))

    def _objects(self, image: int, line: int, cells: list[str], columns: Columns) -> None:
        """Add the objects of a row: none, one, or those of a cell that holds several boxes."""
        written = [cells[place] for place in columns.box]
        label = ONLY_CLASS if columns.label is None else cells[columns.label]
        label = self.descriptions.get(label, label)
        group = columns.group is not None and cells[columns.group] == "1"
        if all(cell.lower() in NOTHING for cell in written):
            if label and columns.label is not None:
                self.without_box[len(self.rows.lines)] = ",".join([*written, label])[:60]
                self._object(image, line, label, [nan] * 4, group)
            return
        for box in self._boxes(written, columns.form):
            if not label or box is None:
                self.rows.malformed[len(self.rows.lines)] = ",".join([*written, label])[:60]
            self._object(image, line, label, box or [nan] * 4, group)

    def _object(self, image: int, line: int, label: str, box: Sequence[float], group: bool) -> None:
        rows = self.rows
        number = self.label_numbers.setdefault(label, len(self.label_numbers)) if label else NO_LABEL
        if number == len(rows.labels):
            rows.labels.append(label)
        rows.images.append(image)
        rows.lines.append(line)
        rows.classes.append(number)
        rows.groups.append(group)
        rows.boxes.extend(box)

    def _boxes(self, written: list[str], form: str) -> list[list[float] | None]:
        """Left, top, right, bottom of each box of a row; None for one that cannot be understood."""
        if form in {TEXT, TEXT_OF_CORNERS}:
            numbers = _numbers_of_text(written[0])
            fours = [numbers[begin : begin + 4] for begin in range(0, len(numbers), 4)] if numbers else [[]]
        elif form == VERTICES:
            values = [self.rows.text.number(cell) for cell in written]
            x, y = ([value for value in values[axis::2] if value is not None] for axis in (0, 1))
            fours = [[min(x), min(y), max(x), max(y)] if len(x) > 1 and len(y) > 1 else []]
        else:
            values = [self.rows.text.number(cell) for cell in written]
            fours = [[value for value in values if value is not None]]
        return [self._corners(numbers, form) if len(numbers) == 4 else None for numbers in fours]

    def _corners(self, numbers: list[float], form: str) -> list[float]:
        for value in numbers:
            self.largest, self.whole = max(self.largest, value), self.whole and value.is_integer()
        if form == "centre":
            numbers[:2] = numbers[0] - numbers[2] / 2, numbers[1] - numbers[3] / 2
        if form in {"centre", "sides", TEXT}:
            numbers[2:] = numbers[0] + numbers[2], numbers[1] + numbers[3]
        return numbers

    def finish(self) -> TableRows:
        """The rows; what was left open is decided."""
        rows, columns = self.rows, self.rows.text.columns
        form = "" if columns is None else columns.form
        name = rows.text.file.name
        rows.fractions = 0 < self.largest <= 1 and (form == VERTICES or not self.whole)
        rows.of_sides = form == TEXT
        rows.splits = [] if self.no_split else list(self.split_bits)
        rows.remarks += [f"{name} is not UTF-8: read as Windows-1252"] if rows.text.encoding == "cp1252" else []
        rows.remarks += [f"{name}: coordinates are fractions of the image"] if rows.fractions else []
        rows.remarks += [f"{sum(rows.groups)} boxes of groups (IsGroupOf) count as crowd"] if any(rows.groups) else []
        if self.no_split:
            rows.remarks.append(f"{name}: the column of splits is not read, for {self.no_split[:40]!r} is no split")
        self._settle_rows_without_box()
        if columns is not None and columns.remark:
            rows.remarks.append(f"{name}: {columns.remark}")
        return rows

    def _settle_rows_without_box(self) -> None:
        """A label without a box is no object where it never has one, else a fault."""
        rows = self.rows
        with_box = {number for row, number in enumerate(rows.classes) if row not in self.without_box}
        none: Counter[str] = Counter()
        for row, cells in self.without_box.items():
            if rows.classes[row] in with_box:
                rows.malformed[row] = cells
            else:
                none[rows.labels[rows.classes[row]]] += 1
                rows.classes[row] = NO_OBJECT
        rows.remarks += [
            f"{count} rows of {label[:60]!r}, which never has a box, are images without objects"
            for label, count in none.items()
        ]


def _numbers_of_text(cell: str) -> list[float]:
    """The numbers of a cell such as `[1, 2, 10, 20]`, four a box; none where it holds anything else."""
    numbers = [float(number) for number in _NUMBER.findall(cell)]
    return numbers if len(numbers) % 4 == 0 and _REST.fullmatch(_NUMBER.sub(" ", cell)) else []


def _whole_size(cells: list[str]) -> tuple[int, int]:
    """Width and height; 0, 0 where they are not stated."""
    sides = [int(cell) if cell.isascii() and cell.isdigit() and len(cell) < 8 else 0 for cell in cells]
    return (sides[0], sides[1]) if all(sides) else (0, 0)
