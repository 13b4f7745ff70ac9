"""The values that all rooms share: a training sample, the ground truth of an image and of a data set, detections.

Labels are 0..L-1 everywhere outside the network; background has no number and no name. All arrays are numpy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from singleshot.errors import DataError, RequestError
from singleshot.shapes import Bool, Float32, Int64, UInt8

BOX_ARRAYS = ("boxes_xyxy", "labels", "difficult", "crowd", "areas")
"""The fields of `Annotations` with a row for each object."""
ARRAYS = ("sizes_wh", "starts", *BOX_ARRAYS)
NOTEBOOK_SIDE = 800
"""Pixels of the longer side of an image in a notebook, at most."""
UNLIKELY, LIKELY = 0.1, 0.5
"""A notebook draws detections of this score, where some score less than the first."""
TEXTS = ("files", "ids")
"""The fields of `Annotations` that grow with the set."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One decoded image with its ground-truth boxes, as augmentation and training see it.

    Attributes:
        image: RGB pixels.
        boxes_xyxy: ground-truth boxes as fractions of the image: coordinates divided by width and height, with no -1
            (Caffe io.cpp, ReadXMLToAnnotatedDatum).
        labels: class of each ground-truth box, 0..L-1.
        difficult: ground-truth boxes that evaluation ignores (VOC's difficult, COCO's crowd).
    """

    image: UInt8[np.ndarray, "H W 3"]
    boxes_xyxy: Float32[np.ndarray, "R 4"]
    labels: Int64[np.ndarray, " R"]
    difficult: Bool[np.ndarray, " R"]


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The ground-truth boxes of one image, in pixels, as a data set states them.

    Attributes:
        boxes_xyxy: left, top, right, bottom in pixels, in the frame of the image as displayed.
        labels: class of each, 0..L-1.
        difficult: ignored by VOC evaluation (neither right nor wrong to find).
        crowd: a COCO crowd region (ignored, and may swallow several detections).
        areas: COCO's area in pixels (of the segment); the box's area where a format has none.
    """

    boxes_xyxy: Float32[np.ndarray, "R 4"]
    labels: Int64[np.ndarray, " R"]
    difficult: Bool[np.ndarray, " R"]
    crowd: Bool[np.ndarray, " R"]
    areas: Float32[np.ndarray, " R"]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Annotations:
    """A data set's images and objects in a few packed arrays: small, and shared by worker processes without copies.

    The ground-truth boxes of image i are the rows `starts[i]` to `starts[i + 1]`.

    Attributes:
        format: the format it was read from: `voc`, `coco`, `yolo` or `csv`.
        root: folder that `files` are relative to.
        files: one image path each, relative to `root`, with forward slashes.
        ids: the set's own name of each image (VOC id, COCO image id as text, else the file's stem).
        class_names: L names; label l is `class_names[l]`.
        category_ids: COCO's category id of each class, for results files; 1..L elsewhere.
        sizes_wh: width and height of each image as the annotation states it, (0, 0) where it states none.
        remarks: lines on what was guessed, converted or left out when the set was read, each with its count.
    """

    format: str
    root: Path
    files: Sequence[str]
    ids: Sequence[str]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    sizes_wh: np.ndarray  # (N, 2) int32
    starts: np.ndarray  # (N + 1,) int64
    boxes_xyxy: np.ndarray  # (M, 4) float32, pixels
    labels: np.ndarray  # (M,) int64
    difficult: np.ndarray  # (M,) bool
    crowd: np.ndarray  # (M,) bool
    areas: np.ndarray  # (M,) float32
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def fingerprint(self) -> str:
        """A short hash of the images' names and all their ground-truth boxes: equal for equal sets."""
        digest = hashlib.sha256("\0".join((*self.files, *self.class_names)).encode(errors="surrogateescape"))
        for array in (self.sizes_wh, self.starts, self.boxes_xyxy, self.labels, self.difficult, self.crowd):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def path(self, index: int) -> Path:
        """Where image `index` lies."""
        return self.root / self.files[index]

    def ground_truth(self, index: int) -> GroundTruth:
        """The ground-truth boxes of image `index` (views, not copies)."""
        rows = slice(self.starts[index], self.starts[index + 1])
        return GroundTruth(**{name: getattr(self, name)[rows] for name in BOX_ARRAYS})

    def as_one_class(self, name: str) -> Annotations:
        """The same ground-truth boxes, all of one class of this name."""
        return replace(self, class_names=(name,), category_ids=(1,), labels=np.zeros_like(self.labels))

    def subset(self, indices: Sequence[int]) -> Annotations:
        """The same set with only these images, in this order."""
        pieces = [np.arange(self.starts[i], self.starts[i + 1]) for i in indices]
        rows = np.concatenate(pieces) if pieces else np.zeros(0, np.int64)
        return replace(
            self,
            files=tuple(self.files[i] for i in indices),
            ids=tuple(self.ids[i] for i in indices),
            sizes_wh=self.sizes_wh[list(indices)].reshape(-1, 2),
            starts=np.cumsum([0, *map(len, pieces)]).astype(np.int64),
            **{name: getattr(self, name)[rows] for name in BOX_ARRAYS},
        )


class Detection(NamedTuple):
    """One box of `Detections`.

    Attributes:
        box: left, top, right, bottom in pixels of the image as displayed.
        score: in [0, 1].
        label: 0..L-1.
        name: the label's class name.
    """

    box: tuple[float, float, float, float]
    score: float
    label: int
    name: str


@dataclass(frozen=True, eq=False)
class Detections:
    """The detections of one image, best first as a detector gives them.

    It is indexed as an array is: a number gives a `Detection`, a slice, a mask or an array of numbers gives
    `Detections`; iteration gives each `Detection`.

    Examples:
        >>> boxes = np.array([[0, 0, 10, 10], [5, 5, 20, 20]], np.float32)
        >>> detections = Detections(boxes, np.array([0.9, 0.4], np.float32), np.array([1, 0]), ("cat", "dog"))
        >>> detections[0].name, detections[detections.labels == 0].names, detections.above(0.5).names
        ('dog', ['cat'], ['dog'])

    Attributes:
        boxes: (n, 4) float32 left, top, right, bottom in pixels of the image as displayed, inside it.
        scores: (n,) float32 in [0, 1].
        labels: (n,) int64, 0..L-1.
        class_names: the L names that labels refer to.
        image: gives the RGB pixels of the image, or None once they are gone; None where they were never known. It is
            what a notebook shows, and is not pickled.

    Raises:
        RequestError: arrays of other shapes.
    """

    boxes: Float32[np.ndarray, "n 4"]
    scores: Float32[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]
    class_names: tuple[str, ...]
    image: Callable[[], np.ndarray | None] | None = None

    def __post_init__(self) -> None:
        shapes = (np.shape(self.boxes), np.shape(self.scores), np.shape(self.labels))
        count = len(self.scores)
        if shapes != ((count, 4), (count,), (count,)):
            raise RequestError(
                "boxes, scores and labels must be (n, 4), (n,) and (n,), got {}, {} and {}".format(*shapes)
            )

    def __len__(self) -> int:
        return len(self.scores)

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> Detection: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | np.ndarray) -> Detections: ...
    def __getitem__(self, index: int | np.integer[Any] | slice | Sequence[int] | np.ndarray) -> Detection | Detections:
        rows = np.arange(len(self))[index]
        if rows.ndim > 1:
            raise IndexError(f"detections have one axis; expected a number, slice, mask or numbers, got {index!r}")
        if rows.ndim == 1:
            return Detections(self.boxes[rows], self.scores[rows], self.labels[rows], self.class_names, self.image)
        label = int(self.labels[rows])
        return Detection(tuple(self.boxes[rows].tolist()), float(self.scores[rows]), label, self.class_names[label])

    def __iter__(self) -> Iterator[Detection]:
        columns = (self.boxes.tolist(), self.scores.tolist(), self.labels.tolist(), self.names)
        return (Detection(tuple(box), score, label, name) for box, score, label, name in zip(*columns, strict=True))

    def __repr__(self) -> str:
        """How many there are, and the best three in words."""
        best = [f"{name} {score:.2f} at {np.round(box).astype(int).tolist()}" for box, score, _, name in self[:3]]
        return f"<{len(self)} detections{': ' * bool(best)}{', '.join(best)}{', ...' * (len(self) > len(best))}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled without the image, which may be a reference into this process."""
        return Detections, (self.boxes, self.scores, self.labels, self.class_names)

    def _repr_html_(self) -> str | None:
        """The image with its boxes, for a notebook; None where the image is gone, and the notebook shows the text.

        Of detections that hold unlikely ones, only the likely are drawn, and a line says so.
        """
        from singleshot.draw import html_image, shrunk  # late: Pillow takes 0.1 s

        try:
            pixels = None if self.image is None else self.image()
        except DataError:  # the file has gone, or has become another
            return None
        if pixels is None:
            return None
        small = shrunk(pixels, NOTEBOOK_SIDE)
        factor = np.array([small.shape[1] / pixels.shape[1], small.shape[0] / pixels.shape[0]] * 2, np.float32)
        shown = self if not len(self) or self.scores.min() >= UNLIKELY else self.above(LIKELY)
        drawn = replace(shown, boxes=shown.boxes * factor).draw(small)
        count = (
            f"{len(self)} detections"
            if len(shown) == len(self)
            else (
                f"{len(shown)} of {len(self)} detections: those that score {LIKELY:.0%} or more; .draw(image) draws all"
            )
        )
        return f"{html_image(drawn)}<br>{count}"

    @staticmethod
    def concatenate(parts: Sequence[Detections]) -> Detections:
        """The detections of several parts of an image, one after another; they are not sorted again.

        Raises:
            RequestError: no parts, or parts with other class names.
        """
        if not parts:
            raise RequestError("there are no detections to concatenate: give at least one part")
        class_names = parts[0].class_names
        for part in parts:
            if part.class_names != class_names:
                raise RequestError(f"parts have other classes: {class_names} and {part.class_names}")
        return Detections(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.labels for part in parts]),
            class_names,
        )

    @property
    def names(self) -> list[str]:
        """The class name of each detection."""
        return [self.class_names[label] for label in self.labels]

    def above(self, score: float) -> Detections:
        """Those that score at least this much."""
        return self[self.scores >= score]

    def as_one_class(self, name: str) -> Detections:
        """The same boxes and scores, all of one class of this name."""
        return Detections(self.boxes, self.scores, np.zeros_like(self.labels), (name,), self.image)

    def draw(
        self, image: UInt8[np.ndarray, "H W 3"], *, ground_truth: GroundTruth | None = None
    ) -> UInt8[np.ndarray, "H W 3"]:
        """A copy of the image with every box in its class's colour, with name and score.

        Args:
            image: RGB, the one that was searched.
            ground_truth: the right boxes, drawn in dashed white below the detections.
        """
        from singleshot.draw import GROUND_TRUTH, Mark, class_colour, draw_marks  # late: Pillow takes 0.1 s

        expected = ground_truth.boxes_xyxy.tolist() if ground_truth is not None else []
        marks = [Mark(box, GROUND_TRUTH, dashed=True) for box in expected]
        for detection in self[np.argsort(self.scores, kind="stable")]:  # the best is drawn last, on top
            caption = f"{detection.name} {100 * detection.score:.0f}%"
            marks.append(Mark(detection.box, class_colour(detection.label), caption))
        return draw_marks(image, marks)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Plain values, as `ssd detect --json` writes them: box, label, score."""
        return [
            {"box": [round(float(v), 2) for v in box], "label": name, "score": round(float(score), 6)}
            for box, name, score in zip(self.boxes, self.names, self.scores, strict=True)
        ]

    def to_coco(
        self, image_id: int | str, category_ids: Mapping[str, int] | Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """COCO results of this image: image_id, category_id, bbox [left, top, width, height] in pixels, score.

        Args:
            image_id: the image's id in the data set.
            category_ids: COCO's id of each class, by name or in the order of the labels; None counts from 1. Classes
                that have none are left out.
        """
        if category_ids is None or not isinstance(category_ids, Mapping):
            category_ids = dict(zip(self.class_names, category_ids or range(1, len(self.class_names) + 1), strict=True))
        return [
            {
                "image_id": image_id,
                "category_id": category_ids[detection.name],
                "bbox": [*detection.box[:2], detection.box[2] - detection.box[0], detection.box[3] - detection.box[1]],
                "score": detection.score,
            }
            for detection in self
            if detection.name in category_ids
        ]

    def to_supervision(self) -> Any:
        """The same as `supervision.Detections`, with names as `data["class_name"]`.

        Raises:
            RequestError: the package `supervision` is not installed.
        """
        try:
            import supervision  # type: ignore[import-not-found,unused-ignore]
        except ModuleNotFoundError as error:
            if error.name != "supervision":
                raise
            raise RequestError("supervision is not installed: pip install supervision") from error
        return supervision.Detections(
            xyxy=self.boxes,
            confidence=self.scores,
            class_id=self.labels,
            data={"class_name": np.array(self.names, dtype=str)},
        )
