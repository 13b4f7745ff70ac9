"""The tensors that training passes around. B pictures, K default boxes, R truths at most a picture, C = L + 1 classes.

Inside the network class 0 is background and class l + 1 is label l.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from singleshot.shapes import Bool, Float, Int64


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures and truths as the network and the matcher take them.

    Attributes:
        pictures: preprocessed network input.
        boxes_xyxy: truths as fractions of the picture, padded with zeros.
        classes: 1..L, and 0 where a row is padding.
        names: the pictures' files, for messages.
    """

    pictures: Float[Tensor, "B 3 H W"]
    boxes_xyxy: Float[Tensor, "B R 4"]
    classes: Int64[Tensor, "B R"]
    names: tuple[str, ...]

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(
            self.pictures.to(device, non_blocking=True),
            self.boxes_xyxy.to(device, non_blocking=True),
            self.classes.to(device, non_blocking=True),
            self.names,
        )


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model's forward returns, raw, in training as in inference.

    Attributes:
        offsets: encoded boxes, see `box_coder`.
        logits: class scores before the softmax; class 0 is background.
    """

    offsets: Float[Tensor, "B K 4"]
    logits: Float[Tensor, "B K C"]


@dataclass(frozen=True, eq=False)
class Matches:
    """Which truth each default box learns.

    Attributes:
        truths: row of the truth within its picture, -1 for none, -2 for a box that takes no part (it reaches outside
            the picture, and such boxes are ignored).
        overlaps: IoU with that truth for a matched box, else the best IoU over all truths (0 where none exceeds 1e-6).
    """

    truths: Int64[Tensor, "B K"]
    overlaps: Float[Tensor, "B K"]


@dataclass(frozen=True, eq=False)
class Targets:
    """What the loss compares predictions with.

    Attributes:
        offsets: encoded truth of each matched box, 0 elsewhere.
        classes: class of each matched box, 0 (background) elsewhere.
        overlaps: see `Matches.overlaps`, 1 for boxes that take no part; below the negative threshold they may be mined.
        has_truth: pictures with at least one truth; the others give no negatives (Caffe).
    """

    offsets: Float[Tensor, "B K 4"]
    classes: Int64[Tensor, "B K"]
    overlaps: Float[Tensor, "B K"]
    has_truth: Bool[Tensor, " B"]

    @property
    def matched(self) -> Bool[Tensor, "B K"]:
        """Boxes that learn an object."""
        return self.classes > 0
