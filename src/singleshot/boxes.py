"""The arithmetic of boxes, for numpy arrays and torch tensors.

Boxes are float arrays (..., 4). Every name says the format: `xyxy` is left, top, right, bottom; `cxcywh` is
centre and size. Units (pixels or fractions of the image) are the caller's; both boxes of a pair must share them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from singleshot.shapes import Float

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", "np.ndarray", "torch.Tensor")


def namespace(array: Any) -> Any:
    """The module, numpy or torch, that the array belongs to (without importing torch)."""
    return sys.modules[type(array).__module__.partition(".")[0]]


def xyxy_to_cxcywh(boxes_xyxy: Float[Array, "*n 4"]) -> Float[Array, "*n 4"]:
    """Corners to centre and size. `cxcywh_to_xyxy` inverts it."""
    left, top, right, bottom = (boxes_xyxy[..., i] for i in range(4))
    parts = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    return namespace(boxes_xyxy).stack(parts, axis=-1)  # type: ignore[no-any-return]


def cxcywh_to_xyxy(boxes_cxcywh: Float[Array, "*n 4"]) -> Float[Array, "*n 4"]:
    """Centre and size to corners."""
    x, y, width, height = (boxes_cxcywh[..., i] for i in range(4))
    parts = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    return namespace(boxes_cxcywh).stack(parts, axis=-1)  # type: ignore[no-any-return]


def area(boxes_xyxy: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    """Width x height; 0 for inverted boxes (Caffe bbox_util.cpp, BBoxSize)."""
    width = boxes_xyxy[..., 2] - boxes_xyxy[..., 0]
    height = boxes_xyxy[..., 3] - boxes_xyxy[..., 1]
    return width.clip(min=0) * height.clip(min=0)  # type: ignore[no-any-return]


def intersection(first_xyxy: Float[Array, "*n 4"], second_xyxy: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    """Area of the intersection of each pair; the leading axes broadcast."""
    left = first_xyxy[..., 0].clip(min=second_xyxy[..., 0])
    top = first_xyxy[..., 1].clip(min=second_xyxy[..., 1])
    right = first_xyxy[..., 2].clip(max=second_xyxy[..., 2])
    bottom = first_xyxy[..., 3].clip(max=second_xyxy[..., 3])
    return (right - left).clip(min=0) * (bottom - top).clip(min=0)  # type: ignore[no-any-return]


def iou(first_xyxy: Float[Array, "*n 4"], second_xyxy: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    """Intersection over union of each pair, in [0, 1]; the leading axes broadcast.

    Caffe bbox_util.cpp, JaccardOverlap: 0 for boxes that only touch, have no area or are inverted.
    """
    common = intersection(first_xyxy, second_xyxy)
    union = area(first_xyxy) + area(second_xyxy) - common
    return namespace(common).where(common > 0, common / union.clip(min=1e-30), common * 0)  # type: ignore[no-any-return]


def pairwise_iou(rows_xyxy: Float[Array, "n 4"], columns_xyxy: Float[Array, "m 4"]) -> Float[Array, "n m"]:
    """IoU of every box of the first list with every box of the second."""
    return iou(rows_xyxy[..., :, None, :], columns_xyxy[..., None, :, :])


def clip_boxes(boxes_xyxy: Float[Array, "*n 4"], *, width: float, height: float) -> Float[Array, "*n 4"]:
    """Boxes clipped to the image [0, width] x [0, height]; use width = height = 1 for fractions."""
    parts = [boxes_xyxy[..., i].clip(min=0, max=width if i % 2 == 0 else height) for i in range(4)]
    return namespace(boxes_xyxy).stack(parts, axis=-1)  # type: ignore[no-any-return]


def flip_horizontally(boxes_xyxy: Float[Array, "*n 4"], *, width: float) -> Float[Array, "*n 4"]:
    """Mirror boxes in an image of this width (1 for fractions); twice is the identity."""
    left, top, right, bottom = (boxes_xyxy[..., i] for i in range(4))
    return namespace(boxes_xyxy).stack([width - right, top, width - left, bottom], axis=-1)  # type: ignore[no-any-return]
