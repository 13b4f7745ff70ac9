"""How far the raw outputs of a detector of TensorFlow's lie from those of our network, image by image.

python benchmarks/tensorflow_raw_outputs.py FILE IMAGES [--size WxH] [--count 20]

FILE is a .tflite, a frozen .pb or the folder of a SavedModel, which OpenVINO runs in float32 (a quantised one without
the rounding between its layers). IMAGES is a folder; every n-th file by name is taken, n = files / count.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from singleshot.decode import decode_image
from singleshot.graphs.detector_graph import evaluate, read_detector_graph
from singleshot.graphs.import_detector import import_detector
from singleshot.models.ssd import SSD
from singleshot.preprocess import to_network_input
from singleshot.runtime.openvino_core import opset9
from singleshot.weights.build import fill
from singleshot.weights.importers.tensorflow_layers import without_rounding

TO_XYWH = (1, 0, 3, 2)


def main() -> None:
    """Run both networks on every image and print the largest differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--size", help="WxH, where the graph takes images of any size")
    parser.add_argument("--count", type=int, default=20)
    options = parser.parse_args()
    width, height = map(int, options.size.split("x")) if options.size else (0, 0)
    size_hw = (height, width) if options.size else None
    graph = read_detector_graph(options.file, size_hw=size_hw)
    # A name for every id, so that no column is left out.
    names = [f"id {number}" for number in range(graph.num_labels)]
    detector = import_detector(options.file, class_names=names, size_hw=size_hw)
    if detector.state is None:
        raise SystemExit(f"{options.file} is no network of ours: {detector.not_trainable}")
    without_rounding(graph.model, opset9, evaluate)
    network = SSD(detector.spec)
    fill(network, detector.state, origin=str(options.file))
    network.eval()
    files = sorted(path for path in options.images.iterdir() if path.is_file())
    furthest, largest, relative = np.zeros(2), np.zeros(2), 0.0
    for path in files[:: max(1, len(files) // options.count)][: options.count]:
        image = cv2.resize(decode_image(path), detector.spec.input_size_hw[::-1])
        with torch.inference_mode():
            inputs = to_network_input(image, detector.spec.input_size_hw, detector.spec.preprocess)
            ours = network(torch.from_numpy(inputs)[None])
        offsets, logits = graph.run(image)
        first = 0 if graph.background else 1
        pairs = (
            (ours.offsets[0].numpy(), offsets[:, TO_XYWH]),
            (ours.logits[0].numpy()[:, first:], logits),
        )
        furthest = np.maximum(furthest, [np.abs(here - there).max() for here, there in pairs])
        relative = max(relative, *(_relative(here, there) for here, there in pairs))
        largest = np.maximum(largest, [np.abs(there).max() for _, there in pairs])
    print(f"{detector.spec.name}: {len(detector.spec.class_names)} ids, {len(network.default_boxes)} boxes")
    print(
        f"offsets: {furthest[0]:.2g} of at most {largest[0]:.1f}; logits: {furthest[1]:.2g} of at most {largest[1]:.1f}"
    )
    print(f"relative to values above 1: {relative:.2g}")


def _relative(here: np.ndarray, there: np.ndarray) -> float:
    return float((np.abs(here - there) / np.maximum(1, np.abs(there))).max())


if __name__ == "__main__":
    main()
