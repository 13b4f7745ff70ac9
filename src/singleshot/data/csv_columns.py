"""Which columns of a table hold the file, the box and the label: by the header's names, else by what the cells hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from singleshot.data.images import is_image

COLUMNS = ("file", "x1", "y1", "x2", "y2", "label")
# Names as headers write them, without case, spaces and signs; an earlier name is preferred to a later one.
FILE = ("file", "filename", "image", "imagename", "imagefile", "imagefilename", "img", "imgname", "imagepath",
        "imgpath", "filepath", "path", "imageid", "imgid", "imageurl", "frame")  # fmt: skip
CORNERS = (
    ("x1", "xmin", "left", "xtl", "minx", "bboxx1", "bboxxmin", "bboxleft", "roix1"),
    ("y1", "ymin", "top", "ytl", "miny", "bboxy1", "bboxymin", "bboxtop", "roiy1"),
    ("x2", "xmax", "right", "xbr", "maxx", "bboxx2", "bboxxmax", "bboxright", "roix2"),
    ("y2", "ymax", "bottom", "ybr", "maxy", "bboxy2", "bboxymax", "bboxbottom", "roiy2"),
)
SIDES = (
    ("x", "left", "xmin", "bboxx", "boxx", "x1"),
    ("y", "top", "ymin", "bboxy", "boxy", "y1"),
    ("w", "bboxwidth", "bboxw", "boxwidth", "boxw", "width"),
    ("h", "bboxheight", "bboxh", "boxheight", "boxh", "height"),
)
CENTRES = (
    ("xcenter", "centerx", "xcentre", "centrex", "cx", "xc"),
    ("ycenter", "centery", "ycentre", "centrey", "cy", "yc"),
    *SIDES[2:],
)
FORMS = {"corners": CORNERS, "sides": SIDES, "centre": CENTRES}
"""How the four numbers of a box are meant: corners; left, top, width, height; or centre, width, height."""
VERTICES = "vertices"
"""The form of AutoML's eight cells: fractions, four corners of which two opposite ones suffice."""
TEXT, TEXT_OF_CORNERS = "text", "text of corners"
"""Forms of one cell that holds the numbers of a box, or of several: `[left, top, width, height]`, or corners."""
TEXTS = {TEXT: ("bbox", "boundingbox", "box", "bboxes", "boundingboxes", "boxes"), TEXT_OF_CORNERS: ("boxesstring",)}
LABEL = ("classname", "categoryname", "labelname", "label", "class", "category", "name", "labels", "objectname",
         "classid", "labelid", "categoryid")  # fmt: skip
SIZE = (("width", "imagewidth", "imgwidth", "imgw"), ("height", "imageheight", "imgheight", "imgh"))
GROUP = ("isgroupof",)
SPLIT = ("split", "set", "subset", "partition", "datasplit", "usage", "phase")
NO_LABEL = {"source", "domain", "id", "index", "area", "boxid", "score", "confidence", "unnamed0"}
"""Columns that are surely not of classes: a table whose other columns are known has objects of one class."""
SETS = {"TRAIN": "train", "TRAINING": "train", "VALIDATION": "validation", "VALIDATE": "validation", "TEST": "test",
        "UNASSIGNED": ""}  # fmt: skip
"""AutoML's words for splits, in the first cell."""
ONLY_CLASS = "object"
"""The class of a table without a column of classes."""
_SIGNS = re.compile(r"[\W_]+")
_BOX_NAME = re.compile(r"^(bnd|b)?box(?=[xy](min|max|[12])$)")


@dataclass(frozen=True)
class Columns:
    """Positions of the columns in a row of `count` cells.

    Attributes:
        count: cells of a row.
        file: of the image's name.
        box: of the four coordinates.
        label: of the class; None: all objects are of one class, which has no name.
        names: the columns, for a message.
        form: of the box, a key of `FORMS`, or one of the forms of cells that are named above.
        size: of the image's width and height.
        group: of Open Images' mark for one box around many objects.
        split: of the split's name.
        header: the first row is a header.
        remark: what was not read, or how a column was understood; "" where there is nothing to say.
    """

    count: int
    file: int
    box: tuple[int, ...]
    label: int | None
    names: str
    form: str = "corners"
    size: tuple[int, ...] | None = None
    group: int | None = None
    split: int | None = None
    header: bool = False
    remark: str = ""


def columns_of(rows: Sequence[Sequence[str]]) -> Columns | None:
    """The columns of a table by its first rows; None where they cannot be told."""
    if not rows:
        return None
    columns = _by_header(rows[0]) or next((columns for row in rows if (columns := _by_cells(row))), None)
    if columns is not None and not columns.header and _contradicts(rows[0], columns):
        return None
    unknown_header = columns is not None and not columns.header and len(rows[0]) == columns.count and all(rows[0])
    if columns is not None and unknown_header and not any(map(_is_number, rows[0])):
        remark = "; ".join(
            filter(None, [f"the first row is taken for a header: {','.join(rows[0])[:100]}", columns.remark])
        )
        return replace(columns, header=True, remark=remark)
    return columns


def _plain(row: Sequence[str]) -> list[str]:
    """The names of a header without case, spaces and signs, and `boxxmin` as `xmin`."""
    names = [_SIGNS.sub("", cell.lower()) for cell in row]
    return [_BOX_NAME.sub("", name) for name in names]


def _contradicts(row: Sequence[str], columns: Columns) -> bool:
    """Whether a header that is not understood as a whole names a file or a class in another column than the cells."""
    names = _plain(row)
    return any(
        name in known and place != of_cells
        for known, of_cells in ((FILE, columns.file), (LABEL, columns.label))
        for place, name in enumerate(names)
    ) and not any(map(_is_number, row))


def _by_header(row: Sequence[str]) -> Columns | None:
    names = _plain(row)

    def position(wanted: Sequence[str]) -> int | None:
        return next((names.index(name) for name in wanted if name in names), None)

    file, label = position(FILE), position(LABEL)
    form, whole = _box_by_header(names)
    if file is None or form is None:
        return None
    sides = [position(wanted) for wanted in SIZE]
    size = tuple(place for place in sides if place is not None and place not in whole)
    group, split = position(GROUP), position(SPLIT)
    used = {file, *whole, *size, *(place for place in (label, group, split) if place is not None)}
    unused = [cell for place, cell in enumerate(row) if place not in used and cell]
    if label is None and not all(_SIGNS.sub("", cell.lower()) in NO_LABEL for cell in unused):
        return None
    remarks = [f"columns that are not read: {', '.join(unused)[:200]}"] if unused else []
    if form == "sides":
        listed = ", ".join(row[place] for place in whole)
        remarks.insert(0, f"the box is {listed}: left, top, width, height")
    if label is None:
        remarks.insert(0, f"no column of classes: every object is of the class {ONLY_CLASS!r}")
    return Columns(
        len(row),
        file,
        whole,
        label,
        ",".join(row)[:200],
        form=form,
        size=size if len(size) == 2 else None,
        group=group,
        split=split,
        header=True,
        remark="; ".join(remarks),
    )


def _box_by_header(names: Sequence[str]) -> tuple[str | None, tuple[int, ...]]:
    """The form of the boxes and their columns, four or one; None where there are none."""
    for form, wanted in FORMS.items():
        places = [next((names.index(name) for name in side if name in names), None) for side in wanted]
        whole = tuple(place for place in places if place is not None)
        if len(whole) == 4:
            return form, whole
    for form, words in TEXTS.items():
        if place := [names.index(word) for word in words if word in names]:
            return form, (place[0],)
    return None, ()


def _by_cells(row: Sequence[str]) -> Columns | None:
    """Of a row with a file, four numbers and a label in this order, or the label second; more cells may follow.

    SKU-110K's have eight cells: the image's size comes last. So it does in Make Sense's: label, left, top, width,
    height, file, size. AutoML's (Vertex AI) are a split, which may be left out, a file, a label and eight coordinates.
    """
    if automl := _by_vertices(row):
        return automl
    numbers = [_is_number(cell) for cell in row]
    sized = len(row) == 8 and all(numbers[1:5]) and all(cell.isdigit() for cell in row[6:])
    if sized and is_image(row[5]) and row[0] and not is_image(row[0]):
        names = "label,left,top,width,height,file,image width,image height"
        remark = "the columns are a label, left, top, width, height and a file"
        return Columns(8, 5, (1, 2, 3, 4), 0, names, form="sides", size=(6, 7), remark=remark)
    if len(row) == 6 and all(numbers[1:5]):
        return Columns(6, 0, (1, 2, 3, 4), 5, ",".join(COLUMNS))
    if sized and row[5] and is_image(row[0]):
        return Columns(8, 0, (1, 2, 3, 4), 5, ",".join((*COLUMNS, "width", "height")), size=(6, 7))
    if len(row) == 6 and all(numbers[2:]) and is_image(row[0]) and not numbers[1] and row[1]:
        return Columns(6, 0, (2, 3, 4, 5), 1, "file,label,x1,y1,x2,y2")
    if len(row) > 6 and all(numbers[1:5]) and not numbers[5] and row[5] and is_image(row[0]):
        return Columns(
            len(row), 0, (1, 2, 3, 4), 5, "file,x1,y1,x2,y2,label ...", remark="columns behind the label are not read"
        )
    return None


def _by_vertices(row: Sequence[str]) -> Columns | None:
    first = int(bool(row) and row[0].upper() in SETS)
    box = tuple(range(first + 2, first + 10))
    if len(row) != first + 10 or not is_image(row[first]) or _is_number(row[first + 1]):
        return None
    cells = [row[place] for place in box]
    if not all(cell == "" or _is_number(cell) for cell in cells) or sum(map(bool, cells)) < 4:
        return None
    names = f"{'set,' * first}file,label,x1,y1,x2,y1,x2,y2,x1,y2"
    return Columns(len(row), first, box, first + 1, names, form=VERTICES, split=0 if first else None)


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True
