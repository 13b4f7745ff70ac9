"""The ONNX graph as a file: what other runtimes need of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from singleshot.export.onnx_graph import to_onnx
from singleshot.models.ssd import SSD
from singleshot.variants import SSDLITE320_MOBILENETV2

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def network() -> SSD:
    network = SSD(replace(SSDLITE320_MOBILENETV2, width=0.25), seed=3).eval()
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, torch.nn.Conv2d):  # so that every weight shows in the outputs
                torch.nn.init.kaiming_normal_(part.weight, generator=torch.Generator().manual_seed(5))
    return network


def test_no_padded_convolution_is_left_on_one_cell(network: SSD) -> None:
    """OpenCV 4 computes them wrongly; their middle weights alone are equal, since all others meet padding."""
    content = to_onnx(network, outputs="raw")
    graph = onnx.load_from_string(content).graph
    shapes = {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in graph.value_info}
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    on_one_cell = [
        weights[node.input[1]].shape
        for node in graph.node
        if node.op_type == "Conv" and shapes[node.input[0]][2:] == [1, 1]
    ]
    assert len(on_one_cell) >= 4
    assert {shape[2:] for shape in on_one_cell} == {(1, 1)}
    images = np.random.default_rng(0).integers(0, 256, (2, 320, 320, 3), np.uint8)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    offsets = session.run(["offsets"], {"images": images})[0]
    with torch.no_grad():
        from singleshot.preprocess import to_network_input

        inputs = np.stack([to_network_input(image, (320, 320), network.spec.preprocess) for image in images])
        expected = network(torch.from_numpy(inputs)).offsets.numpy()
    assert np.abs(expected[:, -6:]).max() > 0.1  # of the last map, which is one cell
    np.testing.assert_allclose(offsets, expected, rtol=1e-4, atol=1e-3)
