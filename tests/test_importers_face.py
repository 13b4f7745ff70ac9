"""OpenCV's face detector: the imported network is the description's, layer by layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from face_detector_files import MAPS, SIDE, run, write_files
from singleshot.commands.import_weights import import_files
from singleshot.errors import ModelError
from singleshot.preprocess import to_network_input
from singleshot.weights.build import load_network
from singleshot.weights.importers.caffe_face import MEAN_BGR
from singleshot.weights.importers.caffe_graph import Graph
from singleshot.weights.importers.caffe_proto import read_prototxt


def test_outputs_are_those_of_the_layers_one_by_one(tmp_path: Path) -> None:
    files = write_files(tmp_path)
    files = (files[0].rename(tmp_path / "deploy.prototxt.txt"), files[1])
    assert "1 class (face)" in import_files(files, tmp_path / "face")
    network = load_network(tmp_path / "face").eval()
    image = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    with torch.no_grad():
        predictions = network(torch.from_numpy(to_network_input(image, (SIDE, SIDE), network.spec.preprocess))[None])
    bgr = image[..., ::-1].astype(np.float32) - np.array(MEAN_BGR, np.float32)
    blobs = run(Graph(read_prototxt(files[0]), "it"), files[1], torch.from_numpy(bgr.transpose(2, 0, 1).copy())[None])
    for part, columns, ours in (("loc", 4, predictions.offsets), ("conf", 2, predictions.logits)):
        rows = [blobs[f"{name}_mbox_{part}"].permute(0, 2, 3, 1).reshape(1, -1, columns) for name in MAPS]
        torch.testing.assert_close(ours, torch.cat(rows, dim=1), rtol=1e-3, atol=1e-3)  # folded, and in float32
    assert network.spec.normalised == ("block2",)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('"layer_128_1_relu2" type: "ReLU"', '"layer_128_1_relu2" type: "Dropout"', "layer_128_1_conv1_h"),
        ('"conv7_1_h" type: "Convolution" bottom: "conv6_2_h"', '"conv7_1_h" type: "Convolution" bottom: "conv6_1_h"',
         "conv7_1_h"),
        ("pooling_param { kernel_size: 3 stride: 2 }", "pooling_param { kernel_size: 2 stride: 2 }", "conv1_pool"),
        ('bottom: "layer_256_1_conv2" bottom: "layer_256_1_conv_expand"',
         'bottom: "layer_256_1_conv2" bottom: "layer_256_1_conv1"', "layer_512_1"),
    ],
)  # fmt: skip
def test_another_network_is_refused_and_its_layer_named(old: str, new: str, named: str, tmp_path: Path) -> None:
    description, weights = write_files(tmp_path)
    text = description.read_text()
    assert old in text
    description.write_text(text.replace(old, new))
    with pytest.raises(ModelError, match=named):
        import_files((description, weights), tmp_path / "face")
    assert not (tmp_path / "face").exists()
