"""The tensors that training passes around. B images, K default boxes, R objects at most an image, C = L + 1 classes.

Inside the network class 0 is background and class l + 1 is label l.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from singleshot.shapes import Bool, Float, Int64


@dataclass(frozen=True, eq=False)
class Batch:
    """Images and ground-truth boxes as the network and the matcher take them.

    Attributes:
        images: preprocessed network input.
        boxes_xyxy: ground-truth boxes as fractions of the image, padded with zeros.
        classes: 1..L, and 0 where a row is padding.
        names: the images' files, for messages.
    """

    images: Float[Tensor, "B 3 H W"]
    boxes_xyxy: Float[Tensor, "B R 4"]
    classes: Int64[Tensor, "B R"]
    names: tuple[str, ...]

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(
            self.images.to(device, non_blocking=True),
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
    """Which ground-truth box each default box learns.

    Attributes:
        ground_truth: row of the object within its image, -1 for none, -2 for a box without part (it reaches outside
            the image, and such boxes are ignored).
        overlaps: IoU with that object for a matched box, else the best IoU over all (0 where none exceeds 1e-6).
    """

    ground_truth: Int64[Tensor, "B K"]
    overlaps: Float[Tensor, "B K"]


@dataclass(frozen=True, eq=False)
class Targets:
    """What the loss compares predictions with.

    Attributes:
        offsets: encoded ground-truth box of each matched box, 0 elsewhere.
        classes: class of each matched box, 0 (background) elsewhere.
        overlaps: see `Matches.overlaps`, 1 for boxes that take no part; below the negative threshold they may be mined.
        has_truth: images with at least one ground-truth box; the others give no negatives (Caffe).
    """

    offsets: Float[Tensor, "B K 4"]
    classes: Int64[Tensor, "B K"]
    overlaps: Float[Tensor, "B K"]
    has_ground_truth: Bool[Tensor, " B"]

    @property
    def matched(self) -> Bool[Tensor, "B K"]:
        """Boxes that learn an object."""
        return self.classes > 0
