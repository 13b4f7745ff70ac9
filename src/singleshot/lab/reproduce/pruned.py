"""Detection without the default boxes that cross the image's border.

Faster R-CNN, whose strategy the paper names, leaves such boxes out of training alone; Caffe's DetectionOutput asks all.
The paper speaks of "pruning", so table 3 may mean detection, too: this shows what that would change.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from singleshot.runtime.detector import Detector
from singleshot.runtime.torch_backend import TorchBackend, choose_device
from singleshot.shapes import Bool, Float
from singleshot.ssd.tensors import Predictions
from singleshot.weights.build import load_network

CERTAIN = 100.0
"""A background logit so far above all others that a softmax leaves the classes nothing (e^-100)."""


def crosses_border(boxes_xyxy: Float[Tensor, "K 4"]) -> Bool[Tensor, " K"]:
    """Which boxes, in fractions of the image, reach outside it; those that such a training ignores (`match`)."""
    return ((boxes_xyxy < 0) | (boxes_xyxy > 1)).any(dim=1)


class PrunedBackend(TorchBackend):
    """A network whose default boxes that cross the border see background only, so that none of them detects."""

    @torch.inference_mode()
    def predict(self, inputs: Float[Tensor, "B 3 H W"]) -> Predictions:
        """The network's raw output, with other logits at the boxes that cross the border."""
        predictions = super().predict(inputs)
        background = torch.zeros_like(predictions.logits)
        background[..., 0] = CERTAIN
        crossing = crosses_border(self.network.default_boxes)[:, None]
        return replace(predictions, logits=torch.where(crossing, background, predictions.logits))


def pruned_detector(model: Path, *, device: str) -> Detector:
    """A model folder as a detector without boundary boxes. Raises as `load_network` and `choose_device`."""
    return Detector(PrunedBackend(load_network(model), choose_device(device)), name=str(model))
