"""What every part of the diagnosis starts from: a set's detections with their verdicts, and how far each overlaps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from singleshot.boxes import pairwise_iou
from singleshot.evaluate.flat import Flat, flat_detections, flat_ground_truth
from singleshot.evaluate.voc import judge, unusable
from singleshot.shapes import Bool, Float32, Int8, Int64
from singleshot.types import Annotations, Detections


@dataclass(frozen=True, eq=False)
class JudgedSet:
    """A set's ground-truth boxes and detections, flat, by VOC's rules at an overlap of 0.5.

    Attributes:
        annotations: the set.
        ground_truth: all of them.
        ignored: ground-truth boxes that do not count: difficult, crowd, or without area.
        found: all detections of classes that the set has.
        scores: of each detection.
        verdicts: `HIT`, `MISS` or `IGNORED` of each detection.
        hit_ground_truth: the object of its class that each detection overlaps most, -1 where its image has none.
        known: which classes the detector knows; the others have no positives.
    """

    annotations: Annotations
    ground_truth: Flat
    ignored: Bool[np.ndarray, " M"]
    found: Flat
    scores: Float32[np.ndarray, " n"]
    verdicts: Int8[np.ndarray, " n"]
    hit_ground_truth: Int64[np.ndarray, " n"]
    known: Bool[np.ndarray, " L"]

    @classmethod
    def of(cls, annotations: Annotations, detections: Sequence[Detections]) -> JudgedSet:
        """Judge the detections of each image, in the set's order.

        Raises:
            DataError: see `flat_detections`.
        """
        ground_truth = flat_ground_truth(annotations)
        found, scores, _ = flat_detections(annotations, detections)
        ignored = annotations.difficult | annotations.crowd | unusable(ground_truth)
        verdicts, hit_ground_truth = judge(found, scores, ground_truth, ignored, iou_threshold=0.5)
        names = {name for one in detections for name in one.class_names}
        known = np.array([name in names for name in annotations.class_names])
        return cls(annotations, ground_truth, ignored, found, scores, verdicts, hit_ground_truth, known)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The set's classes."""
        return self.annotations.class_names

    def positives(self, label: int) -> Int64[np.ndarray, " P"]:
        """Rows of a class's ground-truth boxes that count; none of a class that the detector does not know."""
        return np.flatnonzero((self.ground_truth.labels == label) & ~self.ignored & self.known[label])

    def overlaps(self) -> Iterator[tuple[slice, slice, Float32[np.ndarray, "n R"]]]:
        """For each image: its rows of detections, its rows of objects, and their IoU (0 where a box is no box)."""
        starts = np.searchsorted(self.found.images, np.arange(len(self.annotations) + 1))
        for image in range(len(self.annotations)):
            of_found = slice(starts[image], starts[image + 1])
            of_ground_truth = slice(self.annotations.starts[image], self.annotations.starts[image + 1])
            with np.errstate(invalid="ignore"):
                overlaps = pairwise_iou(self.found.boxes_xyxy[of_found], self.ground_truth.boxes_xyxy[of_ground_truth])
            yield of_found, of_ground_truth, np.nan_to_num(overlaps)
