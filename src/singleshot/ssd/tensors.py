"""The tensors that training passes around. B images, K default boxes, R ground-truth boxes at most, C = L + 1 classes.

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
        offsets: encoded boxes, see `coder`.
        logits: class scores before softmax or sigmoid; class 0 is background.
    """

    offsets: Float[Tensor, "B K 4"]
    logits: Float[Tensor, "B K C"]


def probabilities(logits: Float[Tensor, "B K C"], scores: str) -> Float[Tensor, "B K C"]:
    """Of every class, background first, by `Postprocess.scores`: a softmax over all, or a sigmoid of each."""
    return logits.sigmoid() if scores == "sigmoid" else logits.softmax(dim=-1)


@dataclass(frozen=True, eq=False)
class Matches:
    """Which ground-truth box each default box is matched to.

    Attributes:
        ground_truth: row of the ground-truth box within its image, -1 for none, -2 for a default box that is ignored
            because it reaches outside the image.
        ious: IoU with that ground-truth box for a matched box, else the best IoU with any (0 where none exceeds 1e-6).
    """

    ground_truth: Int64[Tensor, "B K"]
    ious: Float[Tensor, "B K"]


@dataclass(frozen=True, eq=False)
class Targets:
    """What the loss compares predictions with.

    Attributes:
        offsets: encoded ground-truth box of each matched box, 0 elsewhere.
        classes: class of each matched box, 0 (background) elsewhere.
        ious: see `Matches.ious`, 1 for ignored boxes; boxes below the negative threshold may be mined.
        quality: how high each matched box should score, 0..1, and 0 elsewhere; None with the paper's matching, where
            all should score 1.
    """

    offsets: Float[Tensor, "B K 4"]
    classes: Int64[Tensor, "B K"]
    ious: Float[Tensor, "B K"]
    quality: Float[Tensor, "B K"] | None = None

    @property
    def matched(self) -> Bool[Tensor, "B K"]:
        """The positives."""
        return self.classes > 0
