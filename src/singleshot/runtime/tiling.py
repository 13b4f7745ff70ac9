"""Detect in tiles of a large image, and in the whole of it: small objects are seen at their full size.

A network shrinks an image to its input, 320 pixels or so; of an object of 50 pixels in a photograph of 4,000 it sees 4.
Tiles overlap, so that an object no larger than the overlap lies whole in one of them.

What the tiles gave is merged by two rules, class by class:

1. Boxes that end inside their tile, and those of the whole image: greedy NMS with the model's own threshold of IoU, as
   of one image (Caffe's DetectionOutput).
2. Boxes that end at a border of their tile inside the image may be parts of an object. Such a box is dropped where it
   shares more than half of the smaller of the two with a box that was kept, as in SAHI (Akyon et al. 2022, "Slicing
   Aided Hyper Inference"; its postprocess_match_metric IOS with the threshold 0.5). Else it is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from singleshot.boxes import area, intersection
from singleshot.runtime.engine import Backend, InferenceWorker
from singleshot.shapes import Bool, Float32, Int64
from singleshot.spec import ModelSpec, Postprocess
from singleshot.ssd.detection import RawDetections, nms
from singleshot.tiles import Tile, Tiling

AT_ONCE = 8
"""Tiles of a batch."""
NEAR = 0.01
"""Of the tile's side: a box that ends this close to a border inside the image counts as cut by it."""
PART = 0.5
"""A cut box that shares more than this of the smaller area with a kept box is a part of that object."""


class TiledBackend:
    """An engine that is given tiles, and whose detections are those of whole images. It is a `Backend` itself."""

    def __init__(self, backend: Backend, tiling: Tiling) -> None:
        self._backend = backend
        self._tiling = tiling

    @property
    def spec(self) -> ModelSpec:
        """What the network is."""
        return self._backend.spec

    def __call__(self, images: Sequence[np.ndarray], *, score_threshold: float | None = None) -> list[RawDetections]:
        """The merged detections of each image."""
        return [self._detect(image, score_threshold) for image in images]

    def _detect(self, image: np.ndarray, score_threshold: float | None) -> RawDetections:
        tiles = _with_whole(self._tiling, image)
        parts: list[RawDetections] = []
        for start in range(0, len(tiles), AT_ONCE):
            pixels = [_cut(image, tile) for tile in tiles[start : start + AT_ONCE]]
            parts += self._backend(pixels, score_threshold=score_threshold)
        return merge_tiles(parts, tiles, image.shape[:2], self.spec.postprocess)

    def workers(self) -> Sequence[InferenceWorker]:
        """One for each of the engine's."""
        return [TiledWorker(worker, self._tiling, self.spec.postprocess) for worker in self._backend.workers()]


class TiledWorker:
    """Detects in one image after another, tile by tile. It is an `InferenceWorker` itself."""

    def __init__(self, worker: InferenceWorker, tiling: Tiling, settings: Postprocess) -> None:
        self._worker = worker
        self._tiling = tiling
        self._settings = settings

    def __call__(self, image: np.ndarray, *, score_threshold: float | None = None) -> RawDetections:
        """The merged detections of an image."""
        tiles = _with_whole(self._tiling, image)
        parts = [self._worker(_cut(image, tile), score_threshold=score_threshold) for tile in tiles]
        return merge_tiles(parts, tiles, image.shape[:2], self._settings)


def _with_whole(tiling: Tiling, image: np.ndarray) -> list[Tile]:
    """The whole image, and its tiles where it is larger than one."""
    height, width = image.shape[:2]
    whole, tiles = (0, 0, width, height), tiling.tiles(width, height)
    return [whole] if tiles == [whole] else [whole, *tiles]


def _cut(image: np.ndarray, tile: Tile) -> np.ndarray:
    left, top, right, bottom = tile
    return np.ascontiguousarray(image[top:bottom, left:right])


def merge_tiles(
    parts: Sequence[RawDetections], tiles: Sequence[Tile], size_hw: tuple[int, ...], settings: Postprocess
) -> RawDetections:
    """The detections of the tiles of one image as those of the image, best first; one tile's are left as they are.

    Args:
        parts: of each tile, as fractions of it.
        tiles: where each lies, in pixels of the image.
        size_hw: height and width of the image.
        settings: of the model; the NMS threshold is used.
    """
    if len(parts) == 1:
        return parts[0]
    height, width = size_hw[:2]
    boxes = np.concatenate([_on_image(part, tile) for part, tile in zip(parts, tiles, strict=True)])
    cut = np.concatenate([cut_by_tile(part, tile, (height, width)) for part, tile in zip(parts, tiles, strict=True)])
    scores = np.concatenate([part.scores for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    of_classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    kept = np.concatenate([labels[:0], *(_kept(boxes, scores, cut, rows, settings) for rows in of_classes)])
    best = kept[np.lexsort((kept, labels[kept], -scores[kept]))]
    fractions = boxes[best] / np.array([width, height, width, height], np.float32)
    return RawDetections(fractions, scores[best], labels[best], dropped=sum(part.dropped for part in parts))


def _on_image(part: RawDetections, tile: Tile) -> Float32[np.ndarray, "n 4"]:
    """Boxes in pixels of the image, cut at the border of the tile."""
    left, top, right, bottom = tile
    sides = np.array([right - left, bottom - top] * 2, np.float32)
    return part.boxes_xyxy.clip(0, 1) * sides + np.array([left, top, left, top], np.float32)


def cut_by_tile(part: RawDetections, tile: Tile, size_hw: tuple[int, int]) -> Bool[np.ndarray, " n"]:
    """Which boxes end at a border of the tile that is none of the image."""
    height, width = size_hw
    inside = np.array([tile[0] > 0, tile[1] > 0, tile[2] < width, tile[3] < height])
    at_border = np.concatenate([part.boxes_xyxy[:, :2] <= NEAR, part.boxes_xyxy[:, 2:] >= 1 - NEAR], axis=1)
    return (at_border & inside).any(axis=1)  # type: ignore[no-any-return]


def _kept(
    boxes: Float32[np.ndarray, "n 4"],
    scores: Float32[np.ndarray, " n"],
    cut: Bool[np.ndarray, " n"],
    rows: Int64[np.ndarray, " m"],
    settings: Postprocess,
) -> Int64[np.ndarray, " kept"]:
    """The rows of one class that stay: rule 1 of the boxes that are whole, rule 2 of those that are cut."""
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    whole, parts = rows[~cut[rows]], rows[cut[rows]]
    kept = list(whole[nms(boxes[whole], threshold=settings.nms_threshold, eta=settings.nms_eta)])
    for row in parts:
        common = intersection(boxes[kept], boxes[row])
        smaller = np.minimum(area(boxes[kept]), area(boxes[row]))
        if not (common > PART * smaller).any():
            kept.append(row)
    return np.array(kept, np.int64)
