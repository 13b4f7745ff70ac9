"""Average precision with and without tiles on large images: mosaics of the images of a labelled set.

python benchmarks/tiles.py VOC2007 --split test --grid 4 --tile 640 --tile 384

Each mosaic is `grid` x `grid` images at their own size, in cells of 512 pixels, drawn without replacement by the seed.
The model sees it whole, then whole and in tiles.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from singleshot import Detector
from singleshot.data.classes import only_classes
from singleshot.data.recognise import open_data
from singleshot.decode import decode_image
from singleshot.evaluate.protocols import evaluate
from singleshot.types import BOX_ARRAYS, Annotations

CELL = 512
GREY = 114


def mosaic(annotations: Annotations, indices: Sequence[int], grid: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of a mosaic, and the boxes of its images on it."""
    canvas = np.full((grid * CELL, grid * CELL, 3), GREY, np.uint8)
    boxes = [np.zeros((0, 4), np.float32)]
    for cell, index in enumerate(indices):
        left, top = CELL * (cell % grid), CELL * (cell // grid)
        image = decode_image(annotations.path(index))[:CELL, :CELL]
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
        boxes.append(annotations.ground_truth(index).boxes_xyxy + np.array([left, top] * 2, np.float32))
    return canvas, np.concatenate(boxes)


def mosaic_set(
    annotations: Annotations, groups: Sequence[Sequence[int]], grid: int
) -> tuple[list[np.ndarray], Annotations]:
    """The mosaics, and their ground truth as one set."""
    images, boxes = zip(*(mosaic(annotations, group, grid) for group in groups), strict=True)
    whole = annotations.subset([index for group in groups for index in group])
    names = tuple(f"mosaic{number}.png" for number in range(len(groups)))
    ground_truth = replace(
        whole,
        files=names,
        ids=names,
        sizes_wh=np.full((len(groups), 2), grid * CELL, np.int32),
        starts=np.cumsum([0, *map(len, boxes)]).astype(np.int64),
        **{name: getattr(whole, name) for name in BOX_ARRAYS if name != "boxes_xyxy"},
        boxes_xyxy=np.concatenate(boxes),
    )
    return list(images), ground_truth


def main() -> None:
    """Print a line for each way to detect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--model")
    parser.add_argument("--grid", type=int, default=4)
    parser.add_argument("--mosaics", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tile", type=int, action="append", help="may be given several times")
    parser.add_argument("--overlap", type=float, default=0.2)
    arguments = parser.parse_args()
    annotations = open_data(arguments.data, split=arguments.split)
    known = [name for name in Detector.load(arguments.model).spec.class_names if name in annotations.class_names]
    annotations = only_classes(annotations, known)
    order = np.random.default_rng(arguments.seed).permutation(len(annotations))
    count = min(arguments.mosaics, len(order) // arguments.grid**2)
    groups = order[: count * arguments.grid**2].reshape(count, -1).tolist()
    images, ground_truth = mosaic_set(annotations, groups, arguments.grid)
    side = arguments.grid * CELL
    print(f"{count} mosaics of {side}x{side}, {len(ground_truth.labels)} objects of {', '.join(known)}")
    for tile in [None, *(arguments.tile or [640])]:
        detector = Detector.load(arguments.model, tile=tile, overlap=arguments.overlap)
        start = time.perf_counter()
        detections = [detector(image) for image in images]
        seconds = (time.perf_counter() - start) / count
        result = evaluate(ground_truth, detections)
        name = "whole" if tile is None else f"tiles of {tile}"
        classes = ", ".join(f"{key} {100 * (value or 0):.1f}" for key, value in result.per_class.items())
        print(f"{name}: mAP {100 * (result.mean_ap or 0):.1f}% ({classes}), {1000 * seconds:.0f} ms an image")


if __name__ == "__main__":
    main()
