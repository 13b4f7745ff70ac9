"""Find every fault of a data set before training does: in the annotations, in the images, and between the splits."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from singleshot.data.builder import ReadResult
from singleshot.data.faults import Fault
from singleshot.data.images import size_fault, without_path
from singleshot.data.near_duplicates import (
    Look,
    Looks,
    look_of,
    members,
    near_duplicate_groups,
    nearest_duplicates,
)
from singleshot.data.recognise import read_upright
from singleshot.data.turned_images import LabelsOn
from singleshot.decode import decode_image
from singleshot.degenerate_boxes import BOX_FAULTS, GOOD, box_faults
from singleshot.errors import DataError, ImageError
from singleshot.types import Annotations


@dataclass(frozen=True)
class NearlyShared:
    """An image of a split to validate or test on that looks nearly the same as another in a split to train on."""

    file: str
    split: str
    like: str
    like_in: str

    def __str__(self) -> str:
        return f"{self.file} in {self.split} looks nearly the same as {self.like} in {self.like_in}"


@dataclass(frozen=True)
class CheckReport:
    """The result of a check.

    Attributes:
        images: number of different images that were decoded.
        boxes: number of their boxes.
        splits: number of images of each split; a single split named "" where the set has no splits.
        faults: all faults, grouped by kind, in the order of the images.
        remarks: lines on what was guessed, converted or left out, each with its count.
        near_duplicates: the images of each group that look nearly the same, such as the frames of a clip.
        nearly_shared: images to validate or test on that look nearly the same as one to train on. No faults: it is
            judged by a threshold.
    """

    images: int
    boxes: int
    splits: dict[str, int]
    faults: tuple[Fault, ...]
    remarks: tuple[str, ...] = ()
    near_duplicates: tuple[tuple[str, ...], ...] = ()
    nearly_shared: tuple[NearlyShared, ...] = ()

    def by_kind(self) -> dict[str, list[Fault]]:
        """The faults of each kind."""
        return _grouped(self.faults)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `ssd data check --json` writes them."""
        return {
            "images": self.images,
            "pictures": self.images,  # the old name
            "boxes": self.boxes,
            "splits": self.splits,
            "remarks": list(self.remarks),
            "near_duplicates": [list(files) for files in self.near_duplicates],
            "nearly_in_two_splits": [asdict(shared) for shared in self.nearly_shared],
            "counts": dict(Counter(fault.kind for fault in self.faults)),
            "faults": [
                {
                    "kind": fault.kind,
                    "file": fault.file,
                    "object": fault.number or None,
                    "detail": fault.detail,
                    "consequence": fault.consequence,
                }
                for fault in self.faults
            ],
        }


@dataclass(frozen=True)
class _DecodedImage:
    """Size of a decoded image, hash of its bytes and its look, or the error message; the decoder's warning, if any."""

    size_wh: tuple[int, int] = (0, 0)
    digest: bytes = b""
    look: Look = Look()  # noqa: RUF009  (frozen)
    message: str = ""
    warning: str = ""


def check(
    data: Path | str | Sequence[Path | str],
    *,
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    labels_on: LabelsOn | None = None,
    on_image: Callable[[int, int], None] = lambda _done, _total: None,
) -> CheckReport:
    """Check every annotation and decode every image, on all cores.

    Args:
        data: one set, or several (faults then name the set, too).
        split: check this split only; None: all splits, and the images that they share.
        class_names: the allowed classes; None: any.
        labels_on: as `open_data`.
        on_image: called with the number of images decoded so far, and of all images of the set.

    Raises:
        RequestError: no such path, format or split.
        DataError: no set is given, or a set is empty.
    """
    paths = [data] if isinstance(data, (str, Path)) else list(data)
    reports = [_check_one(Path(path), split, class_names, labels_on, on_image) for path in paths]
    if not reports:
        raise DataError("no data set was given")
    if len(reports) == 1:
        return reports[0]
    named = list(zip(paths, reports, strict=True))
    return CheckReport(
        sum(report.images for report in reports),
        sum(report.boxes for report in reports),
        {f"{path}:{name}": count for path, report in named for name, count in report.splits.items()},
        _sorted(replace(fault, file=f"{path}: {fault.file}") for path, report in named for fault in report.faults),
        tuple(f"{path}: {remark}" for path, report in named for remark in report.remarks),
        tuple(tuple(f"{path}: {file}" for file in files) for path, report in named for files in report.near_duplicates),
        tuple(
            replace(shared, file=f"{path}: {shared.file}", like=f"{path}: {shared.like}")
            for path, report in named
            for shared in report.nearly_shared
        ),
    )


def _check_one(
    path: Path,
    split: str | None,
    class_names: Sequence[str] | None,
    labels_on: LabelsOn | None,
    on_image: Callable[[int, int], None],
) -> CheckReport:
    results = read_upright(path, split=split, labels_on=labels_on)
    seen: dict[str, _DecodedImage] = {}
    faults: dict[Fault, None] = {}  # an image in two splits has its faults once
    total = len({file for result in results.values() for file in result.annotations.files})
    boxes = 0
    for result in results.values():
        new = [i for i, file in enumerate(result.annotations.files) if file not in seen]
        _decode_new(result.annotations, new, seen, lambda done: on_image(done, total))
        boxes += int(np.diff(result.annotations.starts)[new].sum())
        faults |= dict.fromkeys(result.faults)
        faults |= dict.fromkeys(_image_faults(result, seen))
        faults |= dict.fromkeys(_box_faults(result, seen))
        faults |= dict.fromkeys(_class_faults(result, class_names))
        faults |= dict.fromkeys(_duplicate_images(result.annotations, seen))
    faults |= dict.fromkeys(_shared_images(results, seen))
    sizes = {name: len(result.annotations) for name, result in results.items()}
    if not seen and not faults:
        raise DataError(f"{path}: the set is empty: no images")
    if seen and not boxes and not any(fault.stops_training for fault in faults):
        faults[Fault("no objects", str(path), f"{len(seen)} images, but not one labelled object")] = None
    remarks = tuple(dict.fromkeys(remark for result in results.values() for remark in result.remarks))
    near, shared = _near_duplicates(seen), tuple(_nearly_shared_images(results, seen))
    return CheckReport(len(seen), boxes, sizes, _sorted(faults), (*remarks, *_remark_on(near)), near, shared)


def _sorted(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """The faults of each kind together, kinds in the order of their first fault."""
    return tuple(fault for group in _grouped(faults).values() for fault in group)


def _grouped(faults: Iterable[Fault]) -> dict[str, list[Fault]]:
    groups: dict[str, list[Fault]] = {}
    for fault in faults:
        groups.setdefault(fault.kind, []).append(fault)
    return groups


def _decode_new(
    annotations: Annotations, indices: list[int], seen: dict[str, _DecodedImage], on_image: Callable[[int], None]
) -> None:
    """Decode these images and add the results to `seen`; decoding warns of animations, which become faults."""
    with warnings.catch_warnings(record=True) as warned, ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("always")
        for index, image in zip(indices, pool.map(lambda i: _decode(annotations, i), indices), strict=True):
            seen[annotations.files[index]] = image
            on_image(len(seen))
    messages = [str(warning.message) for warning in warned]
    for index in indices if messages else ():
        start = f"{annotations.path(index)}: "
        warning = next((message.removeprefix(start) for message in messages if message.startswith(start)), "")
        seen[annotations.files[index]] = replace(seen[annotations.files[index]], warning=warning)


def _decode(annotations: Annotations, index: int) -> _DecodedImage:
    path = annotations.path(index)
    try:
        pixels = decode_image(path)
        height, width = pixels.shape[:2]
        digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
        return _DecodedImage((width, height), digest, look_of(pixels))
    except ImageError as error:
        return _DecodedImage(message=without_path(error, annotations, index))


def _image_faults(result: ReadResult, seen: dict[str, _DecodedImage]) -> Iterator[Fault]:
    annotations = result.annotations
    for index, file in enumerate(annotations.files):
        image = seen[file]
        if not image.message:
            if image.warning:
                yield Fault("several frames", file, image.warning)
            fault = size_fault(annotations, index, image.size_wh)
            if fault is not None:
                yield fault
        elif annotations.path(index).exists():  # the reader names those that are missing
            yield Fault("unreadable image", file, image.message)


def _box_faults(result: ReadResult, seen: dict[str, _DecodedImage]) -> Iterator[Fault]:
    """Degenerate boxes and boxes that stick out, by the real size of the image, else by the annotated size."""
    annotations = result.annotations
    real = np.array([seen[file].size_wh for file in annotations.files], np.int64).reshape(-1, 2)
    sizes = np.where(real > 0, real, annotations.sizes_wh)
    counts = np.diff(annotations.starts)
    limits = np.where(sizes > 0, sizes, np.inf).repeat(counts, axis=0)
    kinds = box_faults(annotations.boxes_xyxy, width=limits[:, 0], height=limits[:, 1])
    images = np.arange(len(annotations)).repeat(counts)
    for row in np.flatnonzero(kinds != GOOD):
        image = images[row]
        name = annotations.class_names[annotations.labels[row]]
        box = ", ".join(f"{value:g}" for value in annotations.boxes_xyxy[row])
        width, height = sizes[image]
        detail = f"{name} [{box}]" + (f" in an image of {width}x{height}" if width else "")
        yield Fault(BOX_FAULTS[kinds[row]], annotations.files[image], detail, int(result.object_numbers[row]))


def _class_faults(result: ReadResult, class_names: Sequence[str] | None) -> Iterator[Fault]:
    if class_names is None:
        return
    annotations = result.annotations
    unknown = np.array([name not in class_names for name in annotations.class_names], bool)
    images = np.arange(len(annotations)).repeat(np.diff(annotations.starts))
    for row in np.flatnonzero(unknown[annotations.labels]) if len(unknown) else ():
        name = annotations.class_names[annotations.labels[row]]
        detail = f"{name}; expected {', '.join(class_names)}"
        yield Fault("unknown class", annotations.files[images[row]], detail, int(result.object_numbers[row]))


def _duplicate_images(annotations: Annotations, seen: dict[str, _DecodedImage]) -> Iterator[Fault]:
    """Images of a split that have the same bytes, and images that are listed twice."""
    first: dict[bytes, str] = {}
    for file in annotations.files:
        digest = seen[file].digest or file.encode()
        if digest in first:
            same = first[digest] == file
            yield Fault("duplicate image", file, "listed twice" if same else f"the same bytes as {first[digest]}")
        first.setdefault(digest, file)


def _shared_images(results: dict[str, ReadResult], seen: dict[str, _DecodedImage]) -> Iterator[Fault]:
    """Images of a validation or test split that are also in a split to train on, under the same name or another."""
    members = {
        name: {seen[file].digest or file.encode(): file for file in result.annotations.files}
        for name, result in results.items()
    }
    for trained, held_out in permutations(members, 2):
        if _must_be_apart(trained.lower(), held_out.lower()):
            for key in sorted(members[trained].keys() & members[held_out].keys()):
                detail = f"in {trained} and in {held_out}"
                file, other = members[held_out][key], members[trained][key]
                yield Fault("in two splits", file, detail + (f" as {other}" if other != file else ""))


def _nearly_shared_images(results: dict[str, ReadResult], seen: dict[str, _DecodedImage]) -> Iterator[NearlyShared]:
    """Images of a validation or test split that look nearly the same as another in a split to train on."""
    files = {name: tuple(dict.fromkeys(result.annotations.files)) for name, result in results.items()}
    looks = {name: Looks.of([seen[file].look for file in of_split]) for name, of_split in files.items()}
    for trained, held_out in permutations(files, 2):
        if not _must_be_apart(trained.lower(), held_out.lower()):
            continue
        nearest = nearest_duplicates(looks[held_out], looks[trained])
        for row in np.flatnonzero(nearest >= 0).tolist():
            file, other = files[held_out][row], files[trained][nearest[row]]
            if file != other and seen[file].digest != seen[other].digest:
                yield NearlyShared(file, held_out, other, trained)


def _near_duplicates(seen: dict[str, _DecodedImage]) -> tuple[tuple[str, ...], ...]:
    """The files of each group, the largest group first."""
    files = list(seen)
    groups = members(near_duplicate_groups(Looks.of([image.look for image in seen.values()])))
    return tuple(sorted((tuple(files[row] for row in rows) for rows in groups), key=len, reverse=True))


def _remark_on(groups: Sequence[Sequence[str]]) -> Iterator[str]:
    if groups:
        count, largest = sum(map(len, groups)), groups[0]
        yield (
            f"{count} images look nearly the same as another (groups: {len(groups)}, the largest of {len(largest)}), "
            f"such as {largest[0]} and {largest[1]}: "
            f"`ssd data split --keep-together near-duplicates` never parts a group"
        )


def _must_be_apart(trained: str, held_out: str) -> bool:
    """Whether two splits must not share images; VOC's trainval holds train and val."""
    if held_out.startswith("test"):
        return trained.startswith(("train", "val"))
    return held_out.startswith("val") and trained.startswith("train") and not trained.startswith("trainval")
