from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from singleshot import Detector
from singleshot.commands.options import DetectionSource
from singleshot.errors import RequestError
from singleshot.runtime.tiling import TiledBackend, cut_by_tile, merge_tiles
from singleshot.spec import ModelSpec, Postprocess
from singleshot.ssd.detection import RawDetections
from singleshot.tiles import Tile, Tiling
from singleshot.variants import variant

SETTINGS = Postprocess(nms_threshold=0.45)
SIZE_HW = (100, 180)
WHOLE, LEFT, RIGHT = (0, 0, 180, 100), (0, 0, 100, 100), (80, 0, 180, 100)


def detections(tile: Tile, *rows: tuple[tuple[float, float, float, float], float, int]) -> RawDetections:
    """Boxes in pixels of the image, their scores and labels, as fractions of a tile."""
    left, top, right, bottom = tile
    boxes = np.array([row[0] for row in rows], np.float32).reshape(-1, 4) - np.array([left, top] * 2, np.float32)
    sides = np.array([right - left, bottom - top] * 2, np.float32)
    scores, labels = np.array([row[1] for row in rows], np.float32), np.array([row[2] for row in rows], np.int64)
    return RawDetections(boxes / sides, scores, labels)


def merged(*parts: tuple[Tile, RawDetections]) -> list[tuple[list[float], float, int]]:
    """Boxes in whole pixels, scores and labels."""
    tiles, found = zip(*parts, strict=True)
    result = merge_tiles(found, tiles, SIZE_HW, SETTINGS)
    pixels = np.round(result.boxes_xyxy * np.array([180, 100, 180, 100])).tolist()
    return list(zip(pixels, [round(float(score), 2) for score in result.scores], result.labels.tolist(), strict=True))


def test_an_object_in_the_overlap_is_found_once() -> None:
    left, right = detections(LEFT, ((82, 10, 96, 30), 0.8, 1)), detections(RIGHT, ((82.4, 10, 96, 30), 0.9, 1))
    assert merged((WHOLE, detections(WHOLE)), (LEFT, left), (RIGHT, right)) == [([82, 10, 96, 30], 0.9, 1)]


def test_a_part_cut_by_a_seam_gives_way_to_the_whole_object_though_it_scores_more() -> None:
    left = detections(LEFT, ((85, 10, 100, 30), 0.95, 0))  # ends at the seam
    right = detections(RIGHT, ((85, 10, 125, 30), 0.7, 0))
    assert merged((WHOLE, detections(WHOLE)), (LEFT, left), (RIGHT, right)) == [([85, 10, 125, 30], 0.7, 0)]


def test_a_cut_part_of_another_class_or_without_a_whole_stays() -> None:
    left = detections(LEFT, ((85, 10, 100, 30), 0.95, 2), ((0, 50, 100, 90), 0.6, 0))
    right = detections(RIGHT, ((85, 10, 125, 30), 0.7, 0))
    assert [label for _, _, label in merged((WHOLE, detections(WHOLE)), (LEFT, left), (RIGHT, right))] == [2, 0, 0]


def test_only_borders_inside_the_image_cut() -> None:
    edges = detections(LEFT, ((0, 0, 50, 50), 0.9, 0), ((50, 50, 99.5, 80), 0.9, 0), ((50, 50, 90, 100), 0.9, 0))
    assert cut_by_tile(edges, LEFT, SIZE_HW).tolist() == [False, True, False]
    assert cut_by_tile(detections(RIGHT, ((80, 0, 120, 50), 0.9, 0)), RIGHT, SIZE_HW).tolist() == [True]


def test_the_detections_of_an_image_of_one_tile_are_left_as_they_are() -> None:
    whole = detections(WHOLE, ((1, 1, 5, 5), 0.5, 0))
    assert merge_tiles([whole], [WHOLE], SIZE_HW, SETTINGS) is whole


def test_nothing_found_in_any_tile_is_nothing() -> None:
    assert merged((WHOLE, detections(WHOLE)), (LEFT, detections(LEFT)), (RIGHT, detections(RIGHT))) == []


class BrightPixels:
    """Finds the bright rectangle of an image if it is 5% of its width or more: small objects vanish in large images."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, images: Sequence[np.ndarray], *, score_threshold: float | None = None) -> list[RawDetections]:
        return [self.detect(image, score_threshold=score_threshold) for image in images]

    def detect(self, image: np.ndarray, *, score_threshold: float | None = None) -> RawDetections:
        assert score_threshold != 1
        height, width = image.shape[:2]
        self.sizes.append((height, width))
        rows, columns = np.nonzero(image[..., 0] > 250)
        if not len(rows) or (columns.max() - columns.min() + 1) < 0.05 * width:
            return RawDetections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
        box = [columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height]
        return RawDetections(np.array([box], np.float32), np.array([0.9], np.float32), np.array([0]))

    def workers(self) -> list[object]:
        return [self.detect, self.detect]


def test_small_objects_of_a_large_image_are_found_in_tiles_alone() -> None:
    backend = BrightPixels(replace(variant("ssdlite320-mobilenetv2"), class_names=("dot",)))
    pixels = np.random.default_rng(0).integers(0, 200, (400, 1000, 3)).astype(np.uint8)
    pixels[300:310, 700:710] = 255
    assert len(Detector(backend, name="plain")(pixels)) == 0
    tiled = TiledBackend(backend, Tiling(200, 0.2))
    result = Detector(tiled, name="tiled")(pixels)
    assert result.boxes.round(3).tolist() == [[700, 300, 710, 310]]
    assert set(backend.sizes[1:]) == {(400, 1000), (200, 200)}
    worker = tiled.workers()[1]
    assert np.array_equal(worker(pixels).boxes_xyxy, tiled([pixels])[0].boxes_xyxy)


def test_tiles_of_a_file_of_detections_are_refused() -> None:
    with pytest.raises(RequestError, match="--tile"):
        DetectionSource(detections=Path("detections.json"), tile=640)
    with pytest.raises(RequestError, match="--tile"):
        DetectionSource(tile=3)
