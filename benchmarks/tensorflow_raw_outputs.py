"""How far the raw outputs of a detector of TensorFlow's lie from those of our network, image by image.

python benchmarks/tensorflow_raw_outputs.py FILE IMAGES [--size WxH] [--count 20] [--float64]

FILE is a .tflite, a frozen .pb or the folder of a SavedModel, which OpenVINO runs in float32 (a quantised one without
the rounding between its layers). IMAGES is a folder; every n-th file by name is taken, n = files / count.

--float64 also tells how far each lies from the graph computed in float64, which is near the exact value: what is left
when both round in float32 is theirs, what our network has in float64, too, is ours.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from graph_in_float64 import run_in_float64

from singleshot.decode import decode_image
from singleshot.graphs.detector_graph import DetectorGraph, evaluate, read_detector_graph
from singleshot.graphs.import_detector import import_detector
from singleshot.models.ssd import SSD
from singleshot.preprocess import to_network_input
from singleshot.runtime.openvino_core import opset9
from singleshot.weights.build import fill
from singleshot.weights.importers.tensorflow_layers import without_rounding

TO_XYWH = (1, 0, 3, 2)
Results = tuple[np.ndarray, np.ndarray]
"""Offsets (K, 4), x, y, width, height, and logits (K, C)."""


def main() -> None:
    """Run both networks on every image and print the largest differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--size", help="WxH, where the graph takes images of any size")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--float64", action="store_true")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x")) if options.size else (0, 0)
    graph, network = _both(options.file, (height, width) if options.size else None)
    exact_network = copy.deepcopy(network).double()
    furthest: dict[str, list[list[float]]] = {}
    largest, relative = np.zeros(2), 0.0
    files = sorted(path for path in options.images.iterdir() if path.is_file())
    for path in files[:: max(1, len(files) // options.count)][: options.count]:
        image = cv2.resize(decode_image(path), network.spec.input_size_hw[::-1])
        there, here = _of_graph(graph.run(image)), _of_network(network, image, graph)
        largest = np.maximum(largest, [np.abs(values).max() for values in there])
        relative = max(relative, *map(_relative, here, there))
        furthest.setdefault("ours from the graph", []).append(_differences(here, there))
        if options.float64:
            exact = _of_graph(run_in_float64(graph.model, image))
            furthest.setdefault("ours from float64", []).append(_differences(here, exact))
            furthest.setdefault("the graph from float64", []).append(_differences(there, exact))
            ours = _of_network(exact_network, image, graph)
            furthest.setdefault("ours in float64 from float64", []).append(_differences(ours, exact))
    spec = network.spec
    print(f"{spec.name}: {len(spec.class_names)} ids, {len(network.default_boxes)} boxes")
    for what, rows in furthest.items():
        offsets, logits = np.max(rows, axis=0)
        print(f"{what}: offsets {offsets:.2g}, logits {logits:.2g}")
    print(f"largest values: offsets {largest[0]:.1f}, logits {largest[1]:.1f}")
    print(f"relative to values above 1: {relative:.2g}")


def _both(file: Path, size_hw: tuple[int, int] | None) -> tuple[DetectorGraph, SSD]:
    """The graph in floating point, and our network; a name for every id, so that no column is left out."""
    graph = read_detector_graph(file, size_hw=size_hw)
    names = [f"id {number}" for number in range(graph.num_labels)]
    detector = import_detector(file, class_names=names, size_hw=size_hw)
    if detector.state is None:
        raise SystemExit(f"{file} is no network of ours: {detector.not_trainable}")
    without_rounding(graph.model, opset9, evaluate)
    network = SSD(detector.spec)
    fill(network, detector.state, origin=str(file))
    return graph, network.eval()


def _of_graph(results: Sequence[np.ndarray]) -> Results:
    return results[0][:, TO_XYWH], results[1]


@torch.inference_mode()
def _of_network(network: SSD, image: np.ndarray, graph: DetectorGraph) -> Results:
    """Offsets, and logits of the graph's columns."""
    kind = next(network.parameters()).dtype
    inputs = to_network_input(image, network.spec.input_size_hw, network.spec.preprocess)
    predictions = network(torch.from_numpy(inputs)[None].to(kind))
    return predictions.offsets[0].numpy(), predictions.logits[0].numpy()[:, 0 if graph.background else 1 :]


def _differences(here: Results, there: Results) -> list[float]:
    return [float(np.abs(ours - theirs).max()) for ours, theirs in zip(here, there, strict=True)]


def _relative(here: np.ndarray, there: np.ndarray) -> float:
    return float((np.abs(here - there) / np.maximum(1, np.abs(there))).max())


if __name__ == "__main__":
    main()
