"""A set's detections judged once, so that the mAP of any resampling of its images costs little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from singleshot.evaluate.average_precision import ApVersion, at_recalls, average_precision
from singleshot.evaluate.coco import ignored_as_crowd
from singleshot.evaluate.coco_matching import judge_coco
from singleshot.evaluate.evaluation import mean_of_present
from singleshot.evaluate.flat import flat_detections, flat_ground_truth
from singleshot.evaluate.ilsvrc import judge_ilsvrc
from singleshot.evaluate.voc import AP_VERSIONS, HIT, IGNORED, judge, ranked, unusable
from singleshot.shapes import Bool, Int64
from singleshot.types import Annotations, Detections

VERSIONS: dict[str, ApVersion] = dict([*AP_VERSIONS.items(), ("ilsvrc", "MaxIntegral")])
"""Protocols of a single overlap, and how they make an average precision of a curve."""
COCO_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, eq=False)
class JudgedClass:
    """The detections of a class, best first, and its ground-truth boxes.

    Attributes:
        images: image of each detection.
        hits: whether it found a ground-truth box, at each overlap that the protocol knows.
        counted: whether it counts there.
        ground_truth: how many ground-truth boxes each image has.
    """

    images: Int64[np.ndarray, " n"]
    hits: Bool[np.ndarray, "T n"]
    counted: Bool[np.ndarray, "T n"]
    ground_truth: Int64[np.ndarray, " images"]

    def average_precision(self, times: Int64[np.ndarray, " images"], protocol: str) -> float | None:
        """The AP in a set that holds each image so many times; None where it has no ground-truth boxes."""
        positives = int(times @ self.ground_truth)
        if not positives:
            return None
        of_each = times[self.images]
        aps = []
        for hits, counted in zip(self.hits, self.counted, strict=True):
            there = counted & (of_each > 0)
            found, shown = np.cumsum(hits[there] * of_each[there]), np.cumsum(of_each[there])
            if protocol in VERSIONS:
                single = (found.astype(np.float32) / np.float32(positives), found / shown.astype(np.float32))
                aps.append(average_precision(single, VERSIONS[protocol]))
            else:
                aps.append(at_recalls(found / positives, found / shown, COCO_RECALLS))
        return float(np.mean(aps))


@dataclass(frozen=True, eq=False)
class Judged:
    """All that mAP depends on: which ground-truth box a detection hits does not depend on the other images."""

    protocol: str
    classes: tuple[JudgedClass, ...]

    @classmethod
    def of(cls, annotations: Annotations, detections: Sequence[Detections], protocol: str) -> Judged:
        """Judge the detections.

        Args:
            annotations: images and ground-truth boxes.
            detections: of each image, in the set's order; boxes in pixels.
            protocol: `voc07`, `voc12`, `ilsvrc` or `coco`.

        Raises:
            DataError: see `flat_detections`.
        """
        ground_truth = flat_ground_truth(annotations)
        found, scores, _ = flat_detections(annotations, detections)
        if protocol in VERSIONS:
            ignored = annotations.difficult | annotations.crowd | unusable(ground_truth)
            if protocol == "ilsvrc":
                verdicts = judge_ilsvrc(found, scores, ground_truth, ignored)[None]
            else:
                verdicts = judge(found, scores, ground_truth, ignored, iou_threshold=0.5)[0][None]
        else:
            ignored = ignored_as_crowd(annotations)
            verdicts = judge_coco(found, scores, ground_truth, ignored)
        classes = []
        for label in range(len(annotations.class_names)):
            mine = ranked(np.flatnonzero(found.labels == label), scores)
            of_class = ground_truth.images[(ground_truth.labels == label) & ~ignored]
            by_image = np.bincount(of_class, minlength=len(annotations))
            of_mine = verdicts[:, mine]
            classes.append(JudgedClass(found.images[mine], of_mine == HIT, of_mine != IGNORED, by_image))
        return cls(protocol, tuple(classes))

    def mean_ap(self, times: Int64[np.ndarray, " images"]) -> float:
        """The mAP of a set that holds each image so many times; 0 where no class has ground-truth boxes."""
        return mean_of_present(dict(enumerate(self.precisions(times)))) or 0.0

    def precisions(self, times: Int64[np.ndarray, " images"]) -> list[float | None]:
        """The AP of each class there; None where it has no ground-truth boxes."""
        return [one.average_precision(times, self.protocol) for one in self.classes]
