"""Write CSV: a table for each split, `file,x1,y1,x2,y2,label`, and `images/`; an image without objects has a row alone.

Crowd regions have a 1 in a column `IsGroupOf`, Open Images' name for them. There is no mark for difficult objects.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from singleshot.data.csv_columns import COLUMNS
from singleshot.data.whole_set import LabelledSet
from singleshot.data.writers.text import as_text, write_text

IMAGES = "images"
GROUP = "IsGroupOf"


def write_csv(data: LabelledSet, folder: Path) -> list[str]:
    """Write the tables into an empty folder, `labels.csv` where there are no splits; a remark counts what is lost."""
    groups = bool(data.annotations.crowd.any())
    for name, indices in data.parts(unlisted="unlisted" if data.splits else "labels").items():
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*COLUMNS, GROUP] if groups else COLUMNS)
        writer.writerows(_rows(data, indices, groups=groups))
        write_text(folder / f"{name}.csv", text.getvalue())
    difficult = int((data.annotations.difficult & ~data.annotations.crowd).sum())
    return [f"{difficult} difficult objects are ordinary ones now: a CSV has no such mark"] if difficult else []


def _rows(data: LabelledSet, indices: Sequence[int], *, groups: bool) -> Iterator[list[str]]:
    for index in indices:
        file, ground_truth = f"{IMAGES}/{data.places[index]}", data.annotations.ground_truth(index)
        for row, box in enumerate(ground_truth.boxes_xyxy):
            name = data.annotations.class_names[ground_truth.labels[row]]
            cells = [file, *map(as_text, box), name]
            yield [*cells, str(int(ground_truth.crowd[row]))] if groups else cells
        if not len(ground_truth):
            yield [file, *[""] * (5 + groups)]
