"""NMS inside a graph finds what ours finds in the same predictions, however many scores are equal."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest

from singleshot.export.detection_graph import detection_graph
from singleshot.runtime.openvino_core import core
from singleshot.spec import Postprocess
from singleshot.ssd.detection import postprocess
from singleshot.variants import SSD300_VGG16

if TYPE_CHECKING:
    from collections.abc import Callable

    from singleshot.spec import ModelSpec

    Results = Callable[[bytes, dict[str, np.ndarray]], list[np.ndarray]]

BATCH, K = 4, 600


def by_onnxruntime(model: bytes, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)  # type: ignore[no-any-return]


def by_openvino(model: bytes, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    compiled = core().compile_model(core().read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return list(compiled(inputs).values())


def predictions(spec: ModelSpec, digits: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Default boxes, offsets, and probabilities whose logits are multiples of `digits`: the coarser, the more ties."""
    random = np.random.default_rng(5)
    corners = np.sort(random.random((K, 2, 2)), axis=1).reshape(K, 4).astype(np.float32)
    offsets = random.normal(size=(BATCH, K, 4)).astype(np.float32)
    logits = np.round(random.normal(size=(BATCH, K, spec.num_classes)) * 2 / digits) * digits
    powers = np.exp(logits)
    return corners, offsets, (powers / powers.sum(axis=2, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("results", [by_onnxruntime, by_openvino])
@pytest.mark.parametrize("top_k", [1, 37, 400, -1])
@pytest.mark.parametrize("names", [("face",), ("cat", "dog", "owl")], ids=len)
@pytest.mark.parametrize("across_classes", [False, True], ids=["by class", "across classes"])
@pytest.mark.parametrize("digits", [1.0, 2**-4, 2**-20], ids=["a few scores", "many ties", "no ties"])
def test_a_list_is_cut_as_ours_is(
    results: Results, top_k: int, names: tuple[str, ...], digits: float, across_classes: bool
) -> None:
    settings = Postprocess(top_k=top_k, keep_top_k=-1, across_classes=across_classes)
    spec = replace(SSD300_VGG16, class_names=names, postprocess=settings)
    corners, offsets, probabilities = predictions(spec, digits)
    model = detection_graph(spec, corners).SerializeToString()
    rows, counts = results(model, {"offsets": offsets, "probabilities": probabilities})
    found = [
        postprocess(of_one, scores, corners, spec.boxes.variances, spec.postprocess)
        for of_one, scores in zip(offsets, probabilities, strict=True)
    ]
    assert counts.tolist() == [len(one) for one in found]
    for its, one in zip(np.split(rows, np.cumsum(counts)[:-1]), found, strict=True):
        ours = np.column_stack([one.labels, one.scores, one.boxes_xyxy])
        np.testing.assert_array_equal(its[:, 1], ours[:, 1])
        distances = np.abs(its[:, None] - ours[None]).max(axis=2)  # rows of equal score may have changed places
        assert max(distances.min(axis=0).max(), distances.min(axis=1).max()) < 1e-5
