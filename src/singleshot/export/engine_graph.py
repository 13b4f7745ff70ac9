"""A network as every engine gets it: 8-bit images in, encoded boxes and probabilities out."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from singleshot.models.layers import ConvBlock
from singleshot.models.ssd import SSD
from singleshot.runtime.engine import DETECTIONS, RAW, ROWS
from singleshot.shapes import Float, UInt8
from singleshot.ssd.tensors import probabilities

INPUT = "images"
LARGEST_BATCH = 1024
OUTPUTS = {"detections": (*RAW, *DETECTIONS), "raw": RAW, "rows": (ROWS, *RAW)}
"""What a graph may give, by what it is asked for; see `runtime.engine`. A `Detector` runs all of them."""


class EngineGraph(nn.Module):
    """Normalisation, network and softmax (or sigmoid) as one module.

    The resize stays outside: it is OpenCV's in training and evaluation, and no engine's equals it to the last grey
    level. Channel order and division by the standard deviation are put into the first convolution's filters, which cost
    nothing there; so is batch normalisation. The mean is not: the network pads with zeros after it is subtracted.
    (timm's networks may do what they like with their filters: before them the pixels themselves are changed.)

    Args:
        network: is copied.
        rows: give the classic rows, too.
    """

    mean: Tensor
    deviation: Tensor
    boxes_and_variances: Tensor

    def __init__(self, network: SSD, *, rows: bool = False) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        for block in self.network.modules():
            if isinstance(block, ConvBlock) and block.norm is not None:
                block.convolution = fuse_conv_bn_eval(block.convolution, block.norm)
                block.norm = None
        preprocess = network.spec.preprocess
        self.folded = network.backbone.FOLDS_PIXELS
        self.reverse = preprocess.channel_order == "bgr"
        self.register_buffer("mean", torch.tensor(preprocess.mean_rgb).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(preprocess.std_rgb).view(1, 3, 1, 1))
        if self.folded:
            first = next(layer for layer in self.network.backbone.modules() if isinstance(layer, nn.Conv2d))
            with torch.no_grad():
                if self.reverse:
                    first.weight.copy_(first.weight.flip(1))
                first.weight.div_(self.deviation)
        self.scores = network.spec.postprocess.scores
        self.rows = rows
        if rows:
            variances = torch.tensor(network.spec.boxes.variances).expand_as(network.default_boxes)
            self.register_buffer("boxes_and_variances", torch.cat([network.default_boxes, variances], dim=1))

    def forward(self, images: UInt8[Tensor, "B H W 3"]) -> tuple[Float[Tensor, "B K _"], ...]:
        """What `outputs_of_network` names, of RGB images of the input size."""
        x = images.permute(0, 3, 1, 2).float() - self.mean
        if not self.folded:
            x = x / self.deviation
            x = x.flip(1) if self.reverse else x
        predictions = self.network(x)
        offsets, scores = predictions.offsets, probabilities(predictions.logits, self.scores)
        if not self.rows:
            return offsets, scores
        boxes = self.boxes_and_variances.expand(images.shape[0], -1, -1)
        return torch.cat([scores, offsets, boxes], dim=-1), offsets, scores


def outputs_of_network(outputs: str) -> tuple[str, ...]:
    """Those that depend on the image and need no NMS, in the graph's order."""
    return tuple(name for name in OUTPUTS[outputs] if name in {ROWS, *RAW[:2]})


def exported_program(network: SSD, outputs: str) -> torch.export.ExportedProgram:
    """The graph for any number of images; it gives what `outputs_of_network` names."""
    images = torch.zeros(2, *network.spec.input_size_hw, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    with torch.no_grad():
        return torch.export.export(
            EngineGraph(network, rows=outputs == "rows"), (images,), dynamic_shapes={INPUT: {0: batch}}
        )
