"""Our own detectors as cases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from singleshot.errors import RequestError
from singleshot.export.openvino_ir import halve_weights, serialised, to_openvino
from singleshot.export.quantizer import quantize_graph
from singleshot.lab.bench.scenes import image, resemble_trained
from singleshot.lab.bench.timing import Case
from singleshot.models.heads import class_layers
from singleshot.models.ssd import SSD
from singleshot.photographs import PHOTOGRAPHS
from singleshot.preprocess import to_network_input
from singleshot.runtime.backends import load_engine
from singleshot.runtime.detector import Detector
from singleshot.runtime.engine import raw_detections, resize_into
from singleshot.runtime.find_model import find_model
from singleshot.runtime.onnx_backend import OnnxBackend
from singleshot.runtime.openvino_backend import OpenVINOBackend
from singleshot.spec import ModelSpec
from singleshot.variants import VARIANTS, variant
from singleshot.weights.build import load_network

Engine = OpenVINOBackend | OnnxBackend
"""What runs our models here."""
PRECISIONS = ("fp32", "bf16", "int8")


def ours(model: str, *, threads: int) -> Iterator[tuple[Case, Engine]]:
    """A case a precision, and its engine; an exported model comes as it is.

    An architecture gets seeded weights, and any model's int8 scales are measured on the package's few photographs: good
    for timing only.

    Raises:
        RequestError, ModelError, HashError: no such model, or one that is not whole.
    """
    short = "/".join(Path(model).parts[-2:])
    if model not in VARIANTS:
        folder = find_model(model)
        if folder.export is not None:
            backend = load_engine(folder, threads=threads)
            yield _case(f"ours {short}, {folder.export.precision}", backend), backend
            return
        network = load_network(folder)
    else:
        network = _fresh(variant(model))
    graph = to_openvino(network)
    for precision in PRECISIONS:
        of_its_own = graph.clone()
        if precision == "int8":
            of_its_own = quantize_graph(of_its_own, _inputs(network), quietly=True)
        halve_weights(of_its_own, only_exact=precision != "bf16")
        engine = OpenVINOBackend(
            network.spec, serialised(of_its_own), precision=precision, origin=model, threads=threads
        )
        yield _case(f"ours {short}, {precision}", engine), engine


def untrained(spec: ModelSpec, *, name: str, threads: int) -> Case:
    """A network of this specification with seeded weights, fp32: good for timing only."""
    graph = to_openvino(_fresh(spec))
    halve_weights(graph, only_exact=True)
    return _case(name, OpenVINOBackend(spec, serialised(graph), precision="fp32", origin=spec.name, threads=threads))


def _fresh(spec: ModelSpec) -> SSD:
    """Seeded weights whose class scores resemble a trained network's."""
    network = SSD(spec, seed=0).eval()
    with torch.inference_mode():
        inputs = torch.from_numpy(to_network_input(image(), spec.input_size_hw, spec.preprocess))[None]
        logits = network(inputs).logits[0].clone()
    resemble_trained(class_layers(network.heads), logits, spec.num_classes, spec.postprocess.score_threshold)
    return network


def _inputs(network: SSD) -> list[np.ndarray]:
    inputs = []
    for photograph in PHOTOGRAPHS:
        inputs.append(np.empty((1, *network.spec.input_size_hw, 3), np.uint8))
        resize_into(inputs[-1], [photograph.pixels()])
    return inputs


def _case(name: str, backend: Engine) -> Case:
    spec = backend.spec
    scene = image()
    detector = Detector(backend, name=name)
    resized = np.empty((1, *spec.input_size_hw, 3), np.uint8)
    resize_into(resized, [scene])
    offsets, probabilities = (array.copy() for array in backend.predict([scene]))
    noise = np.random.default_rng(0).random(probabilities.shape, np.float32)
    crowded = probabilities + 0.02 + 0.01 * noise
    crowded /= crowded.sum(axis=2, keepdims=True)
    boxes = backend.default_boxes
    if (crowded[..., 1:] > spec.postprocess.score_threshold).mean() < 0.9:
        raise RequestError(f"{name} has too many classes for the worst case of post-processing")
    works = {
        "whole": lambda: detector(scene),
        "network": lambda: backend.predict(list(resized)),
        "post": lambda: raw_detections(spec, boxes, offsets, probabilities),
        "post_worst": lambda: raw_detections(spec, boxes, offsets, crowded),
        "batch8": lambda: detector([scene] * 8),
    }
    height, width = spec.input_size_hw
    return Case(name, spec.name, works, boxes=len(boxes), input_size=f"{width} x {height}")
