"""Draw docs/how-ssd-works.md's pictures with the package's own code: `python scripts/method_pictures.py [FOLDER]`.

Default boxes of each map, matching, mining, and one image through the model in the package (needs torch).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from singleshot.commands.explain import GroundTruthToLearn, explain
from singleshot.draw import Colour, Mark, class_colour, draw_marks
from singleshot.models.ssd import SSD
from singleshot.photographs import CHELSEA
from singleshot.preprocess import to_network_input
from singleshot.report.explanation import Explanation
from singleshot.runtime.engine import raw_detections
from singleshot.runtime.find_model import find_model
from singleshot.shapes import UInt8
from singleshot.ssd.detection import to_detections
from singleshot.ssd.tensors import probabilities
from singleshot.variants import SSDLITE320_MOBILENETV2
from singleshot.weights.build import load_network

CAT_XYXY = (0.03, 0.02, 0.97, 0.99)
"""Where the cat is, in fractions of the photograph: drawn by hand."""
HEIGHT = 220
"""Pixels of a panel."""
GAP = 8
POSITIVE: Colour = (60, 220, 110)
NEGATIVE: Colour = (255, 80, 80)
GROUND_TRUTH: Colour = (255, 255, 255)
LEAST_SCORE = 0.3
Pixels = UInt8[np.ndarray, "H W 3"]


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parents[1] / "docs/images")
    folder = parser.parse_args().folder
    for name, picture in draw_pictures().items():
        Image.fromarray(picture).save(folder / f"ssd-{name}.jpg", quality=82, optimize=True)


def draw_pictures() -> dict[str, Pixels]:
    """Name -> picture."""
    network = load_network(find_model(SSDLITE320_MOBILENETV2.name)).eval()
    pixels = CHELSEA.pixels()
    label = network.spec.class_names.index("cat")
    truth = GroundTruthToLearn(np.array([CAT_XYXY], np.float32), np.array([label]))
    explanation = explain(network, pixels, score=LEAST_SCORE, ground_truth=truth)
    return {
        "maps": _maps(network, pixels),
        "matching": _matching(pixels, explanation),
        "mining": _mining(pixels, explanation),
        "one-image": _one_image(network, pixels),
    }


def _maps(network: SSD, pixels: Pixels) -> Pixels:
    """The grid of each map, and the default boxes of its middle cell."""
    height, width = pixels.shape[:2]
    boxes = network.default_boxes.numpy() * [width, height, width, height]
    panels, start = [], 0
    for number, ((rows, columns), shapes) in enumerate(zip(network.map_sizes_hw, network.spec.boxes.maps, strict=True)):
        count = shapes.boxes_per_cell
        cell = rows // 2 * columns + columns // 2
        middle = boxes[start + cell * count :][:count]
        panel = (pixels * 0.6).astype(np.uint8)
        for row in range(1, rows):
            panel[round(row * height / rows)] = 200
        for column in range(1, columns):
            panel[:, round(column * width / columns)] = 200
        panels.append(draw_marks(panel, [Mark(box, class_colour(number)) for box in middle]))
        start += rows * columns * count
    return _beside(panels)


def _matching(pixels: Pixels, explanation: Explanation) -> Pixels:
    """The cat's box; every default box that learns it; the best of them alone."""
    learnt = explanation.objects[0]
    truth = Mark(learnt.box_xyxy, GROUND_TRUTH, "ground truth", dashed=True)
    positives = [Mark(box.box_xyxy, POSITIVE) for box in learnt.default_boxes]
    best = Mark(learnt.best.box_xyxy, POSITIVE, f"IoU {learnt.iou:.2f}")
    return _beside([draw_marks(pixels, marks) for marks in ([truth], [*positives, truth], [best, truth])])


def _mining(pixels: Pixels, explanation: Explanation) -> Pixels:
    """The positives, and the negatives that are mined: those that look least like background to the model."""
    positives = [Mark(box.box_xyxy, POSITIVE) for box in explanation.objects[0].default_boxes]
    negatives = [Mark(box.box_xyxy, NEGATIVE) for box, _loss in explanation.mined]
    return _beside([draw_marks(pixels, marks) for marks in (positives, negatives)])


@torch.inference_mode()
def _one_image(network: SSD, pixels: Pixels) -> Pixels:
    """What the network sees, all boxes that score enough, and what NMS leaves."""
    spec = network.spec
    inputs = torch.from_numpy(to_network_input(pixels, spec.input_size_hw, spec.preprocess))[None]
    predictions = network(inputs)
    scores = probabilities(predictions.logits, spec.postprocess.scores).numpy()
    everything = replace(spec, postprocess=replace(spec.postprocess, nms_threshold=1.0))
    panels = [cv2.resize(pixels, spec.input_size_hw[::-1])]
    for rule in (everything, spec):
        (raw,) = raw_detections(
            rule, network.default_boxes.numpy(), predictions.offsets.numpy(), scores, score_threshold=LEAST_SCORE
        )
        height, width = pixels.shape[:2]
        panels.append(to_detections(raw, width, height, spec.class_names).draw(pixels))
    return _beside(panels)


def _beside(panels: Sequence[Pixels]) -> Pixels:
    """Panels of one height in rows of three at most, white gaps between them."""
    same = []
    for panel in panels:
        height, width = panel.shape[:2]
        small = cv2.resize(panel, (round(width * HEIGHT / height), HEIGHT), interpolation=cv2.INTER_AREA)
        same.append(np.pad(small, ((0, GAP), (0, GAP), (0, 0)), constant_values=255))
    rows = [np.hstack(same[start : start + 3]) for start in range(0, len(same), 3)]
    widest = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0)), constant_values=255) for row in rows])


if __name__ == "__main__":
    main()
