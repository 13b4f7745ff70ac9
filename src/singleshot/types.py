"""What flows through the house: an image with its objects, a whole set's ground-truth boxes, and what a detector found.

Labels are 0..L-1 everywhere outside the network; background has no number and no name. All arrays are numpy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from singleshot.shapes import Bool, Float32, Int64, UInt8

ARRAYS = ("sizes_wh", "starts", "boxes_xyxy", "labels", "difficult", "crowd", "areas")
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
        layout: the format it was read from: `voc`, `coco`, `yolo` or `csv`.
        root: folder that `files` are relative to.
        files: one image path each, relative to `root`, with forward slashes.
        ids: the set's own name of each image (VOC id, COCO image id as text, else the file's stem).
        class_names: L names; label l is `class_names[l]`.
        category_ids: COCO's category id of each class, for results files; 1..L elsewhere.
        sizes_wh: width and height of each image as the annotation states it, (0, 0) where it states none.
    """

    layout: str
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
        return GroundTruth(
            self.boxes_xyxy[rows], self.labels[rows], self.difficult[rows], self.crowd[rows], self.areas[rows]
        )

    def as_one_class(self, name: str) -> Annotations:
        """The same ground-truth boxes, all of one class of this name."""
        return replace(self, class_names=(name,), category_ids=(1,), labels=np.zeros_like(self.labels))

    def subset(self, indices: Sequence[int]) -> Annotations:
        """The same set with only these images, in this order."""
        pieces = [np.arange(self.starts[i], self.starts[i + 1]) for i in indices]
        rows = np.concatenate(pieces) if pieces else np.zeros(0, np.int64)
        counts = [len(piece) for piece in pieces]
        return Annotations(
            layout=self.layout,
            root=self.root,
            files=tuple(self.files[i] for i in indices),
            ids=tuple(self.ids[i] for i in indices),
            class_names=self.class_names,
            category_ids=self.category_ids,
            sizes_wh=self.sizes_wh[list(indices)].reshape(-1, 2),
            starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            boxes_xyxy=self.boxes_xyxy[rows],
            labels=self.labels[rows],
            difficult=self.difficult[rows],
            crowd=self.crowd[rows],
            areas=self.areas[rows],
        )


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one image, best first.

    Attributes:
        boxes: (n, 4) float32 left, top, right, bottom in pixels of the image as displayed, inside it.
        scores: (n,) float32 in [0, 1].
        labels: (n,) int64, 0..L-1.
        class_names: the L names that labels refer to.
    """

    boxes: Float32[np.ndarray, "n 4"]
    scores: Float32[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        """How many there are, and the best three in words."""
        best = [f"{name} {score:.2f} at {np.round(box).astype(int).tolist()}" for name, score, box in self._first(3)]
        return f"<{len(self)} detections{': ' * bool(best)}{', '.join(best)}{', ...' * (len(self) > len(best))}>"

    def _first(self, count: int) -> Iterator[tuple[str, float, np.ndarray]]:
        return zip(self.names[:count], self.scores[:count].tolist(), self.boxes[:count], strict=True)

    @property
    def names(self) -> list[str]:
        """The class name of each detection."""
        return [self.class_names[label] for label in self.labels]

    def above(self, score: float) -> Detections:
        """Only what scores at least this much."""
        keep = self.scores >= score
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep], self.class_names)

    def as_one_class(self, name: str) -> Detections:
        """The same boxes and scores, all of one class of this name."""
        return Detections(self.boxes, self.scores, np.zeros_like(self.labels), (name,))

    def draw(
        self, image: UInt8[np.ndarray, "H W 3"], *, ground_truth: GroundTruth | None = None
    ) -> UInt8[np.ndarray, "H W 3"]:
        """A copy of the image with every box in its class's colour, with name and score.

        Args:
            image: RGB, the one that was searched.
            ground_truth: the right boxes, drawn in dashed white below the detections.
        """
        from singleshot.draw import (
            GROUND_TRUTH,
            Mark,
            class_colour,
            draw_marks,
        )  # late: Pillow takes a tenth of a second

        expected = ground_truth.boxes_xyxy.tolist() if ground_truth is not None else []
        marks = [Mark(box, GROUND_TRUTH, dashed=True) for box in expected]
        for row in np.argsort(self.scores, kind="stable"):  # the best is drawn last, on top
            label = int(self.labels[row])
            caption = f"{self.class_names[label]} {100 * self.scores[row]:.0f}%"
            marks.append(Mark(self.boxes[row].tolist(), class_colour(label), caption))
        return draw_marks(image, marks)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Plain values, as `ssd detect --json` writes them: box, label, score."""
        return [
            {"box": [round(float(v), 2) for v in box], "label": name, "score": round(float(score), 6)}
            for box, name, score in zip(self.boxes, self.names, self.scores, strict=True)
        ]
