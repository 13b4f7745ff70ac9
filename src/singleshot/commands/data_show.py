"""`ssd data show`: a page of a labelled set, with its boxes drawn and the faults of `ssd data check` marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from singleshot.data.builder import ReadResult
from singleshot.data.check import CheckReport, check
from singleshot.data.fault_images import FaultImages
from singleshot.data.faults import Fault
from singleshot.data.recognise import read_upright
from singleshot.data.turned_images import LabelsOn
from singleshot.decode import decode_image
from singleshot.errors import RequestError, first_of
from singleshot.report.data_set import DataSetContent, ShownBox, ShownImage, render
from singleshot.report.template import write_page

LISTED = 50
"""Faults of no image on the page that are listed."""
OnImage = Callable[[int, int], None]


@dataclass(frozen=True)
class ShowOptions:
    """What to show.

    Attributes:
        out: the HTML file.
        split: this split only.
        most: images on the page: those with faults first, at most half of it, then others evenly over the set.
        labels_on: as `open_data`.

    Raises:
        RequestError: a page without images.
    """

    out: Path
    split: str | None = None
    most: int = 100
    labels_on: LabelsOn | None = None

    def __post_init__(self) -> None:
        if self.most < 1:
            raise RequestError(f"--most is a number of images, at least 1, got {self.most}")


@dataclass(frozen=True)
class ShownPage:
    """What was written: images on the page and in the set, and the set's faults."""

    shown: int
    images: int
    report: CheckReport


@dataclass(frozen=True, eq=False)
class _Entry:
    """An image of the set: where it was read, its splits, its faults, and notes on it that are no faults."""

    result: ReadResult
    index: int
    splits: list[str]
    faults: list[Fault]
    notes: list[str]


def show(data: Path, options: ShowOptions, *, on_image: OnImage = lambda _done, _total: None) -> ShownPage:
    """Check a set and write its page.

    Raises:
        RequestError: no such set or split.
        DataError: the set is empty.
    """
    report = check(data, split=options.split, labels_on=options.labels_on, on_image=on_image)
    entries = _entries(read_upright(data, split=options.split, labels_on=options.labels_on))
    elsewhere = _assign(report, entries)
    for shared in report.nearly_shared:
        entries[shared.file].notes.append(f"looks nearly the same as {shared.like} in {shared.like_in}")
    chosen = _chosen(list(entries.values()), options.most)
    counts: Counter[str] = Counter()
    for entry in entries.values():
        labels = entry.result.annotations.ground_truth(entry.index).labels
        counts.update(entry.result.annotations.class_names[label] for label in labels)
    splits = ", ".join(f"{name or 'no split'} {count}" for name, count in report.splits.items())
    summary = [f"{report.images} images, {report.boxes} boxes ({splits})"]
    summary += [f"{len(chosen)} of {len(entries)} images are on this page"] if len(chosen) < len(entries) else []
    content = DataSetContent(
        title=str(data),
        summary=tuple(summary),
        images=tuple(_shown(entry) for entry in chosen),
        boxes_of_class=counts,
        faults={kind: len(faults) for kind, faults in report.by_kind().items()},
        elsewhere=tuple(f"{fault.kind}: {fault}" for fault in elsewhere[:LISTED]),
    )
    write_page(options.out, render(content, decode_image))
    return ShownPage(len(chosen), len(entries), report)


def _entries(results: Mapping[str, ReadResult]) -> dict[str, _Entry]:
    """Every image once, by its file."""
    entries: dict[str, _Entry] = {}
    for split, result in results.items():
        for index, file in enumerate(result.annotations.files):
            entries.setdefault(file, _Entry(result, index, [], [], [])).splits.append(split)
    return entries


def _assign(report: CheckReport, entries: Mapping[str, _Entry]) -> list[Fault]:
    """Add each fault to its image, by the image's or the annotation's name; returns those of no image."""
    files = list(entries)
    images = FaultImages(files)
    elsewhere = []
    for fault in report.faults:
        named = images.named(fault.file)
        owners = images.labelled_by(fault.file) if named is None else [named]
        if owners:
            entries[files[owners[0]]].faults.append(fault)
        else:
            elsewhere.append(fault)
    return elsewhere


def _chosen(entries: list[_Entry], most: int) -> list[_Entry]:
    """Those with faults, at most half, and others evenly over the set; in the set's order."""
    if len(entries) <= most:
        return entries
    faulty = [number for number, entry in enumerate(entries) if entry.faults or entry.notes][: max(1, most // 2)]
    rest = sorted(set(range(len(entries))) - set(faulty))
    even = np.linspace(0, len(rest) - 1, most - len(faulty)).round().astype(int).tolist()
    return [entries[number] for number in sorted({*faulty, *(rest[place] for place in even)})]


def _shown(entry: _Entry) -> ShownImage:
    annotations, index = entry.result.annotations, entry.index
    ground_truth = annotations.ground_truth(index)
    numbers = entry.result.object_numbers[annotations.starts[index] : annotations.starts[index + 1]]
    of_object = {fault.number: fault.kind for fault in entry.faults if fault.number}
    boxes = [
        ShownBox(box, int(label), annotations.class_names[label], of_object.get(int(number), ""))
        for box, label, number in zip(ground_truth.boxes_xyxy.tolist(), ground_truth.labels, numbers, strict=True)
    ]
    faults = [f"{fault.kind}: {fault.detail}" for fault in entry.faults if fault.number == 0]
    faults += [f"object {fault.number}: {fault.kind}" for fault in entry.faults if fault.number]
    lines = ((first_of(faults, 6),) if faults else ()) + tuple(entry.notes[:1])
    return ShownImage(
        annotations.path(index), annotations.files[index], tuple(filter(None, entry.splits)), tuple(boxes), lines
    )
