"""Read a CSV: one object a row, `file,x1,y1,x2,y2,label`, in pixels; a row with a file alone is a background image.

With a header the columns are found by their names, in any order: TensorFlow's and Roboflow's
(`filename,width,height,class,xmin,ymin,xmax,ymax`), Open Images' (`ImageID, LabelName, XMin, XMax ...`, fractions),
`x,y,width,height`, a box in one cell (`bbox`), a column of splits; others are left out, and said. Without one, a row
holds a file, four numbers and a label, SKU-110K's eight cells, or AutoML's eleven. Files are found as `image_names`
says.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from singleshot.data.builder import AnnotationBuilder, ReadResult
from singleshot.data.classes import class_order
from singleshot.data.csv_rows import NO_OBJECT, TableRows, read_rows
from singleshot.data.csv_text import TableText
from singleshot.data.faults import Fault
from singleshot.data.image_names import (
    ANNOTATION_FOLDERS,
    locate_beside,
    locate_images,
    remark_on_names,
    set_folder,
)
from singleshot.data.images import images_by_stem, is_image, sizes_or_reasons
from singleshot.data.listing import files_in, folders_in
from singleshot.errors import DataError, UnknownNameError

ROBOFLOW = "_annotations.csv"
GTSDB = "gt.txt"
"""The table of the German traffic sign detection benchmark; its columns are those of a CSV."""
DESCRIPTIONS = ("class-descriptions*.csv", "metadata/classes.csv")
"""Names of Open Images' labels: its own table, and FiftyOne's."""
_SPLIT_WORD = re.compile(r"(?<![a-z])(train|training|val|valid|validation|test)(?![a-z])")


def csv_files(path: Path) -> dict[str, Path]:
    """Name -> its CSV: the file itself, or every CSV of the folder that has such columns.

    A folder may hold its tables in `annotations/`, or one in the folder of each split, as Roboflow's.
    """
    if path.is_file():
        return {path.stem: path}
    if not path.is_dir():
        return {}
    children = folders_in(path)
    for folder in (path, *(child for child in children if _is_annotation_folder(child))):
        tables = [*files_in(folder, ".csv"), *files_in(folder, ".tsv"), folder / GTSDB]
        if files := [file for file in tables if is_annotation_table(file)]:
            return _by_split(_with_classes(files))
    return {child.name: child / ROBOFLOW for child in children if is_annotation_table(child / ROBOFLOW)}


def csv_splits(path: Path) -> list[str]:
    """The names of the tables of a folder; of a single table with a column of splits, what that holds."""
    files = csv_files(path)
    if len(files) == 1:
        (file,) = files.values()
        text = TableText.open(file)
        if text.columns is not None and text.columns.split is not None and (names := read_rows(text, {}).splits):
            return sorted(names)
    return [] if path.is_file() else list(files)


def _is_annotation_folder(folder: Path) -> bool:
    return folder.name.lower() in ANNOTATION_FOLDERS


def _with_classes(files: list[Path]) -> list[Path]:
    """The tables with a column of classes, where there are any: others are not of the same set."""
    columns = {file: TableText.open(file).columns for file in files}
    with_classes = [file for file, known in columns.items() if known is not None and known.label is not None]
    return with_classes or files


def _by_split(files: list[Path]) -> dict[str, Path]:
    """`annotations_train.csv` is the split train where no other table is, too; else the stems are the names."""
    words = [_SPLIT_WORD.findall(file.stem.lower()) for file in files]
    names = [found[0] if len(found) == 1 else file.stem for found, file in zip(words, files, strict=True)]
    return dict(zip(names if len(set(names)) == len(names) else [file.stem for file in files], files, strict=True))


def is_annotation_table(file: Path) -> bool:
    """Whether the first rows show which columns hold a file, a box and a label."""
    try:
        return file.is_file() and TableText.open(file).columns is not None
    except (DataError, OSError):
        return False


def read_csv(path: Path, *, split: str | None = None) -> ReadResult:
    """The ground truth of a CSV, or of all CSVs of a folder.

    Classes have VOC's order where all are VOC's, else the alphabet's.

    Raises:
        DataError: not a table of this form.
        UnknownNameError: no such split.
    """
    return _CsvSet.read(path).result(split)


def read_csv_splits(path: Path) -> dict[str, ReadResult]:
    """Every split; the images of a table that are in none are under the name "", as are all where there are none."""
    tables = _CsvSet.read(path)
    if not tables.by_column:
        return {name: tables.result(name) for name in csv_splits(path)} or {"": tables.result(None)}
    splits = {name: tables.result(name) for name in sorted(tables.by_column)}
    rest = tables.result("")
    return {**splits, "": rest} if len(rest.annotations) else splits


@dataclass(frozen=True)
class _CsvSet:
    """The tables of a set, and the splits that a column of the only one names."""

    path: Path
    files: Mapping[str, Path]
    tables: Mapping[str, TableRows]
    by_column: Sequence[str]

    @classmethod
    def read(cls, path: Path) -> _CsvSet:
        files = csv_files(path)
        tables = {name: read_rows(TableText.open(file), _descriptions(file)) for name, file in files.items()}
        return cls(path, files, tables, next(iter(tables.values())).splits if len(tables) == 1 else [])

    def result(self, split: str | None) -> ReadResult:
        """The ground truth of a split; of all images (None); of those that no column gives a split ("")."""
        known = [*self.tables, *self.by_column]
        if split not in {None, *known, *([""] if self.by_column else [])}:
            raise UnknownNameError("split", str(split), self.by_column or known)
        root, names = set_folder(self.path), set[str]().union(*(table.class_names() for table in self.tables.values()))
        images, faults, remarks = dict[str, _Image](), list[Fault](), dict[str, None]()
        for name, rows in self.tables.items():
            if split in {None, name} or self.by_column:
                table = _place(rows, root, self.files[name], name, anywhere=self.path.is_dir())
                whole = split in {None, name}
                _add_images(images, table, range(len(rows.names)) if whole else table.of_split(split or ""), faults)
                remarks |= dict.fromkeys([*rows.remarks, *table.remarks])
                if len(self.tables) == 1 and (left := _unnamed_images(table, root)):
                    remarks[f"{len(left)} images are not in {rows.text.file.name}: left out, such as {left[0]}"] = None
        if len(self.tables) > 1 and any(rows.splits for rows in self.tables.values()):
            remarks["the columns of splits are not read: each table is a split"] = None
        builder = AnnotationBuilder()
        for file, image in images.items():
            builder.add_image(file, Path(file).stem, width=image.width, height=image.height)
            _add_boxes(builder, file, image, faults)
        return builder.finish(faults, format_name="csv", root=root, class_names=class_order(names), remarks=[*remarks])


@dataclass
class _Image:
    """An image's size, and its objects: rows of the tables that it stands in."""

    width: int
    height: int
    objects: list[tuple[_PlacedTable, np.ndarray]] = field(default_factory=list)


@dataclass(frozen=True)
class _PlacedTable:
    """A table whose images were found.

    Attributes:
        rows: its content.
        files: of each image, relative to the set's folder.
        sizes: (n, 2), of each image; 0 where it is not known.
        faults: of missing and unreadable images, by file.
        remarks: on names, and on how boxes were understood.
        boxes: (m, 4), left, top, right, bottom of each object in pixels.
        objects: (m,) objects ordered by image, and
        starts: (n + 1,) where each image's begin.
    """

    rows: TableRows
    files: Sequence[str]
    sizes: np.ndarray
    faults: Sequence[Fault]
    remarks: Sequence[str]
    boxes: np.ndarray
    objects: np.ndarray
    starts: np.ndarray

    def of_split(self, split: str) -> list[int]:
        """The images of a split of the column; of "", those in none."""
        if not split:
            return [image for image, bits in enumerate(self.rows.members) if not bits]
        bit = 1 << self.rows.splits.index(split)
        return [image for image, bits in enumerate(self.rows.members) if bits & bit]

    def content(self, objects: np.ndarray) -> list[tuple[object, ...]]:
        """What rows say of their image, whichever table they stand in."""
        rows = self.rows
        names = [rows.labels[rows.classes[row]] if rows.classes[row] >= 0 else "" for row in objects]
        groups = [rows.groups[row] for row in objects]
        return list(zip(map(tuple, self.boxes[objects].tolist()), names, groups, strict=True))


def _descriptions(file: Path) -> dict[str, str]:
    """Open Images' names of its labels (`/m/011k07,Tortoise`), where their table lies beside the CSV or above it."""
    for folder in (file.parent, file.parent.parent):
        for table in [table for pattern in DESCRIPTIONS for table in sorted(folder.glob(pattern))]:
            rows = (cells for _, cells in TableText.open(table).cells())
            return {cells[0]: cells[1] for cells in rows if len(cells) == 2}
    return {}


def _folders(root: Path, file: Path, split: str) -> list[str]:
    """Where the images may lie, relative to the root."""
    beside = file.parent.relative_to(root).as_posix() if file.parent.is_relative_to(root) else ""
    first = [beside] if file.name == ROBOFLOW else [""]
    return [*first, split, "images", f"images/{split}", beside, "JPEGImages", "data", ""]


def _place(rows: TableRows, root: Path, file: Path, name: str, *, anywhere: bool) -> _PlacedTable:
    """Find the images of a table, and their sizes; put its boxes into pixels."""
    locate = locate_images if anywhere else locate_beside
    bare = not any(map(is_image, rows.names))
    located = locate(rows.names, root, _folders(root, file, name), without_suffix=bare)
    faults, missing = list(located.faults), {fault.file for fault in located.faults}
    sizes = np.array([rows.sizes.get(image, (0, 0)) for image in rows.names], np.int64).reshape(-1, 2)
    unknown = [i for i, place in enumerate(located.files) if not sizes[i].any() and place not in missing]
    for i, size in zip(unknown, sizes_or_reasons([root / located.files[i] for i in unknown]), strict=True):
        if isinstance(size, str):
            detail = size.removeprefix(f"{root / located.files[i]}: ")
            faults.append(Fault("unreadable image", located.files[i], detail))
        else:
            sizes[i] = size
    images = np.array(rows.images, np.int64)
    boxes = np.array(rows.boxes).reshape(-1, 4)
    remarks = [remark_on_names(located)] if located.shortened else []
    if rows.fractions:
        boxes *= np.tile(sizes[images], 2)
    elif rows.of_sides:
        boxes, remark = _sides_or_corners(boxes, sizes[images])
        remarks.append(f"{rows.text.file.name}: {remark}")
    order = np.argsort(images, kind="stable")
    starts = np.searchsorted(images[order], np.arange(len(rows.names) + 1))
    return _PlacedTable(rows, located.files, sizes, faults, remarks, boxes, order, starts)


def _unnamed_images(table: _PlacedTable, root: Path) -> list[str]:
    """The images in the folders of a table's images that it does not name."""
    named = set(table.files)
    folders = dict.fromkeys(posixpath.dirname(file) for file in table.files)
    there = (
        posixpath.join(folder, name)
        for folder in folders
        for names in images_by_stem(root / folder).values()
        for name in names
    )
    return [file for file in there if file not in named]


def _sides_or_corners(boxes: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, str]:
    """What four numbers in one cell mean: sides as in COCO; corners where only so all boxes lie in their images.

    Args:
        boxes: (m, 4) left, top, right, bottom, if they are sides.
        sizes: (m, 2) of their images, 0 where unknown.

    Returns:
        The boxes, and a remark.
    """
    known = (sizes > 0).all(axis=1) & np.isfinite(boxes).all(axis=1)
    corners = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    outside = (boxes[known, 2:] > sizes[known] + 1).any(axis=1).sum()
    fits = ((corners[known, 2:] <= sizes[known] + 1) & (corners[known, 2:] > corners[known, :2])).all()
    if outside and fits:
        return corners, (
            f"the four numbers of a box are left, top, right, bottom: as sides {outside} boxes would leave their image"
        )
    return boxes, "the four numbers of a box are left, top, width, height"


def _add_images(images: dict[str, _Image], table: _PlacedTable, chosen: Sequence[int], faults: list[Fault]) -> None:
    """Add images of a table with their objects."""
    of_set = {table.files[image] for image in chosen}
    faults += [fault for fault in table.faults if fault.file in of_set]
    objects: dict[str, list[np.ndarray]] = {}
    for image in chosen:
        file = table.files[image]
        images.setdefault(file, _Image(*table.sizes[image].tolist()))
        objects.setdefault(file, []).append(table.objects[table.starts[image] : table.starts[image + 1]])
    for file, parts in objects.items():
        rows = np.concatenate(parts) if len(parts) > 1 else parts[0]
        earlier = [part for other, of_other in images[file].objects for part in other.content(of_other)]
        if not earlier or earlier != table.content(rows):  # an image of two splits stands in both tables
            images[file].objects.append((table, rows))


def _add_boxes(builder: AnnotationBuilder, file: str, image: _Image, faults: list[Fault]) -> None:
    """Add the objects of one image; a row with a file alone is none."""
    number = 0
    for table, objects in image.objects:
        rows = table.rows
        for row in objects.tolist():
            label = rows.classes[row]
            if label == NO_OBJECT:
                continue
            number += 1
            if row in rows.malformed:
                detail = f"line {rows.lines[row]}: expected four numbers and a label, got {rows.malformed[row]!r}"
                faults.append(Fault("malformed", file, detail, number))
            else:
                group = bool(rows.groups[row])
                box = table.boxes[row].tolist()
                builder.add_box(box, rows.labels[label], number=number, difficult=group, crowd=group)
