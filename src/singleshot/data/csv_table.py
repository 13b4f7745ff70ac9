"""Read a CSV: one object a row, `file,x1,y1,x2,y2,label`, in pixels; a row with a file alone is a background image.

With a header the columns are found by their names, in any order: TensorFlow's and Roboflow's
(`filename,width,height,class,xmin,ymin,xmax,ymax`), Open Images' (`ImageID, LabelName, XMin, XMax ...`, fractions),
`x,y,width,height`; others are left out, and said. Without one, a row holds a file, four numbers and a label, or
SKU-110K's eight cells. Files are found as `image_names` says.
"""

from __future__ import annotations

import csv
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from singleshot.data.builder import AnnotationBuilder, ReadResult
from singleshot.data.classes import class_order
from singleshot.data.csv_columns import COLUMNS, Columns, columns_of
from singleshot.data.faults import Fault
from singleshot.data.image_names import (
    ANNOTATION_FOLDERS,
    LocatedImages,
    locate_beside,
    locate_images,
    remark_on_names,
    set_folder,
)
from singleshot.data.images import is_image, sizes_or_reasons
from singleshot.data.listing import files_in, folders_in
from singleshot.errors import DataError, UnknownNameError

LONGEST_NAME = 2000  # characters
LONGEST_ROW = 2**20  # characters
ROBOFLOW = "_annotations.csv"
DESCRIPTIONS = ("class-descriptions*.csv", "metadata/classes.csv")
"""Names of Open Images' labels: its own table, and FiftyOne's."""
FIRST_ROWS = 200
"""Rows in which one that shows the columns has to be."""
_SPLIT_WORD = re.compile(r"(?<![a-z])(train|training|val|valid|validation|test)(?![a-z])")


def csv_files(path: Path) -> dict[str, Path]:
    """Split -> its CSV: the file itself, or every CSV of the folder that has such columns.

    A folder may hold its tables in `annotations/`, or one in the folder of each split, as Roboflow's.
    """
    if path.is_file():
        return {path.stem: path}
    if not path.is_dir():
        return {}
    children = folders_in(path)
    for folder in (path, *(child for child in children if _is_annotation_folder(child))):
        if files := [file for file in files_in(folder, ".csv") if is_annotation_table(file)]:
            return _by_split(files)
    return {child.name: child / ROBOFLOW for child in children if is_annotation_table(child / ROBOFLOW)}


def _is_annotation_folder(folder: Path) -> bool:
    return folder.name.lower() in ANNOTATION_FOLDERS


def _by_split(files: list[Path]) -> dict[str, Path]:
    """`annotations_train.csv` is the split train where no other table is, too; else the stems are the names."""
    words = [_SPLIT_WORD.findall(file.stem.lower()) for file in files]
    names = [found[0] if len(found) == 1 else file.stem for found, file in zip(words, files, strict=True)]
    return dict(zip(names if len(set(names)) == len(names) else [file.stem for file in files], files, strict=True))


def is_annotation_table(file: Path) -> bool:
    """Whether the first rows show which columns hold a file, a box and a label."""
    try:
        return file.is_file() and _Table.open(file).columns is not None
    except (DataError, OSError):
        return False


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
    names, remarks, faults = set[str](), dict[str, None](), list[Fault]()
    images: dict[str, _Image] = {}
    root, locate = set_folder(path), locate_images if path.is_dir() else locate_beside
    for name, file in files.items():
        table = _Table.open(file)
        rows = list(table.rows())
        names |= {row.label for row in rows if row.label and any(row.cells)}
        if split in {None, name}:
            names_of_rows = list(dict.fromkeys(row.file for row in rows))
            bare = not any(map(is_image, names_of_rows))
            located = locate(names_of_rows, root, _folders(root, file, name), without_suffix=bare)
            _add_rows(images, table, rows, root, located, faults)
            remarks |= dict.fromkeys(table.remarks)
    builder = AnnotationBuilder()
    for file_name, image in images.items():
        builder.add_image(file_name, Path(file_name).stem, width=image.width, height=image.height)
        _add_boxes(builder, file_name, image, faults)
    return builder.finish(faults, format_name="csv", root=root, class_names=class_order(names), remarks=[*remarks])


@dataclass(frozen=True, slots=True)
class _Row:
    """One row: its line in the file, the image's name, four coordinates as text, the label, and optional cells."""

    line: int
    file: str
    cells: Sequence[str]
    label: str
    size: tuple[int, int] = (0, 0)
    group: bool = False

    @property
    def content(self) -> tuple[object, ...]:
        """What the row says of its image, whichever table it stands in."""
        return (*self.cells, self.label, self.group)


@dataclass
class _Image:
    """An image's size, and its objects with the table that they stand in."""

    width: int
    height: int
    rows: list[tuple[_Table, _Row]] = field(default_factory=list)


@dataclass
class _Table:
    """A CSV whose encoding, delimiter and columns are known."""

    file: Path
    encoding: str
    delimiter: str
    columns: Columns | None
    remarks: list[str]
    fractions: bool = False

    @classmethod
    def open(cls, file: Path) -> _Table:
        """Look at the first rows. Raises DataError where it is no text, or no ordinary file."""
        try:
            if not stat.S_ISREG(file.stat().st_mode):
                raise DataError(f"{file}: not an ordinary file")
            encoding = _encoding(file)
            with file.open(encoding=encoding, newline="") as stream:
                first = stream.readline(LONGEST_ROW)
        except UnicodeDecodeError as error:
            raise DataError(f"{file}: not a CSV: {error}") from None
        delimiter = max(",;\t|", key=first.count)
        remarks = [f"{file.name} is not UTF-8: read as Windows-1252"] if encoding == "cp1252" else []
        table = cls(file, encoding, delimiter, None, remarks)
        table.columns = columns_of([cells for _, cells in islice(table.cells(), FIRST_ROWS)])
        return table

    def cells(self) -> Iterator[tuple[int, list[str]]]:
        """Line and stripped cells of each row that is not empty."""
        try:
            with self.file.open(encoding=self.encoding, newline="") as stream:
                for line, row in enumerate(csv.reader(stream, delimiter=self.delimiter), 1):
                    cells = [cell.strip() for cell in row]
                    if any(cells) and not (line == 1 and cells[0].lower().startswith("sep=")):
                        yield line, cells
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{self.file}: not a CSV: {error}") from None

    def rows(self) -> Iterator[_Row]:
        """Every row behind the header; afterwards `fractions` and `remarks` are known.

        Raises:
            DataError: the columns cannot be told, or a row has another number of cells; says which line.
        """
        columns = self.columns
        largest, whole, groups = 0.0, True, 0
        labels = _descriptions(self.file)
        for number, (line, cells) in enumerate(self.cells()):
            if number == 0 and columns is not None and columns.header:
                continue
            row = self._row(line, cells, columns, labels)
            for value in map(self.number, row.cells):
                if value is not None:
                    largest, whole = max(largest, value), whole and value.is_integer()
            groups += row.group
            yield row
        self.fractions = 0 < largest <= 1 and not whole
        self.remarks += [f"{self.file.name}: coordinates are fractions of the image"] if self.fractions else []
        self.remarks += [f"{groups} boxes of groups (IsGroupOf) count as crowd"] if groups else []
        if columns is not None:
            self.remarks += [f"{self.file.name}: {columns.remark}"] if columns.remark else []

    def _row(self, line: int, cells: list[str], columns: Columns | None, labels: dict[str, str]) -> _Row:
        where = f"{self.file}, line {line}"
        alone = not any(cells[1:])
        if columns is None and not alone:
            wanted = ",".join(COLUMNS)
            raise DataError(f"{where}: expected {wanted}, got {len(cells)} cells: {self.delimiter.join(cells)[:100]}")
        while columns is not None and len(cells) > columns.count and not cells[-1]:
            cells.pop()
        if columns is None or (alone and columns.file == 0):
            name, box, label, size, group = cells[0], ["", "", "", ""], "", (0, 0), False
        elif len(cells) != columns.count:
            raise DataError(f"{where}: expected {columns.names}, got {len(cells)} cells")
        else:
            name, box, label = cells[columns.file], [cells[i] for i in columns.box], cells[columns.label]
            size = (0, 0) if columns.size is None else _whole_size([cells[i] for i in columns.size])
            group = columns.group is not None and cells[columns.group] == "1"
        if not name:
            raise DataError(f"{where}: the row names no image")
        if "\0" in name or len(name) > LONGEST_NAME:
            raise DataError(f"{where}: no file can have the name {name[:40]!r}...")
        return _Row(line, name, box, labels.get(label, label), size, group)

    def number(self, text: str) -> float | None:
        """A number, with a decimal comma where the delimiter is another sign."""
        try:
            return float(text if self.delimiter == "," else text.replace(",", "."))
        except ValueError:
            return None

    def box(self, row: _Row, size: tuple[int, int]) -> list[float] | None:
        """Left, top, right, bottom in pixels; None where a cell is no number."""
        numbers = [value for value in map(self.number, row.cells) if value is not None]
        if len(numbers) != 4:
            return None
        form = "corners" if self.columns is None else self.columns.form
        if form == "centre":
            numbers[:2] = numbers[0] - numbers[2] / 2, numbers[1] - numbers[3] / 2
        if form != "corners":
            numbers[2:] = numbers[0] + numbers[2], numbers[1] + numbers[3]
        width, height = size if self.fractions else (1, 1)
        return [value * side for value, side in zip(numbers, (width, height) * 2, strict=True)]


def _encoding(file: Path) -> str:
    """UTF-8, UTF-16 where its mark is there, else Windows-1252."""
    with file.open("rb") as content:
        if content.read(2) in {b"\xff\xfe", b"\xfe\xff"}:
            return "utf-16"
    try:
        with file.open(encoding="utf-8-sig") as text:
            while text.read(2**20):
                pass
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def _whole_size(cells: list[str]) -> tuple[int, int]:
    """Width and height; 0, 0 where they are not stated."""
    sides = [int(cell) if cell.isascii() and cell.isdigit() and len(cell) < 8 else 0 for cell in cells]
    return (sides[0], sides[1]) if all(sides) else (0, 0)


def _descriptions(file: Path) -> dict[str, str]:
    """Open Images' names of its labels (`/m/011k07,Tortoise`), where their table lies beside the CSV or above it."""
    for folder in (file.parent, file.parent.parent):
        for table in [table for pattern in DESCRIPTIONS for table in sorted(folder.glob(pattern))]:
            rows = (cells for _, cells in _Table.open(table).cells())
            return {cells[0]: cells[1] for cells in rows if len(cells) == 2}
    return {}


def _folders(root: Path, file: Path, split: str) -> list[str]:
    """Where the images may lie, relative to the root."""
    beside = file.parent.relative_to(root).as_posix() if file.parent.is_relative_to(root) else ""
    first = [beside] if file.name == ROBOFLOW else [""]
    return [*first, split, "images", f"images/{split}", beside, "JPEGImages", "data", ""]


def _add_rows(
    images: dict[str, _Image],
    table: _Table,
    rows: list[_Row],
    root: Path,
    located: LocatedImages,
    faults: list[Fault],
) -> None:
    """Add a table's rows to their images."""
    names = list(dict.fromkeys(row.file for row in rows))
    table.remarks += [remark_on_names(located)] if located.shortened else []
    faults += located.faults
    missing = {fault.file for fault in located.faults}
    stated = {row.file: row.size for row in reversed(rows) if row.size != (0, 0)}
    unknown = [
        file for name, file in zip(names, located.files, strict=True) if name not in stated and file not in missing
    ]
    sizes = dict(zip(unknown, sizes_or_reasons([root / file for file in unknown]), strict=True))
    files = dict(zip(names, located.files, strict=True))
    for name, file in files.items():
        size = sizes.get(file, stated.get(name, (0, 0)))
        if isinstance(size, str):
            faults.append(Fault("unreadable image", file, size.removeprefix(f"{root / file}: ")))
            size = (0, 0)
        images.setdefault(file, _Image(*size))
    of_image: dict[str, list[_Row]] = {}
    for row in rows:
        of_image.setdefault(files[row.file], []).append(row)
    for file, image_rows in of_image.items():
        earlier = [row.content for _, row in images[file].rows]
        if earlier != [row.content for row in image_rows]:  # an image of two splits stands in both tables
            images[file].rows += [(table, row) for row in image_rows]


def _add_boxes(builder: AnnotationBuilder, file: str, image: _Image, faults: list[Fault]) -> None:
    """Add the objects of one image; a row with a file alone is none."""
    objects = [(table, row) for table, row in image.rows if any(row.cells) or row.label]
    for number, (table, row) in enumerate(objects, 1):
        box = table.box(row, (image.width, image.height))
        if not row.label or box is None:
            cells = ",".join([*row.cells, row.label])[:60]
            detail = f"line {row.line}: expected four numbers and a label, got {cells!r}"
            faults.append(Fault("malformed", file, detail, number))
        else:
            builder.add_box(box, row.label, number=number, difficult=row.group, crowd=row.group)
