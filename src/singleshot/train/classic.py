"""Targets and predictions in the layout of ports of the Caffe code: a row of C + 4 + 8 numbers per default box.

Each row holds the C class scores (background first), 4 offsets, the default box's corners as fractions of the image,
and the 4 variances. `ssd export --outputs rows` makes engines give such rows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from singleshot.errors import ModelError
from singleshot.models.ssd import SSD
from singleshot.shapes import Float, Float32
from singleshot.ssd.matching import assign
from singleshot.ssd.tensors import Predictions
from singleshot.types import Sample


class ClassicRows:
    """Rows of C + 4 + 8 numbers for one network: its default boxes, variances and classes.

    Args:
        network: the network that is trained or run.
        iou_threshold: IoU from which a default box matches a ground-truth box.
    """

    def __init__(self, network: SSD, *, iou_threshold: float = 0.5) -> None:
        self.num_classes = network.spec.num_classes
        self.variances = network.spec.boxes.variances
        self.iou_threshold = iou_threshold
        self.default_boxes = network.default_boxes.detach().cpu()
        variances = torch.tensor(self.variances).expand(len(self.default_boxes), 4)
        self._boxes = torch.cat([self.default_boxes, variances], dim=1)

    def encode(self, sample: Sample) -> Float32[np.ndarray, "K D"]:
        """The targets of an image: 1 for each box's class, the offsets of matched boxes, 0 elsewhere.

        Args:
            sample: ground-truth boxes as fractions of the image; its pixels do not matter.

        Raises:
            ModelError: a label that the network does not have.
        """
        labels = np.asarray(sample.labels, np.int64)
        if len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes - 1:
            raise ModelError(f"labels must lie in 0 .. {self.num_classes - 2}, got {labels.min()} .. {labels.max()}")
        targets = assign(
            self.default_boxes,
            torch.as_tensor(np.asarray(sample.boxes_xyxy, np.float32).reshape(1, -1, 4)),
            torch.as_tensor(labels + 1)[None],
            self.variances,
            iou_threshold=self.iou_threshold,
        )
        scores = torch.nn.functional.one_hot(targets.classes[0], self.num_classes).float()
        rows: np.ndarray = torch.cat([scores, targets.offsets[0], self._boxes], dim=1).numpy()
        return rows

    def of(self, predictions: Predictions) -> Float[Tensor, "B K D"]:
        """A network's output, scores after the softmax, as such rows."""
        boxes = self._boxes.to(predictions.offsets).expand(len(predictions.offsets), -1, -1)
        return torch.cat([predictions.logits.softmax(dim=-1), predictions.offsets, boxes], dim=-1)
