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
LABEL = ("classname", "categoryname", "labelname", "label", "class", "category", "name", "labels", "objectname",
         "classid", "labelid", "categoryid")  # fmt: skip
SIZE = (("width", "imagewidth", "imgwidth", "imgw"), ("height", "imageheight", "imgheight", "imgh"))
GROUP = ("isgroupof",)
_SIGNS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Columns:
    """Positions of the columns in a row of `count` cells.

    Attributes:
        count: cells of a row.
        file: of the image's name.
        box: of the four coordinates.
        label: of the class.
        names: the columns, for a message.
        form: of the box, a key of `FORMS`.
        size: of the image's width and height.
        group: of Open Images' mark for one box around many objects.
        header: the first row is a header.
        remark: what was not read, or how a column was understood; "" where there is nothing to say.
    """

    count: int
    file: int
    box: tuple[int, ...]
    label: int
    names: str
    form: str = "corners"
    size: tuple[int, ...] | None = None
    group: int | None = None
    header: bool = False
    remark: str = ""


def columns_of(rows: Sequence[Sequence[str]]) -> Columns | None:
    """The columns of a table by its first rows; None where they cannot be told."""
    if not rows:
        return None
    columns = _by_header(rows[0]) or next((columns for row in rows if (columns := _by_cells(row))), None)
    unknown_header = columns is not None and not columns.header and len(rows[0]) == columns.count and all(rows[0])
    if columns is not None and unknown_header and not any(map(_is_number, rows[0])):
        remark = "; ".join(
            filter(None, [f"the first row is taken for a header: {','.join(rows[0])[:100]}", columns.remark])
        )
        return replace(columns, header=True, remark=remark)
    return columns


def _by_header(row: Sequence[str]) -> Columns | None:
    names = [_SIGNS.sub("", cell.lower()) for cell in row]

    def position(wanted: Sequence[str]) -> int | None:
        return next((names.index(name) for name in wanted if name in names), None)

    file, label = position(FILE), position(LABEL)
    boxes = {form: [position(wanted) for wanted in names_of_form] for form, names_of_form in FORMS.items()}
    form = next((form for form, box in boxes.items() if None not in box), None)
    if file is None or label is None or form is None:
        return None
    whole = tuple(place for place in boxes[form] if place is not None)
    sides = [position(wanted) for wanted in SIZE]
    size = tuple(place for place in sides if place is not None and place not in whole)
    group = position(GROUP)
    used = {file, label, *whole, *size, *([] if group is None else [group])}
    unused = [cell for place, cell in enumerate(row) if place not in used and cell]
    remarks = [f"columns that are not read: {', '.join(unused)[:200]}"] if unused else []
    if form == "sides":
        listed = ", ".join(row[place] for place in whole)
        remarks.insert(0, f"the box is {listed}: left, top, width, height")
    return Columns(
        len(row),
        file,
        whole,
        label,
        ",".join(row)[:200],
        form=form,
        size=size if len(size) == 2 else None,
        group=group,
        header=True,
        remark="; ".join(remarks),
    )


def _by_cells(row: Sequence[str]) -> Columns | None:
    """Of a row with a file, four numbers and a label in this order, or the label second; more cells may follow.

    SKU-110K's have eight cells: the image's size comes last. So it does in Make Sense's: label, left, top, width,
    height, file, size.
    """
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


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True
